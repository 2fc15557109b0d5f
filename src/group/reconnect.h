/* SPDX-License-Identifier: MIT */
/*
 * A client that connects again by itself. Between two attempts it is RUNNING
 * without a connection: `retry_at_ms` says when the next one begins, and the
 * group's alarm rings for it.
 */
#ifndef STT_GROUP_RECONNECT_H
#define STT_GROUP_RECONNECT_H

#include "group/group.h"

/* What is to be told about the end of a connection, without the lock. */
struct stt_reconnect_news {
	enum {
		STT_NO_NEWS,
		STT_CONNECTS_AGAIN,
		STT_GIVES_UP
	} what;
	int wait_ms;
	int tries;
};

/* Of a new client. */
void stt_reconnect_init(struct stt_group *group);

/* Whether another attempt follows the end of a client's connection that this side did not want, and
 * whose last handler has returned: it counts as a try. */
bool stt_reconnect_follows_locked(struct stt_group *group, const struct sttcp_conn *conn,
				  struct stt_reconnect_news *news) STT_REQUIRES(group->lock);

/* Sets the time of the next attempt. */
void stt_reconnect_plan_locked(struct stt_group *group, struct stt_reconnect_news *news)
	STT_REQUIRES(group->lock);

/* No other attempt is to begin: the client is being closed. */
void stt_reconnect_forget_locked(struct stt_group *group) STT_REQUIRES(group->lock);

void stt_reconnect_tell(const struct stt_group *group, const struct stt_reconnect_news *news);

#endif
