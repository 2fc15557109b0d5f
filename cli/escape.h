/* SPDX-License-Identifier: MIT */
/*
 * Text from somebody else, made harmless for a terminal.
 */
#ifndef CLI_ESCAPE_H
#define CLI_ESCAPE_H

#include <stdbool.h>
#include <stddef.h>
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

/* Whether all bytes are UTF-8. */
bool is_utf8(const void *data, size_t size);

#endif
