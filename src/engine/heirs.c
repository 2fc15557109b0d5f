/* SPDX-License-Identifier: MIT */
/*
 * Heirs, as the monitor and the engine need them: found, given back, made
 * owners. Their threads are the pool's.
 *
 * Who changes `heir` of a loop:
 *
 *	heir	who				does			then
 *	NULL	a worker, the monitor		swap: a new heir	the heir
 *	any	the monitor			takes over		the next, or NULL
 *	any	the owner, outside turns	gives it to the queue	NULL
 *
 * Where no thread can be created, the queue needs the heirs. Only a loop's owner
 * gives its heir away, because it enters a turn only with an heir behind it: if
 * any other thread took the heir, the owner might just have looked, and then
 * block in a handler of a loop that nobody can take over. A take-over may come
 * late, when the owner has left the turn and gives the heir: each has what its
 * exchange has found. An heir that was given works the queue, and becomes the
 * missing heir again before it parks.
 */
#include "base/list.h"
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

/* On the loop, by its owner, outside turns. */
static void give_heir(struct stt_worker *worker, struct stt_actor *actor)
{
	struct stt_loop *loop = stt_container_of(actor, struct stt_loop, heir_wanted);
	struct stt_pool *pool = &worker->engine->pool;

	/* Before the queue is looked at: who finds the flag set has pushed before that. */
	atomic_exchange(&loop->asked_for_heir, false);
	stt_lock(&pool->lock);
	bool wanted = pool->head && !pool->waking;

	stt_unlock(&pool->lock);
	if (!wanted)
		return;

	struct stt_worker *heir = atomic_exchange(&loop->heir, NULL);

	if (heir)
		stt_pool_return_heir(pool, heir);
	else
		stt_pool_call_worker(pool);
}

static const struct stt_actor_ops wanted_ops = {.on_ready = give_heir};

void stt_pool_init_heir(struct stt_loop *loop)
{
	loop->heir_wanted.ops = &wanted_ops;
}

bool stt_pool_ask_for_heir(struct stt_pool *pool)
{
	struct stt_engine *engine = pool->engine;

	for (int i = 0; i < engine->nloops; i++) {
		struct stt_loop *loop = &engine->loops[i];

		if (!atomic_load(&loop->heir))
			continue;
		if (!atomic_exchange(&loop->asked_for_heir, true))
			stt_loop_push(loop, &loop->heir_wanted);
		return true;
	}
	return false;
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
