/* SPDX-License-Identifier: MIT */
/*
 * One connection's TLS: between the plain bytes of a connection and the cipher
 * bytes of its descriptor, which a pair of calls moves. No socket, no thread, no
 * clock; nothing waits.
 *
 * Plain bytes become records when the *rest* is empty: the cipher bytes that the
 * descriptor has not taken yet. So a session never has more than one batch of
 * them (64 KiB of plain bytes), and what the handshake and alerts add.
 *
 * Locking is the caller's. The handshake belongs to one thread, the connection's
 * owner: it may take as long as a key in a slow module, so it is made without a
 * lock, and meanwhile nobody else calls anything here. It moves no bytes out;
 * stt_tls_flush does, under the lock that the caller has for its output. From
 * the end of the handshake on every call is made under that lock.
 *
 * After a fork none of these may be called on the parent's sessions.
 */
#ifndef STT_TLS_SESSION_H
#define STT_TLS_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "sttcp.h"

struct stt_credentials;
struct stt_resumption;
struct stt_tls_session;
struct sttcp_tls;

enum {
	/* Plain bytes that one stt_tls_send takes at most: four records. */
	STT_TLS_BATCH = 64 * 1024,
	/* Cipher bytes that may wait for a peer that asks for answers and does not read them. */
	STT_TLS_ANSWERS_MAX = 64 * 1024
};

/* How cipher bytes move; neither call waits. `recv`: bytes, 0 at the peer's FIN, -EAGAIN or another
 * code; *emptied: an event will come when there is more. `send`: bytes taken, which may be fewer,
 * or a code. */
struct stt_tls_wire {
	ssize_t (*recv)(void *context, void *data, size_t size, bool *emptied);
	ssize_t (*send)(void *context, const struct iovec *parts, int count);
};

/* What a session begins with. */
struct stt_tls_start {
	/* Of a client: whom it asks for, and whose certificate it wants to see; a DNS name or an
	 * address. */
	const char *name;
	struct stt_resumption *resumption; /* of a client, or NULL; outlives the session */
	/* Cipher bytes that were read before: those behind a STARTTLS. */
	const void *early;
	size_t early_size;
	const struct stt_tls_wire *wire;
	void *context;
};

/* 0; -EINVAL: a client that verifies has no name; -ENOMEM. `tls` has been used (stt_tls_use);
 * whether it is of a server decides who begins. */
int stt_tls_session_new(struct stt_tls_session **session, struct sttcp_tls *tls,
			const struct stt_tls_start *start);

/* Its descriptor may be gone already. NULL is fine. */
void stt_tls_session_free(struct stt_tls_session *session);

/*
 * One step of the handshake: 0 when it is done, -EAGAIN when it needs input, or
 * why it has failed: STTCP_ETLS, -ENOMEM, or the wire's. In each case what is to
 * be sent (after a failure the alert) is in the rest.
 */
int stt_tls_handshake(struct stt_tls_session *session);

/* Cipher bytes that have come: a peer that ends without one has only looked whether the port is
 * open. */
uint64_t stt_tls_heard(const struct stt_tls_session *session);

/* Bytes; 0 after the peer's close_notify; -EAGAIN; STTCP_ECUT, STTCP_ETLS, -ENOMEM, or the wire's.
 * *emptied: an event will come when there is more; else the caller has to come back by itself.
 * *budget becomes smaller with each record and each message that is not data, and at 0 it returns.
 */
ssize_t stt_tls_recv(struct stt_tls_session *session, void *data, size_t size, bool *emptied,
		     int *budget);

/* Whether the next stt_tls_recv takes a wire whose last read was short for dry still: true as long
 * as no event that came behind that read was taken. */
void stt_tls_stay_dry(struct stt_tls_session *session, bool on);

/* Whether stt_tls_recv may have something without an event. */
bool stt_tls_has_input(const struct stt_tls_session *session);

/* Whether the last stt_tls_recv has left a part of a record, which is no bytes for it yet. */
bool stt_tls_is_amid_record(const struct stt_tls_session *session);

/* Plain bytes that were taken, which may be fewer; they are not offered again. -EAGAIN while there
 * is a rest, or a code. The parts may be empty; `count` may be anything. */
ssize_t stt_tls_send(struct stt_tls_session *session, const struct iovec *parts, int count);

/* Moves the rest out: 0 when it is empty, -EAGAIN, or why the wire takes no more; then what is left
 * is lost. A failure that costs no plain bytes is kept for the next stt_tls_send: what the peer
 * said before can still be read. */
int stt_tls_flush(struct stt_tls_session *session);

/* Why the wire takes or gives no more, as it told a call that kept it, or 0: it tells only once. */
int stt_tls_failure(const struct stt_tls_session *session);

/* Whether nothing can be sent any more, for a reason of the wire's or of TLS. */
bool stt_tls_has_failed(const struct stt_tls_session *session);

/* Whether the rest is a server's tickets alone, for which no peer waits. Until the first flush.
 * They leave in front of the first bytes that are sent, and with them if these are few. */
bool stt_tls_is_held(const struct stt_tls_session *session);

/* Whether a message of TLS's own has come in part. */
bool stt_tls_is_amid_message(const struct stt_tls_session *session);

/* Whether the last stt_tls_send, or a stt_tls_finish, was refused because of that: OpenSSL takes no
 * bytes before it has read the rest. So a stt_tls_recv may change it, and no event of the
 * descriptor tells. True until it has. */
bool stt_tls_needs_input(const struct stt_tls_session *session);

/* Cipher bytes that wait for the descriptor. */
size_t stt_tls_rest(const struct stt_tls_session *session);

/* Cipher bytes that it has taken, ever: whether output moves. */
uint64_t stt_tls_moved(const struct stt_tls_session *session);

/* The end of sending: a close_notify behind everything, in the rest. Once; during the handshake and
 * after a failure it does nothing, and amid a message it has to be called again. */
void stt_tls_finish(struct stt_tls_session *session);

/* Whether it has. */
bool stt_tls_finishes_later(const struct stt_tls_session *session);

/* Why it has failed, in words; "" where nothing is to be said. It lives as long as the session. */
const char *stt_tls_text(const struct stt_tls_session *session);

/* What was agreed on; the strings live as long as the session, and are never NULL. */
struct stt_tls_facts {
	const char *version, *cipher, *alpn, *server_name, *peer_subject, *peer_fingerprint;
	bool peer_verified, resumed;
	const void *peer_certificate; /* DER, or NULL */
	size_t peer_certificate_size;
};

/* False before the end of the handshake. It does not change afterwards. */
bool stt_tls_get_facts(const struct stt_tls_session *session, struct stt_tls_facts *facts);

/* For contexts that sessions are made of. */
void stt_session_attach(struct stt_credentials *credentials);

#endif
