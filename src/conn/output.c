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
 * What is queued leaves in flush.c.
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
#include "base/parts.h"
#include "conn/conn.h"
#include "conn/desk.h"
#include "conn/flush.h"
#include "conn/line.h"
#include "conn/room.h"
#include "conn/stream.h"
#include "conn/watch.h"

enum {
	/* What a send copies; the rest keeps its place in line. */
	COPY_BYTES = 4 * 1024 * 1024,
	/* For a queue of 1 MiB it is the time of 50 MB a second and connection. */
	PACE_MS = 20
};

/* Only what a connection's own handlers send can stop its reader. Otherwise two peers that each
 * stop reading while anybody's bytes are queued would deadlock. */
static bool is_own(const struct sttcp_conn *conn)
{
	return stt_desk_conn() == conn;
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
			stt_flush_visit_again_locked(out);
			return 0;
		}

		ssize_t sent = tried ? tried : stt_cursor_send_locked(out, cursor, most);

		tried = 0;
		if (sent >= 0) {
			most -= (size_t)sent;
			stt_flush_count_locked(out, (size_t)sent);
			stt_flush_note_activity(conn);
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
			stt_flush_expect_writable_locked(out);
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
	return !out->line && size <= STT_GATHER_BYTES &&
	       out->queue.size + size <= STT_GATHER_BYTES && size <= stt_room_locked(out) &&
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
		stt_flush_visit_again_locked(out);
		(void)stt_line_wait_locked(out, sender, STT_NEVER);
	}
	return sender->result;
}

/* After -EAGAIN the drained handler has to follow, also if what is queued meets no full socket. */
static int refuse_locked(struct stt_output *out, enum stt_send_mode mode) STT_REQUIRES(out->lock)
{
	out->waited |= mode == STT_SEND_TRY;
	return -EAGAIN;
}

/* The part of a send that does not wait: 0 when all of it is taken, 1 when the rest has to wait in
 * line, else a code. */
static int take_bytes_locked(struct stt_output *out, struct stt_cursor *cursor,
			     enum stt_send_mode mode, struct stt_shared **shared, ssize_t tried)
	STT_REQUIRES(out->lock)
{
	const struct iovec *parts = cursor->parts;
	size_t size = cursor->left;
	bool idle = stt_flush_is_empty_locked(out) && !out->shakes;

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
		return refuse_locked(out, mode);
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
		stt_flush_visit_again_locked(out);
	/* A send that may not wait has sent nothing yet, or a part. In the latter case its rest is
	 * queued even beyond the cap of all connections, because a torn message is worse. Beyond
	 * its own cap the connection ends. */
	if (mode != STT_SEND_WAIT && cursor->left > room) {
		if (cursor->left == size || (int64_t)cursor->left > stt_room_of_one_locked(out)) {
			stt_room_note_locked(out);
			return refuse_locked(out, mode);
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
		result = stt_flush_push_rest_locked(out);
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
			stt_flush_count_locked(out, parts->iov_len);
			stt_counter_add(&out->messages_out, 1);
			stt_flush_note_activity(conn);
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

	/* Empty parts: behind a full array of them would be no byte to send. */
	if (count && !parts->iov_len)
		stt_cursor_skip(&cursor, 0);

	int result = send_whole_locked(out, &cursor, mode, shared, tried, &what);

	stt_unlock(&out->lock);
	if (what)
		stt_output_tell(conn, what);
	/* With TLS a part of it may have left, too, though the session has taken none of it. */
	bool torn = result == -ENOMEM && (cursor.left < size || stt_secure_has_failed(conn));

	return torn ? STT_SEND_TORN : result;
}
