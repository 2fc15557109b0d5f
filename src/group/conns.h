/* SPDX-License-Identifier: MIT */
/* The connections of a group, from the moment when it admits them. */
#ifndef STT_GROUP_CONNS_H
#define STT_GROUP_CONNS_H

#include "group/group.h"

struct stt_reconnect_news;

/* What connections tell their group. A client that was started again from inside its last handler
 * goes on with the next attempt when that has ended. */
extern const struct stt_service_calls stt_conns_calls;

/* A new connection, with its place: counted and on the roster. Else STT_PLACE_OVER_ADDRESS or
 * STT_PLACE_CLOSED. */
enum stt_place stt_group_admit(struct stt_group *group, struct sttcp_conn *conn);

/* Begins the next attempt of a client if it is time, else sees to it that the alarm rings again. In
 * its ring. */
void stt_conns_retry_if_due_locked(struct stt_group *group, struct stt_reconnect_news *news)
	STT_REQUIRES(group->lock);

/* Admits a client's connection, and begins its attempt; of one that was closed since the start it
 * has its outcome all the same. */
void stt_conns_begin_attempt_locked(struct stt_group *group, struct sttcp_conn *conn)
	STT_REQUIRES(group->lock);

#endif
