/* SPDX-License-Identifier: MIT */
/* Certificates and keys from PEM files. Nobody is ever asked for a passphrase. Each result is 0, or
 * a code and a sentence with the file's name in it. Any thread; may wait for the disk. */
#ifndef STT_TLS_PEM_H
#define STT_TLS_PEM_H

#include <openssl/x509.h>

#include "tls/fault.h"

/* All certificates of a file, in their order; at least one. The caller owns them. */
int stt_pem_read_certificates(const char *file, STACK_OF(X509) * *certificates,
			      struct stt_fault *fault);

/* The same, but there may be none. */
int stt_pem_read_any(const char *file, STACK_OF(X509) * *certificates, struct stt_fault *fault);

/* The first private key of a file. The caller owns it. */
int stt_pem_read_key(const char *file, EVP_PKEY **key, struct stt_fault *fault);

#endif
