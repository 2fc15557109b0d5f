/* SPDX-License-Identifier: MIT */
/* Timers in great number, changed by everybody at once, and while the engine ends. */
#include "support/calls.h"

enum {
	MANY = UNDER_TSAN || UNDER_ASAN ? 20000 : 200000,
	THREADS = 4
};

/* With a list to walk for each this would take minutes. */
static void many_timers_are_set_and_stopped(void **state)
{
	sttcp_timer **timers = calloc(MANY, sizeof(*timers));
	struct calls *calls = calls_new();
	uint32_t random = test_seed();

	(void)state;
	assert_non_null(timers);
	for (int i = 0; i < MANY; i++) {
		timers[i] = calls_timer(calls, note);
		assert_int_equal(sttcp_timer_start(timers[i],
						   3600000 + (int)(next_random(&random) % 1000000),
						   60000),
				 0);
	}
	/* In another order than that. */
	for (int i = MANY - 1; i > 0; i--) {
		int k = (int)(next_random(&random) % (uint32_t)(i + 1));
		sttcp_timer *timer = timers[i];

		timers[i] = timers[k];
		timers[k] = timer;
	}
	for (int i = 0; i < MANY; i++)
		assert_int_equal(sttcp_timer_stop(timers[i]), 0);
	assert_int_equal(sttcp_engine_shutdown(), 0);
	for (int i = 0; i < MANY; i++)
		sttcp_timer_free(timers[i]);
	assert_int_equal(atomic_load(&calls->count), 0);
	free(timers);
	free(calls);
}

/* One that is freed before its time does not stay until then. */
static void timers_that_are_freed_leave_no_memory(void **state)
{
	size_t before = 0;

	(void)state;
	if (!memory_is_measured())
		return;

	struct calls *calls = calls_new();

	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < MANY; i++) {
			sttcp_timer *timer = calls_timer(calls, note);

			assert_int_equal(sttcp_timer_start(timer, 3600000, 0), 0);
			sttcp_timer_free(timer);
		}
		if (round == 0)
			before = bytes_in_use();
	}
	EVENTUALLY(bytes_in_use() < before + 100000);
	assert_int_equal(sttcp_engine_shutdown(), 0);
	free(calls);
}

static void many_timers_call_in_time(void **state)
{
	enum {
		RUNNING = 10000,
		EVERY_MS = 500
	};
	struct calls *calls = calls_new();
	sttcp_timer **timers = calloc(RUNNING, sizeof(*timers));
	uint32_t random = test_seed();

	(void)state;
	assert_non_null(timers);
	for (int i = 0; i < RUNNING; i++) {
		timers[i] = calls_timer(calls, note);
		assert_int_equal(sttcp_timer_start(timers[i],
						   (int)(next_random(&random) % EVERY_MS),
						   EVERY_MS),
				 0);
	}
	assert_true(event_wait(&calls->came, 3L * RUNNING));
	for (int i = 0; i < RUNNING; i++)
		sttcp_timer_free(timers[i]);
	assert_int_equal(sttcp_engine_shutdown(), 0);
	free(timers);
	free(calls);
}

/* -------------------------------------------------------------- all at once */

static atomic_bool over;
static atomic_int failures;

static void expect(bool holds)
{
	if (!holds)
		atomic_fetch_add(&failures, 1);
}

struct changer {
	pthread_t thread;
	uint32_t random;
	sttcp_timer **timers;
};

enum {
	SHARED = 8
};

static void *change_timers(void *argument)
{
	struct changer *changer = argument;

	while (!atomic_load(&over)) {
		sttcp_timer *timer = changer->timers[next_random(&changer->random) % SHARED];

		if (next_random(&changer->random) % 2)
			expect(sttcp_timer_start(timer, (int)(next_random(&changer->random) % 3),
						 (int)(next_random(&changer->random) % 3)) == 0);
		else
			expect(sttcp_timer_stop(timer) == 0);
	}
	return NULL;
}

static void change_oneself(sttcp_timer *timer, void *context)
{
	struct calls *calls = context;

	expect(atomic_fetch_add(&calls->inside, 1) == 0);
	switch (atomic_fetch_add(&calls->count, 1) % 3) {
	case 0: {
		int result = sttcp_timer_start(timer, 1, 1);

		expect(result == 0 || result == -ECANCELED);
		break;
	}
	case 1:
		expect(sttcp_timer_stop(timer) == -EBUSY);
		break;
	default:
		sched_yield();
	}
	expect(atomic_fetch_sub(&calls->inside, 1) == 1);
}

