/* SPDX-License-Identifier: MIT */
/* Timers: when they call, that they call alone, and what stop and free promise (G8, G9). */
#include "support/calls.h"

#include <limits.h>

/* ---------------------------------------------------------------------- when */

static void timer_calls_once(void **state)
{
	struct calls *calls = calls_new();
	sttcp_timer *timer = calls_timer(calls, note);
	int64_t began = now_ms();

	(void)state;
	assert_int_equal(sttcp_timer_start(timer, 30, 0), 0);
	assert_true(event_wait(&calls->came, 1));
	assert_true(calls->at_ms[0] >= began + 30);
	/* And no more: the second call is the one that is asked for here. */
	began = now_ms();
	assert_int_equal(sttcp_timer_start(timer, 60, 0), 0);
	assert_true(event_wait(&calls->came, 2));
	assert_true(calls->at_ms[1] >= began + 60);
	assert_int_equal(sttcp_timer_stop(timer), 0);
	assert_int_equal(atomic_load(&calls->count), 2);
	sttcp_timer_free(timer);
	free(calls);
}

/* Whether each call came in a period of its own, none of them too early. */
static bool are_in_periods(const int64_t *at_ms, int count, int64_t first_ms, int every_ms)
{
	int64_t last = -1;

	for (int i = 0; i < count; i++) {
		int64_t period = (at_ms[i] - first_ms) / every_ms;

		if (at_ms[i] < first_ms || period <= last)
			return false;
		last = period;
	}
	return true;
}

/* However late one call is, the next ones are not. */
static void periods_are_counted_from_the_first_time(void **state)
{
	struct calls *calls = calls_new();
	sttcp_timer *timer = calls_timer(calls, note);
	int64_t began;

	(void)state;
	do {
		began = now_ms();
		assert_int_equal(sttcp_timer_start(timer, 10, 20), 0);
	} while (now_ms() != began);
	assert_true(event_wait(&calls->came, 30));
	assert_int_equal(sttcp_timer_stop(timer), 0);
	/* The first time is 10 ms after a moment within that millisecond. */
	assert_true(are_in_periods(calls->at_ms, 30, began + 10, 20) ||
		    are_in_periods(calls->at_ms, 30, began + 11, 20));
	sttcp_timer_free(timer);
	free(calls);
}

static void times_that_pass_during_a_call_are_left_out(void **state)
{
	struct calls *calls = calls_new();
	sttcp_timer *timer = calls_timer(calls, block);
	int64_t began = now_ms();

	(void)state;
	assert_int_equal(sttcp_timer_start(timer, 0, 200), 0);
	assert_true(event_wait(&calls->came, 1));
	EVENTUALLY(now_ms() >= began + 250);
	event_raise(&calls->gate);
	/* Not at once, for the time that was missed, but at the next one. */
	assert_true(event_wait(&calls->came, 2));
	assert_true(calls->at_ms[1] >= began + 400);
	event_raise(&calls->gate);
	assert_int_equal(sttcp_timer_stop(timer), 0);
	sttcp_timer_free(timer);
	free(calls);
}

static void starting_anew_replaces_what_was_set(void **state)
{
	struct calls *calls = calls_new();
	sttcp_timer *timer = calls_timer(calls, note);
	int64_t began = now_ms();

	(void)state;
	/* Later and sooner, often and once. */
	assert_int_equal(sttcp_timer_start(timer, 100, 1), 0);
	assert_int_equal(sttcp_timer_start(timer, 3600000, 0), 0);
	assert_int_equal(sttcp_timer_start(timer, 50, 0), 0);
	assert_int_equal(sttcp_timer_start(timer, 150, 0), 0);
	assert_true(event_wait(&calls->came, 1));
	assert_true(calls->at_ms[0] >= began + 150);
	assert_int_equal(sttcp_timer_start(timer, 3600000, 1), 0);
	assert_int_equal(sttcp_timer_start(timer, 0, 0), 0);
	assert_true(event_wait(&calls->came, 2));
	assert_int_equal(sttcp_timer_stop(timer), 0);
	assert_int_equal(atomic_load(&calls->count), 2);
	sttcp_timer_free(timer);
	free(calls);
}

/* -------------------------------------------------------------------- alone */

static void timer_never_calls_beside_itself(void **state)
{
	struct calls *calls = calls_new();
	sttcp_timer *timer = calls_timer(calls, block);
	struct calls *others = calls_new();
	sttcp_timer *other = calls_timer(others, note);

	(void)state;
	assert_int_equal(sttcp_timer_start(timer, 0, 1), 0);
	assert_true(event_wait(&calls->came, 1));
	/* Its periods pass, and it is started anew, while it blocks: others go on. */
	assert_int_equal(sttcp_timer_start(other, 0, 5), 0);
	for (int i = 1; i <= 5; i++) {
		assert_int_equal(sttcp_timer_start(timer, 0, 1), 0);
		assert_true(event_wait(&others->came, 4 * i));
	}
	assert_int_equal(atomic_load(&calls->count), 1);
	event_raise(&calls->gate);
	assert_true(event_wait(&calls->came, 2));
	for (int i = 0; i < 20; i++)
		event_raise(&calls->gate);
	assert_true(event_wait(&calls->came, 10));
	assert_int_equal(atomic_load(&calls->beside), 0);
	for (int i = 0; i < 10000; i++)
		event_raise(&calls->gate);
	assert_int_equal(sttcp_timer_stop(timer), 0);
	assert_int_equal(atomic_load(&calls->inside), 0);
	sttcp_timer_free(timer);
	sttcp_timer_free(other);
	free(calls);
	free(others);
}

