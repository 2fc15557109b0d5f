/* SPDX-License-Identifier: MIT */
/* Sends as users make them. The output takes the bytes or not; this file decides what a failure
 * means for the connection. */
#include "conn/send.h"

#include <errno.h>

#include "conn/conn.h"
#include "conn/ending.h"
#include "conn/service.h"

int stt_send_failed(struct sttcp_conn *conn, int result, enum stt_send_mode mode)
{
	bool torn = result == STT_SEND_TORN;

	if (torn)
		result = -ENOMEM;
	/* Half a message on the wire is worse than none: the connection ends with it. */
	if (torn || (mode == STT_SEND_BROADCAST && result == -ENOMEM))
		stt_conn_end(conn, result, STT_END_RESET);
	/* A broadcast neither waits nor reports a failure, so a member that would miss it is
	 * dropped. */
	else if (mode == STT_SEND_BROADCAST && result == -EAGAIN &&
		 !conn->service->settings.broadcast_skips)
		stt_conn_end(conn, STTCP_ESLOW, STT_END_RESET);
	return result;
}

/* A send that may not wait queues all of it at once, so the copy is made before the lock is taken.
 */
int stt_send_copied(struct sttcp_conn *conn, const struct iovec *parts, int count,
		    enum stt_send_mode mode, struct stt_shared **shared)
{
	struct stt_shared *mine = NULL;
	int result = -ENOMEM;

	if (!shared)
		shared = &mine;
	if (!*shared)
		*shared = stt_shared_join(parts, stt_parts_size(parts, count));
	if (*shared)
		result = stt_output_send(conn, parts, count, mode, shared);
	stt_shared_unref(mine);
	return result ? stt_send_failed(conn, result, mode) : 0;
}
