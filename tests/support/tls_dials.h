/* SPDX-License-Identifier: MIT */
/*
 * Peers that speak TLS by OpenSSL alone, over a socket: a test says how much of
 * what they say leaves. Any thread, one at a time; nothing asserts but
 * tls_dial_context.
 */
#ifndef STT_TEST_TLS_DIALS_H
#define STT_TEST_TLS_DIALS_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>

struct tls_dial {
	int fd;
	SSL *ssl;
	BIO *in, *out; /* the ssl's */
	/* Of the records that it writes; all that come behind `most` are lost, after a FIN. */
	int records;
	int most;
	bool torn; /* half of the next record leaves as well */
};

enum {
	ALL_RECORDS = 1 << 30
};

/* Of a client that trusts the certificates in a file (NULL: anybody), and speaks one version, 12 or
 * 13; 0: any. */
SSL_CTX *tls_dial_context(const char *trusted, int version);

/* The same for a server, with the files of its certificate and key. */
SSL_CTX *tls_answer_context(const char *certificate, const char *key, int version);

/* Takes the descriptor, and makes no handshake yet. A client asks for a name; NULL: none. */
bool tls_dial_begin(struct tls_dial *dial, SSL_CTX *context, int fd, const char *name);
bool tls_answer_begin(struct tls_dial *dial, SSL_CTX *context, int fd);

/* True when it is done; false when it has failed, or its records were lost. */
bool tls_dial_shake(struct tls_dial *dial);
bool tls_dial_send(struct tls_dial *dial, const void *data, size_t size);
bool tls_dial_recv(struct tls_dial *dial, void *data, size_t size); /* exactly */

/* Sends close_notify; then the peer's. */
bool tls_dial_finish(struct tls_dial *dial);
bool tls_dial_hears_the_end(struct tls_dial *dial);

/* To 127.0.0.1, with its handshake. */
bool tls_dial(struct tls_dial *dial, SSL_CTX *context, int port, const char *name);

/* Whether it gets back what it says. */
bool tls_dial_is_answered(struct tls_dial *dial);

/* What OpenSSL said last, on this thread. */
const char *tls_dial_why(void);

void tls_dial_close(struct tls_dial *dial);

#endif
