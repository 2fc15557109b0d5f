/* SPDX-License-Identifier: MIT */
/*
 * Text from somebody else, made harmless for a terminal.
 */
#ifndef CLI_ESCAPE_H
#define CLI_ESCAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* What of these is escaped, too; otherwise it is printed as it is. */
enum {
	ESCAPE_NEWLINES = 1, /* "\n" becomes the two characters */
	ESCAPE_TABS = 2,
	ESCAPE_BACKSLASHES = 4, /* so that what is printed can be read back */
	ESCAPE_ALL = 7
};

/* Prints bytes so that a terminal shows them and obeys none: control characters, invalid UTF-8 and
 * characters that change the direction of text appear as \n, \x1b and so on. */
void print_escaped(FILE *stream, const void *data, size_t size, int which);

/* Of text that comes in parts: a character of which only the first bytes are there. Zeroed at its
 * start. */
struct begun {
	unsigned char bytes[4];
	size_t size;
};

/* The same for a part: a character that it cuts waits for the next one. */
void print_escaped_part(FILE *stream, struct begun *begun, const void *data, size_t size,
			int which);

/* At the end of the text: what waits for nothing. */
void print_escaped_rest(FILE *stream, struct begun *begun, int which);

/* The length of the character of UTF-8 that begins here, and the character; 0: it is none. `size`
 * is at least 1. */
size_t read_character(const void *data, size_t size, uint32_t *character);

/* How many of `size` bytes to show, at most `most`, so that no character of UTF-8 is cut; bytes
 * that are none may be cut anywhere. */
size_t whole_size(const void *data, size_t size, size_t most);

/* Whether a terminal may get it: no control character, and none that turns or breaks lines unseen.
 * All that are not lie below U+10000. */
bool is_harmless(uint32_t character);

/* Whether all bytes are UTF-8. */
bool is_utf8(const void *data, size_t size);

#endif
