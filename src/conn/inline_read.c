/* SPDX-License-Identifier: MIT */
/*
 * The thread waits in poll(2) for the socket and for an eventfd of its own.
 * Whoever ends the connection writes to that eventfd, because shutting a
 * socket down for sending does not wake a poll for input. As with any handler
 * that blocks, its loop is taken over meanwhile. At max_threads the monitor
 * writes there, too (relief.h).
 */
#include "conn/inline_read.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "conn/conn.h"
#include "conn/desk.h"
#include "conn/dispatch.h"
#include "conn/ending.h"
#include "conn/input.h"
#include "conn/output.h"
#include "conn/own_framing.h"
#include "conn/service.h"
#include "conn/stream.h"
#include "conn/watch.h"
#include "engine/relief.h"
#include "net/poller.h"

static bool may_read(enum stt_event event)
{
	return event <= STT_RESPONSE || event == STT_TASK;
}

int stt_inline_check(const struct sttcp_conn *conn)
{
	if (stt_desk_conn() != conn || !may_read(stt_desk_self()->event) ||
	    stt_desk_self()->input.in_look)
		return -EDEADLK;
	return atomic_load(&conn->ended) ? stt_conn_end_code(conn) : 0;
}

/* Lets whoever ends the connection wake this thread, or no longer; 0, or why there is nothing to
 * wait for. */
static int set_receiver(struct sttcp_conn *conn, int waker)
{
	stt_lock(&conn->output.lock);
	conn->output.receiver = waker;
	int result = atomic_load(&conn->ended) ? stt_conn_end_code(conn) : 0;

	if (result == 0 && waker >= 0)
		stt_watch_wait_locked(&conn->output);

	stt_unlock(&conn->output.lock);
	return result;
}

/* 0, or a code when there is none. */
static int make_waker(struct stt_desk *desk)
{
	if (desk->waker < 0) {
		int waker = stt_waker_new();

		if (waker < 0)
			return waker;
		desk->waker = waker;
	}
	return 0;
}

/* Whether what was waited for is there. */
static bool is_ready(struct stt_desk *desk, struct sttcp_conn *conn, short events)
{
	if (!events)
		return stt_stream_has_news(conn);
	return stt_socket_wait(stt_stream_fd(conn), events, desk->waker, 0) == 0;
}

/* Others want the thread, and the peer has said nothing. */
static int give_way(struct stt_desk *desk, struct sttcp_conn *conn)
{
	desk->worker.way = STT_WAY_TO_GIVE;
	stt_conn_end_with(conn, STTCP_ELIMIT, STT_END_FLUSH,
			  "others waited for a thread, max_threads was reached (%d)",
			  desk->worker.engine->pool.max_threads);
	return stt_conn_end_code(conn);
}

int stt_inline_wait(struct stt_desk *desk, struct sttcp_conn *conn, short events, int64_t until_ms)
{
	bool unwanted = false;
	int result = make_waker(desk);

	if (result < 0)
		return result;
	result = set_receiver(conn, desk->waker);
	if (result == 0) {
		stt_relief_begin_wait(&desk->worker, desk->waker);
		result =
			events ? stt_socket_wait(stt_stream_fd(conn), events, desk->waker, until_ms)
			       : stt_stream_wait(conn, desk->waker, until_ms);
		unwanted = stt_relief_end_wait(&desk->worker);
	}

	int ended = set_receiver(conn, -1);

	stt_waker_clear(desk->waker);
	if (ended)
		return ended;
	return unwanted && result == 0 && !is_ready(desk, conn, events) ? give_way(desk, conn)
									: result;
}

/* Waits for input: 0, -ETIMEDOUT, or why the connection has ended. */
static int wait_for_input(struct stt_desk *desk, struct sttcp_conn *conn, int64_t until_ms)
{
	return stt_inline_wait(desk, conn, 0, until_ms);
}

/* The stream has failed, and the connection ends with that code. */
static ssize_t fail(struct sttcp_conn *conn, int code)
{
	stt_conn_end_by_stream(conn, code);
	return stt_conn_end_code(conn);
}

/* What is left in the stream raises no event: the reader looks after the handler. */
static void leave_input(struct sttcp_conn *conn, bool emptied)
{
	if (conn->secure && !emptied)
		stt_conn_wish_again(conn, STT_WISH_READ);
}

ssize_t stt_inline_read(struct sttcp_conn *conn, void *buffer, size_t size, int timeout_ms)
{
	int64_t until_ms = stt_deadline_ms(timeout_ms);
	int result = stt_inline_check(conn);

	if (result < 0)
		return result;

	struct stt_input *in = &stt_desk_self()->input;

	stt_output_flush(conn);
	if (in->size || !size) {
		size_t taken = size < in->size ? size : in->size;

		if (taken)
			memcpy(buffer, in->at, taken);
		stt_input_skip(stt_desk_self(), taken);
		return (ssize_t)taken;
	}
	for (;;) {
		bool emptied;
		ssize_t got = stt_stream_recv(conn, buffer, size, &emptied);

		if (got == 0)
			got = stt_output_end_of_input(conn);
		if (got > 0)
			stt_counter_add(&conn->bytes_in, got);
		if (got >= 0) {
			leave_input(conn, emptied);
			return got;
		}
		if (got != -EAGAIN)
			return fail(conn, (int)got);
		result = wait_for_input(stt_desk_self(), conn, until_ms);
		if (result < 0)
			return result;
	}
}

