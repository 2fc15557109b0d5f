/* SPDX-License-Identifier: MIT */
/* Reading inside a handler: with its worker's input, and waits as in wait.h. */
#include "conn/inline_read.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "conn/conn.h"
#include "conn/deadlines.h"
#include "conn/desk.h"
#include "conn/dialled.h"
#include "conn/dispatch.h"
#include "conn/ending.h"
#include "conn/input.h"
#include "conn/output.h"
#include "conn/own_framing.h"
#include "conn/service.h"
#include "conn/strand.h"
#include "conn/stream.h"
#include "conn/wait.h"

static bool may_read(enum stt_event event)
{
	return event <= STT_RESPONSE || event == STT_TASK;
}

static int check(const struct sttcp_conn *conn)
{
	if (stt_desk_conn() != conn || !may_read(stt_desk_self()->call.event) ||
	    stt_desk_self()->input.in_look)
		return -EDEADLK;
	return atomic_load(&conn->ended) ? stt_conn_end_code(conn) : 0;
}

/* Whether the connection is read by whoever calls. A task of it is a handler as any other. */
static bool is_read_by_calls(const struct sttcp_conn *conn)
{
	return conn->service->dialled && stt_desk_conn() != conn;
}

STT_APART int stt_inline_begin(struct sttcp_conn *conn, int64_t until_ms, struct stt_desk **desk)
{
	if (is_read_by_calls(conn))
		return stt_dialled_begin(conn, until_ms, desk);

	int result = check(conn);

	*desk = result == 0 ? stt_desk_self() : NULL;
	if (*desk && (*desk)->call.strand)
		(*desk)->call.strand->only_looks = false;
	return result;
}

/* Behind all waits, and so perhaps on another thread than stt_inline_begin. */
STT_APART ssize_t stt_inline_end(struct sttcp_conn *conn, ssize_t result)
{
	/* In a child that was forked in a frame_fn all is the parent's. */
	if (stt_forked_since(conn->service->fork_count))
		return STTCP_EFORK;
	if (is_read_by_calls(conn))
		stt_dialled_end(conn);
	return result;
}

/* Waits for input: 0, -ETIMEDOUT, or why the connection has ended. */
STT_APART static int wait_for_input(struct stt_desk **desk, struct sttcp_conn *conn,
				    int64_t until_ms)
{
	struct stt_strand *strand = (*desk)->call.strand;

	if (is_read_by_calls(conn))
		return stt_dialled_wait(*desk, conn, until_ms);

	int result = stt_wait_for_stream(*desk, conn, 0, until_ms);

	*desk = stt_strand_desk(strand, *desk);
	/* Where the call could not leave its stack no wish has told so. */
	if (strand && result == 0)
		strand->emptied = false;
	return result;
}

/* The wait of a call with a timeout of 0 is a look. */
static void note_timeout(struct stt_desk *desk, int timeout_ms)
{
	if (desk->call.strand)
		desk->call.strand->only_looks = timeout_ms == 0;
}

/* Whether a read could give nothing: the last one has emptied the stream, and no event has come
 * since. It saves a system call for each message. */
static inline bool is_emptied(const struct stt_strand *strand)
{
	return strand && strand->emptied && !strand->only_looks;
}

/* Before a read, of which a call has a share before others have theirs. */
static void spend_read(struct stt_desk **desk, struct stt_strand *strand)
{
	if (!strand)
		return;
	stt_strand_spend(strand, 1, 0);
	*desk = strand->desk;
}

/* Something has come. On others the reader notes it, after the handler. */
static void note_input(struct sttcp_conn *conn)
{
	if (conn->service->dialled)
		stt_deadlines_note_input(conn);
}

/* Nothing has, for now. */
static void note_nothing(struct sttcp_conn *conn)
{
	if (conn->service->dialled)
		stt_deadlines_note_part(conn);
}

/* The stream has failed, and the connection ends with that code. */
static ssize_t fail(struct sttcp_conn *conn, int code)
{
	stt_conn_end_by_stream(conn, code);
	return stt_conn_end_code(conn);
}

/* What is left in the stream raises no event: the reader looks after the handler. */
static void leave_input(struct stt_strand *strand, struct sttcp_conn *conn, bool emptied)
{
	if (strand) {
		/* Its own next read looks, or what follows its return. */
		strand->emptied = emptied;
		strand->left_input = conn->secure && !emptied;
	} else if (conn->secure && !emptied) {
		stt_conn_wish_again(conn, STT_WISH_READ);
	}
}

/* What was sent leaves before the peer is asked for more. What has a stack of its own nearly always
 * waits, and only looks whether there is something. */
static void flush(const struct stt_strand *strand, struct sttcp_conn *conn)
{
	if (!strand || atomic_load_explicit(&conn->output.queued, memory_order_relaxed))
		stt_output_flush(conn);
}

