/* SPDX-License-Identifier: MIT */
/*
 * What is queued leaves: the bytes of the queue, of the line and of TLS, then
 * FIN. Under the output lock, by whoever makes it possible.
 *
 * Large output is written in visits of the loop, which serves its other
 * connections in between.
 */
#include "conn/flush.h"

#include <errno.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/list.h"
#include "conn/conn.h"
#include "conn/hold.h"
#include "conn/line.h"
#include "conn/room.h"
#include "conn/service.h"
#include "conn/stream.h"
#include "conn/unheard.h"
#include "conn/watch.h"
#include "engine/loop.h"

enum {
	PARTS_PER_CALL = 64,
	/* What one visit writes, and copies from the line, at most. Without it a send of 2 GiB to a
	 * peer that reads fast held everybody else on the loop for 283 ms (test_large_sends.c). */
	VISIT_BYTES = 512 * 1024,
	/* Limits the flush of a closing connection, however little its peer reads at a time. A
	 * multiple of the write timeout. */
	FLUSH_TIMEOUTS = 10
};

/* Writes the queue: 0 when it is empty or `*most` bytes have been written, -EAGAIN when the socket
 * is full, or why the stream has failed. */
static int write_queue_locked(struct stt_output *out, size_t *most) STT_REQUIRES(out->lock)
{
	struct sttcp_conn *conn = stt_output_conn(out);

	while (!stt_bytes_empty(&out->queue) && *most) {
		struct iovec parts[PARTS_PER_CALL];
		int count = stt_bytes_peek(&out->queue, parts, PARTS_PER_CALL, *most);
		ssize_t sent = stt_stream_send_locked(out, parts, count);

		if (sent < 0)
			return (int)sent;
		*most -= (size_t)sent;
		stt_bytes_consume(&out->queue, (size_t)sent);
		stt_flush_count_locked(out, (size_t)sent);
		out->moved_ms = stt_now_ms();
		stt_flush_note_activity(conn);
	}
	return 0;
}

/* The socket is not full, so no event will come: the loop returns after it has served the other
 * connections. The descriptor must be open. */
void stt_flush_visit_again_locked(struct stt_output *out)
{
	struct sttcp_conn *conn = stt_output_conn(out);

	out->behind = true;
	stt_alarm_set(conn->loop, &conn->alarm, 0);
}

/* The socket is full: an event will report when it is writable. */
void stt_flush_expect_writable_locked(struct stt_output *out)
{
	struct sttcp_conn *conn = stt_output_conn(out);
	int64_t timeout_ms = conn->service->settings.write_timeout_ms;

	stt_watch_wait_locked(out);
	atomic_store(&out->pending, true);
	out->moved_ms = stt_now_ms();
	int64_t at = stt_unheard_at_locked(out);

	if (timeout_ms >= 0 && out->moved_ms + timeout_ms < at)
		at = out->moved_ms + timeout_ms;
	if (at != STT_NEVER)
		stt_alarm_set(conn->loop, &conn->alarm, at);
}

/* Of TLS: the records that have not left. 0, -EAGAIN, or why the stream has failed. */
static int write_rest_locked(struct stt_output *out) STT_REQUIRES(out->lock)
{
	bool moved;
	int result = stt_secure_flush_locked(out, &moved);

	if (moved) {
		out->moved_ms = stt_now_ms();
		stt_flush_note_activity(stt_output_conn(out));
	}
	return result;
}

/* The same, and if there are some left an event will come: 0, or why the stream has failed. */
int stt_flush_push_rest_locked(struct stt_output *out)
{
	int result = write_rest_locked(out);

	if (result == -EAGAIN && !atomic_load(&out->pending)) {
		/* Flag first, then one more try: see output.h. */
		stt_flush_expect_writable_locked(out);
		result = write_rest_locked(out);
	}
	return result == -EAGAIN ? 0 : result;
}

bool stt_flush_is_empty_locked(const struct stt_output *out)
{
	return stt_bytes_empty(&out->queue) && !out->line;
}

bool stt_output_drained_locked(const struct stt_output *out)
{
	return out->broken ||
	       (stt_flush_is_empty_locked(out) &&
		(!(out->detours & STT_DETOUR_TLS) || stt_secure_is_drained_locked(out)));
}

/* TLS has an end of its own, which leaves before FIN. */
static void finish_session_locked(struct stt_output *out) STT_REQUIRES(out->lock)
{
	if (!(out->detours & STT_DETOUR_FIN) || out->fin_sent || out->broken || out->shakes ||
	    !stt_flush_is_empty_locked(out) || stt_stream_fd(stt_output_conn(out)) < 0)
		return;
	stt_secure_finish_locked(out);
	if (stt_secure_finishes_later_locked(out) && !atomic_load(&out->pending))
		stt_flush_expect_writable_locked(out);
	/* What cannot leave any more is lost, and FIN says the same. */
	(void)stt_flush_push_rest_locked(out);
}

