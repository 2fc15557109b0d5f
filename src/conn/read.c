/* SPDX-License-Identifier: MIT */
/*
 * read_raw passes bytes as they come from the desk's buffer to the handler.
 * Input that has to be parsed, for its messages or for its timing, goes
 * through the desk's input (read_messages). Both end with the meaning of a
 * read without data: the peer's FIN, or an error.
 */
#include "conn/read.h"

#include <errno.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "conn/after.h"
#include "conn/conn.h"
#include "conn/deadlines.h"
#include "conn/desk.h"
#include "conn/dispatch.h"
#include "conn/ending.h"
#include "conn/gather.h"
#include "conn/hold.h"
#include "conn/input.h"
#include "conn/own_framing.h"
#include "conn/read_ahead.h"
#include "conn/service.h"
#include "conn/stream.h"
#include "conn/tasks.h"
#include "engine/turn.h"

enum {
	/* A connection's share of reads and messages, before the others on the loop have theirs. A
	 * loop that read on while there was data gave the others a p99 of 250 ms, and not of 0.7:
	 * see `deaf` of the benchmark. With 4 reads 7 streams came to 0.7 of their speed
	 * (`bulk-7`). */
	READS_PER_TURN = 16,
	MESSAGES_PER_TURN = 256
};

/* The peer sends no more. What was given before that is known runs before it is told, and then the
 * FIN is read again. */
static void take_fin(struct stt_desk *desk, struct sttcp_conn *conn)
{
	bool first = !conn->fin_seen;

	if (stt_tasks_precede_fin(conn)) {
		stt_conn_wish_again(conn, STT_WISH_READ);
		return;
	}

	conn->fin_seen = true;
	if (first && conn->half_close) {
		enum stt_outcome outcome = stt_dispatch(desk, conn, STT_END, NULL, 0);

		if (outcome != STT_WAITS)
			stt_after_call(desk, conn, STT_END, NULL, outcome == STT_TRUE);
		return;
	}
	stt_after_fin(conn);
}

/* Takes the error of a read that gave nothing. */
static void take_error(struct sttcp_conn *conn, int code)
{
	int broken = stt_output_view(conn).broken;

	/* Nothing more to read on a connection that cannot be sent to. */
	if (code == -EAGAIN && !broken)
		return;
	/* It is the peer's FIN, too, and is read again, as every one behind a pause. */
	if (code == STTCP_ECUT && !broken && stt_is_paused(conn))
		return;
	/* After a failure of TLS the peer may still send, which is dropped until its FIN. */
	conn->fin_seen = code != STTCP_ETLS;
	/* A reset that answers a send says less than what was read before it. */
	if (broken && !(conn->secure && broken == -EPIPE))
		code = broken;
	stt_conn_end_by_stream(conn, code == -EAGAIN ? broken : code);
}

/* False when the handler waits. */
static inline bool deliver(struct stt_desk *desk, struct sttcp_conn *conn, const void *data,
			   size_t size)
{
	/* Acquire: with STT_OWN_MESSAGE the handler that was set is found. */
	enum stt_event event = atomic_load_explicit(&conn->delivers, memory_order_acquire);

	stt_counter_add(&conn->messages_in, 1);
	enum stt_outcome outcome = stt_dispatch(desk, conn, event, data, size);

	if (__builtin_expect(outcome == STT_TRUE, true))
		return true;
	if (outcome == STT_FALSE)
		stt_conn_wave_off(conn);
	return outcome == STT_FALSE;
}

/* Ends a connection because of a message that cannot be taken, after its malformed handler. */
static void refuse_message(struct stt_desk *desk, struct sttcp_conn *conn, int code)
{
	const struct stt_refused refused = {.code = code, .text = desk->refusal};

	if (!stt_conn_has_ended(conn) &&
	    stt_dispatch(desk, conn, STT_MALFORMED, &refused, sizeof(refused)) == STT_WAITS)
		return;
	stt_after_call(desk, conn, STT_MALFORMED, &refused, true);
}

/* A paused connection must notice, too, that its peer is gone; otherwise one that stays paused
 * would never end. A FIN does not count if nothing was sent after it: the input before it is still
 * to be delivered. */
static void look_without_reading(struct sttcp_conn *conn)
{
	int code = stt_output_view(conn).broken;

	if (!code && atomic_load(&conn->hangup))
		code = stt_error_of_peer(stt_stream_failure(conn));
	if (!code)
		return;
	conn->fin_seen = true;
	stt_conn_end(conn, code, STT_END_RESET);
}

