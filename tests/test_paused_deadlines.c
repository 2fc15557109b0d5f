/* SPDX-License-Identifier: MIT */
/* G14: limits on the peer rest while nothing is expected of it - a handler runs, the connection is
 * paused, its queue is full - and begin anew afterwards. */
#include "support/support.h"

enum {
	LIMIT = 200,
	LATE = 5000
};

/* The limits, one at a time, and what the peer says first to be under each. */
static const struct kind {
	const char *says;
	long lines; /* whole ones in that */
	int reason;
	int first_byte_ms;
	int idle_ms;
	int message_ms;
} kinds[] = {
	{"", 0, STTCP_ETIME_FIRST_BYTE, LIMIT, 0, 0},
	{"line\n", 1, STTCP_ETIME_IDLE, 0, LIMIT, 0},
	{"line\nha", 1, STTCP_ETIME_MESSAGE, 0, 0, LIMIT},
};

enum {
	KINDS = sizeof(kinds) / sizeof(kinds[0])
};

static sttcp_options options_of(const struct kind *kind)
{
	return *STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE,
			      .first_byte_timeout_ms = kind->first_byte_ms,
			      .idle_timeout_ms = kind->idle_ms,
			      .message_timeout_ms = kind->message_ms);
}

static void expect_end(struct pair *pair, int reason, int64_t begin)
{
	assert_true(probe_wait(pair->probe, STTCP_DISCONNECTION, 1));
	int64_t took = now_ms() - begin;
	assert_int_equal(probe_reason(pair->probe), reason);
	assert_true(took >= LIMIT);
	assert_true(took < LIMIT + LATE);
}

static bool pause_on_data(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	(void)data;
	(void)size;
	sttcp_conn_pause(conn);
	return true;
}

/* It has said what its kind says, and is paused, for `ms`; then the whole limit passes. */
static void expect_end_after_pause(const struct kind *kind, int ms)
{
	sttcp_options options = options_of(kind);
	struct pair pair = {.probe = probe_new()};

	pair.probe->connection = start_paused;
	pair.probe->data = pause_on_data;
	pair_open(&pair, &options);
	if (kind->lines) {
		assert_true(peer_say(pair.peer, kind->says));
		sttcp_conn_resume(pair.conn);
		assert_true(probe_wait(pair.probe, STTCP_RECEIVE, kind->lines));
	}
	nap_ms(ms);
	assert_int_equal(probe_count(pair.probe, STTCP_DISCONNECTION), 0);
	int64_t begin = now_ms();
	sttcp_conn_resume(pair.conn);
	expect_end(&pair, kind->reason, begin);
	pair_close(&pair);
}

static void g14_limits_rest_while_paused(void **state)
{
	(void)state;
	for (int i = 0; i < KINDS; i++)
		expect_end_after_pause(&kinds[i], 3 * LIMIT);
}

/* For a part of it only, in which no limit would have passed. */
static void g14_limits_begin_anew_after_a_short_pause(void **state)
{
	(void)state;
	for (int i = 0; i < KINDS; i++)
		expect_end_after_pause(&kinds[i], LIMIT * 3 / 4);
}

/* ------------------------------------------------------------------ handlers */

static atomic_llong returned_ms;

/* Works for several times the limit. */
static void work_long(void)
{
	nap_ms(3 * LIMIT);
	atomic_store(&returned_ms, now_ms());
}

static bool work_on_data(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	(void)conn;
	(void)data;
	(void)size;
	work_long();
	return true;
}

static bool work_on_connection(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	(void)conn;
	work_long();
	return true;
}

static void work_on_end(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	(void)conn;
	work_long();
}

static void expect_end_after_work(struct pair *pair, int reason)
{
	assert_true(probe_wait(pair->probe, STTCP_DISCONNECTION, 1));
	int64_t took = now_ms() - atomic_load(&returned_ms);
	assert_int_equal(probe_reason(pair->probe), reason);
	assert_true(took >= LIMIT);
	assert_true(took < LIMIT + LATE);
}

static void g14_limits_rest_while_a_handler_runs(void **state)
{
	(void)state;
	for (int i = 1; i < KINDS; i++) {
		sttcp_options options = options_of(&kinds[i]);
		struct pair pair = {.probe = probe_new()};

		pair.probe->connection = start_paused;
		pair.probe->data = work_on_data;
		pair_open(&pair, &options);
		assert_true(peer_say(pair.peer, kinds[i].says));
		sttcp_conn_resume(pair.conn);
		assert_true(probe_wait(pair.probe, STTCP_RECEIVE, 1));
		expect_end_after_work(&pair, kinds[i].reason);
		pair_close(&pair);
	}
}

static void g14_limits_rest_while_the_connection_handler_runs(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		sttcp_options options = options_of(&kinds[i]);
		struct pair pair = {.probe = probe_new()};

		pair.probe->connection = work_on_connection;
		pair_open(&pair, &options);
		expect_end_after_work(&pair, kinds[i].reason);
		pair_close(&pair);
	}
}

static void g14_idle_rests_while_the_end_handler_runs(void **state)
{
	(void)state;
	for (int framed = 0; framed < 2; framed++) {
		struct pair pair = {.probe = probe_new()};

		pair.probe->connection = start_paused;
		pair.probe->end = work_on_end;
		pair_open(&pair, STTCP_OPTIONS(.idle_timeout_ms = LIMIT, .half_close = true,
					       .framing = framed ? STTCP_FRAMING_LINE
								 : STTCP_FRAMING_RAW));
		peer_shutdown(pair.peer);
		sttcp_conn_resume(pair.conn);
		assert_true(probe_wait(pair.probe, STTCP_END, 1));
		expect_end_after_work(&pair, STTCP_ETIME_IDLE);
		pair_close(&pair);
	}
}

