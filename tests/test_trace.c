/* SPDX-License-Identifier: MIT */
/* What the log says of connections at level 4: their life, and who holds them up. What it says of
 * ends is in test_trace_ends.c. */
#include "support/lines.h"

#include <poll.h>
#include <sys/socket.h>

/* ---------------------------------------------------------------------- life */

/* Every line of a life, once, with the address and the id, and no other one. On a busy machine any
 * handler may be taken for one that blocks. */
static void assert_life(const char *address, uint64_t id, const char *accepted, const char *ended)
{
	char lines[3][256];
	const char *const texts[] = {lines[0], lines[1], lines[2]};
	char who[128];
	int first = accepted ? 0 : 1;

	snprintf(who, sizeof(who), "%s #%llu: ", address, (unsigned long long)id);
	snprintf(lines[0], sizeof(lines[0]), "%saccept on %s", who, accepted ? accepted : "");
	snprintf(lines[1], sizeof(lines[1]), "%sopen", who);
	snprintf(lines[2], sizeof(lines[2]), "%s%s", who, ended);
	lines_in_order(3 - first, texts + first);
	snprintf(lines[0], sizeof(lines[0]), "%sblocked and taken over", who);
	assert_int_equal(lines_with(4, who) + lines_with(3, who) - lines_with(4, lines[0]),
			 3 - first);
}

static void life_is_told_from_accept_to_end(void **state)
{
	struct probe *serving = probe_new();
	struct probe *calling = probe_new();
	sttcp_server *server = probe_listen(serving, NULL);
	sttcp_client *client = probe_dial(calling, sttcp_server_port(server), NULL);
	char listens[64];

	(void)state;
	assert_true(probe_wait(calling, STTCP_CONNECTION, 1));
	assert_true(probe_wait(serving, STTCP_CONNECTION, 1));
	sttcp_client_close(client);
	assert_true(probe_wait(serving, STTCP_DISCONNECTION, 1));
	snprintf(listens, sizeof(listens), "127.0.0.1:%d", sttcp_server_port(server));
	assert_life(probe_address(serving), probe_last_id(serving), listens,
		    "ended: orderly close");
	assert_life(probe_address(calling), probe_last_id(calling), NULL,
		    "ended: STTCP_EDESTROYED, the client was closed by its owner");
	sttcp_client_free(client);
	sttcp_server_free(server);
	probe_free(calling);
	probe_free(serving);
}

static void start_that_succeeds_is_no_error(void **state)
{
	struct probe *serving = probe_new();
	struct probe *calling = probe_new();
	sttcp_server *server = probe_listen(serving, NULL);
	sttcp_client *client = probe_dial(calling, sttcp_server_port(server), NULL);

	(void)state;
	assert_true(probe_wait(calling, STTCP_CONNECTION, 1));
	assert_int_equal(lines_with(1, ""), 0);
	assert_true(sttcp_server_start(server) < 0);
	assert_int_equal(lines_with(1, "cannot start"), 1);
	sttcp_client_free(client);
	sttcp_server_free(server);
	probe_free(calling);
	probe_free(serving);
}

static void life_on_a_unix_socket_is_told(void **state)
{
	struct probe *probe = probe_new();
	char path[64];

	(void)state;
	snprintf(path, sizeof(path), "unix:/tmp/sttcp-trace-%d", (int)getpid());
	sttcp_server *server = probe_server(probe, path, 0, NULL);
	assert_int_equal(sttcp_server_start(server), 0);
	int peer = peer_connect_unix(path + strlen("unix:"));
	assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
	peer_close(peer);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	assert_life(probe_address(probe), probe_last_id(probe), path, "ended: orderly close");
	sttcp_server_free(server);
	probe_free(probe);
}

static bool decline(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	(void)conn;
	return false;
}

