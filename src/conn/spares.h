/* SPDX-License-Identifier: MIT */
/*
 * The strands whose stacks a worker keeps for its next calls: with them a call
 * takes no system call. Objects of one loop may have stacks of different sizes,
 * so there is a shelf for each size, and no size takes those of another away
 * while there is room. Only the worker's own thread.
 */
#ifndef STT_CONN_SPARES_H
#define STT_CONN_SPARES_H

#include <stddef.h>

struct stt_strand;

enum {
	/* More of them than a process has in practice. */
	STT_SPARE_SIZES = 4,
	/* That a worker keeps, of all sizes. */
	STT_MOST_SPARE = 32
};

struct stt_shelf {
	size_t stack_size;
	struct stt_strand *first;
	int count;
};

struct stt_spares {
	struct stt_shelf shelves[STT_SPARE_SIZES];
	int count; /* on all of them */
};

/* One with a stack of this size, or NULL. */
struct stt_strand *stt_spares_take(struct stt_spares *spares, size_t stack_size);

/* Keeps it, or frees it, or another one in its place. */
void stt_spares_give(struct stt_spares *spares, struct stt_strand *strand);

/* Frees them all. */
void stt_spares_fini(struct stt_spares *spares);

#endif
