/* SPDX-License-Identifier: MIT */
/* G4, G8 and G10: handlers block, others go on, and run in parallel; threads come and go. */
#include "support/hall.h"

#include <time.h>

enum {
	BLOCKED = 64
};

static bool block_on_b(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	if (*(const char *)data == 'b')
		hall_stay(probe->extra);
	sttcp_conn_send(conn, data, size);
	return true;
}

static void say_b(int *peers, int count, int port)
{
	for (int i = 0; i < count; i++) {
		peers[i] = peer_connect(port);
		assert_true(peers[i] >= 0);
		assert_true(peer_say(peers[i], "b"));
	}
}

static void expect_b(int *peers, int count)
{
	for (int i = 0; i < count; i++) {
		assert_true(peer_expect(peers[i], "b"));
		peer_close(peers[i]);
	}
}

/* G8: others, new ones, timers and clients go on as if nobody were blocked. */
static void others_go_on_while_64_handlers_block(void **state)
{
	struct probe *probe = probe_new();
	struct probe *calling = probe_new();
	struct hall hall;
	struct blackhole hole;
	int peers[BLOCKED];

	(void)state;
	hall_init(&hall);
	probe->data = block_on_b;
	probe->extra = &hall;
	sttcp_server *server = probe_listen(probe, NULL);
	int port = sttcp_server_port(server);
	int before[4];
	for (int i = 0; i < 4; i++)
		before[i] = peer_connect(port);
	say_b(peers, BLOCKED, port);
	assert_true(event_wait(&hall.inside, BLOCKED));
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 4; i++) {
			assert_true(peer_say(before[i], "quick"));
			assert_true(peer_expect(before[i], "quick"));
		}
		int fresh = peer_connect(port);
		assert_true(peer_say(fresh, "new"));
		assert_true(peer_expect(fresh, "new"));
		peer_close(fresh);
	}
	/* A client gets its handlers; a timeout ends in time. */
	sttcp_client *client = probe_dial(calling, port, NULL);
	assert_true(probe_wait(calling, STTCP_CONNECTION, 1));
	sttcp_client_free(client);
	if (blackhole_open(&hole)) {
		client = probe_dial(calling, hole.port, STTCP_OPTIONS(.connect_timeout_ms = 100));
		assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), STTCP_ETIME_CONNECT);
		sttcp_client_free(client);
		blackhole_close(&hole);
	}
	assert_int_equal(event_count(&hall.gate), 0); /* they were blocked all the time */
	sttcp_stats stats;
	assert_int_equal(sttcp_server_stats(server, &stats, sizeof(stats)), 0);
	assert_true(stats.threads_blocked >= BLOCKED / 2);
	assert_true(stats.longest_ms > 0);
	assert_true(stats.longest_id > 0);
	event_raise(&hall.gate);
	expect_b(peers, BLOCKED);
	for (int i = 0; i < 4; i++)
		peer_close(before[i]);
	sttcp_server_free(server);
	probe_free(calling);
	probe_free(probe);
}

static bool block_first(struct probe *probe, sttcp_conn *conn)
{
	struct hall *hall = probe->extra;

	(void)conn;
	if (event_count(&hall->inside) < BLOCKED)
		hall_stay(hall);
	return true;
}

static void block_last(struct probe *probe, sttcp_conn *conn, int reason)
{
	struct hall *hall = probe->extra;

	(void)conn;
	(void)reason;
	if (event_count(&hall->inside) < BLOCKED)
		hall_stay(hall);
}

/* The same when it is connection handlers that block: no accept waits for them. */
static void others_go_on_while_connection_handlers_block(void **state)
{
	struct probe *probe = probe_new();
	struct hall hall;
	int peers[BLOCKED];

	(void)state;
	hall_init(&hall);
	probe->connection = block_first;
	probe->data = echo_data;
	probe->extra = &hall;
	sttcp_server *server = probe_listen(probe, NULL);
	for (int i = 0; i < BLOCKED; i++) {
		peers[i] = peer_connect(sttcp_server_port(server));
		assert_true(peer_say(peers[i], "b"));
	}
	assert_true(event_wait(&hall.inside, BLOCKED));
	for (int i = 0; i < 10; i++) {
		int peer = peer_connect(sttcp_server_port(server));
		assert_true(peer_say(peer, "x"));
		assert_true(peer_expect(peer, "x"));
		peer_close(peer);
	}
	event_raise(&hall.gate);
	expect_b(peers, BLOCKED);
	sttcp_server_free(server);
	probe_free(probe);
}

