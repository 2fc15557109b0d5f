/* SPDX-License-Identifier: MIT */
/* What a start needs is made before it can be seen, so that what begins does not fail. */
#include "group/start.h"

#include <errno.h>

#include "conn/conn.h"
#include "conn/desk.h"
#include "engine/engine.h"
#include "group/conns.h"
#include "group/listener.h"
#include "group/roster.h"
#include "group/stop.h"

static int prepare_locked(struct stt_group *group, struct stt_engine *engine)
	STT_REQUIRES(group->lock)
{
	int result = stt_stop_prepare_locked(group, engine->nloops);

	if (result == 0)
		result = stt_rosters_make_locked(group,
						 group->service.is_client ? 1 : engine->nloops);
	if (result == 0)
		group->engine = engine;
	return result;
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
		stt_backoff_begin(&group->backoff);
		atomic_store(&group->service.forced_after_ms, -1);
		group->report = (sttcp_stop_report){0};
		stt_group_enter_locked(group, STT_STARTING);
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

static const char *why_busy(struct stt_group *group)
{
	stt_lock(&group->lock);
	enum stt_group_state state = group->state;

	stt_unlock(&group->lock);
	if (state == STT_LEFT)
		return "handlers of its last run have not returned yet";
	return state == STT_STOPPING || state == STT_FORCING ? "its stop is under way"
							     : "it is started already";
}

int stt_group_tell_refused(struct stt_group *group, int code)
{
	return stt_group_tell(group, code, "cannot start %s: %s", group->service.given,
			      code == -EBUSY ? why_busy(group) : sttcp_strerror(code));
}

void stt_group_run(struct stt_group *group, struct sttcp_conn *first)
{
	stt_lock(&group->lock);
	bool stop = group->stop_pending;
	int timeout_ms = group->pending_timeout_ms;

	group->started_once = true;
	stt_group_enter_locked(group, STT_RUNNING);
	for (struct stt_listener *each = group->listeners; each; each = each->next)
		stt_listener_open(each);
	if (first)
		stt_conns_begin_attempt_locked(group, first);
	stt_group_unlock(group);
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
	stt_group_enter_locked(group, STT_IDLE);
	stt_group_unlock(group);
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
