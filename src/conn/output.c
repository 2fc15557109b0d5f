/* SPDX-License-Identifier: MIT */
/*
 * The way out. The socket and the queue are used under the output lock alone,
 * so that one send is one run of bytes:
 *
 *	queue	line	a send
 *	empty	empty	goes to the socket from the caller's buffer; what the socket does not
 *			take is queued as far as the cap allows, the rest waits in line
 *	some	empty	is queued as far as the cap allows, the rest waits in line
 *	full	some	waits in line, behind the others
 *
 * Large output is written in visits of the loop, which serves its other
 * connections in between.
 *
 * Whoever makes room moves bytes of the first sender in line into the queue,
 * from the memory of that sender. So while there is a line the queue is full,
 * nothing can get between two parts of a send, and a sender is woken only when
 * all of its bytes are queued.
 *
 * But once a send has waited the output is paced: sends that may wait do so while
 * more than a little is queued. Else a sender in a loop would keep the queue full,
 * and all of its bytes would leave the CPU's cache before their turn has come. (Bulk
 * output through a queue of 1 MiB had 0.7 of the speed of a short one, and over TLS
 * 0.6 of the speed of a loop without a queue.) A pace delays no send for longer than
 * PACE_MS: by then the peer is slow, which memory is not, and the sender goes on
 * as soon as there is room. Before a send that may not wait is refused, the line
 * moves up into all the room that there is.
 */
#include "conn/output.h"

#include <errno.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/list.h"
#include "base/parts.h"
#include "conn/conn.h"
#include "conn/desk.h"
#include "conn/hold.h"
#include "conn/line.h"
#include "conn/room.h"
#include "conn/service.h"
#include "conn/stream.h"
#include "conn/watch.h"
#include "engine/loop.h"

enum {
	PARTS_PER_CALL = 64,
	/* Small sends are gathered up to this size. Beyond it a system call costs little by the
	 * byte, and the first bytes would have left the CPU's cache before they are sent. */
	GATHER_BYTES = 32 * 1024,
	/* What one visit writes, and copies from the line, at most. Without it a send of 2 GiB to a
	 * peer that reads fast held everybody else on the loop for 283 ms (test_large_sends.c). */
	VISIT_BYTES = 512 * 1024,
	/* What a send copies; the rest keeps its place in line. */
	COPY_BYTES = 4 * 1024 * 1024,
	/* For a queue of 1 MiB it is the time of 50 MB a second and connection. */
	PACE_MS = 20,
	/* Limits the flush of a closing connection, however little its peer reads at a time. A
	 * multiple of the write timeout. */
	FLUSH_TIMEOUTS = 10
};

/* Only what a connection's own handlers send can stop its reader. Otherwise two peers that each
 * stop reading while anybody's bytes are queued would deadlock. */
static bool is_own(const struct sttcp_conn *conn)
{
	return stt_desk_conn() == conn;
}

static void count_sent_locked(struct stt_output *out, size_t size) STT_REQUIRES(out->lock)
{
	stt_counter_add(&out->bytes_out, (int64_t)size);
	if (out->watch == STT_WATCH_QUIET)
		stt_watch_begin_locked(out);
}

/* A byte has left. */
static void note_activity(struct sttcp_conn *conn)
{
	if (atomic_load_explicit(&conn->framed, memory_order_relaxed) &&
	    conn->service->settings.times_input)
		atomic_store_explicit(&conn->active_ms, stt_now_ms(), memory_order_relaxed);
}

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
		count_sent_locked(out, (size_t)sent);
		out->moved_ms = stt_now_ms();
		note_activity(conn);
	}
	return 0;
}

/* The socket is not full, so no event will come: the loop returns after it has served the other
 * connections. The descriptor must be open. */
static void visit_again_locked(struct stt_output *out) STT_REQUIRES(out->lock)
{
	struct sttcp_conn *conn = stt_output_conn(out);

	out->behind = true;
	stt_alarm_set(conn->loop, &conn->alarm, 0);
}

