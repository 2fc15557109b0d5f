/* SPDX-License-Identifier: MIT */
/*
 * A timer between two calls of `fn`:
 *
 *	set	due	queued	runs	what
 *	no	no	no	no	at rest
 *	yes	no	no	no	its alarm rings at next_ms at the latest
 *	any	yes	yes	no	a time has come, and waits for a thread
 *	any	no	yes	no	stopped or set anew: it leaves its place in the queue, which
 *					serves the next time if that comes first
 *	any	no	no	yes	`fn` runs; times that come now are left out
 *
 * So it never stands in the queue twice, and never runs beside itself. When a
 * time comes the alarm is set for the next one at once, without a system call,
 * for it rings on its loop. If that rings before `fn` has returned it is set no
 * more, and the thread of `fn` sets it afterwards: a call that blocks for long
 * wakes nobody up. While nothing is due a timer is nowhere but in the heap of a
 * loop.
 */
#include "group/timer.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/list.h"
#include "conn/desk.h"
#include "engine/engine.h"

enum {
	/* A call that takes longer counts as one that blocks. */
	BLOCKED_MS = 2
};

/* Timers that are set, due or running, and pieces of work: the engine does not end meanwhile. */
static atomic_int nbusy;

static void run_on_pool(struct stt_worker *worker, struct stt_actor *actor);
static int64_t ring_timer(struct stt_worker *worker, struct stt_alarm *alarm);

static const struct stt_actor_ops runner_ops = {.on_pool = run_on_pool};

sttcp_timer *stt_timer_new(void (*fn)(sttcp_timer *timer, void *context), void *context)
{
	sttcp_timer *timer = calloc(1, sizeof(*timer));

	if (!timer)
		return NULL;
	timer->fn = fn;
	timer->context = context;
	timer->fork_count = stt_fork_count();
	atomic_init(&timer->refs, 1);
	stt_mutex_init(&timer->lock);
	stt_cond_init(&timer->changed);
	stt_alarm_init(&timer->alarm, ring_timer);
	timer->runner.ops = &runner_ops;
	return timer;
}

static void ref(sttcp_timer *timer)
{
	atomic_fetch_add_explicit(&timer->refs, 1, memory_order_relaxed);
}

static void unref(sttcp_timer *timer)
{
	/* Release and acquire: whoever frees it comes after all that the others did with it. */
	if (atomic_fetch_sub_explicit(&timer->refs, 1, memory_order_acq_rel) > 1)
		return;
	stt_cond_fini(&timer->changed);
	stt_mutex_fini(&timer->lock);
	free(timer);
}

/* Whether it keeps the engine has changed. Last of all: then the engine may end. */
static void count_locked(sttcp_timer *timer) STT_REQUIRES(timer->lock)
{
	bool counts = timer->set || timer->due || timer->runs;

	if (counts != timer->counted)
		atomic_fetch_add(&nbusy, counts ? 1 : -1);
	timer->counted = counts;
}

static void arm_locked(sttcp_timer *timer) STT_REQUIRES(timer->lock)
{
	if (!timer->rings)
		ref(timer);
	timer->rings = true;
	stt_alarm_set(timer->loop, &timer->alarm, timer->next_ms);
}

/* Whether this is a call of `fn`. */
static bool is_inside_locked(const sttcp_timer *timer) STT_REQUIRES(timer->lock)
{
	return timer->runs && timer->caller == stt_self;
}

int stt_timer_start(sttcp_timer *timer, int first_ms, int every_ms)
{
	struct stt_engine *engine;
	int result = stt_engine_get(&engine);

	if (result < 0)
		return result;
	stt_lock(&timer->lock);
	if (timer->freed) {
		result = -EINVAL;
	} else if (timer->stopped && is_inside_locked(timer)) {
		result = -ECANCELED;
	} else {
		/* An alarm that is set is on a loop of this engine: none ends before it has rung.
		 */
		if (!timer->rings)
			timer->loop = stt_engine_pick_loop(engine);
		timer->next_ms = stt_deadline_ms(first_ms);
		timer->every_ms = every_ms;
		timer->set = true;
		timer->anew = true;
		timer->stopped = false;
		timer->due = false;
		count_locked(timer);
		if (!timer->runs)
			arm_locked(timer);
	}
	stt_unlock(&timer->lock);
	stt_engine_release();
	return result;
}

/* A time has come: goes on to the first one after `now_ms`. What was missed is left out, and those
 * to come stay where they are, counted from the first one. */
static void step_locked(sttcp_timer *timer, int64_t now_ms) STT_REQUIRES(timer->lock)
{
	if (timer->every_ms)
		timer->next_ms +=
			timer->every_ms * ((now_ms - timer->next_ms) / timer->every_ms + 1);
	else
		timer->set = false;
}

static int64_t ring_timer(struct stt_worker *worker, struct stt_alarm *alarm)
{
	sttcp_timer *timer = stt_container_of(alarm, sttcp_timer, alarm);
	int64_t again_ms = STT_NEVER;
	bool pushes = false;

	stt_lock(&timer->lock);
	int64_t now_ms = stt_now_ms();

	if (timer->set && timer->next_ms > now_ms) {
		again_ms = timer->next_ms;
	} else if (timer->set && !timer->due && !timer->runs) {
		timer->due = true;
		step_locked(timer, now_ms);
		again_ms = timer->set ? timer->next_ms : STT_NEVER;
		pushes = !timer->queued;
		timer->queued = true;
	}
	if (pushes)
		ref(timer);
	/* Set anew just before it rang, it stands on the loop's list without a time: the list must
	 * not be left with a timer that is gone. */
	if (atomic_load(&alarm->listed) && atomic_load(&alarm->due) == STT_NEVER)
		stt_alarm_set(timer->loop, alarm, 0);
	timer->rings = again_ms != STT_NEVER || atomic_load(&alarm->due) != STT_NEVER;

	bool is_last = !timer->rings;

	stt_unlock(&timer->lock);
	if (pushes)
		stt_pool_push(&worker->engine->pool, &timer->runner);
	if (is_last)
		unref(timer);
	return again_ms;
}

