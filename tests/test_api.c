/* SPDX-License-Identifier: MIT */
/* G9 and G12: every call at any time, NULL and ended connections too; references, ids, membership,
 * user data, release. */
#include "support/support.h"

#include <fcntl.h>
#include <sys/socket.h>

static void each_nothing(sttcp_conn *conn, void *argument)
{
	(void)conn;
	(*(int *)argument)++;
}

static void task_nothing(sttcp_conn *conn, void *argument)
{
	(void)conn;
	(void)argument;
}

static void release_nothing(void *context)
{
	(void)context;
}

/* ---------------------------------------------------------------------- NULL */

static void null_server_is_invalid(void **state)
{
	sttcp_stop_report report;
	sttcp_stats stats;
	int count = 0;

	(void)state;
	assert_int_equal(sttcp_server_on_connection(NULL, NULL), -EINVAL);
	assert_int_equal(sttcp_server_on_receive(NULL, NULL), -EINVAL);
	assert_int_equal(sttcp_server_on_end(NULL, NULL), -EINVAL);
	assert_int_equal(sttcp_server_on_disconnection(NULL, NULL), -EINVAL);
	assert_int_equal(sttcp_server_on_universal(NULL, NULL), -EINVAL);
	assert_int_equal(sttcp_server_set_context(NULL, &count), -EINVAL);
	assert_int_equal(sttcp_server_on_release(NULL, release_nothing), -EINVAL);
	assert_int_equal(sttcp_server_add_address(NULL, "127.0.0.1", 0), -EINVAL);
	assert_int_equal(sttcp_server_add_listener(NULL, 0), -EINVAL);
	assert_null(sttcp_server_address(NULL, 0));
	assert_int_equal(sttcp_server_start(NULL), -EINVAL);
	assert_int_equal(sttcp_server_port(NULL), -EINVAL);
	assert_null(sttcp_server_error(NULL));
	assert_int_equal(sttcp_server_close(NULL), -EINVAL);
	assert_int_equal(sttcp_server_stop(NULL), -EINVAL);
	assert_int_equal(sttcp_server_stop_within(NULL, 0, &report), -EINVAL);
	assert_int_equal(sttcp_server_wait(NULL, 0), -EINVAL);
	assert_int_equal(sttcp_server_keep_alive(NULL), -EINVAL);
	sttcp_server_free(NULL);
	assert_int_equal(sttcp_server_broadcast(NULL, "x", 1), -EINVAL);
	assert_int_equal(sttcp_server_broadcast_except(NULL, NULL, "x", 1), -EINVAL);
	assert_int_equal(sttcp_server_each(NULL, each_nothing, &count), -EINVAL);
	assert_int_equal(sttcp_server_count(NULL), -EINVAL);
	assert_null(sttcp_server_find(NULL, 1));
	assert_int_equal(sttcp_server_stats(NULL, &stats, sizeof(stats)), -EINVAL);
	assert_int_equal(count, 0);
}

static void null_client_is_invalid(void **state)
{
	int context;

	(void)state;
	assert_int_equal(sttcp_client_on_connection(NULL, NULL), -EINVAL);
	assert_int_equal(sttcp_client_on_response(NULL, NULL), -EINVAL);
	assert_int_equal(sttcp_client_on_end(NULL, NULL), -EINVAL);
	assert_int_equal(sttcp_client_on_disconnection(NULL, NULL), -EINVAL);
	assert_int_equal(sttcp_client_on_unconnected(NULL, NULL), -EINVAL);
	assert_int_equal(sttcp_client_on_universal(NULL, NULL), -EINVAL);
	assert_int_equal(sttcp_client_set_context(NULL, &context), -EINVAL);
	assert_int_equal(sttcp_client_on_release(NULL, release_nothing), -EINVAL);
	assert_int_equal(sttcp_client_start(NULL), -EINVAL);
	assert_int_equal(sttcp_client_close(NULL), -EINVAL);
	assert_int_equal(sttcp_client_stop(NULL), -EINVAL);
	assert_int_equal(sttcp_client_wait(NULL, 0), -EINVAL);
	assert_int_equal(sttcp_client_keep_alive(NULL), -EINVAL);
	assert_null(sttcp_client_conn(NULL));
	assert_null(sttcp_client_address(NULL));
	assert_null(sttcp_client_error(NULL));
	sttcp_client_free(NULL);
}

