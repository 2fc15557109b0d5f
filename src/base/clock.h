/* SPDX-License-Identifier: MIT */
/* The monotonic clock, in the units that the library counts in. Any thread. */
#ifndef STT_BASE_CLOCK_H
#define STT_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* "Never", as a point in time. */
#define STT_NEVER INT64_MAX

static inline int64_t stt_clock_us(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static inline int64_t stt_now_us(void)
{
	return stt_clock_us(CLOCK_MONOTONIC);
}

static inline int64_t stt_now_ms(void)
{
	return stt_now_us() / 1000;
}

/* Seconds and nanoseconds may be 32 bits wide, and the monotonic clock does not come that far. */
static inline struct timespec stt_timespec(int64_t ms)
{
	return (struct timespec){.tv_sec = (time_t)(ms / 1000),
				 .tv_nsec = (long)(ms % 1000 * 1000000)};
}

/* `ms` from now on, where -1 is never. The millisecond that has begun is not counted: a limit is
 * never early, and 0 is over at once. */
static inline int64_t stt_deadline_ms(int64_t ms)
{
	return ms < 0 ? STT_NEVER : stt_now_ms() + ms + (ms > 0);
}

#endif
