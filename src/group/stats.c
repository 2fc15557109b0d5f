/* SPDX-License-Identifier: MIT */
/* Stats are gathered when somebody asks: on the hot path each connection and each worker only
 * writes its own. */
#include "group/stats.h"

#include "base/clock.h"
#include "conn/conn.h"
#include "conn/desk.h"
#include "conn/strand.h"
#include "engine/engine.h"
#include "engine/turn.h"
#include "group/group.h"
#include "group/roster.h"

void stt_stats_of_conn(const struct sttcp_conn *conn, sttcp_conn_counts *stats)
{
	const struct stt_output *out = &conn->output;

	*stats = (sttcp_conn_counts){
		.bytes_in = stt_counter_get(&conn->bytes_in),
		.bytes_out = stt_counter_get(&out->bytes_out),
		.messages_in = stt_counter_get(&conn->messages_in),
		.messages_out = stt_counter_get(&out->messages_out),
		.queued = (int64_t)atomic_load_explicit(&out->queued, memory_order_relaxed),
		.age_ms = stt_now_ms() - conn->born_ms,
	};
}

static void add_conn(struct sttcp_conn *conn, void *argument)
{
	sttcp_stats *stats = argument;
	sttcp_conn_counts one;

	stt_stats_of_conn(conn, &one);
	stats->bytes_in += one.bytes_in;
	stats->bytes_out += one.bytes_out;
	stats->messages_in += one.messages_in;
	stats->messages_out += one.messages_out;
	stats->queued += one.queued;
	if (stt_strand_is_parked(conn)) {
		stats->fibers++;
		stats->fibers_waiting++;
	}
}

static bool owns_loop(const struct stt_engine *engine, const struct stt_worker *worker)
{
	for (int i = 0; i < engine->nloops; i++)
		if (stt_turn_owner(&engine->loops[i]) == worker)
			return true;
	return false;
}

/* Relaxed reads of a record that its thread goes on writing: a number may be one call late. */
static void add_worker(const struct stt_engine *engine, const struct stt_group *group,
		       struct stt_worker *worker, int64_t now_ms, sttcp_stats *stats)
{
	const struct stt_desk *desk = stt_desk_of(worker);
	int64_t calls = stt_counter_get(&worker->calls);
	int64_t took_ms = 0;

	if (!(calls & 1))
		return;
	if (!owns_loop(engine, worker))
		stats->threads_blocked++;
	if (atomic_load_explicit(&desk->call_service, memory_order_relaxed) != &group->service)
		return;
	stats->fibers += atomic_load_explicit(&desk->call_has_stack, memory_order_relaxed);
	if (atomic_load_explicit(&worker->since_calls, memory_order_relaxed) == calls)
		took_ms = now_ms - atomic_load_explicit(&worker->since_ms, memory_order_relaxed);
	if (took_ms > stats->longest_ms || !stats->longest_id) {
		stats->longest_ms = took_ms;
		stats->longest_id = atomic_load_explicit(&desk->call_conn_id, memory_order_relaxed);
	}
}

static void tell_no_less(int64_t *count, int64_t *told)
{
	if (*count < *told)
		*count = *told;
	*told = *count;
}

/* A connection that has ended between the look at the totals and its roster's turn is in neither,
 * and whoever computes rates from two looks would find less than nothing. What was told before was
 * true then, and is not too much now. */
static void tell_no_less_than_before(struct stt_group *group, sttcp_stats *stats)
{
	stt_lock(&group->lock);
	tell_no_less(&stats->bytes_in, &group->told.bytes_in);
	tell_no_less(&stats->bytes_out, &group->told.bytes_out);
	tell_no_less(&stats->messages_in, &group->told.messages_in);
	tell_no_less(&stats->messages_out, &group->told.messages_out);
	stt_unlock(&group->lock);
}

int stt_stats_of_group(struct stt_group *group, sttcp_stats *stats)
{
	int64_t now_ms = stt_now_ms();

	stt_lock(&group->lock);
	*stats = group->totals;
	stt_unlock(&group->lock);
	if (!atomic_load(&group->rosters))
		return 0;
	stats->connections = stt_group_count(group);

	int visited = stt_group_each(group, STT_ALL, add_conn, stats);

	if (visited < 0)
		return visited;
	tell_no_less_than_before(group, stats);

	struct stt_engine *engine = stt_engine_peek();

	if (!engine)
		return 0;
	stats->takeovers = atomic_load(&engine->takeovers);
	stt_lock(&engine->pool.lock);
	stats->threads = engine->pool.nrunning;
	stats->thread_cap_hits = engine->pool.cap_hits;
	for (struct stt_worker *worker = atomic_load(&engine->pool.records); worker;
	     worker = worker->next_record)
		add_worker(engine, group, worker, now_ms, stats);
	stt_unlock(&engine->pool.lock);
	stt_engine_release();
	return 0;
}
