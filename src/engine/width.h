/* SPDX-License-Identifier: MIT */
/*
 * How many workers of the pool may be at handlers that nobody knows to block.
 * A part of the pool, under its lock.
 */
#ifndef STT_ENGINE_WIDTH_H
#define STT_ENGINE_WIDTH_H

#include <stdbool.h>
#include <stdint.h>

struct stt_actor;

struct stt_width {
	int least;
	int most;	     /* so many may be at once */
	int count;	     /* so many are */
	int peak;	     /* so many were, since the width was last judged */
	uint64_t ntaken;     /* actors off the queue so far */
	uint64_t seen_taken; /* at the last look */
	int free_looks;	     /* since then, that have not found the queue held */
};

void stt_width_init(struct stt_width *width, int nloops);

/* Whether this actor, the first of the queue, has to wait. */
bool stt_width_holds(const struct stt_width *width, const struct stt_actor *actor);

/* A worker takes this actor off the queue: whether it counts, which is to be given back. Who is
 * awake and finds something in the queue need not ask first. */
bool stt_width_take(struct stt_width *width, const struct stt_actor *actor);
void stt_width_give_back(struct stt_width *width, bool counted);

/* The monitor looks, and finds the queue held or not: whether it is, and nothing was taken off it
 * since the last look. */
bool stt_width_look(struct stt_width *width, bool held);

/* Those in the way are asleep: more may come, up to `max`. */
void stt_width_widen(struct stt_width *width, int max);

static inline bool stt_width_is_wide(const struct stt_width *width)
{
	return width->most > width->least;
}

#endif