static void null_connection_is_invalid(void **state)
{
	struct iovec part = {(char[]){'x'}, 1};
	sttcp_conn_counts counts;

	(void)state;
	assert_int_equal(sttcp_conn_send(NULL, "x", 1), -EINVAL);
	assert_int_equal(sttcp_conn_try_send(NULL, "x", 1), -EINVAL);
	assert_int_equal(sttcp_conn_sendv(NULL, &part, 1), -EINVAL);
	assert_int_equal(sttcp_conn_sendf(NULL, "%d", 1), -EINVAL);
	assert_int_equal(sttcp_conn_flush(NULL), -EINVAL);
	assert_int_equal(sttcp_conn_close(NULL), -EINVAL);
	assert_int_equal(sttcp_conn_abort(NULL), -EINVAL);
	assert_int_equal(sttcp_conn_fail(NULL, 0, "%d", 1), -EINVAL);
	assert_int_equal(sttcp_conn_shutdown(NULL), -EINVAL);
	assert_int_equal(sttcp_conn_reason(NULL), -EINVAL);
	assert_null(sttcp_conn_fail_text(NULL));
	assert_null(sttcp_conn_host(NULL));
	assert_int_equal(sttcp_conn_port(NULL), -EINVAL);
	assert_null(sttcp_conn_address(NULL));
	assert_null(sttcp_conn_local_address(NULL));
	assert_int_equal(sttcp_conn_id(NULL), 0);
	assert_null(sttcp_conn_server(NULL));
	assert_null(sttcp_conn_client(NULL));
	assert_int_equal(sttcp_conn_stats(NULL, &counts, sizeof(counts)), -EINVAL);
	sttcp_conn_set_data(NULL, NULL, NULL);
	assert_null(sttcp_conn_data(NULL));
	assert_null(sttcp_conn_ref(NULL));
	sttcp_conn_unref(NULL);
	assert_false(sttcp_conn_is_open(NULL));
	assert_false(sttcp_conn_stopping(NULL));
	assert_true(sttcp_conn_fd(NULL) < 0);
	assert_int_equal(sttcp_conn_detach(NULL), -EINVAL);
	assert_int_equal(sttcp_conn_run(NULL, task_nothing, NULL, NULL), -EINVAL);
	assert_int_equal(sttcp_conn_after(NULL, 1, task_nothing, NULL, NULL), -EINVAL);
	assert_int_equal(sttcp_conn_every(NULL, 1, task_nothing, NULL, NULL), -EINVAL);
	assert_int_equal(sttcp_conn_cancel(NULL, 1), -EINVAL);
}

static void bad_arguments_are_invalid(void **state)
{
	struct pair pair = {.probe = probe_new()};
	struct iovec part = {(char[]){'x'}, 1};
	sttcp_stats stats;

	(void)state;
	pair_open(&pair, NULL);
	assert_int_equal(sttcp_conn_send(pair.conn, NULL, 1), -EINVAL);
	assert_int_equal(sttcp_conn_try_send(pair.conn, NULL, 1), -EINVAL);
	assert_int_equal(sttcp_conn_sendv(pair.conn, NULL, 1), -EINVAL);
	assert_int_equal(sttcp_conn_sendv(pair.conn, &part, -1), -EINVAL);
	assert_int_equal(sttcp_conn_sendv(pair.conn, &part, 1025), -EINVAL);
	assert_int_equal(sttcp_conn_stats(pair.conn, NULL, sizeof(sttcp_conn_counts)), -EINVAL);
	assert_int_equal(sttcp_server_stats(pair.server, NULL, sizeof(stats)), -EINVAL);
	assert_int_equal(sttcp_server_broadcast(pair.server, NULL, 1), -EINVAL);
	assert_int_equal(sttcp_server_each(pair.server, NULL, NULL), -EINVAL);
	assert_int_equal(sttcp_server_wait(pair.server, -2), -EINVAL);
	assert_int_equal(sttcp_server_stop_within(pair.server, -2, NULL), -EINVAL);
	assert_int_equal(sttcp_conn_send(pair.conn, "", 0), 0);
	assert_int_equal(sttcp_conn_send(pair.conn, "fine", 4), 0); /* nothing of it did harm */
	assert_true(peer_expect(pair.peer, "fine"));
	pair_close(&pair);
}

