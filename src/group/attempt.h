/* SPDX-License-Identifier: MIT */
/*
 * A client's attempt to connect: the name is looked up, then its
 * addresses race (RFC 8305): one more every 250 ms, or as soon as one has failed.
 * A Unix socket whose queue is full is tried again until there is a place.
 * The outcome is handed to the connection, whose owner runs the handler.
 */
#ifndef STT_GROUP_ATTEMPT_H
#define STT_GROUP_ATTEMPT_H

#include <stdbool.h>

struct stt_attempt;
struct stt_group;
struct sttcp_conn;

/* A connection in phase CONNECTING with all that its attempt needs, so that beginning it cannot
 * fail. NULL when out of memory. `again`: it is not the first one since the start. */
struct sttcp_conn *stt_attempt_new(struct stt_group *group, bool again);

/* The attempt of a connection that nobody can find yet, with its reference. It must be begun, even
 * if the connection has been ended meanwhile. The lock is held. */
struct stt_attempt *stt_attempt_take(struct sttcp_conn *conn);

/* Begins it. The group has admitted the connection. Any thread. */
void stt_attempt_begin(struct stt_attempt *attempt);

/* The same of a client that has been closed: its loop ends it with STTCP_EDESTROYED, and looks for
 * no address. */
void stt_attempt_begin_closed(struct stt_attempt *attempt);

/* Gives up a connection that was not begun. */
void stt_attempt_discard(struct sttcp_conn *conn);

#endif