static void others_go_on_while_disconnection_handlers_block(void **state)
{
	struct probe *probe = probe_new();
	struct hall hall;

	(void)state;
	hall_init(&hall);
	probe->ended = block_last;
	probe->data = echo_data;
	probe->extra = &hall;
	sttcp_server *server = probe_listen(probe, NULL);
	for (int i = 0; i < BLOCKED; i++)
		peer_close(peer_connect(sttcp_server_port(server)));
	assert_true(event_wait(&hall.inside, BLOCKED));
	for (int i = 0; i < 10; i++) {
		int peer = peer_connect(sttcp_server_port(server));
		assert_true(peer_say(peer, "x"));
		assert_true(peer_expect(peer, "x"));
		peer_close(peer);
	}
	event_raise(&hall.gate);
	sttcp_server_free(server);
	probe_free(probe);
}

/* Calls that block for less than the monitor's look serialise nobody for long. */
static bool sleep_a_little(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	struct timespec moment = {0, 300000};

	nanosleep(&moment, NULL);
	return echo_data(probe, conn, data, size);
}

static void short_blocks_are_all_served(void **state)
{
	struct probe *probe = probe_new();
	int peers[BLOCKED];

	(void)state;
	probe->data = sleep_a_little;
	sttcp_server *server = probe_listen(probe, NULL);
	for (int i = 0; i < BLOCKED; i++)
		peers[i] = peer_connect(sttcp_server_port(server));
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < BLOCKED; i++)
			assert_true(peer_say(peers[i], "x"));
		for (int i = 0; i < BLOCKED; i++)
			assert_true(peer_expect(peers[i], "x"));
	}
	for (int i = 0; i < BLOCKED; i++)
		peer_close(peers[i]);
	sttcp_server_free(server);
	probe_free(probe);
}

/* G4: handlers of different connections run in parallel: these meet. */
static bool meet(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	struct hall *hall = probe->extra;

	event_raise(&hall->inside);
	if (event_wait(&hall->inside, 8))
		sttcp_conn_send(conn, data, size);
	return true;
}

static void handlers_of_different_connections_run_in_parallel(void **state)
{
	struct probe *probe = probe_new();
	struct hall hall;
	int peers[8];

	(void)state;
	hall_init(&hall);
	probe->data = meet;
	probe->extra = &hall;
	sttcp_server *server = probe_listen(probe, NULL);
	say_b(peers, 8, sttcp_server_port(server));
	expect_b(peers, 8);
	sttcp_server_free(server);
	probe_free(probe);
}

/* ------------------------------------------------------------------- threads */

/* G8: threads come when handlers block, and leave when they have nothing to do. The one test that
 * has to wait for time: threads leave after some seconds. */
static void idle_threads_leave(void **state)
{
	struct probe *probe = probe_new();
	struct hall hall;
	int peers[BLOCKED];

	(void)state;
	hall_init(&hall);
	probe->data = block_on_b;
	probe->extra = &hall;
	sttcp_server *server = probe_listen(probe, NULL);
	EVENTUALLY(count_threads() <= 2 * sysconf(_SC_NPROCESSORS_ONLN) + 3 + UNDER_TSAN);
	int least = count_threads();
	say_b(peers, BLOCKED, sttcp_server_port(server));
	assert_true(event_wait(&hall.inside, BLOCKED));
	assert_true(count_threads() >= BLOCKED);
	event_raise(&hall.gate);
	expect_b(peers, BLOCKED);
	EVENTUALLY(count_threads() <= least);
	sttcp_server_free(server);
	probe_free(probe);
}

/* G8: an idle connection has no thread. */
static void idle_connections_have_no_thread(void **state)
{
	enum {
		PEERS = 300
	};
	struct probe *probe = probe_new();
	static int peers[PEERS];

	(void)state;
	probe->data = echo_data;
	sttcp_server *server = probe_listen(probe, NULL);
	for (int i = 0; i < PEERS; i++) {
		peers[i] = peer_connect(sttcp_server_port(server));
		assert_true(peer_say(peers[i], "x"));
	}
	for (int i = 0; i < PEERS; i++)
		assert_true(peer_expect(peers[i], "x"));
	assert_int_equal(sttcp_server_count(server), PEERS);
	EVENTUALLY(count_threads() <= 2 * sysconf(_SC_NPROCESSORS_ONLN) + 3 + UNDER_TSAN);
	for (int i = 0; i < PEERS; i++) {
		assert_true(peer_say(peers[i], "y")); /* they are all alive */
		assert_true(peer_expect(peers[i], "y"));
		peer_close(peers[i]);
	}
	sttcp_server_free(server);
	probe_free(probe);
}

