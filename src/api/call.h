/* SPDX-License-Identifier: MIT */
/* What every public call does first: is there an object, is it of this process; and that a thread
 * which might be cancelled is not, until the call is over. */
#ifndef STT_API_CALL_H
#define STT_API_CALL_H

#include <errno.h>
#include <stdint.h>

#include "api/option_rules.h"
#include "base/mutex.h"
#include "conn/conn.h"
#include "conn/desk.h"
#include "engine/engine.h"
#include "group/group.h"
#include "group/rooms.h"

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
	return stt_forked_since(group->service.fork_count) ? STTCP_EFORK : 0;
}

static inline int stt_check_conn(const struct sttcp_conn *conn)
{
	if (!conn)
		return -EINVAL;
	return stt_forked_since(conn->service->fork_count) ? STTCP_EFORK : 0;
}

/* Whether there may be so many bytes: more than the largest object must be a mistake, such as a
 * length below 0. */
static inline bool stt_can_be_sent(const void *data, size_t size)
{
	return (data || !size) && size <= PTRDIFF_MAX;
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

/* A group that is the first member of the user's object; NULL when out of memory. */
struct stt_group *stt_api_new_group(enum stt_option_user user, const char *host, int port,
				    const sttcp_options *options);

/* Calls `fn` for each member, of a room or (NULL) of all: how many, or STTCP_EFORK. */
int stt_api_each(struct stt_group *group, const struct stt_room_key *room,
		 void (*fn)(sttcp_conn *conn, void *argument), void *argument);

/* Around a change of the handlers, which is possible only while the group is stopped: 0, and its
 * lock is held until the end of the change; or a code. */
int stt_api_begin_change(struct stt_group *group) STT_UNCHECKED;
int stt_api_end_change(struct stt_group *group) STT_UNCHECKED;

/* Whether the calling thread may wait for the end of a server, or for a client: 0 or a code. */
int stt_api_check_wait(const struct stt_group *group);

/* As sttcp_server_wait and sttcp_server_keep_alive. */
int stt_api_wait(struct stt_group *group, int timeout_ms);
int stt_api_keep_alive(struct stt_group *group);

#endif
