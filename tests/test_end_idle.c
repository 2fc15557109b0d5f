/* SPDX-License-Identifier: MIT */
/* G16 with end_idle_at_stop: a graceful stop ends connections on which nothing is going on, and the
 * others as soon as that is true of them; what has come is served, and what was sent arrives. */
#include "support/support.h"

#define IDLE_OPTION .end_idle_at_stop = true

struct stopper {
	pthread_t thread;
	sttcp_server *server;
	int timeout_ms;
	sttcp_stop_report report;
	struct event done;
};

static void *run_stop(void *argument)
{
	struct stopper *stopper = argument;

	sttcp_server_stop_within(stopper->server, stopper->timeout_ms, &stopper->report);
	event_raise(&stopper->done);
	return NULL;
}

static void stopper_start(struct stopper *stopper, sttcp_server *server, int timeout_ms)
{
	struct event fresh = EVENT_INIT;

	memset(stopper, 0, sizeof(*stopper));
	stopper->server = server;
	stopper->timeout_ms = timeout_ms;
	stopper->done = fresh;
	assert_int_equal(pthread_create(&stopper->thread, NULL, run_stop, stopper), 0);
}

/* It has come to its end by itself, and `ended` connections with it. */
static void stopper_finish(struct stopper *stopper, int64_t ended)
{
	assert_true(event_wait(&stopper->done, 1));
	pthread_join(stopper->thread, NULL);
	assert_int_equal(stopper->report.ended, ended);
	assert_int_equal(stopper->report.forced, 0);
	assert_int_equal(stopper->report.running, 0);
}

/* The stop has begun, and the connection is still there: it would have ended by now, if it were
 * to. */
static void expect_it_stays(struct stopper *stopper, struct pair *pair)
{
	EVENTUALLY(sttcp_conn_stopping(pair->conn));
	assert_true(peer_quiet(pair->peer, 50));
	assert_int_equal(event_count(&stopper->done), 0);
	assert_int_equal(probe_count(pair->probe, STTCP_DISCONNECTION), 0);
}

/* Not one that lingers: a peer that has seen the FIN closes. */
static void expect_end(struct pair *pair, struct stopper *stopper)
{
	assert_int_equal(peer_end(pair->peer), 0);
	peer_close(pair->peer);
	pair->peer = -1;
	stopper_finish(stopper, 1);
	assert_int_equal(probe_reason(pair->probe), STTCP_ESTOPPED);
	assert_int_equal(probe_count(pair->probe, STTCP_DISCONNECTION), 1);
}

static void idle_connections_end_at_once(void **state)
{
	enum {
		PEERS = 200
	};
	struct probe *probe = probe_new();
	struct stopper stopper;
	int peers[PEERS];

	(void)state;
	probe->data = echo_data;
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(IDLE_OPTION));
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < PEERS; i++) {
			peers[i] = peer_connect(sttcp_server_port(server));
			assert_true(peer_say(peers[i], "x"));
			assert_true(peer_expect(peers[i], "x"));
		}
		stopper_start(&stopper, server, -1);
		for (int i = 0; i < PEERS; i++) {
			assert_int_equal(peer_end(peers[i]), 0);
			peer_close(peers[i]);
		}
		stopper_finish(&stopper, PEERS);
		assert_int_equal(probe_reason(probe), STTCP_ESTOPPED);
		/* The next run begins without the wish to stop. */
		assert_int_equal(sttcp_server_start(server), 0);
		int peer = peer_connect(sttcp_server_port(server));
		assert_true(peer_say(peer, "x"));
		assert_true(peer_expect(peer, "x"));
		assert_true(peer_quiet(peer, 20));
		peer_close(peer);
		assert_true(probe_wait(probe, STTCP_DISCONNECTION, (round + 1) * (PEERS + 1)));
	}
	sttcp_server_free(server);
	probe_free(probe);
}

/* -------------------------------------------------------------- what is going on */

struct gate {
	struct event inside;
	struct event open;
};

static bool wait_and_answer(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	struct gate *gate = probe->extra;

	event_raise(&gate->inside);
	event_wait(&gate->open, 1);
	sttcp_conn_send(conn, data, size);
	return true;
}

