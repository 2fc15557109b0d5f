/* SPDX-License-Identifier: MIT */
/*
 * A turn is the only time at which a loop can change hands. It begins once the
 * worker owns a connection and has read from it, and ends before the worker
 * lets go of the connection. In a turn a worker touches its connection, its own
 * record and the push lists, and nothing else of the loop: at any instant the
 * loop may be somebody else's.
 *
 * The loop's word:
 *
 *	word		who		does			word then
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

/* Whether the owner of a loop, which asks, is inside a turn of it. */
static inline bool stt_turn_runs(const struct stt_worker *worker)
{
	return atomic_load_explicit(&worker->loop->word, memory_order_relaxed) != (uintptr_t)worker;
}

/* A worker of the pool has no loop, and its turns are nothing. */
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
