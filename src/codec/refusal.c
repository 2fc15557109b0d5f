/* SPDX-License-Identifier: MIT */
/* What was wrong with a message, and with which limit it was compared. */
#include "codec/refusal.h"

#include <inttypes.h>
#include <stdio.h>

static void tell_limit(const struct stt_framing *framing, size_t size, char text[STT_REFUSAL_TEXT])
{
	if (size)
		snprintf(text, STT_REFUSAL_TEXT, "a message of %zu bytes, max_message is %" PRId64,
			 size, framing->max_message);
	else
		snprintf(text, STT_REFUSAL_TEXT,
			 "a message of more than %" PRId64 " bytes, max_message is %" PRId64,
			 framing->max_message, framing->max_message);
}

static void tell_malformed_by_function(const struct stt_frame *frame, char text[STT_REFUSAL_TEXT])
{
	if (frame->size == SIZE_MAX)
		snprintf(text, STT_REFUSAL_TEXT, "frame_fn calls a message malformed");
	else if (!frame->total)
		snprintf(text, STT_REFUSAL_TEXT, "frame_fn has found a message with a total of 0");
	else
		snprintf(
			text, STT_REFUSAL_TEXT,
			"frame_fn has found %zu bytes from %zu on in a message with a total of %zu",
			frame->size, frame->skip, frame->total);
}

static void tell_malformed(const struct stt_framing *framing, size_t size,
			   char text[STT_REFUSAL_TEXT])
{
	if (size == SIZE_MAX)
		snprintf(text, STT_REFUSAL_TEXT, "a length that is no varint of 64 bits");
	else if (framing->prefix_adjust)
		snprintf(text, STT_REFUSAL_TEXT,
			 "a length of %zu, which is below 0 with prefix_adjust %" PRId32 "%s", size,
			 framing->prefix_adjust,
			 framing->prefix_includes_itself ? " and without itself" : "");
	else if (framing->prefix_varint)
		snprintf(text, STT_REFUSAL_TEXT, "a length of %zu, which is below its own prefix",
			 size);
	else
		snprintf(text, STT_REFUSAL_TEXT,
			 "a length of %zu, which is below its own prefix of %d byte%s", size,
			 framing->prefix_size, framing->prefix_size == 1 ? "" : "s");
}

void stt_refusal_tell(const struct stt_framing *framing, int code, const struct stt_frame *frame,
		      char text[STT_REFUSAL_TEXT])
{
	if (code == STTCP_ELIMIT)
		tell_limit(framing, frame->size, text);
	else if (framing->kind == STTCP_FRAMING_CUSTOM)
		tell_malformed_by_function(frame, text);
	else
		tell_malformed(framing, frame->size, text);
}

void stt_refusal_tell_cut(size_t size, size_t whole, char text[STT_REFUSAL_TEXT])
{
	if (whole)
		snprintf(text, STT_REFUSAL_TEXT,
			 "the peer's FIN came after %zu of the %zu bytes of a message", size,
			 whole);
	else
		snprintf(text, STT_REFUSAL_TEXT,
			 "the peer's FIN came after %zu byte%s of a message", size,
			 size == 1 ? "" : "s");
}