/* The answer of the handler that ran arrives, and what the peer has sent meanwhile is served. */
static void running_handler_and_what_has_come_are_served(void **state)
{
	struct gate gate = {EVENT_INIT, EVENT_INIT};
	struct pair pair = {.probe = probe_new()};
	struct stopper stopper;

	(void)state;
	pair.probe->data = wait_and_answer;
	pair.probe->extra = &gate;
	pair_open(&pair, STTCP_OPTIONS(IDLE_OPTION));
	assert_true(peer_say(pair.peer, "first"));
	assert_true(event_wait(&gate.inside, 1));
	stopper_start(&stopper, pair.server, -1);
	expect_it_stays(&stopper, &pair);
	assert_true(peer_say(pair.peer, "second"));
	event_raise(&gate.open);
	assert_true(peer_expect(pair.peer, "firstsecond"));
	expect_end(&pair, &stopper);
	pair_close(&pair);
}

static bool answer_much(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	static char bytes[256 * 1024];

	(void)probe;
	(void)data;
	(void)size;
	sttcp_conn_send(conn, bytes, sizeof(bytes));
	return true;
}

/* All that is queued arrives first. */
static void queued_output_leaves_first(void **state)
{
	struct pair pair = {.probe = probe_new()};
	struct stopper stopper;
	size_t got = 0;

	(void)state;
	pair.probe->connection = narrow;
	pair.probe->data = answer_much;
	pair_open(&pair, STTCP_OPTIONS(IDLE_OPTION));
	/* For whom it is queued does not read. */
	assert_true(peer_say(pair.peer, "x"));
	sttcp_conn_counts counts;
	EVENTUALLY(sttcp_conn_stats(pair.conn, &counts, sizeof(counts)) == 0 && counts.queued > 0);
	stopper_start(&stopper, pair.server, -1);
	EVENTUALLY(sttcp_conn_stopping(pair.conn));
	nap_ms(50);
	assert_int_equal(event_count(&stopper.done), 0);
	assert_int_equal(probe_count(pair.probe, STTCP_DISCONNECTION), 0);
	assert_int_equal(peer_drain(pair.peer, &got), 0);
	assert_int_equal(got, 256 * 1024);
	peer_close(pair.peer);
	pair.peer = -1;
	stopper_finish(&stopper, 1);
	assert_int_equal(probe_reason(pair.probe), STTCP_ESTOPPED);
	pair_close(&pair);
}

/* Part of a message may be the beginning of one that the peer counts on. */
static void message_is_waited_for_to_its_end(void **state)
{
	struct pair pair = {.probe = probe_new()};
	struct stopper stopper;
	sttcp_conn_counts counts;

	(void)state;
	pair.probe->data = echo_data;
	pair_open(&pair, STTCP_OPTIONS(IDLE_OPTION, .framing = STTCP_FRAMING_LINE));
	assert_true(peer_say(pair.peer, "beg"));
	EVENTUALLY(sttcp_conn_stats(pair.conn, &counts, sizeof(counts)) == 0 &&
		   counts.bytes_in == 3);
	stopper_start(&stopper, pair.server, -1);
	expect_it_stays(&stopper, &pair);
	assert_true(peer_say(pair.peer, "in\n"));
	assert_true(peer_expect(pair.peer, "begin"));
	expect_end(&pair, &stopper);
	pair_close(&pair);
}

/* One that is paused with something to read waits for it; with nothing it is idle. */
static void paused_connection_waits_for_what_is_unread(void **state)
{
	(void)state;
	for (int unread = 0; unread < 2; unread++) {
		struct pair pair = {.probe = probe_new()};
		struct stopper stopper;

		pair.probe->data = echo_data;
		pair_open(&pair, STTCP_OPTIONS(IDLE_OPTION));
		assert_int_equal(sttcp_conn_pause(pair.conn), 0);
		if (unread)
			assert_true(peer_say(pair.peer, "late"));
		stopper_start(&stopper, pair.server, -1);
		if (unread) {
			expect_it_stays(&stopper, &pair);
			/* It may have ended before the call returns. */
			(void)sttcp_conn_resume(pair.conn);
			assert_true(peer_expect(pair.peer, "late"));
		}
		expect_end(&pair, &stopper);
		pair_close(&pair);
	}
}

