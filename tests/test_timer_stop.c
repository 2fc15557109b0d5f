/* SPDX-License-Identifier: MIT */
/* Timers: what stop and free promise, outside of functions and inside (G9). */
#include "support/calls.h"

/* --------------------------------------------------------------------- stop */

struct stopper {
	sttcp_timer *timer;
	atomic_bool done;
};

static void *stop_it(void *argument)
{
	struct stopper *stopper = argument;

	if (sttcp_timer_stop(stopper->timer) == 0)
		atomic_store(&stopper->done, true);
	return NULL;
}

static void *free_it(void *argument)
{
	struct stopper *stopper = argument;

	sttcp_timer_free(stopper->timer);
	atomic_store(&stopper->done, true);
	return NULL;
}

/* Also of a thread that is cancelled while it waits: only then, when the call is over (G9). */
static void wait_for_a_call(void *(*way)(void *), bool cancelled)
{
	struct calls *calls = calls_new();
	struct calls *others = calls_new();
	struct stopper stopper = {.timer = calls_timer(calls, block)};
	sttcp_timer *other = calls_timer(others, note);
	pthread_t thread;

	assert_int_equal(sttcp_timer_start(stopper.timer, 0, 1), 0);
	assert_true(event_wait(&calls->came, 1));
	assert_int_equal(pthread_create(&thread, NULL, way, &stopper), 0);
	assert_int_equal(sttcp_timer_start(other, 0, 2), 0);
	assert_true(event_wait(&others->came, 10));
	if (cancelled)
		assert_int_equal(pthread_cancel(thread), 0);
	assert_true(event_wait(&others->came, 20));
	assert_false(atomic_load(&stopper.done));
	event_raise(&calls->gate);
	pthread_join(thread, NULL);
	assert_true(atomic_load(&stopper.done));
	assert_int_equal(atomic_load(&calls->count), 1);
	if (way == stop_it)
		sttcp_timer_free(stopper.timer);
	sttcp_timer_free(other);
	free(calls);
	free(others);
}

static void stop_waits_for_the_call_that_runs(void **state)
{
	(void)state;
	wait_for_a_call(stop_it, false);
	wait_for_a_call(stop_it, true);
}

static void free_waits_for_the_call_that_runs(void **state)
{
	(void)state;
	wait_for_a_call(free_it, false);
	wait_for_a_call(free_it, true);
}

static void timer_that_is_stopped_does_not_call(void **state)
{
	struct calls *calls = calls_new();
	sttcp_timer *timer = calls_timer(calls, note);

	(void)state;
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(sttcp_timer_start(timer, i % 2, i % 3), 0);
		if (i % 5 == 0)
			sched_yield();
		assert_int_equal(sttcp_timer_stop(timer), 0);
		int count = atomic_load(&calls->count);

		sched_yield();
		assert_int_equal(atomic_load(&calls->count), count);
		/* And nothing keeps the engine then. */
		if (i % 100 == 0)
			assert_int_equal(sttcp_engine_shutdown(), 0);
	}
	assert_int_equal(sttcp_timer_stop(timer), 0);
	sttcp_timer_free(timer);
	sttcp_timer_free(NULL);
	free(calls);
}

/* ---------------------------------------------------- inside functions, G9 */

static void stop_inside(sttcp_timer *timer, void *context)
{
	struct calls *calls = context;

	atomic_store(&calls->result, sttcp_timer_stop(timer));
	note(timer, context);
}

static void timer_may_be_stopped_in_its_own_function(void **state)
{
	struct calls *calls = calls_new();
	sttcp_timer *timer = calls_timer(calls, stop_inside);

	(void)state;
	assert_int_equal(sttcp_timer_start(timer, 0, 1), 0);
	assert_true(event_wait(&calls->came, 1));
	assert_int_equal(sttcp_timer_stop(timer), 0);
	assert_int_equal(sttcp_engine_shutdown(), 0);
	assert_int_equal(atomic_load(&calls->result), -EBUSY);
	assert_int_equal(atomic_load(&calls->count), 1);
	sttcp_timer_free(timer);
	free(calls);
}

static void restart_inside(sttcp_timer *timer, void *context)
{
	struct calls *calls = context;
	bool again = atomic_load(&calls->count) < 2;

	note(timer, context);
	/* From another time on, and once. */
	atomic_store(&calls->result, again ? sttcp_timer_start(timer, 1, 0) : 0);
}

static void timer_may_be_started_in_its_own_function(void **state)
{
	struct calls *calls = calls_new();
	sttcp_timer *timer = calls_timer(calls, restart_inside);

	(void)state;
	assert_int_equal(sttcp_timer_start(timer, 0, 1000000), 0);
	assert_true(event_wait(&calls->came, 3));
	sttcp_timer_free(timer);
	assert_int_equal(atomic_load(&calls->count), 3);
	assert_int_equal(atomic_load(&calls->result), 0);
	free(calls);
}

