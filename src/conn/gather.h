/* SPDX-License-Identifier: MIT */
/*
 * Coalescing: when one read has brought several messages, their small answers
 * are queued, and sent together after the last message has been handled. A
 * handler that blocks must not hold back earlier answers, so other threads can
 * flush them at any time: the table is in gather.c.
 */
#ifndef STT_CONN_GATHER_H
#define STT_CONN_GATHER_H

#include <stdbool.h>

struct stt_actor;
struct stt_worker;
struct sttcp_conn;

/* Begins to coalesce. By the connection's owner, outside turns; false if that is not possible now.
 */
bool stt_gather_begin(struct stt_worker *worker, struct sttcp_conn *conn);

/* The last message has been handled. By the same worker, which may have lost its loop meanwhile. */
void stt_gather_end(struct stt_worker *worker, struct sttcp_conn *conn);

/* The same for the tickets of a handshake alone (handshake.h): nothing is gathered. False where the
 * worker owns no loop that could be taken over: then they are to leave at once. Sends may be
 * gathered in between, behind which the tickets have left. */
bool stt_gather_begin_hold(struct stt_worker *worker, struct sttcp_conn *conn);
void stt_gather_end_hold(struct stt_worker *worker);

/* For the connection's struct stt_actor_ops. */
void stt_gather_lost(struct stt_worker *worker, struct stt_actor *actor);
void stt_gather_lent(struct stt_worker *worker, struct stt_actor *actor);

#endif
