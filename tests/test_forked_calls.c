/* SPDX-License-Identifier: MIT */
/* G17, a call on a thread of the program's own that calls back, where that forks: the child goes on
 * behind the call. It leaves the parent's objects alone, waits for none of the threads that it does
 * not have, and is told so; and objects of its own work there. */
#include "support/support.h"

#include <sys/wait.h>

/* Children of a process with threads make threads of their own here. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "die_after_fork=0";
}

enum {
	/* One that hangs is ended by this. */
	CHILD_LIFE_S = 60
};

static _Thread_local bool is_of_program; /* others log, too */
static pid_t child = -1;		 /* 0 in it */
static size_t used_there;		 /* memory, right after the fork */
static sttcp_server *made_there;

static void fork_once(void)
{
	if (child != -1)
		return;
	child = process_fork();
	if (child)
		return;
	alarm(CHILD_LIFE_S);
	used_there = bytes_in_use();
}

static void fork_in_log(int level, const char *text, void *context)
{
	(void)level;
	(void)text;
	(void)context;
	if (is_of_program)
		fork_once();
}

static void fork_in_free(void *argument)
{
	(void)argument;
	fork_once();
}

/* What the program does after it in the child: an object of its own is served. */
static bool works_here(void)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);

	if (sttcp_server_start(server) < 0)
		return false;
	int peer = peer_connect(sttcp_server_port(server));
	bool works = peer >= 0;

	peer_close(peer);
	sttcp_server_free(server);
	return works && sttcp_engine_shutdown() == 0;
}

/* Behind the call: the child says whether all is as it should be. */
static void expect_child(bool as_it_should_be)
{
	if (!child)
		_exit(as_it_should_be && works_here() ? 0 : 1);
	sttcp_set_log(NULL, NULL);

	pid_t forked = child;

	child = -1;
	assert_true(forked > 0);
	assert_int_equal(process_wait_pid(forked), 0);
}

/* ---------------------------------------------------------------------- log */

static void stop_ends_in_a_child_of_its_log_callback(void **state)
{
	(void)state;
	for (int frees = 0; frees < 2; frees++) {
		struct pair pair = {0};
		int result = STTCP_EFORK;

		pair_open(&pair, NULL);
		EVENTUALLY(sttcp_server_count(pair.server) == 1);
		sttcp_set_log(fork_in_log, NULL);
		if (frees) {
			sttcp_conn_unref(pair.conn);
			sttcp_server_free(pair.server);
		} else {
			result = sttcp_server_stop_within(pair.server, 0, NULL);
		}
		expect_child(result == STTCP_EFORK);
		if (frees) {
			assert_int_equal(peer_end(pair.peer), 0);
			peer_close(pair.peer);
			probe_free(pair.probe);
		} else {
			assert_int_equal(result, 0);
			pair_close(&pair);
		}
	}
}

static void start_that_fails_ends_in_a_child_of_its_log_callback(void **state)
{
	int port;
	int taken = peer_listen(&port, 1);
	sttcp_server *server = sttcp_server_new("127.0.0.1", port, NULL);
	sttcp_client *client = sttcp_client_new("127.0.0.1", 0, NULL);

	(void)state;
	sttcp_set_log(fork_in_log, NULL);
	int result = sttcp_server_start(server);

	expect_child(result == STTCP_EFORK);
	assert_int_equal(result, -EADDRINUSE);
	sttcp_set_log(fork_in_log, NULL);
	result = sttcp_client_start(client);
	expect_child(result == STTCP_EFORK);
	assert_int_equal(result, -EINVAL);
	sttcp_server_free(server);
	sttcp_client_free(client);
	peer_close(taken);
}

static char path[64];
static bool is_left; /* its file, by the child */

static void fork_and_wait_in_log(int level, const char *text, void *context)
{
	siginfo_t info;

	fork_in_log(level, text, context);
	if (child <= 0)
		return;
	assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
	is_left = access(path, F_OK) == 0;
}

