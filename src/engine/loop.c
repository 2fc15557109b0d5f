/* SPDX-License-Identifier: MIT */
/*
 * One round of a loop: the events of the last wait, then alarms, then the ready
 * list, then the next wait. The order is what makes ends safe: an actor that dies
 * goes onto the ready list, which is worked when the batch of events is used up,
 * so no event can still name it; and alarms are worked between taking the ready
 * list off and working it, so no alarm can still name it either.
 */
#include "engine/loop.h"

#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "engine/engine.h"
#include "engine/turn.h"

enum {
	/* Entries of the ready list that are worked before events are polled again. Without a
	 * limit, 9 500 connections that a forced stop ended delayed an echo of another server by 80
	 * to 110 ms; with it, by 8 to 12. */
	CHAIN_PER_ROUND = 64,
	/* Alarms for now: most are another half megabyte for a peer that takes it. With 200 such
	 * peers and no limit an echo beside them took 18 ms, with this one less than one. */
	AT_ONCE_PER_ROUND = 8
};

/* Where an alarm is kept. */
enum {
	NOWHERE,
	IN_TIMERS,
	IN_AT_ONCE
};

/* Waking was all that the waker had to do; the work is on the lists. */
static void ignore_event(struct stt_worker *worker, struct stt_actor *actor, uint32_t events)
{
	(void)worker;
	(void)actor;
	(void)events;
}

static void take_timer(struct stt_worker *worker, struct stt_actor *actor, uint32_t events)
{
	struct stt_loop *loop = stt_container_of(actor, struct stt_loop, timer_actor);

	(void)worker;
	(void)events;
	loop->timer_rang = true;
	loop->timer_at_ms = STT_NEVER;
	/* The poller gives events in the order in which they came, one for each descriptor: what is
	 * there by now is in so many batches, however many more keep coming. A batch more is for
	 * descriptors of nobody who lives here. */
	loop->look_from_ms = stt_now_ms();
	loop->looks_left =
		2 + atomic_load_explicit(&loop->nresidents, memory_order_relaxed) / STT_LOOP_BATCH;
}

/*
 * The loop waits no more: there may be handlers to run, which the monitor has to
 * see. When nothing but its timer has come it waits on, as far as the monitor is
 * concerned, until something is found that can run one: most alarms do not. With
 * 10 000 timers of a minute the monitor, woken at each of them, took a third of
 * the CPU time.
 */
static void stir(struct stt_loop *loop)
{
	/* Sequentially consistent against the monitor, which sets `asleep` and then reads
	 * `waiting`: one of the two sees the other. */
	atomic_store(&loop->waiting, false);
	stt_monitor_wake(&loop->engine->monitor);
}

static void stir_late(struct stt_loop *loop)
{
	if (atomic_load_explicit(&loop->waiting, memory_order_relaxed))
		stir(loop);
}

/* A look at the poller, which did not wait, has found so many events. */
static void note_look(struct stt_loop *loop, int nevents)
{
	if (nevents)
		stir_late(loop);
	if (!loop->timer_rang)
		return;
	loop->looks_left--;
	if (nevents == STT_LOOP_BATCH && loop->looks_left > 0)
		return;
	loop->polled_ms = loop->look_from_ms;
	loop->timer_rang = false;
}

static const struct stt_actor_ops wake_ops = {.on_event = ignore_event};
static const struct stt_actor_ops timer_ops = {.on_event = take_timer};

int stt_loop_init(struct stt_loop *loop, struct stt_engine *engine, int index)
{
	*loop = (struct stt_loop){.engine = engine,
				  .index = index,
				  .poller = -1,
				  .waker = -1,
				  .timer = -1,
				  .timer_at_ms = STT_NEVER};
	loop->wake_actor.ops = &wake_ops;
	loop->timer_actor.ops = &timer_ops;
	stt_foreign_init(&loop->foreign);
	loop->poller = stt_poller_open();
	if (loop->poller < 0)
		return loop->poller;
	loop->waker = stt_waker_open(loop->poller, &loop->wake_actor);
	if (loop->waker < 0)
		return loop->waker;
	loop->timer = stt_timer_open(loop->poller, &loop->timer_actor);
	if (loop->timer < 0)
		return loop->timer;

	/* Here a start can still say that the call is denied. */
	int result = stt_poller_wait(loop->poller, loop->events, STT_LOOP_BATCH, 0);

	return result < 0 ? result : 0;
}

void stt_loop_fini(struct stt_loop *loop)
{
	/* Rare: only a thread that was stopped between two instructions, see push_actor. */
	stt_wait_for_zero(&loop->wakers);
	stt_foreign_fini(&loop->foreign);
	if (loop->timer >= 0)
		close(loop->timer);
	if (loop->waker >= 0)
		close(loop->waker);
	if (loop->poller >= 0)
		close(loop->poller);
}

