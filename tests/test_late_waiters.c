/* SPDX-License-Identifier: MIT */
/* G3, G9, G16: who waits for a run learns what came of that run, however late it wakes up: another
 * thread may have started the server or client again by then, and more than once. This program's
 * own pthread_cond_wait, in front of the C library's, holds up those that are to be late. */
#include "support/support.h"

#include <dlfcn.h>

typedef int wait_fn(pthread_cond_t *, pthread_mutex_t *);

/* Where a sanitizer is linked into the program, its own is behind this name. */
wait_fn __interceptor_pthread_cond_wait __attribute__((weak));

static _Thread_local bool is_late;
static struct event waiting = EVENT_INIT;
static struct event may_wake = EVENT_INIT;

int pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
	static _Atomic(wait_fn *) next;

	if (!atomic_load(&next))
		atomic_store(&next, __interceptor_pthread_cond_wait
					    ? __interceptor_pthread_cond_wait
					    : (wait_fn *)dlsym(RTLD_NEXT, "pthread_cond_wait"));
	if (is_late)
		event_raise(&waiting);

	int result = atomic_load(&next)(cond, mutex);

	if (is_late) {
		pthread_mutex_unlock(mutex);
		event_wait(&may_wake, 1);
		pthread_mutex_lock(mutex);
	}
	return result;
}

/* A call on a thread of its own. */
struct late {
	pthread_t thread;
	int (*call)(void *object);
	void *object;
	int result;
};

static void *run_late(void *argument)
{
	struct late *late = argument;

	is_late = true;
	late->result = late->call(late->object);
	return NULL;
}

/* Returns when all of them wait. */
static void begin_calls(struct late *all, int count)
{
	struct event fresh = EVENT_INIT;

	waiting = may_wake = fresh;
	for (int i = 0; i < count; i++)
		assert_int_equal(pthread_create(&all[i].thread, NULL, run_late, &all[i]), 0);
	assert_true(event_wait(&waiting, count));
}

static void finish_calls(struct late *all, int count)
{
	event_raise(&may_wake);
	for (int i = 0; i < count; i++)
		pthread_join(all[i].thread, NULL);
}

/* --------------------------------------------------------------------- servers */

static sttcp_stop_report report;

static int stop_soon(void *server)
{
	return sttcp_server_stop_within(server, 30, &report);
}

static void report_is_of_the_run_that_was_stopped(void **state)
{
	enum {
		PEERS = 3
	};
	struct probe *probe = probe_new();
	sttcp_server *server = probe_listen(probe, NULL);
	struct late stopper = {.call = stop_soon, .object = server};
	int peers[PEERS];

	(void)state;
	for (int i = 0; i < PEERS; i++)
		peers[i] = peer_connect(sttcp_server_port(server));
	assert_true(probe_wait(probe, STTCP_CONNECTION, PEERS));
	begin_calls(&stopper, 1);
	for (int runs = 0; runs < 2; runs++) {
		assert_int_equal(sttcp_server_wait(server, DEADLINE_MS), 0);
		EVENTUALLY(sttcp_server_start(server) == 0);
		assert_int_equal(sttcp_server_stop_within(server, 0, NULL), 0);
	}
	EVENTUALLY(sttcp_server_start(server) == 0);
	finish_calls(&stopper, 1);
	assert_int_equal(stopper.result, 0);
	assert_int_equal(report.ended, 0);
	assert_int_equal(report.forced + report.running, PEERS);
	for (int i = 0; i < PEERS; i++)
		peer_close(peers[i]);
	sttcp_server_free(server);
	probe_free(probe);
}

/* --------------------------------------------------------------------- clients */

static int wait_for_end(void *client)
{
	return sttcp_client_wait(client, -1);
}

static int keep_alive(void *client)
{
	return sttcp_client_keep_alive(client);
}

static int wait_open(void *client)
{
	return sttcp_client_wait_open(client, -1);
}

static int send_one(void *client)
{
	return sttcp_client_send(client, "x", 1, -1);
}

static void reason_is_that_of_the_run_that_was_waited_for(void **state)
{
	struct probe *probe = probe_new();
	int port;
	int listener = peer_listen(&port, 8);
	sttcp_client *client = probe_dial(probe, port, NULL);
	struct late all[] = {{.call = wait_for_end, .object = client},
			     {.call = keep_alive, .object = client}};
	int peer = peer_accept(listener);

	(void)state;
	assert_int_equal(sttcp_client_wait_open(client, DEADLINE_MS), 0);
	begin_calls(all, 2);
	peer_reset(peer);
	assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), -ECONNRESET);
	for (int runs = 0; runs < 2; runs++) {
		assert_int_equal(sttcp_client_start(client), 0);
		assert_int_equal(sttcp_client_close(client), 0);
		assert_int_equal(sttcp_client_wait(client, 0), STTCP_EDESTROYED);
	}
	finish_calls(all, 2);
	for (int i = 0; i < 2; i++)
		assert_int_equal(all[i].result, -ECONNRESET);
	sttcp_client_free(client);
	peer_close(listener);
	probe_free(probe);
}

static struct event opening = EVENT_INIT;
static struct event may_open = EVENT_INIT;
static atomic_bool opens;

static bool open_when_told(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	(void)conn;
	event_raise(&opening);
	return event_wait(&may_open, 1) && atomic_load(&opens);
}

/* Two calls wait for an open connection; the first run has one or not, and is over; the second has
 * one when they wake up. */
static void wait_through_two_runs(bool first_opens, int wait_result)
{
	struct event fresh = EVENT_INIT;
	struct probe *probe = probe_new();
	int port;
	int listener = peer_listen(&port, 8);

	opening = may_open = fresh;
	probe->connection = open_when_told;
	sttcp_client *client = probe_dial(probe, port, NULL);
	struct late all[] = {{.call = wait_open, .object = client},
			     {.call = send_one, .object = client}};
	int peer = peer_accept(listener);

	assert_true(event_wait(&opening, 1));
	begin_calls(all, 2);
	atomic_store(&opens, first_opens);
	event_raise(&may_open);
	peer_shutdown(peer);
	assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), 0);
	peer_close(peer);
	atomic_store(&opens, true);
	assert_int_equal(sttcp_client_start(client), 0);
	peer = peer_accept(listener);
	assert_int_equal(sttcp_client_wait_open(client, DEADLINE_MS), 0);
	finish_calls(all, 2);
	assert_int_equal(all[0].result, wait_result);
	assert_int_equal(all[1].result, STTCP_ECLOSED);
	assert_true(peer_quiet(peer, 0));
	sttcp_client_free(client);
	peer_close(peer);
	peer_close(listener);
	probe_free(probe);
}

static void open_connection_of_a_later_run_is_not_that_of_a_waiter(void **state)
{
	(void)state;
	wait_through_two_runs(false, STTCP_ECLOSED);
}

/* Who only asked whether it opens is told that it did. */
static void short_connection_is_told_though_the_next_run_has_begun(void **state)
{
	(void)state;
	wait_through_two_runs(true, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(report_is_of_the_run_that_was_stopped),
		cmocka_unit_test(reason_is_that_of_the_run_that_was_waited_for),
		cmocka_unit_test(open_connection_of_a_later_run_is_not_that_of_a_waiter),
		cmocka_unit_test(short_connection_is_told_though_the_next_run_has_begun),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