/* Limits count from here on. */
static void work_on_drained(sttcp_conn *conn, void *context)
{
	(void)context;
	sttcp_conn_resume(conn);
	nap_ms(3 * LIMIT);
	atomic_store(&returned_ms, now_ms());
}

static bool narrow_and_paused(struct probe *probe, sttcp_conn *conn)
{
	return narrow(probe, conn) && start_paused(probe, conn);
}

static void g14_limits_rest_while_the_drained_handler_runs(void **state)
{
	enum {
		LONG = 700 * 1024
	};
	static char text[LONG];

	(void)state;
	for (int i = 0; i < 2; i++) {
		bool idle = kinds[i].reason == STTCP_ETIME_IDLE;
		struct pair pair = {.probe = probe_new()};

		atomic_store(&returned_ms, 0);
		pair.probe->connection = narrow_and_paused;
		pair.server = probe_server(pair.probe, "127.0.0.1", 0,
					   STTCP_OPTIONS(.first_byte_timeout_ms = idle ? 0 : LIMIT,
							 .idle_timeout_ms = idle ? LIMIT : 0));
		assert_int_equal(sttcp_server_on_drained(pair.server, work_on_drained), 0);
		assert_int_equal(sttcp_server_start(pair.server), 0);
		pair.peer = peer_connect_narrow(sttcp_server_port(pair.server));
		EVENTUALLY(sttcp_server_count(pair.server) == 1);
		pair.conn = sttcp_server_find(pair.server, probe_last_id(pair.probe));
		assert_int_equal(sttcp_conn_send(pair.conn, text, LONG), 0);
		assert_true(peer_recv(pair.peer, text, LONG));
		assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
		assert_true(atomic_load(&returned_ms) > 0);
		assert_true(now_ms() - atomic_load(&returned_ms) >= LIMIT);
		assert_int_equal(probe_reason(pair.probe), kinds[i].reason);
		pair_close(&pair);
	}
}

/* ------------------------------------------------------------------- the rest */

/* Messages that are whole but wait for their turn, behind a handler that works, are not late. */
static void g14_message_counts_no_whole_ones(void **state)
{
	struct pair pair = {.probe = probe_new()};

	(void)state;
	pair.probe->data = work_on_data;
	pair_open(&pair, STTCP_OPTIONS(.message_timeout_ms = LIMIT, .framing = STTCP_FRAMING_LINE));
	assert_true(peer_say(pair.peer, "a\nb\nc\n"));
	assert_true(probe_wait(pair.probe, STTCP_RECEIVE, 3));
	assert_true(peer_quiet(pair.peer, 2 * LIMIT));
	assert_int_equal(probe_count(pair.probe, STTCP_DISCONNECTION), 0);
	pair_close(&pair);
}

static bool work_on_first(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	if (probe_count(probe, STTCP_RECEIVE) == 0)
		work_on_data(probe, conn, data, size);
	atomic_store(&returned_ms, now_ms());
	return true;
}

/* A limit that comes due while a handler runs is looked at again, also when the messages behind it
 * fill many turns. */
static void g14_idle_is_not_forgotten_behind_many_messages(void **state)
{
	enum {
		LINES = 20000
	};
	static char lines[LINES * 2];
	struct pair pair = {.probe = probe_new()};

	(void)state;
	pair.probe->connection = start_paused;
	pair.probe->data = work_on_first;
	for (int i = 0; i < LINES; i++)
		memcpy(lines + (ptrdiff_t)i * 2, "x\n", 2);
	pair_open(&pair, STTCP_OPTIONS(.idle_timeout_ms = LIMIT, .framing = STTCP_FRAMING_LINE));
	assert_true(peer_send(pair.peer, lines, sizeof(lines)));
	sttcp_conn_resume(pair.conn);
	assert_true(probe_wait(pair.probe, STTCP_RECEIVE, LINES));
	expect_end_after_work(&pair, STTCP_ETIME_IDLE);
	pair_close(&pair);
}

static bool fill_queue(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	static char part[16 * 1024];

	(void)probe;
	(void)data;
	(void)size;
	while (sttcp_conn_try_send(conn, part, sizeof(part)) == 0)
		;
	return true;
}

/* A peer whose message is half there, while the server does not read because the queue is full of
 * its own answers: it is the slow reader's limit that ends it. */
static void g14_message_rests_while_the_queue_is_full(void **state)
{
	struct pair pair = {.probe = probe_new()};

	(void)state;
	pair.probe->data = fill_queue;
	pair_open(&pair, STTCP_OPTIONS(.message_timeout_ms = LIMIT, .write_timeout_ms = 5 * LIMIT,
				       .framing = STTCP_FRAMING_LINE));
	int64_t begin = now_ms();
	assert_true(peer_say(pair.peer, "go\nhalf"));
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(pair.probe), STTCP_ETIME_WRITE);
	assert_true(now_ms() - begin >= 5 * LIMIT);
	pair_close(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(g14_limits_rest_while_paused),
		cmocka_unit_test(g14_limits_begin_anew_after_a_short_pause),
		cmocka_unit_test(g14_limits_rest_while_a_handler_runs),
		cmocka_unit_test(g14_limits_rest_while_the_connection_handler_runs),
		cmocka_unit_test(g14_idle_rests_while_the_end_handler_runs),
		cmocka_unit_test(g14_limits_rest_while_the_drained_handler_runs),
		cmocka_unit_test(g14_message_counts_no_whole_ones),
		cmocka_unit_test(g14_idle_is_not_forgotten_behind_many_messages),
		cmocka_unit_test(g14_message_rests_while_the_queue_is_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