/* The child has the parent's listening sockets, and their files. */
static void start_that_fails_in_a_child_takes_nothing_back(void **state)
{
	char host[80];

	(void)state;
	snprintf(path, sizeof(path), "/tmp/sttcp-forked-%d", (int)getpid());
	snprintf(host, sizeof(host), "unix:%s", path);
	sttcp_server *server = sttcp_server_new(host, 0, NULL);

	assert_int_equal(sttcp_server_add_address(server, "[127.0.0.1]", 0), 0);
	sttcp_set_log(fork_and_wait_in_log, NULL);
	int result = sttcp_server_start(server);

	expect_child(result == STTCP_EFORK);
	assert_true(is_left);
	assert_int_equal(result, STTCP_ERESOLVE);
	assert_int_equal(access(path, F_OK), -1);
	sttcp_server_free(server);
}

static void resume_ends_in_a_child_of_its_log_callback(void **state)
{
	struct pair pair = {0};

	(void)state;
	pair_open(&pair, NULL);
	assert_int_equal(sttcp_conn_pause(pair.conn), 0);
	sttcp_log_level(4);
	sttcp_set_log(fork_in_log, NULL);
	int result = sttcp_conn_resume(pair.conn);

	sttcp_log_level(3);
	expect_child(result == STTCP_EFORK);
	assert_int_equal(result, 0);
	assert_true(peer_say(pair.peer, "x"));
	assert_true(probe_wait_bytes(pair.probe, 1));
	pair_close(&pair);
}

/* --------------------------------------------------------------------- free */

static void never(sttcp_conn *conn, void *argument)
{
	(void)conn;
	(void)argument;
}

static void cancel_ends_in_a_child_of_its_free_fn(void **state)
{
	struct pair pair = {0};

	(void)state;
	pair_open(&pair, NULL);
	int64_t id = sttcp_conn_after(pair.conn, 3600000, never, NULL, fork_in_free);

	assert_true(id > 0);
	int result = sttcp_conn_cancel(pair.conn, id);

	expect_child(result == STTCP_EFORK);
	assert_int_equal(result, 0);
	pair_close(&pair);
}

static void unref_ends_in_a_child_of_its_free_fn(void **state)
{
	struct pair pair = {0};

	(void)state;
	pair_open(&pair, NULL);
	sttcp_conn_set_data(pair.conn, &pair, fork_in_free);
	sttcp_server_free(pair.server);
	EVENTUALLY(sttcp_engine_shutdown() == 0);
	/* The last one of all. */
	sttcp_conn_unref(pair.conn);
	expect_child(bytes_in_use() == used_there);
	peer_close(pair.peer);
	probe_free(pair.probe);
}

/* ------------------------------------------------------------------- release */

static void fork_in_release(void *context)
{
	(void)context;
	fork_once();
	if (!child)
		made_there = sttcp_server_new("127.0.0.1", 0, NULL);
}

/* The parent's server goes from no list of the child's: the one that it has made is found there. */
static void free_ends_in_a_child_of_its_release_function(void **state)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);
	bool found = true;

	(void)state;
	assert_int_equal(sttcp_server_on_release(server, fork_in_release), 0);
	sttcp_server_free(server);
	if (!child) {
		found = sttcp_server_start(made_there) == 0 && sttcp_engine_shutdown() == -EBUSY;
		sttcp_server_free(made_there);
	}
	expect_child(found);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stop_ends_in_a_child_of_its_log_callback),
		cmocka_unit_test(start_that_fails_ends_in_a_child_of_its_log_callback),
		cmocka_unit_test(start_that_fails_in_a_child_takes_nothing_back),
		cmocka_unit_test(resume_ends_in_a_child_of_its_log_callback),
		cmocka_unit_test(cancel_ends_in_a_child_of_its_free_fn),
		cmocka_unit_test(unref_ends_in_a_child_of_its_free_fn),
		cmocka_unit_test(free_ends_in_a_child_of_its_release_function),
	};

	is_of_program = true;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
