/* SPDX-License-Identifier: MIT */
/* Reading by calls. By the thread that runs the connection's own connection, receive or response
 * handler, or one of its tasks: anywhere else -EDEADLK. On a dialled connection by any thread, one
 * at a time: -EBUSY for the others. */
#ifndef STT_CONN_INLINE_READ_H
#define STT_CONN_INLINE_READ_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct stt_desk;
struct sttcp_conn;

/* Around each of these, and around whatever else only a reader may do: 0 and the desk to do it
 * with, or why the calling thread may not read here, or not before `until_ms`; and then its result,
 * or STTCP_EFORK. */
int stt_inline_begin(struct sttcp_conn *conn, int64_t until_ms, struct stt_desk **desk);
ssize_t stt_inline_end(struct sttcp_conn *conn, ssize_t result);

/* As sttcp_conn_recv, sttcp_conn_recv_message, sttcp_conn_recv_exactly and sttcp_conn_next_size. */
ssize_t stt_inline_read(struct sttcp_conn *conn, void *buffer, size_t size, int timeout_ms);
ssize_t stt_inline_read_message(struct sttcp_conn *conn, void *buffer, size_t size, int timeout_ms);
ssize_t stt_inline_read_exactly(struct sttcp_conn *conn, void *buffer, size_t size, int timeout_ms);
ssize_t stt_inline_next_size(struct sttcp_conn *conn, int timeout_ms);

/* Takes back bytes that were read: they come next, under the framing of that time, and otherwise go
 * to the handler. 0, -ENOMEM, or why the calling thread may not read here. */
int stt_inline_unread(struct sttcp_conn *conn, const void *data, size_t size);

#endif
