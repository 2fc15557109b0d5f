/* SPDX-License-Identifier: MIT */
/*
 * Standard output, which is for data. It may be closed, or its disk full: that
 * is told once, and the program comes to its end with a status that says so.
 */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Writes all of it, at once; lines of several threads do not mix. Waits where the reader is slow.
 * False, and finish() was called: it could not. Any thread. */
bool output_write(const void *data, size_t size);

/* Why that was, for others than those who read standard error, where it is told. */
const char *output_why(void);

/* Whether all that was written has gone out. */
bool output_is_good(void);

#endif
