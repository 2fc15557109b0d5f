/* SPDX-License-Identifier: MIT */
/* G1 and G16: a server that is started again as soon as a run is over. Who waits for a run, or
 * stops it, comes back when that run is over, and what a run has left behind concerns no later one.
 */
#include "support/support.h"

#include <sys/socket.h>
#include <sys/syscall.h>

/* ------------------------------------------------------------- several threads */

struct thread {
	pthread_t thread;
	sttcp_server *server;
	atomic_int tid; /* from the moment on in which it does nothing more before its call */
	atomic_int result;
	struct event done;
};

static void thread_start(struct thread *thread, sttcp_server *server, void *(*run)(void *))
{
	struct event fresh = EVENT_INIT;

	thread->server = server;
	thread->done = fresh;
	atomic_init(&thread->tid, 0);
	atomic_init(&thread->result, 1);
	assert_int_equal(pthread_create(&thread->thread, NULL, run, thread), 0);
}

static void thread_finish(struct thread *thread)
{
	assert_true(event_wait(&thread->done, 1));
	pthread_join(thread->thread, NULL);
	assert_int_equal(atomic_load(&thread->result), 0);
}

static void *run_wait(void *argument)
{
	struct thread *thread = argument;

	atomic_store(&thread->tid, (int)syscall(SYS_gettid));
	atomic_store(&thread->result, sttcp_server_wait(thread->server, -1));
	event_raise(&thread->done);
	return NULL;
}

static void *run_stop(void *argument)
{
	struct thread *thread = argument;

	atomic_store(&thread->result, sttcp_server_stop(thread->server));
	event_raise(&thread->done);
	return NULL;
}

static void *run_wait_and_start(void *argument)
{
	struct thread *thread = argument;

	atomic_store(&thread->tid, (int)syscall(SYS_gettid));
	int result = sttcp_server_wait(thread->server, -1);
	atomic_store(&thread->result, result == 0 ? sttcp_server_start(thread->server) : result);
	event_raise(&thread->done);
	return NULL;
}

/* The next run has begun when they look: it is not theirs. */
static void wait_returns_though_the_next_run_has_begun(void **state)
{
	enum {
		ROUNDS = 40,
		WAITERS = 4
	};
	static struct thread waiters[WAITERS], supervisor, stopper;
	struct probe *probe = probe_new();

	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		sttcp_server *server = probe_listen(probe, NULL);

		thread_start(&supervisor, server, run_wait_and_start);
		EVENTUALLY(thread_sleeps(atomic_load(&supervisor.tid)));
		for (int i = 0; i < WAITERS; i++) {
			thread_start(&waiters[i], server, run_wait);
			EVENTUALLY(thread_sleeps(atomic_load(&waiters[i].tid)));
		}
		thread_start(&stopper, server, run_stop);
		thread_finish(&supervisor);
		thread_finish(&stopper);
		for (int i = 0; i < WAITERS; i++)
			thread_finish(&waiters[i]);
		assert_int_equal(sttcp_server_wait(server, 0), -ETIMEDOUT); /* the next run */
		sttcp_server_free(server);
	}
	probe_free(probe);
}

static atomic_bool starting;

static void *run_starts(void *argument)
{
	struct thread *thread = argument;
	int result = 0;

	while (atomic_load(&starting) && (result == 0 || result == -EBUSY))
		result = sttcp_server_start(thread->server);
	atomic_store(&thread->result, result == -EBUSY ? 0 : result);
	event_raise(&thread->done);
	return NULL;
}

static void *run_stops(void *argument)
{
	struct thread *thread = argument;
	int result = 0;

	for (int i = 0; i < (UNDER_TSAN ? 2000 : 20000) && result == 0; i++)
		result = sttcp_server_stop_within(thread->server, 0, NULL);
	atomic_store(&thread->result, result);
	event_raise(&thread->done);
	return NULL;
}

/* The same for a stop: it ends one run, and does not wait for the end of the next. */
static void stop_returns_though_the_next_run_has_begun(void **state)
{
	static struct thread starter, stopper;
	struct probe *probe = probe_new();
	sttcp_server *server = probe_listen(probe, NULL);

	(void)state;
	atomic_store(&starting, true);
	thread_start(&starter, server, run_starts);
	thread_start(&stopper, server, run_stops);
	thread_finish(&stopper);
	atomic_store(&starting, false);
	thread_finish(&starter);
	sttcp_server_free(server);
	probe_free(probe);
}

/* ------------------------------------------------------ what a run leaves behind */

