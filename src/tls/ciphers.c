/* SPDX-License-Identifier: MIT */
/* Trying each name of a cipher list alone. */
#include "tls/ciphers.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <string.h>

#include "tls/errors.h"

enum {
	NAME_MAX_SIZE = 128
};

/* What OpenSSL 3 has names for but may select nothing with; people take these out of a list. */
static const char *const may_be_empty[] = {
	"3DES",	       "ADH",	    "AECDH",   "ARIA",	   "ARIA128", "ARIA256", "ARIAGCM",
	"CAMELLIA",    "DES",	    "DSS",     "EXP",	   "EXPORT",  "GOST",	 "GOST12",
	"GOST89",      "GOST94",    "IDEA",    "LOW",	   "MD5",     "MEDIUM",	 "NULL",
	"PSK",	       "RC2",	    "RC4",     "SEED",	   "SRP",     "SSLv3",	 "TLSv1",
	"TLSv1.0",     "aDSS",	    "aGOST",   "aNULL",	   "aPSK",    "aSRP",	 "eNULL",
	"kDHEPSK",     "kECDHEPSK", "kGOST",   "kPSK",	   "kRSAPSK", "kSRP",	 "CAMELLIA128",
	"CAMELLIA256", "AESCCM",    "AESCCM8", "GOST2012", "CBC",
};

static bool is_known_empty(const char *name)
{
	for (size_t i = 0; i < sizeof(may_be_empty) / sizeof(may_be_empty[0]); i++) {
		if (strcmp(may_be_empty[i], name) == 0)
			return true;
	}
	return false;
}

/* Whether a list of this one name selects something. */
static bool selects(SSL_CTX *scratch, const char *name)
{
	return SSL_CTX_set_cipher_list(scratch, name) == 1;
}

/* The name without what is to be done with it, "!aNULL"; "@STRENGTH" is no name but an order. */
static bool is_known(SSL_CTX *scratch, const char *name)
{
	bool removes = *name && strchr("!-+", *name);

	if (removes)
		name++;
	/* An order is only accepted behind something that it can order. */
	if (*name == '@')
		return strcmp(name, "@STRENGTH") == 0 || strncmp(name, "@SECLEVEL=", 10) == 0;
	return selects(scratch, name) || (removes && is_known_empty(name));
}

static bool is_known_suite(SSL_CTX *scratch, const char *name)
{
	if (SSL_CTX_set_ciphersuites(scratch, name) != 1)
		return false;

	/* Newer versions of OpenSSL pass over an unknown one here, too. */
	STACK_OF(SSL_CIPHER) *found = SSL_CTX_get_ciphers(scratch);

	for (int i = 0; i < sk_SSL_CIPHER_num(found); i++) {
		if (strcmp(SSL_CIPHER_get_name(sk_SSL_CIPHER_value(found, i)), name) == 0)
			return true;
	}
	return false;
}

static int out_of_memory(struct stt_fault *fault)
{
	return stt_fault(fault, -ENOMEM, "out of memory");
}

static int refuse(const char *name, struct stt_fault *fault)
{
	if (stt_openssl_missed_memory())
		return out_of_memory(fault);
	return stt_fault(fault, -EINVAL,
			 "OpenSSL knows no cipher \"%s\" (openssl ciphers -s lists those it has)",
			 name);
}

static int check_list(SSL_CTX *scratch, const char *list,
		      bool (*known)(SSL_CTX *scratch, const char *name), struct stt_fault *fault)
{
	char name[NAME_MAX_SIZE];

	while (list && *list) {
		size_t length = strcspn(list, ":");
		int shown = length < NAME_MAX_SIZE ? (int)length : NAME_MAX_SIZE - 1;

		memcpy(name, list, (size_t)shown);
		name[shown] = 0;
		if (length >= NAME_MAX_SIZE || !known(scratch, name))
			return refuse(name, fault);
		list += length + (list[length] != 0);
	}
	return 0;
}

int stt_ciphers_check(const char *ciphers, const char *suites, struct stt_fault *fault)
{
	SSL_CTX *scratch;
	int result;

	if (!ciphers && !suites)
		return 0;
	scratch = SSL_CTX_new(TLS_method());
	if (!scratch)
		result = out_of_memory(fault);
	else
		result = check_list(scratch, ciphers, is_known, fault);
	if (result == 0)
		result = check_list(scratch, suites, is_known_suite, fault);
	SSL_CTX_free(scratch);
	return result;
}
