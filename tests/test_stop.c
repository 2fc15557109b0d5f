/* SPDX-License-Identifier: MIT */
/* G16: close and stop are the same; they listen no more, let every connection come to its end, and
 * report how it went. */
#include "support/support.h"

#include <sys/socket.h>

/* A plain stop, whose limit is that of the options. */
#define BY_OPTION (-2)

struct stopper {
	pthread_t thread;
	sttcp_server *server;
	int timeout_ms;
	sttcp_stop_report report;
	atomic_int result;
	struct event done;
};

static void *run_stop(void *argument)
{
	struct stopper *stopper = argument;

	int result = stopper->timeout_ms == BY_OPTION
			     ? sttcp_server_stop(stopper->server)
			     : sttcp_server_stop_within(stopper->server, stopper->timeout_ms,
							&stopper->report);

	atomic_store(&stopper->result, result);
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
	atomic_init(&stopper->result, 1);
	assert_int_equal(pthread_create(&stopper->thread, NULL, run_stop, stopper), 0);
}

static void stopper_finish(struct stopper *stopper)
{
	assert_true(event_wait(&stopper->done, 1));
	pthread_join(stopper->thread, NULL);
	assert_int_equal(atomic_load(&stopper->result), 0);
}

/* It listens no more at once; connections go on as long as they like; then it returns. */
static void stop_lets_every_connection_come_to_its_end(void **state)
{
	enum {
		PEERS = 5
	};
	struct probe *probe = probe_new();
	struct stopper stopper;
	int peers[PEERS];

	(void)state;
	probe->data = echo_data;
	sttcp_server *server = probe_listen(probe, NULL);
	int port = sttcp_server_port(server);
	for (int i = 0; i < PEERS; i++)
		peers[i] = peer_connect(port);
	EVENTUALLY(sttcp_server_count(server) == PEERS);
	sttcp_conn *conn = sttcp_server_find(server, probe_last_id(probe));
	assert_false(sttcp_conn_stopping(conn));
	stopper_start(&stopper, server, -1);
	EVENTUALLY(sttcp_conn_stopping(conn)); /* connections can see it coming */
	int fresh = -1;
	EVENTUALLY((peer_close(fresh), fresh = peer_connect(port)) == -1);
	for (int i = 0; i < PEERS; i++) {
		assert_true(peer_say(peers[i], "still there"));
		assert_true(peer_expect(peers[i], "still there"));
		assert_int_equal(event_count(&stopper.done), 0);
		peer_close(peers[i]);
	}
	stopper_finish(&stopper);
	assert_true(stopper.report.ended >= PEERS); /* and those that came at the last moment */
	assert_int_equal(stopper.report.forced, 0);
	assert_int_equal(stopper.report.running, 0);
	assert_int_equal(probe_reason(probe), 0);
	assert_int_equal(probe_count(probe, STTCP_CONNECTION),
			 probe_count(probe, STTCP_DISCONNECTION));
	sttcp_conn_unref(conn);
	sttcp_server_free(server);
	probe_free(probe);
}

/* What stands in the kernel's queue when the stop begins is accepted and served, not reset. */
static void stop_serves_who_had_connected_before(void **state)
{
	enum {
		PEERS = 20
	};

	(void)state;
	for (int round = 0; round < 10; round++) {
		struct probe *probe = probe_new();
		struct stopper stopper;
		int peers[PEERS];

		probe->data = echo_data;
		sttcp_server *server = probe_listen(probe, NULL);
		for (int i = 0; i < PEERS; i++) {
			peers[i] = peer_connect(sttcp_server_port(server));
			assert_true(peers[i] >= 0);
		}
		stopper_start(&stopper, server, -1);
		for (int i = 0; i < PEERS; i++) {
			assert_true(peer_say(peers[i], "x"));
			assert_true(peer_expect(peers[i], "x"));
			peer_close(peers[i]);
		}
		stopper_finish(&stopper);
		assert_int_equal(probe_count(probe, STTCP_DISCONNECTION), PEERS);
		sttcp_server_free(server);
		probe_free(probe);
	}
}

/* A graceful stop waits for a handler that runs, and for the disconnection handler. */
static bool slow_echo(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	event_raise(probe->extra);
	nap_ms(100);
	return echo_data(probe, conn, data, size);
}

static void slow_end(struct probe *probe, sttcp_conn *conn, int reason)
{
	(void)probe;
	(void)conn;
	(void)reason;
	nap_ms(50);
}

