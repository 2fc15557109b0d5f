/* SPDX-License-Identifier: MIT */
/*
 * The pool: the threads of the engine, and the queue of work that waits for
 * one. It creates threads, parks them and lets them end. It wakes one thread
 * at a time: the woken worker wakes the next one while there is work.
 */
#ifndef STT_ENGINE_POOL_H
#define STT_ENGINE_POOL_H

#include <signal.h>

#include "base/mutex.h"
#include "engine/actor.h"
#include "engine/width.h"
#include "engine/worker.h"

struct stt_engine_user;
struct stt_loop;

struct stt_pool {
	/* Set before start. */
	struct stt_engine *engine;
	const struct stt_engine_user *user;
	int max_threads; /* owners, heirs and the monitor not counted */
	size_t stack_size;
	/* The signal mask of the thread that created the engine. Code that a handler runs gets the
	 * signals that it would get anywhere else in the program: a child can be terminated, a
	 * fault handler runs, a profiler sees it. */
	sigset_t mask;
	/* Its timer slack, in nanoseconds: a new thread has that of its creator, which may be the
	 * monitor. */
	int slack_ns;

	struct stt_mutex lock;
	/* Under the lock. */
	struct stt_actor *head;
	struct stt_actor *tail;
	struct stt_worker *parked;	 /* last in, first out */
	struct stt_worker *free_records; /* those whose thread has gone */
	int nthreads;			 /* neither owner nor heir */
	int nparked;
	int waking;		 /* woken or made, but not yet at the queue */
	int nrunning;		 /* all threads with a record */
	struct stt_width width;	 /* for what is not known to block */
	int64_t cap_hits;	 /* times that a handler had to wait because there was no thread */
	bool denied;		 /* the last thread that the queue wanted could not be created */
	bool told_of_cap;	 /* the log has had a line about the one reason, */
	bool told_of_denial;	 /* and about the other: the system gave none */
	struct stt_actor *since; /* the newest of those that wait since `since_ms` or before */
	int came;		 /* how many have been pushed since then */
	bool closing;
	struct stt_cond left; /* a thread has left while closing */
	bool unjoined;	      /* a thread has left while closing, and is to be joined: */
	pthread_t last_gone;

	/* All records that ever were. Prepended under the lock, read by any thread. */
	_Atomic(struct stt_worker *) records;
	/* Atomic: workers that lend an actor, and loops that were asked for it. */
	atomic_int nlending;

	/* Atomic: something is in the queue, and no thread can take it yet; the monitor looks after
	 * it (relief.h). Workers read it relaxed. */
	atomic_bool is_short;
	/* Atomic, relaxed; written under the lock: when the period of `since` began. */
	_Atomic int64_t since_ms;
	/* Atomic: likewise, because of `width`; the monitor must stay awake and look. */
	atomic_bool is_held;

	/* Only the monitor: looks in succession that have found the queue held, and nothing taken
	 * off it. */
	int stuck_looks;

	/* Atomic: no thread could be created for something in the queue, and no loop has an heir to
	 * give, so the monitor must stay awake and try again. */
	atomic_bool starved;
};

void stt_pool_init(struct stt_pool *pool, struct stt_engine *engine,
		   const struct stt_engine_user *user, int max_threads, size_t stack_size);

/* For the end of an engine: from now on a thread that finds the queue empty ends. Then, when owners
 * and heirs belong to the pool, too: waits until all threads have ended. */
void stt_pool_close(struct stt_pool *pool);
void stt_pool_fini(struct stt_pool *pool);

/* Appends an actor to the queue, and makes sure that a worker takes it. Any thread, outside turns
 * or inside. */
void stt_pool_push(struct stt_pool *pool, struct stt_actor *actor);

/* Takes an actor out of the queue again: false if it is not there any more. Any thread. */
bool stt_pool_take(struct stt_pool *pool, struct stt_actor *actor);

/* Whether others wait for a thread and none is free: then a connection does not keep its thread for
 * longer than its share. */
static inline bool stt_pool_is_short(const struct stt_pool *pool)
{
	return atomic_load_explicit(&pool->is_short, memory_order_relaxed);
}

/* Whether a thread can be had for the queue. */
static inline bool stt_pool_has_thread_locked(const struct stt_pool *pool) STT_REQUIRES(pool->lock)
{
	return pool->parked || (!pool->denied && pool->nthreads < pool->max_threads);
}

/* Whether the last thread that the queue wanted could not be created. */
bool stt_pool_is_denied(struct stt_pool *pool);

/* A new thread that begins in `role`: 0, or -errno, and `*worker` is NULL. Not under the lock. */
int stt_pool_spawn(struct stt_pool *pool, enum stt_role role, struct stt_loop *loop,
		   struct stt_worker **worker);

/* Calls a worker if there is work and none is on its way. */
void stt_pool_call_worker(struct stt_pool *pool);

/* Heirs: heirs.c. */

/* A worker that is to be an heir of `loop`: a parked one or a new one, or NULL. It is not the heir
 * yet. */
struct stt_worker *stt_pool_find_heir(struct stt_pool *pool, struct stt_loop *loop);

/* Gives a worker from stt_pool_find_heir back. */
void stt_pool_return_heir(struct stt_pool *pool, struct stt_worker *worker);

/* Before the loop runs. */
void stt_pool_init_heir(struct stt_loop *loop);

/* No thread can be created for the queue: asks a loop to give its heir. False if none has one. Any
 * thread. */
bool stt_pool_ask_for_heir(struct stt_pool *pool);

/* Wakes an heir that is the owner now, according to the loop's word. */
void stt_pool_promote_heir(struct stt_pool *pool, struct stt_worker *worker);

/* Lists the workers that the width counts, up to `max` of them, if it holds the queue and nothing
 * was taken off it since the last look. The monitor only. */
int stt_pool_find_stuck(struct stt_pool *pool, struct stt_worker **workers, int max);

/* They are all asleep: more may run. The monitor only. */
void stt_pool_widen(struct stt_pool *pool);

/* Tries again to find heirs for loops without one, and a worker for the queue. Returns whether
 * something is still missing. The monitor only. */
bool stt_pool_retry(struct stt_pool *pool);

#endif
