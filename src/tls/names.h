/* SPDX-License-Identifier: MIT */
/*
 * Which certificate is for which name: a table of the DNS names in their
 * subjectAltNames (never the common name). Built once, then only read: any
 * thread.
 */
#ifndef STT_TLS_NAMES_H
#define STT_TLS_NAMES_H

#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>

enum {
	STT_NAME_MAX = 255 /* RFC 1035, 2.3.4 */
};

struct stt_name_entry {
	char *name; /* in lower case, without a final dot; of a wildcard what follows "*." */
	bool wildcard;
	int certificate;
};

struct stt_names {
	struct stt_name_entry *entries;
	size_t count;
};

/* A run of entries, in the order in which their certificates were added. */
struct stt_name_match {
	const struct stt_name_entry *first;
	size_t count;
};

/* Adds the names of one more certificate, which the caller numbers. False when out of memory. */
bool stt_names_add(struct stt_names *names, const X509 *certificate, int number);

/* After the last one. */
void stt_names_sort(struct stt_names *names);

/* The certificates that have exactly this name, or a wildcard for it (of one label, RFC 6125,
 * 6.4.3). */
struct stt_name_match stt_names_find(const struct stt_names *names, const char *name,
				     bool wildcard);

void stt_names_fini(struct stt_names *names);

#endif
