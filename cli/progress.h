/* SPDX-License-Identifier: MIT */
/*
 * How far a file has come: a bar on a terminal, nothing elsewhere.
 */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdint.h>

/* `done` bytes of `total` (-1: nobody knows) are there already. Any thread may call the first two,
 * the main thread draws. */
void progress_begin(int64_t done, int64_t total);
void progress_add(int64_t bytes);
void progress_draw(void);
void progress_end(void);

/* How often to draw; -1: there is nothing to draw on. */
int progress_wait_ms(void);

int64_t progress_moved(void);  /* bytes since progress_begin, without those there before */
double progress_seconds(void); /* since progress_begin */

#endif
