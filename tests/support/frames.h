/* SPDX-License-Identifier: MIT */
/*
 * What the tests of framings share: framings to be written in tables, and looks
 * at bytes. Every look is taken twice, once with the last and once with the first
 * byte beside an unmapped page, so that a read outside of them crashes.
 */
#ifndef STT_TEST_FRAMES_H
#define STT_TEST_FRAMES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/framing.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
/* Short, for the tables are full of it. */
#define B(literal)                                                                                 \
	{                                                                                          \
		(literal), sizeof(literal) - 1                                                     \
	}

struct bytes {
	const char *data;
	size_t size;
};

#define UNLIMITED .max_message = INT64_MAX
#define WIDTH(size) .prefix_size = (size)
#define LITTLE .prefix_little_endian = true
#define VARINT .prefix_varint = true
#define SELF .prefix_includes_itself = true
#define OFFSET(count) .prefix_offset = (count)
#define ADJUST(number) .prefix_adjust = (number)

#define LINE .framing = {.kind = STTCP_FRAMING_LINE, UNLIMITED}
#define LINE_OF(max) .framing = {.kind = STTCP_FRAMING_LINE, .max_message = (max)}
#define DELIMITED_OF(text, max)                                                                    \
	.framing = {.kind = STTCP_FRAMING_DELIMITER,                                               \
		    .delimiter = text,                                                             \
		    .delimiter_size = sizeof(text) - 1,                                            \
		    .max_message = (max)}
#define DELIMITED(text) DELIMITED_OF(text, INT64_MAX)
#define COUNTED(...) .framing = {.kind = STTCP_FRAMING_LENGTH, UNLIMITED, __VA_ARGS__}
#define COUNTED_OF(max, ...)                                                                       \
	.framing = {.kind = STTCP_FRAMING_LENGTH, .max_message = (max), __VA_ARGS__}
#define FIXED(count)                                                                               \
	.framing = {.kind = STTCP_FRAMING_FIXED, .fixed_size = (count), .max_message = (count)}
#define CUSTOM(fn, max)                                                                            \
	.framing = {.kind = STTCP_FRAMING_CUSTOM, .frame_fn = (fn), .max_message = (max)}

/* "<digits>:" and as many bytes, as the library's users may write it. */
int netstring_end(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
		  void *context);

struct stt_framing line_framing(int64_t max_message);
struct stt_framing delimiter_framing(const char *delimiter, size_t size, int64_t max_message);

/* The payload of what `look` has found in `bytes`, in one piece: to be compared, until the next
 * call. */
const unsigned char *payload_of(const struct stt_framing *framing, const void *bytes,
				const struct stt_frame *frame);

/* What is sent for a payload, to `wire`: its size, or what stt_frame_ends refuses it with. */
ssize_t frame_payload(const struct stt_framing *framing, const void *payload, size_t size,
		      void *wire, size_t room);

/* Before and after all tests. */
int map_guarded(void **state);
int unmap_guarded(void **state);

/* stt_frame_next, and what has to hold of each of its answers; asserts. Under CUSTOM it is the
 * first look, and a message that is not all there yet is 0. */
int look(const struct stt_framing *framing, const void *data, size_t size, size_t scanned,
	 struct stt_frame *frame);

/* The same for stt_frame_ask. */
int ask(const struct stt_framing *framing, const void *data, size_t size, sttcp_frame *memory,
	struct stt_frame *frame);

/* stt_frame_last, and stt_frame_ends of what fits into a page. */
int look_last(const struct stt_framing *framing, const void *data, size_t size,
	      struct stt_frame *frame);
int look_ends(const struct stt_framing *framing, const void *data, size_t size,
	      struct stt_frame_ends *ends);

#endif