static void timers_stand_being_changed_by_all(void **state)
{
	struct calls *calls[SHARED];
	sttcp_timer *timers[SHARED];
	struct changer changers[THREADS];
	uint32_t seed = test_seed();

	(void)state;
	atomic_store(&over, false);
	atomic_store(&failures, 0);
	for (int i = 0; i < SHARED; i++) {
		calls[i] = calls_new();
		timers[i] = calls_timer(calls[i], change_oneself);
	}
	for (int i = 0; i < THREADS; i++) {
		changers[i] = (struct changer){.random = seed + (uint32_t)i, .timers = timers};
		assert_int_equal(
			pthread_create(&changers[i].thread, NULL, change_timers, &changers[i]), 0);
	}
	for (int i = 0; i < SHARED; i++)
		EVENTUALLY(atomic_load(&calls[i]->count) > 200);
	atomic_store(&over, true);
	for (int i = 0; i < THREADS; i++)
		pthread_join(changers[i].thread, NULL);
	for (int i = 0; i < SHARED; i++) {
		sttcp_timer_free(timers[i]);
		assert_int_equal(atomic_load(&calls[i]->inside), 0);
		free(calls[i]);
	}
	assert_int_equal(sttcp_engine_shutdown(), 0);
	assert_int_equal(atomic_load(&failures), 0);
}

/* Timers of a short life, which the function of each frees, or another thread. */
struct brief {
	atomic_int inside;
	bool frees_itself;
	atomic_int *freed;
};

static void live_briefly(sttcp_timer *timer, void *context)
{
	struct brief *brief = context;

	expect(atomic_fetch_add(&brief->inside, 1) == 0);
	sched_yield();
	expect(atomic_fetch_sub(&brief->inside, 1) == 1);
	if (!brief->frees_itself)
		return;

	atomic_int *freed = brief->freed;

	sttcp_timer_free(timer);
	free(brief);
	atomic_fetch_add(freed, 1);
}

static atomic_int nfreed;

static void *have_timers(void *argument)
{
	struct changer *changer = argument;

	for (int i = 0; i < 3000; i++) {
		struct brief *brief = calloc(1, sizeof(*brief));
		bool frees_itself = next_random(&changer->random) % 2;

		expect(brief);
		brief->freed = &nfreed;
		brief->frees_itself = frees_itself;
		sttcp_timer *timer = sttcp_timer_new(live_briefly, brief);

		expect(timer);
		expect(sttcp_timer_start(
			       timer, (int)(next_random(&changer->random) % 2),
			       frees_itself ? 0 : (int)(next_random(&changer->random) % 2)) == 0);
		if (frees_itself)
			continue;
		if (next_random(&changer->random) % 2)
			sched_yield();
		sttcp_timer_free(timer);
		free(brief);
		atomic_fetch_add(&nfreed, 1);
	}
	return NULL;
}

static void timers_come_and_go_on_all_threads(void **state)
{
	struct changer changers[THREADS];
	uint32_t seed = test_seed();

	(void)state;
	atomic_store(&failures, 0);
	for (int i = 0; i < THREADS; i++) {
		changers[i] = (struct changer){.random = seed + (uint32_t)i};
		assert_int_equal(
			pthread_create(&changers[i].thread, NULL, have_timers, &changers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(changers[i].thread, NULL);
	EVENTUALLY(atomic_load(&nfreed) == THREADS * 3000);
	assert_true(engine_ends());
	assert_int_equal(atomic_load(&failures), 0);
}

/* Each time the engine ends right behind the stop, with the alarm and the place in the queue that
 * the timer may still have; and begins anew with the next start, on another thread. */
static void *end_engine_often(void *unused)
{
	while (!atomic_load(&over)) {
		int result = sttcp_engine_shutdown();

		expect(result == 0 || result == -EBUSY);
	}
	return unused;
}

static void engine_ends_between_timers(void **state)
{
	struct calls *calls = calls_new();
	sttcp_timer *timer = calls_timer(calls, note);
	uint32_t random = test_seed();
	pthread_t thread;

	(void)state;
	atomic_store(&over, false);
	atomic_store(&failures, 0);
	assert_int_equal(pthread_create(&thread, NULL, end_engine_often, NULL), 0);
	for (int i = 0; i < 500; i++) {
		long came = event_count(&calls->came);

		assert_int_equal(sttcp_timer_start(timer, (int)(next_random(&random) % 2),
						   (int)(next_random(&random) % 2)),
				 0);
		if (next_random(&random) % 2)
			assert_true(event_wait(&calls->came, came + 1));
		assert_int_equal(sttcp_timer_stop(timer), 0);
	}
	atomic_store(&over, true);
	pthread_join(thread, NULL);
	sttcp_timer_free(timer);
	assert_int_equal(sttcp_engine_shutdown(), 0);
	assert_int_equal(atomic_load(&failures), 0);
	free(calls);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_timers_are_set_and_stopped),
		cmocka_unit_test(timers_that_are_freed_leave_no_memory),
		cmocka_unit_test(many_timers_call_in_time),
		cmocka_unit_test(timers_stand_being_changed_by_all),
		cmocka_unit_test(timers_come_and_go_on_all_threads),
		cmocka_unit_test(engine_ends_between_timers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
