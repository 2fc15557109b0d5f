/* SPDX-License-Identifier: MIT */
/* Waiting for the open connection of a client, outside its own handlers. */
#ifndef STT_GROUP_WAIT_OPEN_H
#define STT_GROUP_WAIT_OPEN_H

struct stt_group;
struct sttcp_conn;

/* Waits until it has one: 0; -ETIMEDOUT; the reason when the client has ended for good,
 * STTCP_ECLOSED where that is 0; -EINVAL when it was never started. */
int stt_group_wait_open(struct stt_group *group, int timeout_ms);

/* The same, and gives a reference to it. */
int stt_group_wait_conn(struct stt_group *group, int timeout_ms, struct sttcp_conn **conn);

#endif
