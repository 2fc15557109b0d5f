/* SPDX-License-Identifier: MIT */
/* Sending, with what a send that fails means for the connection. Any thread. */
#ifndef STT_CONN_SEND_H
#define STT_CONN_SEND_H

#include "base/parts.h"
#include "conn/output.h"

/* For stt_send. */
int stt_send_copied(struct sttcp_conn *conn, const struct iovec *parts, int count,
		    enum stt_send_mode mode, struct stt_shared **shared);
int stt_send_failed(struct sttcp_conn *conn, int result, enum stt_send_mode mode);

/*
 * Sends all parts as one run of bytes: 0 or a code, see sttcp_conn_send and
 * sttcp_conn_try_send. BROADCAST takes whatever fits under the cap; `shared` is
 * made when something has to be queued, for all members.
 */
static inline int stt_send(struct sttcp_conn *conn, const struct iovec *parts, int count,
			   enum stt_send_mode mode, struct stt_shared **shared)
{
	if (mode != STT_SEND_WAIT && stt_parts_size(parts, count) > STT_DIRECT_BYTES)
		return stt_send_copied(conn, parts, count, mode, shared);

	int result = stt_output_send(conn, parts, count, mode, shared);

	return result ? stt_send_failed(conn, result, mode) : 0;
}

#endif
