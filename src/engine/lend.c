/* SPDX-License-Identifier: MIT */
/*
 * What a worker's `lends` points to: the actor that the worker has a turn of in
 * the pool, from when it lends it to its loop until the turn is over.
 *
 *	lends		who		does				then
 *	NULL		the worker	begins, with a reference	the actor
 *	the actor	the worker	ends: swap, has its reference	NULL
 *	the actor	the monitor	swap, asks the loop		LENT
 *	LENT		the worker	ends: the swap fails		LENT
 *	LENT		the worker	does not begin again		LENT
 *	LENT		the loop	has the reference: `on_lent`	NULL
 *
 * Both swaps compare, so one of the two has the reference. The monitor touches
 * no actor.
 */
#include "engine/lend.h"

#include "base/list.h"
#include "engine/engine.h"

/* Never an actor: see the table. */
#define LENT ((struct stt_actor *)(uintptr_t)1)

static void take_on_loop(struct stt_worker *worker, struct stt_actor *actor);

static const struct stt_actor_ops lender_ops = {.on_ready = take_on_loop};

void stt_lend_init_worker(struct stt_worker *worker)
{
	worker->lender.ops = &lender_ops;
}

bool stt_lend_may_begin(struct stt_worker *worker)
{
	return !atomic_load(&worker->lends);
}

void stt_lend_begin(struct stt_worker *worker, struct stt_loop *loop, struct stt_actor *actor)
{
	struct stt_engine *engine = worker->engine;

	worker->lends_to = loop;
	/* Release: the monitor that finds the actor finds its loop. */
	atomic_store_explicit(&worker->lends, actor, memory_order_release);
	/* Sequentially consistent against the monitor, which sets `asleep` and then looks. */
	atomic_fetch_add(&engine->pool.nlending, 1);
	stt_monitor_wake(&engine->monitor);
}

bool stt_lend_end(struct stt_worker *worker, struct stt_actor *actor)
{
	if (!atomic_compare_exchange_strong(&worker->lends, &actor, NULL))
		return false;
	atomic_fetch_sub_explicit(&worker->engine->pool.nlending, 1, memory_order_relaxed);
	return true;
}

static void take_on_loop(struct stt_worker *worker, struct stt_actor *actor)
{
	struct stt_worker *lender = stt_container_of(actor, struct stt_worker, lender);

	lender->lent->ops->on_lent(worker, lender->lent);
	atomic_fetch_sub_explicit(&worker->engine->pool.nlending, 1, memory_order_relaxed);
	/* The last touch of the record: it may lend another one from here on. */
	atomic_store_explicit(&lender->lends, NULL, memory_order_release);
}

/* Whether the worker is still in the call of the last look, and its loop was asked. */
static bool look_at(struct stt_worker *worker)
{
	struct stt_actor *actor = atomic_load_explicit(&worker->lends, memory_order_acquire);
	int64_t calls = stt_counter_get(&worker->calls);

	if (!actor || actor == LENT)
		return false;
	if (worker->lent_calls != calls) {
		worker->lent_calls = calls;
		return false;
	}
	if (!atomic_compare_exchange_strong(&worker->lends, &actor, LENT))
		return false;
	worker->lent = actor;
	stt_loop_push(worker->lends_to, &worker->lender);
	return true;
}

enum stt_lends stt_lend_look(struct stt_pool *pool)
{
	enum stt_lends sight = STT_LENDS_SOME;

	if (!atomic_load(&pool->nlending))
		return STT_LENDS_NONE;
	/* Records are only ever put in front, and stay. */
	for (struct stt_worker *worker = atomic_load_explicit(&pool->records, memory_order_acquire);
	     worker; worker = worker->next_record)
		if (look_at(worker))
			sight = STT_LENDS_STUCK;
	return sight;
}
