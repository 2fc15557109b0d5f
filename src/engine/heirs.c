/* SPDX-License-Identifier: MIT */
/* Heirs, as the monitor and the engine need them: found, given back, made owners. Their threads are
 * the pool's. */
#include "engine/engine.h"
#include "engine/pool.h"

struct stt_worker *stt_pool_find_heir(struct stt_pool *pool, struct stt_loop *loop)
{
	stt_lock(&pool->lock);
	struct stt_worker *worker = pool->parked;
	bool may_spawn = pool->nthreads < pool->max_threads;

	if (worker) {
		pool->parked = worker->next_parked;
		pool->nparked--;
		pool->nthreads--;
		worker->parked = false;
		worker->role = STT_HEIR;
		worker->assigned = loop;
		stt_semaphore_post(&worker->wake);
	}
	stt_unlock(&pool->lock);
	/* Without one the monitor tries again, whatever the reason. */
	if (!worker && may_spawn)
		(void)stt_pool_spawn(pool, STT_HEIR, loop, &worker);
	return worker;
}

void stt_pool_return_heir(struct stt_pool *pool, struct stt_worker *worker)
{
	if (!worker)
		return;
	stt_lock(&pool->lock);
	pool->nthreads++;
	stt_unlock(&pool->lock);
	worker->after_heir = STT_POOL;
	stt_semaphore_post(&worker->wake);
}

void stt_pool_promote_heir(struct stt_pool *pool, struct stt_worker *worker)
{
	/* From now on the old owner belongs to the pool. */
	stt_lock(&pool->lock);
	pool->nthreads++;
	stt_unlock(&pool->lock);
	worker->after_heir = STT_OWNER;
	stt_semaphore_post(&worker->wake);
}

bool stt_pool_retry(struct stt_pool *pool)
{
	struct stt_engine *engine = pool->engine;
	bool wanting = false;

	for (int i = 0; i < engine->nloops; i++) {
		struct stt_loop *loop = &engine->loops[i];
		struct stt_worker *none = NULL;

		if (atomic_load(&loop->heir))
			continue;

		struct stt_worker *heir = stt_pool_find_heir(pool, loop);

		if (!heir)
			wanting = true;
		else if (!atomic_compare_exchange_strong(&loop->heir, &none, heir))
			stt_pool_return_heir(pool, heir);
	}

	if (atomic_exchange(&pool->starved, false))
		stt_pool_call_worker(pool);
	return wanting || atomic_load(&pool->starved);
}
