/* SPDX-License-Identifier: MIT */
/*
 * Framing, for looking at. Lengths, lines and delimiters as the library has them.
 */
#include "splitter.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Of a message. */
static size_t most(const sttcp_options *framing)
{
	return framing->max_message > 0 ? (size_t)framing->max_message : (size_t)1 << 20;
}

struct found {
	size_t skip, size, total;
};

/* What a finder returns, beside 1, a message, and 0, more is needed. */
enum {
	MALFORMED = -1,
	TOO_LONG = -2
};

typedef int (*find_fn)(const sttcp_options *framing, const char *data, size_t size,
		       struct found *found);

static int find_line(const sttcp_options *framing, const char *data, size_t size,
		     struct found *found)
{
	const char *end = memchr(data, '\n', size);

	found->size = end ? (size_t)(end - data) : size;
	found->total = found->size + 1;
	if (found->size > 0 && data[found->size - 1] == '\r')
		found->size--;
	return found->size > most(framing) ? TOO_LONG : end != NULL;
}

static int find_delimiter(const sttcp_options *framing, const char *data, size_t size,
			  struct found *found)
{
	const char *end = memmem(data, size, framing->delimiter, framing->delimiter_size);
	/* A delimiter may have begun. */
	size_t maybe = size < framing->delimiter_size ? size : framing->delimiter_size - 1;

	found->size = end ? (size_t)(end - data) : size - maybe;
	found->total = found->size + framing->delimiter_size;
	return found->size > most(framing) ? TOO_LONG : end != NULL;
}

/* The varint of Protocol Buffers: seven bits a byte, the lowest first. */
static int read_varint(const char *data, size_t size, uint64_t *length, size_t *used)
{
	*length = 0;
	for (size_t i = 0; i < 10; i++) {
		if (i == size)
			return 0;
		*length |= (uint64_t)((unsigned char)data[i] & 0x7f) << (7 * i);
		if (!((unsigned char)data[i] & 0x80)) {
			*used = i + 1;
			return 1;
		}
	}
	return MALFORMED;
}

static int read_fixed(const sttcp_options *framing, const char *data, size_t size, uint64_t *length,
		      size_t *used)
{
	size_t count = framing->prefix_size ? (size_t)framing->prefix_size : 4;

	*length = 0;
	*used = count;
	if (size < count)
		return 0;
	for (size_t i = 0; i < count; i++)
		*length = *length << 8 |
			  (unsigned char)data[framing->prefix_little_endian ? count - 1 - i : i];
	return 1;
}

static int find_length(const sttcp_options *framing, const char *data, size_t size,
		       struct found *found)
{
	uint64_t length = 0;
	size_t used = 0;
	int result = framing->prefix_varint ? read_varint(data, size, &length, &used)
					    : read_fixed(framing, data, size, &length, &used);

	if (result <= 0)
		return result;
	if (framing->prefix_includes_itself && length < used)
		return MALFORMED;
	if (framing->prefix_includes_itself)
		length -= used;
	if (length > most(framing))
		return TOO_LONG;
	found->skip = used;
	found->size = (size_t)length;
	found->total = used + (size_t)length;
	return found->total <= size;
}

static int find_size(const sttcp_options *framing, const char *data, size_t size,
		     struct found *found)
{
	(void)data;
	found->size = found->total = (size_t)framing->fixed_size;
	return found->total <= size;
}

static find_fn finder(const sttcp_options *framing)
{
	switch (framing->framing) {
	case STTCP_FRAMING_LINE:
		return find_line;
	case STTCP_FRAMING_DELIMITER:
		return find_delimiter;
	case STTCP_FRAMING_LENGTH:
		return find_length;
	case STTCP_FRAMING_FIXED:
		return find_size;
	default:
		return NULL;
	}
}

static bool hold(struct splitter *splitter, const void *data, size_t size)
{
	size_t cap = splitter->cap ? splitter->cap : 4096;
	char *buffer;

	while (cap < splitter->size + size)
		cap *= 2;
	buffer = cap > splitter->cap ? realloc(splitter->buffer, cap) : splitter->buffer;
	if (!buffer)
		return false;
	memcpy(buffer + splitter->size, data, size);
	splitter->buffer = buffer;
	splitter->cap = cap;
	splitter->size += size;
	return true;
}

static void give_up(struct splitter *splitter, int why, splitter_fn fn, void *argument)
{
	splitter->gave_up = true;
	fn(splitter->buffer, splitter->size,
	   why == TOO_LONG ? "over --max-message, and all that follows is shown as it comes"
			   : "malformed, and all that follows is shown as it comes",
	   argument);
	splitter->size = 0;
}

void splitter_feed(struct splitter *splitter, const void *data, size_t size, splitter_fn fn,
		   void *argument)
{
	find_fn find = finder(splitter->framing);
	size_t used = 0;
	int result = 1;

	if (!find || splitter->gave_up || !hold(splitter, data, size)) {
		fn(data, size, NULL, argument);
		return;
	}
	while (used < splitter->size) {
		const char *next = splitter->buffer + used;
		struct found found = {0};

		result = find(splitter->framing, next, splitter->size - used, &found);
		if (result <= 0)
			break;
		fn(next + found.skip, found.size, NULL, argument);
		used += found.total;
	}
	memmove(splitter->buffer, splitter->buffer + used, splitter->size - used);
	splitter->size -= used;
	if (result < 0)
		give_up(splitter, result, fn, argument);
}

void splitter_end(struct splitter *splitter, splitter_fn fn, void *argument)
{
	if (splitter->size > 0)
		fn(splitter->buffer, splitter->size, "not complete", argument);
	splitter->size = 0;
}

void splitter_free(struct splitter *splitter)
{
	free(splitter->buffer);
}