static void declined_connection_never_opens(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	probe->connection = decline;
	sttcp_server *server = probe_listen(probe, NULL);
	int peer = peer_connect(sttcp_server_port(server));
	assert_int_equal(peer_end(peer), 0);
	peer_close(peer);
	sttcp_server_free(server);
	assert_int_equal(lines_with(4, ": ended: declined"), 1);
	assert_int_equal(lines_with(4, ": open"), 0);
	probe_free(probe);
}

static void failed_attempt_says_why(void **state)
{
	struct probe *probe = probe_new();
	int port;
	int refuser = peer_refuse(&port);
	char line[256];

	(void)state;
	sttcp_client *client = probe_dial(probe, port, NULL);
	assert_true(probe_wait(probe, STTCP_UNCONNECTED, 1));
	snprintf(line, sizeof(line),
		 "127.0.0.1:%d #%llu: ended: ECONNREFUSED, Connection refused: cannot connect to "
		 "127.0.0.1:%d: Connection refused",
		 port, (unsigned long long)probe_last_id(probe), port);
	assert_int_equal(lines_with(4, line), 1);
	sttcp_client_free(client);
	close(refuser);
	probe_free(probe);
}

static void attempt_that_took_too_long_names_its_limit(void **state)
{
	struct probe *probe = probe_new();
	struct blackhole hole;
	char text[256];

	(void)state;
	assert_true(blackhole_open(&hole));
	sttcp_client *client =
		probe_dial(probe, hole.port, STTCP_OPTIONS(.connect_timeout_ms = 57));
	assert_true(probe_wait(probe, STTCP_UNCONNECTED, 1));
	assert_int_equal(probe_reason(probe), STTCP_ETIME_CONNECT);
	snprintf(text, sizeof(text),
		 "cannot connect to 127.0.0.1:%d: no answer for 57 ms, connect_timeout_ms is 57",
		 hole.port);
	assert_string_equal(probe_fail_text(probe), text);
	assert_int_equal(lines_with(3, text), 1);
	sttcp_client_free(client);
	blackhole_close(&hole);
	probe_free(probe);
}

/* ------------------------------------------------------------ pause, resume */

static void pause_and_resume_tell_who_asked(void **state)
{
	struct pair pair = {0};

	(void)state;
	pair_open(&pair, NULL);
	for (int i = 0; i < 2; i++)
		sttcp_conn_pause(pair.conn);
	assert_int_equal(lines_with(4, ": pause: sttcp_conn_pause"), 1);
	assert_int_equal(lines_with(4, ": resume"), 0);
	for (int i = 0; i < 2; i++)
		sttcp_conn_resume(pair.conn);
	assert_int_equal(lines_with(4, ": pause"), 1);
	assert_int_equal(lines_with(4, ": resume: sttcp_conn_resume"), 1);
	pair_close(&pair);
}

/* Sends until there is a line with these words, and what is answered is read by nobody. */
static size_t fill(int peer, const char *words)
{
	static char block[64 * 1024];
	int64_t until = now_ms() + DEADLINE_MS;
	size_t sent = 0;

	while (!lines_with(4, words)) {
		ssize_t now = send(peer, block, sizeof(block), MSG_DONTWAIT | MSG_NOSIGNAL);

		assert_true(now_ms() < until);
		sent += now > 0 ? (size_t)now : 0;
		if (now <= 0)
			poll(NULL, 0, 10);
	}
	return sent;
}

static void reader_that_is_held_tells_the_mark(void **state)
{
	struct pair pair = {.probe = probe_new()};
	static char data[64 * 1024];

	(void)state;
	pair.probe->data = echo_data;
	pair_open(&pair, STTCP_OPTIONS(.send_queue_max = 256 * 1024, .high_water = 100000));
	size_t sent = fill(pair.peer, "bytes are queued, high_water is 100000");

	while (sent) {
		size_t part = sent < sizeof(data) ? sent : sizeof(data);

		assert_true(peer_recv(pair.peer, data, part));
		sent -= part;
	}
	/* Nothing is held any more: as many ends as beginnings. */
	EVENTUALLY(lines_with(4, ": resume: ") == lines_with(4, ": pause: "));
	pair_close(&pair);
}

