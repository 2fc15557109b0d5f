/* SPDX-License-Identifier: MIT */
/* How bytes leave their callers' memory, and how callers wait for that. */
#include "conn/line.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "conn/conn.h"
#include "conn/desk.h"
#include "conn/room.h"
#include "conn/service.h"
#include "conn/strand.h"
#include "conn/stream.h"
#include "engine/loop.h"

enum {
	PARTS_PER_CALL = 64
};

void stt_cursor_skip(struct stt_cursor *cursor, size_t size)
{
	cursor->left -= size;
	while (cursor->count && size >= cursor->parts->iov_len - cursor->skip) {
		size -= cursor->parts->iov_len - cursor->skip;
		cursor->skip = 0;
		cursor->parts++;
		cursor->count--;
	}
	cursor->skip += size;
}

static ssize_t send_parts_locked(struct stt_output *out, const struct stt_cursor *cursor,
				 struct iovec first, size_t most) STT_REQUIRES(out->lock)
{
	struct iovec parts[PARTS_PER_CALL];
	int count = 1;

	parts[0] = first;
	most -= first.iov_len;
	for (; most && count < cursor->count && count < PARTS_PER_CALL; count++) {
		parts[count] = cursor->parts[count];
		if (parts[count].iov_len > most)
			parts[count].iov_len = most;
		most -= parts[count].iov_len;
	}
	return stt_stream_send_locked(out, parts, count);
}

ssize_t stt_cursor_send_locked(struct stt_output *out, const struct stt_cursor *cursor, size_t most)
{
	struct iovec first = {
		.iov_base = (char *)cursor->parts->iov_base + cursor->skip,
		.iov_len = cursor->parts->iov_len - cursor->skip,
	};

	if (first.iov_len > most)
		first.iov_len = most;
	/* Nearly every send has one part: that needs no array on the stack. */
	return cursor->count == 1 ? stt_stream_send_locked(out, &first, 1)
				  : send_parts_locked(out, cursor, first, most);
}

int stt_line_copy_locked(struct stt_output *out, struct stt_cursor *cursor, size_t size)
{
	while (size) {
		size_t part = cursor->parts->iov_len - cursor->skip;

		if (part > size)
			part = size;

		int result = stt_bytes_append(&out->queue,
					      (const char *)cursor->parts->iov_base + cursor->skip,
					      part, cursor->own);

		if (result < 0)
			return result;
		stt_cursor_skip(cursor, part);
		size -= part;
	}
	return 0;
}

static void leave_locked(struct stt_output *out, struct stt_sender *sender) STT_REQUIRES(out->lock)
{
	struct stt_sender *first = out->line;
	struct stt_sender *before = first;

	if (sender == first) {
		out->line = first->next;
		if (out->line)
			out->line->last = first->last;
		return;
	}
	while (before->next != sender)
		before = before->next;
	before->next = sender->next;
	if (first->last == sender)
		first->last = before;
}

void stt_line_finish_locked(struct stt_output *out, struct stt_sender *sender, int result)
{
	leave_locked(out, sender);
	/* Its own limit counts no more. A connection that has ended meanwhile keeps it: it has no
	 * other. */
	if (sender->until_ms && out->flush_until_ms == sender->until_ms &&
	    (sender->before_ms || !atomic_load(&stt_output_conn(out)->ended)))
		out->flush_until_ms = sender->before_ms;
	sender->done = true;
	sender->result = result;
	/* Under the lock, which whoever is woken takes before it believes it: until then the call
	 * is there, and with it its connection. */
	if (sender->parked)
		stt_conn_ask(sender->parked, STT_WISH_WAKE);
	else
		stt_cond_wake_all(&sender->wake);
}

int stt_line_advance_locked(struct stt_output *out, size_t most)
{
	/* What has left makes room in the cap of all. */
	if (out->line)
		stt_room_note_locked(out);
	while (out->line && most) {
		struct stt_sender *sender = out->line;
		size_t wanted = sender->cursor.left < most ? sender->cursor.left : most;
		size_t size = stt_room_claim_locked(out, stt_room_pace_locked(out, wanted));

		if (!size)
			return 0;
		most -= size;

		int result = stt_line_copy_locked(out, &sender->cursor, size);

		if (result < 0)
			return result;
		sender->begun = true;
		stt_room_note_locked(out);
		if (!sender->cursor.left)
			stt_line_finish_locked(out, sender, 0);
	}
	return 0;
}

