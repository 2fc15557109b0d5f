/* SPDX-License-Identifier: MIT */
/* How a group stops: its stop, the deadline for that, and the calls that wait for it. */
#ifndef STT_GROUP_STOP_H
#define STT_GROUP_STOP_H

#include "group/group.h"

/* Allocates what a stop needs on this many loops: 0 or -ENOMEM. */
int stt_stop_prepare_locked(struct stt_group *group, int nloops) STT_REQUIRES(group->lock);

/* The ring of a group's alarm. */
int64_t stt_stop_ring(struct stt_worker *worker, struct stt_alarm *alarm);

/* Begins a stop, and does not wait for it. */
void stt_group_begin_stop(struct stt_group *group, int timeout_ms);

/* The same of that run, if there is no later one. */
void stt_group_begin_stop_of(struct stt_group *group, uint64_t run, int timeout_ms);

/* Stops within `timeout_ms` (-1: no limit) and, outside handlers, waits for it. 0; STTCP_EFORK in a
 * child that was forked in a log callback meanwhile. */
int stt_group_stop(struct stt_group *group, int timeout_ms, sttcp_stop_report *report);

/* 0 (a client: its reason), -ETIMEDOUT, -EINVAL. */
int stt_group_wait(struct stt_group *group, int timeout_ms);

/* Gives up the user's handle, see sttcp_server_free. */
void stt_group_free(struct stt_group *group);

#endif
