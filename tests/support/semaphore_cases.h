/* SPDX-License-Identifier: MIT */
/* The cases of a semaphore, for the test of each of the two that base/semaphore.h has: of which
 * one, says whoever includes this. */
#ifndef STT_TEST_SEMAPHORE_CASES_H
#define STT_TEST_SEMAPHORE_CASES_H

#include "base/semaphore.h"
#include "support/support.h"

enum {
	ROUNDS = 20000,
	SOON_MS = 50
};

static inline void semaphore_keeps_what_was_posted(void **state)
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

static inline void semaphore_waits_until_its_time(void **state)
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

static inline void *answer(void *argument)
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
static inline void semaphore_hands_over(void **state)
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

#define SEMAPHORE_CASES                                                                            \
	cmocka_unit_test(semaphore_keeps_what_was_posted),                                         \
		cmocka_unit_test(semaphore_waits_until_its_time),                                  \
		cmocka_unit_test(semaphore_hands_over)

#endif
