/* SPDX-License-Identifier: MIT */
/*
 * A connection that is known to block gets a thread once it is the first in
 * the queue. Of the others in the pool, only a few are served at a time.
 * Handlers that share a lock, and wait for it only because so many of them
 * run, are faster with few threads than with many. Without a limit their
 * waiting kept storms going, in which every connection comes to the pool: with
 * a thread for each of 50 connections they reached half of their speed on the
 * loops (`convoy` of the benchmark).
 *
 * More may run once all of these few are asleep, which the monitor finds out.
 * While they wait for one another, one is awake, or ready to run: the holder
 * of the lock.
 */
#include "engine/width.h"

#include "engine/actor.h"

enum {
	LEAST = 4,
	PER_LOOP = 2,
	/* A burst of handlers that sleep gets its threads in steps of this factor, each taking two
	 * looks. With a factor of 4, 500 of them took 9 ms longer (`surge` of the benchmark). */
	TIMES = 8,
	/* Looks that must find the queue not held before the width is judged anew. */
	FREE_LOOKS = 64
};

void stt_width_init(struct stt_width *width, int nloops)
{
	int least = nloops * PER_LOOP > LEAST ? nloops * PER_LOOP : LEAST;

	*width = (struct stt_width){.least = least, .most = least};
}

static bool is_proven(const struct stt_actor *actor)
{
	return atomic_load_explicit(&actor->blocks, memory_order_relaxed);
}

bool stt_width_holds(const struct stt_width *width, const struct stt_actor *actor)
{
	return width->count >= width->most && !is_proven(actor);
}

bool stt_width_take(struct stt_width *width, const struct stt_actor *actor)
{
	bool counts = !is_proven(actor);

	width->ntaken++;
	width->count += counts;
	if (width->count > width->peak)
		width->peak = width->count;
	return counts;
}

void stt_width_give_back(struct stt_width *width, bool counted)
{
	width->count -= counted;
}

/* A width that was needed for a moment is not kept. */
static void narrow(struct stt_width *width)
{
	int half = width->most / 2 > width->least ? width->most / 2 : width->least;

	if (width->peak <= half)
		width->most = half;
	width->peak = width->count;
}

bool stt_width_look(struct stt_width *width, bool held)
{
	bool moves = width->ntaken != width->seen_taken;

	width->seen_taken = width->ntaken;
	if (!held && ++width->free_looks == FREE_LOOKS) {
		width->free_looks = 0;
		narrow(width);
	}
	return held && !moves;
}

void stt_width_widen(struct stt_width *width, int max)
{
	int more = width->most * TIMES;

	if (width->most < max)
		width->most = more < max ? more : max;
}
