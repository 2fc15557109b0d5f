/* SPDX-License-Identifier: MIT */
/*
 * Who lets go of what was gathered for a connection:
 *
 *	its worker		is in a handler that blocks		it is let go of by
 *	owns a loop		and loses it in a take-over		the next owner, which finds
 *it in loop->current
 *	owns no loop		for longer than a look of the monitor	the connection's loop, which
 *the monitor asks
 *	either			no					the worker, at the end
 *
 * Whoever does it clears the flag in the output, too: what the blocked handler
 * sends afterwards leaves at once. To do it twice changes nothing.
 *
 * A worker of the pool shows what it gathers in its record:
 *
 *	gathers		who		does				then
 *	NULL		the worker	begins, with a reference	the connection
 *	the connection	the worker	ends: swap, drops the reference	NULL
 *	the connection	the monitor	swap, asks the loop		LENT
 *	LENT		the worker	ends: the swap fails		LENT
 *	LENT		the worker	does not begin again		LENT
 *	LENT		the loop	lets go, drops the reference	NULL
 *
 * Both swaps compare, so one of the two has the reference. The monitor touches
 * no connection; the loop that it asks is served whatever handlers do.
 */
#include "engine/gather.h"

#include "engine/conn.h"
#include "engine/engine.h"
#include "engine/output.h"

/* Never a connection: see the table. */
#define LENT ((struct sttcp_conn *)(uintptr_t)1)

static void let_go_on_loop(struct stt_worker *worker, struct stt_actor *actor);

static const struct stt_actor_ops lender_ops = {.on_ready = let_go_on_loop};

void stt_gather_init_worker(struct stt_worker *worker)
{
	worker->lender.ops = &lender_ops;
}

static void show(struct stt_worker *worker, struct sttcp_conn *conn)
{
	struct stt_engine *engine = worker->engine;

	worker->gather_loop = conn->loop;
	stt_conn_ref(conn);
	/* Release: the monitor that finds the connection finds its loop. */
	atomic_store_explicit(&worker->gathers, conn, memory_order_release);
	/* Sequentially consistent against the monitor, which sets `asleep` and then looks. */
	atomic_fetch_add(&engine->pool.ngathering, 1);
	stt_monitor_wake(&engine->monitor);
}

bool stt_gather_begin(struct stt_worker *worker, struct sttcp_conn *conn)
{
	if (worker->loop) {
		worker->loop->current = conn;
		stt_output_gather(conn);
		return true;
	}
	/* The loop has not come yet to what it was asked for. */
	if (atomic_load(&worker->gathers))
		return false;
	/* The flag first: a loop that is asked must find it. */
	stt_output_gather(conn);
	show(worker, conn);
	return true;
}

void stt_gather_end(struct stt_worker *worker, struct sttcp_conn *conn)
{
	struct sttcp_conn *shown = conn;

	if (worker->loop)
		worker->loop->current = NULL;
	else if (atomic_compare_exchange_strong(&worker->gathers, &shown, NULL)) {
		atomic_fetch_sub_explicit(&worker->engine->pool.ngathering, 1,
					  memory_order_relaxed);
		/* Never the last one: the loop has its own, and this worker owns the connection. */
		stt_conn_unref(conn);
	}
	stt_output_stop_gathering(conn);
}

void stt_gather_end_of_last_owner(struct stt_loop *loop)
{
	if (loop->current)
		stt_output_stop_gathering(loop->current);
	loop->current = NULL;
}

static void let_go_on_loop(struct stt_worker *worker, struct stt_actor *actor)
{
	struct stt_worker *lender = stt_container_of(actor, struct stt_worker, lender);
	struct sttcp_conn *conn = lender->lent;

	stt_output_stop_gathering(conn);
	atomic_fetch_sub_explicit(&worker->engine->pool.ngathering, 1, memory_order_relaxed);
	/* The last touch of the record: it may show another one from here on. */
	atomic_store_explicit(&lender->gathers, NULL, memory_order_release);
	stt_conn_unref_on_loop(conn);
}

/* Whether the worker is still in the call of the last look, and its loop was asked. */
static bool look_at(struct stt_worker *worker)
{
	struct sttcp_conn *conn = atomic_load_explicit(&worker->gathers, memory_order_acquire);
	uint64_t calls = atomic_load_explicit(&worker->calls, memory_order_relaxed);

	if (!conn || conn == LENT)
		return false;
	if (worker->gather_calls != calls) {
		worker->gather_calls = calls;
		return false;
	}
	if (!atomic_compare_exchange_strong(&worker->gathers, &conn, LENT))
		return false;
	worker->lent = conn;
	stt_loop_push(worker->gather_loop, &worker->lender);
	return true;
}

enum stt_gather_sight stt_gather_look(struct stt_pool *pool)
{
	enum stt_gather_sight sight = STT_GATHER_SOME;

	if (!atomic_load(&pool->ngathering))
		return STT_GATHER_NONE;
	/* Records are only ever put in front, and stay. */
	for (struct stt_worker *worker = atomic_load_explicit(&pool->records, memory_order_acquire);
	     worker; worker = worker->next_record)
		if (look_at(worker))
			sight = STT_GATHER_STUCK;
	return sight;
}
