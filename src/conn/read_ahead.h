/* SPDX-License-Identifier: MIT */
/* Reading ahead: into memory, while nothing may be delivered. Why: unheard.h. */
#ifndef STT_CONN_READ_AHEAD_H
#define STT_CONN_READ_AHEAD_H

struct stt_desk;
struct sttcp_conn;

/* Reads if AHEAD is set (hold.h), once. By the owner, which may not deliver, with its input on the
 * desk. */
void stt_read_ahead(struct stt_desk *desk, struct sttcp_conn *conn);

#endif