static bool try_a_byte(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	(void)size;
	return sttcp_conn_try_send(conn, data, 1) <= 0;
}

/* Bytes of others do not reach the mark, and so it is not what is told, however many they are. */
static void reader_that_is_held_by_the_cap_of_all_tells_that(void **state)
{
	struct pair pair = {.probe = probe_new()};
	static const char part[1000];

	(void)state;
	pair.probe->data = try_a_byte;
	pair.probe->connection = narrow;
	pair_open(&pair, STTCP_OPTIONS(.high_water = 100000, .total_queue_max = 300000));
	int64_t until = now_ms() + DEADLINE_MS;

	for (int asked = 1; !lines_with(4, ": pause: "); asked++) {
		assert_true(now_ms() < until);
		/* Room for one of its own, and then for none. */
		while (sttcp_conn_try_send(pair.conn, part, sizeof(part)) == 0)
			;
		assert_true(peer_send(pair.peer, "y", 1));
		EVENTUALLY(probe_count(pair.probe, STTCP_RECEIVE) >= asked ||
			   lines_with(4, ": pause: "));
		while (sttcp_conn_try_send(pair.conn, part, 1) == 0)
			;
	}
	assert_int_equal(lines_with(4, "bytes are queued, high_water is"), 0);
	assert_int_equal(lines_with(4, "bytes are queued, total_queue_max is 300000"), 1);
	pair_close(&pair);
}

/* ------------------------------------------------------------------ take-over */

static int64_t takeovers(sttcp_server *server)
{
	sttcp_stats stats;

	return sttcp_server_stats(server, &stats, sizeof(stats)) == 0 ? stats.takeovers : -1;
}

/* Stays until its loop was taken over, or was not for long: it may have been in the pool. */
static bool block(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	sttcp_server *server = sttcp_conn_server(conn);
	int64_t before = takeovers(server);

	(void)probe;
	(void)data;
	(void)size;
	for (int64_t until = now_ms() + 1000; takeovers(server) == before && now_ms() < until;)
		nap_ms(2);
	return true;
}

static void handler_that_blocks_is_told(void **state)
{
	struct pair pair = {.probe = probe_new()};
	char line[256];

	(void)state;
	pair.probe->data = block;
	pair_open(&pair, NULL);
	snprintf(line, sizeof(line), "%s #%llu: blocked and taken over",
		 sttcp_conn_address(pair.conn), (unsigned long long)sttcp_conn_id(pair.conn));
	for (size_t said = 1; !lines_with(4, line) && said < 20; said++) {
		assert_true(peer_say(pair.peer, "x"));
		assert_true(probe_wait_bytes(pair.probe, said));
	}
	EVENTUALLY(lines_with(4, line) > 0);
	pair_close(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(life_is_told_from_accept_to_end, lines_open,
						lines_close),
		cmocka_unit_test_setup_teardown(start_that_succeeds_is_no_error, lines_open,
						lines_close),
		cmocka_unit_test_setup_teardown(life_on_a_unix_socket_is_told, lines_open,
						lines_close),
		cmocka_unit_test_setup_teardown(declined_connection_never_opens, lines_open,
						lines_close),
		cmocka_unit_test_setup_teardown(failed_attempt_says_why, lines_open, lines_close),
		cmocka_unit_test_setup_teardown(attempt_that_took_too_long_names_its_limit,
						lines_open, lines_close),
		cmocka_unit_test_setup_teardown(pause_and_resume_tell_who_asked, lines_open,
						lines_close),
		cmocka_unit_test_setup_teardown(reader_that_is_held_tells_the_mark, lines_open,
						lines_close),
		cmocka_unit_test_setup_teardown(reader_that_is_held_by_the_cap_of_all_tells_that,
						lines_open, lines_close),
		cmocka_unit_test_setup_teardown(handler_that_blocks_is_told, lines_open,
						lines_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