/* Whether the calling thread is the loop's owner, outside turns, and so has its chain and its heaps
 * for itself. */
static bool is_here(const struct stt_loop *loop)
{
	return stt_self && stt_self->loop == loop && !stt_turn_runs(stt_self);
}

/* For the loop to take. */
static void push_actor(struct stt_loop *loop, struct stt_actor *actor)
{
	struct stt_actor *head = atomic_load_explicit(&loop->ready, memory_order_relaxed);
	bool counted = false;

	/* Release: the loop that takes the list sees what was written to the actor. */
	do {
		/* Counted before the actor can be found: the actor may be the last that the loop
		 * waits for before it ends. */
		if (!head && !counted)
			atomic_fetch_add_explicit(&loop->wakers, 1, memory_order_relaxed);
		counted |= !head;
		actor->next = head;
	} while (!atomic_compare_exchange_weak_explicit(
		&loop->ready, &head, actor, memory_order_release, memory_order_relaxed));
	/* If the list was not empty the loop has been woken already, and has not taken the list
	 * yet. */
	if (!head)
		stt_waker_wake(loop->waker);
	if (counted)
		atomic_fetch_sub_explicit(&loop->wakers, 1, memory_order_release);
}

static void append_chain(struct stt_loop *loop, struct stt_actor *actor)
{
	actor->next = NULL;
	if (loop->chain)
		loop->chain_tail->next = actor;
	else
		loop->chain = actor;
	loop->chain_tail = actor;
}

void stt_loop_push(struct stt_loop *loop, struct stt_actor *actor)
{
	if (is_here(loop))
		append_chain(loop, actor);
	else
		push_actor(loop, actor);
}

void stt_alarm_init(struct stt_alarm *alarm,
		    int64_t (*ring)(struct stt_worker *worker, struct stt_alarm *alarm))
{
	*alarm = (struct stt_alarm){.ring = ring};
	atomic_init(&alarm->due, STT_NEVER);
}

/* False when it rings by then anyway. */
static bool lower_due(struct stt_alarm *alarm, int64_t at)
{
	int64_t due = atomic_load_explicit(&alarm->due, memory_order_relaxed);

	do {
		if (at >= due)
			return false;
	} while (!atomic_compare_exchange_weak(&alarm->due, &due, at));
	return true;
}

/* Those for now in the order in which they come: whoever has rung goes to the end. */
static void keep(struct stt_loop *loop, struct stt_alarm *alarm, int64_t at)
{
	if (at > 0) {
		stt_heap_add(&loop->timers, &alarm->node, at);
		alarm->kept = IN_TIMERS;
	} else {
		stt_heap_add(&loop->at_once, &alarm->node, ++loop->last_at_once);
		alarm->kept = IN_AT_ONCE;
	}
}

/* For the loop to take. */
static void push_alarm(struct stt_loop *loop, struct stt_alarm *alarm)
{
	struct stt_alarm *head;

	if (atomic_exchange(&alarm->listed, true))
		return;
	head = atomic_load_explicit(&loop->alarms, memory_order_relaxed);
	do {
		alarm->next = head;
	} while (!atomic_compare_exchange_weak_explicit(
		&loop->alarms, &head, alarm, memory_order_release, memory_order_relaxed));
	if (!head)
		stt_waker_wake(loop->waker);
}

void stt_alarm_set(struct stt_loop *loop, struct stt_alarm *alarm, int64_t at)
{
	if (!lower_due(alarm, at))
		return;
	if (!is_here(loop)) {
		push_alarm(loop, alarm);
		return;
	}
	/* If it is on the list, the loop takes it from there, with its latest time. */
	if (atomic_load(&alarm->listed))
		return;
	stt_alarm_cancel(loop, alarm);
	keep(loop, alarm, at);
}

void stt_alarm_cancel(struct stt_loop *loop, struct stt_alarm *alarm)
{
	if (alarm->kept == IN_TIMERS)
		stt_heap_remove(&loop->timers, &alarm->node);
	else if (alarm->kept == IN_AT_ONCE)
		stt_heap_remove(&loop->at_once, &alarm->node);
	alarm->kept = NOWHERE;
}

/* Takes the ready list off and appends it to the chain in the order of the pushes. */
static void take_ready(struct stt_loop *loop)
{
	struct stt_actor *actor = NULL;
	struct stt_actor *reversed = NULL;

	if (atomic_load_explicit(&loop->ready, memory_order_relaxed)) {
		actor = atomic_exchange_explicit(&loop->ready, NULL, memory_order_acquire);
		stir_late(loop);
	}
	while (actor) {
		struct stt_actor *next = actor->next;

		actor->next = reversed;
		reversed = actor;
		actor = next;
	}
	while (reversed) {
		struct stt_actor *next = reversed->next;

		append_chain(loop, reversed);
		reversed = next;
	}
}

