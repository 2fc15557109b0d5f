/* SPDX-License-Identifier: MIT */
/* Custom framing: cut, limit, which of two functions (odd: netstrings), then the bytes. */
#include <string.h>

#include "properties.h"

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
	const char *end = memchr(text + frame->state, ';', size - frame->state);

	(void)conn;
	(void)context;
	frame->state = size;
	if (end)
		frame->size = frame->total = (size_t)(end - text) + 1;
	return end ? 1 : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	size_t cut = take_byte(&input);
	struct stt_framing framing = {.kind = STTCP_FRAMING_CUSTOM,
				      .max_message = take_limit(&input)};

	framing.frame_fn = take_byte(&input) % 2 == 1 ? netstring_end : semicolon_end;
	/* Within a netstring's digits the limit may be told, or what is wrong with them: which one
	 * comes first depends on how they are cut, and is not to be compared. */
	if (framing.frame_fn == netstring_end && framing.max_message <= DIGITS_MAX)
		framing.max_message = DIGITS_MAX + 1;
	check_properties(&framing, input, cut);
	return 0;
}
