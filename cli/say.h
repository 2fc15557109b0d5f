/* SPDX-License-Identifier: MIT */
/*
 * What the command says to people: lines on standard error, and below them, on
 * a terminal, a status that is redrawn in place. Standard output is for data.
 *
 * Whatever a peer may have had a hand in goes through the escapes here, so that
 * no peer can send a control sequence to the terminal.
 */
#ifndef CLI_SAY_H
#define CLI_SAY_H

#include "escape.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* The name that lines begin with: "sttcp echo". */
void say_name(const char *name);

/* One line, escaped. Any thread. */
void say(const char *format, ...) __attribute__((__format__(__printf__, 1, 2)));

/* One line that tells why the program cannot go on. Returns `status`, the exit status. */
int fail(int status, const char *format, ...) __attribute__((__format__(__printf__, 2, 3)));

/* The lines below all others, until the next call; "" takes them away. Only where
 * say_has_status() is true. Lines that are wider than the terminal are cut. */
void say_status(const char *lines);
bool say_has_status(void);

/* Columns of the terminal on standard error; 80 if it is none. */
int say_width(void);

/* Whether `stream` is a terminal that may have colours: not with NO_COLOR, nor TERM=dumb. */
bool say_has_colours(FILE *stream);

/* "1.2 MB", "980 B": in powers of 1000. */
const char *human_size(char *text, size_t cap, double bytes);

/* "0.012 s", "1:05", "2:03:04". */
const char *human_time(char *text, size_t cap, double seconds);

#endif
