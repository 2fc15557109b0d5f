/* SPDX-License-Identifier: MIT */
/* G8, on one loop: whoever does not wait for anything holds nobody up for long. */
#include "support/support.h"

enum {
	LINES = 5000
};

/* ----------------------------------------------------------- a handler that computes */

static atomic_bool others_are_served;
static struct event computing = EVENT_INIT;

/* Not asleep for a moment, until somebody else was served. */
static bool compute_on_c(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	if (*(const char *)data != 'c')
		return sttcp_conn_send(conn, data, size) == 0;
	event_raise(&computing);
	for (int64_t until = now_ms() + DEADLINE_MS; now_ms() < until;)
		if (atomic_load(&others_are_served))
			return sttcp_conn_send(conn, "done", 4) == 0;
	return true;
}

static void others_go_on_while_a_handler_computes(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	probe->data = compute_on_c;
	sttcp_server *server = probe_listen(probe, NULL);
	int busy = peer_connect(sttcp_server_port(server));
	int other = peer_connect(sttcp_server_port(server));

	assert_true(peer_say(busy, "c"));
	assert_true(event_wait(&computing, 1));
	assert_true(peer_say(other, "quick"));
	assert_true(peer_expect(other, "quick"));
	atomic_store(&others_are_served, true);
	assert_true(peer_expect(busy, "done"));
	peer_close(busy);
	peer_close(other);
	sttcp_server_free(server);
	probe_free(probe);
}

/* ------------------------------------------------- a dialogue whose input never ends */

static int other_peer;
static atomic_int taken;
static atomic_int taken_before_the_other;

/* When the first one has its turn, the other one's line comes. */
static bool read_on(sttcp_conn *conn, void *context)
{
	char line[16];
	ssize_t size;

	(void)context;
	while ((size = sttcp_conn_recv_message(conn, line, sizeof(line), -1)) >= 0) {
		if (size > 1 && memcmp(line, "other", 5) == 0)
			atomic_store(&taken_before_the_other, atomic_load(&taken));
		else if (size > 1 && !peer_say(other_peer, "other\n"))
			break;
		else if (size == 1 && atomic_fetch_add(&taken, 1) + 1 == LINES)
			sttcp_conn_send(conn, "all\n", 4);
	}
	return true;
}

static void dialogue_with_much_input_lets_others_go_first(void **state)
{
	static char lines[6 + 2 * LINES] = "flood\n";
	sttcp_server *server = sttcp_server_new(
		"127.0.0.1", 0, STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE, .fibers = true));

	(void)state;
#ifndef __GLIBC__
	print_message("left out: without makecontext the dialogue has a thread\n");
	sttcp_server_free(server);
	skip();
#endif
	atomic_store(&taken_before_the_other, -1);
	assert_int_equal(sttcp_server_on_connection(server, read_on), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	other_peer = peer_connect(sttcp_server_port(server));
	int reading_peer = peer_connect(sttcp_server_port(server));
	for (int i = 0; i < LINES; i++)
		memcpy(lines + 6 + 2 * i, "x\n", 2);
	assert_true(peer_send(reading_peer, lines, sizeof(lines)));
	assert_true(peer_expect(reading_peer, "all\n"));
	EVENTUALLY(atomic_load(&taken_before_the_other) >= 0);
	print_message("%d of %d before the other\n", atomic_load(&taken_before_the_other), LINES);
	assert_true(atomic_load(&taken_before_the_other) < LINES);
	peer_close(reading_peer);
	peer_close(other_peer);
	sttcp_server_free(server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(others_go_on_while_a_handler_computes),
		cmocka_unit_test(dialogue_with_much_input_lets_others_go_first),
	};

	if (sttcp_engine_configure(1, 0, 0) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