/* The socket is full: an event will report when it is writable. */
static void expect_writable_locked(struct stt_output *out) STT_REQUIRES(out->lock)
{
	struct sttcp_conn *conn = stt_output_conn(out);
	int64_t timeout_ms = conn->service->settings.write_timeout_ms;

	stt_watch_wait_locked(out);
	atomic_store(&out->pending, true);
	out->moved_ms = stt_now_ms();
	if (timeout_ms >= 0)
		stt_alarm_set(conn->loop, &conn->alarm, out->moved_ms + timeout_ms);
}

/* Of TLS: the records that have not left. 0, -EAGAIN, or why the stream has failed. */
static int write_rest_locked(struct stt_output *out) STT_REQUIRES(out->lock)
{
	bool moved;
	int result = stt_secure_flush_locked(out, &moved);

	if (moved) {
		out->moved_ms = stt_now_ms();
		note_activity(stt_output_conn(out));
	}
	return result;
}

/* The same, and if there are some left an event will come: 0, or why the stream has failed. */
static int push_rest_locked(struct stt_output *out) STT_REQUIRES(out->lock)
{
	int result = write_rest_locked(out);

	if (result == -EAGAIN && !atomic_load(&out->pending)) {
		/* Flag first, then one more try: see output.h. */
		expect_writable_locked(out);
		result = write_rest_locked(out);
	}
	return result == -EAGAIN ? 0 : result;
}

static bool is_queue_empty_locked(const struct stt_output *out) STT_REQUIRES(out->lock)
{
	return stt_bytes_empty(&out->queue) && !out->line;
}

bool stt_output_drained_locked(const struct stt_output *out)
{
	return out->broken || (is_queue_empty_locked(out) && (!(out->detours & STT_DETOUR_TLS) ||
							      stt_secure_is_drained_locked(out)));
}

/* TLS has an end of its own, which leaves before FIN. */
static void finish_session_locked(struct stt_output *out) STT_REQUIRES(out->lock)
{
	if (!(out->detours & STT_DETOUR_FIN) || out->fin_sent || out->broken || out->shakes ||
	    !is_queue_empty_locked(out) || stt_stream_fd(stt_output_conn(out)) < 0)
		return;
	stt_secure_finish_locked(out);
	/* What cannot leave any more is lost, and FIN says the same. */
	(void)push_rest_locked(out);
}

/* What follows when queue and line are empty: the FIN that was waiting for that, and a notice to
 * the owner of a connection that ends. */
unsigned stt_output_finish_locked(struct stt_output *out)
{
	struct sttcp_conn *conn = stt_output_conn(out);
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
	if (out->waited && !out->broken && conn->service->handlers.drained)
		what |= STT_TELL_DRAINED;
	out->waited = false;
	if ((out->detours & STT_DETOUR_FIN) && !out->fin_sent && !out->broken) {
		out->fin_sent = true;
		if (stt_stream_fd(conn) >= 0)
			stt_stream_finish_locked(out);
		/* If the peer's FIN came earlier, this is the end, and no event may follow. */
		what |= STT_TELL_RESUME;
	}
	return what | (atomic_load(&conn->ended) ? STT_TELL_CLOSE : 0);
}

struct stt_output_view stt_output_view(struct sttcp_conn *conn)
{
	stt_lock(&conn->output.lock);
	struct stt_output_view view = {
		.drained = stt_output_drained_locked(&conn->output),
		.forced = conn->output.forced,
		.fin_sent = conn->output.fin_sent,
		.broken = conn->output.broken,
	};

	stt_unlock(&conn->output.lock);
	return view;
}

