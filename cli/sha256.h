/* SPDX-License-Identifier: MIT */
/*
 * SHA-256 (FIPS 180-4): OpenSSL's where the library is built with it
 * (sha256_openssl.c), else one of our own (sha256_plain.c), which is some four
 * times slower than what uses the processor's instructions for it.
 */
#ifndef CLI_SHA256_H
#define CLI_SHA256_H

#include <stddef.h>

enum {
	SHA256_HEX = 65
}; /* 64 digits and the end of the string */

struct sha256;

/* NULL: no memory. */
struct sha256 *sha256_new(void);
void sha256_reset(struct sha256 *hash);
void sha256_add(struct sha256 *hash, const void *data, size_t size);
/* The digits of all that was added; more may be added afterwards. */
void sha256_text(const struct sha256 *hash, char text[SHA256_HEX]);
void sha256_free(struct sha256 *hash);

#endif