/* -------------------------------------------------------- ended connections */

/* Every call on a connection that has ended gives its reason, or STTCP_ECLOSED where that is 0. */
static void call_on_the_ended(sttcp_conn *conn, int code)
{
	struct iovec part = {(char[]){'x'}, 1};
	sttcp_conn_counts counts;
	int result;

	assert_int_equal(sttcp_conn_send(conn, "x", 1), code);
	assert_int_equal(sttcp_conn_try_send(conn, "x", 1), code);
	assert_int_equal(sttcp_conn_sendv(conn, &part, 1), code);
	assert_int_equal(sttcp_conn_sendf(conn, "%d", 1), code);
	result = sttcp_conn_flush(conn);
	assert_true(result == 0 || result == code);
	result = sttcp_conn_close(conn);
	assert_true(result == 0 || result == code);
	result = sttcp_conn_abort(conn);
	assert_true(result == 0 || result == code);
	result = sttcp_conn_shutdown(conn);
	assert_true(result == 0 || result == code);
	result = sttcp_conn_fail(conn, -EBADMSG, "too late");
	assert_true(result == 0 || result == code);
	assert_true(sttcp_conn_detach(conn) < 0);
	assert_string_equal(sttcp_conn_fail_text(conn), "");
	assert_string_equal(sttcp_conn_host(conn), "127.0.0.1");
	assert_true(sttcp_conn_port(conn) > 0);
	assert_int_equal(strncmp(sttcp_conn_address(conn), "127.0.0.1:", 10), 0);
	assert_int_equal(strncmp(sttcp_conn_local_address(conn), "127.0.0.1:", 10), 0);
	assert_true(sttcp_conn_id(conn) > 0);
	assert_int_equal(sttcp_conn_stats(conn, &counts, sizeof(counts)), 0);
	assert_int_equal(counts.bytes_in, 5);
	assert_false(sttcp_conn_is_open(conn));
	assert_int_equal(sttcp_conn_fd(conn), -1);
}

/* G12: a reference outlives the connection's end, its server's stop and its server's free. */
static void ended_connection_answers_with_its_reason(void **state)
{
	(void)state;
	for (int reset = 0; reset < 2; reset++) {
		struct pair pair = {.probe = probe_new()};
		int reason = reset ? -ECONNRESET : 0;
		int code = reset ? -ECONNRESET : STTCP_ECLOSED;

		pair_open(&pair, NULL);
		assert_true(peer_say(pair.peer, "hello"));
		assert_true(probe_wait_bytes(pair.probe, 5));
		if (reset)
			peer_reset(pair.peer);
		else
			peer_close(pair.peer);
		pair.peer = -1;
		assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
		EVENTUALLY(sttcp_conn_fd(pair.conn) == -1);
		call_on_the_ended(pair.conn, code);
		assert_ptr_equal(sttcp_conn_server(pair.conn), pair.server);
		assert_int_equal(sttcp_server_stop(pair.server), 0);
		call_on_the_ended(pair.conn, code);
		sttcp_server_free(pair.server);
		pair.server = NULL;
		call_on_the_ended(pair.conn, code);
		assert_null(sttcp_conn_server(pair.conn));
		assert_int_equal(sttcp_conn_reason(pair.conn), reason);
		pair_close(&pair);
	}
}

static void references_count(void **state)
{
	struct pair pair = {.probe = probe_new()};

	(void)state;
	pair_open(&pair, NULL);
	for (int i = 0; i < 100; i++)
		assert_ptr_equal(sttcp_conn_ref(pair.conn), pair.conn);
	sttcp_server_free(pair.server);
	pair.server = NULL;
	for (int i = 0; i < 100; i++)
		sttcp_conn_unref(pair.conn);
	assert_int_equal(sttcp_conn_reason(pair.conn), STTCP_ESTOPPED);
	assert_true(sttcp_conn_id(pair.conn) > 0);
	pair_close(&pair);
}