/* Ends the connection because of a message that cannot be taken, after its malformed handler has
 * run. */
static int refuse_message(struct stt_desk *desk, struct sttcp_conn *conn, int code)
{
	if (!atomic_load(&conn->ended))
		stt_dispatch_malformed_inside(desk, conn, code);
	stt_conn_end_with(conn, code, STT_END_FLUSH, "%s", desk->refusal);
	desk->input.at += desk->input.size;
	desk->input.size = 0;
	return stt_conn_end_code(conn);
}

/* Reads more than may be taken: 1, 0 at the peer's FIN, or a code. */
static int read_more(struct stt_desk *desk, struct sttcp_conn *conn, int64_t until_ms)
{
	/* What is left is looked for after the handler, also on a connection without messages. */
	if (!atomic_load_explicit(&conn->framed, memory_order_relaxed))
		atomic_store(&conn->framed, true);
	for (;;) {
		desk->input.in_handler = true;

		ssize_t got = stt_input_read(desk, conn);

		desk->input.in_handler = false;
		if (got >= 0) {
			leave_input(conn, desk->input.emptied);
			return got > 0;
		}
		if (got == -ENOMEM)
			return -ENOMEM;
		if (got == STTCP_ELIMIT)
			return refuse_message(desk, conn, STTCP_ELIMIT);
		if (got != -EAGAIN)
			return (int)fail(conn, (int)got);

		int result = wait_for_input(desk, conn, until_ms);

		if (result < 0)
			return result;
	}
}

/* A message that has arrived, and the framing that has found it. */
struct arrived {
	const struct stt_framing *framing;
	struct stt_frame frame;
};

/* Waits until the next message is there, and leaves it there: 0, -ENODATA, or another code. */
static int await_message(struct stt_desk *desk, struct sttcp_conn *conn, int64_t until_ms,
			 struct arrived *message)
{
	enum stt_more more = STT_MORE_MAY_COME;

	stt_output_flush(conn);
	for (;;) {
		/* Loaded once each time: another thread may change it at any time. */
		message->framing = stt_conn_framing(conn);

		int found = stt_input_find(desk, conn, message->framing, more, &message->frame);

		if (found < 0)
			return refuse_message(desk, conn, found);
		if (found == 1)
			return 0;
		if (more == STT_NO_MORE)
			return -ENODATA;

		int result = read_more(desk, conn, until_ms);

		if (result < 0)
			return result;
		if (result == 0)
			more = STT_NO_MORE;
	}
}

ssize_t stt_inline_read_message(struct sttcp_conn *conn, void *buffer, size_t size, int timeout_ms)
{
	int64_t until_ms = stt_deadline_ms(timeout_ms);
	int result = stt_inline_check(conn);
	struct stt_message message;
	struct arrived arrived;

	if (result < 0)
		return result;
	stt_conn_free_old_framings(conn);
	if (stt_conn_framing(conn)->kind == STTCP_FRAMING_RAW) {
		ssize_t got = size ? stt_inline_read(conn, buffer, size, timeout_ms) : -EMSGSIZE;

		return got ? got : -ENODATA;
	}
	result = await_message(stt_desk_self(), conn, until_ms, &arrived);
	if (result < 0)
		return result;
	if (arrived.frame.size > size)
		return -EMSGSIZE;
	stt_input_take_message(stt_desk_self(), arrived.framing, &arrived.frame, &message);
	if (message.size)
		memcpy(buffer, message.data, message.size);
	stt_counter_add(&conn->messages_in, 1);
	return (ssize_t)message.size;
}

ssize_t stt_inline_next_size(struct sttcp_conn *conn, int timeout_ms)
{
	int64_t until_ms = stt_deadline_ms(timeout_ms);
	int result = stt_inline_check(conn);
	struct arrived arrived;

	if (result < 0)
		return result;
	stt_conn_free_old_framings(conn);
	result = await_message(stt_desk_self(), conn, until_ms, &arrived);
	return result < 0 ? result : (ssize_t)arrived.frame.size;
}

/* Waits until `size` bytes are there: 0, -ENODATA, or another code. */
static int await_bytes(struct stt_desk *desk, struct sttcp_conn *conn, size_t size,
		       int64_t until_ms)
{
	struct stt_input *in = &desk->input;
	int result = 1;

	while (in->size < size && result > 0) {
		size_t whole = in->whole;

		/* They are read as a message of that size is; what is known of the message that
		 * begins here stays true as long as nothing is taken. */
		in->whole = size;
		result = read_more(desk, conn, until_ms);
		in->whole = whole;
	}
	return result < 0 ? result : result == 0 ? -ENODATA : 0;
}

ssize_t stt_inline_read_exactly(struct sttcp_conn *conn, void *buffer, size_t size, int timeout_ms)
{
	int64_t until_ms = stt_deadline_ms(timeout_ms);
	int result = stt_inline_check(conn);

	if (result < 0)
		return result;
	stt_conn_free_old_framings(conn);
	if (size > (uint64_t)stt_conn_framing(conn)->max_message || size > PTRDIFF_MAX)
		return -EMSGSIZE;
	stt_output_flush(conn);
	result = await_bytes(stt_desk_self(), conn, size, until_ms);
	if (result < 0)
		return result;
	if (size) {
		memcpy(buffer, stt_desk_self()->input.at, size);
		stt_input_skip(stt_desk_self(), size);
	}
	return (ssize_t)size;
}
