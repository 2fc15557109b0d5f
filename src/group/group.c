/* SPDX-License-Identifier: MIT */
/*
 * The life of a group: the state table stands in group.h, and check_locked is
 * the one place that moves along it when something has been counted down.
 *
 * What a stop has to do with every connection it does on their loops, a few at
 * a time, for others live on these loops, too: a sweeper goes over each loop's
 * ready list again and again. That of a forced stop ends the connections, and
 * goes over the list once more behind the last of them: when it has been worked
 * there, every connection of that loop has ended, or is in a handler, or waits
 * for a thread. That is when the report can go out.
 */
#include "group/group.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "conn/conn.h"
#include "conn/desk.h"
#include "conn/ending.h"
#include "conn/life.h"
#include "engine/engine.h"
#include "group/admission.h"
#include "group/attempt.h"
#include "group/listener.h"
#include "group/roster.h"
#include "group/signals.h"

struct stt_sweeper {
	struct stt_actor actor;
	struct stt_group *group; /* a reference, while it is on its way */
	struct stt_loop *loop;
	struct stt_walk walk; /* only the loop, from the first push on */
	bool begun;
};

static struct stt_mutex registry_lock = STT_MUTEX_INIT;
static struct stt_node registry = {&registry, &registry};

static int64_t ring_group(struct stt_worker *worker, struct stt_alarm *alarm);
static void sweep_by_force(struct stt_worker *worker, struct stt_actor *actor);
static void sweep_by_asking(struct stt_worker *worker, struct stt_actor *actor);
static void release_on_pool(struct stt_worker *worker, struct stt_actor *actor);

static const struct stt_actor_ops force_ops = {.on_ready = sweep_by_force};
static const struct stt_actor_ops ask_ops = {.on_ready = sweep_by_asking};
static const struct stt_actor_ops releaser_ops = {.on_pool = release_on_pool};

static bool any_busy(void);
static void end_lingering(void);
static void forget_groups(void);
static void note_joined(struct stt_service *service, struct sttcp_conn *conn);
static void note_left(struct stt_service *service, struct sttcp_conn *conn);
static void note_ended(struct stt_service *service, struct sttcp_conn *conn);
static void note_closed(struct stt_service *service, struct sttcp_conn *conn);
static void free_group(struct stt_service *service);

static const struct stt_engine_user groups = {
	.begin = stt_signals_open,
	.end = stt_signals_close,
	.is_busy = any_busy,
	.end_lingering = end_lingering,
	.after_fork = forget_groups,
	.record_size = sizeof(struct stt_desk),
	.open_record = stt_desk_open,
	.close_record = stt_desk_close,
};

static const struct stt_service_calls calls = {
	.joined = note_joined,
	.left = note_left,
	.ended = note_ended,
	.closed = note_closed,
	.free = free_group,
};

int stt_group_init(struct stt_group *group, enum stt_side side, const char *host, int port)
{
	char given[STT_ADDR_TEXT * 3];

	stt_addr_given(host, port, given, sizeof(given));
	stt_engine_serve(&groups);
	group->service.calls = &calls;
	group->service.is_client = side == STT_CLIENT;
	group->service.fork_count = stt_fork_count();
	group->service.host = strdup(host ? host : "");
	group->service.given = strdup(given);
	if (!group->service.host || !group->service.given) {
		free(group->service.host);
		free(group->service.given);
		return -ENOMEM;
	}
	group->service.port = port;
	atomic_init(&group->service.refs, 1);
	stt_mutex_init(&group->lock);
	stt_cond_init(&group->changed);
	stt_alarm_init(&group->alarm, ring_group);
	group->releaser.ops = &releaser_ops;
	stt_lock(&registry_lock);
	stt_list_append(&registry, &group->in_registry);
	stt_unlock(&registry_lock);
	return 0;
}

