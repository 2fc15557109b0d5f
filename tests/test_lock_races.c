/* SPDX-License-Identifier: MIT */
/* G12, G16: who is found by a forced stop before the thread that made it is done with it, and what
 * a call finds changed after it has let go of a lock. This program's own locks, in front of the C
 * library's, stop a thread where it has just let go of one; then the other one goes on, until it
 * has done what it can. */
#include "support/support.h"

#include <dlfcn.h>

typedef int mutex_fn(pthread_mutex_t *);
typedef int init_fn(pthread_mutex_t *, const pthread_mutexattr_t *);

/* Where a sanitizer is linked into the program, its own are behind these names. */
mutex_fn __interceptor_pthread_mutex_lock __attribute__((weak));
mutex_fn __interceptor_pthread_mutex_unlock __attribute__((weak));
mutex_fn __interceptor_pthread_mutex_destroy __attribute__((weak));
init_fn __interceptor_pthread_mutex_init __attribute__((weak));

static void *original(void *of_sanitizer, const char *name)
{
	return of_sanitizer ? of_sanitizer : dlsym(RTLD_NEXT, name);
}

/* How many locks the thread holds; only where it matters. */
static _Thread_local bool counts;
static _Thread_local int held;
static _Thread_local void (*at_unlock)(int left);

/* The next lock that is made is that of a connection which is being accepted. */
static atomic_bool holds_up_accept;
static _Thread_local pthread_mutex_t *made;
static _Atomic(pthread_mutex_t *) watched;
static atomic_int freed_early;
static void wait_for_its_end(int left);

int pthread_mutex_lock(pthread_mutex_t *mutex)
{
	static _Atomic(mutex_fn *) next;

	if (!atomic_load(&next))
		atomic_store(&next, (mutex_fn *)original((void *)__interceptor_pthread_mutex_lock,
							 "pthread_mutex_lock"));
	if (counts)
		held++;
	return atomic_load(&next)(mutex);
}

int pthread_mutex_unlock(pthread_mutex_t *mutex)
{
	static _Atomic(mutex_fn *) next;

	if (!atomic_load(&next))
		atomic_store(&next, (mutex_fn *)original((void *)__interceptor_pthread_mutex_unlock,
							 "pthread_mutex_unlock"));

	int result = atomic_load(&next)(mutex);
	void (*then)(int left) = at_unlock;

	if (counts)
		held--;
	if (then) {
		at_unlock = NULL;
		then(held);
	}
	return result;
}

int pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attr)
{
	static _Atomic(init_fn *) next;

	if (!atomic_load(&next))
		atomic_store(&next, (init_fn *)original((void *)__interceptor_pthread_mutex_init,
							"pthread_mutex_init"));
	if (atomic_exchange(&holds_up_accept, false)) {
		made = mutex;
		counts = true;
		held = 0;
		at_unlock = wait_for_its_end;
	}
	return atomic_load(&next)(mutex, attr);
}

int pthread_mutex_destroy(pthread_mutex_t *mutex)
{
	static _Atomic(mutex_fn *) next;

	if (!atomic_load(&next))
		atomic_store(&next,
			     (mutex_fn *)original((void *)__interceptor_pthread_mutex_destroy,
						  "pthread_mutex_destroy"));
	if (mutex == atomic_load(&watched))
		atomic_fetch_add(&freed_early, 1);
	return atomic_load(&next)(mutex);
}

/* -------------------------------------------------------------------- accepting */

static struct event admitted = EVENT_INIT;

/* Between the connection's admission and its registration. */
static void wait_for_its_end(int left)
{
	if (left > 0) {
		at_unlock = wait_for_its_end;
		return;
	}
	counts = false;
	atomic_store(&watched, made);
	event_raise(&admitted);
	/* It may not come, and then nothing is wrong. */
	for (int i = 0; i < 100 && !atomic_load(&freed_early); i++)
		nap_ms(2);
	atomic_store(&watched, NULL);
}

static void *stop_now(void *server)
{
	sttcp_server_stop_within(server, 0, NULL);
	return NULL;
}

/* The connection stands on a roster, and its peer has gone: a forced stop on another loop is done
 * with it at once. Its memory stays until the accepting loop has made its last step. */
static void connection_outlives_its_accept(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	/* Not each falls to the other loop. */
	for (int round = 1; round <= 4; round++) {
		sttcp_server *server = probe_listen(probe, NULL);
		pthread_t stopper;

		atomic_store(&holds_up_accept, true);
		int peer = peer_connect(sttcp_server_port(server));

		assert_true(peer >= 0);
		peer_close(peer);
		assert_true(event_wait(&admitted, round));
		assert_int_equal(pthread_create(&stopper, NULL, stop_now, server), 0);
		pthread_join(stopper, NULL);
		sttcp_server_free(server);
		assert_int_equal(atomic_load(&freed_early), 0);
	}
	probe_free(probe);
}

