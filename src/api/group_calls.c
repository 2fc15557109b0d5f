/* SPDX-License-Identifier: MIT */
/* The calls that servers and clients have in common. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "api/call.h"
#include "api/options.h"
#include "base/log.h"
#include "conn/dispatch.h"
#include "conn/life.h"
#include "group/all.h"
#include "group/roster.h"
#include "group/signals.h"
#include "group/stop.h"
#include "tls/process.h"

struct stt_group *stt_api_new_group(enum stt_option_user user, const char *host, int port,
				    const sttcp_options *options)
{
	_Static_assert(offsetof(struct sttcp_server, group) == 0, "freed through its group");
	_Static_assert(offsetof(struct sttcp_client, group) == 0, "freed through its group");
	_Static_assert(offsetof(struct stt_group, service) == 0, "and that through its service");
	_Static_assert(sizeof(((struct stt_group *)0)->bad_options) ==
			       sizeof(((struct stt_option_fault *)0)->text),
		       "copied");
	_Static_assert(sizeof(struct sttcp_server) == sizeof(struct sttcp_client), "made alike");

	struct stt_group *group = calloc(1, sizeof(struct sttcp_server));

	if (!group)
		return NULL;
	struct stt_option_fault fault;

	if (stt_options_read(options, user, &group->service.settings, &fault) < 0)
		memcpy(group->bad_options, fault.text, sizeof(group->bad_options));
	stt_dispatch_prepare(&group->service);
	group->service.dialled = user == STT_FOR_DIAL;
	/* No client is ever seen of it. */
	atomic_init(&group->released, group->service.dialled);
	if (stt_all_make(group, user == STT_FOR_SERVER ? STT_SERVER : STT_CLIENT, host, port) < 0) {
		free(group);
		return NULL;
	}
	return group;
}

struct visits {
	void (*fn)(sttcp_conn *conn, void *argument);
	void *argument;
	int count;
};

static void visit(struct sttcp_conn *conn, void *argument)
{
	struct visits *visits = argument;

	visits->count += stt_conn_visit(conn, visits->fn, visits->argument);
}

/* User code runs, which may free the object: `fn`, and the free_fn of a connection that is gone. */
int stt_api_each(struct stt_group *group, const struct stt_room_key *room,
		 void (*fn)(sttcp_conn *conn, void *argument), void *argument)
{
	struct visits visits = {.fn = fn, .argument = argument};
	int result;

	stt_group_ref(group);
	result = room ? stt_rooms_each(group->rooms, room, visit, &visits)
		      : stt_group_each(group, STT_MEMBERS, visit, &visits);
	stt_group_unref(group);
	return result < 0 ? result : visits.count;
}

int stt_api_begin_change(struct stt_group *group)
{
	int result = stt_check_group(group);

	if (result < 0)
		return result;
	stt_lock(&group->lock);
	if (group->state == STT_IDLE)
		return 0;
	stt_unlock(&group->lock);
	return -EBUSY;
}

int stt_api_end_change(struct stt_group *group)
{
	stt_dispatch_prepare(&group->service);
	stt_unlock(&group->lock);
	return 0;
}

/* A client's connection goes on while a handler of another object blocks, as with any handler that
 * blocks; timers and pieces of work are other objects. In other callbacks it may be the client that
 * waits for them. */
static bool may_wait_inside(const struct stt_group *group)
{
	const struct sttcp_conn *running = stt_desk_conn();

	if (!group->service.is_client)
		return false;
	return running ? stt_group_of(running) != group : stt_desk_self()->in_job;
}

int stt_api_check_wait(const struct stt_group *group)
{
	int result = stt_check_group(group);

	if (result < 0)
		return result;
	return !stt_self || may_wait_inside(group) ? 0 : -EDEADLK;
}

int stt_api_wait(struct stt_group *group, int timeout_ms)
{
	int result = stt_api_check_wait(group);

	if (result < 0)
		return result;
	if (timeout_ms < -1)
		return -EINVAL;

	int cancel = stt_call_begin();

	result = stt_group_wait(group, timeout_ms);
	stt_call_end(cancel);
	return result;
}

int stt_api_keep_alive(struct stt_group *group)
{
	int result = stt_api_check_wait(group);

	if (result < 0)
		return result;
	/* With nothing to wait for no signal is taken. */
	result = stt_api_wait(group, 0);
	if (result != -ETIMEDOUT)
		return result;

	int cancel = stt_call_begin();
	sigset_t before;

	stt_group_ref(group);
	stt_group_watch(group, 1);
	stt_signals_enter(STT_SIGNALS_FOR_WATCHED, &before);
	result = stt_group_wait(group, -1);
	stt_signals_leave(STT_SIGNALS_FOR_WATCHED, &before);
	stt_group_watch(group, -1);
	stt_group_unref(group);
	stt_call_end(cancel);
	return result;
}

int sttcp_keep_alive(void)
{
	if (stt_self)
		return -EDEADLK;

	int cancel = stt_call_begin();
	struct stt_group *group = stt_all_any_started();
	bool any = group;
	sigset_t before;

	if (any)
		stt_signals_enter(STT_SIGNALS_FOR_ALL, &before);
	/* Those that are started meanwhile, too. */
	while (group) {
		stt_group_wait(group, -1);
		stt_group_unref(group);
		group = stt_all_any_started();
	}
	if (any)
		stt_signals_leave(STT_SIGNALS_FOR_ALL, &before);
	stt_call_end(cancel);
	return any ? 0 : -EINVAL;
}

int sttcp_engine_configure(int loops, int max_threads, size_t stack_size)
{
	if (loops < 0 || max_threads < 0)
		return -EINVAL;
	/* pthread_attr_setstacksize(3) would refuse it, when it is too late to tell. */
	if (stack_size && stack_size < (size_t)PTHREAD_STACK_MIN)
		return -EINVAL;

	int cancel = stt_call_begin();
	int result = stt_engine_set(loops, max_threads, stack_size);

	stt_call_end(cancel);
	return result;
}

int sttcp_engine_shutdown(void)
{
	/* The thread that called it would be one of those that have to go. */
	if (stt_self)
		return -EDEADLK;

	int cancel = stt_call_begin();

	stt_all_settle();

	int result = stt_engine_end();

	if (result == 0)
		stt_tls_end();
	stt_call_end(cancel);
	return result;
}