/* G8 */
static void timers_that_block_hold_nobody_up(void **state)
{
	enum {
		BLOCKED = 40
	};
	struct calls *calls[BLOCKED];
	sttcp_timer *timers[BLOCKED];
	struct calls *others = calls_new();
	sttcp_timer *other = calls_timer(others, note);
	struct probe *probe = probe_new();

	(void)state;
	probe->data = echo_data;
	sttcp_server *server = probe_listen(probe, NULL);
	for (int i = 0; i < BLOCKED; i++) {
		calls[i] = calls_new();
		timers[i] = calls_timer(calls[i], block);
		assert_int_equal(sttcp_timer_start(timers[i], 1, 1), 0);
	}
	for (int i = 0; i < BLOCKED; i++)
		assert_true(event_wait(&calls[i]->came, 1));
	assert_int_equal(sttcp_timer_start(other, 1, 1), 0);
	assert_true(event_wait(&others->came, 20));
	int peer = peer_connect(sttcp_server_port(server));

	for (int i = 0; i < 100; i++) {
		assert_true(peer_say(peer, "hello"));
		assert_true(peer_expect(peer, "hello"));
	}
	peer_close(peer);
	for (int i = 0; i < BLOCKED; i++) {
		for (int k = 0; k < 1000; k++)
			event_raise(&calls[i]->gate);
		sttcp_timer_free(timers[i]);
		free(calls[i]);
	}
	sttcp_timer_free(other);
	free(others);
	sttcp_server_free(server);
	probe_free(probe);
}

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

static void timer_that_starts_itself_can_be_stopped(void **state)
{
	struct calls *calls = calls_new();
	struct calls *others = calls_new();
	sttcp_timer *timer = calls_timer(calls, start_again);
	sttcp_timer *other = calls_timer(others, stop_other);

	(void)state;
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

/* ----------------------------------------------------------------- arguments */

/* -1 and INT_MAX in every number. */
static void bad_arguments_are_refused(void **state)
{
	struct calls *calls = calls_new();
	sttcp_timer *timer = calls_timer(calls, note);
	sttcp_timer *none = sttcp_timer_new(NULL, NULL);

	(void)state;
	assert_non_null(none);
	assert_int_equal(sttcp_timer_start(NULL, 0, 0), -EINVAL);
	assert_int_equal(sttcp_timer_start(none, 0, 0), -EINVAL);
	assert_int_equal(sttcp_timer_stop(none), 0);
	assert_int_equal(sttcp_timer_start(timer, 20, 0), 0);
	/* What is refused changes nothing. */
	assert_int_equal(sttcp_timer_start(timer, -1, 0), -EINVAL);
	assert_int_equal(sttcp_timer_start(timer, 0, -1), -EINVAL);
	assert_int_equal(sttcp_timer_start(timer, INT_MIN, INT_MIN), -EINVAL);
	assert_true(event_wait(&calls->came, 1));
	assert_int_equal(sttcp_timer_stop(NULL), -EINVAL);
	assert_int_equal(sttcp_timer_stop(timer), 0);
	assert_int_equal(sttcp_timer_start(timer, INT_MAX, INT_MAX), 0);
	assert_int_equal(sttcp_timer_start(timer, INT_MAX, 0), 0);
	assert_int_equal(sttcp_timer_start(timer, 0, INT_MAX), 0);
	assert_true(event_wait(&calls->came, 2));
	assert_int_equal(sttcp_timer_stop(timer), 0);
	assert_int_equal(atomic_load(&calls->count), 2);
	sttcp_timer_free(timer);
	sttcp_timer_free(none);
	free(calls);
}

/* ------------------------------------------------------------------- the end */

static void timers_keep_the_engine(void **state)
{
	struct calls *calls = calls_new();
	sttcp_timer *timer = calls_timer(calls, block);

	(void)state;
	for (int round = 0; round < 5; round++) {
		assert_int_equal(sttcp_timer_start(timer, 3600000, 0), 0);
		assert_int_equal(sttcp_engine_shutdown(), -EBUSY);
		assert_int_equal(sttcp_engine_configure(1, 0, 0), -EBUSY);
		assert_int_equal(sttcp_timer_start(timer, 0, 0), 0);
		assert_true(event_wait(&calls->came, round + 1));
		assert_int_equal(sttcp_engine_shutdown(), -EBUSY);
		event_raise(&calls->gate);
		assert_int_equal(sttcp_timer_stop(timer), 0);
		assert_int_equal(sttcp_engine_shutdown(), 0);
		assert_int_equal(sttcp_engine_configure(0, 0, 0), 0);
		/* Without an engine, too. */
		assert_int_equal(sttcp_timer_stop(timer), 0);
	}
	sttcp_timer_free(timer);
	free(calls);
}

/* What has called once is done: nobody has to stop it. */
static void timer_that_has_called_once_keeps_nothing(void **state)
{
	struct calls *calls = calls_new();
	sttcp_timer *timer = calls_timer(calls, note);

	(void)state;
	assert_int_equal(sttcp_timer_start(timer, 1, 0), 0);
	assert_true(event_wait(&calls->came, 1));
	assert_true(engine_ends());
	sttcp_timer_free(timer);
	free(calls);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(timer_calls_once),
		cmocka_unit_test(periods_are_counted_from_the_first_time),
		cmocka_unit_test(times_that_pass_during_a_call_are_left_out),
		cmocka_unit_test(starting_anew_replaces_what_was_set),
		cmocka_unit_test(timer_never_calls_beside_itself),
		cmocka_unit_test(timers_that_block_hold_nobody_up),
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
		cmocka_unit_test(bad_arguments_are_refused),
		cmocka_unit_test(timers_keep_the_engine),
		cmocka_unit_test(timer_that_has_called_once_keeps_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