static void take_alarms(struct stt_loop *loop)
{
	struct stt_alarm *alarm = NULL;

	if (atomic_load_explicit(&loop->alarms, memory_order_relaxed))
		alarm = atomic_exchange_explicit(&loop->alarms, NULL, memory_order_acquire);
	while (alarm) {
		struct stt_alarm *next = alarm->next;

		/* The flag first, then the time: whoever lowers the time in between puts it on the
		 * list again. */
		atomic_store(&alarm->listed, false);
		stt_alarm_cancel(loop, alarm);

		int64_t due = atomic_load(&alarm->due);

		if (due != STT_NEVER)
			keep(loop, alarm, due);
		alarm = next;
	}
}

/* Has the timer ring for the first alarm. A timer and not a timeout of the wait: it is set when
 * there is an earlier alarm, and not at each wait; and the clock is read when it has rung. An alarm
 * that was taken off leaves it as it is: then it rings once for nothing. */
static void set_timer(struct stt_loop *loop)
{
	struct stt_heap_node *first = stt_heap_first(&loop->timers);

	/* Once it has rung, its alarms wait for one more look at the poller. */
	if (!first || first->at >= loop->timer_at_ms || loop->timer_rang)
		return;
	loop->timer_at_ms = first->at;
	stt_timer_set(loop->timer, first->at);
}

static void ring(struct stt_worker *worker, struct stt_loop *loop, struct stt_heap_node *node)
{
	struct stt_alarm *alarm = stt_container_of(node, struct stt_alarm, node);

	stt_alarm_cancel(loop, alarm);
	/* Before the ring reads its deadlines: a deadline that is stored later sets the alarm
	 * again. */
	atomic_store(&alarm->due, STT_NEVER);

	int64_t again = alarm->ring(worker, alarm);

	if (loop->chain)
		stir_late(loop);
	if (again != STT_NEVER)
		stt_alarm_set(loop, alarm, again);
}

/*
 * Rings the alarms that are due. A ring runs no handler (it appends work to
 * the chain), so the loop cannot be lost here.
 *
 * Alarms are judged by the time before the last wait, not by the present time.
 * A process that was suspended for a while (SIGSTOP, a debugger, a frozen
 * container) returns from its wait without the events that arrived meanwhile,
 * and would end peers that sent in time. So those events are handled first.
 * That costs one more wait per alarm, which does not block.
 */
static void ring_alarms(struct stt_worker *worker, struct stt_loop *loop)
{
	struct stt_heap_node *first;

	while ((first = stt_heap_first(&loop->timers)) && first->at <= loop->polled_ms)
		ring(worker, loop, first);
	for (int i = 0; i < AT_ONCE_PER_ROUND && (first = stt_heap_first(&loop->at_once)); i++)
		ring(worker, loop, first);
}

/* Works through the chain as it is now. What is appended meanwhile waits for the next round, after
 * the events of the next wait. So does the rest of a long chain: thousands of connections may end
 * at a time, and must not delay the others. No event of a later batch can refer to the dead ones
 * among them, either. */
static void work_chain(struct stt_worker *worker, struct stt_loop *loop)
{
	struct stt_actor *last = loop->chain_tail;

	for (int i = 0; i < CHAIN_PER_ROUND && loop->chain; i++) {
		struct stt_actor *actor = loop->chain;

		loop->chain = actor->next;
		actor->ops->on_ready(worker, actor);
		if (!worker->loop || actor == last)
			return;
	}
}

static void work_events(struct stt_worker *worker, struct stt_loop *loop)
{
	while (worker->loop && loop->next_event < loop->nevents) {
		struct epoll_event *event = &loop->events[loop->next_event++];
		struct stt_actor *actor = event->data.ptr;

		actor->ops->on_event(worker, actor, event->events);
	}
}

/* Puts the events that go to the pool in front, if they are few: handing one over takes little
 * time, and a handler that is going to sleep should not wait for the others. With 8 of 256 that
 * saved 0.7 of the 1.7 ms that these lost (`asleep-8` of the benchmark); with 500 of 600 it cost
 * the others a tenth (`asleep-500-10ms`). */