/* Lines, and a look at one that begins with "b" blocks. */
static int frame_that_blocks(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
			     void *context)
{
	const struct probe *probe = context;
	const char *end = memchr(data, '\n', size);

	(void)conn;
	if (end && *(const char *)data == 'b')
		hall_stay(probe->extra);
	if (end)
		frame->size = frame->total = (size_t)(end - (const char *)data) + 1;
	return end ? 1 : 0;
}

/* G8: what a user wrote may block, also where it only looks for the end of a message. */
static void others_go_on_while_frame_functions_block(void **state)
{
	struct hall hall;
	struct probe *probe = probe_new();
	int blocked[8];
	int quick[8];

	(void)state;
	hall_init(&hall);
	probe->extra = &hall;
	probe->data = echo_data;
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.framing = STTCP_FRAMING_CUSTOM,
								 .frame_fn = frame_that_blocks));
	int port = sttcp_server_port(server);
	for (int i = 0; i < 8; i++)
		quick[i] = peer_connect(port);
	for (int i = 0; i < 8; i++) {
		blocked[i] = peer_connect(port);
		assert_true(peer_say(blocked[i], "q1\nb\nq2\n"));
	}
	assert_true(event_wait(&hall.inside, 8));
	for (int i = 0; i < 8; i++) {
		/* What was answered before has left. */
		assert_true(peer_expect(blocked[i], "q1\n"));
		assert_true(peer_say(quick[i], "hello\n"));
		assert_true(peer_expect(quick[i], "hello\n"));
		peer_close(quick[i]);
	}
	event_raise(&hall.gate);
	for (int i = 0; i < 8; i++) {
		assert_true(peer_expect(blocked[i], "b\nq2\n"));
		peer_close(blocked[i]);
	}
	sttcp_server_free(server);
	probe_free(probe);
}

static struct event alarmed = EVENT_INIT;
static struct event alarm_gate = EVENT_INIT;

static void block_at_the_end(sttcp_conn *conn, int reason, void *context)
{
	(void)conn;
	(void)context;
	CHECK(reason == STTCP_ETIME_IDLE);
	event_raise(&alarmed);
	event_wait_ms(&alarm_gate, 1, 3 * DEADLINE_MS);
}

static void answer(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)context;
	sttcp_conn_send(conn, data, size);
}

/* There is one loop, and all is asleep until its timer rings, the monitor, too. */
static int block_in_what_a_timer_brought(void)
{
	const sttcp_options options = {.size = sizeof(options), .idle_timeout_ms = 300};
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, &options);
	sttcp_server *other = sttcp_server_new("127.0.0.1", 0, NULL);

	CHECK(server && other);
	CHECK(sttcp_engine_configure(1, 0, 0) == 0);
	CHECK(sttcp_server_on_disconnection(server, block_at_the_end) == 0);
	CHECK(sttcp_server_on_receive(server, answer) == 0);
	CHECK(sttcp_server_on_receive(other, answer) == 0);
	CHECK(sttcp_server_start(server) == 0);
	CHECK(sttcp_server_start(other) == 0);
	int peer = peer_connect(sttcp_server_port(server));

	CHECK(event_wait(&alarmed, 1));
	int second = peer_connect(sttcp_server_port(other));

	CHECK(peer_say(second, "hello"));
	CHECK(peer_expect(second, "hello"));
	event_raise(&alarm_gate);
	peer_close(second);
	peer_close(peer);
	sttcp_server_free(other);
	sttcp_server_free(server);
	return 0;
}

/* G8 */
static void others_go_on_while_the_handler_of_a_timeout_blocks(void **state)
{
	(void)state;
	assert_int_equal(process_run("block_in_what_a_timer_brought"), 0);
}

static const struct child children[] = {
	{"block_in_what_a_timer_brought", block_in_what_a_timer_brought},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		/* First: no storm of another test may send these to the pool. */
		cmocka_unit_test(others_go_on_while_frame_functions_block),
		cmocka_unit_test(others_go_on_while_64_handlers_block),
		cmocka_unit_test(others_go_on_while_connection_handlers_block),
		cmocka_unit_test(others_go_on_while_disconnection_handlers_block),
		cmocka_unit_test(others_go_on_while_the_handler_of_a_timeout_blocks),
		cmocka_unit_test(short_blocks_are_all_served),
		cmocka_unit_test(handlers_of_different_connections_run_in_parallel),
		cmocka_unit_test(idle_threads_leave),
		cmocka_unit_test(idle_connections_have_no_thread),
	};

	if (argc == 2)
		return child_main(children, argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
