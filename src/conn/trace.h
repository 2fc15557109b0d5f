/* SPDX-License-Identifier: MIT */
/*
 * Log lines about a connection, with its address and its id: its life at level
 * 4, and at level 3 the ends that the library has decided. If the level is
 * off, each of these is one load. Never with a lock held; by the connection's
 * owner or the holder of a reference.
 */
#ifndef STT_CONN_TRACE_H
#define STT_CONN_TRACE_H

#include "base/log.h"

struct sttcp_conn;
struct stt_addr;

/* A line at level 4. A macro, so that its arguments are evaluated only if the line is wanted. */
#define stt_trace(conn, ...)                                                                       \
	(stt_log_wants(STT_LOG_TRACE) ? stt_trace_tell((conn), STT_LOG_TRACE, __VA_ARGS__)         \
				      : (void)0)

/* For stt_trace. */
void stt_trace_tell(struct sttcp_conn *conn, enum stt_log_level level, const char *format, ...)
	STTCP_PRINTF(3, 4);

/* Its end, with the reason and the text that adds to it, before its last handler. By the owner. */
void stt_trace_ended(struct sttcp_conn *conn);

#endif
