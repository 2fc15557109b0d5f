/* SPDX-License-Identifier: MIT */
/* The lines that the library logs, of all levels, for a test to look at. */
#ifndef STT_TEST_LINES_H
#define STT_TEST_LINES_H

#include "support/support.h"

/* Set-up and tear-down of a case: between them the lines are written down, from the first one on.
 */
int lines_open(void **state);
int lines_close(void **state);

/* How many lines of this level have the text in them. */
int lines_with(int level, const char *text);

/* Every one of them has to have come by now, and in this order; other lines may stand in between.
 */
void lines_in_order(int count, const char *const *texts);

#endif
