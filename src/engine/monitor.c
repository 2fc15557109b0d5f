/* SPDX-License-Identifier: MIT */
/*
 * What the monitor concludes from a look at a loop in a turn:
 *
 *	the counter of handler calls has moved	nothing
 *	it has not, the worker is running	nothing, for up to ten milliseconds
 *	it has not, the worker is asleep	take-over
 *	it moves, but the worker was found asleep in two looks running and used
 *	less than half of the time		storm: blocks too short to be caught
 *						one by one, and yet they serialise
 *
 * The monitor touches no actor. Its sleep: it sets `asleep`, looks once
 * more, and waits; a loop that comes back from its poller clears `waiting`, and
 * then reads `asleep`. All four are sequentially consistent, so that either the
 * look finds the loop awake, or the loop finds the monitor asleep.
 */
#include "engine/monitor.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/engine.h"
#include "engine/lend.h"
#include "engine/relief.h"
#include "engine/thread.h"
#include "engine/turn.h"

enum {
	LOOK_MS = 1,
	/* After this many looks in succession that found nothing asleep, looks become rarer. A look
	 * costs 18 us, with the wake-up and what it evicts from the caches: 1.8% of a CPU at one
	 * per millisecond; 25 us with a look at a thread, which is 3% of handshakes with RSA. */
	CALM_LOOKS = 50,
	CALM_LOOK_MS = 4,
	/* A sleep may end so much earlier or later. So one of 4 ms ends with the kernel's tick,
	 * where that comes 250 or 1000 times a second, and most take no interrupt of their own: a
	 * busy CPU has 400 a second instead of 530, and each took 8 us. */
	LOOK_MARGIN_US = 250,
	RETRY_MS = 100,
	/* For so long a worker may be running in the same call, by the monitor's own sleeps: a
	 * process that was stopped meanwhile has not run. */
	MAX_RUN_MS = 10,
	/* Looks for which those of the pool may. */
	MAX_LOOKS = 10,
	/* Workers of the pool that are looked at in one look. */
	MAX_STUCK = 32,
	/* Take-overs that are closer than this are a storm, which lasts this long. */
	STORM_GAP_MS = 5,
	STORM_MS = 10,
	/* Looks that must find all loops waiting before the monitor sleeps, the last one before it
	 * does not counted. With 2, one message every 20 ms cost 4.02 context switches; with
	 * 1, 3.02
	 * (`paced` of the benchmark). */
	QUIET_LOOKS = 1,
	/* A sleep that ends sooner than this has cost more (a post, two switches, and a look at
	 * once) than the looks that it saved: next time there are more of these before it. Of
	 * handshakes that keep a loop busy for nine tenths of the time this took 2%. */
	BRIEF_MS = 4,
	MORE_QUIET_LOOKS = 8
};

enum thread_state {
	ASLEEP,
	RUNS, /* or is ready to run */
	NOT_KNOWN
};

/* The state of the worker's thread. Takes 7 us, so only for suspects. */
static enum thread_state look_at_thread(const struct stt_worker *worker)
{
	char path[64];
	char stat[256];

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)worker->tid);

	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return NOT_KNOWN;

	ssize_t size = read(fd, stat, sizeof(stat) - 1);

	close(fd);
	if (size <= 0)
		return NOT_KNOWN;
	stat[size] = '\0';

	/* proc(5): the state follows the name, which is in parentheses and may contain any
	 * character. */
	const char *name_end = strrchr(stat, ')');

	if (!name_end || name_end[1] != ' ')
		return NOT_KNOWN;
	return name_end[2] == 'R' ? RUNS : ASLEEP;
}

static bool thread_runs(const struct stt_worker *worker)
{
	return look_at_thread(worker) == RUNS;
}

static void take_over(struct stt_loop *loop, struct stt_worker *owner, int64_t now_ms)
{
	struct stt_engine *engine = loop->engine;
	struct stt_pool *pool = &engine->pool;
	/* The next heir first, so that the loop always has one if one can be had. */
	struct stt_worker *next = stt_pool_find_heir(pool, loop);
	struct stt_worker *heir = atomic_exchange(&loop->heir, next);

	if (!heir)
		return;
	if (!stt_turn_take_over(loop, owner, heir)) {
		/* The handler has just returned: all stays as it was. */
		if (!atomic_compare_exchange_strong(&loop->heir, &next, heir))
			next = heir;
		stt_pool_return_heir(pool, next);
		return;
	}
	stt_pool_promote_heir(pool, heir);
	atomic_fetch_add(&engine->takeovers, 1);
	if (now_ms - loop->last_takeover_ms <= STORM_GAP_MS)
		stt_loop_storm(loop, STT_WHOLE_STORM, now_ms, STORM_MS);
	loop->last_takeover_ms = now_ms;
}

