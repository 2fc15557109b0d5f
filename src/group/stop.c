/* SPDX-License-Identifier: MIT */
/*
 * A stop visits its connections on their loops, a few at a time, because other
 * connections live on these loops, too: a sweeper queues itself on each loop's
 * ready list again and again. The sweeper of a forced stop ends the connections,
 * and queues itself once more behind the last of them: when it is worked there,
 * every connection of that loop has ended, or is in a handler, or waits for a
 * thread. Then the report is complete.
 */
#include "group/stop.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "conn/conn.h"
#include "conn/ending.h"
#include "engine/engine.h"
#include "group/addresses.h"
#include "group/conns.h"
#include "group/listener.h"
#include "group/reconnect.h"
#include "group/roster.h"

struct stt_sweeper {
	struct stt_actor actor;
	struct stt_group *group; /* a reference, while it is on its way */
	struct stt_loop *loop;
	struct stt_walk walk; /* only the loop, from the first push on */
	bool begun;
};

static void sweep_by_force(struct stt_worker *worker, struct stt_actor *actor);
static void sweep_by_asking(struct stt_worker *worker, struct stt_actor *actor);

static const struct stt_actor_ops force_ops = {.on_ready = sweep_by_force};
static const struct stt_actor_ops ask_ops = {.on_ready = sweep_by_asking};

int stt_stop_prepare_locked(struct stt_group *group, int nloops)
{
	int count = 2 * nloops;

	if (group->nsweepers >= count)
		return 0;

	struct stt_sweeper *sweepers = calloc((size_t)count, sizeof(*sweepers));

	if (!sweepers)
		return -ENOMEM;
	free(group->sweepers);
	group->sweepers = sweepers;
	group->nsweepers = count;
	return 0;
}

/* Of a server that has none of its own. */
static void first_address(struct stt_group *group, char *text, size_t size)
{
	stt_lock(&group->lock);
	snprintf(text, size, "%s", group->addresses ? group->addresses->all[0] : "");
	stt_unlock(&group->lock);
}

/* A line about a stop: with the port that a server has, which may have been given as 0. */
static void tell_stop(struct stt_group *group, const char *what, int64_t count, const char *more)
{
	char address[STT_ADDR_TEXT * 3];
	int port = atomic_load(&group->port_bound);

	if (group->service.is_client || !stt_log_wants(STT_LOG_INFO))
		return;
	if (stt_addresses_has_own(group))
		stt_addr_given(group->service.host, port ? port : group->service.port, address,
			       sizeof(address));
	else
		first_address(group, address, sizeof(address));
	stt_log(STT_LOG_INFO, "%s: stopping, %s %lld connection%s%s", address, what,
		(long long)count, count == 1 ? "" : "s", more);
}

static void tell_waiting(struct stt_group *group, int64_t count, bool by_signal)
{
	tell_stop(group, "waits for", count,
		  !by_signal   ? ""
		  : count == 1 ? ", a second signal ends it"
			       : ", a second signal ends them");
}

static void tell_forced(struct stt_group *group)
{
	stt_lock(&group->lock);
	int64_t count = group->forced_of;

	stt_unlock(&group->lock);
	if (count)
		tell_stop(group, "ends", count, " by force");
}

/* Only those of that run: it may have ended by itself meanwhile, and another one have begun. */
static void end_by_close(struct sttcp_conn *conn, void *argument)
{
	const uint64_t *run = argument;

	if (conn->run == *run)
		stt_conn_end(conn, STTCP_EDESTROYED, STT_END_FLUSH);
}

static void end_by_force(struct sttcp_conn *conn, void *argument)
{
	const struct stt_group *group = argument;

	stt_conn_end(conn, group->service.is_client ? STTCP_EDESTROYED : STTCP_ESTOPPED,
		     STT_END_FORCE);
}

static void begin_force_locked(struct stt_group *group) STT_REQUIRES(group->lock)
{
	const struct stt_settings *settings = &group->service.settings;
	int flush_ms = settings->write_timeout_ms;

	/* A client that is being freed has its drain limit; one whose limit has passed, nothing. */
	if (group->service.is_client) {
		int64_t left_ms = group->stop_at_ms - stt_now_ms();

		flush_ms = group->stop_at_ms == STT_NEVER ? settings->drain_timeout_ms
			   : left_ms > 0		  ? (int)left_ms
							  : 0;
	}
	atomic_store(&group->service.flush_ms, flush_ms);
	atomic_store(&group->service.forced_after_ms, group->stop_limit_ms);
	group->forced_of = group->live;
	group->unsettled = group->engine->nloops;
	stt_group_enter_locked(group, STT_FORCING);
}

/* Sends a sweeper to each loop. They are not on their way. */
static void send_sweepers(struct stt_group *group, struct stt_sweeper *sweepers,
			  const struct stt_actor_ops *ops)
{
	/* Read once: with the last sweeper on its way the group may become idle, and the engine may
	 * end. */
	struct stt_loop *loops = group->engine->loops;
	int nloops = group->engine->nloops;

	for (int i = 0; i < nloops; i++) {
		sweepers[i] = (struct stt_sweeper){
			.actor.ops = ops,
			.group = stt_group_ref(group),
			.loop = &loops[i],
		};
		stt_loop_push(&loops[i], &sweepers[i].actor);
	}
}

