/* SPDX-License-Identifier: MIT */
/* What is the user's: a connection's data are freed exactly once, and an object's context is let go
 * in the very last call. */
#include "support/support.h"

/* ------------------------------------------------------------------- release */

/* The very last call, once, also if never started; free returns after it. */
static void release_is_the_last_call_and_comes_once(void **state)
{
	(void)state;
	for (int started = 0; started < 2; started++) {
		struct probe *serving = probe_new();
		struct probe *calling = probe_new();
		sttcp_server *server = probe_server(serving, "127.0.0.1", 0, NULL);
		int peer = -1;

		if (started) {
			assert_int_equal(sttcp_server_start(server), 0);
			peer = peer_connect(sttcp_server_port(server));
			assert_true(probe_wait(serving, STTCP_CONNECTION, 1));
		}
		assert_int_equal(serving->releases, 0);
		sttcp_server_free(server);
		assert_int_equal(serving->releases, 1);
		assert_int_equal(probe_count(serving, STTCP_DISCONNECTION), started);
		peer_close(peer);

		int port;
		int listener = peer_listen(&port, 8);
		sttcp_client *client = probe_client(calling, "127.0.0.1", port, NULL);
		if (started) {
			assert_int_equal(sttcp_client_start(client), 0);
			assert_true(probe_wait(calling, STTCP_CONNECTION, 1));
		}
		assert_int_equal(calling->releases, 0);
		sttcp_client_free(client);
		assert_int_equal(calling->releases, 1);
		peer_close(listener);
		probe_free(serving);
		probe_free(calling);
	}
}

/* ----------------------------------------------------------------- user data */

static void count_free(void *data)
{
	atomic_fetch_add((atomic_int *)data, 1);
}

static bool set_counted(struct probe *probe, sttcp_conn *conn)
{
	atomic_int *counters = probe->extra;

	sttcp_conn_set_data(conn, &counters[0], count_free);
	if (sttcp_conn_data(conn) != &counters[0])
		probe_violate(probe, "user data is not there");
	sttcp_conn_set_data(conn, &counters[1], count_free);
	return strcmp(probe->address, "decline") != 0;
}

/* free_fn runs once: at replacement, or with the last reference, on any way out. */
static void user_data_is_freed_exactly_once(void **state)
{
	(void)state;
	for (int way = 0; way < 5; way++) {
		struct pair pair = {.probe = probe_new()};
		atomic_int counters[3];

		for (int i = 0; i < 3; i++)
			atomic_init(&counters[i], 0);
		pair.probe->extra = counters;
		pair.probe->connection = set_counted;
		if (way == 4) { /* declined */
			snprintf(pair.probe->address, sizeof(pair.probe->address), "decline");
			pair.server = probe_listen(pair.probe, NULL);
			pair.peer = peer_connect(sttcp_server_port(pair.server));
			assert_int_equal(peer_end(pair.peer), 0);
			pair_close(&pair);
			EVENTUALLY(atomic_load(&counters[1]) == 1);
			assert_int_equal(atomic_load(&counters[0]), 1);
			continue;
		}
		pair_open(&pair, NULL);
		assert_int_equal(atomic_load(&counters[0]), 1);
		assert_int_equal(atomic_load(&counters[1]), 0);
		if (way == 1) {
			sttcp_conn_set_data(pair.conn, &counters[2], count_free);
			assert_int_equal(atomic_load(&counters[1]), 1);
		}
		if (way == 2) {
			sttcp_conn_set_data(pair.conn, NULL, NULL);
			assert_int_equal(atomic_load(&counters[1]), 1);
			assert_null(sttcp_conn_data(pair.conn));
		}
		if (way == 3) { /* the last reference is ours, after the end */
			sttcp_server_free(pair.server);
			pair.server = NULL;
			assert_int_equal(atomic_load(&counters[1]), 0);
			assert_ptr_equal(sttcp_conn_data(pair.conn), &counters[1]);
		}
		sttcp_conn_unref(pair.conn);
		pair.conn = NULL;
		pair_close(&pair);
		for (int i = 0; i < (way == 1 ? 3 : 2); i++)
			EVENTUALLY(atomic_load(&counters[i]) >
				   0); /* the loop's reference goes late */
		for (int i = 0; i < 3; i++)
			assert_int_equal(atomic_load(&counters[i]), i < 2 || way == 1);
	}
}