/* Ids begin at 1 and never repeat, over servers, clients and failed attempts. */
static void ids_never_repeat(void **state)
{
	enum {
		ROUNDS = 20,
		PER_ROUND = 3
	};
	uint64_t ids[ROUNDS * PER_ROUND];
	int count = 0;
	int closed_port;
	int refusing = peer_refuse(&closed_port);

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		struct probe *serving = probe_new();
		struct probe *calling = probe_new();
		struct probe *failing = probe_new();
		sttcp_server *server = probe_listen(serving, NULL);
		sttcp_client *client = probe_dial(calling, sttcp_server_port(server), NULL);
		sttcp_client *refused = probe_dial(failing, closed_port, NULL);

		assert_true(probe_wait(serving, STTCP_CONNECTION, 1));
		assert_true(probe_wait(calling, STTCP_CONNECTION, 1));
		assert_true(probe_wait(failing, STTCP_UNCONNECTED, 1));
		ids[count++] = probe_last_id(serving);
		ids[count++] = probe_last_id(calling);
		ids[count++] = probe_last_id(failing);
		sttcp_client_free(refused);
		sttcp_client_free(client);
		sttcp_server_free(server);
		probe_free(serving);
		probe_free(calling);
		probe_free(failing);
	}
	for (int i = 0; i < count; i++) {
		assert_true(ids[i] >= 1);
		for (int j = 0; j < i; j++)
			assert_true(ids[i] != ids[j]);
	}
	peer_close(refusing);
}

/* ---------------------------------------------------------------- membership */

struct membership {
	int count_at_open, found_at_open, each_at_open;
	int count_at_data, found_at_data, each_at_data;
	int count_at_end, found_at_end, each_at_end;
};

static void look(sttcp_conn *conn, int *count, int *found, int *each)
{
	sttcp_server *server = sttcp_conn_server(conn);
	sttcp_conn *self = sttcp_server_find(server, sttcp_conn_id(conn));

	*count = sttcp_server_count(server);
	*found = self == conn;
	*each = 0;
	sttcp_server_each(server, each_nothing, each);
	sttcp_conn_unref(self);
}

static bool look_at_open(struct probe *probe, sttcp_conn *conn)
{
	struct membership *seen = probe->extra;

	look(conn, &seen->count_at_open, &seen->found_at_open, &seen->each_at_open);
	return true;
}

static bool look_at_data(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	struct membership *seen = probe->extra;

	(void)data;
	(void)size;
	look(conn, &seen->count_at_data, &seen->found_at_data, &seen->each_at_data);
	return true;
}

static void look_at_end(struct probe *probe, sttcp_conn *conn, int reason)
{
	struct membership *seen = probe->extra;

	(void)reason;
	look(conn, &seen->count_at_end, &seen->found_at_end, &seen->each_at_end);
}

/* Each, find and count see a connection from its connection handler's true until its disconnection
 * handler starts. */
static void members_are_seen_between_true_and_disconnection(void **state)
{
	struct membership seen = {0};
	struct pair pair = {.probe = probe_new()};

	(void)state;
	pair.probe->extra = &seen;
	pair.probe->connection = look_at_open;
	pair.probe->data = look_at_data;
	pair.probe->ended = look_at_end;
	pair_open(&pair, NULL);
	assert_true(peer_say(pair.peer, "x"));
	assert_true(probe_wait(pair.probe, STTCP_RECEIVE, 1));
	assert_null(sttcp_server_find(pair.server, 0));
	assert_null(sttcp_server_find(pair.server, sttcp_conn_id(pair.conn) + 1000));
	peer_shutdown(pair.peer);
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(sttcp_server_count(pair.server), 0);
	assert_null(sttcp_server_find(pair.server, sttcp_conn_id(pair.conn)));
	pair_close(&pair);
	assert_int_equal(seen.count_at_open, 0);
	assert_int_equal(seen.found_at_open, 0);
	assert_int_equal(seen.each_at_open, 0);
	assert_int_equal(seen.count_at_data, 1);
	assert_int_equal(seen.found_at_data, 1);
	assert_int_equal(seen.each_at_data, 1);
	assert_int_equal(seen.count_at_end, 0);
	assert_int_equal(seen.found_at_end, 0);
	assert_int_equal(seen.each_at_end, 0);
}

