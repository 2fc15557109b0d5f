/* SPDX-License-Identifier: MIT */
/* The groups as the user of the engine, which knows none of them. */
#include "group/all.h"

#include "base/clock.h"
#include "conn/conn.h"
#include "conn/desk.h"
#include "engine/engine.h"
#include "group/conns.h"
#include "group/reconnect.h"
#include "group/registry.h"
#include "group/roster.h"
#include "group/signals.h"
#include "group/stop.h"
#include "group/timer.h"

enum {
	/* Longer than a loop takes to come to what is closing, however busy it is. */
	SETTLE_MS = 1000
};

void stt_group_watch(struct stt_group *group, int change)
{
	stt_lock(&group->lock);
	group->watchers += change;
	stt_unlock(&group->lock);
}

static void signal_all(enum stt_signals_for whom)
{
	for (struct stt_group *group = stt_registry_next(NULL); group;
	     group = stt_registry_next(group)) {
		if (group->service.dialled)
			continue;
		stt_lock(&group->lock);
		bool meant = whom == STT_SIGNALS_FOR_ALL || group->watchers;
		int signals = group->signals += meant;
		uint64_t run = group->runs;

		stt_unlock(&group->lock);
		/* Of this run: another one may begin in between. */
		if (meant)
			stt_group_begin_stop_of(
				group, run,
				signals > 1 ? 0 : group->service.settings.signal_drain_ms);
	}
}

void stt_group_request_stop(struct stt_group *group)
{
	atomic_store(&group->stop_requested, true);
	stt_signals_pass_requests_on();
}

static void stop_requested(void)
{
	for (struct stt_group *group = stt_registry_next(NULL); group;
	     group = stt_registry_next(group)) {
		stt_lock(&group->lock);
		bool meant = atomic_exchange(&group->stop_requested, false);
		uint64_t run = group->runs;

		stt_unlock(&group->lock);
		if (meant)
			stt_group_begin_stop_of(group, run,
						group->service.settings.signal_drain_ms);
	}
}

struct stt_group *stt_all_any_started(void)
{
	for (struct stt_group *group = stt_registry_next(NULL); group;
	     group = stt_registry_next(group)) {
		stt_lock(&group->lock);
		bool started = group->started_once && !group->service.dialled &&
			       !stt_group_is_over_locked(group);

		stt_unlock(&group->lock);
		if (started)
			return group;
	}
	return NULL;
}

static bool any_busy(void)
{
	for (struct stt_group *group = stt_registry_next(NULL); group;
	     group = stt_registry_next(group)) {
		stt_lock(&group->lock);
		bool busy = group->state != STT_IDLE || group->releasing;

		stt_unlock(&group->lock);
		if (busy) {
			stt_group_unref(group);
			return true;
		}
	}
	return stt_timer_any_busy();
}

void stt_all_settle(void)
{
	int64_t until_ms = stt_deadline_ms(SETTLE_MS);
	bool in_time = true;

	for (struct stt_group *group = stt_registry_next(NULL); group;
	     group = stt_registry_next(group)) {
		if (!atomic_load(&group->closing))
			continue;
		stt_lock(&group->lock);
		while (in_time && group->state != STT_IDLE)
			in_time = stt_cond_wait_until(&group->changed, &group->lock, until_ms);
		stt_unlock(&group->lock);
	}
}

static void look_after_end(struct sttcp_conn *conn, void *argument)
{
	(void)argument;
	stt_conn_ask(conn, STT_WISH_CLOSE);
}

/* At the end of the engine: has every connection that is left looked at, all of which linger. */
static void end_lingering(void)
{
	for (struct stt_group *group = stt_registry_next(NULL); group;
	     group = stt_registry_next(group))
		stt_group_each(group, STT_ALL, look_after_end, NULL);
}

static int begin(struct stt_engine *engine)
{
	return stt_signals_open(engine, signal_all, stop_requested);
}

static void forget(void)
{
	stt_registry_after_fork();
	stt_timer_after_fork();
	stt_signals_after_fork();
}

static const struct stt_engine_user user = {
	.begin = begin,
	.end = stt_signals_close,
	.is_busy = any_busy,
	.end_lingering = end_lingering,
	.after_fork = forget,
	.record_size = sizeof(struct stt_desk),
	.open_record = stt_desk_open,
	.close_record = stt_desk_close,
};

void stt_all_begin(void)
{
	stt_engine_serve(&user);
}

int stt_all_make(struct stt_group *group, enum stt_side side, const char *host, int port)
{
	/* First: whoever has an object may fork. */
	stt_all_begin();

	int result = stt_group_init(group, side, host, port);

	if (result < 0)
		return result;
	group->service.calls = &stt_conns_calls;
	stt_alarm_init(&group->alarm, stt_stop_ring);
	stt_reconnect_init(group);
	stt_registry_add(group);
	return 0;
}
