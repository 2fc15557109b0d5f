/* SPDX-License-Identifier: MIT */
/*
 * SHA-256 as FIPS 180-4 (6.2) describes it, for builds without OpenSSL.
 */
#include "sha256.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	BLOCK = 64
};

struct sha256 {
	uint32_t state[8];
	uint64_t size;		    /* of all that was added, in bytes */
	unsigned char block[BLOCK]; /* what does not fill a block yet */
};

static const uint32_t constants[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
	0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
	0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
	0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
	0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
	0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
	0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
	0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
	0xc67178f2,
};

static uint32_t turn(uint32_t word, int bits)
{
	return word >> bits | word << (32 - bits);
}

static void read_words(uint32_t words[64], const unsigned char *block)
{
	for (int i = 0; i < 16; i++, block += 4)
		words[i] = (uint32_t)block[0] << 24 | (uint32_t)block[1] << 16 |
			   (uint32_t)block[2] << 8 | block[3];
	for (int i = 16; i < 64; i++) {
		uint32_t a = words[i - 15], b = words[i - 2];

		words[i] = words[i - 16] + words[i - 7] + (turn(a, 7) ^ turn(a, 18) ^ a >> 3) +
			   (turn(b, 17) ^ turn(b, 19) ^ b >> 10);
	}
}

static void take_block(uint32_t state[8], const unsigned char *block)
{
	uint32_t words[64], s[8];

	read_words(words, block);
	memcpy(s, state, sizeof(s));
	for (int i = 0; i < 64; i++) {
		uint32_t one = s[7] + (turn(s[4], 6) ^ turn(s[4], 11) ^ turn(s[4], 25)) +
			       ((s[4] & s[5]) ^ (~s[4] & s[6])) + constants[i] + words[i];
		uint32_t two = (turn(s[0], 2) ^ turn(s[0], 13) ^ turn(s[0], 22)) +
			       ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));

		memmove(s + 1, s, 7 * sizeof(*s));
		s[4] += one;
		s[0] = one + two;
	}
	for (int i = 0; i < 8; i++)
		state[i] += s[i];
}

void sha256_reset(struct sha256 *hash)
{
	static const uint32_t first[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
					  0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

	memcpy(hash->state, first, sizeof(first));
	hash->size = 0;
}

struct sha256 *sha256_new(void)
{
	struct sha256 *hash = calloc(1, sizeof(*hash));

	if (hash)
		sha256_reset(hash);
	return hash;
}

void sha256_add(struct sha256 *hash, const void *data, size_t size)
{
	const unsigned char *bytes = data;

	while (size > 0) {
		size_t held = hash->size % BLOCK;
		size_t taken = size < BLOCK - held ? size : BLOCK - held;

		if (held == 0 && size >= BLOCK) {
			take_block(hash->state, bytes);
		} else {
			memcpy(hash->block + held, bytes, taken);
			if (held + taken == BLOCK)
				take_block(hash->state, hash->block);
		}
		hash->size += taken;
		bytes += taken;
		size -= taken;
	}
}

void sha256_text(const struct sha256 *hash, char text[SHA256_HEX])
{
	struct sha256 copy = *hash;
	unsigned char end[8];

	for (int i = 0; i < 8; i++)
		end[i] = (unsigned char)(hash->size * 8 >> (56 - 8 * i));
	sha256_add(&copy, "\x80", 1);
	while (copy.size % BLOCK != BLOCK - sizeof(end))
		sha256_add(&copy, "", 1);
	sha256_add(&copy, end, sizeof(end));
	for (int i = 0; i < 8; i++)
		snprintf(text + 8 * i, 9, "%08x", copy.state[i]);
}

void sha256_free(struct sha256 *hash)
{
	free(hash);
}
