/* SPDX-License-Identifier: MIT */
/*
 * Starts the engine: all of its loops, their owners and heirs, the monitor. An
 * owner that cannot be had fails the start and leaves nothing; an heir that
 * cannot be had is tried for again by the monitor. After a fork the child has
 * none of the parent's threads: it forgets the engine, and the next start makes
 * a new one.
 */
#include "engine/engine.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mutex.h"
#include "engine/cpus.h"
#include "engine/group.h"
#include "engine/lookup.h"
#include "engine/signals.h"

enum {
	DEFAULT_THREADS = 4096,
	MAX_LOOPS = 1024
};

static struct stt_mutex lock = STT_MUTEX_INIT;
/* Written under the lock; atomic for those who only want to look. */
static _Atomic(struct stt_engine *) the_engine;
static struct {
	int loops;
	int max_threads;
	size_t stack_size;
} wanted;
static bool fork_watched;
atomic_uint stt_forks;

/* In the child, on its only thread: what belonged to the parent's threads stays as it is. */
static void forget_engine(void)
{
	stt_mutex_init(&lock);
	stt_log_after_fork();
	stt_group_after_fork();
	stt_lookup_after_fork();
	stt_signals_after_fork();
	atomic_store(&the_engine, NULL);
	atomic_fetch_add(&stt_forks, 1);
	stt_self = NULL;
}

void stt_fork_watch(void)
{
	stt_lock(&lock);
	/* Without memory for it, the next object tries again. */
	if (!fork_watched)
		fork_watched = pthread_atfork(NULL, NULL, forget_engine) == 0;
	stt_unlock(&lock);
}

int stt_engine_set(int loops, int max_threads, size_t stack_size)
{
	int result = -EBUSY;

	stt_lock(&lock);
	if (!atomic_load(&the_engine)) {
		wanted.loops = loops;
		wanted.max_threads = max_threads;
		wanted.stack_size = stack_size;
		result = 0;
	}
	stt_unlock(&lock);
	return result;
}

/* Owners are made as heirs, and promoted when there is one for every loop: until then each of them
 * can still be sent to the pool, where it leaves. The monitor comes last: it makes the heirs that
 * it finds wanting. */
static int start_threads(struct stt_engine *engine)
{
	struct stt_pool *pool = &engine->pool;
	int made = 0;
	int result = -EAGAIN;

	for (; made < engine->nloops; made++) {
		struct stt_loop *loop = &engine->loops[made];
		struct stt_worker *owner = stt_pool_spawn(pool, STT_HEIR, loop);

		if (!owner)
			goto send_away;
		atomic_store(&loop->word, (uintptr_t)owner);
		atomic_store(&loop->heir, stt_pool_spawn(pool, STT_HEIR, loop));
	}
	result = stt_monitor_start(engine);
	if (result < 0)
		goto send_away;
	for (int i = 0; i < engine->nloops; i++) {
		struct stt_worker *owner = (struct stt_worker *)atomic_load(&engine->loops[i].word);

		owner->after_heir = STT_OWNER;
		stt_semaphore_post(&owner->wake);
	}
	return 0;

send_away:
	stt_pool_close(pool);
	while (made-- > 0) {
		struct stt_loop *loop = &engine->loops[made];

		stt_pool_return_heir(pool, (struct stt_worker *)atomic_load(&loop->word));
		stt_pool_return_heir(pool, atomic_load(&loop->heir));
	}
	return result;
}

static struct stt_engine *new_engine(int *result)
{
	struct stt_engine *engine = calloc(1, sizeof(*engine));
	int nloops = wanted.loops ? wanted.loops : stt_cpus_usable();

	*result = -ENOMEM;
	if (!engine)
		return NULL;
	engine->nloops = nloops < MAX_LOOPS ? nloops : MAX_LOOPS;
	engine->loops = calloc((size_t)engine->nloops, sizeof(*engine->loops));
	if (!engine->loops)
		goto free_engine;

	int made = 0;

	stt_pool_init(&engine->pool, engine,
		      wanted.max_threads ? wanted.max_threads : DEFAULT_THREADS, wanted.stack_size);
	for (; made < engine->nloops; made++) {
		*result = stt_loop_init(&engine->loops[made], engine, made);
		if (*result < 0)
			goto fini_loops;
	}
	*result = stt_signals_open(engine);
	if (*result == 0)
		*result = start_threads(engine);
	if (*result == 0)
		return engine;
	stt_signals_close();
	stt_pool_fini(&engine->pool);
	made--;

fini_loops:
	for (; made >= 0; made--)
		stt_loop_fini(&engine->loops[made]);
	free(engine->loops);
free_engine:
	free(engine);
	return NULL;
}

int stt_engine_get(struct stt_engine **engine)
{
	int result = 0;

	stt_lock(&lock);
	*engine = atomic_load(&the_engine);
	if (!*engine) {
		*engine = fork_watched ? new_engine(&result) : NULL;
		if (!fork_watched)
			result = -ENOMEM;
		atomic_store_explicit(&the_engine, *engine, memory_order_release);
	}
	stt_unlock(&lock);
	return result;
}

struct stt_loop *stt_engine_pick_loop(struct stt_engine *engine)
{
	unsigned first = atomic_fetch_add_explicit(&engine->next_loop, 1, memory_order_relaxed);
	struct stt_loop *best = NULL;
	int least = 0;

	for (int i = 0; i < engine->nloops; i++) {
		struct stt_loop *loop =
			&engine->loops[(first + (unsigned)i) % (unsigned)engine->nloops];
		int nconns = atomic_load_explicit(&loop->nconns, memory_order_relaxed);

		if (!best || nconns < least) {
			best = loop;
			least = nconns;
		}
	}
	return best;
}
