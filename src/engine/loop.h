/* SPDX-License-Identifier: MIT */
/*
 * A loop: a poller, the events that it returned, lists of what to do next,
 * timers. It is owned by one worker at a time; another one can take over while
 * the owner is inside a turn (turn.h). So everything that a turn may leave
 * unfinished is stored here, and not on the owner's stack.
 */
#ifndef STT_ENGINE_LOOP_H
#define STT_ENGINE_LOOP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/actor.h"
#include "engine/foreign.h"
#include "engine/worker.h"
#include "net/poller.h"

struct stt_engine;

enum {
	STT_LOOP_BATCH = 256
};

struct stt_loop {
	/* Set before start. */
	struct stt_engine *engine;
	int index;
	int poller;
	int waker;
	int timer;
	struct stt_actor wake_actor;
	struct stt_actor timer_actor;
	struct stt_actor heir_wanted; /* asks the owner to give its heir to the queue: heirs.c */

	/* Any thread. */
	/* The owner's record and, in its lowest bit, whether it is inside a turn: see turn.h. */
	_Atomic(uintptr_t) word;
	/* The standby worker for the owner, NULL while there is none. */
	_Atomic(struct stt_worker *) heir;
	/* Pushed by any thread, taken as a whole by the owner; last pushed first. */
	_Atomic(struct stt_actor *) ready;
	_Atomic(struct stt_alarm *) alarms;
	/* The owner is in its poller, or about to be: see monitor.c. */
	atomic_bool waiting;
	/* Set once, at the end of the engine: the owner leaves when nothing can come any more. */
	atomic_bool ending;
	/* Threads that may still write to the waker although the loop has already taken what they
	 * pushed. */
	atomic_int wakers;
	/* Until when storms last; relaxed, hints. The second is never later: a whole one. */
	_Atomic int64_t storm_until_ms;
	_Atomic int64_t whole_storm_until_ms;
	/* Actors that live on this loop, which does not end before they have left; relaxed, and a
	 * hint for spreading them. */
	atomic_int nresidents;
	/* Those of them whose events go to the pool (`blocks`); relaxed, a hint. */
	atomic_int nblocking;
	/* `heir_wanted` is on the ready list, or about to be. */
	atomic_bool asked_for_heir;
	struct stt_foreign foreign; /* descriptors of others, by its own lock */

	/* Only the owner, outside turns. */
	struct epoll_event events[STT_LOOP_BATCH];
	int nevents;
	int next_event;
	/* The actor whose `on_lost` the next owner calls: set before a turn, NULL again after it.
	 */
	struct stt_actor *current;
	struct stt_actor *chain; /* what was taken off `ready`, first in front */
	struct stt_actor *chain_tail;
	struct stt_heap timers;
	struct stt_heap at_once; /* alarms for now, by their numbers, which grow */
	int64_t last_at_once;
	/* The time up to which the events of the poller have been handled. Alarms ring up to here.
	 */
	int64_t polled_ms;
	/* When the timer rings, STT_NEVER when it does not; whether it has, and the events that
	 * came before are still to be looked at; since when, and in how many full batches they may
	 * come. */
	int64_t timer_at_ms;
	bool timer_rang;
	int64_t look_from_ms;
	int looks_left;
	bool cannot_wait; /* that was logged */

	/* Only the monitor. */
	struct stt_worker *seen_worker;
	int64_t seen_calls;
	bool seen_in_turn;
	int seen_ms; /* in that call */
	int64_t seen_cpu_us;
	int64_t seen_at_us;
	int dozes; /* looks running that found the worker asleep, with little CPU time used */
	int64_t last_takeover_ms;
};

/* 0 or -errno. */
int stt_loop_init(struct stt_loop *loop, struct stt_engine *engine, int index);
void stt_loop_fini(struct stt_loop *loop);

/* Runs the loop that `worker` owns until it is taken over or has ended. */
void stt_loop_run(struct stt_worker *worker, struct stt_loop *loop);

/* Makes the loop end: its owner posts the engine's `loops_ended` once the loop has nothing left.
 * The user of the engine is not busy any more (engine.h). */
void stt_loop_end(struct stt_loop *loop);

/* Puts an actor at the end of the ready list. Any thread. Takes no system call where the loop's
 * owner calls it outside turns. */
void stt_loop_push(struct stt_loop *loop, struct stt_actor *actor);

/* An actor comes to live on the loop, and leaves it. Any thread. */
static inline void stt_loop_move_in(struct stt_loop *loop)
{
	atomic_fetch_add_explicit(&loop->nresidents, 1, memory_order_relaxed);
}

static inline void stt_loop_move_out(struct stt_loop *loop)
{
	atomic_fetch_sub_explicit(&loop->nresidents, 1, memory_order_relaxed);
}

/* Has the events of one that lives there go to the pool, or no more; each in its turn. By the
 * actor's owner. */
static inline void stt_loop_note_blocking(struct stt_loop *loop, struct stt_actor *actor,
					  bool blocks)
{
	atomic_store_explicit(&actor->blocks, blocks, memory_order_relaxed);
	atomic_fetch_add_explicit(&loop->nblocking, blocks ? 1 : -1, memory_order_relaxed);
}

void stt_alarm_init(struct stt_alarm *alarm,
		    int64_t (*ring)(struct stt_worker *worker, struct stt_alarm *alarm));

/* Makes the alarm ring at `at` at the latest. Any thread, as long as what it stands in is sure not
 * to be freed before the loop has next worked its list of alarms. Takes no system call where the
 * loop's owner calls it outside turns. */
void stt_alarm_set(struct stt_loop *loop, struct stt_alarm *alarm, int64_t at);

/* Removes it from the heap. Only the loop's owner, outside turns, once no thread sets it any more.
 */
void stt_alarm_cancel(struct stt_loop *loop, struct stt_alarm *alarm);

/* The time by which an alarm that rings is to judge: all input from before has been handled. */
static inline int64_t stt_loop_time(const struct stt_loop *loop)
{
	return loop->polled_ms;
}

/*
 * Storms: handlers block so often that to take the loop over each time would
 * hold up all the others. For a while all events go to the pool. Whoever blocks
 * there is marked, so soon only those are left of whom nothing is known: one
 * that comes, blocks and leaves is always new. As long as these go on the storm
 * is of newcomers, and the others are back on their loop.
 */
enum stt_storm {
	STT_NO_STORM,
	STT_STORM_OF_NEWCOMERS,
	STT_WHOLE_STORM
};

/* For `ms` from now, or as long as one goes on already. Any thread. */
void stt_loop_storm(struct stt_loop *loop, enum stt_storm storm, int64_t now_ms, int64_t ms);

/* Any thread. */
enum stt_storm stt_loop_storm_at(const struct stt_loop *loop, int64_t now_ms);

/* The same for now, at a loop that has had one until then. */
enum stt_storm stt_loop_storm_until(struct stt_loop *loop, int64_t until_ms);

/* Which events its owner is to give to the pool. All without an heir, who could take over. */
static inline enum stt_storm stt_loop_storm_now(struct stt_loop *loop)
{
	/* The clock is read only in a storm. */
	int64_t until_ms = atomic_load_explicit(&loop->storm_until_ms, memory_order_relaxed);

	if (!atomic_load_explicit(&loop->heir, memory_order_relaxed))
		return STT_WHOLE_STORM;
	return until_ms ? stt_loop_storm_until(loop, until_ms) : STT_NO_STORM;
}

#endif
