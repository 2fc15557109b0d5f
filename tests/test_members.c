/* SPDX-License-Identifier: MIT */
/* Who is a member of a server, and walks over its members. */
#include "support/support.h"

static void each_nothing(sttcp_conn *conn, void *argument)
{
	(void)conn;
	(*(int *)argument)++;
}

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
	EVENTUALLY(sttcp_engine_shutdown() == 0);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(members_are_seen_between_true_and_disconnection),
		cmocka_unit_test(each_runs_on_the_callers_thread),
		cmocka_unit_test(each_may_free_the_server),
		cmocka_unit_test(each_ends_in_a_child_that_was_forked_in_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