/* Calls `fn` for a few connections of its loop; false when all have had it and it has come to the
 * list once more. A client has one roster for all loops, with one or two on it. */
static bool sweep(struct stt_sweeper *sweeper, void (*fn)(struct sttcp_conn *conn, void *argument))
{
	struct stt_group *group = sweeper->group;
	struct stt_rosters *rosters = atomic_load(&group->rosters);
	struct stt_roster *roster = &rosters->all[sweeper->loop->index % rosters->count];

	if (!sweeper->begun)
		stt_roster_walk_begin(roster, &sweeper->walk, STT_ALL);
	sweeper->begun = true;
	if (!stt_roster_walk(roster, &sweeper->walk, fn, group))
		return false;
	/* Not the short way, onto the chain: it has to stand behind those that have just been put
	 * onto the list. */
	stt_loop_push(sweeper->loop, &sweeper->actor);
	return true;
}

/* After begin_force_locked, without the lock. */
static void force(struct stt_group *group)
{
	/* Who closes a client finds it closed. */
	if (group->service.is_client)
		stt_group_each(group, STT_ALL, end_by_force, group);
	send_sweepers(group, group->sweepers, &force_ops);
}

static void sweep_by_force(struct stt_worker *worker, struct stt_actor *actor)
{
	struct stt_sweeper *sweeper = stt_container_of(actor, struct stt_sweeper, actor);
	struct stt_group *group = sweeper->group;

	(void)worker;
	if (sweep(sweeper, end_by_force))
		return;
	stt_lock(&group->lock);
	group->unsettled--;
	stt_group_check_locked(group);
	stt_group_unlock(group);
	stt_group_unref(group);
}

/* Its owner finds out whether anything is going on, when it has read what has come. */
static void ask_owner(struct sttcp_conn *conn, void *argument)
{
	(void)argument;
	stt_conn_ask(conn, STT_WISH_READ);
}

static void sweep_by_asking(struct stt_worker *worker, struct stt_actor *actor)
{
	struct stt_sweeper *sweeper = stt_container_of(actor, struct stt_sweeper, actor);
	struct stt_group *group = sweeper->group;

	(void)worker;
	if (sweep(sweeper, ask_owner))
		return;
	stt_lock(&group->lock);
	group->unasked--;
	stt_group_check_locked(group);
	stt_group_unlock(group);
	stt_group_unref(group);
}

static void arm_locked(struct stt_group *group) STT_REQUIRES(group->lock)
{
	if (group->stop_at_ms != STT_NEVER)
		stt_group_arm_locked(group, group->stop_at_ms);
}

int64_t stt_stop_ring(struct stt_worker *worker, struct stt_alarm *alarm)
{
	struct stt_group *group = stt_container_of(alarm, struct stt_group, alarm);
	struct stt_reconnect_news news = {.what = STT_NO_NEWS};
	bool forces = false;

	(void)worker;
	stt_lock(&group->lock);
	if (group->state == STT_STOPPING) {
		forces = group->stop_at_ms <= stt_now_ms();
		if (forces)
			begin_force_locked(group);
		else
			arm_locked(group);
	}
	if (group->state == STT_RUNNING)
		stt_conns_retry_if_due_locked(group, &news);
	/* Set anew just before it rang, it stands on the loop's list without a time: the list must
	 * not be left with a group that is gone. */
	if (atomic_load(&alarm->listed) && atomic_load(&alarm->due) == STT_NEVER)
		stt_alarm_set(&group->engine->loops[0], alarm, 0);
	/* Set anew, there, here or since it rang, it rings once more, and keeps the reference for
	 * that. */
	bool rings_again = atomic_load(&alarm->due) != STT_NEVER;

	group->alarm_armed = rings_again;
	stt_unlock(&group->lock);
	stt_reconnect_tell(group, &news);
	if (forces) {
		tell_forced(group);
		force(group);
	}
	if (!rings_again)
		stt_group_unref(group);
	return STT_NEVER;
}

static void begin_stop_locked(struct stt_group *group) STT_REQUIRES(group->lock)
{
	atomic_store(&group->stopping, true);
	/* First for those who look at it, and then they are asked to look. */
	atomic_store(&group->service.ends_idle, group->service.settings.end_idle_at_stop);
	if (group->service.settings.end_idle_at_stop)
		group->unasked = group->engine->nloops;
	for (struct stt_listener *each = group->listeners; each; each = each->next)
		stt_listener_close(each);
	/* What a client's wait gives, unless its connection ends with another reason. */
	group->end_reason = STTCP_EDESTROYED;
	stt_reconnect_forget_locked(group);
	stt_group_enter_locked(group, STT_STOPPING);
}