struct visit {
	pthread_t thread;
	int calls;
	bool elsewhere;
};

static void visit_and_end(sttcp_conn *conn, void *argument)
{
	struct visit *visit = argument;

	visit->calls++;
	if (!pthread_equal(visit->thread, pthread_self()))
		visit->elsewhere = true;
	sttcp_conn_abort(conn); /* no lock is held */
}

static void each_runs_on_the_callers_thread(void **state)
{
	enum {
		PEERS = 150
	};
	struct probe *probe = probe_new();
	struct visit visit = {.thread = pthread_self()};
	sttcp_server *server = probe_listen(probe, NULL);
	int peers[PEERS];

	(void)state;
	for (int i = 0; i < PEERS; i++)
		peers[i] = peer_connect(sttcp_server_port(server));
	EVENTUALLY(sttcp_server_count(server) == PEERS);
	assert_int_equal(sttcp_server_each(server, visit_and_end, &visit), PEERS);
	assert_int_equal(visit.calls, PEERS);
	assert_false(visit.elsewhere);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, PEERS));
	assert_int_equal(sttcp_server_each(server, visit_and_end, &visit), 0);
	for (int i = 0; i < PEERS; i++)
		peer_close(peers[i]);
	sttcp_server_free(server);
	probe_free(probe);
}

/* With the engine every reference of the library's goes: the walk has the last ones. */
static void free_at_once(sttcp_conn *conn, void *argument)
{
	sttcp_server **server = argument;

	(void)conn;
	sttcp_server_free(*server);
	*server = NULL;
	assert_int_equal(sttcp_engine_shutdown(), 0);
}

static void each_may_free_the_server(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server = probe_listen(probe, NULL);
	int peer = peer_connect(sttcp_server_port(server));

	(void)state;
	EVENTUALLY(sttcp_server_count(server) == 1);
	assert_int_equal(sttcp_server_each(server, free_at_once, &server), 1);
	assert_null(server);
	assert_int_equal(probe->releases, 1);
	peer_close(peer);
	probe_free(probe);
}

struct forking {
	pid_t pid;
	int calls;
};

static void fork_in_walk(sttcp_conn *conn, void *argument)
{
	struct forking *forking = argument;

	(void)conn;
	if (!forking->calls++)
		forking->pid = process_fork();
}

static bool join_red(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	return sttcp_conn_join(conn, "red") == 0;
}

/* G17: the child that goes on after the function sees nothing more of the parent's. */
static void each_ends_in_a_child_that_was_forked_in_it(void **state)
{
	struct probe *probe = probe_new();
	int peers[3];

	(void)state;
	probe->connection = join_red;

	sttcp_server *server = probe_listen(probe, NULL);

	for (int i = 0; i < 3; i++)
		peers[i] = peer_connect(sttcp_server_port(server));
	EVENTUALLY(sttcp_server_count_in(server, "red") == 3);
	for (int rooms = 0; rooms < 2; rooms++) {
		struct forking forking = {.pid = -1};
		int result = rooms ? sttcp_server_each_in(server, "red", fork_in_walk, &forking)
				   : sttcp_server_each(server, fork_in_walk, &forking);

		if (!forking.pid)
			_exit(result == STTCP_EFORK && forking.calls == 1 ? 0 : 1);
		assert_int_equal(result, 3);
		assert_int_equal(forking.calls, 3);
		assert_int_equal(process_wait_pid(forking.pid), 0);
	}
	for (int i = 0; i < 3; i++)
		peer_close(peers[i]);
	sttcp_server_free(server);
	probe_free(probe);
}

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

/* -------------------------------------------------------------------- detach */

static bool detach_at_data(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	atomic_int *fd = probe->extra;

	(void)data;
	(void)size;
	sttcp_conn_send(conn, "switching", 9);
	atomic_store(fd, sttcp_conn_detach(conn));
	return true;
}