/* Of a group on the registry, which holds no reference: false if it is on its way out. */
static bool try_ref(struct stt_group *group)
{
	int refs = atomic_load_explicit(&group->service.refs, memory_order_relaxed);

	while (refs > 0)
		if (atomic_compare_exchange_weak(&group->service.refs, &refs, refs + 1))
			return true;
	return false;
}

static struct stt_group *group_of(struct stt_service *service)
{
	return stt_container_of(service, struct stt_group, service);
}

static void free_rosters(struct stt_rosters *rosters)
{
	while (rosters) {
		struct stt_rosters *previous = rosters->previous;

		for (int i = 0; i < rosters->count; i++)
			stt_roster_fini(&rosters->all[i]);
		free(rosters);
		rosters = previous;
	}
}

static void free_group(struct stt_service *service)
{
	struct stt_group *group = group_of(service);

	stt_lock(&registry_lock);
	stt_list_remove(&group->in_registry);
	stt_unlock(&registry_lock);
	free_rosters(atomic_load(&group->rosters));
	stt_admission_fini(&group->admission);
	free(group->sweepers);
	free(group->service.host);
	free(group->service.given);
	stt_cond_fini(&group->changed);
	stt_mutex_fini(&group->lock);
	free(group);
}

static void enter_locked(struct stt_group *group, enum stt_group_state state)
	STT_REQUIRES(group->lock)
{
	group->state = state;
	stt_cond_wake_all(&group->changed);
	if (state != STT_IDLE)
		return;
	/* The alarm of a deadline that is not needed any more gives its reference back now, and not
	 * when it comes: a program may make and free clients by the thousand. */
	if (group->alarm_armed)
		stt_alarm_set(&group->engine->loops[0], &group->alarm, 0);
	atomic_store(&group->stopping, false);
	atomic_store(&group->service.ends_idle, false);
	group->release_now = group->release_later;
	group->release_later = false;
}

/* Instead of a plain unlock wherever the state may have changed: what a stop inside a handler left
 * for its end is done here, without the lock. The caller holds a reference. */
static void unlock_group(struct stt_group *group) STT_RELEASE(group->lock)
{
	bool release_now = group->release_now;

	group->release_now = false;
	stt_unlock(&group->lock);
	if (release_now)
		stt_pool_push(&group->engine->pool, &group->releaser);
}

static void check_locked(struct stt_group *group) STT_REQUIRES(group->lock)
{
	switch (group->state) {
	case STT_IDLE:
	case STT_STARTING:
		return;
	case STT_RUNNING:
		if (group->service.is_client && !group->live)
			enter_locked(group, STT_IDLE);
		return;
	case STT_STOPPING:
		/* Only a server waits until the last bytes of input were dropped. */
		if (!group->nlisteners && !group->unasked && !group->live &&
		    (group->service.is_client || !group->open))
			enter_locked(group, STT_IDLE);
		return;
	case STT_FORCING:
		if (group->unsettled || group->unasked || group->nlisteners)
			return;
		group->report.running = group->live;
		group->report.forced = group->forced_of - group->live;
		enter_locked(group, group->live ? STT_LEFT : STT_IDLE);
		return;
	case STT_LEFT:
		if (!group->live)
			enter_locked(group, STT_IDLE);
		return;
	}
}

static struct stt_roster *roster_of(struct stt_group *group, const struct sttcp_conn *conn)
{
	struct stt_rosters *rosters = atomic_load_explicit(&group->rosters, memory_order_relaxed);

	return &rosters->all[conn->loop->index % rosters->count];
}

static void admit_locked(struct stt_group *group, struct sttcp_conn *conn) STT_REQUIRES(group->lock)
{
	conn->run = group->runs;
	group->live++;
	group->open++;
	group->totals.total++;
	stt_roster_add(roster_of(group, conn), conn);
}

/* The attempt has its reference before anybody can find the connection: a stop that is on its way
 * through the roster ends whom it finds there, without the group's lock. And it begins when the
 * connection can be found: its handlers may look for it. */
