/* SPDX-License-Identifier: MIT */
/*
 * What tests of connections with TLS share: an authority, a server's certificate
 * for localhost and 127.0.0.1, objects made of them, and peers that speak TLS over
 * a plain socket with OpenSSL alone. Asserts where it says nothing else.
 */
#ifndef STT_TEST_TLS_STAGE_H
#define STT_TEST_TLS_STAGE_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>

#include "sttcp.h"
#include "support/certs.h"

struct tls_stage {
	struct cert authority;
	const char *trust; /* the files */
	const char *chain;
	const char *key;
};

extern struct tls_stage stage;

/* For cmocka's groups. */
int stage_open(void **state);
int stage_close(void **state);

/* Writes a certificate of the authority's, and its key: NAME.pem, NAME.key. */
void stage_write(const char *name, const struct cert_spec *spec, const char **chain,
		 const char **key);

/* New objects: a server with the certificate, a client that trusts the authority. */
sttcp_tls *stage_server(void);
sttcp_tls *stage_client(void);

/* Options with an object that the stage keeps until its end. */
sttcp_tls *stage_shared_server(void);
sttcp_tls *stage_shared_client(void);

/* -------------------------------------------------------------------- peers */

struct tls_peer {
	int fd;
	SSL_CTX *context;
	SSL *ssl;
};

/* Connects, and prepares a client that verifies nothing; `version` is TLS1_2_VERSION,
 * TLS1_3_VERSION or 0. No byte is sent. */
void tls_peer_prepare(struct tls_peer *peer, int port, int version);

/* On a descriptor that is connected; as a server with the stage's certificate, or a client. */
void tls_peer_adopt(struct tls_peer *peer, int fd, bool server, int version);

/* The handshake: whether it succeeds. */
bool tls_peer_shake(struct tls_peer *peer);

/* Both; asserts. */
void tls_peer_open(struct tls_peer *peer, int port);

bool tls_peer_send(struct tls_peer *peer, const void *data, size_t size);
bool tls_peer_say(struct tls_peer *peer, const char *text);
bool tls_peer_recv(struct tls_peer *peer, void *data, size_t size);
bool tls_peer_expect(struct tls_peer *peer, const char *text);

/* Drops what comes until the end: 0 for close_notify, STTCP_ECUT for FIN alone, -ECONNRESET for a
 * reset, STTCP_ETLS for an alert, -ETIMEDOUT. */
int tls_peer_end(struct tls_peer *peer);

/* Sends close_notify, and nothing else. */
void tls_peer_notify(struct tls_peer *peer);

/* Lets go of it all; the descriptor is closed as it is. It may be closed already. */
void tls_peer_close(struct tls_peer *peer);

#endif
