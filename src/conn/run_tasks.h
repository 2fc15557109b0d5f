/* SPDX-License-Identifier: MIT */
/* What the owner of a connection does with its tasks: runs those that are due, and frees the others
 * at the end. Outside turns; after these the worker may have lost its loop. */
#ifndef STT_CONN_RUN_TASKS_H
#define STT_CONN_RUN_TASKS_H

#include <stdbool.h>
#include <stdint.h>

struct stt_desk;
struct sttcp_conn;

/* Runs the tasks that are due, in phase OPEN: true if more are due after this one's share of the
 * turn. */
bool stt_run_tasks(struct stt_desk *desk, struct sttcp_conn *conn);

/* A task that has waited has returned: what it has read, or the time that it took, counts as it
 * does behind the others. */
void stt_run_tasks_after(struct sttcp_conn *conn, int64_t began_ms, int64_t bytes_before);

enum stt_freed {
	STT_FREED_ALL,
	STT_FREED_A_PART,   /* others first: the caller comes again */
	STT_FREED_ELSEWHERE /* a call of cancel is at it, and a close wish will follow */
};

/* Frees the tasks of a connection that has ended. */
enum stt_freed stt_run_tasks_free(struct stt_desk *desk, struct sttcp_conn *conn);

#endif