static void begin_attempt_locked(struct stt_group *group, struct sttcp_conn *conn)
	STT_REQUIRES(group->lock)
{
	struct stt_attempt *attempt = stt_attempt_take(conn);

	admit_locked(group, conn);
	stt_attempt_begin(attempt);
}

/* ---------------------------------------------------------------- start */

/* Has at least so many rosters: more than before after an engine with fewer loops has ended. */
static int make_rosters_locked(struct stt_group *group, int count) STT_REQUIRES(group->lock)
{
	struct stt_rosters *previous = atomic_load(&group->rosters);

	if (previous && previous->count >= count)
		return 0;

	struct stt_rosters *rosters =
		calloc(1, sizeof(*rosters) + (size_t)count * sizeof(rosters->all[0]));

	if (!rosters)
		return -ENOMEM;
	rosters->previous = previous;
	rosters->count = count;
	for (int i = 0; i < count; i++)
		stt_roster_init(&rosters->all[i]);
	atomic_store(&group->rosters, rosters);
	return 0;
}

static int make_sweepers_locked(struct stt_group *group, int count) STT_REQUIRES(group->lock)
{
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

static int prepare_locked(struct stt_group *group, struct stt_engine *engine)
	STT_REQUIRES(group->lock)
{
	int result = make_sweepers_locked(group, 2 * engine->nloops);

	if (result == 0)
		result = make_rosters_locked(group, group->service.is_client ? 1 : engine->nloops);
	if (result == 0)
		group->engine = engine;
	return result;
}

int stt_group_tell(struct stt_group *group, int code, const char *format, ...)
{
	char text[sizeof(group->error)];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	stt_lock(&group->lock);
	memcpy(group->error, text, sizeof(text));
	stt_unlock(&group->lock);
	if (code < 0)
		stt_log(STT_LOG_ERROR, "%s", text);
	return code;
}

int stt_group_check_start(struct stt_group *group, int least_port)
{
	stt_log_begin();
	if (group->bad_options[0])
		return stt_group_tell(group, -EINVAL, "cannot start %s: %s", group->service.given,
				      group->bad_options);
	if (!stt_host_is_unix(group->service.host) &&
	    (group->service.port < least_port || group->service.port > 65535))
		return stt_group_tell(group, -EINVAL, "%s: the port must be from %d to 65535",
				      group->service.given, least_port);
	return 0;
}

static int begin(struct stt_group *group, struct stt_engine *engine)
{
	stt_lock(&group->lock);
	int result = group->state == STT_IDLE ? prepare_locked(group, engine) : -EBUSY;

	if (result == 0) {
		group->runs++;
		group->signals = 0;
		/* One that came before concerns no run. */
		atomic_store(&group->stop_requested, false);
		group->open = 0;
		group->service.settings.framing.context = group->service.handlers.context;
		group->stop_pending = false;
		group->stop_at_ms = STT_NEVER;
		atomic_store(&group->service.forced_after_ms, -1);
		group->report = (sttcp_stop_report){0};
		enter_locked(group, STT_STARTING);
	}
	stt_unlock(&group->lock);
	return result;
}

int stt_group_begin(struct stt_group *group)
{
	struct stt_engine *engine;
	int result = stt_engine_get(&engine);

	if (result < 0)
		return result;
	result = begin(group, engine);
	/* From here on the engine stays for the group that is not idle. */
	stt_engine_release();
	return result;
}

void stt_group_run(struct stt_group *group, struct sttcp_conn *first)
{
	stt_lock(&group->lock);
	bool stop = group->stop_pending;
	int timeout_ms = group->pending_timeout_ms;

	group->started_once = true;
	enter_locked(group, STT_RUNNING);
	for (struct stt_listener *each = group->listeners; each; each = each->next)
		stt_listener_open(each);
	if (first)
		begin_attempt_locked(group, first);
	unlock_group(group);
	if (stop)
		stt_group_begin_stop(group, timeout_ms);
}

void stt_group_cancel(struct stt_group *group)
{
	stt_lock(&group->lock);
	for (struct stt_listener *each = group->listeners; each; each = each->next)
		stt_listener_close(each);
	while (group->nlisteners)
		stt_cond_wait(&group->changed, &group->lock);
	enter_locked(group, STT_IDLE);
	unlock_group(group);
}

int stt_group_start_next(struct stt_group *group, struct sttcp_conn *next)
{
	const struct sttcp_conn *running = stt_desk_conn();
	int result = -EBUSY;

	stt_lock(&group->lock);
	/* Its last handler is the one that runs when the connection has left the open phases. */
	if (running && stt_group_of(running) == group && group->state == STT_RUNNING &&
	    !group->next && (running->phase == STT_FAILED || running->phase == STT_ENDING)) {
		group->next = next;
		result = 0;
	}
	stt_unlock(&group->lock);
	return result;
}

/* ---------------------------------------------------------- connections */

enum stt_place stt_group_admit(struct stt_group *group, struct sttcp_conn *conn)
{
	stt_lock(&group->lock);
	enum stt_place place = stt_admission_enter_locked(group, &conn->peer);

	if (place == STT_PLACE_FREE)
		admit_locked(group, conn);
	stt_unlock(&group->lock);
	return place;
}

/* What it had by way of bytes goes to the totals when no more can come. */
static void add_totals_locked(struct stt_group *group, const struct sttcp_conn *conn)
	STT_REQUIRES(group->lock)
{
	sttcp_stats *totals = &group->totals;

	totals->bytes_in += stt_counter_get(&conn->bytes_in);
	totals->messages_in += stt_counter_get(&conn->messages_in);
	totals->bytes_out += stt_counter_get(&conn->output.bytes_out);
	totals->messages_out += stt_counter_get(&conn->output.messages_out);
}

static void note_ended(struct stt_service *service, struct sttcp_conn *conn)
{
	struct stt_group *group = group_of(service);

	stt_lock(&group->lock);
	struct sttcp_conn *next = group->next;
	bool stopped = group->state != STT_RUNNING;

	group->totals.declined += conn->declined;
	group->totals.failed += !conn->declined && atomic_load(&conn->reason) != 0;
	group->live--;
	group->end_reason = atomic_load(&conn->reason);
	if (group->state == STT_STOPPING)
		group->report.ended++;
	group->next = NULL;
	if (next) {
		stt_conn_ref(next);
		begin_attempt_locked(group, next);
		group->forced_of++;
	}
	check_locked(group);
	unlock_group(group);

	/* A stop that came after the start: its attempt has an outcome all the same. */
	if (next && stopped)
		stt_conn_end(next, STTCP_EDESTROYED, STT_END_FLUSH);
	if (next)
		stt_conn_unref_on_loop(next);
}

static void note_closed(struct stt_service *service, struct sttcp_conn *conn)
{
	struct stt_group *group = group_of(service);

	stt_lock(&group->lock);
	stt_roster_remove(roster_of(group, conn), conn);
	add_totals_locked(group, conn);
	/* One that a forced stop has left behind concerns no later run. */
	if (conn->run == group->runs)
		group->open--;
	stt_admission_leave_locked(group, &conn->peer);
	check_locked(group);
	unlock_group(group);
}

void stt_group_listener_added(struct stt_group *group, struct stt_listener *listener)
{
	stt_lock(&group->lock);
	listener->next = group->listeners;
	group->listeners = listener;
	group->nlisteners++;
	stt_unlock(&group->lock);
}

void stt_group_listener_closed(struct stt_group *group, struct stt_listener *listener)
{
	stt_lock(&group->lock);
	struct stt_listener **link = &group->listeners;

	while (*link != listener)
		link = &(*link)->next;
	*link = listener->next;
	/* The port is free before the stop is over. */
	stt_listener_free(listener);
	group->nlisteners--;
	stt_cond_wake_all(&group->changed);
	check_locked(group);
	unlock_group(group);
}

void stt_group_count_pause(struct stt_group *group)
{
	stt_lock(&group->lock);
	group->totals.accept_pauses++;
	stt_unlock(&group->lock);
}

static void note_joined(struct stt_service *service, struct sttcp_conn *conn)
{
	stt_roster_join(roster_of(group_of(service), conn), conn);
}

static void note_left(struct stt_service *service, struct sttcp_conn *conn)
{
	stt_roster_leave(roster_of(group_of(service), conn), conn);
}

int stt_group_each(struct stt_group *group, enum stt_whom whom,
		   void (*fn)(struct sttcp_conn *conn, void *argument), void *argument)
{
	struct stt_rosters *rosters = atomic_load(&group->rosters);
	int count = 0;

	for (int i = 0; rosters && i < rosters->count; i++)
		count += stt_roster_each(&rosters->all[i], whom, fn, argument);
	return count;
}

int stt_group_count(struct stt_group *group)
{
	struct stt_rosters *rosters = atomic_load(&group->rosters);
	unsigned count = 0;

	for (int i = 0; rosters && i < rosters->count; i++)
		count += stt_roster_count(&rosters->all[i]);
	return (int)count;
}

struct sttcp_conn *stt_group_find(struct stt_group *group, uint64_t id)
{
	struct stt_rosters *rosters = atomic_load(&group->rosters);
	struct sttcp_conn *conn = NULL;

	for (int i = 0; !conn && rosters && i < rosters->count; i++)
		conn = stt_roster_find(&rosters->all[i], id);
	return conn;
}

/* ----------------------------------------------------------------- stop */

/* A line about a stop: with the port that a server has, which may have been given as 0. */
static void tell_stop(struct stt_group *group, const char *what, int64_t count, const char *more)
{
	char address[STT_ADDR_TEXT * 3];
	int port = atomic_load(&group->port_bound);

	if (group->service.is_client || !stt_log_wants(STT_LOG_INFO))
		return;
	stt_addr_given(group->service.host, port ? port : group->service.port, address,
		       sizeof(address));
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

static void end_by_owner(struct sttcp_conn *conn, void *argument)
{
	(void)argument;
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
	if (group->service.is_client)
		flush_ms = group->stop_at_ms == STT_NEVER ? settings->drain_timeout_ms : 0;
	atomic_store(&group->service.flush_ms, flush_ms);
	atomic_store(&group->service.forced_after_ms, group->stop_limit_ms);
	group->forced_of = group->live;
	group->unsettled = group->engine->nloops;
	enter_locked(group, STT_FORCING);
}

/* Sends a sweeper to each loop. They are not on their way. */
static void send_sweepers(struct stt_group *group, struct stt_sweeper *sweepers,
			  const struct stt_actor_ops *ops)
{
	/* Read once: with the last sweeper on its way the group may be idle, and the engine gone.
	 */
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
	check_locked(group);
	unlock_group(group);
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
	check_locked(group);
	unlock_group(group);
	stt_group_unref(group);
}

static void arm_locked(struct stt_group *group) STT_REQUIRES(group->lock)
{
	if (group->stop_at_ms == STT_NEVER)
		return;
	if (!group->alarm_armed)
		stt_group_ref(group);
	group->alarm_armed = true;
	stt_alarm_set(&group->engine->loops[0], &group->alarm, group->stop_at_ms);
}

static int64_t ring_group(struct stt_worker *worker, struct stt_alarm *alarm)
{
	struct stt_group *group = stt_container_of(alarm, struct stt_group, alarm);
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
	/* Set anew just before it rang, it stands on the loop's list without a time: the list must
	 * not be left with a group that is gone. */
	if (atomic_load(&alarm->listed) && atomic_load(&alarm->due) == STT_NEVER)
		stt_alarm_set(&group->engine->loops[0], alarm, 0);
	/* Set anew, there, here or since it rang, it rings once more, and keeps the reference for
	 * that. */
	bool rings_again = atomic_load(&alarm->due) != STT_NEVER;

	group->alarm_armed = rings_again;
	stt_unlock(&group->lock);
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
	enter_locked(group, STT_STOPPING);
}

/* Begins a stop of that run, or of whichever there is (0), and returns the number of the present
 * one. */
static uint64_t begin_stop_of(struct stt_group *group, uint64_t of, int timeout_ms)
{
	bool first = false;
	bool forces = false;
	int64_t waits = 0; /* for so many connections, which is to be told */

	stt_lock(&group->lock);
	uint64_t run = group->runs;

	if (of && of != run) {
		stt_unlock(&group->lock);
		return run;
	}

	if (group->state == STT_STARTING) {
		/* A later stop can only shorten the deadline; as unsigned, -1 is the longest. */
		if (!group->stop_pending ||
		    (unsigned)timeout_ms < (unsigned)group->pending_timeout_ms)
			group->pending_timeout_ms = timeout_ms;
		group->stop_pending = true;
	}
	if (group->state == STT_RUNNING) {
		first = true;
		begin_stop_locked(group);
	}
	if (group->state == STT_STOPPING) {
		int64_t at = stt_deadline_ms(timeout_ms);

		forces = timeout_ms == 0;
		if (forces || at < group->stop_at_ms)
			group->stop_limit_ms = timeout_ms;
		if (forces)
			begin_force_locked(group);
		if (at < group->stop_at_ms)
			group->stop_at_ms = at;
		if (!forces)
			arm_locked(group);
		waits = forces || !(first || of) ? 0 : group->live;
		check_locked(group);
	}
	bool by_signal = group->signals > 0;

	unlock_group(group);
	if (waits)
		tell_waiting(group, waits, by_signal);
	if (forces)
		tell_forced(group);

	if (first && group->service.is_client)
		stt_group_each(group, STT_ALL, end_by_owner, NULL);
	if (first && group->service.settings.end_idle_at_stop)
		send_sweepers(group, group->sweepers + group->engine->nloops, &ask_ops);
	if (forces)
		force(group);
	return run;
}

uint64_t stt_group_begin_stop(struct stt_group *group, int timeout_ms)
{
	return begin_stop_of(group, 0, timeout_ms);
}

/* A run that is over, by its end or by the report of a forced stop; a later one does not matter. */
static bool is_over_locked(const struct stt_group *group, uint64_t run) STT_REQUIRES(group->lock)
{
	return run != group->runs || group->state == STT_IDLE || group->state == STT_LEFT;
}

void stt_group_stop(struct stt_group *group, int timeout_ms, sttcp_stop_report *report)
{
	stt_group_ref(group);
	uint64_t run = stt_group_begin_stop(group, timeout_ms);

	stt_lock(&group->lock);
	while (!stt_self && !is_over_locked(group, run))
		stt_cond_wait(&group->changed, &group->lock);
	if (report) {
		*report = group->report;
		if (!is_over_locked(group, run))
			report->running = group->live;
	}
	stt_unlock(&group->lock);
	stt_group_unref(group);
}

int stt_group_wait(struct stt_group *group, int timeout_ms)
{
	int64_t until = stt_deadline_ms(timeout_ms);
	bool in_time = true;
	int result = -EINVAL;

	stt_group_ref(group);
	stt_lock(&group->lock);
	uint64_t run = group->runs;

	if (group->started_once) {
		while (in_time && !is_over_locked(group, run))
			in_time = stt_cond_wait_until(&group->changed, &group->lock, until);
		result = !is_over_locked(group, run) ? -ETIMEDOUT
			 : group->service.is_client  ? group->end_reason
						     : 0;
	}
	stt_unlock(&group->lock);
	stt_group_unref(group);
	return result;
}

/* The user's handle is gone: the last call, and its reference. */
static void release(struct stt_group *group)
{
	bool ours = stt_worker_is_ours();

	atomic_store(&group->released, true);
	if (group->service.handlers.release)
		group->service.handlers.release(group->service.handlers.context);
	stt_worker_stop_child(ours);
	stt_group_unref(group);
}

static void release_on_pool(struct stt_worker *worker, struct stt_actor *actor)
{
	(void)worker;
	release(stt_container_of(actor, struct stt_group, releaser));
}

void stt_group_free(struct stt_group *group)
{
	stt_group_begin_stop(group, 0);
	stt_lock(&group->lock);
	while (!stt_self && group->state != STT_IDLE)
		stt_cond_wait(&group->changed, &group->lock);

	bool now = group->state == STT_IDLE;

	group->release_later = !now;
	stt_unlock(&group->lock);
	if (now)
		release(group);
}

/* -------------------------------------------------------------- signals */

void stt_group_watch(struct stt_group *group, int change)
{
	stt_lock(&group->lock);
	group->watchers += change;
	stt_unlock(&group->lock);
}

/* The next group on the registry after `group`, whose reference is dropped, as a new reference. */
static struct stt_group *next_group(struct stt_group *group)
{
	struct stt_group *next = NULL;

	stt_lock(&registry_lock);
	struct stt_node *node = group ? group->in_registry.next : registry.next;

	for (; !next && node != &registry; node = node->next) {
		next = stt_container_of(node, struct stt_group, in_registry);
		if (next->service.fork_count != stt_fork_count() || !try_ref(next))
			next = NULL;
	}
	stt_unlock(&registry_lock);
	if (group)
		stt_group_unref(group);
	return next;
}

void stt_group_signal_all(enum stt_signals_for whom)
{
	for (struct stt_group *group = next_group(NULL); group; group = next_group(group)) {
		stt_lock(&group->lock);
		bool meant = whom == STT_SIGNALS_FOR_ALL || group->watchers;
		int signals = group->signals += meant;
		uint64_t run = group->runs;

		stt_unlock(&group->lock);
		/* Of this run: another one may begin in between. */
		if (meant)
			begin_stop_of(group, run,
				      signals > 1 ? 0 : group->service.settings.signal_drain_ms);
	}
}

void stt_group_request_stop(struct stt_group *group)
{
	atomic_store(&group->stop_requested, true);
	stt_signals_pass_requests_on();
}

void stt_group_stop_requested(void)
{
	for (struct stt_group *group = next_group(NULL); group; group = next_group(group)) {
		stt_lock(&group->lock);
		bool meant = atomic_exchange(&group->stop_requested, false);
		uint64_t run = group->runs;

		stt_unlock(&group->lock);
		if (meant)
			begin_stop_of(group, run, group->service.settings.signal_drain_ms);
	}
}

struct stt_group *stt_group_any_started(void)
{
	for (struct stt_group *group = next_group(NULL); group; group = next_group(group)) {
		stt_lock(&group->lock);
		bool started = group->started_once && !is_over_locked(group, group->runs);

		stt_unlock(&group->lock);
		if (started)
			return group;
	}
	return NULL;
}

static bool any_busy(void)
{
	for (struct stt_group *group = next_group(NULL); group; group = next_group(group)) {
		stt_lock(&group->lock);
		bool busy = group->state != STT_IDLE;

		stt_unlock(&group->lock);
		if (busy) {
			stt_group_unref(group);
			return true;
		}
	}
	return false;
}

static void look_after_end(struct sttcp_conn *conn, void *argument)
{
	(void)argument;
	stt_conn_ask(conn, STT_WISH_CLOSE);
}

/* At the end of the engine: has every connection that is left looked at, all of which linger. */
static void end_lingering(void)
{
	for (struct stt_group *group = next_group(NULL); group; group = next_group(group))
		stt_group_each(group, STT_ALL, look_after_end, NULL);
}

/* In the child: the parent's groups stay where they are, out of sight. */
static void forget_groups(void)
{
	stt_signals_after_fork();
	stt_mutex_init(&registry_lock);
	stt_list_init(&registry);
}