/* It begins when the start is through. */
static void remember_stop_locked(struct stt_group *group, int timeout_ms) STT_REQUIRES(group->lock)
{
	/* A later stop can only shorten the deadline; as unsigned, -1 is the longest. */
	if (!group->stop_pending || (unsigned)timeout_ms < (unsigned)group->pending_timeout_ms)
		group->pending_timeout_ms = timeout_ms;
	group->stop_pending = true;
}

/* Of a stop that is under way: by force at once, with a limit of 0. */
static void shorten_locked(struct stt_group *group, int timeout_ms) STT_REQUIRES(group->lock)
{
	int64_t at = stt_deadline_ms(timeout_ms);
	bool forces = timeout_ms == 0;

	if (forces || at < group->stop_at_ms)
		group->stop_limit_ms = timeout_ms;
	if (forces)
		begin_force_locked(group);
	if (at < group->stop_at_ms)
		group->stop_at_ms = at;
	if (!forces)
		arm_locked(group);
}

/* A stop of the run with the number `of`, or of whichever there is (0), which `waiter` waits for;
 * that may be NULL. */
static void begin_stop(struct stt_group *group, uint64_t of, int timeout_ms,
		       struct stt_waiter *waiter)
{
	bool first = false;
	bool forces = false;
	int64_t waits = 0; /* for so many connections, which is to be told */

	stt_lock(&group->lock);
	uint64_t run = group->runs;

	if (of && of != run) {
		stt_unlock(&group->lock);
		return;
	}

	if (waiter)
		stt_group_add_waiter_locked(group, waiter);
	if (group->state == STT_STARTING)
		remember_stop_locked(group, timeout_ms);
	if (group->state == STT_RUNNING) {
		begin_stop_locked(group);
		/* At once for a client between two attempts: there is nothing to be ended. */
		stt_group_check_locked(group);
		first = group->state == STT_STOPPING;
	}
	if (group->state == STT_STOPPING) {
		forces = timeout_ms == 0;
		shorten_locked(group, timeout_ms);
		waits = forces || !(first || of) ? 0 : group->live;
		stt_group_check_locked(group);
	}
	bool by_signal = group->signals > 0;

	stt_group_unlock(group);
	if (waits)
		tell_waiting(group, waits, by_signal);
	if (forces)
		tell_forced(group);
	/* A child that was forked in the log callback has no part in it. */
	if (stt_forked_since(group->service.fork_count))
		return;

	if (first && group->service.is_client)
		stt_group_each(group, STT_ALL, end_by_close, &run);
	if (first && group->service.settings.end_idle_at_stop)
		send_sweepers(group, group->sweepers + group->engine->nloops, &ask_ops);
	if (forces)
		force(group);
}

void stt_group_begin_stop(struct stt_group *group, int timeout_ms)
{
	begin_stop(group, 0, timeout_ms, NULL);
}

void stt_group_begin_stop_of(struct stt_group *group, uint64_t run, int timeout_ms)
{
	if (run)
		begin_stop(group, run, timeout_ms, NULL);
}

static sttcp_stop_report report_so_far_locked(const struct stt_group *group)
	STT_REQUIRES(group->lock)
{
	sttcp_stop_report report = group->report;

	report.running = group->live;
	return report;
}

int stt_group_stop(struct stt_group *group, int timeout_ms, sttcp_stop_report *report)
{
	struct stt_waiter waiter;

	stt_group_ref(group);
	begin_stop(group, 0, timeout_ms, &waiter);
	/* Nobody in the child would end what it would wait for. */
	if (stt_forked_since(group->service.fork_count))
		return STTCP_EFORK;
	stt_lock(&group->lock);
	while (!stt_self && !waiter.over)
		stt_cond_wait(&group->changed, &group->lock);
	stt_group_remove_waiter_locked(group, &waiter);
	if (report)
		*report = waiter.over ? waiter.report : report_so_far_locked(group);
	stt_unlock(&group->lock);
	stt_group_unref(group);
	return 0;
}

int stt_group_wait(struct stt_group *group, int timeout_ms)
{
	int64_t until = stt_deadline_ms(timeout_ms);
	struct stt_waiter waiter;
	bool in_time = true;
	int result = -EINVAL;

	stt_group_ref(group);
	stt_lock(&group->lock);
	if (group->started_once) {
		stt_group_add_waiter_locked(group, &waiter);
		while (in_time && !waiter.over)
			in_time = stt_group_wait_locked(group, &waiter, until);
		stt_group_remove_waiter_locked(group, &waiter);
		if (waiter.over)
			result = group->service.is_client ? waiter.reason : 0;
		else
			result = waiter.forced ? waiter.forced : -ETIMEDOUT;
	}
	stt_unlock(&group->lock);
	stt_group_unref(group);
	return result;
}

void stt_group_free(struct stt_group *group)
{
	stt_group_begin_stop(group, 0);
	if (stt_forked_since(group->service.fork_count))
		return;
	stt_lock(&group->lock);
	while (!stt_self && group->state != STT_IDLE)
		stt_cond_wait(&group->changed, &group->lock);

	bool now = group->state == STT_IDLE;

	group->release_later = !now;
	stt_unlock(&group->lock);
	if (now)
		stt_group_release(group);
}
