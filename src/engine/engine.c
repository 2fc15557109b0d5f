/* SPDX-License-Identifier: MIT */
/*
 * Starts the engine: all of its loops, their owners and heirs, the monitor. An
 * owner that cannot be had fails the start and leaves nothing, and so does the
 * lack of any heir: no handler could ever run if no thread is to be had later,
 * either. With one heir, the others are tried for again by the monitor. After a
 * fork the child has none of the parent's threads: it forgets the engine, and the
 * next start makes a new one.
 *
 * The end goes the other way round, when its user is not busy: no handler runs on
 * a loop any more, so the monitor goes first; then the threads that look names
 * up; then each loop, once what lingers on it has been closed; their owners and heirs become
 * threads of the pool, which work what is left in the queue (the free functions of users) and
 * leave.
 */
#include "engine/engine.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mutex.h"
#include "base/slabs.h"
#include "base/stacks.h"
#include "engine/cpus.h"
#include "engine/lookup.h"
#include "engine/turn.h"

enum {
	DEFAULT_THREADS = 4096,
	MAX_LOOPS = 1024
};

static struct stt_mutex engine_lock = STT_MUTEX_INIT;
/* Written once, under the lock: an engine, which came after that, reads it without. */
static const struct stt_engine_user *the_user;
/* Under the lock. */
static struct stt_engine *the_engine;
static struct {
	int loops;
	int max_threads;
	size_t stack_size;
} wanted;
static int holds; /* calls that use the engine: it does not end meanwhile */
static enum {
	STAYS,
	JUDGED, /* whether anything needs it, which nobody is to change meanwhile */
	ENDS	/* nothing does, and nobody may hold it any more */
} fate;
static struct stt_cond changed = {PTHREAD_COND_INITIALIZER}; /* one of the two */

/* In the child, on its only thread: what belonged to the parent's threads stays as it is. */
static void forget_engine(void)
{
	stt_mutex_init(&engine_lock);
	stt_cond_init(&changed);
	holds = 0;
	fate = STAYS;
	stt_slabs_after_fork();
	stt_stacks_after_fork();
	stt_log_after_fork(stt_worker_is_ours());
	the_user->after_fork();
	stt_lookup_after_fork();
	the_engine = NULL;
	stt_self = NULL;
}

void stt_engine_serve(const struct stt_engine_user *user)
{
	stt_lock(&engine_lock);
	if (!the_user)
		the_user = user;
	/* Without memory for it, the next object tries again, and each start. */
	(void)stt_fork_watch(forget_engine);
	stt_unlock(&engine_lock);
}

int stt_engine_set(int loops, int max_threads, size_t stack_size)
{
	int result = -EBUSY;

	stt_lock(&engine_lock);
	if (!the_engine) {
		wanted.loops = loops;
		wanted.max_threads = max_threads;
		wanted.stack_size = stack_size;
		result = 0;
	}
	stt_unlock(&engine_lock);
	return result;
}

/* Owners are created as heirs, and promoted when there is one for every loop: until then each of
 * them can still be sent to the pool, where it ends. The monitor starts last, and creates the heirs
 * that are missing. */
static int start_threads(struct stt_engine *engine)
{
	struct stt_pool *pool = &engine->pool;
	int made = 0;
	int nheirs = 0;
	int result = 0;
	int no_heir = 0;

	for (; made < engine->nloops; made++) {
		struct stt_loop *loop = &engine->loops[made];
		struct stt_worker *owner;
		struct stt_worker *heir;

		result = stt_pool_spawn(pool, STT_HEIR, loop, &owner);
		if (result < 0)
			goto send_away;
		stt_turn_give(loop, owner);
		result = stt_pool_spawn(pool, STT_HEIR, loop, &heir);
		if (result < 0)
			no_heir = result;
		else
			nheirs++;
		atomic_store(&loop->heir, heir);
	}
	result = nheirs ? stt_monitor_start(engine) : no_heir;
	if (result < 0)
		goto send_away;
	for (int i = 0; i < engine->nloops; i++) {
		struct stt_worker *owner = stt_turn_owner(&engine->loops[i]);

		owner->after_heir = STT_OWNER;
		stt_semaphore_post(&owner->wake);
	}
	return 0;

send_away:
	stt_pool_close(pool);
	while (made-- > 0) {
		struct stt_loop *loop = &engine->loops[made];

		stt_pool_return_heir(pool, stt_turn_owner(loop));
		stt_pool_return_heir(pool, atomic_load(&loop->heir));
	}
	return result;
}

static void free_loops(struct stt_engine *engine, int count)
{
	for (int i = 0; i < count; i++)
		stt_loop_fini(&engine->loops[i]);
	free(engine->loops);
}

static struct stt_engine *new_engine_locked(int *result) STT_REQUIRES(engine_lock)
{
	struct stt_engine *engine = calloc(1, sizeof(*engine));
	int nloops = wanted.loops ? wanted.loops : stt_cpus_usable();
	int made = 0;