/* The owner was found asleep although its calls end: twice in succession is a storm. */
static void look_for_dozes(struct stt_loop *loop, struct stt_worker *owner, bool lazy,
			   int64_t now_ms)
{
	if (!lazy || thread_runs(owner)) {
		loop->dozes = 0;
	} else if (++loop->dozes == 2) {
		loop->dozes = 1; /* goes on while the next look finds the same */
		stt_loop_storm(loop, STT_WHOLE_STORM, now_ms, STORM_MS);
	}
}

/* What a look at a loop found. */
enum sight {
	WAITING,
	BUSY,
	UNSURE, /* in a turn, and nothing known of what it did before: to be looked at soon */
	SUSPECT /* in a call that may be blocked */
};

/* The call that the owner is in has not come to an end since the last look. */
static enum sight suspect(struct stt_loop *loop, struct stt_worker *owner, bool used_cpu,
			  int64_t now_ms)
{
	loop->seen_ms += loop->engine->monitor.slept_ms;
	if (loop->seen_ms < MAX_RUN_MS) {
		enum thread_state state = look_at_thread(owner);

		/* Without /proc a thread that has used CPU time since the last look runs. */
		if (state == RUNS || (state == NOT_KNOWN && used_cpu))
			return BUSY;
	}
	take_over(loop, owner, now_ms);
	loop->seen_worker = NULL;
	return SUSPECT;
}

static enum sight look_at(struct stt_loop *loop)
{
	struct stt_turn turn = stt_turn_look(loop);
	struct stt_worker *owner = turn.owner;
	bool in_turn = turn.in_turn;

	if (!in_turn && atomic_load(&loop->waiting)) {
		loop->seen_worker = NULL;
		loop->dozes = 0;
		return WAITING;
	}

	/* Its thread may not have begun, and then has no clock: it is examined from its first turn
	 * on. */
	if (!in_turn && loop->seen_worker != owner)
		return BUSY;

	int64_t calls = stt_counter_get(&owner->calls);
	int64_t now_us = stt_now_us();
	int64_t cpu_us = stt_clock_us(owner->cpu_clock);
	bool known = loop->seen_worker == owner;
	bool same_call = known && loop->seen_in_turn && calls == loop->seen_calls;
	int64_t used_us = known ? cpu_us - loop->seen_cpu_us : 0;
	bool lazy = known && used_us * 2 < now_us - loop->seen_at_us;

	loop->seen_worker = owner;
	loop->seen_calls = calls;
	loop->seen_in_turn = in_turn;
	loop->seen_cpu_us = cpu_us;
	loop->seen_at_us = now_us;
	if (in_turn && same_call)
		return suspect(loop, owner, used_us > 0, now_us / 1000);
	loop->seen_ms = 0;
	if (!in_turn)
		return BUSY;
	atomic_store_explicit(&owner->since_ms, now_us / 1000, memory_order_relaxed);
	atomic_store_explicit(&owner->since_calls, calls, memory_order_relaxed);
	look_for_dozes(loop, owner, lazy, now_us / 1000);
	if (loop->dozes)
		return SUSPECT;
	return known ? BUSY : UNSURE;
}

/* Whether one of these workers, or an owner in a turn, is running or ready to run. */
static bool any_runs(struct stt_engine *engine, struct stt_worker **workers, int count)
{
	for (int i = 0; i < engine->nloops; i++) {
		struct stt_turn turn = stt_turn_look(&engine->loops[i]);

		if (turn.in_turn && thread_runs(turn.owner))
			return true;
	}
	for (int i = 0; i < count; i++)
		if (thread_runs(workers[i]))
			return true;
	return false;
}

/* A child that was forked in the log callback, which reported a lack of threads, stops here. */
static void stop_child(unsigned forks_before)
{
	while (stt_forked_since(forks_before))
		pause();
}

/* The pool runs only a few handlers at a time that are not known to block (width.h). While one of
 * them is awake the others make progress without more threads, unless it takes long. */
static enum sight look_at_pool(struct stt_engine *engine)
{
	struct stt_pool *pool = &engine->pool;
	struct stt_worker *workers[MAX_STUCK];

	/* The width is written by this thread alone. */
	if (!atomic_load(&pool->is_held) && !stt_width_is_wide(&pool->width))
		return WAITING;

	int count = stt_pool_find_stuck(pool, workers, MAX_STUCK);

