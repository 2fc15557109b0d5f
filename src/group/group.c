/* SPDX-License-Identifier: MIT */
/*
 * The life of a group: the state table stands in group.h, and
 * stt_group_check_locked is the one place that moves along it when something has
 * been counted down.
 */
#include "group/group.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "conn/desk.h"
#include "engine/engine.h"
#include "group/addresses.h"
#include "group/admission.h"
#include "group/registry.h"
#include "group/rooms.h"
#include "group/roster.h"
#include "tls/context.h"
#include "tls/resumption.h"

static void release_on_pool(struct stt_worker *worker, struct stt_actor *actor);

static const struct stt_actor_ops releaser_ops = {.on_pool = release_on_pool};

int stt_group_init(struct stt_group *group, enum stt_side side, const char *host, int port)
{
	struct stt_settings *settings = &group->service.settings;
	char given[STT_ADDR_TEXT * 3];

	stt_addr_given(host, port, given, sizeof(given));
	group->service.is_client = side == STT_CLIENT;
	group->service.fork_count = stt_fork_count();
	group->service.host = strdup(host ? host : "");
	group->service.given = strdup(given);
	if (settings->local_host)
		group->service.local_host = strdup(settings->local_host);
	if (settings->tls_name)
		group->service.tls_name = strdup(settings->tls_name);
	if (side == STT_SERVER)
		group->rooms = stt_rooms_new();
	if (!group->service.host || !group->service.given ||
	    (settings->local_host && !group->service.local_host) ||
	    (settings->tls_name && !group->service.tls_name) ||
	    (side == STT_SERVER && !group->rooms)) {
		free(group->service.host);
		free(group->service.local_host);
		free(group->service.tls_name);
		free(group->service.given);
		stt_rooms_free(group->rooms);
		return -ENOMEM;
	}
	settings->local_host = group->service.local_host;
	settings->tls_name = group->service.tls_name;
	if (settings->tls)
		stt_tls_ref(settings->tls);
	group->service.port = port;
	atomic_init(&group->service.refs, 1);
	stt_mutex_init(&group->lock);
	stt_cond_init(&group->changed);
	stt_list_init(&group->waiters);
	group->releaser.ops = &releaser_ops;
	return 0;
}

void stt_group_destroy(struct stt_service *service)
{
	struct stt_group *group = stt_container_of(service, struct stt_group, service);

	stt_registry_remove(group);
	stt_rosters_free(atomic_load(&group->rosters));
	stt_rooms_free(group->rooms);
	stt_admission_fini(&group->admission);
	stt_addresses_fini(group);
	free(group->sweepers);
	free(group->service.host);
	free(group->service.local_host);
	free(group->service.tls_name);
	free(group->service.given);
	stt_tls_unref(group->service.settings.tls);
	stt_resumption_free(atomic_load(&group->service.resumption));
	stt_cond_fini(&group->changed);
	stt_mutex_fini(&group->lock);
	free(group);
}

static void tell_waiter_locked(const struct stt_group *group, struct stt_waiter *waiter)
	STT_REQUIRES(group->lock)
{
	waiter->over = true;
	waiter->report = group->report;
	waiter->reason = group->end_reason;
	waiter->opens = group->opens;
}

void stt_group_add_waiter_locked(struct stt_group *group, struct stt_waiter *waiter)
{
	*waiter = (struct stt_waiter){0};
	stt_list_init(&waiter->in_group);
	if (stt_group_is_over_locked(group))
		tell_waiter_locked(group, waiter);
	else
		stt_list_append(&group->waiters, &waiter->in_group);
}

void stt_group_remove_waiter_locked(struct stt_group *group, struct stt_waiter *waiter)
{
	(void)group;
	stt_list_remove(&waiter->in_group);
}

bool stt_group_wait_locked(struct stt_group *group, struct stt_waiter *waiter, int64_t until_ms)
{
	struct sttcp_conn *running = stt_desk_conn();

	if (!running)
		return stt_cond_wait_until(&group->changed, &group->lock, until_ms);

	int64_t look_ms = stt_now_ms() + STT_FORCED_LOOK_MS;
	bool in_time = stt_cond_wait_until(&group->changed, &group->lock,
					   look_ms < until_ms ? look_ms : until_ms) ||
		       look_ms < until_ms;

	/* Not while it takes another lock, of output, which others hold when they take this one. */
	stt_unlock(&group->lock);
	int forced = stt_conn_is_forced(running) ? stt_conn_end_code(running) : 0;

	stt_lock(&group->lock);
	waiter->forced = forced;
	return in_time && !forced;
}

static void tell_waiters_locked(struct stt_group *group) STT_REQUIRES(group->lock)
{
	while (!stt_list_empty(&group->waiters)) {
		struct stt_node *first = group->waiters.next;

		tell_waiter_locked(group, stt_container_of(first, struct stt_waiter, in_group));
		stt_list_remove(first);
	}
}

void stt_group_enter_locked(struct stt_group *group, enum stt_group_state state)
{
	group->state = state;
	if (stt_group_is_over_locked(group))
		tell_waiters_locked(group);
	stt_cond_wake_all(&group->changed);
	if (state != STT_IDLE)
		return;
	/* An alarm that is no longer needed gives its reference back now, not when it rings: a
	 * program may create and free clients by the thousand. */
	if (group->alarm_armed)
		stt_alarm_set(&group->engine->loops[0], &group->alarm, 0);
	atomic_store(&group->stopping, false);
	atomic_store(&group->service.ends_idle, false);
	group->release_now = group->release_later;
	group->release_later = false;
}

