/* SPDX-License-Identifier: MIT */
/*
 * SHA-256 by libcrypto, which the library is linked with anyway for TLS.
 */
#include "sha256.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

struct sha256 {
	EVP_MD_CTX *context;
};

struct sha256 *sha256_new(void)
{
	struct sha256 *hash = calloc(1, sizeof(*hash));

	if (!hash)
		return NULL;
	hash->context = EVP_MD_CTX_new();
	if (hash->context && EVP_DigestInit_ex(hash->context, EVP_sha256(), NULL) == 1)
		return hash;
	sha256_free(hash);
	return NULL;
}

void sha256_reset(struct sha256 *hash)
{
	EVP_DigestInit_ex(hash->context, EVP_sha256(), NULL);
}

void sha256_add(struct sha256 *hash, const void *data, size_t size)
{
	EVP_DigestUpdate(hash->context, data, size);
}

void sha256_text(const struct sha256 *hash, char text[SHA256_HEX])
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *copy = EVP_MD_CTX_new();

	if (!copy || EVP_MD_CTX_copy_ex(copy, hash->context) != 1 ||
	    EVP_DigestFinal_ex(copy, digest, NULL) != 1)
		abort(); /* no memory for a few hundred bytes */
	for (int i = 0; i < 32; i++)
		snprintf(text + 2 * i, 3, "%02x", digest[i]);
	EVP_MD_CTX_free(copy);
}

void sha256_free(struct sha256 *hash)
{
	if (hash)
		EVP_MD_CTX_free(hash->context);
	free(hash);
}