/* Calls `fn`, and finds out when it is due next. */
static void call_locked(sttcp_timer *timer) STT_REQUIRES(timer->lock)
{
	bool ours = stt_worker_is_ours();
	int64_t began_ms = stt_now_ms();

	timer->due = false;
	timer->anew = false;
	timer->stopped = false;
	timer->caller = stt_self;
	timer->runs = true;
	timer->ncalls++;
	stt_unlock(&timer->lock);
	stt_desk_self()->in_job = true;
	timer->fn(timer, timer->context);
	stt_worker_stop_child(ours);
	stt_desk_self()->in_job = false;
	stt_lock(&timer->lock);
	int64_t now_ms = stt_now_ms();

	/* The next call is likely to block as this one did, see width.h. */
	atomic_store_explicit(&timer->runner.blocks, now_ms - began_ms > BLOCKED_MS,
			      memory_order_relaxed);
	timer->runs = false;
	if (timer->set && !timer->anew && timer->next_ms <= now_ms)
		step_locked(timer, now_ms);
	/* An alarm that is set rings no later, unless another time was set meanwhile. It may still
	 * be about to be set, by the loop: then setting it here would take a wake-up. */
	if (timer->set && (timer->anew || !timer->rings))
		arm_locked(timer);
	stt_cond_wake_all(&timer->changed);
}

static void run_on_pool(struct stt_worker *worker, struct stt_actor *actor)
{
	sttcp_timer *timer = stt_container_of(actor, sttcp_timer, runner);

	(void)worker;
	stt_lock(&timer->lock);
	timer->queued = false;
	if (timer->due)
		call_locked(timer);
	count_locked(timer);
	stt_unlock(&timer->lock);
	unref(timer);
}

static int stop_locked(sttcp_timer *timer, enum stt_timer_wait wait) STT_REQUIRES(timer->lock)
{
	uint64_t call = timer->ncalls;

	timer->set = false;
	timer->due = false;
	/* Otherwise a function that starts its timer again could not be stopped; nor one that stops
	 * it before, so that call does not take it back. */
	if (!is_inside_locked(timer))
		timer->stopped = true;
	/* So that the heap does not keep it until the time that it had. */
	if (timer->rings)
		stt_alarm_set(timer->loop, &timer->alarm, 0);
	count_locked(timer);
	if (wait == STT_STOP_NOW)
		return timer->runs ? -EBUSY : 0;
	/* A call that another thread has brought about since is no concern of this one. */
	while (timer->runs && timer->ncalls == call)
		stt_cond_wait(&timer->changed, &timer->lock);
	return 0;
}

int stt_timer_stop(sttcp_timer *timer, enum stt_timer_wait wait)
{
	/* Another thread may free it meanwhile. */
	ref(timer);
	stt_lock(&timer->lock);
	int result = stop_locked(timer, wait);

	stt_unlock(&timer->lock);
	unref(timer);
	return result;
}

void stt_timer_free(sttcp_timer *timer, enum stt_timer_wait wait)
{
	stt_lock(&timer->lock);
	timer->freed = true;
	(void)stop_locked(timer, wait);
	stt_unlock(&timer->lock);
	unref(timer);
}

/* ---------------------------------------------------------------------- work */

struct work {
	struct stt_actor actor;
	void (*fn)(void *argument);
	void *argument;
};

static void work_on_pool(struct stt_worker *worker, struct stt_actor *actor)
{
	struct work *work = stt_container_of(actor, struct work, actor);
	bool ours = stt_worker_is_ours();

	(void)worker;
	stt_desk_self()->in_job = true;
	work->fn(work->argument);
	stt_worker_stop_child(ours);
	stt_desk_self()->in_job = false;
	free(work);
	atomic_fetch_sub(&nbusy, 1);
}

static const struct stt_actor_ops work_ops = {.on_pool = work_on_pool};

int stt_work_run(void (*fn)(void *argument), void *argument)
{
	struct work *work = malloc(sizeof(*work));
	struct stt_engine *engine;

	if (!work)
		return -ENOMEM;
	*work = (struct work){.actor = {.ops = &work_ops}, .fn = fn, .argument = argument};
	int result = stt_engine_get(&engine);

	if (result < 0) {
		free(work);
		return result;
	}
	/* Once for the call, too: the work may be done before the push is, which may run the user's
	 * log callback, and so must not hold the engine while another thread waits for that. */
	unsigned forks = stt_fork_count();

	atomic_fetch_add(&nbusy, 2);
	stt_engine_release();
	stt_pool_push(&engine->pool, &work->actor);
	/* In a child that was forked there nothing of the parent's counts. */
	if (!stt_forked_since(forks))
		atomic_fetch_sub(&nbusy, 1);
	return 0;
}

bool stt_timer_any_busy(void)
{
	return atomic_load(&nbusy) > 0;
}

void stt_timer_after_fork(void)
{
	atomic_store(&nbusy, 0);
}
