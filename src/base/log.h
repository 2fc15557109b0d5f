/* SPDX-License-Identifier: MIT */
/*
 * Diagnostics, for the user's callback or for standard error; by default they
 * go nowhere. Never with a lock held: the callback is user code. Any thread.
 */
#ifndef STT_BASE_LOG_H
#define STT_BASE_LOG_H

#include <stdatomic.h>
#include <stdbool.h>

#include "sttcp.h"

enum stt_log_level {
	STT_LOG_ERROR = 1,
	STT_LOG_WARNING,
	STT_LOG_INFO,
	STT_LOG_TRACE
};

/* Atomic, relaxed: the highest level that is wanted; 0 while logging is off. A thread that sees a
 * change late misses a line, or makes one in vain. */
extern atomic_int stt_log_most;

static inline bool stt_log_wants(enum stt_log_level level)
{
	return atomic_load_explicit(&stt_log_most, memory_order_relaxed) >= (int)level;
}

/* A macro, so that a level that is off costs one load: its arguments are not evaluated. */
#define stt_log(level, ...) (stt_log_wants(level) ? stt_log_tell((level), __VA_ARGS__) : (void)0)

/* For stt_log. Keeps errno. */
void stt_log_tell(enum stt_log_level level, const char *format, ...) STTCP_PRINTF(2, 3);

/* Whether the calling thread is inside the callback. */
bool stt_log_is_inside(void);

/* Something is being started: the first time, STTCP_LOG counts if nothing was set before. */
void stt_log_begin(void);

/* In the child of a fork, where another thread may have held the lock or been in the callback:
 * makes all of it new and keeps the settings. `stays`: if the callback itself forked, it waits
 * without end in this process, because its caller is the parent's. */
void stt_log_after_fork(bool stays);

#endif
