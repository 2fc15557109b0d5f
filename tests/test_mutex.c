/* SPDX-License-Identifier: MIT */
/* Conditions with a limit on the monotonic clock, the wait for a count, and the switch that keeps a
 * thread from being cancelled. */
#include "base/mutex.h"

#include "support/support.h"

enum {
	SOON_MS = 30
};

struct scene {
	struct stt_mutex lock;
	struct stt_cond cond;
	struct event waits;
	bool said; /* under the lock */
};

static void open_scene(struct scene *scene)
{
	*scene = (struct scene){.waits = EVENT_INIT};
	stt_mutex_init(&scene->lock);
	stt_cond_init(&scene->cond);
}

static void close_scene(struct scene *scene)
{
	stt_cond_fini(&scene->cond);
	stt_mutex_fini(&scene->lock);
}

/* With the wall clock's time it would be over at once, or in fifty years. */
static void condition_waits_until_its_time(void **state)
{
	struct scene scene;

	(void)state;
	open_scene(&scene);
	int64_t until = now_ms() + SOON_MS;

	stt_lock(&scene.lock);
	while (stt_cond_wait_until(&scene.cond, &scene.lock, until))
		;
	stt_unlock(&scene.lock);
	assert_true(now_ms() >= until);
	assert_true(now_ms() < until + DEADLINE_MS);
	close_scene(&scene);
}

static void *say_it(void *argument)
{
	struct scene *scene = argument;

	event_wait(&scene->waits, 1);
	stt_lock(&scene->lock);
	scene->said = true;
	stt_cond_wake_all(&scene->cond);
	stt_unlock(&scene->lock);
	return NULL;
}

static void condition_is_woken_before_its_time(void **state)
{
	const int64_t limits[] = {now_ms() + DEADLINE_MS, INT64_MAX};

	(void)state;
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		struct scene scene;
		pthread_t thread;

		open_scene(&scene);
		assert_int_equal(pthread_create(&thread, NULL, say_it, &scene), 0);
		stt_lock(&scene.lock);
		event_raise(&scene.waits);
		/* It cannot have come before the lock was let go. */
		while (!scene.said)
			assert_true(stt_cond_wait_until(&scene.cond, &scene.lock, limits[i]));
		stt_unlock(&scene.lock);
		assert_int_equal(pthread_join(thread, NULL), 0);
		close_scene(&scene);
	}
}

static atomic_int count;
static struct event begun = EVENT_INIT;
static struct event ended = EVENT_INIT;

static void *wait_for_zero(void *unused)
{
	event_raise(&begun);
	stt_wait_for_zero(&count);
	event_raise(&ended);
	return unused;
}

static void wait_for_zero_lasts_as_long_as_somebody_is_counted(void **state)
{
	pthread_t thread;

	(void)state;
	stt_wait_for_zero(&count);
	atomic_store(&count, 2);
	assert_int_equal(pthread_create(&thread, NULL, wait_for_zero, NULL), 0);
	assert_true(event_wait(&begun, 1));
	assert_false(event_wait_ms(&ended, 1, SOON_MS));
	atomic_fetch_sub(&count, 1);
	assert_false(event_wait_ms(&ended, 1, SOON_MS));
	atomic_fetch_sub(&count, 1);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

static void *be_cancelled(void *passed)
{
	int before = stt_cancel_off();

	pthread_cancel(pthread_self());
	pthread_testcancel();
	/* Within the other pair. */
	int inner = stt_cancel_off();

	stt_cancel_back(inner);
	pthread_testcancel();
	atomic_store((atomic_int *)passed, 1);
	stt_cancel_back(before);
	pthread_testcancel();
	atomic_store((atomic_int *)passed, 2);
	return NULL;
}

static void thread_is_cancelled_behind_the_pair_alone(void **state)
{
	atomic_int passed = 0;
	pthread_t thread;
	void *result;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, be_cancelled, &passed), 0);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_true(result == PTHREAD_CANCELED);
	assert_int_equal(atomic_load(&passed), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(condition_waits_until_its_time),
		cmocka_unit_test(condition_is_woken_before_its_time),
		cmocka_unit_test(wait_for_zero_lasts_as_long_as_somebody_is_counted),
		cmocka_unit_test(thread_is_cancelled_behind_the_pair_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
