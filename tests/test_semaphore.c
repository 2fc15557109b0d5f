/* SPDX-License-Identifier: MIT */
/* The semaphore that this C library's threads wait on; what stands in for it elsewhere is in
 * test_portable.c. */
#include "support/semaphore_cases.h"

#include <signal.h>

static void ignore_signal(int number)
{
	(void)number;
}

struct sleeper {
	struct stt_semaphore semaphore;
	struct event begun;
	bool limited;
	atomic_bool woken;
};

static void *sleep_on_it(void *argument)
{
	struct sleeper *sleeper = argument;

	event_raise(&sleeper->begun);
	if (sleeper->limited)
		atomic_store(&sleeper->woken,
			     stt_semaphore_wait_until(&sleeper->semaphore, now_ms() + DEADLINE_MS));
	else
		stt_semaphore_wait(&sleeper->semaphore);
	event_raise(&sleeper->begun);
	return NULL;
}

/* Signals come while it waits, or before it does: it is for the post alone to end that. */
static void semaphore_waits_on_after_a_signal(void **state)
{
	const struct sigaction action = {.sa_handler = ignore_signal};

	(void)state;
	assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
	for (int limited = 0; limited < 2; limited++) {
		struct sleeper sleeper = {.begun = EVENT_INIT, .limited = limited};
		pthread_t thread;

		stt_semaphore_init(&sleeper.semaphore);
		assert_int_equal(pthread_create(&thread, NULL, sleep_on_it, &sleeper), 0);
		assert_true(event_wait(&sleeper.begun, 1));
		for (int i = 0; i < 20; i++) {
			pthread_kill(thread, SIGUSR1);
			assert_false(event_wait_ms(&sleeper.begun, 2, 1));
		}
		stt_semaphore_post(&sleeper.semaphore);
		assert_int_equal(pthread_join(thread, NULL), 0);
		assert_int_equal(atomic_load(&sleeper.woken), limited);
		stt_semaphore_fini(&sleeper.semaphore);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SEMAPHORE_CASES,
		cmocka_unit_test(semaphore_waits_on_after_a_signal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