/* What follows when queue and line are empty: the FIN that was waiting for that, and a notice to
 * the owner of a connection that ends. */
unsigned stt_output_finish_locked(struct stt_output *out)
{
	struct sttcp_conn *conn = stt_output_conn(out);
	bool ended = atomic_load(&conn->ended);
	unsigned what = 0;

	if (stt_hold_release_low_locked(out))
		what = STT_TELL_RESUME | STT_TELL_LOW;
	stt_room_note_locked(out);
	if (out->detours & STT_DETOUR_TLS)
		finish_session_locked(out);
	if (!stt_output_drained_locked(out))
		return what;
	atomic_store(&out->pending, false);
	/* It may have been all that was going on. */
	if (atomic_load_explicit(&conn->service->ends_idle, memory_order_relaxed))
		what |= STT_TELL_RESUME;
	/* After an end it never runs; and once all have ended, it may be set anew. */
	if (out->waited && !out->broken && !ended && conn->service->handlers.drained)
		what |= STT_TELL_DRAINED;
	out->waited = false;
	if ((out->detours & STT_DETOUR_FIN) && !out->fin_sent && !out->broken) {
		out->fin_sent = true;
		if (stt_stream_fd(conn) >= 0)
			stt_stream_finish_locked(out);
		/* If the peer's FIN came earlier, this is the end, and no event may follow. */
		what |= STT_TELL_RESUME;
	}
	return what | (ended ? STT_TELL_CLOSE : 0);
}

unsigned stt_output_break_locked(struct stt_output *out, int code)
{
	if (!out->broken)
		out->broken = code;
	stt_bytes_clear(&out->queue);
	while (out->line)
		stt_line_finish_locked(out, out->line, code);
	return stt_output_finish_locked(out) | STT_TELL_READ;
}

void stt_output_die_locked(struct stt_output *out)
{
	struct sttcp_conn *conn = stt_output_conn(out);

	if (stt_output_drained_locked(out))
		return;
	/* A FIN behind a part of it would tell the peer that this was all. */
	if (stt_stream_fd(conn) >= 0)
		stt_stream_reset_locked(out);
	/* The result is for the owner, which is the caller. */
	(void)stt_output_break_locked(out, stt_conn_end_code(conn));
}

/* With an empty queue: the first in line goes straight from its sender's memory. Then there is a
 * line only if the cap of all connections leaves no room to queue. */
static int write_sender_locked(struct stt_output *out, size_t *most) STT_REQUIRES(out->lock)
{
	struct sttcp_conn *conn = stt_output_conn(out);
	struct stt_sender *sender = out->line;

	while (sender->cursor.left) {
		ssize_t sent = *most ? stt_cursor_send_locked(out, &sender->cursor, *most) : 0;

		if (sent <= 0)
			return (int)sent;
		*most -= (size_t)sent;
		sender->begun = true;
		stt_flush_count_locked(out, (size_t)sent);
		stt_cursor_skip(&sender->cursor, (size_t)sent);
		out->moved_ms = stt_now_ms();
		stt_flush_note_activity(conn);
	}
	stt_line_finish_locked(out, sender, 0);
	return 0;
}

static int write_first_locked(struct stt_output *out, size_t *most) STT_REQUIRES(out->lock)
{
	int result = (out->detours & STT_DETOUR_TLS) && !out->shakes ? write_rest_locked(out) : 0;

	if (result < 0)
		return result;
	if (!stt_bytes_empty(&out->queue))
		return write_queue_locked(out, most);
	if (out->line)
		return write_sender_locked(out, most);
	return stt_secure_finishes_later_locked(out) ? -EAGAIN : 0;
}

/* Whether what is queued has to wait for a handshake. */
static bool waits_locked(const struct stt_output *out) STT_REQUIRES(out->lock)
{
	return out->shakes && stt_secure_waits_locked(out);
}

/* Whether the first in line is better written from its sender's memory, while the socket takes
 * bytes. Small sends are gathered in the queue. */
static bool goes_straight_locked(const struct stt_output *out) STT_REQUIRES(out->lock)
{
	return stt_bytes_empty(&out->queue) && out->line &&
	       out->line->cursor.left >= STT_GATHER_BYTES;
}

