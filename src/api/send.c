/* SPDX-License-Identifier: MIT */
/* What users send on a connection. The work is done in conn/: send.c and output.c. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/call.h"
#include "conn/own_framing.h"
#include "conn/send.h"

enum {
	MAX_PARTS = 1024,
	FORMATTED = 1024, /* what sendf formats without memory from the heap */
	/* A head, a tail, and the second half of a part that the head cuts. */
	FRAMED_PARTS = 3,
	SMALL_PARTS = 13 /* of a message that is sent without memory from the heap */
};

static int send_parts(sttcp_conn *conn, const struct iovec *parts, int count,
		      enum stt_send_mode mode)
{
	int cancel = stt_call_begin();
	int result = stt_send(conn, parts, count, mode, NULL);

	stt_call_end(cancel);
	return result;
}

static int send_one(sttcp_conn *conn, const void *data, size_t size, enum stt_send_mode mode)
{
	int result = stt_check_conn(conn);
	struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};

	if (result < 0)
		return result;
	if (!stt_can_be_sent(data, size))
		return -EINVAL;
	return send_parts(conn, &part, 1, mode);
}

int sttcp_conn_send(sttcp_conn *conn, const void *data, size_t size)
{
	return send_one(conn, data, size, STT_SEND_WAIT);
}

/* What is larger than the queue may be could never be taken as a whole; once the connection has
 * ended nothing can, and its end says more. */
static int check_fits(const sttcp_conn *conn, uint64_t size)
{
	if (size <= (uint64_t)conn->service->settings.send_queue_max)
		return 0;
	return stt_conn_has_ended(conn) ? stt_conn_end_code(conn) : -EMSGSIZE;
}

int sttcp_conn_try_send(sttcp_conn *conn, const void *data, size_t size)
{
	int result = stt_check_conn(conn);

	if (result == 0)
		result = check_fits(conn, size);
	return result < 0 ? result : send_one(conn, data, size, STT_SEND_TRY);
}

/* 0, or -EINVAL. More than the largest object must be a mistake, and the sum has to fit a size. */
static int check_parts(const struct iovec *parts, int count)
{
	size_t left = PTRDIFF_MAX;

	if (count < 0 || count > MAX_PARTS || (!parts && count))
		return -EINVAL;
	for (int i = 0; i < count; i++) {
		if ((!parts[i].iov_base && parts[i].iov_len) || parts[i].iov_len > left)
			return -EINVAL;
		left -= parts[i].iov_len;
	}
	return 0;
}

int sttcp_conn_sendv(sttcp_conn *conn, const struct iovec *parts, int count)
{
	int result = stt_check_conn(conn);

	if (result == 0)
		result = check_parts(parts, count);
	return result < 0 ? result : send_parts(conn, parts, count, STT_SEND_WAIT);
}

int sttcp_conn_try_sendv(sttcp_conn *conn, const struct iovec *parts, int count)
{
	int result = stt_check_conn(conn);

	if (result == 0)
		result = check_parts(parts, count);
	if (result == 0)
		result = check_fits(conn, stt_parts_size(parts, count));
	return result < 0 ? result : send_parts(conn, parts, count, STT_SEND_TRY);
}

int sttcp_conn_sendf(sttcp_conn *conn, const char *format, ...)
{
	char small[FORMATTED];
	char *text = small;
	va_list arguments;
	int result = stt_check_conn(conn);

	if (result < 0)
		return result;
	if (!format)
		return -EINVAL;

	va_start(arguments, format);
	int size = vsnprintf(small, sizeof(small), format, arguments);

	va_end(arguments);
	if (size < 0)
		return -EINVAL;
	if (size >= FORMATTED) {
		va_start(arguments, format);
		size = vasprintf(&text, format, arguments);
		va_end(arguments);
		if (size < 0)
			return -ENOMEM;
	}
	result = send_one(conn, text, (size_t)size, STT_SEND_WAIT);
	if (text != small)
		free(text);
	return result;
}

/* The parts of a message on the wire, to `framed`: how many, at most FRAMED_PARTS more than there
 * are. Empty ones are left out. */