	*result = -ENOMEM;
	if (!engine)
		return NULL;
	engine->nloops = nloops < MAX_LOOPS ? nloops : MAX_LOOPS;
	engine->loops = calloc((size_t)engine->nloops, sizeof(*engine->loops));
	if (!engine->loops)
		goto free_engine;
	stt_semaphore_init(&engine->loops_ended);
	stt_pool_init(&engine->pool, engine, the_user,
		      wanted.max_threads ? wanted.max_threads : DEFAULT_THREADS, wanted.stack_size);
	for (*result = 0; *result == 0 && made < engine->nloops; made++) {
		*result = stt_loop_init(&engine->loops[made], engine, made);
		stt_pool_init_heir(&engine->loops[made]);
	}
	if (*result == 0)
		*result = the_user->begin(engine);
	if (*result == 0) {
		*result = start_threads(engine);
		if (*result == 0)
			return engine;
		the_user->end();
	}
	stt_pool_fini(&engine->pool);
	free_loops(engine, made);
	stt_semaphore_fini(&engine->loops_ended);
free_engine:
	free(engine);
	return NULL;
}

int stt_engine_get(struct stt_engine **engine)
{
	int result = 0;

	stt_lock(&engine_lock);
	/* Judging waits for no thread of the library, but the end does. */
	while (fate == JUDGED || (fate == ENDS && !stt_self))
		stt_cond_wait(&changed, &engine_lock);
	if (fate == ENDS) {
		stt_unlock(&engine_lock);
		return -EDEADLK;
	}
	*engine = the_engine;
	if (!*engine) {
		*engine = stt_fork_watch(forget_engine) ? new_engine_locked(&result) : NULL;
		if (!*engine && result == 0)
			result = -ENOMEM;
		the_engine = *engine;
	}
	if (*engine)
		holds++;
	stt_unlock(&engine_lock);
	return result;
}

struct stt_engine *stt_engine_peek(void)
{
	stt_lock(&engine_lock);
	/* It may be found to stay, and is not to look as if there were none meanwhile. */
	while (fate == JUDGED)
		stt_cond_wait(&changed, &engine_lock);
	struct stt_engine *engine = fate == STAYS ? the_engine : NULL;

	if (engine)
		holds++;
	stt_unlock(&engine_lock);
	return engine;
}

void stt_engine_release(void)
{
	stt_lock(&engine_lock);
	if (--holds == 0)
		stt_cond_wake_all(&changed);
	stt_unlock(&engine_lock);
}

/* Whether anything still needs the engine. Not under the lock. */
static bool is_needed(void)
{
	stt_lock(&engine_lock);
	const struct stt_engine_user *user = the_user;

	stt_unlock(&engine_lock);
	return user && user->is_busy();
}

static void end_loops(struct stt_engine *engine)
{
	for (int i = 0; i < engine->nloops; i++)
		stt_loop_end(&engine->loops[i]);
	/* After the flag: what lingers finds it when it is asked to look. */
	the_user->end_lingering();
	for (int i = 0; i < engine->nloops; i++)
		stt_semaphore_wait(&engine->loops_ended);
}

static void end_engine(struct stt_engine *engine)
{
	struct stt_pool *pool = &engine->pool;

	stt_monitor_end(engine);
	/* While the loops still take answers. */
	stt_lookup_end_threads();
	end_loops(engine);
	/* Closed first: nobody becomes an heir from then on. */
	stt_pool_close(pool);
	for (int i = 0; i < engine->nloops; i++)
		stt_pool_return_heir(pool, atomic_load(&engine->loops[i].heir));
	stt_pool_fini(pool);
	the_user->end();
	stt_monitor_fini(&engine->monitor);
	free_loops(engine, engine->nloops);
	stt_semaphore_fini(&engine->loops_ended);
	free(engine);
}

/* Whether it ends: then nobody holds it. */
static bool judge_engine(void)
{
	bool needed = is_needed();

	stt_lock(&engine_lock);
	fate = needed ? STAYS : ENDS;
	stt_cond_wake_all(&changed);
	stt_unlock(&engine_lock);
	return !needed;
}

int stt_engine_end(void)
{
	/* A first check without side effects; the second one counts. */
	if (is_needed())
		return -EBUSY;
	stt_lock(&engine_lock);
	while (fate != STAYS)
		stt_cond_wait(&changed, &engine_lock);

	struct stt_engine *engine = the_engine;

	fate = engine ? JUDGED : STAYS;
	while (fate == JUDGED && holds)
		stt_cond_wait(&changed, &engine_lock);
	stt_unlock(&engine_lock);
	if (!engine)
		return is_needed() ? -EBUSY : 0;
	if (!judge_engine())
		return -EBUSY;
	end_engine(engine);
	stt_lock(&engine_lock);
	the_engine = NULL;
	fate = STAYS;
	stt_cond_wake_all(&changed);
	stt_unlock(&engine_lock);
	return 0;
}

struct stt_loop *stt_engine_pick_loop(struct stt_engine *engine)
{
	unsigned first = atomic_fetch_add_explicit(&engine->next_loop, 1, memory_order_relaxed);
	struct stt_loop *best = NULL;
	int least = 0;

	for (int i = 0; i < engine->nloops; i++) {
		struct stt_loop *loop =
			&engine->loops[(first + (unsigned)i) % (unsigned)engine->nloops];
		int nresidents = atomic_load_explicit(&loop->nresidents, memory_order_relaxed);

		if (!best || nresidents < least) {
			best = loop;
			least = nresidents;
		}
	}
	return best;
}
