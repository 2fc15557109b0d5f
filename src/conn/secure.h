/* SPDX-License-Identifier: MIT */
/*
 * A connection with TLS: its session, and the stream over it (stream.h). Plain
 * bytes wait in the output's queue, as ever; the session makes records of them
 * when those before have left, and what the descriptor does not take of these is
 * the session's rest (tls/session.h).
 *
 *	DETOUR_TLS	output.shakes	sends				the session is for
 *	false		-		go to the descriptor		-
 *	true		true		are only queued, but for those	the owner alone,
 *					from before a start_tls		without a lock
 *	true		false		go through the session		whoever has the lock
 *
 * The owner sets both under the lock, and `secure` of the connection with them. It clears `shakes`
 * when the handshake is over, whether it has succeeded or not.
 */
#ifndef STT_CONN_SECURE_H
#define STT_CONN_SECURE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "conn/output.h"
#include "tls/session.h"

struct sttcp_conn;

/* A part of a record, behind the last read: no bytes for whoever reads, yet the peer is not silent,
 * and a message may begin with it. Only the owner. */
struct stt_part {
	bool there;
	bool grew;	  /* in that read */
	int64_t since_ms; /* limits for it count from then on; 0: not yet */
};

struct stt_secure {
	struct stt_tls_session *session;
	/* Under the output lock: bytes in the queue and in line that were sent before TLS, with
	 * those of senders that were turned away since. */
	size_t clear;
	struct stt_part part;
};

/* NULL without TLS. Any thread: it stays as it was made. */
struct stt_secure *stt_secure_of(const struct sttcp_conn *conn);

/* What a session begins with. */
struct stt_secure_start {
	struct sttcp_tls *tls; /* stt_tls_use has succeeded */
	const char *name;
	const void *early;
	size_t early_size;
};

/* By the owner: from now on it is in its handshake. 0, or a code, and nothing has changed: what the
 * connection has ended with, -EPIPE after its FIN, and as stt_tls_session_new. */
int stt_secure_begin(struct sttcp_conn *conn, const struct stt_secure_start *start);

/* With the connection's memory. */
void stt_secure_free(struct sttcp_conn *conn);

/* What was agreed on: false without TLS, and before the end of a handshake. */
bool stt_secure_get_facts(struct sttcp_conn *conn, struct stt_tls_facts *facts);

/* Why the session has failed: a copy, NULL when there is nothing to say. */
char *stt_secure_text(struct sttcp_conn *conn);

/* As stt_stream_send_locked. */
ssize_t stt_secure_send_locked(struct stt_output *out, const struct iovec *parts, int count)
	STT_REQUIRES(out->lock);

/* Whether all that may leave now is out, and the rest has to wait for the handshake. */
bool stt_secure_waits_locked(const struct stt_output *out) STT_REQUIRES(out->lock);

/* Whether a part of what was sent before TLS has not left. */
bool stt_secure_is_torn_locked(const struct stt_output *out) STT_REQUIRES(out->lock);

/* Whether all that waits for the descriptor is tickets, for which no peer waits. */
bool stt_secure_is_held_locked(const struct stt_output *out) STT_REQUIRES(out->lock);

/* Whether output waits for input: TLS sends nothing amid a message of its own. */
bool stt_secure_needs_input_locked(const struct stt_output *out) STT_REQUIRES(out->lock);

/* Whether the same holds for the end of its output. */
bool stt_secure_finishes_later_locked(const struct stt_output *out) STT_REQUIRES(out->lock);

/* Whether no record waits for the descriptor, nor an end for input. */
bool stt_secure_is_drained_locked(const struct stt_output *out) STT_REQUIRES(out->lock);

/* Moves the rest out: 0, -EAGAIN, or why the stream has failed. `*moved`: bytes have left. */
int stt_secure_flush_locked(struct stt_output *out, bool *moved) STT_REQUIRES(out->lock);

/* A close_notify behind all that was sent, now or later. Idempotent. */
void stt_secure_finish_locked(struct stt_output *out) STT_REQUIRES(out->lock);

/* As their likes in stream.h, by the owner: secure_read.c. */
ssize_t stt_secure_recv(struct sttcp_conn *conn, void *data, size_t size, bool *emptied);
bool stt_secure_has_input(struct sttcp_conn *conn);

/* Whether output waits for input, or will: a message of TLS's own has come in part. */
bool stt_secure_wants_input(struct sttcp_conn *conn);
bool stt_secure_is_amid(struct sttcp_conn *conn);
int stt_secure_failure(struct sttcp_conn *conn);

/* Whether it takes nothing more, whatever comes. Any thread; false without TLS. */
bool stt_secure_has_failed(struct sttcp_conn *conn);

#endif