/* As stt_is_held, with a look at the peer of one that is paused. At its high-water mark the queue
 * finds out by itself that it leads nowhere, and then the reader goes on: nothing that was read
 * gets lost. */
static inline bool is_held(struct sttcp_conn *conn)
{
	if (!stt_is_held(conn))
		return false;
	if (stt_is_paused(conn))
		look_without_reading(conn);
	return true;
}

/* What find_message gives beside what stt_input_next does: one is there, but may not be delivered.
 */
enum {
	FOUND_TOO_LATE = 2
};

/* As stt_input_next, outside turns. A frame_fn is user code and may block like a handler, so it has
 * a turn. */
static inline int find_message(struct stt_desk *desk, struct sttcp_conn *conn, enum stt_more more,
			       struct stt_message *message)
{
	/* Loaded once: another thread may change it at any time. */
	const struct stt_framing *framing = stt_conn_framing(conn);

	if (framing->kind != STTCP_FRAMING_CUSTOM)
		return stt_input_next(desk, conn, framing, more, message);
	struct stt_frame frame;

	stt_turn_begin(&desk->worker);
	int found = stt_input_find(desk, conn, framing, more, &frame);

	/* A child that was forked there goes no further, see dispatch.c. */
	while (stt_self != &desk->worker)
		pause();
	stt_dispatch_count(desk);
	if (!stt_turn_end(&desk->worker))
		stt_dispatch_note_loss(conn);
	/* Perhaps by a call that returned while it ran. It is not asked for this message again. */
	if (found == 1 && (stt_conn_has_ended(conn) || stt_is_held(conn)))
		return FOUND_TOO_LATE;
	if (found == 1)
		stt_input_take_message(desk, framing, &frame, message);
	return found;
}

/* Why the delivery of what was read has stopped. */
enum delivery {
	WANTS_MORE,
	STOPPED,
	OVER_BUDGET
};

static enum delivery deliver_messages(struct stt_desk *desk, struct sttcp_conn *conn,
				      enum stt_more more, int *budget)
{
	struct stt_input *in = &desk->input;
	enum delivery result = STOPPED;
	bool gathers = false;

	while (!stt_conn_has_ended(conn) && !is_held(conn)) {
		struct stt_message message;

		if (!*budget || (*budget < MESSAGES_PER_TURN && stt_desk_is_to_yield(desk))) {
			result = OVER_BUDGET;
			break;
		}

		int found = find_message(desk, conn, more, &message);

		if (found == FOUND_TOO_LATE)
			continue;
		if (found < 0)
			refuse_message(desk, conn, found);
		if (found == 0)
			result = WANTS_MORE;
		if (found <= 0)
			break;
		--*budget;
		/* Only where there is another message. */
		if (!gathers && in->size)
			gathers = stt_gather_begin(&desk->worker, conn);
		stt_input_pin(desk);
		if (!deliver(desk, conn, message.data, message.size))
			break;
		stt_input_unpin(desk);
	}
	if (gathers)
		stt_gather_end(&desk->worker, conn);
	return result;
}

/* Reads and delivers message by message; true when the budget of the turn is used up. */
static bool read_messages(struct stt_desk *desk, struct sttcp_conn *conn)
{
	struct stt_input *in = &desk->input;
	int budget = MESSAGES_PER_TURN;
	enum delivery delivery;
	bool behind = false;
	bool came = false; /* something has: a look that finds nothing is no sign of life */

	stt_conn_free_old_framings(desk, conn);
	stt_input_take(desk, conn);
	for (int reads = 0;; reads++) {
		delivery = deliver_messages(desk, conn, STT_MORE_MAY_COME, &budget);
		behind = delivery == OVER_BUDGET || reads == READS_PER_TURN;
		if (delivery != WANTS_MORE || behind)
			break;
		if (reads && in->emptied)
			break;

		ssize_t size = stt_input_read(desk, conn);

		if (size == STTCP_ELIMIT)
			refuse_message(desk, conn, STTCP_ELIMIT);
		else if (size < 0)
			take_error(conn, (int)size);
		if (size == 0) {
			/* A rest that is held back stays in front of the FIN, which is read again.
			 */
			delivery = deliver_messages(desk, conn, STT_NO_MORE, &budget);
			behind = delivery == OVER_BUDGET;
			if (delivery == WANTS_MORE)
				take_fin(desk, conn);
		}
		if (size <= 0) {
			behind |= stt_stream_has_more(conn, size, in->emptied);
			break;
		}
		came = true;
	}
	/* All that follows is for the owner that finds its handler at the end. */
	if (conn->phase == STT_PARKED)
		return false;
	if (delivery == STOPPED && !stt_conn_has_ended(conn))
		stt_read_ahead(desk, conn);
	came |= budget != MESSAGES_PER_TURN;
	if (came)
		stt_deadlines_note_input(conn);
	else
		stt_deadlines_note_part(conn);
	if (stt_conn_has_ended(conn))
		in->size = 0;
	int kept = stt_input_keep(desk, conn);

	if (kept == STTCP_ELIMIT)
		refuse_message(desk, conn, kept);
	else if (kept < 0)
		stt_conn_end(conn, -ENOMEM, STT_END_RESET);
	stt_deadlines_watch_message(conn);
	return behind && !stt_conn_has_ended(conn);
}

