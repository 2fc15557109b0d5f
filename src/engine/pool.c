/* SPDX-License-Identifier: MIT */
/*
 * The life of a worker:
 *
 *	owner  -- its loop is taken over -->	pool
 *	heir   -- takes over a loop -->		owner
 *	heir   -- was not needed -->		pool
 *	heir   -- no thread for the queue -->	pool
 *	pool   -- queue empty, a loop without heir -->	heir
 *	pool   -- queue empty -->		parked
 *	parked -- work -->			pool
 *	parked -- a loop needs an heir -->	heir
 *	parked -- 5 s -->			gone
 *	pool   -- queue empty, the engine ends -->	gone
 *
 * Only `parked` waits with a timeout, so an engine that has been idle for 5 s
 * has no wake-up left in it. How threads come and go is in thread.c, what the
 * monitor does with heirs in heirs.c.
 */
#include "engine/pool.h"

#include <errno.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "engine/engine.h"
#include "engine/relief.h"
#include "engine/thread.h"

enum {
	PARK_MS = 5000
};

void stt_pool_init(struct stt_pool *pool, struct stt_engine *engine,
		   const struct stt_engine_user *user, int max_threads, size_t stack_size)
{
	*pool = (struct stt_pool){.engine = engine,
				  .user = user,
				  .max_threads = max_threads,
				  .stack_size = stack_size};
	pthread_sigmask(SIG_BLOCK, NULL, &pool->mask);
	pool->slack_ns = prctl(PR_GET_TIMERSLACK);
	stt_width_init(&pool->width, engine->nloops);
	stt_mutex_init(&pool->lock);
	stt_cond_init(&pool->left);
}

/* Takes a parked worker, which is to be posted, for the queue. */
static struct stt_worker *unpark_locked(struct stt_pool *pool) STT_REQUIRES(pool->lock)
{
	struct stt_worker *worker = pool->parked;

	pool->parked = worker->next_parked;
	pool->nparked--;
	pool->waking++;
	worker->parked = false;
	worker->role = STT_POOL;
	return worker;
}

void stt_pool_fini(struct stt_pool *pool)
{
	stt_lock(&pool->lock);
	while (pool->nrunning)
		stt_cond_wait(&pool->left, &pool->lock);
	stt_unlock(&pool->lock);
	stt_thread_free_records(pool);
	stt_cond_fini(&pool->left);
	stt_mutex_fini(&pool->lock);
}

static void *run_worker(void *argument);

int stt_pool_spawn(struct stt_pool *pool, enum stt_role role, struct stt_loop *loop,
		   struct stt_worker **worker)
{
	struct stt_worker *made = stt_thread_take_record(pool);
	pthread_t thread;
	int result = -ENOMEM;

	*worker = NULL;
	if (!made)
		return result;
	made->role = role;
	made->assigned = loop;
	if (pool->user->open_record(made))
		result = stt_thread_start(&thread, pool->stack_size, run_worker, made);
	if (result < 0)
		stt_thread_give_record_back(pool, made);
	else
		*worker = made;
	return result;
}

/* What a change of the queue makes necessary, to be done without the lock. */
struct need {
	struct stt_worker *woken; /* to be posted: under the lock it would run into it at once */
	bool thread;
	bool tell_of_cap;
	bool monitor;
};

/* A handler has to wait for a thread: counts that. True the first time for this reason, which is to
 * be logged. */
static bool note_hit_locked(struct stt_pool *pool, bool *told) STT_REQUIRES(pool->lock)
{
	bool first = !*told;

	pool->cap_hits++;
	*told = true;
	return first;
}

/* Something in the queue has to wait. True if the monitor is to be told. */
static bool note_short_locked(struct stt_pool *pool) STT_REQUIRES(pool->lock)
{
	if (atomic_load_explicit(&pool->is_short, memory_order_relaxed))
		return false;
	stt_relief_begin_period_locked(pool);
	pool->came = 1;
	/* Before the monitor's sleep is looked at, as with is_held. */
	atomic_store(&pool->is_short, true);
	return true;
}

/* Whether the first of the queue waits although there is a thread for it. Where there is none it
 * would wait for one in any case, and nothing is gained by more width. At the end of an engine the
 * monitor has gone, and nobody would let more come. */
static bool is_held_locked(const struct stt_pool *pool) STT_REQUIRES(pool->lock)
{
	return pool->head && !pool->closing && stt_pool_has_thread_locked(pool) &&
	       stt_width_holds(&pool->width, pool->head);
}

/* Calls a worker if there is work and none is on its way. */
static struct need call_worker_locked(struct stt_pool *pool) STT_REQUIRES(pool->lock)
{
	struct need need = {0};

	if (!pool->head || pool->waking)
		return need;
	if (is_held_locked(pool)) {
		note_short_locked(pool);
		need.monitor = !atomic_exchange(&pool->is_held, true);
	} else if (pool->parked) {
		need.woken = unpark_locked(pool);
	} else if (pool->nthreads < pool->max_threads) {
		pool->nthreads++;
		pool->waking++;
		/* Until this one is. */
		pool->denied = false;
		need.thread = true;
	} else {
		need.tell_of_cap = note_hit_locked(pool, &pool->told_of_cap);
		need.monitor = note_short_locked(pool);
	}
	return need;
}

