/* SPDX-License-Identifier: MIT */
/*
 * The stream of a connection: the seam between its bytes and its descriptor.
 * Everything that a connection receives, sends or does to its end goes through
 * here. There are two kinds: plain bytes, where each call is one of the socket, and
 * TLS (secure.h), which has buffers of its own.
 *
 * What callers may rely on, for any kind:
 *	- No call waits: who has to, does so with wait.h. A result below 0 is -EAGAIN or
 *	  why the stream has failed.
 *	- Sent bytes that were taken may still be in the stream: it is drained when the
 *	  output says so (stt_output_drained_locked).
 *	- Sending, finishing and resetting are under the output lock; receiving is for
 *	  the connection's owner.
 *	- While a stream is not emptied, no event need come for what it still has:
 *	  whoever stops reading before that must come back by itself. Once it is
 *	  emptied, an event reports more input.
 *	- Callers have to check for a descriptor of -1.
 */
#ifndef STT_CONN_STREAM_H
#define STT_CONN_STREAM_H

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/clock.h"
#include "conn/conn.h"
#include "conn/secure.h"
#include "net/socket.h"

static inline int stt_stream_fd(const struct sttcp_conn *conn)
{
	return atomic_load_explicit(&conn->fd, memory_order_relaxed);
}

/* Bytes, or 0 at the peer's end of the stream. `emptied` tells whether an event will come when
 * there is more. It is false while bytes are left, and while `hangup` is set: data and FIN come in
 * one event, so the stream is read until there is nothing. (If `hangup` is set later, a read wish
 * comes with it.) */
static inline ssize_t stt_stream_recv_plain(struct sttcp_conn *conn, void *data, size_t size,
					    bool *emptied)
{
	ssize_t got = stt_socket_recv(stt_stream_fd(conn), data, size);

	/* A short read has emptied a socket. */
	*emptied = got < (ssize_t)size && !atomic_load(&conn->hangup);
	return got;
}

/* The same of either kind. With TLS -EAGAIN may come with *emptied false: others first. */
static inline ssize_t stt_stream_recv(struct sttcp_conn *conn, void *data, size_t size,
				      bool *emptied)
{
	if (__builtin_expect(conn->secure, false)) {
		/* A local one: so that of the caller can stay in a register. */
		bool none_left;
		ssize_t got = stt_secure_recv(conn, data, size, &none_left);

		*emptied = none_left;
		return got;
	}
	return stt_stream_recv_plain(conn, data, size, emptied);
}

/* Whether that was why it gave nothing. */
static inline bool stt_stream_has_more(const struct sttcp_conn *conn, ssize_t got, bool emptied)
{
	return got == -EAGAIN && conn->secure && !emptied;
}

/* Input that nobody wants, as it comes from the descriptor; `data` has room for `size` bytes. Where
 * output waits for it, TLS reads it. Above 0: there may be more. */
static inline ssize_t stt_stream_drop(struct sttcp_conn *conn, void *data, size_t size)
{
	if (conn->secure && stt_secure_wants_input(conn)) {
		bool emptied;
		ssize_t got = stt_secure_recv(conn, data, size, &emptied);

		return got == -EAGAIN && !emptied ? 1 : got;
	}
	return stt_socket_drop(stt_stream_fd(conn), data, size);
}

/* Whether a read would give bytes now. */
static inline bool stt_stream_has_input(struct sttcp_conn *conn)
{
	return (conn->secure && stt_secure_has_input(conn)) ||
	       stt_socket_has_input(stt_stream_fd(conn));
}

/* Whether a part of something has come that a read cannot give yet. By the owner. */
static inline bool stt_stream_is_amid(struct sttcp_conn *conn)
{
	return conn->secure && stt_secure_is_amid(conn);
}

/* Whether a read would give anything now: bytes, the end, or a failure. */
static inline bool stt_stream_has_news(struct sttcp_conn *conn)
{
	return (conn->secure && stt_secure_has_input(conn)) ||
	       stt_socket_has_news(stt_stream_fd(conn));
}

/* Why the stream has failed, without a read: 0 or a code. The kernel tells only once, and may have
 * told it a session whose tickets nobody took. */
static inline int stt_stream_failure(struct sttcp_conn *conn)
{
	int code = stt_socket_failure(stt_stream_fd(conn));

	return code == 0 && conn->secure ? stt_secure_failure(conn) : code;
}

/* For whoever knows that there is no TLS: saves the question. */
static inline ssize_t stt_stream_send_plain_locked(struct stt_output *out,
						   const struct iovec *parts, int count)
	STT_REQUIRES(out->lock)
{
	return stt_socket_send(stt_stream_fd(stt_output_conn(out)), parts, count);
}

/* How many of the bytes were taken. These count as sent, and are not offered again. */
static inline ssize_t stt_stream_send_locked(struct stt_output *out, const struct iovec *parts,
					     int count) STT_REQUIRES(out->lock)
{
	if (out->detours & STT_DETOUR_TLS)
		return stt_secure_send_locked(out, parts, count);
	return stt_stream_send_plain_locked(out, parts, count);
}

/* Ends the sending direction after all that was sent: FIN. */
static inline void stt_stream_finish_locked(struct stt_output *out) STT_REQUIRES(out->lock)
{
	stt_socket_shutdown(stt_stream_fd(stt_output_conn(out)));
}

/* Ends both directions at once: RST. Bytes that were taken but have not left are lost. */
static inline void stt_stream_reset_locked(struct stt_output *out) STT_REQUIRES(out->lock)
{
	stt_socket_reset(stt_stream_fd(stt_output_conn(out)));
}

#endif
