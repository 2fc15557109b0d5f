/* SPDX-License-Identifier: MIT */
/*
 * Mutexes and condition variables that clang's -Wthread-safety understands, and
 * the switch that keeps a thread from being cancelled inside the library. Thin
 * enough that pthreads shows through; a lock that fails is a bug, not an error.
 */
#ifndef STT_BASE_MUTEX_H
#define STT_BASE_MUTEX_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/clock.h"

#ifdef __clang__
#define STT_CAPABILITY(name) __attribute__((capability(name)))
#define STT_ACQUIRE(...) __attribute__((acquire_capability(__VA_ARGS__)))
#define STT_RELEASE(...) __attribute__((release_capability(__VA_ARGS__)))
#define STT_REQUIRES(...) __attribute__((requires_capability(__VA_ARGS__)))
#define STT_EXCLUDES(...) __attribute__((locks_excluded(__VA_ARGS__)))
#define STT_UNCHECKED __attribute__((no_thread_safety_analysis))
#else
#define STT_CAPABILITY(name)
#define STT_ACQUIRE(...)
#define STT_RELEASE(...)
#define STT_REQUIRES(...)
#define STT_EXCLUDES(...)
#define STT_UNCHECKED
#endif

struct STT_CAPABILITY("mutex") stt_mutex {
	pthread_mutex_t raw;
};

#define STT_MUTEX_INIT                                                                             \
	{                                                                                          \
		PTHREAD_MUTEX_INITIALIZER                                                          \
	}

static inline void stt_mutex_init(struct stt_mutex *mutex)
{
	pthread_mutex_init(&mutex->raw, NULL);
}

static inline void stt_mutex_fini(struct stt_mutex *mutex)
{
	pthread_mutex_destroy(&mutex->raw);
}

static inline void stt_lock(struct stt_mutex *mutex) STT_ACQUIRE(mutex) STT_UNCHECKED
{
	pthread_mutex_lock(&mutex->raw);
}

static inline void stt_unlock(struct stt_mutex *mutex) STT_RELEASE(mutex) STT_UNCHECKED
{
	pthread_mutex_unlock(&mutex->raw);
}

/* Waits on the monotonic clock. */
struct stt_cond {
	pthread_cond_t raw;
};

/* For one that is only waited for without a limit: it has the wrong clock. */
#define STT_COND_INIT                                                                              \
	{                                                                                          \
		PTHREAD_COND_INITIALIZER                                                           \
	}

static inline void stt_cond_init(struct stt_cond *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&cond->raw, &attr);
	pthread_condattr_destroy(&attr);
}

static inline void stt_cond_fini(struct stt_cond *cond)
{
	pthread_cond_destroy(&cond->raw);
}

static inline void stt_cond_wait(struct stt_cond *cond, struct stt_mutex *mutex) STT_REQUIRES(mutex)
{
	pthread_cond_wait(&cond->raw, &mutex->raw);
}

/* False once the monotonic clock has reached `until_ms`; INT64_MAX waits without a limit. */
static inline bool stt_cond_wait_until(struct stt_cond *cond, struct stt_mutex *mutex,
				       int64_t until_ms) STT_REQUIRES(mutex)
{
	if (until_ms == INT64_MAX) {
		stt_cond_wait(cond, mutex);
		return true;
	}
	struct timespec at = stt_timespec(until_ms);

	return pthread_cond_timedwait(&cond->raw, &mutex->raw, &at) != ETIMEDOUT;
}

static inline void stt_cond_wake_all(struct stt_cond *cond)
{
	pthread_cond_broadcast(&cond->raw);
}

/*
 * Waits until nobody is counted any more. Those that are counted may be in a
 * signal handler, or about to make a system call, and so cannot signal
 * anything. Only for what lasts a few instructions and has nearly always
 * passed.
 */
static inline void stt_wait_for_zero(atomic_int *count)
{
	/* Sleeps, because a thread of a lower priority would not run otherwise. */
	const struct timespec nap = {.tv_nsec = 50000};

	while (atomic_load(count))
		clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, NULL);
}

/*
 * Most calls hold a lock or half-made state around system calls that are
 * cancellation points: a thread of the user's that was cancelled there would
 * leave the lock held for ever. So every such call runs between these two.
 */
static inline int stt_cancel_off(void)
{
	int before;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
	return before;
}

static inline void stt_cancel_back(int before)
{
	pthread_setcancelstate(before, NULL);
}

#endif