void stt_line_join_locked(struct stt_output *out, struct stt_sender *sender)
{
	stt_cond_init(&sender->wake);
	if (out->line)
		out->line->last->next = sender;
	else
		out->line = sender;
	out->line->last = sender;
	out->waited = true;
}

/* What has begun is not torn, but has an end: a write timeout from now on, however the peer takes
 * its bytes; without one it is reset at once. */
static void limit_locked(struct stt_output *out, struct stt_sender *sender) STT_REQUIRES(out->lock)
{
	struct sttcp_conn *conn = stt_output_conn(out);
	int64_t timeout_ms = conn->service->settings.write_timeout_ms;

	if (stt_stream_fd(conn) < 0)
		return;
	if (timeout_ms < 0) {
		stt_stream_reset_locked(out);
	} else if (!sender->until_ms) {
		sender->until_ms = stt_now_ms() + timeout_ms;
		sender->before_ms = out->flush_until_ms;
		stt_output_flush_by_locked(out, sender->until_ms);
	}
}

/* The call that waits has been ended by force, with its connection, `running`: it may not wait on
 * for another one. */
static void give_up_locked(struct stt_output *out, struct stt_sender *sender,
			   struct sttcp_conn *running) STT_REQUIRES(out->lock)
{
	if (!sender->begun) {
		/* Or as many bytes that were sent later would leave without TLS in their place. */
		if (sender->clear && out->shakes)
			stt_secure_of(stt_output_conn(out))->clear -= sender->cursor.left;
		stt_line_finish_locked(out, sender, stt_conn_end_code(running));
	} else {
		limit_locked(out, sender);
	}
}

/* Without a thread. False if that is not possible any more. */
static bool wait_parked_locked(struct stt_output *out, struct stt_sender *sender,
			       struct stt_strand *strand, int64_t until_ms) STT_REQUIRES(out->lock)
{
	bool waited = true;

	sender->parked = strand->conn;
	while (waited && !sender->done && (until_ms == STT_NEVER || stt_now_ms() < until_ms)) {
		stt_unlock(&out->lock);
		waited = stt_strand_wait(strand, STT_WISH_WAKE | STT_WISH_CLOSE, until_ms);
		bool forced = stt_conn_is_forced(strand->conn);

		stt_lock(&out->lock);
		if (!sender->done && forced)
			give_up_locked(out, sender, strand->conn);
	}
	sender->parked = NULL;
	return waited;
}

/* On a thread, in a handler of another connection: until that is ended by force. */
static void wait_in_handler_locked(struct stt_output *out, struct stt_sender *sender,
				   struct sttcp_conn *running) STT_REQUIRES(out->lock)
{
	bool forced = false;

	while (!sender->done && !forced) {
		(void)stt_cond_wait_until(&sender->wake, &out->lock,
					  stt_now_ms() + STT_FORCED_LOOK_MS);
		if (sender->done)
			break;
		stt_unlock(&out->lock);
		forced = stt_conn_is_forced(running);
		stt_lock(&out->lock);
	}
	if (!sender->done)
		give_up_locked(out, sender, running);
}

STT_APART bool stt_line_wait_locked(struct stt_output *out, struct stt_sender *sender,
				    int64_t until_ms)
{
	struct stt_strand *strand = stt_strand_here();

	if (strand && wait_parked_locked(out, sender, strand, until_ms) && !sender->done)
		return false;

	struct sttcp_conn *running = stt_desk_conn();

	if (running && running != stt_output_conn(out) && until_ms == STT_NEVER)
		wait_in_handler_locked(out, sender, running);
	while (!sender->done) {
		if (!stt_cond_wait_until(&sender->wake, &out->lock, until_ms) && !sender->done)
			return false;
	}
	stt_cond_fini(&sender->wake);
	return true;
}

void stt_line_turn_away_locked(struct stt_output *out, int code)
{
	struct stt_sender *sender = out->line;

	while (sender) {
		struct stt_sender *next = sender->next;

		if (!sender->begun)
			stt_line_finish_locked(out, sender, code);
		sender = next;
	}
}
