/* SPDX-License-Identifier: MIT */
/* What a loop has to do for itself is no reason to wake it: an alarm that it sets, an actor that it
 * puts on its own list. Each waking takes a write and an event. */
#include "support/faults.h"
#include "support/support.h"

#include "engine/turn.h"
#include "engine/worker.h"

enum {
	NEWCOMERS = 50,
	TIMES = 20,
	/* More than the narrow buffers of both sides hold. */
	LONG = 700 * 1024
};

static atomic_int wakings;

/* Of a loop by its owner alone: what others have for it to do is a reason. */
static ssize_t count_wakings(int fd, const void *data, size_t size)
{
	const struct stt_loop *loop = stt_self ? stt_self->loop : NULL;

	if (loop && fd == loop->waker && !stt_turn_runs(stt_self))
		atomic_fetch_add(&wakings, 1);
	return real_write(fd, data, size);
}

static void begin_counting(void)
{
	atomic_store(&wakings, 0);
	atomic_store(&stand_in_write, count_wakings);
}

static int counted(void)
{
	atomic_store(&stand_in_write, NULL);
	return atomic_load(&wakings);
}

static void limits_of_new_connections_wake_no_loop(void **state)
{
	struct pair pair = {0};

	(void)state;
	pair_open(&pair, STTCP_OPTIONS(.first_byte_timeout_ms = 60000, .idle_timeout_ms = 60000));
	begin_counting();
	for (int i = 1; i <= NEWCOMERS; i++) {
		int peer = peer_connect(sttcp_server_port(pair.server));

		assert_true(peer >= 0);
		assert_true(probe_wait(pair.probe, STTCP_CONNECTION, 1 + i));
		assert_true(peer_say(peer, "hello"));
		assert_true(probe_wait(pair.probe, STTCP_RECEIVE, i));
		peer_close(peer);
		assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, i));
	}
	assert_int_equal(counted(), 0);
	pair_close(&pair);
}

static struct event drained = EVENT_INIT;

static void note_drained(sttcp_conn *conn, void *context)
{
	(void)conn;
	(void)context;
	event_raise(&drained);
}

/* The loop finds that all has left, and asks for the handler. */
static void drained_handlers_wake_no_loop(void **state)
{
	static char text[LONG];
	struct pair pair = {.probe = probe_new()};

	(void)state;
	pair.probe->connection = narrow;
	pair.server = probe_server(pair.probe, "127.0.0.1", 0, NULL);
	assert_int_equal(sttcp_server_on_drained(pair.server, note_drained), 0);
	assert_int_equal(sttcp_server_start(pair.server), 0);
	pair.peer = peer_connect_narrow(sttcp_server_port(pair.server));
	assert_true(pair.peer >= 0);
	EVENTUALLY(sttcp_server_count(pair.server) == 1);
	pair.conn = sttcp_server_find(pair.server, probe_last_id(pair.probe));
	assert_non_null(pair.conn);
	begin_counting();
	for (int i = 1; i <= TIMES; i++) {
		assert_int_equal(sttcp_conn_send(pair.conn, text, LONG), 0);
		assert_true(peer_recv(pair.peer, text, LONG));
		assert_true(event_wait(&drained, i));
	}
	assert_int_equal(counted(), 0);
	pair_close(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(limits_of_new_connections_wake_no_loop),
		cmocka_unit_test(drained_handlers_wake_no_loop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