static bool send_a_lot(struct probe *probe, sttcp_conn *conn)
{
	static const char lot[900 * 1000];
	int size = 8192;

	if (probe_count(probe, STTCP_CONNECTION) > 0)
		return true;
	setsockopt(sttcp_conn_fd(conn), SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	sttcp_conn_send(conn, lot, sizeof(lot));
	return true;
}

/* A forced stop leaves a connection behind whose peer does not read: its flush takes as long as the
 * write timeout, but the next run has nothing to do with it. */
static void stop_does_not_wait_for_connections_of_the_last_run(void **state)
{
	struct probe *probe = probe_new();
	sttcp_stop_report report;
	int size = 8192;
	int result = -1;

	(void)state;
	probe->connection = send_a_lot;
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.write_timeout_ms = -1));
	int peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)), 0);
	assert_true(peer_connect_with(peer, sttcp_server_port(server)));
	EVENTUALLY(sttcp_server_count(server) == 1);
	assert_int_equal(sttcp_server_stop_within(server, 0, NULL), 0);
	EVENTUALLY((result = sttcp_server_start(server)) != -EBUSY);
	assert_int_equal(result, 0);
	int other = peer_connect(sttcp_server_port(server));
	assert_true(probe_wait(probe, STTCP_CONNECTION, 2));
	peer_close(other);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 2));
	/* A limit far away stands for none, so that a failure can be told. */
	int64_t begin = now_ms();
	assert_int_equal(sttcp_server_stop_within(server, DEADLINE_MS, &report), 0);
	assert_true(now_ms() - begin < DEADLINE_MS / 2);
	assert_int_equal(report.forced + report.running, 0);
	peer_close(peer);
	sttcp_server_free(server);
	probe_free(probe);
}

static struct event inside = EVENT_INIT;
static struct event may_return = EVENT_INIT;

static bool block(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	(void)conn;
	event_raise(&inside);
	return event_wait(&may_return, 1);
}

static void start_says_whether_it_runs_or_has_handlers_left(void **state)
{
	struct event fresh = EVENT_INIT;
	static const char runs[] = "it is started already";
	static const char left[] = "handlers of its last run have not returned yet";
	char wanted[128];
	struct probe *probe = probe_new();

	(void)state;
	inside = may_return = fresh;
	probe->connection = block;
	sttcp_server *server = probe_listen(probe, NULL);
	sttcp_client *client =
		probe_dial(probe, sttcp_server_port(server), STTCP_OPTIONS(.drain_timeout_ms = 0));
	assert_true(event_wait(&inside, 2));
	for (int stopped = 0; stopped < 2; stopped++) {
		assert_int_equal(sttcp_server_start(server), -EBUSY);
		snprintf(wanted, sizeof(wanted), "cannot start 127.0.0.1:0: %s",
			 stopped ? left : runs);
		assert_string_equal(sttcp_server_error(server), wanted);
		assert_int_equal(sttcp_client_start(client), -EBUSY);
		snprintf(wanted, sizeof(wanted), "cannot start %s: %s",
			 sttcp_client_address(client), stopped ? left : runs);
		assert_string_equal(sttcp_client_error(client), wanted);
		assert_int_equal(sttcp_client_close(client), 0);
		assert_int_equal(sttcp_server_stop_within(server, 0, NULL), 0);
	}
	event_raise(&may_return);
	sttcp_client_free(client);
	sttcp_server_free(server);
	probe_free(probe);
}

static void *stop_gracefully(void *server)
{
	sttcp_server_stop_within(server, -1, NULL);
	return NULL;
}

static bool start_tells(sttcp_server *server, const char *sentence)
{
	return sttcp_server_start(server) == -EBUSY &&
	       !strcmp(sttcp_server_error(server), sentence);
}

static void start_says_that_a_stop_is_under_way(void **state)
{
	struct event fresh = EVENT_INIT;
	struct probe *probe = probe_new();
	pthread_t thread;

	(void)state;
	inside = may_return = fresh;
	probe->connection = block;
	sttcp_server *server = probe_listen(probe, NULL);
	int peer = peer_connect(sttcp_server_port(server));
	assert_true(event_wait(&inside, 1));
	assert_int_equal(pthread_create(&thread, NULL, stop_gracefully, server), 0);
	EVENTUALLY(start_tells(server, "cannot start 127.0.0.1:0: its stop is under way"));
	event_raise(&may_return);
	peer_close(peer);
	pthread_join(thread, NULL);
	sttcp_server_free(server);
	probe_free(probe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wait_returns_though_the_next_run_has_begun),
		cmocka_unit_test(stop_returns_though_the_next_run_has_begun),
		cmocka_unit_test(stop_does_not_wait_for_connections_of_the_last_run),
		cmocka_unit_test(start_says_whether_it_runs_or_has_handlers_left),
		cmocka_unit_test(start_says_that_a_stop_is_under_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