static void stop_other(sttcp_timer *timer, void *context)
{
	struct calls *calls = context;

	atomic_store(&calls->result, sttcp_timer_stop(calls->other));
	note(timer, context);
}

/* Starts it again at the end of each call. */
static void start_again(sttcp_timer *timer, void *context)
{
	struct calls *calls = context;

	block(timer, context);
	atomic_store(&calls->result, sttcp_timer_start(timer, 0, 0));
}

/* The same behind a stop of its own: it takes nothing back of another's. */
static void start_anew(sttcp_timer *timer, void *context)
{
	struct calls *calls = context;

	block(timer, context);
	ignore(sttcp_timer_stop(timer));
	atomic_store(&calls->result, sttcp_timer_start(timer, 0, 0));
}

static void check_self_starter(void (*fn)(sttcp_timer *timer, void *context))
{
	struct calls *calls = calls_new();
	struct calls *others = calls_new();
	sttcp_timer *timer = calls_timer(calls, fn);
	sttcp_timer *other = calls_timer(others, stop_other);

	others->other = timer;
	assert_int_equal(sttcp_timer_start(timer, 0, 0), 0);
	for (int i = 1; i <= 3; i++) {
		assert_true(event_wait(&calls->came, i));
		event_raise(&calls->gate);
	}
	/* Its fourth call has not started it again when it is stopped. */
	assert_true(event_wait(&calls->came, 4));
	assert_int_equal(sttcp_timer_start(other, 0, 0), 0);
	assert_true(event_wait(&others->came, 1));
	assert_int_equal(atomic_load(&others->result), -EBUSY);
	/* It may not have returned yet. */
	assert_int_equal(sttcp_timer_stop(other), 0);
	event_raise(&calls->gate);
	assert_int_equal(sttcp_timer_stop(timer), 0);
	assert_int_equal(atomic_load(&calls->result), -ECANCELED);
	assert_int_equal(atomic_load(&calls->count), 4);
	/* With an open gate, at any moment. */
	for (int i = 0; i < 100000; i++)
		event_raise(&calls->gate);
	for (int i = 0; i < 300; i++) {
		long came = event_count(&calls->came);

		assert_int_equal(sttcp_timer_start(timer, 0, 0), 0);
		assert_true(event_wait(&calls->came, came + i % 3));
		assert_int_equal(sttcp_timer_stop(timer), 0);
		came = event_count(&calls->came);
		if (i % 10 == 0)
			assert_int_equal(sttcp_engine_shutdown(), 0);
		assert_int_equal(event_count(&calls->came), came);
	}
	sttcp_timer_free(other);
	sttcp_timer_free(timer);
	free(calls);
	free(others);
}

static void timer_that_starts_itself_can_be_stopped(void **state)
{
	(void)state;
	check_self_starter(start_again);
	check_self_starter(start_anew);
}

static void free_inside(sttcp_timer *timer, void *context)
{
	struct calls *calls = context;

	sttcp_timer_free(timer);
	/* It is there until this returns, and calls no more. */
	atomic_store(&calls->result, sttcp_timer_start(timer, 0, 1));
	if (sttcp_timer_stop(timer) != -EBUSY)
		atomic_store(&calls->result, 1);
	note(timer, context);
}

static void timer_may_be_freed_in_its_own_function(void **state)
{
	struct calls *calls = calls_new();

	(void)state;
	assert_int_equal(sttcp_timer_start(calls_timer(calls, free_inside), 0, 1), 0);
	assert_true(event_wait(&calls->came, 1));
	assert_true(engine_ends());
	assert_int_equal(atomic_load(&calls->count), 1);
	assert_int_equal(atomic_load(&calls->result), -EINVAL);
	free(calls);
}

static void free_other(sttcp_timer *timer, void *context)
{
	sttcp_timer_free(((struct calls *)context)->other);
	note(timer, context);
}

static void timer_may_be_stopped_in_the_function_of_another(void **state)
{
	struct calls *calls = calls_new();
	struct calls *others = calls_new();
	sttcp_timer *timer = calls_timer(calls, stop_other);
	sttcp_timer *other = calls_timer(others, block);

	(void)state;
	calls->other = other;
	/* While it runs, ... */
	assert_int_equal(sttcp_timer_start(other, 0, 1), 0);
	assert_true(event_wait(&others->came, 1));
	assert_int_equal(sttcp_timer_start(timer, 0, 0), 0);
	assert_true(event_wait(&calls->came, 1));
	assert_int_equal(atomic_load(&calls->result), -EBUSY);
	event_raise(&others->gate);
	assert_int_equal(sttcp_timer_stop(other), 0);
	assert_int_equal(atomic_load(&others->count), 1);
	/* ... while it is set, and at rest. */
	assert_int_equal(sttcp_timer_start(other, 3600000, 1), 0);
	for (int i = 2; i <= 3; i++) {
		assert_int_equal(sttcp_timer_start(timer, 0, 0), 0);
		assert_true(event_wait(&calls->came, i));
		assert_int_equal(atomic_load(&calls->result), 0);
	}
	sttcp_timer_free(timer);
	sttcp_timer_free(other);
	free(calls);
	free(others);
}