static void put_blocking_first(struct stt_loop *loop)
{
	int nblocking = atomic_load_explicit(&loop->nblocking, memory_order_relaxed);
	int place = 0;

	if (!nblocking ||
	    nblocking > atomic_load_explicit(&loop->nresidents, memory_order_relaxed) / 2)
		return;
	for (int i = 0; i < loop->nevents; i++) {
		const struct stt_actor *actor = loop->events[i].data.ptr;

		if (!atomic_load_explicit(&actor->blocks, memory_order_relaxed))
			continue;

		struct epoll_event event = loop->events[i];

		loop->events[i] = loop->events[place];
		loop->events[place++] = event;
	}
}

/* The program has closed the poller, or a filter of system calls denies the wait: no event comes.
 * What is pushed is worked on all the same, a second later: neither is a wait without end, nor one
 * without a pause. */
static void do_without_events(struct stt_loop *loop, int code, bool looks)
{
	const struct timespec pause = {.tv_sec = 1};

	if (!loop->cannot_wait)
		stt_log(STT_LOG_ERROR, "a loop cannot wait for events, and nothing is received: %s",
			sttcp_strerror(code));
	loop->cannot_wait = true;
	if (!looks)
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
}

static void wait_for_events(struct stt_loop *loop)
{
	/* Only now, because working the ready list sets alarms, too. */
	set_timer(loop);

	bool looks = loop->chain || loop->timer_rang || stt_heap_first(&loop->at_once);

	/* Release: a monitor that sees the loop waiting sees all that it did before. */
	if (!looks)
		atomic_store_explicit(&loop->waiting, true, memory_order_release);

	int nevents = stt_poller_wait(loop->poller, loop->events, STT_LOOP_BATCH, looks ? 0 : -1);

	if (nevents < 0)
		do_without_events(loop, nevents, looks);
	loop->nevents = nevents > 0 ? nevents : 0;
	loop->next_event = 0;
	if (looks)
		note_look(loop, loop->nevents);
	else if (loop->nevents != 1 || loop->events[0].data.ptr != &loop->timer_actor)
		stir(loop);
	put_blocking_first(loop);
}

void stt_loop_end(struct stt_loop *loop)
{
	atomic_store(&loop->ending, true);
	stt_waker_wake(loop->waker);
}

/* Whether nothing can come any more: nobody lives here, who would bring events, alarms and wishes;
 * and of what has come nothing is left. */
static bool has_nothing(const struct stt_loop *loop)
{
	return !atomic_load(&loop->nresidents) && !loop->chain && !atomic_load(&loop->ready) &&
	       !atomic_load(&loop->alarms) && !stt_heap_first(&loop->timers) &&
	       !stt_heap_first(&loop->at_once);
}

void stt_loop_run(struct stt_worker *worker, struct stt_loop *loop)
{
	worker->loop = loop;
	/* Taken over from a handler that has blocked. */
	if (loop->current)
		loop->current->ops->on_lost(worker, loop->current);
	loop->current = NULL;
	for (;;) {
		work_events(worker, loop);
		if (!worker->loop)
			return;
		take_ready(loop);
		take_alarms(loop);
		ring_alarms(worker, loop);
		work_chain(worker, loop);
		if (!worker->loop)
			return;
		if (atomic_load_explicit(&loop->ending, memory_order_relaxed) &&
		    has_nothing(loop)) {
			worker->loop = NULL;
			stt_semaphore_post(&loop->engine->loops_ended);
			return;
		}
		wait_for_events(loop);
	}
}

/* Two that do it at once may leave the earlier one: a hint. */
static void put_off(_Atomic int64_t *until_ms, int64_t at_ms)
{
	if (at_ms > atomic_load_explicit(until_ms, memory_order_relaxed))
		atomic_store_explicit(until_ms, at_ms, memory_order_relaxed);
}

void stt_loop_storm(struct stt_loop *loop, enum stt_storm storm, int64_t now_ms, int64_t ms)
{
	put_off(&loop->storm_until_ms, now_ms + ms);
	if (storm == STT_WHOLE_STORM)
		put_off(&loop->whole_storm_until_ms, now_ms + ms);
}

enum stt_storm stt_loop_storm_at(const struct stt_loop *loop, int64_t now_ms)
{
	if (now_ms >= atomic_load_explicit(&loop->storm_until_ms, memory_order_relaxed))
		return STT_NO_STORM;
	return now_ms < atomic_load_explicit(&loop->whole_storm_until_ms, memory_order_relaxed)
		       ? STT_WHOLE_STORM
		       : STT_STORM_OF_NEWCOMERS;
}

enum stt_storm stt_loop_storm_until(struct stt_loop *loop, int64_t until_ms)
{
	enum stt_storm storm = stt_loop_storm_at(loop, stt_now_ms());

	if (!storm)
		atomic_compare_exchange_strong_explicit(&loop->storm_until_ms, &until_ms, 0,
							memory_order_relaxed, memory_order_relaxed);
	return storm;
}
