/* SPDX-License-Identifier: MIT */
/*
 * The stream of a connection: what stands between its bytes and its descriptor.
 * All that a connection receives, sends and says of its end goes through here;
 * so far there is one kind, plain bytes, and each call is that of the socket. It
 * is the place for a kind that has bytes of its own in hand.
 *
 * What callers may rely on, for any kind:
 *	- Nothing waits, and a result below 0 is -EAGAIN or why the stream has failed.
 *	- Sending, its end and a reset are under the output lock; receiving is the
 *	  connection's owner's.
 *	- While a stream is not emptied no event need come for what it has: who stops
 *	  reading before must come back by itself. Once it is, an event tells of more.
 *	- A descriptor of -1 is the caller's to find.
 */
#ifndef STT_CONN_STREAM_H
#define STT_CONN_STREAM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "conn/conn.h"
#include "net/socket.h"

static inline int stt_stream_fd(const struct sttcp_conn *conn)
{
	return atomic_load_explicit(&conn->fd, memory_order_relaxed);
}

/* Bytes, or 0 at the peer's end of the stream. `emptied` tells whether an event will come when
 * there is more: not while bytes are left; nor when `hangup` is set, for data and FIN come in one
 * event, and then it is read until there is nothing. (Set later, that brings a read wish with it.)
 */
static inline ssize_t stt_stream_recv(struct sttcp_conn *conn, void *data, size_t size,
				      bool *emptied)
{
	ssize_t got = stt_socket_recv(stt_stream_fd(conn), data, size);

	/* A short read has emptied a socket. */
	*emptied = got < (ssize_t)size && !atomic_load(&conn->hangup);
	return got;
}

/* The same for input that nobody wants; `data` has room for `size` bytes. */
static inline ssize_t stt_stream_drop(struct sttcp_conn *conn, void *data, size_t size)
{
	return stt_socket_drop(stt_stream_fd(conn), data, size);
}

/* Whether a read would give bytes now. */
static inline bool stt_stream_has_input(struct sttcp_conn *conn)
{
	return stt_socket_has_input(stt_stream_fd(conn));
}

/* Whether a read would give anything now: bytes, the end, or a failure. */
static inline bool stt_stream_has_news(struct sttcp_conn *conn)
{
	return stt_socket_has_news(stt_stream_fd(conn));
}

/* Waits until it would, or the eventfd is awake, after a read has given -EAGAIN: 0, -ETIMEDOUT at
 * `until_ms`, or why it has failed. The one call that waits. */
static inline int stt_stream_wait(struct sttcp_conn *conn, int waker, int64_t until_ms)
{
	return stt_socket_wait(stt_stream_fd(conn), waker, until_ms);
}

/* Why the stream has failed, without a read: 0 or a code. */
static inline int stt_stream_failure(struct sttcp_conn *conn)
{
	return stt_socket_failure(stt_stream_fd(conn));
}

/* How many of the bytes were taken, of which some are then as good as sent: they are offered no
 * second time. */
static inline ssize_t stt_stream_send_locked(struct stt_output *out, const struct iovec *parts,
					     int count) STT_REQUIRES(out->lock)
{
	return stt_socket_send(stt_stream_fd(stt_output_conn(out)), parts, count);
}

/* The end of what is sent, behind all that was: FIN. */
static inline void stt_stream_finish_locked(struct stt_output *out) STT_REQUIRES(out->lock)
{
	stt_socket_shutdown(stt_stream_fd(stt_output_conn(out)));
}

/* Ends it both ways at once: RST. What was taken and has not gone is lost. */
static inline void stt_stream_reset_locked(struct stt_output *out) STT_REQUIRES(out->lock)
{
	stt_socket_reset(stt_stream_fd(stt_output_conn(out)));
}

#endif