int stt_output_end_of_input(struct sttcp_conn *conn)
{
	stt_lock(&conn->output.lock);
	int broken = conn->output.broken;

	stt_unlock(&conn->output.lock);
	/* The kernel reports a reset only once, to a read or to a send, and one behind a FIN as
	 * EPIPE. */
	return broken == -EPIPE ? 0 : broken;
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
		count_sent_locked(out, (size_t)sent);
		stt_cursor_skip(&sender->cursor, (size_t)sent);
		out->moved_ms = stt_now_ms();
		note_activity(conn);
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
	return out->line ? write_sender_locked(out, most) : 0;
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
	return stt_bytes_empty(&out->queue) && out->line && out->line->cursor.left >= GATHER_BYTES;
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
			expect_writable_locked(out);
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
		visit_again_locked(out);
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

void stt_output_gather(struct sttcp_conn *conn)
{
	stt_lock(&conn->output.lock);
	conn->output.detours |= STT_DETOUR_GATHER;
	stt_unlock(&conn->output.lock);
}

/* Whether tickets of TLS wait for an answer to leave with. */
static bool holds_tickets_locked(const struct stt_output *out) STT_REQUIRES(out->lock)
{
	return (out->detours & STT_DETOUR_TLS) && !out->shakes && stt_secure_is_held_locked(out);
}

void stt_output_stop_gathering(struct sttcp_conn *conn)
{
	unsigned what = 0;

	stt_lock(&conn->output.lock);
	conn->output.detours &= (unsigned char)~STT_DETOUR_GATHER;
	if (!stt_bytes_empty(&conn->output.queue) || holds_tickets_locked(&conn->output))
		what = stt_output_flush_locked(&conn->output);
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

void stt_output_limit_flush_locked(struct stt_output *out)
{
	struct sttcp_conn *conn = stt_output_conn(out);
	int64_t timeout_ms = conn->service->settings.write_timeout_ms;

	if (timeout_ms < 0 || out->flush_until_ms || stt_output_drained_locked(out))
		return;
	out->flush_until_ms = stt_now_ms() + timeout_ms * FLUSH_TIMEOUTS;
	if (atomic_load_explicit(&conn->fd, memory_order_relaxed) >= 0)
		stt_alarm_set(conn->loop, &conn->alarm, out->flush_until_ms);
}

int64_t stt_output_ring(struct sttcp_conn *conn, int64_t now_ms, int *stalled)
{
	struct stt_output *out = &conn->output;
	unsigned what = 0;

	stt_lock(&out->lock);
	if (out->behind)
		what = stt_output_flush_locked(out);

	int64_t at = stalls_at_locked(out);
	int64_t look = stt_watch_look_locked(out);

	stt_unlock(&out->lock);
	stt_output_tell(conn, what);
	if (at > now_ms && look > now_ms)
		return at < look ? at : look;
	*stalled = look > now_ms ? STTCP_ETIME_WRITE : STTCP_EDEAD_PEER;
	return STT_NEVER;
}

/* Straight to the socket: 0 when it is full, or when everything has been sent or as much as is
 * allowed at a time; else why the stream has failed. `tried` is the result of an earlier try, or 0.
 */
static int write_now_locked(struct stt_output *out, struct stt_cursor *cursor, ssize_t tried)
	STT_REQUIRES(out->lock)
{
	struct sttcp_conn *conn = stt_output_conn(out);
	size_t most = STT_DIRECT_BYTES;

	while (cursor->left) {
		if (!most) {
			visit_again_locked(out);
			return 0;
		}

		ssize_t sent = tried ? tried : stt_cursor_send_locked(out, cursor, most);

		tried = 0;
		if (sent >= 0) {
			most -= (size_t)sent;
			count_sent_locked(out, (size_t)sent);
			note_activity(conn);
			stt_cursor_skip(cursor, (size_t)sent);
		} else if (sent != -EAGAIN) {
			return (int)sent;
		} else {
			/* Flag first, then one more try. If the flag was set before, its event is
			 * still to come; only its alarm may have rung over an empty queue. But with
			 * a rest of TLS it has not, and it runs on: nothing has moved. */
			bool flagged = atomic_load(&out->pending);

			if (flagged && !stt_output_drained_locked(out))
				return 0;
			expect_writable_locked(out);
			if (flagged)
				return 0;
		}
	}
	return 0;
}

/* Why nothing can be sent, or 0. */
static inline int refusal_locked(const struct stt_output *out) STT_REQUIRES(out->lock)
{
	const struct sttcp_conn *conn = stt_output_conn(out);

	if (atomic_load_explicit(&conn->ended, memory_order_relaxed))
		return stt_conn_end_code(conn);
	if (out->broken)
		return out->broken;
	if (out->detours & STT_DETOUR_FIN)
		return -EPIPE;
	return atomic_load_explicit(&conn->fd, memory_order_relaxed) < 0 ? -ENOTCONN : 0;
}

/* The rest of a send of `size` bytes in these parts. */
static int queue_shared_locked(struct stt_output *out, struct stt_cursor *cursor,
			       const struct iovec *parts, size_t size, struct stt_shared **shared)
	STT_REQUIRES(out->lock)
{
	if (cursor->left < STT_SHARE_FROM)
		return stt_line_copy_locked(out, cursor, cursor->left);
	if (!*shared)
		*shared = stt_shared_join(parts, size);
	if (!*shared)
		return -ENOMEM;
	return stt_bytes_append_shared(&out->queue, *shared, size - cursor->left, cursor->left,
				       cursor->own);
}

static bool fits_gathered_locked(const struct stt_output *out, size_t size) STT_REQUIRES(out->lock)
{
	return !out->line && size <= GATHER_BYTES && out->queue.size + size <= GATHER_BYTES &&
	       size <= stt_room_locked(out) &&
	       !atomic_load_explicit(&out->pending, memory_order_relaxed);
}

/* For a send that may not wait: what waits is in its way only as far as the caps say so. */
static int end_pace_locked(struct stt_output *out) STT_REQUIRES(out->lock)
{
	out->paced = false;
	return stt_line_advance_locked(out, COPY_BYTES);
}

/* A send that may wait, whose rest has to. */
static int wait_locked(struct stt_output *out, struct stt_sender *sender) STT_REQUIRES(out->lock)
{
	stt_room_note_locked(out);
	stt_watch_wait_locked(out);
	stt_line_join_locked(out, sender);
	out->paced = !out->shakes;
	if (!stt_line_wait_locked(out, sender, stt_now_ms() + PACE_MS)) {
		out->paced = false;
		visit_again_locked(out);
		(void)stt_line_wait_locked(out, sender, STT_NEVER);
	}
	return sender->result;
}

/* The part of a send that does not wait: 0 when all of it is taken, 1 when the rest has to wait in
 * line, else a code. */
static int take_bytes_locked(struct stt_output *out, struct stt_cursor *cursor,
			     enum stt_send_mode mode, struct stt_shared **shared, ssize_t tried)
	STT_REQUIRES(out->lock)
{
	const struct iovec *parts = cursor->parts;
	size_t size = cursor->left;
	bool idle = is_queue_empty_locked(out) && !out->shakes;

	/* Nothing to wait for, and nothing that a place in line could move. */
	if (!size)
		return 0;
	if ((out->detours & STT_DETOUR_GATHER) && fits_gathered_locked(out, size))
		return stt_line_copy_locked(out, cursor, size);
	if (mode != STT_SEND_WAIT && out->line && out->paced) {
		int result = end_pace_locked(out);

		if (result < 0)
			return result;
	}
	if (mode != STT_SEND_WAIT && !idle && (out->line || size > stt_room_locked(out)))
		return -EAGAIN;
	if (idle) {
		int result = write_now_locked(out, cursor, tried);

		if (result < 0 || !cursor->left)
			return result;
	}
	if (out->line)
		return 1;

	/* A send that may wait leaves the copying of the rest to the visits of the loop. */
	bool all = mode != STT_SEND_WAIT || cursor->left <= COPY_BYTES;
	size_t wanted = all ? cursor->left : COPY_BYTES;
	size_t room = stt_room_claim_locked(
		out, mode == STT_SEND_WAIT ? stt_room_pace_locked(out, wanted) : wanted);

	if (!all && room == COPY_BYTES)
		visit_again_locked(out);
	/* A send that may not wait has sent nothing yet, or a part. In the latter case its rest is
	 * queued even beyond the cap of all connections, because a torn message is worse. Beyond
	 * its own cap the connection ends. */
	if (mode != STT_SEND_WAIT && cursor->left > room) {
		if (cursor->left == size || (int64_t)cursor->left > stt_room_of_one_locked(out)) {
			stt_room_note_locked(out);
			/* After -EAGAIN the drained handler has to follow. */
			if (mode == STT_SEND_TRY)
				out->waited = true;
			return -EAGAIN;
		}
		room = cursor->left;
	}
	if (shared)
		return queue_shared_locked(out, cursor, parts, size, shared);

	int result = stt_line_copy_locked(out, cursor, room);

	return result < 0 ? result : cursor->left ? 1 : 0;
}

/* Any send, from where the try in stt_output_send left it. `what` is for stt_output_tell. */
static int send_whole_locked(struct stt_output *out, struct stt_cursor *cursor,
			     enum stt_send_mode mode, struct stt_shared **shared, ssize_t tried,
			     unsigned *what) STT_REQUIRES(out->lock)
{
	size_t size = cursor->left;

	/* Too large to be gathered: what was gathered before leaves first. */
	if ((out->detours & STT_DETOUR_GATHER) && !fits_gathered_locked(out, size))
		*what = stt_output_flush_locked(out);

	int result = refusal_locked(out);

	if (result < 0)
		return result;
	result = take_bytes_locked(out, cursor, mode, shared, tried);
	if (result == 0 && (out->detours & STT_DETOUR_TLS) && !out->shakes) {
		result = push_rest_locked(out);
		out->waited |= !stt_secure_is_drained_locked(out);
	}
	if (result == 1) {
		struct stt_sender sender = {.cursor = *cursor, .begun = cursor->left < size};

		result = wait_locked(out, &sender);
	} else if (result < 0 && result != -EAGAIN && result != -ENOMEM) {
		result = stt_error_of_peer(result);
		*what |= stt_output_break_locked(out, result);
	}
	if (!stt_bytes_empty(&out->queue) ||
	    atomic_load_explicit(&out->queued, memory_order_relaxed))
		stt_room_note_locked(out);
	if (result == 0)
		stt_counter_add(&out->messages_out, 1);
	return result;
}

/* Whether nothing is between a send and the socket. */
static inline bool is_clear_locked(const struct stt_output *out, int fd) STT_REQUIRES(out->lock)
{
	const struct sttcp_conn *conn = stt_output_conn(out);

	return stt_bytes_empty(&out->queue) && !out->line && !out->detours && fd >= 0 &&
	       !out->broken && !atomic_load_explicit(&conn->ended, memory_order_relaxed);
}

/* The short way of a small answer among others; false if it has to take the long one. */
static bool gather_locked(struct stt_output *out, const struct iovec *parts, int count)
	STT_REQUIRES(out->lock)
{
	struct sttcp_conn *conn = stt_output_conn(out);
	size_t size = stt_parts_size(parts, count);

	if (!size || !fits_gathered_locked(out, size) || refusal_locked(out) < 0 ||
	    stt_bytes_append_parts(&out->queue, parts, count, size, is_own(conn)) < 0)
		return false;
	stt_counter_add(&out->messages_out, 1);
	stt_room_note_locked(out);
	return true;
}

int stt_output_send(struct sttcp_conn *conn, const struct iovec *parts, int count,
		    enum stt_send_mode mode, struct stt_shared **shared)
{
	struct stt_output *out = &conn->output;
	ssize_t tried = 0;

	stt_lock(&out->lock);
	int fd = atomic_load_explicit(&conn->fd, memory_order_relaxed);

	/* The way of nearly every message; what the socket does not accept whole takes the long
	 * one. It saves a fifth of the instructions of a small answer outside the kernel (`echo-1`
	 * of the benchmark). */
	if (count == 1 && parts->iov_len && parts->iov_len <= STT_DIRECT_BYTES &&
	    is_clear_locked(out, fd)) {
		tried = stt_stream_send_plain_locked(out, parts, 1);
		if (tried == (ssize_t)parts->iov_len) {
			count_sent_locked(out, parts->iov_len);
			stt_counter_add(&out->messages_out, 1);
			note_activity(conn);
			stt_unlock(&out->lock);
			return 0;
		}
	} else if ((out->detours & STT_DETOUR_GATHER) && gather_locked(out, parts, count)) {
		stt_unlock(&out->lock);
		return 0;
	}

	size_t size = stt_parts_size(parts, count);
	struct stt_cursor cursor = {
		.parts = parts, .count = count, .left = size, .own = is_own(conn)};
	unsigned what = 0;
	int result = send_whole_locked(out, &cursor, mode, shared, tried, &what);

	stt_unlock(&out->lock);
	if (what)
		stt_output_tell(conn, what);
	return result == -ENOMEM && cursor.left < size ? STT_SEND_TORN : result;
}