struct calling_free {
	sttcp_server *server;
	int count;
};

static void call_back(void *data)
{
	struct calling_free *call = data;

	call->count =
		sttcp_server_count(call->server) + sttcp_server_broadcast(call->server, "x", 1);
}

/* free_fn runs outside all locks. */
static void user_data_is_freed_without_a_lock(void **state)
{
	struct pair pair = {.probe = probe_new()};
	struct calling_free call = {0};

	(void)state;
	pair_open(&pair, NULL);
	call.server = pair.server;
	sttcp_conn_set_data(pair.conn, &call, call_back);
	sttcp_conn_set_data(pair.conn, NULL, NULL);
	assert_int_equal(call.count, 2);
	pair_close(&pair);
}

enum {
	GUESTS = 150 /* more than the library's walks take at a time */
};

struct guests {
	atomic_int freed;
	int freed_at_release;
};

static void count_guest(void *data)
{
	atomic_fetch_add(&((struct guests *)data)->freed, 1);
}

static bool welcome(sttcp_conn *conn, void *context)
{
	sttcp_conn_set_data(conn, context, count_guest);
	return true;
}

static void look_at_release(void *context)
{
	struct guests *guests = context;

	guests->freed_at_release = atomic_load(&guests->freed);
}

/* Peers that stay: each connection lives on for its linger time behind its last handler. */
static void user_data_is_freed_before_release(void **state)
{
	(void)state;
	for (int within = 0; within < 2; within++) {
		struct guests guests = {.freed_at_release = -1};
		sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);
		int peers[GUESTS];

		assert_int_equal(sttcp_server_set_context(server, &guests), 0);
		assert_int_equal(sttcp_server_on_connection(server, welcome), 0);
		assert_int_equal(sttcp_server_on_release(server, look_at_release), 0);
		assert_int_equal(sttcp_server_start(server), 0);
		for (int i = 0; i < GUESTS; i++)
			peers[i] = peer_connect(sttcp_server_port(server));
		EVENTUALLY(sttcp_server_count(server) == GUESTS);
		if (within)
			assert_int_equal(sttcp_server_stop_within(server, 0, NULL), 0);
		sttcp_server_free(server);
		assert_int_equal(guests.freed_at_release, GUESTS);
		for (int i = 0; i < GUESTS; i++)
			peer_close(peers[i]);
	}
}

/* Who walks past a connection does not hold its data: what a close has ended is freed when the
 * close is over. */
static void user_data_is_freed_before_a_client_is(void **state)
{
	int port;
	int listener = peer_listen(&port, 64);

	(void)state;
	for (int i = 0; i < 100; i++) {
		struct guests guests = {.freed_at_release = -1};
		sttcp_client *client = sttcp_client_new("127.0.0.1", port, NULL);

		assert_int_equal(sttcp_client_set_context(client, &guests), 0);
		assert_int_equal(sttcp_client_on_connection(client, welcome), 0);
		assert_int_equal(sttcp_client_start(client), 0);
		int peer = peer_accept(listener);
		assert_int_equal(sttcp_client_wait_open(client, DEADLINE_MS), 0);
		sttcp_client_free(client);
		assert_int_equal(atomic_load(&guests.freed), 1);
		peer_close(peer);
	}
	peer_close(listener);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(release_is_the_last_call_and_comes_once),
		cmocka_unit_test(user_data_is_freed_exactly_once),
		cmocka_unit_test(user_data_is_freed_without_a_lock),
		cmocka_unit_test(user_data_is_freed_before_release),
		cmocka_unit_test(user_data_is_freed_before_a_client_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