/* ------------------------------------------------------------------- connecting */

static struct event in_handler = EVENT_INIT;
static struct event stop_begun = EVENT_INIT;
static struct event next_listed = EVENT_INIT;
static struct event next_ended = EVENT_INIT;

/* The end has been decided, and the walk over the roster has not begun. */
static void wait_for_next(int left)
{
	(void)left;
	event_raise(&stop_begun);
	event_wait(&next_listed, 1);
}

/* The second lock that it lets go of is the roster's, inside of the group's. */
static void next_is_listed(int left)
{
	if (left != 1) {
		at_unlock = next_is_listed;
		return;
	}
	counts = false;
	event_raise(&next_listed);
	/* The walk finds it or not; what it does then, it has done by now. */
	event_wait_ms(&next_ended, 1, 200);
}

static void start_anew(struct probe *probe, sttcp_conn *conn, int reason)
{
	if (reason != 0)
		return;
	if (sttcp_client_start(sttcp_conn_client(conn)) < 0)
		probe_violate(probe, "it does not start anew");
	event_raise(&in_handler);
	event_wait(&stop_begun, 1);
	counts = true;
	held = 0;
	at_unlock = next_is_listed;
}

static void *close_client(void *client)
{
	at_unlock = wait_for_next;
	sttcp_client_close(client);
	event_raise(&next_ended);
	return NULL;
}

/* A client that is started anew in its last handler, while a close is about to end all that stand
 * on the roster: the attempt has begun when it finds it there. */
static void begin_while_it_is_ended(const char *host)
{
	struct event fresh = EVENT_INIT;
	struct probe *probe = probe_new();
	pthread_t closer;
	int port;

	in_handler = stop_begun = next_listed = next_ended = fresh;
	probe->ended = start_anew;
	int listener = peer_listen(&port, 4);
	sttcp_client *client = probe_client(probe, host, port, NULL);
	assert_int_equal(sttcp_client_start(client), 0);
	int peer = peer_accept(listener);

	assert_true(peer >= 0);
	assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
	peer_close(peer);
	assert_true(event_wait(&in_handler, 1));
	assert_int_equal(pthread_create(&closer, NULL, close_client, client), 0);
	pthread_join(closer, NULL);
	/* It may have been quicker than the close. */
	EVENTUALLY(probe_count(probe, STTCP_UNCONNECTED) +
			   probe_count(probe, STTCP_DISCONNECTION) ==
		   2);
	assert_int_equal(probe_reason(probe), STTCP_EDESTROYED);
	sttcp_client_free(client);
	peer_close(listener);
	probe_free(probe);
}

/* Also one that has a name to be resolved first. */
static void attempt_has_begun_before_it_is_found(void **state)
{
	(void)state;
	begin_while_it_is_ended("127.0.0.1");
	begin_while_it_is_ended("localhost");
}

static struct event gone_on = EVENT_INIT;

/* Its handler has returned, and its group is done with it: the next attempt stands on its list. */
static void let_next_go_first(int left)
{
	if (left != 0) {
		at_unlock = let_next_go_first;
		return;
	}
	counts = false;
	event_wait_ms(&next_ended, 1, 200);
	event_raise(&gone_on);
}

/* Behind the roster's lock, inside of the group's, comes that. */
static void wait_for_group(int left)
{
	at_unlock = left == 1 ? let_next_go_first : wait_for_group;
}

static void start_and_close(struct probe *probe, sttcp_conn *conn, int reason)
{
	sttcp_client *client = sttcp_conn_client(conn);

	(void)reason;
	if (event_count(&in_handler) > 0) {
		event_raise(&next_ended);
		return;
	}
	event_raise(&in_handler);
	if (sttcp_client_start(client) < 0 || sttcp_client_close(client) < 0)
		probe_violate(probe, "it is not started and closed");
	counts = true;
	held = 0;
	at_unlock = wait_for_group;
}

/* A client that is started and closed in its last handler: the attempt begins behind the close,
 * which is its outcome, however early its loop finds it. */
