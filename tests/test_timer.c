/* SPDX-License-Identifier: MIT */
/* Timers: when they call, that they call alone (G8), and how long they keep the engine. What stop
 * and free promise is in test_timer_stop.c. */
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

/* Later and sooner, often and once: whether that was before any of them was due. */
static bool start_and_replace(sttcp_timer *timer, int64_t *began)
{
	*began = now_ms();
	assert_int_equal(sttcp_timer_start(timer, 100, 1), 0);
	assert_int_equal(sttcp_timer_start(timer, 3600000, 0), 0);
	assert_int_equal(sttcp_timer_start(timer, 50, 0), 0);
	assert_int_equal(sttcp_timer_start(timer, 150, 0), 0);
	return now_ms() - *began < 50;
}

static void starting_anew_replaces_what_was_set(void **state)
{
	struct calls *calls = calls_new();
	sttcp_timer *timer = calls_timer(calls, note);
	int64_t began, until = now_ms() + DEADLINE_MS;

	(void)state;
	while (!start_and_replace(timer, &began)) {
		assert_true(now_ms() < until);
		sttcp_timer_free(timer);
		free(calls);
		calls = calls_new();
		timer = calls_timer(calls, note);
	}
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
		cmocka_unit_test(bad_arguments_are_refused),
		cmocka_unit_test(timers_keep_the_engine),
		cmocka_unit_test(timer_that_has_called_once_keeps_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
