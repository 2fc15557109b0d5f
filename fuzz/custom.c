/* SPDX-License-Identifier: MIT */
/* Custom framing: cut, limit, which function (the table below, modulo its size), then the bytes. */
#include <string.h>

#include "properties.h"
#include "support/protocols.h"

enum {
	DIGITS_MAX = 4
};

/* "<digits>:" and as many bytes. */
static int netstring_end(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
			 void *context)
{
	const unsigned char *bytes = data;
	size_t count = 0;

	(void)conn;
	(void)context;
	for (size_t i = 0; i < size && i <= DIGITS_MAX; i++) {
		if (bytes[i] == ':') {
			frame->size = frame->total = i + 1 + count;
			return i > 0 ? 1 : -1;
		}
		if (bytes[i] < '0' || bytes[i] > '9')
			return -1;
		count = count * 10 + (size_t)(bytes[i] - '0');
	}
	return size <= DIGITS_MAX ? 0 : -1;
}

static int semicolon_end(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
			 void *context)
{
	const char *text = data;
	const char *end = memchr(text + frame->state, ';', size - (size_t)frame->state);

	(void)conn;
	(void)context;
	frame->state = size;
	if (end)
		frame->size = frame->total = (size_t)(end - text) + 1;
	return end ? 1 : 0;
}

/* Its first three bytes tell skip, size and total, right or wrong. */
static int words_end(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
		     void *context)
{
	const unsigned char *bytes = data;

	(void)conn;
	(void)context;
	/* What is kept is as it was left. */
	if (frame->state != frame->total)
		return -1;
	if (size < 3) {
		frame->state = frame->total = 3;
		return 0;
	}
	frame->skip = bytes[0];
	frame->size = bytes[1];
	frame->total = bytes[2];
	return 1;
}

static const struct {
	sttcp_frame_fn fn;
	int64_t least_limit; /* at which no limit is passed before the function can tell */
} functions[] = {
	{semicolon_end, 0},    {netstring_end, DIGITS_MAX + 1},
	{netstring_frame, 16}, {syslog_frame, 16},
	{websocket_frame, 16}, {fastcgi_frame, 16},
	{resp_frame, 32},      {words_end, 3},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	size_t cut = take_byte(&input);
	struct stt_framing framing = {.kind = STTCP_FRAMING_CUSTOM,
				      .max_message = take_limit(&input)};

	size_t which = take_byte(&input) % (sizeof(functions) / sizeof(functions[0]));

	framing.frame_fn = functions[which].fn;
	/* Below that the limit may be told, or what is wrong: which one comes first depends on how
	 * the bytes are cut, and is not to be compared. */
	if (framing.max_message < functions[which].least_limit)
		framing.max_message = functions[which].least_limit;
	check_properties(&framing, input, cut);
	return 0;
}