static void timer_may_be_freed_in_the_function_of_another(void **state)
{
	struct calls *calls = calls_new();
	struct calls *others = calls_new();
	sttcp_timer *timer = calls_timer(calls, free_other);

	(void)state;
	for (int i = 0; i < 3; i++) {
		sttcp_timer *other = calls_timer(others, block);
		int count = atomic_load(&others->count);

		calls->other = other;
		/* While it runs, while it is set, and at rest. */
		if (i < 2)
			assert_int_equal(sttcp_timer_start(other, i ? 3600000 : 0, 1), 0);
		if (i == 0)
			assert_true(event_wait(&others->came, ++count));
		assert_int_equal(sttcp_timer_start(timer, 0, 0), 0);
		assert_true(event_wait(&calls->came, i + 1));
		event_raise(&others->gate);
		assert_int_equal(sttcp_timer_stop(timer), 0);
		assert_true(engine_ends());
		assert_int_equal(atomic_load(&others->count), count);
	}
	sttcp_timer_free(timer);
	free(calls);
	free(others);
}

/* In a handler, and in a piece of work: never a wait. */
static sttcp_timer *stopped;
static atomic_int stop_result;

static bool stop_in_handler(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	atomic_store(&stop_result, sttcp_timer_stop(stopped));
	sttcp_conn_send(conn, data, size);
	return true;
}

static void stop_in_work(void *argument)
{
	atomic_store(&stop_result, sttcp_timer_stop(stopped));
	event_raise(argument);
}

static void stop_in_handlers_and_work_never_waits(void **state)
{
	struct calls *calls = calls_new();
	struct pair pair = {.probe = probe_new()};
	struct event done = EVENT_INIT;

	(void)state;
	/* First: a handler learns of it by the start alone. */
	stopped = calls_timer(calls, block);
	pair.probe->data = stop_in_handler;
	pair_open(&pair, NULL);
	assert_int_equal(sttcp_timer_start(stopped, 0, 1), 0);
	assert_true(event_wait(&calls->came, 1));
	assert_true(peer_say(pair.peer, "x"));
	assert_true(peer_expect(pair.peer, "x"));
	assert_int_equal(atomic_load(&stop_result), -EBUSY);
	atomic_store(&stop_result, 1);
	assert_int_equal(sttcp_run(stop_in_work, &done), 0);
	assert_true(event_wait(&done, 1));
	assert_int_equal(atomic_load(&stop_result), -EBUSY);
	event_raise(&calls->gate);
	assert_int_equal(sttcp_timer_stop(stopped), 0);
	assert_true(peer_say(pair.peer, "x"));
	assert_true(peer_expect(pair.peer, "x"));
	assert_int_equal(atomic_load(&stop_result), 0);
	sttcp_timer_free(stopped);
	pair_close(&pair);
	free(calls);
}

static void cancel_inside(sttcp_timer *timer, void *context)
{
	pthread_cancel(pthread_self());
	pthread_testcancel();
	note(timer, context);
}

static void thread_of_a_timer_is_not_cancelled(void **state)
{
	struct calls *calls = calls_new();
	sttcp_timer *timer = calls_timer(calls, cancel_inside);

	(void)state;
	assert_int_equal(sttcp_timer_start(timer, 0, 1), 0);
	assert_true(event_wait(&calls->came, 5));
	sttcp_timer_free(timer);
	assert_int_equal(sttcp_engine_shutdown(), 0);
	free(calls);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stop_waits_for_the_call_that_runs),
		cmocka_unit_test(free_waits_for_the_call_that_runs),
		cmocka_unit_test(timer_that_is_stopped_does_not_call),
		cmocka_unit_test(timer_may_be_stopped_in_its_own_function),
		cmocka_unit_test(timer_may_be_started_in_its_own_function),
		cmocka_unit_test(timer_that_starts_itself_can_be_stopped),
		cmocka_unit_test(timer_may_be_freed_in_its_own_function),
		cmocka_unit_test(timer_may_be_stopped_in_the_function_of_another),
		cmocka_unit_test(timer_may_be_freed_in_the_function_of_another),
		cmocka_unit_test(stop_in_handlers_and_work_never_waits),
		cmocka_unit_test(thread_of_a_timer_is_not_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