void stt_group_arm_locked(struct stt_group *group, int64_t at)
{
	if (!group->alarm_armed)
		stt_group_ref(group);
	group->alarm_armed = true;
	stt_alarm_set(&group->engine->loops[0], &group->alarm, at);
}

void stt_group_unlock(struct stt_group *group)
{
	bool release_now = group->release_now;

	group->release_now = false;
	group->releasing |= release_now;
	stt_unlock(&group->lock);
	if (!release_now)
		return;
	stt_pool_push(&group->engine->pool, &group->releaser);
	stt_lock(&group->lock);
	group->releasing = false;
	stt_unlock(&group->lock);
}

void stt_group_check_locked(struct stt_group *group)
{
	switch (group->state) {
	case STT_IDLE:
	case STT_STARTING:
		return;
	case STT_RUNNING:
		if (group->service.is_client && !group->live && group->retry_at_ms == STT_NEVER)
			stt_group_enter_locked(group, STT_IDLE);
		return;
	case STT_STOPPING:
		/* Only a server waits until the last bytes of input were dropped. */
		if (!group->nlisteners && !group->unasked && !group->live &&
		    (group->service.is_client || !group->open))
			stt_group_enter_locked(group, STT_IDLE);
		return;
	case STT_FORCING:
		if (group->unsettled || group->unasked || group->nlisteners)
			return;
		group->report.running = group->live;
		group->report.forced = group->forced_of - group->live;
		stt_group_enter_locked(group, group->live ? STT_LEFT : STT_IDLE);
		return;
	case STT_LEFT:
		if (!group->live)
			stt_group_enter_locked(group, STT_IDLE);
		return;
	}
}

int stt_group_tell(struct stt_group *group, int code, const char *format, ...)
{
	char text[sizeof(group->error)];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	if (stt_forked_since(group->service.fork_count))
		return STTCP_EFORK;
	stt_lock(&group->lock);
	memcpy(group->error, text, sizeof(text));
	stt_unlock(&group->lock);
	if (code < 0)
		stt_log(STT_LOG_ERROR, "%s", text);
	return stt_forked_since(group->service.fork_count) ? STTCP_EFORK : code;
}

/* A server without an address of its own has no port, which is -1. */
static bool port_is_wrong(const struct stt_group *group, int least)
{
	int port = group->service.port;

	if (stt_host_is_unix(group->service.host) || (!group->service.is_client && port == -1))
		return false;
	return port < least || port > 65535;
}

/* A Unix socket has no end that could be chosen, and no other socket has one of that kind. */
static const char *wrong_end(const struct stt_group *group)
{
	const struct stt_settings *settings = &group->service.settings;

	if (stt_host_is_unix(settings->local_host))
		return "local_host may not be a Unix socket";
	if (!stt_host_is_unix(group->service.host))
		return NULL;
	if (group->service.is_client && settings->tls && !settings->tls_name)
		return "tls needs tls_name with a Unix socket: the name that the certificate is "
		       "for";
	return settings->local_host   ? "local_host has no effect with a Unix socket"
	       : settings->local_port ? "local_port has no effect with a Unix socket"
				      : NULL;
}

static const char *beginning_of(const struct stt_group *group)
{
	return group->service.dialled ? "dial" : "start";
}

/* The files of its TLS object, and what was set on it. */
static int check_tls(struct stt_group *group)
{
	sttcp_tls *tls = group->service.settings.tls;
	char why[sizeof(group->error)];

	if (!tls)
		return 0;
	/* Its locks, and OpenSSL's, may have been held by a thread that the child does not have. */
	if (stt_tls_owner(tls) != stt_fork_count())
		return stt_group_tell(group, STTCP_EFORK, "cannot %s %s: tls: %s",
				      beginning_of(group), group->service.given,
				      sttcp_strerror(STTCP_EFORK));

	int result = stt_tls_start(tls);

	if (result == 0)
		return 0;
	stt_tls_copy_error(tls, why, sizeof(why));
	return stt_group_tell(group, result, "cannot %s %s: %s", beginning_of(group),
			      group->service.given, why);
}

int stt_group_check_start(struct stt_group *group)
{
	const char *wrong = group->bad_options[0] ? group->bad_options : wrong_end(group);
	int least_port = group->service.is_client ? 1 : 0;

	stt_log_begin();
	if (wrong)
		return stt_group_tell(group, -EINVAL, "cannot %s %s: %s", beginning_of(group),
				      group->service.given, wrong);
	if (port_is_wrong(group, least_port))
		return stt_group_tell(
			group, -EINVAL, "%s: the port must be from %d to 65535%s",
			group->service.given, least_port,
			group->service.is_client ? "" : ", or -1 for no address of its own");
	return check_tls(group);
}

void stt_group_release(struct stt_group *group)
{
	bool ours = stt_worker_is_ours();

	atomic_store(&group->released, true);
	stt_addresses_close(group);
	if (group->service.handlers.release)
		group->service.handlers.release(group->service.handlers.context);
	stt_worker_stop_child(ours);
	stt_group_unref(group);
}

static void release_on_pool(struct stt_worker *worker, struct stt_actor *actor)
{
	(void)worker;
	stt_group_release(stt_container_of(actor, struct stt_group, releaser));
}
