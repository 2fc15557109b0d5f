/* SPDX-License-Identifier: MIT */
/*
 * What a TLS object has made of its settings and files at one time: an SSL_CTX
 * and what its callbacks need. Never changed: a reload makes another one.
 * Counted; a connection holds its own until its end.
 */
#ifndef STT_TLS_CREDENTIALS_H
#define STT_TLS_CREDENTIALS_H

#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stdint.h>

#include "tls/names.h"
#include "tls/settings.h"
#include "tls/tickets.h"

/* A certificate, its chain and its key. */
struct stt_pair {
	X509 *certificate;
	STACK_OF(X509) * chain;
	EVP_PKEY *key;
	char *warning; /* about its dates, or NULL */
};

struct stt_credentials {
	atomic_int refs;

	/* Set before use. */
	uint64_t number; /* no other in this process has it */
	SSL_CTX *context;
	bool server;
	sttcp_tls_peer peer;
	X509_STORE *trust; /* or NULL: nobody is asked for a certificate */
	struct stt_pair *pairs;
	int npairs;
	struct stt_names names;
	struct stt_tickets *tickets; /* of a server */
	unsigned char *alpn;	     /* of a server: as in a hello */
	size_t alpn_size;
};

/* Reads all files. `before` is what counted until now, or NULL: its ticket keys go on if the same
 * certificates are trusted. `anew`: what the system trusts is read again, too. 0, or a code and a
 * sentence. */
int stt_credentials_new(struct stt_credentials **made, const struct stt_tls_settings *settings,
			const struct stt_credentials *before, bool anew, struct stt_fault *fault);

/* Whether a certificate and its key can be read, fit each other, and are accepted by OpenSSL under
 * these settings; nothing is kept. */
int stt_credentials_try(const struct stt_tls_settings *settings, const struct stt_pair_files *files,
			struct stt_fault *fault);

/* Logs what is to be said about good files: with no lock held. */
void stt_credentials_warn(const struct stt_credentials *credentials);

struct stt_credentials *stt_credentials_ref(struct stt_credentials *credentials);
void stt_credentials_unref(struct stt_credentials *credentials); /* NULL is fine */

#endif
