/* SPDX-License-Identifier: MIT */
/*
 * Lets a loop flush for a handler that blocks in the pool. On a loop,
 * loop->current does that: the next owner of the loop flushes. A worker of the
 * pool shows the actor in its record instead; the monitor finds the worker
 * stuck, and asks the actor's loop, which is served whatever handlers do.
 */
#ifndef STT_ENGINE_LEND_H
#define STT_ENGINE_LEND_H

#include <stdbool.h>

struct stt_actor;
struct stt_loop;
struct stt_pool;
struct stt_worker;

/* Whether the worker, of the pool, may lend: not before its loop has come to what it was last asked
 * for. */
bool stt_lend_may_begin(struct stt_worker *worker);

/* Lends the actor to its loop. With a reference to it, which goes to whom the table in lend.c says.
 * Outside turns, if it may. */
void stt_lend_begin(struct stt_worker *worker, struct stt_loop *loop, struct stt_actor *actor);

/* The turn is over: true if the reference is the caller's again, false if it went to the loop with
 * `on_lent`. By the same worker. */
bool stt_lend_end(struct stt_worker *worker, struct stt_actor *actor);

/* By the monitor, once per look: asks the loops of workers that are still in the call of the look
 * before. */
enum stt_lends {
	STT_LENDS_NONE,	 /* no worker lends */
	STT_LENDS_SOME,	 /* some do, and have come on since the last look */
	STT_LENDS_STUCK, /* one has not */
};

enum stt_lends stt_lend_look(struct stt_pool *pool);

/* Makes a worker's record ready for it. */
void stt_lend_init_worker(struct stt_worker *worker);

#endif
