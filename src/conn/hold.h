/* SPDX-License-Identifier: MIT */
/*
 * Backpressure: the reasons for which nothing is read from a peer.
 *
 *	reason	begins with		ends with
 *	PAUSED	sttcp_conn_pause	sttcp_conn_resume
 *	HIGH	the queue is full	the queue is not full any more
 *
 * AHEAD is none: it says that the input is to be read nevertheless (unheard.h).
 *
 * A queue is full when it holds high_water bytes of the connection's own
 * handlers, or any such bytes while the cap of all connections is used up.
 *
 * A reader that finds no reason takes no lock. A reader that finds HIGH checks
 * the queue, and stops if that is full (`holds_reader` in the output). Then HIGH
 * stays until the queue has shrunk to low_water.
 *
 * Whoever releases a stopped reader sets `rested`, and then asks for a read and
 * for a check of the deadlines for input, which begin anew. The read has to be
 * asked for because the events of what arrived meanwhile have passed.
 */
#ifndef STT_CONN_HOLD_H
#define STT_CONN_HOLD_H

#include <stdatomic.h>
#include <stdbool.h>

#include "conn/conn.h"
#include "conn/output.h"

enum stt_hold {
	STT_HOLD_PAUSED = 1,
	STT_HOLD_HIGH = 2,
	STT_HOLD_AHEAD = 4
};

/* Adds a reason, and removes it; false if nothing has changed. Any thread, under any lock. It is up
 * to the caller to tell the reader, since the caller knows whether reading has stopped. */
bool stt_hold(struct sttcp_conn *conn, enum stt_hold why);
bool stt_release(struct sttcp_conn *conn, enum stt_hold why);

/* As sttcp_conn_pause and sttcp_conn_resume. */
void stt_conn_pause(struct sttcp_conn *conn);
void stt_conn_resume(struct sttcp_conn *conn);

static inline bool stt_is_paused(struct sttcp_conn *conn)
{
	return atomic_load(&conn->holds) & STT_HOLD_PAUSED;
}

/* Whether AHEAD is set. */
static inline bool stt_hold_reads_ahead(struct sttcp_conn *conn)
{
	return atomic_load(&conn->holds) & STT_HOLD_AHEAD;
}

/* For stt_is_held: whether one of the reasons stands. */
bool stt_hold_stands(struct sttcp_conn *conn);

/* Whether nothing is to be read or delivered now. By the owner. */
static inline bool stt_is_held(struct sttcp_conn *conn)
{
	return atomic_load_explicit(&conn->holds, memory_order_relaxed) && stt_hold_stands(conn);
}

/* The queue has changed: brings HIGH up to date. */
void stt_hold_note_queue_locked(struct stt_output *out) STT_REQUIRES(out->lock);

/* Before that, when bytes may have left: true if a stopped reader is released. Then the caller must
 * call stt_hold_trace_release, without the lock, and tell the reader. */
bool stt_hold_release_low_locked(struct stt_output *out) STT_REQUIRES(out->lock);
void stt_hold_trace_release(struct sttcp_conn *conn);

/* Whether reading is stopped, or was since the last call: then nothing could be expected of the
 * peer. By the owner. */
bool stt_hold_has_rested(struct sttcp_conn *conn);

#endif
