/* SPDX-License-Identifier: MIT */
/*
 * Who meets in tests of the handshake: servers whose certificates the authority
 * signs, and clients that trust it; and what is expected of a meeting. Over
 * memory (tls_pairs.h). Asserts.
 */
#ifndef STT_TEST_TLS_PARTIES_H
#define STT_TEST_TLS_PARTIES_H

#include "support/tls_good.h"
#include "support/tls_pairs.h"

/* A server whose certificate is of the authority, or of another issuer; for these names; one that
 * asks clients for theirs. */
struct sttcp_tls *server_of(const struct cert_spec *spec, const struct cert *issuer);
struct sttcp_tls *server_for(const char *names);
struct sttcp_tls *asking_server(sttcp_tls_peer who);

struct sttcp_tls *trusting_client(void);

/* Gives a client a certificate of its own. */
void give_certificate(struct sttcp_tls *tls, const struct cert_spec *spec,
		      const struct cert *issuer);

void let_go(struct sttcp_tls *one, struct sttcp_tls *other);

/* Lets them meet; the pair is left to look at. */
void meet(struct tls_pair *pair, struct sttcp_tls *server, struct sttcp_tls *client,
	  const char *name);

void expect_agreement(struct sttcp_tls *server, struct sttcp_tls *client, const char *name);

/* The client refuses with these words. */
void expect_refusal(struct sttcp_tls *server, struct sttcp_tls *client, const char *name,
		    const char *words);

#endif