static void stop_waits_for_running_handlers(void **state)
{
	(void)state;
	for (int which = 0; which < 2; which++) {
		struct probe *probe = probe_new();
		struct event inside = EVENT_INIT;

		probe->data = slow_echo;
		probe->ended = slow_end;
		probe->extra = &inside;
		sttcp_server *server = probe_listen(probe, NULL);
		int peer = peer_connect(sttcp_server_port(server));
		assert_true(peer_say(peer, "x"));
		peer_shutdown(peer);
		assert_true(event_wait(&inside, 1));
		if (which == 0)
			assert_int_equal(sttcp_server_stop(server), 0);
		else
			assert_int_equal(sttcp_server_close(server), 0);
		assert_int_equal(probe_count(probe, STTCP_DISCONNECTION), 1);
		assert_true(peer_expect(peer, "x"));
		peer_close(peer);
		sttcp_server_free(server);
		probe_free(probe);
	}
}

/* With a drain limit: what is left is flushed, closed with "server stopping", and counted. */
static void stop_forces_what_is_left_at_the_limit(void **state)
{
	enum {
		PEERS = 6
	};

	(void)state;
	for (int by_option = 0; by_option < 2; by_option++) {
		struct probe *probe = probe_new();
		struct stopper stopper;
		int peers[PEERS];
		static char lot[500 * 1024];

		sttcp_server *server =
			probe_listen(probe, STTCP_OPTIONS(.drain_timeout_ms = by_option ? 200 : 0));
		for (int i = 0; i < PEERS; i++)
			peers[i] = peer_connect(sttcp_server_port(server));
		EVENTUALLY(sttcp_server_count(server) == PEERS);
		sttcp_conn *conn = sttcp_server_find(server, probe_last_id(probe));
		/* The others end by themselves; this one's bytes are flushed. */
		assert_int_equal(sttcp_conn_send(conn, lot, sizeof(lot)), 0);
		sttcp_conn_unref(conn);
		int64_t begin = now_ms();
		stopper_start(&stopper, server, by_option ? BY_OPTION : 200);
		size_t all = 0;
		for (int i = 0; i < PEERS; i++) {
			size_t bytes;

			assert_int_equal(peer_drain(peers[i], &bytes), 0);
			all += bytes;
			peer_close(peers[i]);
		}
		assert_int_equal(all, sizeof(lot));
		stopper_finish(&stopper);
		assert_true(now_ms() - begin >= 190);
		assert_true(probe_wait(probe, STTCP_DISCONNECTION, PEERS));
		assert_int_equal(probe_reason(probe), STTCP_ESTOPPED);
		if (!by_option) {
			assert_int_equal(stopper.report.ended, 0);
			assert_int_equal(stopper.report.forced + stopper.report.running, PEERS);
		}
		assert_int_equal(sttcp_server_wait(server, 0), 0);
		sttcp_server_free(server);
		probe_free(probe);
	}
}

static void stop_report_counts_each_kind(void **state)
{
	struct probe *probe = probe_new();
	struct stopper stopper;
	int peers[8];

	(void)state;
	sttcp_server *server = probe_listen(probe, NULL);
	for (int i = 0; i < 8; i++)
		peers[i] = peer_connect(sttcp_server_port(server));
	EVENTUALLY(sttcp_server_count(server) == 8);
	sttcp_conn *conn = sttcp_server_find(server, probe_last_id(probe));
	stopper_start(&stopper, server, -1);
	EVENTUALLY(sttcp_conn_stopping(conn));
	for (int i = 0; i < 3; i++)
		peer_close(peers[i]);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 3));
	/* A later stop can only shorten the deadline. */
	assert_int_equal(sttcp_server_stop_within(server, 0, NULL), 0);
	stopper_finish(&stopper);
	/* One whose disconnection handler is about to return may be counted as any of them. */
	assert_in_range(stopper.report.ended, 0, 3);
	assert_true(stopper.report.forced > 0);
	assert_int_equal(stopper.report.ended + stopper.report.forced + stopper.report.running, 8);
	assert_int_equal(sttcp_conn_reason(conn), STTCP_ESTOPPED);
	sttcp_conn_unref(conn);
	for (int i = 3; i < 8; i++)
		peer_close(peers[i]);
	sttcp_server_free(server);
	probe_free(probe);
}

static void stop_later_cannot_lengthen_the_deadline(void **state)
{
	struct probe *probe = probe_new();
	struct stopper first;

	(void)state;
	sttcp_server *server = probe_listen(probe, NULL);
	int peer = peer_connect(sttcp_server_port(server));
	EVENTUALLY(sttcp_server_count(server) == 1);
	sttcp_conn *conn = sttcp_server_find(server, probe_last_id(probe));
	stopper_start(&first, server, 300);
	EVENTUALLY(sttcp_conn_stopping(conn));
	int64_t begin = now_ms();
	assert_int_equal(sttcp_server_stop_within(server, -1, NULL), 0);
	assert_true(now_ms() - begin < DEADLINE_MS);
	stopper_finish(&first);
	assert_int_equal(sttcp_conn_reason(conn), STTCP_ESTOPPED);
	sttcp_conn_unref(conn);
	peer_close(peer);
	sttcp_server_free(server);
	probe_free(probe);
}