static void attempt_after_a_close_is_none(void **state)
{
	struct event fresh = EVENT_INIT;
	int port;
	int refusing = peer_refuse(&port);

	(void)state;
	/* Not each falls to the other loop. */
	for (int round = 0; round < 4; round++) {
		struct probe *probe = probe_new();

		in_handler = next_ended = gone_on = fresh;
		probe->ended = start_and_close;
		sttcp_client *client = probe_client(probe, "127.0.0.1", port, NULL);
		assert_int_equal(sttcp_client_start(client), 0);
		assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), STTCP_EDESTROYED);
		assert_string_equal(probe_order(probe), "uUuU");
		assert_int_equal(probe_reason(probe), STTCP_EDESTROYED);
		assert_true(event_wait(&gone_on, 1));
		sttcp_client_free(client);
		probe_free(probe);
	}
	peer_close(refusing);
}

/* ---------------------------------------------------------------------- closing */

static struct event may_walk = EVENT_INIT;

static void wait_for_restart(int left)
{
	(void)left;
	event_raise(&stop_begun);
	event_wait(&may_walk, 1);
}

static void *close_slowly(void *client)
{
	at_unlock = wait_for_restart;
	sttcp_client_close(client);
	return NULL;
}

/* A close has begun, and found the connection open; before it comes to end it, that ends by itself,
 * and another thread starts the client again. */
static void close_ends_no_later_run(void **state)
{
	struct event fresh = EVENT_INIT;
	struct probe *probe = probe_new();
	pthread_t closer;
	int port;
	int listener = peer_listen(&port, 4);

	(void)state;
	stop_begun = may_walk = fresh;
	sttcp_client *client = probe_dial(probe, port, NULL);
	int peer = peer_accept(listener);

	assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
	assert_int_equal(pthread_create(&closer, NULL, close_slowly, client), 0);
	assert_true(event_wait(&stop_begun, 1));
	peer_close(peer);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	EVENTUALLY(sttcp_client_start(client) == 0);
	peer = peer_accept(listener);
	assert_true(probe_wait(probe, STTCP_CONNECTION, 2));
	event_raise(&may_walk);
	pthread_join(closer, NULL);
	assert_true(peer_say(peer, "here"));
	assert_true(probe_wait_bytes(probe, 4));
	assert_int_equal(probe_count(probe, STTCP_DISCONNECTION), 1);
	peer_close(peer);
	peer_close(listener);
	sttcp_client_free(client);
	probe_free(probe);
}

/* --------------------------------------------------------------------- judging */

static struct event has_engine = EVENT_INIT;
static atomic_bool judged;

/* The second lock that a start lets go of is the engine's, which it holds from then on: whoever
 * wants to know meanwhile whether that may end has to wait. */
static void hold_engine(int left)
{
	(void)left;
	event_raise(&has_engine);
	event_wait_ms(&has_engine, 2, 200);
}

static void skip_first(int left)
{
	(void)left;
	at_unlock = hold_engine;
}

static void *start_slowly(void *server)
{
	at_unlock = skip_first;
	CHECK(sttcp_server_start(server) == 0);
	return NULL;
}

static void *ask_for_end(void *unused)
{
	(void)unused;
	CHECK(sttcp_engine_shutdown() == -EBUSY);
	atomic_store(&judged, true);
	return NULL;
}

/* The engine is there all the time, also while it is not known whether it may end. */
static void stats_wait_for_the_verdict(void **state)
{
	sttcp_server *idle = sttcp_server_new("127.0.0.1", 0, NULL);
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);
	pthread_t starter;
	pthread_t asker;
	sttcp_stats stats;
	int without_threads = 0;

	(void)state;
	assert_int_equal(sttcp_server_start(idle), 0);
	assert_int_equal(sttcp_server_stop(idle), 0);
	assert_int_equal(pthread_create(&starter, NULL, start_slowly, server), 0);
	assert_true(event_wait(&has_engine, 1));
	assert_int_equal(pthread_create(&asker, NULL, ask_for_end, NULL), 0);
	while (!atomic_load(&judged)) {
		assert_int_equal(sttcp_server_stats(idle, &stats, sizeof(stats)), 0);
		without_threads += stats.threads == 0;
	}
	pthread_join(asker, NULL);
	pthread_join(starter, NULL);
	assert_int_equal(without_threads, 0);
	sttcp_server_free(server);
	sttcp_server_free(idle);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(connection_outlives_its_accept),
		cmocka_unit_test(attempt_has_begun_before_it_is_found),
		cmocka_unit_test(attempt_after_a_close_is_none),
		cmocka_unit_test(close_ends_no_later_run),
		cmocka_unit_test(stats_wait_for_the_verdict),
	};

	/* The loop that is held up is another one than the connection's. */
	if (sttcp_engine_configure(2, 0, 0) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