/* Whether a read that gave nothing is to be repeated when others had their turn. Not inlined: the
 * reads that give something would keep a register for it. */
__attribute__((__noinline__)) static bool is_behind(const struct sttcp_conn *conn, ssize_t size,
						    bool emptied)
{
	return stt_stream_has_more(conn, size, emptied) && !stt_conn_has_ended(conn);
}

/* For read_raw, when so many bytes may not be delivered: they are parsed later, for what is kept is
 * messages. A FIN is read again. */
__attribute__((__noinline__)) static bool keep_raw(struct stt_desk *desk, struct sttcp_conn *conn,
						   size_t size)
{
	desk->input.at = (unsigned char *)desk->buffer;
	desk->input.size = size;
	stt_counter_add(&conn->bytes_in, (int64_t)size);
	atomic_store(&conn->framed, true);
	return read_messages(desk, conn);
}

/* Whether a call that may have returned before the peer sent this keeps it from being delivered as
 * it is. */
static inline bool must_not_be_raw(const struct sttcp_conn *conn)
{
	return (atomic_load(&conn->holds) & STT_HOLD_PAUSED) || atomic_load(&conn->framed) ||
	       stt_conn_has_ended(conn);
}

/* The same for bytes as they come, which need no parsing. */
static bool read_raw(struct stt_desk *desk, struct sttcp_conn *conn)
{
	for (int reads = 0; reads < READS_PER_TURN; reads++) {
		if (is_held(conn))
			return stt_hold_reads_ahead(conn) && keep_raw(desk, conn, 0);

		bool emptied;
		ssize_t size = stt_stream_recv(conn, desk->buffer, STT_READ_SIZE, &emptied);

		if (size == 0)
			size = stt_output_end_of_input(conn);
		if (__builtin_expect(size >= 0 && must_not_be_raw(conn), false))
			return keep_raw(desk, conn, (size_t)size);
		if (size < 0)
			take_error(conn, (int)size);
		else if (size == 0)
			take_fin(desk, conn);
		if (size <= 0)
			return is_behind(conn, size, emptied);

		stt_counter_add(&conn->bytes_in, size);
		if (!deliver(desk, conn, desk->buffer, (size_t)size))
			return false;
		/* The handler has set a framing: further input has to be parsed. */
		if (atomic_load_explicit(&conn->framed, memory_order_relaxed))
			return read_messages(desk, conn);
		if (stt_conn_has_ended(conn))
			return false;
		if (emptied)
			return false;
		if (stt_desk_is_to_yield(desk))
			break;
	}
	return true;
}

bool stt_read(struct stt_desk *desk, struct sttcp_conn *conn)
{
	return atomic_load_explicit(&conn->framed, memory_order_relaxed) ? read_messages(desk, conn)
									 : read_raw(desk, conn);
}

enum stt_rest stt_read_drop(struct stt_desk *desk, struct sttcp_conn *conn)
{
	for (int reads = 0; stt_stream_fd(conn) >= 0 && !conn->fin_seen; reads++) {
		if (reads == READS_PER_TURN)
			return STT_REST_IS_THERE;

		ssize_t size = stt_stream_drop(conn, desk->buffer, STT_READ_SIZE);

		if (size > 0)
			continue;
		if (size == -EAGAIN)
			return STT_REST_COMES;
		conn->fin_seen = true;
		if (size < 0) {
			stt_lock(&conn->output.lock);
			stt_output_break_locked(&conn->output, stt_error_of_peer((int)size));
			stt_unlock(&conn->output.lock);
		}
	}
	return STT_REST_GONE;
}
