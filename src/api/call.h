/* SPDX-License-Identifier: MIT */
/* What every public call does first: is there an object, is it of this process; and that a thread
 * which might be cancelled is not, until the call is over. */
#ifndef STT_API_CALL_H
#define STT_API_CALL_H

#include <errno.h>

#include "base/mutex.h"
#include "conn/conn.h"
#include "conn/desk.h"
#include "engine/engine.h"
#include "group/group.h"

struct sttcp_server {
	struct stt_group group;
};

struct sttcp_client {
	struct stt_group group;
};

/* 0, -EINVAL or STTCP_EFORK. */
static inline int stt_check_group(const struct stt_group *group)
{
	if (!group)
		return -EINVAL;
	return group->service.fork_count == stt_fork_count() ? 0 : STTCP_EFORK;
}

static inline int stt_check_conn(const struct sttcp_conn *conn)
{
	if (!conn)
		return -EINVAL;
	return conn->service->fork_count == stt_fork_count() ? 0 : STTCP_EFORK;
}

/* The library's own threads are never cancelled, and skip the two calls. */
static inline int stt_call_begin(void)
{
	return stt_self ? -1 : stt_cancel_off();
}

static inline void stt_call_end(int before)
{
	if (before >= 0)
		stt_cancel_back(before);
}

/* What server.c and client.c share: group_calls.c. */

/* A group in front of which the user's object stands; NULL for want of memory. */
struct stt_group *stt_group_new(enum stt_side side, const char *host, int port,
				const sttcp_options *options);

/* Sets a field of the handlers, which change only while the group is stopped: 0 or a code. */
int stt_group_set_handler(struct stt_group *group, size_t offset, const void *value, size_t size);

/* The setters differ in one field and its type. */
#define STT_SET_HANDLER(object, field, value)                                                      \
	stt_group_set_handler((object) ? &(object)->group : NULL,                                  \
			      offsetof(struct stt_handlers, field), &(value), sizeof(value))

int stt_group_wait_call(struct stt_group *group, int timeout_ms);
int stt_group_keep_alive(struct stt_group *group);

#endif
