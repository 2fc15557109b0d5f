/* SPDX-License-Identifier: MIT */
/* Reading inside a handler. By the thread that runs the connection's own connection, receive or
 * response handler: anywhere else -EDEADLK. */
#ifndef STT_CONN_INLINE_READ_H
#define STT_CONN_INLINE_READ_H

#include <stddef.h>
#include <sys/types.h>

struct sttcp_conn;

/* As sttcp_conn_recv, sttcp_conn_recv_message, sttcp_conn_recv_exactly and sttcp_conn_next_size. */
ssize_t stt_inline_read(struct sttcp_conn *conn, void *buffer, size_t size, int timeout_ms);
ssize_t stt_inline_read_message(struct sttcp_conn *conn, void *buffer, size_t size, int timeout_ms);
ssize_t stt_inline_read_exactly(struct sttcp_conn *conn, void *buffer, size_t size, int timeout_ms);
ssize_t stt_inline_next_size(struct sttcp_conn *conn, int timeout_ms);

#endif
