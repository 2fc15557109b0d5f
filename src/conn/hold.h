/* SPDX-License-Identifier: MIT */
/*
 * Backpressure: the reasons for which nothing is read from a peer.
 *
 *	reason	begins with		ends with
 *	PAUSED	sttcp_conn_pause	sttcp_conn_resume
 *	HIGH	the queue is full	the queue is not full any more
 *
 * Full is a queue with as many bytes of the connection's own handlers in it as
 * high_water says, or with any while the cap of all connections is used up.
 *
 * A reader that finds no reason takes no lock. One that finds HIGH looks at the
 * queue, and if that is full rests (`holds_reader` in the output). Then HIGH
 * stays until the queue has come down to low_water.
 *
 * Whoever releases a reader that rests sets `rested` first, and afterwards
 * wishes for a read and for a look at the deadlines for input, which begin anew:
 * what came meanwhile has told of itself already.
 */
#ifndef STT_CONN_HOLD_H
#define STT_CONN_HOLD_H

#include <stdatomic.h>
#include <stdbool.h>

#include "conn/conn.h"
#include "conn/output.h"

enum stt_hold {
	STT_HOLD_PAUSED = 1,
	STT_HOLD_HIGH = 2
};

/* Holds the reader for a reason, and lets go of it: false if that was so before. Any thread, under
 * any lock. What a reader has to be told is the caller's to do, who knows whether it rests. */
bool stt_hold(struct sttcp_conn *conn, enum stt_hold why);
bool stt_release(struct sttcp_conn *conn, enum stt_hold why);

/* As sttcp_conn_pause and sttcp_conn_resume. */
void stt_conn_pause(struct sttcp_conn *conn);
void stt_conn_resume(struct sttcp_conn *conn);

static inline bool stt_is_paused(struct sttcp_conn *conn)
{
	return atomic_load(&conn->holds) & STT_HOLD_PAUSED;
}

/* For stt_is_held: whether one of the reasons stands. */
bool stt_hold_stands(struct sttcp_conn *conn);

/* Whether nothing is to be read or delivered now. By the owner. */
static inline bool stt_is_held(struct sttcp_conn *conn)
{
	return atomic_load_explicit(&conn->holds, memory_order_relaxed) && stt_hold_stands(conn);
}

/* The queue has changed: HIGH says what is so now. */
void stt_hold_note_queue_locked(struct stt_output *out) STT_REQUIRES(out->lock);

/* Before that, when bytes may have left: true if a reader that rested is released. Then
 * stt_hold_trace_release is to be called, without the lock, and the reader to be told. */
bool stt_hold_release_low_locked(struct stt_output *out) STT_REQUIRES(out->lock);
void stt_hold_trace_release(struct sttcp_conn *conn);

/* Whether reading rests, or has rested since the last call: then nothing could be expected of the
 * peer. By the owner. */
bool stt_hold_has_rested(struct sttcp_conn *conn);

#endif