static ssize_t read_some(struct stt_desk *desk, struct sttcp_conn *conn, void *buffer, size_t size,
			 int64_t until_ms)
{
	struct stt_strand *strand = desk->call.strand;
	struct stt_input *in = &desk->input;

	flush(strand, conn);
	if (in->size || !size) {
		size_t taken = size < in->size ? size : in->size;

		if (taken)
			memcpy(buffer, in->at, taken);
		stt_input_skip(desk, taken);
		return (ssize_t)taken;
	}
	for (;;) {
		if (!is_emptied(strand)) {
			bool emptied;

			spend_read(&desk, strand);
			ssize_t got = stt_stream_recv(conn, buffer, size, &emptied);

			if (got == 0)
				got = stt_output_end_of_input(conn);
			if (got > 0) {
				stt_counter_add(&conn->bytes_in, got);
				note_input(conn);
			}
			if (got >= 0 || (strand && got == -EAGAIN))
				leave_input(strand, conn, emptied);
			if (got >= 0)
				return got;
			if (got != -EAGAIN)
				return fail(conn, (int)got);
			note_nothing(conn);
		}

		int result = wait_for_input(&desk, conn, until_ms);

		if (result < 0)
			return result;
	}
}

ssize_t stt_inline_read(struct sttcp_conn *conn, void *buffer, size_t size, int timeout_ms)
{
	int64_t until_ms = stt_deadline_ms(timeout_ms);
	struct stt_desk *desk;
	int result = stt_inline_begin(conn, until_ms, &desk);

	if (result < 0)
		return result;
	note_timeout(desk, timeout_ms);
	return stt_inline_end(conn, read_some(desk, conn, buffer, size, until_ms));
}

/* Ends the connection because of a message that cannot be taken, after its malformed handler has
 * run. */
STT_APART static int refuse_message(struct stt_desk **desk, struct sttcp_conn *conn, int code)
{
	struct stt_strand *strand = (*desk)->call.strand;
	char text[STT_REFUSAL_TEXT];

	/* A child comes out of a frame_fn: nothing of the parent's is touched. */
	if (stt_forked_since(conn->service->fork_count))
		return STTCP_EFORK;
	memcpy(text, (*desk)->refusal, sizeof(text));
	if (!atomic_load(&conn->ended))
		stt_dispatch_malformed_inside(*desk, conn, code);
	*desk = stt_strand_desk(strand, *desk);
	stt_conn_end_with(conn, code, STT_END_FLUSH, "%s", text);
	(*desk)->input.at += (*desk)->input.size;
	(*desk)->input.size = 0;
	return stt_conn_end_code(conn);
}

