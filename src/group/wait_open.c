/* SPDX-License-Identifier: MIT */
/* A client may lose its connection before a thread that waited for it has woken up. Who only asked
 * whether it opens is told so; who wants to use one waits for the next. */
#include "group/wait_open.h"

#include <errno.h>

#include "base/clock.h"
#include "conn/conn.h"
#include "group/group.h"

static bool is_open_locked(const struct stt_group *group) STT_REQUIRES(group->lock)
{
	return group->current && !stt_conn_has_ended(group->current);
}

static int reason_of(const struct stt_waiter *waiter)
{
	return waiter->reason ? waiter->reason : STTCP_ECLOSED;
}

/* Waits until it is open or over; `conn` is NULL if it need not be open any more. */
static int wait_locked(struct stt_group *group, int64_t until_ms, struct sttcp_conn **conn)
	STT_REQUIRES(group->lock)
{
	struct stt_waiter waiter;
	uint64_t opens = group->opens;
	bool in_time = true;

	if (!group->started_once)
		return -EINVAL;
	stt_group_add_waiter_locked(group, &waiter);
	while (in_time && !waiter.over && !is_open_locked(group) && (conn || group->opens == opens))
		in_time = stt_group_wait_locked(group, &waiter, until_ms);
	stt_group_remove_waiter_locked(group, &waiter);
	/* First: what is open now is a later run's then. */
	if (waiter.over)
		return !conn && waiter.opens != opens ? 0 : reason_of(&waiter);
	if (is_open_locked(group)) {
		if (conn)
			*conn = stt_conn_ref(group->current);
		return 0;
	}
	if (!conn && group->opens != opens)
		return 0;
	return waiter.forced ? waiter.forced : -ETIMEDOUT;
}

int stt_group_wait_conn(struct stt_group *group, int timeout_ms, struct sttcp_conn **conn)
{
	int64_t until_ms = stt_deadline_ms(timeout_ms);

	stt_group_ref(group);
	stt_lock(&group->lock);
	int result = wait_locked(group, until_ms, conn);

	stt_unlock(&group->lock);
	stt_group_unref(group);
	return result;
}

int stt_group_wait_open(struct stt_group *group, int timeout_ms)
{
	return stt_group_wait_conn(group, timeout_ms, NULL);
}
