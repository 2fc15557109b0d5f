/* SPDX-License-Identifier: MIT */
/*
 * At max_threads, or where no thread can be created, handlers that wait for peers who say nothing
 * would keep the threads from everybody else. So while others wait for one, some of those waits are
 * ended: every 100 ms as many as have come to want a thread since, one at least, the longest first.
 *
 * A wait has a number. The monitor touches no connection: under the pool's lock
 * it writes that number into the record of the worker, and then to its eventfd.
 * The worker compares, and ends its own connection if that is the wait that it
 * is in: a number that comes late ends nothing. The eventfd is closed only by a
 * thread that has had the lock after its last wait.
 */
#ifndef STT_ENGINE_RELIEF_H
#define STT_ENGINE_RELIEF_H

#include "base/clock.h"
#include "engine/pool.h"
#include "engine/worker.h"

/* By a worker, around a wait for the peer in a handler: from now on its eventfd may be written. */
static inline void stt_relief_begin_wait(struct stt_worker *worker, int waker)
{
	struct stt_wait *wait = &worker->wait;
	int64_t number = atomic_load_explicit(&wait->number, memory_order_relaxed);

	atomic_store_explicit(&wait->began_ms, stt_now_ms(), memory_order_relaxed);
	atomic_store_explicit(&wait->waker, waker, memory_order_relaxed);
	atomic_store_explicit(&wait->number, number + 1, memory_order_release);
}

/* Whether the wait was to end. */
static inline bool stt_relief_end_wait(struct stt_worker *worker)
{
	struct stt_wait *wait = &worker->wait;
	int64_t number = atomic_load_explicit(&wait->number, memory_order_relaxed);

	atomic_store_explicit(&wait->number, number + 1, memory_order_release);
	return atomic_load_explicit(&wait->unwanted, memory_order_acquire) == number;
}

/* From now on those that stand in the queue have waited. */
void stt_relief_begin_period_locked(struct stt_pool *pool) STT_REQUIRES(pool->lock);

/* When stt_relief_look has something to do; STT_NEVER while nothing waits for a thread. */
int64_t stt_relief_due_ms(const struct stt_pool *pool);

/* Ends some waits if it is time to. The monitor only. */
void stt_relief_look(struct stt_pool *pool);

#endif
