/* SPDX-License-Identifier: MIT */
/*
 * Reading UTF-8, and deciding what of it a terminal may get.
 */
#include "escape.h"

#include <string.h>

/* By its first byte; 0: none begins with that. */
static size_t character_length(unsigned char first)
{
	return first < 0x80    ? 1
	       : first < 0xc2  ? 0
	       : first < 0xe0  ? 2
	       : first < 0xf0  ? 3
	       : first <= 0xf4 ? 4
			       : 0;
}

size_t read_character(const void *data, size_t size, uint32_t *character)
{
	const unsigned char *text = data;
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t length = character_length(text[0]);

	if (length == 0 || length > size)
		return 0;
	*character = length == 1 ? text[0] : text[0] & (0x7fu >> length);
	for (size_t i = 1; i < length; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		*character = *character << 6 | (text[i] & 0x3f);
	}
	if (*character < least[length] || *character > 0x10ffff ||
	    (*character >= 0xd800 && *character < 0xe000))
		return 0;
	return length;
}

size_t whole_size(const void *data, size_t size, size_t most)
{
	const unsigned char *text = data;
	size_t shown = size < most ? size : most, at = shown;
	uint32_t character;

	while (at > 0 && shown - at < 3 && at < size && (text[at] & 0xc0) == 0x80)
		at--;
	return at < shown && read_character(text + at, size - at, &character) > shown - at ? at
											   : shown;
}

/* C0, DEL, C1, and what turns or breaks lines unseen (Unicode's bidirectional controls). */
bool is_harmless(uint32_t character)
{
	if (character < 0x20 || (character >= 0x7f && character < 0xa0))
		return false;
	return !(character >= 0x200b && character <= 0x200f) &&
	       !(character >= 0x2028 && character <= 0x202e) &&
	       !(character >= 0x2060 && character <= 0x206f) && character != 0xfeff;
}

static void print_byte(FILE *stream, unsigned char byte)
{
	switch (byte) {
	case '\n':
		fputs("\\n", stream);
		return;
	case '\r':
		fputs("\\r", stream);
		return;
	case '\t':
		fputs("\\t", stream);
		return;
	case '\\':
		fputs("\\\\", stream);
		return;
	default:
		fprintf(stream, "\\x%02x", byte);
	}
}

static bool is_kept(uint32_t character, int which)
{
	switch (character) {
	case '\n':
		return !(which & ESCAPE_NEWLINES);
	case '\t':
		return !(which & ESCAPE_TABS);
	case '\\':
		return !(which & ESCAPE_BACKSLASHES);
	default:
		return is_harmless(character);
	}
}

void print_escaped(FILE *stream, const void *data, size_t size, int which)
{
	const unsigned char *text = data;

	while (size > 0) {
		uint32_t character = 0;
		size_t length = read_character(text, size, &character);
		size_t taken = length ? length : 1;

		if (length > 0 && is_kept(character, which))
			fwrite(text, 1, length, stream);
		else
			for (size_t i = 0; i < taken; i++)
				print_byte(stream, text[i]);
		text += taken;
		size -= taken;
	}
}

/* How many bytes at the end begin a character that goes on behind them. */
static size_t unfinished_size(const void *data, size_t size)
{
	const unsigned char *end = (const unsigned char *)data + size;
	size_t count = 1;

	while (count < 3 && count < size && (end[-(ptrdiff_t)count] & 0xc0) == 0x80)
		count++;
	return count <= size && character_length(end[-(ptrdiff_t)count]) > count ? count : 0;
}

void print_escaped_part(FILE *stream, struct begun *begun, const void *data, size_t size, int which)
{
	const unsigned char *text = data;
	size_t rest;

	/* What stops to be a character may end with the beginning of another one. */
	while (begun->size > 0 && size > 0) {
		begun->bytes[begun->size++] = *text++;
		size--;
		rest = unfinished_size(begun->bytes, begun->size);
		print_escaped(stream, begun->bytes, begun->size - rest, which);
		memmove(begun->bytes, begun->bytes + begun->size - rest, rest);
		begun->size = rest;
	}
	rest = unfinished_size(text, size);
	print_escaped(stream, text, size - rest, which);
	memcpy(begun->bytes + begun->size, text + size - rest, rest);
	begun->size += rest;
}

void print_escaped_rest(FILE *stream, struct begun *begun, int which)
{
	print_escaped(stream, begun->bytes, begun->size, which);
	begun->size = 0;
}

bool is_utf8(const void *data, size_t size)
{
	const unsigned char *text = data;
	uint32_t character;

	while (size > 0) {
		size_t length = read_character(text, size, &character);

		if (length == 0)
			return false;
		text += length;
		size -= length;
	}
	return true;
}