	pool->stuck_looks = count ? pool->stuck_looks + 1 : 0;
	if (count && (pool->stuck_looks >= MAX_LOOKS || !any_runs(engine, workers, count))) {
		unsigned forks = stt_fork_count();

		stt_pool_widen(pool);
		stop_child(forks);
		pool->stuck_looks = 0;
	}
	return atomic_load(&pool->is_held) ? SUSPECT : WAITING;
}

static enum sight look(struct stt_engine *engine)
{
	enum sight most = look_at_pool(engine);

	for (int i = 0; i < engine->nloops; i++) {
		enum sight sight = look_at(&engine->loops[i]);

		if (sight > most)
			most = sight;
	}
	switch (stt_lend_look(&engine->pool)) {
	case STT_LENDS_NONE:
		return most;
	case STT_LENDS_SOME:
		return most < BUSY ? BUSY : most;
	default:
		return SUSPECT;
	}
}

/* Waits until there is work; if something is missing, or waits for a thread, for 100 ms at most. */
static void sleep_until_woken(struct stt_engine *engine, bool wanting)
{
	struct stt_monitor *monitor = &engine->monitor;

	atomic_store(&monitor->asleep, true);
	if (look(engine) == WAITING && (wanting || !atomic_load(&engine->pool.starved)) &&
	    !atomic_load(&monitor->ending)) {
		int64_t until = stt_relief_due_ms(&engine->pool);
		int64_t retry_at = stt_now_ms() + RETRY_MS;

		if (wanting && retry_at < until)
			until = retry_at;
		if (until == STT_NEVER) {
			stt_semaphore_wait(&monitor->wake);
			return;
		}
		if (stt_semaphore_wait_until(&monitor->wake, until))
			return;
	}
	/* Whoever clears the flag posts; if that was another thread, the post is to be taken. */
	if (!atomic_exchange(&monitor->asleep, false))
		stt_semaphore_wait(&monitor->wake);
}

static void *run_monitor(void *argument)
{
	struct stt_engine *engine = argument;
	int64_t retry_at = 0;
	bool wanting = false;
	int quiet = 0;
	int quiet_enough = QUIET_LOOKS;
	int calm = 0;
	unsigned forks = stt_fork_count();

	stt_cancel_off();
	pthread_setname_np(pthread_self(), "sttcp-monitor");
	/* prctl(2): how much later, in nanoseconds. */
	prctl(PR_SET_TIMERSLACK, 2000L * LOOK_MARGIN_US);
	while (!atomic_load(&engine->monitor.ending)) {
		enum sight sight = look(engine);

		quiet = sight == WAITING ? quiet + 1 : 0;
		calm = sight == SUSPECT ? 0 : calm + 1;

		bool soon = calm < CALM_LOOKS || sight == UNSURE;

		if (wanting ? stt_now_ms() >= retry_at : atomic_load(&engine->pool.starved)) {
			wanting = stt_pool_retry(&engine->pool);
			retry_at = stt_now_ms() + RETRY_MS;
			stop_child(forks);
		}
		stt_relief_look(&engine->pool);
		for (int i = 0; i < engine->nloops; i++)
			wanting |=
				!atomic_load_explicit(&engine->loops[i].heir, memory_order_relaxed);
		if (quiet >= quiet_enough) {
			int64_t from = stt_now_ms();

			sleep_until_woken(engine, wanting);

			bool brief = stt_now_ms() - from < BRIEF_MS;

			quiet_enough = brief ? MORE_QUIET_LOOKS : QUIET_LOOKS;
			quiet = 0;
			soon |= !brief;
		}

		engine->monitor.slept_ms = soon ? LOOK_MS : CALM_LOOK_MS;

		const struct timespec pause = {
			.tv_nsec = (engine->monitor.slept_ms * 1000 - LOOK_MARGIN_US) * 1000,
		};

		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	}
	return NULL;
}

int stt_monitor_start(struct stt_engine *engine)
{
	struct stt_monitor *monitor = &engine->monitor;

	stt_semaphore_init(&monitor->wake);
	return stt_thread_start(&monitor->thread, 0, run_monitor, engine);
}

void stt_monitor_end(struct stt_engine *engine)
{
	struct stt_monitor *monitor = &engine->monitor;

	/* In this order: either the monitor's last look before it sleeps finds the flag, or it is
	 * found asleep. */
	atomic_store(&monitor->ending, true);
	stt_monitor_wake(monitor);
	pthread_join(monitor->thread, NULL);
}

void stt_monitor_fini(struct stt_monitor *monitor)
{
	stt_semaphore_fini(&monitor->wake);
}