unsigned stt_output_flush_locked(struct stt_output *out)
{
	struct sttcp_conn *conn = stt_output_conn(out);
	size_t most = VISIT_BYTES;
	int result = 0;

	if (out->broken || stt_stream_fd(conn) < 0)
		return 0;
	out->behind = false;
	while (result == 0 && most && !stt_output_drained_locked(out) && !waits_locked(out)) {
		result = write_first_locked(out, &most);
		if (result == -EAGAIN && !atomic_load(&out->pending)) {
			/* Flag first, then one more try: see output.h. */
			stt_flush_expect_writable_locked(out);
			result = write_first_locked(out, &most);
		}

		int moved = result == 0 && most && goes_straight_locked(out)
				    ? 0
				    : stt_line_advance_locked(out, VISIT_BYTES);

		if (moved < 0)
			result = moved;
	}
	if (result < 0 && result != -EAGAIN)
		return stt_output_break_locked(out, stt_error_of_peer(result));
	/* The end of the handshake makes it go on; a handler that waits for the socket in there has
	 * to look, for no event is told any more. */
	if (waits_locked(out)) {
		atomic_store(&out->pending, false);
		return stt_output_finish_locked(out) |
		       (out->receiver == STT_RECEIVER_PARKED ? STT_TELL_WAKE : 0);
	}
	/* Also for the copies of a sender for whose bytes there is room. */
	if (!stt_output_drained_locked(out) &&
	    (result == 0 || (out->line && stt_room_pace_locked(out, stt_room_locked(out)))))
		stt_flush_visit_again_locked(out);
	return stt_output_finish_locked(out);
}

void stt_output_tell(struct sttcp_conn *conn, unsigned what)
{
	if (what & STT_TELL_READ)
		atomic_store(&conn->hangup, true);
	if (what & STT_TELL_LOW)
		stt_hold_trace_release(conn);
	if (what)
		stt_conn_ask(conn, (what & (STT_TELL_READ | STT_TELL_RESUME) ? STT_WISH_READ : 0) |
					   (what & STT_TELL_RESUME ? STT_WISH_TIMEOUT : 0) |
					   (what & STT_TELL_CLOSE ? STT_WISH_CLOSE : 0) |
					   (what & STT_TELL_DRAINED ? STT_WISH_DRAINED : 0) |
					   (what & STT_TELL_WAKE ? STT_WISH_WAKE : 0));
}

void stt_output_flush(struct sttcp_conn *conn)
{
	stt_lock(&conn->output.lock);
	unsigned what = stt_output_flush_locked(&conn->output);

	if (conn->output.receiver == STT_RECEIVER_PARKED)
		what |= STT_TELL_WAKE;
	stt_unlock(&conn->output.lock);
	if (what)
		stt_output_tell(conn, what);
}

/* When the connection is to be reset because nothing has left for too long, or STT_NEVER. */
static int64_t stalls_at_locked(const struct stt_output *out) STT_REQUIRES(out->lock)
{
	const struct sttcp_conn *conn = stt_output_conn(out);
	int64_t timeout_ms = conn->service->settings.write_timeout_ms;
	int64_t at = STT_NEVER;

	if (timeout_ms < 0 || stt_output_drained_locked(out))
		return at;
	/* Output that is only gathered, or waits for the next visit, has not been tried. */
	if (atomic_load(&out->pending))
		at = out->moved_ms + timeout_ms;
	return out->flush_until_ms && out->flush_until_ms < at ? out->flush_until_ms : at;
}

void stt_output_flush_by_locked(struct stt_output *out, int64_t until_ms)
{
	struct sttcp_conn *conn = stt_output_conn(out);

	if ((out->flush_until_ms && out->flush_until_ms <= until_ms) ||
	    stt_output_drained_locked(out))
		return;
	out->flush_until_ms = until_ms;
	if (atomic_load_explicit(&conn->fd, memory_order_relaxed) >= 0)
		stt_alarm_set(conn->loop, &conn->alarm, until_ms);
}

void stt_output_limit_flush_locked(struct stt_output *out)
{
	int64_t timeout_ms = stt_output_conn(out)->service->settings.write_timeout_ms;

	if (timeout_ms >= 0)
		stt_output_flush_by_locked(out, stt_now_ms() + timeout_ms * FLUSH_TIMEOUTS);
}

int64_t stt_output_ring(struct sttcp_conn *conn, int64_t now_ms, int *stalled)
{
	struct stt_output *out = &conn->output;
	unsigned what = 0;

	stt_lock(&out->lock);
	/* An event comes only when a third of the socket's buffer is free (sk_stream_is_writeable
	 * of Linux): until then a peer may have read for long, and a try finds it out. */
	if (out->behind || stalls_at_locked(out) <= now_ms)
		what = stt_output_flush_locked(out);

	int64_t at = stalls_at_locked(out);
	int64_t look = stt_watch_look_locked(out);
	bool asks = false;
	int64_t ahead = stt_unheard_look_locked(out, now_ms, &asks);

	stt_unlock(&out->lock);
	stt_output_tell(conn, what | (asks ? STT_TELL_RESUME : 0));
	if (at > now_ms && look > now_ms) {
		at = at < look ? at : look;
		return at < ahead ? at : ahead;
	}
	*stalled = look > now_ms ? STTCP_ETIME_WRITE : STTCP_EDEAD_PEER;
	return STT_NEVER;
}