/* ------------------------------------------------ a handler that never returns */

struct stuck {
	struct event inside;
	struct event gate;
};

static bool get_stuck(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	struct stuck *stuck = probe->extra;

	(void)conn;
	(void)data;
	(void)size;
	event_raise(&stuck->inside);
	event_wait_ms(&stuck->gate, 1, 3 * DEADLINE_MS);
	return true;
}

/* The stop returns and tells that it still runs; the port is free; start is busy and free waits
 * until it has returned. */
static void stop_with_a_stuck_handler_reports_it(void **state)
{
	struct probe *probe = probe_new();
	struct stuck stuck = {EVENT_INIT, EVENT_INIT};
	sttcp_stop_report report;

	(void)state;
	probe->data = get_stuck;
	probe->extra = &stuck;
	sttcp_server *server = probe_listen(probe, NULL);
	int port = sttcp_server_port(server);
	int peer = peer_connect(port);
	int other = peer_connect(port);
	assert_true(peer_say(peer, "x"));
	assert_true(event_wait(&stuck.inside, 1));
	EVENTUALLY(sttcp_server_count(server) == 2);
	assert_int_equal(sttcp_server_stop_within(server, 0, &report), 0);
	assert_true(report.running >= 1);
	assert_int_equal(report.forced + report.running, 2);
	assert_int_equal(report.ended, 0);
	assert_int_equal(sttcp_server_wait(server, 0), 0);
	assert_int_equal(sttcp_server_start(server), -EBUSY);
	assert_int_equal(peer_connect(port), -1);
	assert_int_equal(sttcp_server_stop(server), 0);
	event_raise(&stuck.gate);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 2));
	int result = -1;
	EVENTUALLY((result = sttcp_server_start(server)) != -EBUSY);
	assert_int_equal(result, 0);
	int again = peer_connect(sttcp_server_port(server));
	assert_true(again >= 0);
	assert_true(probe_wait(probe, STTCP_CONNECTION, 3));
	sttcp_server_free(server);
	peer_close(again);
	peer_close(other);
	peer_close(peer);
	probe_free(probe);
}

static void *free_it(void *argument)
{
	struct stopper *stopper = argument;

	sttcp_server_free(stopper->server);
	event_raise(&stopper->done);
	return NULL;
}

static void free_waits_for_a_stuck_handler(void **state)
{
	struct probe *probe = probe_new();
	struct stuck stuck = {EVENT_INIT, EVENT_INIT};
	struct stopper freer = {.done = EVENT_INIT};

	(void)state;
	probe->data = get_stuck;
	probe->extra = &stuck;
	sttcp_server *server = probe_listen(probe, NULL);
	int peer = peer_connect(sttcp_server_port(server));
	assert_true(peer_say(peer, "x"));
	assert_true(event_wait(&stuck.inside, 1));
	freer.server = server;
	assert_int_equal(pthread_create(&freer.thread, NULL, free_it, &freer), 0);
	assert_false(event_wait_ms(&freer.done, 1, 100));
	assert_int_equal(probe->releases, 0);
	event_raise(&stuck.gate);
	assert_true(event_wait(&freer.done, 1));
	pthread_join(freer.thread, NULL);
	assert_int_equal(probe->releases, 1);
	assert_int_equal(probe_count(probe, STTCP_DISCONNECTION), 1);
	peer_close(peer);
	probe_free(probe);
}

/* --------------------------------------------------------------- small things */

static void stop_of_what_was_not_started_is_fine(void **state)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);
	sttcp_stop_report report = {-1, -1, -1};

	(void)state;
	assert_int_equal(sttcp_server_stop(server), 0);
	assert_int_equal(sttcp_server_close(server), 0);
	assert_int_equal(sttcp_server_stop_within(server, 0, &report), 0);
	assert_int_equal(report.ended, 0);
	assert_int_equal(report.forced, 0);
	assert_int_equal(report.running, 0);
	assert_int_equal(sttcp_server_wait(server, 0), -EINVAL);
	assert_int_equal(sttcp_server_keep_alive(server), -EINVAL);
	assert_int_equal(sttcp_server_start(server), 0);
	assert_int_equal(sttcp_server_wait(server, 0), -ETIMEDOUT);
	assert_int_equal(sttcp_server_wait(server, 30), -ETIMEDOUT);
	assert_int_equal(sttcp_server_stop(server), 0);
	assert_int_equal(sttcp_server_stop(server), 0);
	assert_int_equal(sttcp_server_wait(server, -1), 0);
	assert_int_equal(sttcp_server_wait(server, 0), 0);
	sttcp_server_free(server);
}