static void starve(struct stt_pool *pool)
{
	atomic_store(&pool->starved, true);
	stt_monitor_wake(&pool->engine->monitor);
}

static void tell_of_cap(const struct stt_pool *pool)
{
	stt_log(STT_LOG_WARNING, "all threads are inside handlers (%d of at most %d); others wait",
		pool->max_threads, pool->max_threads);
}

static void tell_of_denial(int code)
{
	stt_log(STT_LOG_WARNING,
		"no thread could be created (%s); handlers wait for those there are: "
		"see ulimit -u and -v, and pids.max of the cgroup",
		sttcp_strerror(code));
}

static void serve_need(struct stt_pool *pool, struct need need)
{
	if (need.woken)
		stt_semaphore_post(&need.woken->wake);
	if (need.tell_of_cap)
		tell_of_cap(pool);
	if (need.monitor)
		stt_monitor_wake(&pool->engine->monitor);

	struct stt_worker *made;

	int result = need.thread ? stt_pool_spawn(pool, STT_POOL, NULL, &made) : 0;

	if (result == 0)
		return;
	/* Then an heir works the queue. If there is none, the cap counts as reached, until the
	 * monitor has tried again. */
	stt_lock(&pool->lock);
	bool waits = pool->head;
	bool first = waits && note_hit_locked(pool, &pool->told_of_denial);
	/* At the end of an engine heirs come by themselves. */
	bool asks = waits && !pool->closing;
	bool newly_short = waits && note_short_locked(pool);

	pool->denied = true;
	pool->nthreads--;
	pool->waking--;
	stt_unlock(&pool->lock);
	if (asks && !stt_pool_ask_for_heir(pool))
		starve(pool);
	else if (newly_short)
		stt_monitor_wake(&pool->engine->monitor);
	if (first)
		tell_of_denial(result);
}

void stt_pool_push(struct stt_pool *pool, struct stt_actor *actor)
{
	stt_lock(&pool->lock);
	actor->next = NULL;
	actor->prev = pool->tail ? pool->tail : actor;
	if (pool->tail)
		pool->tail->next = actor;
	else
		pool->head = actor;
	pool->tail = actor;
	pool->came++;

	struct need need = call_worker_locked(pool);

	stt_unlock(&pool->lock);
	serve_need(pool, need);
}

void stt_pool_close(struct stt_pool *pool)
{
	stt_lock(&pool->lock);
	pool->closing = true;
	while (pool->parked)
		stt_semaphore_post(&unpark_locked(pool)->wake);

	struct need need = call_worker_locked(pool);

	stt_unlock(&pool->lock);
	serve_need(pool, need);
}

static void remove_locked(struct stt_pool *pool, struct stt_actor *actor) STT_REQUIRES(pool->lock)
{
	if (pool->since == actor)
		pool->since = pool->head == actor ? NULL : actor->prev;
	if (pool->head == actor) {
		pool->head = actor->next;
		if (pool->head)
			pool->head->prev = pool->head;
	} else {
		actor->prev->next = actor->next;
		if (actor->next)
			actor->next->prev = actor->prev;
	}
	if (pool->tail == actor)
		pool->tail = pool->head ? actor->prev : NULL;
	actor->prev = NULL;
	if (!pool->head)
		atomic_store_explicit(&pool->is_short, false, memory_order_relaxed);
}

bool stt_pool_take(struct stt_pool *pool, struct stt_actor *actor)
{
	struct need need = {0};

	stt_lock(&pool->lock);
	bool is_there = actor->prev;

	if (is_there)
		remove_locked(pool, actor);
	/* What stands behind it may not have to wait, if it waits for no thread. */
	if (is_there && stt_pool_has_thread_locked(pool))
		need = call_worker_locked(pool);
	stt_unlock(&pool->lock);
	serve_need(pool, need);
	return is_there;
}

/* Makes the calling worker the heir of a loop that lacks one. */
static bool become_heir_locked(struct stt_pool *pool, struct stt_worker *worker)
	STT_REQUIRES(pool->lock)
{
	struct stt_engine *engine = pool->engine;

	for (int i = 0; i < engine->nloops; i++) {
		struct stt_worker *none = NULL;

		if (atomic_load(&engine->loops[i].heir))
			continue;
		/* Before the swap: from then on it can be made the owner. */
		worker->role = STT_HEIR;
		worker->assigned = &engine->loops[i];
		if (atomic_compare_exchange_strong(&engine->loops[i].heir, &none, worker)) {
			pool->nthreads--;
			return true;
		}
	}
	return false;
}

