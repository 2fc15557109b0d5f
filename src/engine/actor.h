/* SPDX-License-Identifier: MIT */
/*
 * An actor is anything that a loop works on: a connection, a listener, a
 * socket that is connecting, an answer of the resolver, a sweeper. It gets
 * events from the loop's poller, and is on at most one list at a time: its
 * loop's ready list, or the pool's queue.
 */
#ifndef STT_ENGINE_ACTOR_H
#define STT_ENGINE_ACTOR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/heap.h"

struct stt_actor;
struct stt_alarm;
struct stt_loop;
struct stt_worker;

struct stt_actor_ops {
	/* On its loop, outside turns, by the loop's owner. After these the worker may have lost the
	 * loop (a turn was taken over): look at worker->loop. */
	void (*on_event)(struct stt_worker *worker, struct stt_actor *actor, uint32_t events);
	void (*on_ready)(struct stt_worker *worker, struct stt_actor *actor);
	/* By a worker of the pool: may block. */
	void (*on_pool)(struct stt_worker *worker, struct stt_actor *actor);
	/* On its loop, outside turns, only while it is the loop's `current`: the worker in a turn
	 * of it has lost the loop. The next owner calls this before it does anything else. */
	void (*on_lost)(struct stt_worker *worker, struct stt_actor *actor);
	/* The same for a turn in the pool, which goes on; see lend.h. */
	void (*on_lent)(struct stt_worker *worker, struct stt_actor *actor);
};

struct stt_actor {
	const struct stt_actor_ops *ops;
	struct stt_actor *next;
	/* Under the pool's lock: NULL while not in its queue; the first one's is itself. */
	struct stt_actor *prev;
	/* Atomic, written by the actor's owner: its events go to the pool. */
	atomic_bool blocks;
};

/*
 * A point in time at which something is to be checked. Any thread may make it
 * earlier; only the loop's owner keeps the heap of them. It rings once, may
 * ring early, and is set anew by whoever it woke.
 */
struct stt_alarm {
	/* Atomic, any thread: when to ring. Lowered by compare-and-swap; the loop takes it. */
	_Atomic int64_t due;
	/* Atomic: on the loop's list of alarms; whoever sets it pushes. */
	atomic_bool listed;
	/* Only the loop's owner. */
	unsigned char kept; /* in which of the loop's heaps, see loop.c */
	struct stt_heap_node node;
	struct stt_alarm *next; /* on that list */
	/* Set before use. On the loop, outside turns. Returns when to ring again, or STT_NEVER;
	 * then what the alarm stands in may be gone. It does not set the alarm itself: that would
	 * list it, and what it stands in may be dead and on the chain of this very round already.
	 */
	int64_t (*ring)(struct stt_worker *worker, struct stt_alarm *alarm);
};

#endif
