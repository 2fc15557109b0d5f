/* SPDX-License-Identifier: MIT */
/* Reading inside a handler. By the thread that runs the connection's own connection, receive or
 * response handler: anywhere else -EDEADLK. */
#ifndef STT_CONN_INLINE_READ_H
#define STT_CONN_INLINE_READ_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct stt_desk;
struct sttcp_conn;

/* 0, or why the calling thread may not read here. */
int stt_inline_check(const struct sttcp_conn *conn);

/* Waits for events of the descriptor (poll(2)), or with 0 for input of the stream: 0, -ETIMEDOUT,
 * or why the connection has ended. */
int stt_inline_wait(struct stt_desk *desk, struct sttcp_conn *conn, short events, int64_t until_ms);

/* As sttcp_conn_recv, sttcp_conn_recv_message, sttcp_conn_recv_exactly and sttcp_conn_next_size. */
ssize_t stt_inline_read(struct sttcp_conn *conn, void *buffer, size_t size, int timeout_ms);
ssize_t stt_inline_read_message(struct sttcp_conn *conn, void *buffer, size_t size, int timeout_ms);
ssize_t stt_inline_read_exactly(struct sttcp_conn *conn, void *buffer, size_t size, int timeout_ms);
ssize_t stt_inline_next_size(struct sttcp_conn *conn, int timeout_ms);

#endif
