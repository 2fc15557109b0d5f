/* SPDX-License-Identifier: MIT */
/* How a group comes to run: IDLE to STARTING to RUNNING, or back. */
#ifndef STT_GROUP_START_H
#define STT_GROUP_START_H

struct stt_group;
struct sttcp_conn;

/* Begins a start: IDLE to STARTING, with an engine. 0, -EBUSY, or why there is none. It ends with
 * stt_group_run or with stt_group_cancel. */
int stt_group_begin(struct stt_group *group);

/* Keeps the sentence about a start that was refused with `code`, as stt_group_tell. */
int stt_group_tell_refused(struct stt_group *group, int code);

/* STARTING to RUNNING, and on to the stop that has come in between. `first`: a client's attempt, to
 * be begun. */
void stt_group_run(struct stt_group *group, struct sttcp_conn *first);

/* The start has failed: back to IDLE once its listeners are closed; waits for that. */
void stt_group_cancel(struct stt_group *group);

/* A client's start from inside its own last handler: the next attempt, taken. -EBUSY. */
int stt_group_start_next(struct stt_group *group, struct sttcp_conn *next);

#endif