static void detach_gives_the_blocking_descriptor_away(void **state)
{
	(void)state;
	for (int inside = 0; inside < 2; inside++) {
		struct pair pair = {.probe = probe_new()};
		atomic_int fd;
		char got[8];

		atomic_init(&fd, -1);
		pair.probe->extra = &fd;
		pair.probe->data = inside ? detach_at_data : NULL;
		pair_open(&pair, NULL);
		assert_true(peer_say(pair.peer, "x"));
		assert_true(probe_wait(pair.probe, STTCP_RECEIVE, 1));
		if (inside) {
			assert_true(peer_expect(pair.peer, "switching"));
		} else {
			int result;
			EVENTUALLY((result = sttcp_conn_detach(pair.conn)) != -EBUSY);
			atomic_store(&fd, result);
		}
		assert_true(atomic_load(&fd) >= 0);
		assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
		assert_int_equal(probe_reason(pair.probe), STTCP_ECLOSED);
		assert_int_equal(sttcp_conn_send(pair.conn, "x", 1), STTCP_ECLOSED);
		assert_int_equal(sttcp_conn_fd(pair.conn), -1);
		sttcp_server_free(pair.server);
		pair.server = NULL;
		assert_int_equal(fcntl(atomic_load(&fd), F_GETFL) & O_NONBLOCK, 0);
		assert_true(peer_send(atomic_load(&fd), "mine now", 8));
		assert_true(peer_expect(pair.peer, "mine now"));
		assert_true(peer_say(pair.peer, "yours"));
		assert_true(peer_recv(atomic_load(&fd), got, 5));
		assert_memory_equal(got, "yours", 5);
		close(atomic_load(&fd));
		assert_int_equal(peer_end(pair.peer), 0);
		pair_close(&pair);
	}
}

static struct event detach_gate = EVENT_INIT;

static bool block_at_data(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)conn;
	(void)data;
	(void)size;
	event_raise(probe->extra);
	event_wait(&detach_gate, 1);
	return true;
}

static void detach_is_busy_while_another_thread_handles(void **state)
{
	struct pair pair = {.probe = probe_new()};
	struct event inside = EVENT_INIT;

	(void)state;
	pair.probe->extra = &inside;
	pair.probe->data = block_at_data;
	pair_open(&pair, NULL);
	assert_true(peer_say(pair.peer, "x"));
	assert_true(event_wait(&inside, 1));
	assert_int_equal(sttcp_conn_detach(pair.conn), -EBUSY);
	assert_true(sttcp_conn_is_open(pair.conn));
	event_raise(&detach_gate);
	pair_close(&pair);
}

static void detach_wants_an_empty_queue(void **state)
{
	static char part[64 * 1024];
	struct pair pair = {.probe = probe_new()};

	(void)state;
	pair_open(&pair, NULL);
	while (sttcp_conn_try_send(pair.conn, part, sizeof(part)) == 0)
		;
	int result = 0;
	EVENTUALLY((result = sttcp_conn_detach(pair.conn)) != -EBUSY);
	assert_int_equal(result, -EAGAIN);
	assert_true(sttcp_conn_is_open(pair.conn));
	sttcp_conn_abort(pair.conn);
	pair_close(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(null_server_is_invalid),
		cmocka_unit_test(null_client_is_invalid),
		cmocka_unit_test(null_connection_is_invalid),
		cmocka_unit_test(bad_arguments_are_invalid),
		cmocka_unit_test(ended_connection_answers_with_its_reason),
		cmocka_unit_test(references_count),
		cmocka_unit_test(ids_never_repeat),
		cmocka_unit_test(members_are_seen_between_true_and_disconnection),
		cmocka_unit_test(each_runs_on_the_callers_thread),
		cmocka_unit_test(each_may_free_the_server),
		cmocka_unit_test(each_ends_in_a_child_that_was_forked_in_it),
		cmocka_unit_test(release_is_the_last_call_and_comes_once),
		cmocka_unit_test(user_data_is_freed_exactly_once),
		cmocka_unit_test(user_data_is_freed_without_a_lock),
		cmocka_unit_test(detach_gives_the_blocking_descriptor_away),
		cmocka_unit_test(detach_is_busy_while_another_thread_handles),
		cmocka_unit_test(detach_wants_an_empty_queue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
