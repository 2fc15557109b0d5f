/* SPDX-License-Identifier: MIT */
/*
 * SIGINT and SIGTERM while somebody is in keep_alive: the handler counts and
 * wakes a loop, which begins the stops. The only place that touches signals.
 */
#ifndef STT_ENGINE_SIGNALS_H
#define STT_ENGINE_SIGNALS_H

#include <stdbool.h>

struct stt_engine;

/* The first call in takes both signals over, unless they are ignored; the last one out gives them
 * back. `everything`: the signals are for all groups, not only for those that are watched. 0 or
 * -errno. */
int stt_signals_enter(struct stt_engine *engine, bool everything);
void stt_signals_leave(bool everything);

/* In the child of a fork: the signals are what they were before. */
void stt_signals_after_fork(void);

#endif
