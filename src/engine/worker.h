/* SPDX-License-Identifier: MIT */
/*
 * A worker is a thread of the library that may run handlers. At any time it is
 * one of: the owner of a loop, an heir parked behind a loop, busy with the
 * pool's queue, or parked. Its record outlives the thread: records live as long
 * as the engine, since the monitor may look at one at any time.
 */
#ifndef STT_ENGINE_WORKER_H
#define STT_ENGINE_WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "base/counter.h"
#include "base/semaphore.h"
#include "engine/actor.h"

struct stt_engine;
struct stt_loop;

enum stt_role {
	STT_OWNER, /* runs the loop in `assigned` */
	STT_HEIR,  /* waits to own the loop in `assigned` */
	STT_POOL   /* takes actors off the pool's queue */
};

/* Atomic, as far as not said otherwise relaxed. */
struct stt_wait {
	/* Written by its own thread, read by the monitor. */
	_Atomic int64_t number; /* odd while it waits: stored with release, after the others */
	_Atomic int64_t began_ms;
	atomic_int waker; /* an eventfd that ends the wait */
	/* Written by the monitor under the pool's lock: the number of the wait that is to end. */
	_Atomic int64_t unwanted;
};

/* What a worker does that has been in a wait which was to end. */
enum stt_way {
	STT_NO_WAY,
	STT_WAY_TO_GIVE, /* it ends that connection, and then takes the newest of the queue */
	STT_WAY_GIVEN	 /* the connection has made a step to its end */
};

/* The first member of a record; the other members belong to the engine's user. */
struct stt_worker {
	/* Set before the thread starts. */
	struct stt_engine *engine;
	struct stt_worker *next_record;

	/* Set by the thread itself before anybody can find it. */
	pid_t tid;
	clockid_t cpu_clock;

	/* Only its own thread. */
	struct stt_loop *loop; /* the loop that it owns, NULL for the pool and after a loss */

	/* Written by its own thread, read by any, relaxed: only stats use them, so their order does
	 * not matter. `calls` is odd while a handler runs. */
	struct stt_counter calls;

	/* When the call with the number `since_calls` was first seen: by the monitor on a loop, by
	 * the worker itself in the pool. Relaxed, as above. */
	_Atomic int64_t since_calls;
	_Atomic int64_t since_ms;

	/* The actor of its turn in the pool, whose loop the monitor may ask to flush: see lend.c.
	 */
	_Atomic(struct stt_actor *) lends;
	struct stt_loop *lends_to; /* written by its own thread while `lends` is NULL */
	struct stt_actor *lent;	   /* written by the monitor, read by that loop */
	struct stt_actor lender;
	int64_t lent_calls; /* only the monitor: `calls` at its last look */

	/* A wait of its handler for the peer, which ends early when others want the thread: see
	 * relief.h. */
	struct stt_wait wait;
	enum stt_way way; /* only its own thread */

	/* Under the pool's lock. */
	struct stt_worker *next_parked;
	bool parked;
	bool unproven;		   /* is at an actor that is not known to block */
	enum stt_role role;	   /* what to be after parking; its own thread's while not parked */
	struct stt_loop *assigned; /* for owners and heirs */

	/* Set before an heir is woken, read by it after: STT_OWNER or STT_POOL. Not `role`, which
	 * it may still have to read to learn that it is an heir at all. */
	enum stt_role after_heir;

	struct stt_semaphore wake;
};

/* The worker that the calling thread is; NULL for threads that are not the library's. */
extern _Thread_local struct stt_worker *stt_self;

/* Whether the calling thread is the library's and runs no handler: user code that it calls
 * meanwhile returns into the library. */
static inline bool stt_worker_is_ours(void)
{
	return stt_self && !(stt_counter_get(&stt_self->calls) & 1);
}

/* After user code, with the value of stt_worker_is_ours from before: a child that was forked there
 * stops here, because everything belongs to the parent. */
static inline void stt_worker_stop_child(bool was_ours)
{
	while (was_ours && !stt_self)
		pause();
}

#endif
