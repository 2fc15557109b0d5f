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
	FORMATTED = 1024 /* what sendf formats without memory from the heap */
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
	if (!data && size)
		return -EINVAL;
	return send_parts(conn, &part, 1, mode);
}

int sttcp_conn_send(sttcp_conn *conn, const void *data, size_t size)
{
	return send_one(conn, data, size, STT_SEND_WAIT);
}

int sttcp_conn_try_send(sttcp_conn *conn, const void *data, size_t size)
{
	int result = stt_check_conn(conn);

	if (result < 0)
		return result;
	if ((uint64_t)size > (uint64_t)conn->service->settings.send_queue_max)
		return -EMSGSIZE;
	return send_one(conn, data, size, STT_SEND_TRY);
}

int sttcp_conn_sendv(sttcp_conn *conn, const struct iovec *parts, int count)
{
	int result = stt_check_conn(conn);

	if (result < 0)
		return result;
	if (count < 0 || count > MAX_PARTS || (!parts && count))
		return -EINVAL;
	/* More than the largest object must be a mistake, and the sum has to fit a size. */
	size_t left = PTRDIFF_MAX;

	for (int i = 0; i < count; i++) {
		if ((!parts[i].iov_base && parts[i].iov_len) || parts[i].iov_len > left)
			return -EINVAL;
		left -= parts[i].iov_len;
	}
	return send_parts(conn, parts, count, STT_SEND_WAIT);
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

int sttcp_conn_send_message(sttcp_conn *conn, const void *data, size_t size)
{
	int result = stt_check_conn(conn);
	struct stt_framing framing;
	struct stt_frame_ends ends;

	if (result < 0)
		return result;
	if (!data && size)
		return -EINVAL;

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
		result = stt_send(conn, parts, count, STT_SEND_WAIT, NULL);
	}
	stt_call_end(cancel);
	return result;
}
