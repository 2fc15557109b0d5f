/* SPDX-License-Identifier: MIT */
/*
 * The width: how many workers of the pool may run handlers at a time that are
 * not known to block. A part of the pool, under its lock.
 */
#ifndef STT_ENGINE_WIDTH_H
#define STT_ENGINE_WIDTH_H

#include <stdbool.h>
#include <stdint.h>

struct stt_actor;

struct stt_width {
	int least;
	int most;	     /* handlers that may run at a time */
	int count;	     /* those that run */
	int peak;	     /* the most that ran since the width was last judged */
	uint64_t ntaken;     /* actors off the queue so far */
	uint64_t seen_taken; /* at the last look */
	int free_looks;	     /* since then, that have not found the queue held */
};

void stt_width_init(struct stt_width *width, int nloops);

/* Whether this actor, the first in the queue, has to wait. */
bool stt_width_holds(const struct stt_width *width, const struct stt_actor *actor);

/* A worker takes this actor off the queue. Returns whether the actor counts, which the worker
 * passes to stt_width_give_back later. A worker that is awake may take the first one without asking
 * stt_width_holds. */
bool stt_width_take(struct stt_width *width, const struct stt_actor *actor);
void stt_width_give_back(struct stt_width *width, bool counted);

/* The monitor looks, and finds the queue held or not. True if it is held, and nothing was taken off
 * it since the last look. */
bool stt_width_look(struct stt_width *width, bool held);

/* All that count are asleep: more may run, up to `max`. */
void stt_width_widen(struct stt_width *width, int max);

static inline bool stt_width_is_wide(const struct stt_width *width)
{
	return width->most > width->least;
}

#endif
