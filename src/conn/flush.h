/* SPDX-License-Identifier: MIT */
/*
 * What sends (output.c) need of the flush, besides output.h. Under the output
 * lock.
 */
#ifndef STT_CONN_FLUSH_H
#define STT_CONN_FLUSH_H

#include "base/clock.h"
#include "conn/conn.h"
#include "conn/output.h"
#include "conn/service.h"
#include "conn/watch.h"

enum {
	/* Small sends are gathered up to this size. Beyond it a system call costs little by the
	 * byte, and the first bytes would have left the CPU's cache before they are sent. */
	STT_GATHER_BYTES = 32 * 1024
};

/* Neither queue nor line has a byte. */
bool stt_flush_is_empty_locked(const struct stt_output *out) STT_REQUIRES(out->lock);

/* The socket is not full, so no event will come: the loop returns after it has served the other
 * connections. The descriptor must be open. */
void stt_flush_visit_again_locked(struct stt_output *out) STT_REQUIRES(out->lock);

/* The socket is full: an event will report when it is writable. */
void stt_flush_expect_writable_locked(struct stt_output *out) STT_REQUIRES(out->lock);

/* Of TLS: writes the records that have not left, and if there are some left an event will come: 0,
 * or why the stream has failed. */
int stt_flush_push_rest_locked(struct stt_output *out) STT_REQUIRES(out->lock);

/* Bytes have left. Inline, for every send does it. */
static inline void stt_flush_count_locked(struct stt_output *out, size_t size)
	STT_REQUIRES(out->lock)
{
	stt_counter_add(&out->bytes_out, (int64_t)size);
	if (out->watch == STT_WATCH_QUIET)
		stt_watch_begin_locked(out);
}

/* A byte has left. */
static inline void stt_flush_note_activity(struct sttcp_conn *conn)
{
	if (atomic_load_explicit(&conn->framed, memory_order_relaxed) &&
	    conn->service->settings.times_input)
		atomic_store_explicit(&conn->active_ms, stt_now_ms(), memory_order_relaxed);
}

#endif
