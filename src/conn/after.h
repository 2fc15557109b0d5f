/* SPDX-License-Identifier: MIT */
/* What follows a call of user code. By the connection's owner, outside turns. */
#ifndef STT_CONN_AFTER_H
#define STT_CONN_AFTER_H

#include <stdbool.h>
#include <stddef.h>

#include "conn/service.h"

struct stt_desk;
struct sttcp_conn;

/* A handler has returned, and `verdict` is the result that counts; or there was none. It knows no
 * more of it than the connection, the event, and what the record of the call on the desk says. The
 * `data` is what the handler was called with: only that of STT_MALFORMED is looked at. */
void stt_after_call(struct stt_desk *desk, struct sttcp_conn *conn, enum stt_event event,
		    const void *data, bool verdict);

/* The peer's FIN has been told, or nobody is told. */
void stt_after_fin(struct sttcp_conn *conn);

/* The data of STT_MALFORMED. */
struct stt_refused {
	int code;	  /* first: the handler gets it */
	const char *text; /* NULL without memory for it */
};

/* Sets the time at which a connection in phase LINGERING is closed in any case. */
void stt_after_limit_lingering(struct sttcp_conn *conn, int64_t at);

#endif
