/* SPDX-License-Identifier: MIT */
/* What stands in for functions that not every C library has, on every one of them: the semaphore,
 * and the names and sentences of errno's values. */
#include "base/portable.h"

#undef STT_HAVE_SEM_CLOCKWAIT
#define STT_HAVE_SEM_CLOCKWAIT 0

#include "base/semaphore.h"

#include "base/errno_table.h"
#include "support/support.h"

enum {
	ROUNDS = 20000,
	SOON_MS = 50
};

/* ------------------------------------------------------------ the semaphore */

static void semaphore_keeps_what_was_posted(void **state)
{
	struct stt_semaphore semaphore;

	(void)state;
	stt_semaphore_init(&semaphore);
	errno = ENOENT;
	stt_semaphore_post(&semaphore);
	stt_semaphore_post(&semaphore);
	assert_int_equal(errno, ENOENT);
	stt_semaphore_wait(&semaphore);
	assert_true(stt_semaphore_wait_until(&semaphore, 0));
	assert_false(stt_semaphore_wait_until(&semaphore, 0));
	stt_semaphore_fini(&semaphore);
}

static void semaphore_waits_until_its_time(void **state)
{
	struct stt_semaphore semaphore;

	(void)state;
	stt_semaphore_init(&semaphore);
	int64_t until = now_ms() + SOON_MS;
	assert_false(stt_semaphore_wait_until(&semaphore, until));
	assert_true(now_ms() >= until);
	stt_semaphore_fini(&semaphore);
}

struct players {
	struct stt_semaphore there;
	struct stt_semaphore back;
	int count; /* whose turn it is */
};

static void *answer(void *argument)
{
	struct players *players = argument;

	for (int i = 0; i < ROUNDS; i++) {
		stt_semaphore_wait(&players->there);
		players->count++;
		stt_semaphore_post(&players->back);
	}
	return NULL;
}

/* A post wakes who waits, and what was written before it is seen: the limit is never reached. */
static void semaphore_hands_over(void **state)
{
	struct players players = {.count = 0};
	pthread_t thread;

	(void)state;
	stt_semaphore_init(&players.there);
	stt_semaphore_init(&players.back);
	assert_int_equal(pthread_create(&thread, NULL, answer, &players), 0);
	for (int i = 0; i < ROUNDS; i++) {
		players.count++;
		stt_semaphore_post(&players.there);
		assert_true(stt_semaphore_wait_until(&players.back, now_ms() + DEADLINE_MS));
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(players.count, 2 * ROUNDS);
	stt_semaphore_fini(&players.there);
	stt_semaphore_fini(&players.back);
}

/* ------------------------------------------------------------- errno's values */

static void errno_has_its_name_and_sentence(void **state)
{
	(void)state;
	assert_string_equal(stt_find_errno(ECONNRESET)->name, "ECONNRESET");
	assert_string_equal(stt_find_errno(ECONNRESET)->text, "Connection reset by peer");
	assert_null(stt_find_errno(0));
	assert_null(stt_find_errno(-1));
	assert_null(stt_find_errno(41));
	assert_null(stt_find_errno(4095));
}

/* The same words on every C library. */
static void errno_is_called_as_the_c_library_calls_it(void **state)
{
	(void)state;
#if STT_HAVE_STRERRORNAME_NP
	for (int number = 1; number < 4096; number++) {
		const struct stt_errno *found = stt_find_errno(number);
		const char *name = strerrorname_np(number);

		if (!name) {
			assert_null(found);
			continue;
		}
		assert_non_null(found);
		assert_string_equal(found->name, name);
		assert_string_equal(found->text, strerrordesc_np(number));
	}
#else
	skip(); /* there is nobody to compare with */
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(semaphore_keeps_what_was_posted),
		cmocka_unit_test(semaphore_waits_until_its_time),
		cmocka_unit_test(semaphore_hands_over),
		cmocka_unit_test(errno_has_its_name_and_sentence),
		cmocka_unit_test(errno_is_called_as_the_c_library_calls_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
