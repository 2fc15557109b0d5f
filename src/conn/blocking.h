/* SPDX-License-Identifier: MIT */
/* The mark of connections whose handlers block. By the connection's owner. */
#ifndef STT_CONN_BLOCKING_H
#define STT_CONN_BLOCKING_H

struct sttcp_conn;

enum {
	/* Quick calls in a row that clear the mark. */
	STT_QUICK_RUN = 8
};

/* The connection's handler was found blocking: its next events go straight to the pool. */
void stt_blocking_mark(struct sttcp_conn *conn);
/* Takes that back, at the latest at the connection's death. */
void stt_blocking_unmark(struct sttcp_conn *conn);

#endif
