/* SPDX-License-Identifier: MIT */
/*
 * A turn is the only time at which a loop can change hands. It begins once the
 * worker owns an actor (a connection, and has read from it), and ends before the
 * worker lets go of the actor. In a turn a worker touches its actor, its own
 * record and the push lists, and nothing else of the loop: at any instant the
 * loop may be somebody else's.
 *
 * The loop's word:
 *
 *	word		who		does			word then
 *	0		the start	gives it to the first	A
 *	A		A, the owner	begins a turn: store	A | IN_TURN
 *	A | IN_TURN	A		leaves: swap		A
 *	A | IN_TURN	the monitor	takes over: swap	B, the heir
 *	B...		A		leaves: the swap fails, and A has lost the loop
 *
 * Both swaps compare, so exactly one of them wins. No generation is needed: A
 * cannot own a loop again before it has left its old turn and found the loss.
 */
#ifndef STT_ENGINE_TURN_H
#define STT_ENGINE_TURN_H

#include "engine/loop.h"

enum {
	STT_IN_TURN = 1
};

/* Who owns the loop, and whether that worker is inside a turn of it. Any thread. */
struct stt_turn {
	struct stt_worker *owner;
	bool in_turn;
};

static inline struct stt_turn stt_turn_look(const struct stt_loop *loop)
{
	/* Acquire: whoever sees a worker here sees its record as it was then. */
	uintptr_t word = atomic_load_explicit(&loop->word, memory_order_acquire);

	return (struct stt_turn){
		.owner = (struct stt_worker *)(word & ~(uintptr_t)STT_IN_TURN),
		.in_turn = word & STT_IN_TURN,
	};
}

static inline struct stt_worker *stt_turn_owner(const struct stt_loop *loop)
{
	return stt_turn_look(loop).owner;
}

/* Before the loop's first owner runs. */
static inline void stt_turn_give(struct stt_loop *loop, struct stt_worker *owner)
{
	atomic_store(&loop->word, (uintptr_t)owner);
}

/* By the monitor: false when the owner has just left its turn, and all stays as it is. */
static inline bool stt_turn_take_over(struct stt_loop *loop, struct stt_worker *owner,
				      struct stt_worker *heir)
{
	uintptr_t in_turn = (uintptr_t)owner | STT_IN_TURN;

	return atomic_compare_exchange_strong(&loop->word, &in_turn, (uintptr_t)heir);
}

/* Whether the calling owner of a loop is inside a turn of it. */
static inline bool stt_turn_runs(const struct stt_worker *worker)
{
	return atomic_load_explicit(&worker->loop->word, memory_order_relaxed) != (uintptr_t)worker;
}

/* For a worker of the pool, which has no loop, turns do nothing. */
static inline void stt_turn_begin(struct stt_worker *worker)
{
	/* Release: the heir that finds this word finds the loop's fields as they are now. */
	if (worker->loop)
		atomic_store_explicit(&worker->loop->word, (uintptr_t)worker | STT_IN_TURN,
				      memory_order_release);
}

/* False when the loop was lost in this turn; the worker is one of the pool then. */
static inline bool stt_turn_end(struct stt_worker *worker)
{
	struct stt_loop *loop = worker->loop;
	uintptr_t in_turn = (uintptr_t)worker | STT_IN_TURN;

	if (!loop ||
	    atomic_compare_exchange_strong_explicit(&loop->word, &in_turn, (uintptr_t)worker,
						    memory_order_acq_rel, memory_order_acquire))
		return true;
	worker->loop = NULL;
	return false;
}

#endif
