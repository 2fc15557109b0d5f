/* SPDX-License-Identifier: MIT */
/* Whom a TLS object trusts: a store of certificates from a file, from a directory, or the one that
 * the system keeps. Any thread; may wait for the disk. */
#ifndef STT_TLS_TRUST_H
#define STT_TLS_TRUST_H

#include <openssl/x509.h>
#include <stdbool.h>

#include "tls/fault.h"

/* The certificates in files, and in all files of directories. The caller owns the store, and the
 * names of its certificates where `names` is not NULL. 0, or a code and a sentence. */
int stt_trust_read(char *const *places, int count, X509_STORE **store, STACK_OF(X509_NAME) * *names,
		   struct stt_fault *fault);

/* What the system trusts; the caller owns a reference. It takes 20 ms to read, so it is read once
 * for all objects, and again when its file has changed or with `anew`. */
int stt_trust_system(X509_STORE **store, bool anew, struct stt_fault *fault);

/* Whether two stores hold the same certificates; false also where one of them may fetch more. `one`
 * may be in use, `other` not yet. */
bool stt_trust_is_same(X509_STORE *one, X509_STORE *other);

/* Lets go of the system's: when nothing is in use any more. */
void stt_trust_forget(void);

#endif
