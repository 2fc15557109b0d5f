/* SPDX-License-Identifier: MIT */
/* Reading: what has come on a connection goes to its handlers. By the connection's owner, outside
 * turns; reading inside a handler is in inline_read.h. */
#ifndef STT_CONN_READ_H
#define STT_CONN_READ_H

#include <stdbool.h>

struct stt_desk;
struct sttcp_conn;

/* Reads an open connection until its input is empty, or it is held or has ended; true when the
 * budget of the turn is used up before. */
bool stt_read(struct stt_desk *desk, struct sttcp_conn *conn);

/* What is left of the input of a connection that has ended. */
enum stt_rest {
	STT_REST_GONE, /* its FIN was read, or it is broken */
	STT_REST_COMES,
	STT_REST_IS_THERE /* more than the budget of a turn */
};

/* Drops input, so that closing the socket does not reset it (RFC 1122, 4.2.2.13). */
enum stt_rest stt_read_drop(struct stt_desk *desk, struct sttcp_conn *conn);

#endif