/* The peer has sent its FIN, and this side has nothing more to say. */
static void half_closed_connection_ends(void **state)
{
	struct pair pair = {.probe = probe_new()};
	struct stopper stopper;

	(void)state;
	pair_open(&pair, STTCP_OPTIONS(IDLE_OPTION, .half_close = true));
	peer_shutdown(pair.peer);
	assert_true(probe_wait(pair.probe, STTCP_END, 1));
	stopper_start(&stopper, pair.server, -1);
	expect_end(&pair, &stopper);
	pair_close(&pair);
}

static bool block_once(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	nap_ms(30); /* it is one of those that block */
	sttcp_conn_send(conn, data, size);
	return true;
}

/* Those that the pool works on, too. */
static void slow_connection_ends(void **state)
{
	struct pair pair = {.probe = probe_new()};
	struct stopper stopper;

	(void)state;
	pair.probe->data = block_once;
	pair_open(&pair, STTCP_OPTIONS(IDLE_OPTION));
	for (int i = 0; i < 2; i++) {
		assert_true(peer_say(pair.peer, "x"));
		assert_true(peer_expect(pair.peer, "x"));
	}
	stopper_start(&stopper, pair.server, -1);
	expect_end(&pair, &stopper);
	pair_close(&pair);
}

/* By a stop inside one of its own handlers, which still answers. */
static bool stop_and_answer(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	sttcp_server_stop(sttcp_conn_server(conn));
	sttcp_conn_send(conn, data, size);
	return true;
}

static void stop_inside_a_handler_lets_it_answer(void **state)
{
	struct pair pair = {.probe = probe_new()};

	(void)state;
	pair.probe->data = stop_and_answer;
	pair_open(&pair, STTCP_OPTIONS(IDLE_OPTION));
	assert_true(peer_say(pair.peer, "bye"));
	assert_true(peer_expect(pair.peer, "bye"));
	assert_int_equal(peer_end(pair.peer), 0);
	peer_shutdown(pair.peer);
	assert_int_equal(sttcp_server_wait(pair.server, DEADLINE_MS), 0);
	assert_int_equal(probe_reason(pair.probe), STTCP_ESTOPPED);
	pair_close(&pair);
}

/* What goes on for too long is ended by force at the deadline, as ever. */
static void deadline_counts_for_the_others(void **state)
{
	struct gate gate = {EVENT_INIT, EVENT_INIT};
	struct pair pair = {.probe = probe_new()};
	struct stopper stopper;

	(void)state;
	pair.probe->data = wait_and_answer;
	pair.probe->extra = &gate;
	pair_open(&pair, STTCP_OPTIONS(IDLE_OPTION));
	assert_true(peer_say(pair.peer, "x"));
	assert_true(event_wait(&gate.inside, 1));
	stopper_start(&stopper, pair.server, 50);
	assert_true(event_wait(&stopper.done, 1));
	pthread_join(stopper.thread, NULL);
	assert_int_equal(stopper.report.ended, 0);
	assert_int_equal(stopper.report.running, 1);
	event_raise(&gate.open);
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	pair_close(&pair);
}

/* Starts and stops without a break, while peers come and go: a stop is over only when nobody is
 * on the way to ask anybody. */
static void stops_follow_each_other(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server = probe_server(probe, "127.0.0.1", 0, STTCP_OPTIONS(IDLE_OPTION));

	(void)state;
	for (int i = 0; i < 200; i++) {
		int result = -1;

		EVENTUALLY((result = sttcp_server_start(server)) != -EBUSY);
		assert_int_equal(result, 0);
		int peer = i % 3 ? peer_connect(sttcp_server_port(server)) : -1;
		peer_close(peer);
		assert_int_equal(sttcp_server_stop_within(server, i % 5 ? -1 : 0, NULL), 0);
	}
	sttcp_server_free(server);
	probe_free(probe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(idle_connections_end_at_once),
		cmocka_unit_test(running_handler_and_what_has_come_are_served),
		cmocka_unit_test(queued_output_leaves_first),
		cmocka_unit_test(message_is_waited_for_to_its_end),
		cmocka_unit_test(paused_connection_waits_for_what_is_unread),
		cmocka_unit_test(half_closed_connection_ends),
		cmocka_unit_test(slow_connection_ends),
		cmocka_unit_test(stop_inside_a_handler_lets_it_answer),
		cmocka_unit_test(deadline_counts_for_the_others),
		cmocka_unit_test(stops_follow_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
