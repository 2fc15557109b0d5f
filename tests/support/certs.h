/* SPDX-License-Identifier: MIT */
/*
 * Certificates that a test makes for itself: authorities, and what they sign,
 * with everything right but what the test is about. Files are in a directory
 * that is removed at the end. One thread; asserts.
 */
#ifndef STT_TEST_CERTS_H
#define STT_TEST_CERTS_H

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>

enum cert_key {
	CERT_EC, /* P-256 */
	CERT_RSA,
	CERT_ED25519
};

/* What a certificate is to be; 0 is an ordinary one. */
struct cert_spec {
	const char *subject; /* the common name; NULL: that of the first name */
	const char *names;   /* the subjectAltName, "DNS:a.example,IP:127.0.0.1"; NULL: none */
	enum cert_key key;
	int from_days; /* since when and until when it is valid, from today; both 0: a day each way
			*/
	int until_days;
	bool authority;
};

struct cert {
	X509 *certificate;
	EVP_PKEY *key;
};

/* Signed by the issuer, or by itself where that is NULL. */
struct cert cert_make(const struct cert_spec *spec, const struct cert *issuer);
void cert_free(struct cert *cert);

/* ---------------------------------------------------------------------- files */

/* A new directory, which is removed by certs_close with all that was written into it. */
void certs_open(void);
void certs_close(void);

/* The path of a file in it, which may be written or not; lives until certs_close. */
const char *certs_path(const char *name);

/* Write a file of that name, and return its path: the certificates one after another, the last one
 * NULL; a key; a key under a passphrase; any text. */
const char *certs_write_chain(const char *name, const struct cert *first, ...);
const char *certs_write_key(const char *name, const struct cert *cert);
const char *certs_write_encrypted_key(const char *name, const struct cert *cert);
const char *certs_write_text(const char *name, const char *text);

#endif
