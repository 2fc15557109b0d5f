/* SPDX-License-Identifier: MIT */
/*
 * A semaphore with a limit on the monotonic clock: sem_timedwait(3) goes by the
 * wall clock, and would sleep an hour longer when that is set back. Where there
 * is no sem_clockwait it is a counter with futex(2) below it. A post may be made
 * in a signal handler, and the semaphore may be gone before it returns.
 */
#ifndef STT_BASE_SEMAPHORE_H
#define STT_BASE_SEMAPHORE_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/clock.h"
#include "base/portable.h"

#if STT_HAVE_SEM_CLOCKWAIT

#include <semaphore.h>

struct stt_semaphore {
	sem_t raw;
};

static inline void stt_semaphore_init(struct stt_semaphore *semaphore)
{
	sem_init(&semaphore->raw, 0, 0);
}

static inline void stt_semaphore_fini(struct stt_semaphore *semaphore)
{
	sem_destroy(&semaphore->raw);
}

static inline void stt_semaphore_post(struct stt_semaphore *semaphore)
{
	sem_post(&semaphore->raw);
}

static inline void stt_semaphore_wait(struct stt_semaphore *semaphore)
{
	while (sem_wait(&semaphore->raw) < 0)
		;
}

/* False once the monotonic clock has reached `until_ms`. */
static inline bool stt_semaphore_wait_until(struct stt_semaphore *semaphore, int64_t until_ms)
{
	struct timespec at = stt_timespec(until_ms);
	int result;

	do {
		result = sem_clockwait(&semaphore->raw, CLOCK_MONOTONIC, &at);
	} while (result < 0 && errno == EINTR);
	return result == 0;
}

#else

#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of <linux/futex.h>, which not every C library brings along: FUTEX_WAIT_BITSET takes a point in
 * time of the monotonic clock. */
enum {
	STT_FUTEX_WAKE = 1 | 128,
	STT_FUTEX_WAIT_BITSET = 9 | 128
};

struct stt_semaphore {
	atomic_int value;
};

static inline void stt_semaphore_init(struct stt_semaphore *semaphore)
{
	atomic_init(&semaphore->value, 0);
}

static inline void stt_semaphore_fini(struct stt_semaphore *semaphore)
{
	(void)semaphore;
}

static inline void stt_semaphore_post(struct stt_semaphore *semaphore)
{
	int before = errno;

	/* The address alone counts for the second step: who waits may have seen the first one. */
	atomic_fetch_add_explicit(&semaphore->value, 1, memory_order_release);
	syscall(SYS_futex, &semaphore->value, STT_FUTEX_WAKE, 1, NULL, NULL, 0);
	errno = before;
}

static inline bool stt_semaphore_take(struct stt_semaphore *semaphore)
{
	int value = atomic_load_explicit(&semaphore->value, memory_order_relaxed);

	while (value > 0) {
		if (atomic_compare_exchange_weak_explicit(&semaphore->value, &value, value - 1,
							  memory_order_acquire,
							  memory_order_relaxed))
			return true;
	}
	return false;
}

/* False once the monotonic clock has reached `until_ms`. */
static inline bool stt_semaphore_wait_until(struct stt_semaphore *semaphore, int64_t until_ms)
{
	/* What this system call knows as a timespec, whatever the C library's has in it. */
	const long at[2] = {(long)(until_ms / 1000), (long)(until_ms % 1000 * 1000000)};

	while (!stt_semaphore_take(semaphore)) {
		if (syscall(SYS_futex, &semaphore->value, STT_FUTEX_WAIT_BITSET, 0,
			    until_ms == INT64_MAX ? NULL : at, NULL, -1) < 0 &&
		    errno == ETIMEDOUT)
			return stt_semaphore_take(semaphore);
	}
	return true;
}

static inline void stt_semaphore_wait(struct stt_semaphore *semaphore)
{
	stt_semaphore_wait_until(semaphore, INT64_MAX);
}

#endif

#endif