static void stop_from_many_threads_is_one_stop(void **state)
{
	enum {
		THREADS = 6
	};
	struct probe *probe = probe_new();
	struct stopper stoppers[THREADS];

	(void)state;
	for (int round = 0; round < 10; round++) {
		sttcp_server *server = probe_listen(probe, NULL);
		int peer = peer_connect(sttcp_server_port(server));

		for (int i = 0; i < THREADS; i++)
			stopper_start(&stoppers[i], server, i % 2 == 0 ? 0 : 5000);
		for (int i = 0; i < THREADS; i++)
			stopper_finish(&stoppers[i]);
		peer_close(peer);
		sttcp_server_free(server);
	}
	assert_int_equal(probe_count(probe, STTCP_CONNECTION),
			 probe_count(probe, STTCP_DISCONNECTION));
	probe_free(probe);
}

static void restart_again_and_again(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	probe->data = echo_data;
	sttcp_server *server = probe_server(probe, "127.0.0.1", 0, NULL);
	for (int i = 1; i <= 40; i++) {
		int result = -1; /* busy while the last handler returns */
		EVENTUALLY((result = sttcp_server_start(server)) != -EBUSY);
		assert_int_equal(result, 0);
		int peer = peer_connect(sttcp_server_port(server));
		assert_true(peer_say(peer, "x"));
		assert_true(peer_expect(peer, "x"));
		if (i % 2 == 0)
			peer_close(peer);
		assert_int_equal(sttcp_server_stop_within(server, i % 2 == 0 ? -1 : 0, NULL), 0);
		if (i % 2 != 0) {
			assert_int_equal(peer_end(peer), 0);
			peer_close(peer);
		}
		assert_true(probe_wait(probe, STTCP_DISCONNECTION, i));
	}
	sttcp_server_free(server);
	assert_int_equal(probe_count(probe, STTCP_CONNECTION), 40);
	probe_free(probe);
}

static bool nap_a_moment(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	nap_ms(20);
	return echo_data(probe, conn, data, size);
}

static int64_t threads_blocked(sttcp_server *server)
{
	sttcp_stats stats;

	return sttcp_server_stats(server, &stats, sizeof(stats)) == 0 ? stats.threads_blocked : -1;
}

/* Connections that are idle, but whose handlers have blocked once, are no running handlers. One of
 * them may be caught on its way, so that not every round tells. */
static void stop_tells_idle_connections_as_forced(void **state)
{
	enum {
		PEERS = 8,
		ROUNDS = 24,
		ENOUGH = 8
	};
	struct probe *probe = probe_new();
	int all_forced = 0;

	(void)state;
	probe->data = nap_a_moment;
	for (int round = 0; round < ROUNDS && all_forced < ENOUGH; round++) {
		sttcp_server *server = probe_listen(probe, NULL);
		sttcp_stop_report report;
		int peers[PEERS];

		for (int i = 0; i < PEERS; i++) {
			peers[i] = peer_connect(sttcp_server_port(server));
			assert_true(peer_say(peers[i], "x"));
		}
		for (int i = 0; i < PEERS; i++)
			assert_true(peer_expect(peers[i], "x"));
		EVENTUALLY(threads_blocked(server) == 0);
		nap_ms(50); /* until the engine has come to rest, most likely */
		assert_int_equal(sttcp_server_stop_within(server, 0, &report), 0);
		assert_int_equal(report.ended, 0);
		assert_int_equal(report.forced + report.running, PEERS);
		all_forced += report.forced == PEERS;
		for (int i = 0; i < PEERS; i++)
			peer_close(peers[i]);
		sttcp_server_free(server);
	}
	assert_int_equal(all_forced, ENOUGH);
	probe_free(probe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stop_lets_every_connection_come_to_its_end),
		cmocka_unit_test(stop_serves_who_had_connected_before),
		cmocka_unit_test(stop_waits_for_running_handlers),
		cmocka_unit_test(stop_forces_what_is_left_at_the_limit),
		cmocka_unit_test(stop_report_counts_each_kind),
		cmocka_unit_test(stop_later_cannot_lengthen_the_deadline),
		cmocka_unit_test(stop_with_a_stuck_handler_reports_it),
		cmocka_unit_test(free_waits_for_a_stuck_handler),
		cmocka_unit_test(stop_of_what_was_not_started_is_fine),
		cmocka_unit_test(stop_from_many_threads_is_one_stop),
		cmocka_unit_test(restart_again_and_again),
		cmocka_unit_test(stop_tells_idle_connections_as_forced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