/* Reads more than may be taken: 1, 0 at the peer's FIN, or a code. */
static int read_more(struct stt_desk **desk, struct sttcp_conn *conn, int64_t until_ms)
{
	struct stt_strand *strand = (*desk)->call.strand;

	/* What is left is looked for after the handler, also on a connection without messages. */
	if (!atomic_load_explicit(&conn->framed, memory_order_relaxed))
		atomic_store(&conn->framed, true);
	for (;;) {
		if (!is_emptied(strand)) {
			spend_read(desk, strand);

			struct stt_input *in = &(*desk)->input;

			in->in_handler = !strand || stt_strand_needs_buffer(strand);

			ssize_t got = stt_input_read(*desk, conn);

			in->in_handler = false;
			if (got > 0)
				note_input(conn);
			if (got >= 0 || (strand && got == -EAGAIN))
				leave_input(strand, conn, in->emptied);
			if (got >= 0)
				return got > 0;
			if (got == -ENOMEM)
				return -ENOMEM;
			if (got == STTCP_ELIMIT)
				return refuse_message(desk, conn, STTCP_ELIMIT);
			if (got != -EAGAIN)
				return (int)fail(conn, (int)got);
			note_nothing(conn);
		}

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
static int await_message(struct stt_desk **desk, struct sttcp_conn *conn, int64_t until_ms,
			 struct arrived *message)
{
	enum stt_more more = STT_MORE_MAY_COME;
	struct stt_strand *strand = (*desk)->call.strand;

	if (!strand)
		stt_output_flush(conn);
	for (;;) {
		/* Loaded once each time: another thread may change it at any time. */
		message->framing = stt_conn_framing(conn);

		int found = stt_input_find(*desk, conn, message->framing, more, &message->frame);

		if (found < 0)
			return refuse_message(desk, conn, found);
		if (found == 1)
			return 0;
		if (stt_forked_since(conn->service->fork_count))
			return STTCP_EFORK;
		if (more == STT_NO_MORE)
			return -ENODATA;
		/* Not before: a dialogue whose peer sends line upon line would send as many
		 * answers. */
		if (strand)
			flush(strand, conn);

		int result = read_more(desk, conn, until_ms);

		if (result < 0)
			return result;
		if (result == 0)
			more = STT_NO_MORE;
	}
}

/* Where another message follows, the small answers of this call leave together. */
static void spend_message(const struct stt_desk *desk)
{
	struct stt_strand *strand = desk->call.strand;

	if (!strand)
		return;
	if (desk->input.size)
		stt_strand_gather(strand);
	stt_strand_spend(strand, 0, 1);
}

static ssize_t read_message(struct stt_desk *desk, struct sttcp_conn *conn, void *buffer,
			    size_t size, int64_t until_ms)
{
	struct stt_message message;
	struct arrived arrived;

	stt_conn_free_old_framings(desk, conn);
	/* Without room it is a question: bytes that have come stay, as a message that is too large.
	 */
	if (size && stt_conn_framing(conn)->kind == STTCP_FRAMING_RAW) {
		ssize_t got = read_some(desk, conn, buffer, size, until_ms);

		return got ? got : -ENODATA;
	}

	int result = await_message(&desk, conn, until_ms, &arrived);

	if (result < 0)
		return result;
	if (arrived.frame.size > size)
		return -EMSGSIZE;
	stt_input_take_message(desk, arrived.framing, &arrived.frame, &message);
	if (message.size)
		memcpy(buffer, message.data, message.size);
	stt_counter_add(&conn->messages_in, 1);
	spend_message(desk);
	return (ssize_t)message.size;
}

ssize_t stt_inline_read_message(struct sttcp_conn *conn, void *buffer, size_t size, int timeout_ms)
{
	int64_t until_ms = stt_deadline_ms(timeout_ms);
	struct stt_desk *desk;
	int result = stt_inline_begin(conn, until_ms, &desk);

	if (result < 0)
		return result;
	note_timeout(desk, timeout_ms);
	return stt_inline_end(conn, read_message(desk, conn, buffer, size, until_ms));
}

ssize_t stt_inline_next_size(struct sttcp_conn *conn, int timeout_ms)
{
	int64_t until_ms = stt_deadline_ms(timeout_ms);
	struct stt_desk *desk;
	struct arrived arrived;
	int result = stt_inline_begin(conn, until_ms, &desk);

	if (result < 0)
		return result;
	note_timeout(desk, timeout_ms);
	stt_conn_free_old_framings(desk, conn);
	result = await_message(&desk, conn, until_ms, &arrived);
	return stt_inline_end(conn, result < 0 ? result : (ssize_t)arrived.frame.size);
}

/* Waits until `size` bytes are there: 0, -ENODATA, or another code. */
static int await_bytes(struct stt_desk **desk, struct sttcp_conn *conn, size_t size,
		       int64_t until_ms)
{
	int result = 1;

	while ((*desk)->input.size < size && result > 0) {
		size_t whole = (*desk)->input.whole;

		/* They are read as a message of that size is; what is known of the message that
		 * begins here stays true as long as nothing is taken. */
		(*desk)->input.whole = size;
		result = read_more(desk, conn, until_ms);
		(*desk)->input.whole = whole;
	}
	return result < 0 ? result : result == 0 ? -ENODATA : 0;
}

static ssize_t read_exactly(struct stt_desk *desk, struct sttcp_conn *conn, void *buffer,
			    size_t size, int64_t until_ms)
{
	stt_conn_free_old_framings(desk, conn);
	if (size > (uint64_t)stt_conn_framing(conn)->max_message || size > PTRDIFF_MAX)
		return -EMSGSIZE;
	flush(desk->call.strand, conn);

	int result = await_bytes(&desk, conn, size, until_ms);

	if (result < 0)
		return result;
	if (size) {
		memcpy(buffer, desk->input.at, size);
		stt_input_skip(desk, size);
	}
	return (ssize_t)size;
}

ssize_t stt_inline_read_exactly(struct sttcp_conn *conn, void *buffer, size_t size, int timeout_ms)
{
	int64_t until_ms = stt_deadline_ms(timeout_ms);
	struct stt_desk *desk;
	int result = stt_inline_begin(conn, until_ms, &desk);

	if (result < 0)
		return result;
	note_timeout(desk, timeout_ms);
	return stt_inline_end(conn, read_exactly(desk, conn, buffer, size, until_ms));
}

int stt_inline_unread(struct sttcp_conn *conn, const void *data, size_t size)
{
	struct stt_desk *desk;
	int result = stt_inline_begin(conn, 0, &desk);

	if (result < 0)
		return result;
	/* As what read_more leaves; after a task nothing else would have the reader look. */
	atomic_store(&conn->framed, true);
	result = stt_input_unread(desk, conn, data, size);
	stt_conn_wish_again(conn, STT_WISH_READ);
	return (int)stt_inline_end(conn, result);
}
