/* SPDX-License-Identifier: MIT */
/* A client may lose its connection before a thread that waited for it has woken up. Who only asked
 * whether it opens is told so; who wants to use one waits for the next. */
#include "group/wait_open.h"

#include <errno.h>

#include "base/clock.h"
#include "conn/conn.h"
#include "group/group.h"
#include "group/stop.h"

static bool is_open_locked(const struct stt_group *group) STT_REQUIRES(group->lock)
{
	return group->current && !stt_conn_has_ended(group->current);
}

/* Waits until it is open or over; `conn` is NULL if it need not be open any more. */
static int wait_locked(struct stt_group *group, int64_t until_ms, struct sttcp_conn **conn)
	STT_REQUIRES(group->lock)
{
	uint64_t run = group->runs;
	uint64_t opens = group->opens;
	bool in_time = true;

	if (!group->started_once)
		return -EINVAL;
	for (;;) {
		if (is_open_locked(group)) {
			if (conn)
				*conn = stt_conn_ref(group->current);
			return 0;
		}
		if (!conn && group->opens != opens)
			return 0;
		if (stt_group_is_over_locked(group, run))
			return group->end_reason ? group->end_reason : STTCP_ECLOSED;
		if (!in_time)
			return -ETIMEDOUT;
		in_time = stt_cond_wait_until(&group->changed, &group->lock, until_ms);
	}
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
