/* SPDX-License-Identifier: MIT */
/*
 * The threads of workers, and their records: how they come, and how they go. At
 * the end of the engine a thread that goes joins the one that went before it:
 * the last one's join is that of all.
 */
#include "engine/thread.h"

#include <signal.h>
#include <stdlib.h>

#include "engine/engine.h"
#include "engine/lend.h"
#include "engine/pool.h"

int stt_thread_start(pthread_t *thread, size_t stack_size, void *(*run)(void *), void *argument)
{
	pthread_attr_t attr;
	sigset_t all;
	sigset_t before;

	sigfillset(&all);
	int result = pthread_attr_init(&attr);

	if (result)
		return -result;
	if (stack_size)
		result = pthread_attr_setstacksize(&attr, stack_size);
	if (!result) {
		/* A new thread inherits the mask of its creator; not every C library can set
		 * another one. */
		pthread_sigmask(SIG_SETMASK, &all, &before);
		result = pthread_create(thread, &attr, run, argument);
		pthread_sigmask(SIG_SETMASK, &before, NULL);
	}
	pthread_attr_destroy(&attr);
	return -result;
}

struct stt_worker *stt_thread_take_record(struct stt_pool *pool)
{
	stt_lock(&pool->lock);
	struct stt_worker *worker = pool->free_records;

	if (worker)
		pool->free_records = worker->next_parked;
	pool->nrunning++;
	stt_unlock(&pool->lock);
	if (worker)
		return worker;

	worker = calloc(1, pool->user->record_size);
	if (!worker) {
		stt_lock(&pool->lock);
		pool->nrunning--;
		stt_unlock(&pool->lock);
		return NULL;
	}
	worker->engine = pool->engine;
	stt_semaphore_init(&worker->wake);
	stt_lend_init_worker(worker);
	stt_lock(&pool->lock);
	worker->next_record = atomic_load_explicit(&pool->records, memory_order_relaxed);
	atomic_store_explicit(&pool->records, worker, memory_order_release);
	stt_unlock(&pool->lock);
	return worker;
}

static void give_record_back_locked(struct stt_pool *pool, struct stt_worker *worker)
	STT_REQUIRES(pool->lock)
{
	worker->next_parked = pool->free_records;
	pool->free_records = worker;
	pool->nrunning--;
	if (pool->closing)
		stt_cond_wake_all(&pool->left);
}

/* Of a thread that could not be had. */
void stt_thread_give_record_back(struct stt_pool *pool, struct stt_worker *worker)
{
	pool->user->close_record(worker);
	stt_lock(&pool->lock);
	give_record_back_locked(pool, worker);
	stt_unlock(&pool->lock);
}

/* The last step of a thread that ends. After the lock is released it may touch neither record nor
 * pool: both may be gone before it has joined the other thread. */
void stt_thread_leave(struct stt_pool *pool, struct stt_worker *worker)
{
	pool->user->close_record(worker);
	stt_lock(&pool->lock);
	bool joins = pool->unjoined;
	pthread_t before = pool->last_gone;

	if (pool->closing) {
		pool->unjoined = true;
		pool->last_gone = pthread_self();
	} else {
		/* Nobody may ever come to join it. */
		pthread_detach(pthread_self());
	}
	give_record_back_locked(pool, worker);
	stt_unlock(&pool->lock);
	if (joins)
		pthread_join(before, NULL);
}

void stt_thread_free_records(struct stt_pool *pool)
{
	/* Nobody is left who could change it. */
	if (pool->unjoined)
		pthread_join(pool->last_gone, NULL);
	struct stt_worker *worker = atomic_load_explicit(&pool->records, memory_order_relaxed);

	while (worker) {
		struct stt_worker *next = worker->next_record;

		stt_semaphore_fini(&worker->wake);
		free(worker);
		worker = next;
	}
}