static int frame_parts(const struct stt_framing *framing, const struct stt_frame_ends *ends,
		       const struct iovec *parts, int count, struct iovec *framed)
{
	struct iovec head = {(void *)(uintptr_t)ends->head, ends->head_size};
	struct iovec tail = {(void *)(uintptr_t)ends->tail, ends->tail_size};
	size_t front = (size_t)framing->prefix_offset; /* no more than there is */
	int made = 0;

	for (int i = 0; i < count; i++) {
		char *bytes = parts[i].iov_base;
		size_t size = parts[i].iov_len;
		size_t before = size < front ? size : front;

		if (before)
			framed[made++] = (struct iovec){bytes, before};
		front -= before;
		if (!front && head.iov_len) {
			framed[made++] = head;
			head.iov_len = 0;
		}
		if (size > before)
			framed[made++] = (struct iovec){bytes + before, size - before};
	}
	if (head.iov_len)
		framed[made++] = head;
	if (tail.iov_len)
		framed[made++] = tail;
	return made;
}

/* Between stt_call_begin and stt_call_end, with room for the parts. */
static int send_framed(sttcp_conn *conn, const struct iovec *parts, int count, struct iovec *framed,
		       enum stt_send_mode mode)
{
	struct stt_framing framing;
	struct stt_frame_ends ends;
	int result = stt_conn_copy_framing(conn, &framing);

	if (result == 0)
		result = stt_frame_ends_of_parts(&framing, parts, count, &ends);
	if (result < 0)
		return result;
	count = frame_parts(&framing, &ends, parts, count, framed);
	if (mode == STT_SEND_TRY)
		result = check_fits(conn, stt_parts_size(framed, count));
	return result < 0 ? result : stt_send(conn, framed, count, mode, NULL);
}

/* As send_framed, for one part, without a walk over parts: that would cost a line 65 instructions.
 */
static int send_message(sttcp_conn *conn, const void *data, size_t size, enum stt_send_mode mode)
{
	int result = stt_check_conn(conn);
	struct stt_framing framing;
	struct stt_frame_ends ends;

	if (result < 0)
		return result;
	if (!data && size)
		return -EINVAL;
	if (mode == STT_SEND_TRY && stt_conn_has_ended(conn))
		return stt_conn_end_code(conn);
	/* With what stands around it the sum has to fit a size. */
	if (size > PTRDIFF_MAX)
		return -EMSGSIZE;

	int cancel = stt_call_begin();

	result = stt_conn_copy_framing(conn, &framing);
	if (result == 0)
		result = stt_frame_ends(&framing, data, size, &ends);
	if (result == 0) {
		const char *payload = data;
		size_t front = (size_t)framing.prefix_offset; /* no more than size */
		struct iovec parts[4];
		int count = 0;

		if (front)
			parts[count++] = (struct iovec){(void *)(uintptr_t)payload, front};
		if (ends.head_size)
			parts[count++] = (struct iovec){ends.head, ends.head_size};
		if (size > front)
			parts[count++] =
				(struct iovec){(void *)(uintptr_t)(payload + front), size - front};
		if (ends.tail_size)
			parts[count++] =
				(struct iovec){(void *)(uintptr_t)ends.tail, ends.tail_size};
		if (mode == STT_SEND_TRY)
			result = check_fits(conn, stt_parts_size(parts, count));
		if (result == 0)
			result = stt_send(conn, parts, count, mode, NULL);
	}
	stt_call_end(cancel);
	return result;
}

int sttcp_conn_send_message(sttcp_conn *conn, const void *data, size_t size)
{
	return send_message(conn, data, size, STT_SEND_WAIT);
}

int sttcp_conn_try_send_message(sttcp_conn *conn, const void *data, size_t size)
{
	return send_message(conn, data, size, STT_SEND_TRY);
}

int sttcp_conn_sendv_message(sttcp_conn *conn, const struct iovec *parts, int count)
{
	struct iovec small[SMALL_PARTS + FRAMED_PARTS];
	struct iovec *framed = small;
	int result = stt_check_conn(conn);

	if (result == 0)
		result = check_parts(parts, count);
	if (result < 0)
		return result;

	int cancel = stt_call_begin();

	if (count > SMALL_PARTS)
		framed = malloc(((size_t)count + FRAMED_PARTS) * sizeof(*framed));
	result = framed ? send_framed(conn, parts, count, framed, STT_SEND_WAIT) : -ENOMEM;
	if (framed != small)
		free(framed);
	stt_call_end(cancel);
	return result;
}
