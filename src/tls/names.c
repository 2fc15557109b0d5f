/* SPDX-License-Identifier: MIT */
/* The table of names: sorted, so that a server of a thousand names finds one as fast. */
#include "tls/names.h"

#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "tls/errors.h"

/* In lower case and without a final dot, into STT_NAME_MAX + 1 bytes; false if it is too long. */
static bool normalise(char *into, const char *name, size_t length)
{
	if (length && name[length - 1] == '.')
		length--;
	if (length > STT_NAME_MAX)
		return false;
	/* Bytes, not letters: the locale must not matter. */
	for (size_t i = 0; i < length; i++)
		into[i] =
			(char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + ('a' - 'A') : name[i]);
	into[length] = 0;
	return true;
}

static bool add_entry(struct stt_names *names, const char *text, bool wildcard, int number)
{
	struct stt_name_entry *entries =
		realloc(names->entries, (names->count + 1) * sizeof(*entries));
	char *copy = strdup(text);

	if (entries)
		names->entries = entries;
	if (!entries || !copy) {
		free(copy);
		return false;
	}
	entries[names->count++] = (struct stt_name_entry){copy, wildcard, number};
	return true;
}

/* A name with a zero byte in it, or with a star elsewhere than for the first label, is for nobody:
 * it is passed over. */
static bool add_name(struct stt_names *names, const ASN1_STRING *name, int number)
{
	char text[STT_NAME_MAX + 1];
	const char *data = (const char *)ASN1_STRING_get0_data(name);
	size_t length = (size_t)ASN1_STRING_length(name);

	if (!length || memchr(data, 0, length) || !normalise(text, data, length))
		return true;

	bool wildcard = strncmp(text, "*.", 2) == 0;
	const char *rest = wildcard ? text + 2 : text;

	if (!*rest || strchr(rest, '*'))
		return true;
	return add_entry(names, rest, wildcard, number);
}

bool stt_names_add(struct stt_names *names, const X509 *certificate, int number)
{
	int critical;
	GENERAL_NAMES *found = X509_get_ext_d2i(certificate, NID_subject_alt_name, &critical, NULL);
	/* Names that are malformed are for nobody. */
	bool fine = found || critical < 0 || !stt_openssl_missed_memory();

	for (int i = 0; fine && i < sk_GENERAL_NAME_num(found); i++) {
		const GENERAL_NAME *one = sk_GENERAL_NAME_value(found, i);

		if (one->type == GEN_DNS)
			fine = add_name(names, one->d.dNSName, number);
	}
	GENERAL_NAMES_free(found);
	return fine;
}

static int compare_names(const struct stt_name_entry *one, const struct stt_name_entry *other)
{
	if (one->wildcard != other->wildcard)
		return one->wildcard ? 1 : -1;
	return strcmp(one->name, other->name);
}

static int compare_entries(const void *one, const void *other)
{
	const struct stt_name_entry *left = one, *right = other;
	int order = compare_names(left, right);

	return order ? order : left->certificate - right->certificate;
}

void stt_names_sort(struct stt_names *names)
{
	if (names->count)
		qsort(names->entries, names->count, sizeof(*names->entries), compare_entries);
}

struct stt_name_match stt_names_find(const struct stt_names *names, const char *name, bool wildcard)
{
	char text[STT_NAME_MAX + 1];
	struct stt_name_match match = {NULL, 0};

	if (!normalise(text, name, strlen(name)))
		return match;

	char *dot = strchr(text, '.');

	/* A star stands for one label that is not empty. */
	if (wildcard && (!dot || dot == text))
		return match;

	struct stt_name_entry wanted = {wildcard ? dot + 1 : text, wildcard, 0};
	size_t low = 0, high = names->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (compare_names(&names->entries[middle], &wanted) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	match.first = names->entries + low;
	while (low + match.count < names->count &&
	       compare_names(&names->entries[low + match.count], &wanted) == 0)
		match.count++;
	return match;
}

void stt_names_fini(struct stt_names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->entries[i].name);
	free(names->entries);
}
