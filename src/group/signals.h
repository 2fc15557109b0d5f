/* SPDX-License-Identifier: MIT */
/*
 * SIGINT and SIGTERM while a thread is in keep_alive: the signal handler
 * counts and wakes a loop, which begins the stops. This is the only place that
 * touches signals. A stop that a signal handler of the program requests goes
 * the same way.
 */
#ifndef STT_GROUP_SIGNALS_H
#define STT_GROUP_SIGNALS_H

#include <signal.h>

struct stt_engine;

enum stt_signals_for {
	STT_SIGNALS_FOR_WATCHED, /* groups for which somebody is in keep_alive */
	STT_SIGNALS_FOR_ALL
};

/* With the engine: what a signal handler wakes a loop with, which calls the first function for each
 * signal and the second one for requests to stop, outside turns. 0 or -errno. */
int stt_signals_open(struct stt_engine *engine, void (*arrived_fn)(enum stt_signals_for whom),
		     void (*requested_fn)(void));
void stt_signals_close(void);

/* Has a loop look which groups are to stop: see stt_group_request_stop. Async-signal-safe. */
void stt_signals_pass_requests_on(void);

/* The first call in takes both signals over, unless they are ignored; the last one out gives them
 * back. Each lets them through to its own thread meanwhile; `before` keeps its mask. While one of
 * the callers is in for all groups, the signals are for all. */
void stt_signals_enter(enum stt_signals_for whom, sigset_t *before);
void stt_signals_leave(enum stt_signals_for whom, const sigset_t *before);

/* In the child of a fork: the signals are what they were before. */
void stt_signals_after_fork(void);

#endif
