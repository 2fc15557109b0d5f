/* SPDX-License-Identifier: MIT */
/* All groups of the process together: the engine that they run on, signals, requests to stop. */
#ifndef STT_GROUP_ALL_H
#define STT_GROUP_ALL_H

#include "group/group.h"

/* To be called before the first object is made, and before an engine is asked for. Any thread, any
 * number of times. */
void stt_all_begin(void);

/* Makes a group, as stt_group_init, that is found here from now on. 0 or -ENOMEM. */
int stt_all_make(struct stt_group *group, enum stt_side side, const char *host, int port);

/* Waits for dialled connections that nobody uses any more, as long as their end takes if nothing is
 * in its way. Outside handlers. */
void stt_all_settle(void);

/* Some group that is started, as a new reference, or NULL. */
struct stt_group *stt_all_any_started(void);

/* Asks for the stop that a first signal begins. Async-signal-safe: it takes no lock. */
void stt_group_request_stop(struct stt_group *group);

/* Counts a call of keep_alive in or out. */
void stt_group_watch(struct stt_group *group, int change);

#endif