/* Waits for work: false when none came in time and the thread is to leave. */
static bool park_locked(struct stt_pool *pool, struct stt_worker *worker) STT_REQUIRES(pool->lock)
{
	int64_t until = stt_now_ms() + PARK_MS;

	worker->parked = true;
	worker->next_parked = pool->parked;
	pool->parked = worker;
	pool->nparked++;
	stt_unlock(&pool->lock);
	bool called = stt_semaphore_wait_until(&worker->wake, until);

	stt_lock(&pool->lock);
	if (called)
		return true;
	if (worker->parked) {
		struct stt_worker **link = &pool->parked;

		while (*link != worker)
			link = &(*link)->next_parked;
		*link = worker->next_parked;
		worker->parked = false;
		pool->nparked--;
		pool->nthreads--;
		return false;
	}
	/* Called at the last moment: the post is on its way or here. */
	stt_unlock(&pool->lock);
	stt_semaphore_wait(&worker->wake);
	stt_lock(&pool->lock);
	return true;
}

/* Those that wait have their turns in the order in which they came. Only a thread that was taken
 * away from a silent peer goes to the newest: it was made for that one (relief.c). */
static struct stt_actor *next_locked(struct stt_pool *pool, struct stt_worker *worker)
	STT_REQUIRES(pool->lock)
{
	bool newest = worker->way != STT_NO_WAY;

	worker->way = STT_NO_WAY;
	return newest ? pool->tail : pool->head;
}

/* How a worker has come to the queue. */
enum coming {
	BY_ITSELF,
	CALLED /* woken or made for it, and counted in `waking` */
};

/* Works the queue until the worker is to be an heir (true) or to leave (false). */
static bool work_pool(struct stt_pool *pool, struct stt_worker *worker, enum coming coming)
{
	bool stays = true;

	stt_lock(&pool->lock);
	for (;;) {
		if (coming == CALLED)
			pool->waking--;
		coming = BY_ITSELF;

		struct stt_actor *actor = next_locked(pool, worker);

		if (actor) {
			remove_locked(pool, actor);
			worker->unproven = stt_width_take(&pool->width, actor);

			struct need need = call_worker_locked(pool);

			stt_unlock(&pool->lock);
			serve_need(pool, need);
			actor->ops->on_pool(worker, actor);
			stt_lock(&pool->lock);
			stt_width_give_back(&pool->width, worker->unproven);
			worker->unproven = false;
			continue;
		}
		if (pool->closing) {
			stays = false;
			break;
		}
		if (become_heir_locked(pool, worker))
			break;
		stays = park_locked(pool, worker);
		if (!stays || worker->role == STT_HEIR)
			break;
		coming = CALLED;
	}
	stt_unlock(&pool->lock);
	return stays;
}

static void *run_worker(void *argument)
{
	struct stt_worker *worker = argument;
	struct stt_pool *pool = &worker->engine->pool;
	enum coming coming = worker->role == STT_POOL ? CALLED : BY_ITSELF;

	stt_self = worker;
	stt_cancel_off();
	pthread_sigmask(SIG_SETMASK, &pool->mask, NULL);
	if (pool->slack_ns > 0)
		prctl(PR_SET_TIMERSLACK, (unsigned long)pool->slack_ns);
	worker->tid = (pid_t)syscall(SYS_gettid);
	pthread_getcpuclockid(pthread_self(), &worker->cpu_clock);
	pthread_setname_np(pthread_self(), "sttcp");

	for (;;) {
		if (worker->role == STT_HEIR) {
			stt_semaphore_wait(&worker->wake);
			worker->role = worker->after_heir;
			coming = BY_ITSELF;
		}
		if (worker->role == STT_OWNER) {
			stt_loop_run(worker, worker->assigned);
			coming = BY_ITSELF;
			worker->role = STT_POOL;
		}
		if (worker->role == STT_POOL && !work_pool(pool, worker, coming))
			break;
	}
	stt_thread_leave(pool, worker);
	return NULL;
}

static int list_unproven_locked(const struct stt_pool *pool, struct stt_worker **workers, int max)
	STT_REQUIRES(pool->lock)
{
	int count = 0;

	for (struct stt_worker *worker = atomic_load_explicit(&pool->records, memory_order_acquire);
	     worker && count < max; worker = worker->next_record)
		if (worker->unproven)
			workers[count++] = worker;
	return count;
}

int stt_pool_find_stuck(struct stt_pool *pool, struct stt_worker **workers, int max)
{
	stt_lock(&pool->lock);
	bool held = is_held_locked(pool);
	bool stuck = stt_width_look(&pool->width, held);
	int count = stuck ? list_unproven_locked(pool, workers, max) : 0;

	if (!held)
		atomic_store(&pool->is_held, false);
	stt_unlock(&pool->lock);
	return count;
}

bool stt_pool_is_denied(struct stt_pool *pool)
{
	stt_lock(&pool->lock);
	bool denied = pool->denied;

	stt_unlock(&pool->lock);
	return denied;
}

void stt_pool_call_worker(struct stt_pool *pool)
{
	stt_lock(&pool->lock);
	struct need need = call_worker_locked(pool);

	stt_unlock(&pool->lock);
	serve_need(pool, need);
}

void stt_pool_widen(struct stt_pool *pool)
{
	stt_lock(&pool->lock);
	stt_width_widen(&pool->width, pool->max_threads);

	struct need need = call_worker_locked(pool);

	stt_unlock(&pool->lock);
	serve_need(pool, need);
}
