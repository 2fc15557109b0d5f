/* SPDX-License-Identifier: MIT */
/* Copying and checking what a program asks of a TLS object. */
#include "tls/settings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	ALPN_NAME_MAX = 255, /* RFC 7301, 3.1: a length of one byte */
	ALPN_MAX = 65535     /* and one of two bytes for all of them */
};

void stt_tls_settings_init(struct stt_tls_settings *settings, bool server)
{
	*settings = (struct stt_tls_settings){
		.server = server,
		.peer = server ? STTCP_TLS_PEER_NONE : STTCP_TLS_PEER_REQUIRED,
		.least = 12,
		.most = 13,
	};
}

void stt_tls_settings_remove_pairs(struct stt_tls_settings *settings)
{
	for (int i = 0; i < settings->npairs; i++) {
		free(settings->pairs[i].certificate);
		free(settings->pairs[i].key);
	}
	free(settings->pairs);
	settings->pairs = NULL;
	settings->npairs = 0;
}

void stt_tls_settings_fini(struct stt_tls_settings *settings)
{
	stt_tls_settings_remove_pairs(settings);
	for (int i = 0; i < settings->ntrust; i++)
		free(settings->trust[i]);
	free(settings->trust);
	free(settings->alpn);
	free(settings->ciphers);
	free(settings->suites);
}

/* A copy in *copy, which is NULL for NULL. */
static bool copy_text(char **copy, const char *text)
{
	*copy = text ? strdup(text) : NULL;
	return *copy || !text;
}

int stt_tls_settings_add_pair(struct stt_tls_settings *settings, const char *certificate,
			      const char *key)
{
	size_t count = (size_t)settings->npairs + 1;
	struct stt_pair_files *pairs = realloc(settings->pairs, count * sizeof(*pairs));
	struct stt_pair_files pair = {NULL, NULL};

	if (!pairs)
		return -ENOMEM;
	settings->pairs = pairs;
	if (!copy_text(&pair.certificate, certificate) || !copy_text(&pair.key, key)) {
		free(pair.certificate);
		return -ENOMEM;
	}
	pairs[settings->npairs++] = pair;
	return 0;
}

int stt_tls_settings_add_trust(struct stt_tls_settings *settings, const char *place)
{
	size_t count = (size_t)settings->ntrust + 1;

	for (int i = 0; i < settings->ntrust; i++) {
		if (strcmp(settings->trust[i], place) == 0)
			return 0;
	}

	char **trust = realloc(settings->trust, count * sizeof(*trust));

	if (!trust)
		return -ENOMEM;
	settings->trust = trust;
	trust[settings->ntrust] = strdup(place);
	if (!trust[settings->ntrust])
		return -ENOMEM;
	settings->ntrust++;
	return 0;
}

int stt_tls_settings_set_peer(struct stt_tls_settings *settings, int peer, struct stt_fault *fault)
{
	if (peer < STTCP_TLS_PEER_NONE || peer > STTCP_TLS_PEER_REQUIRED)
		return stt_fault(fault, -EINVAL,
				 "require_peer is STTCP_TLS_PEER_NONE, _ASKED or _REQUIRED");
	/* A server always shows a certificate but to a cipher without one, and those are off. */
	if (!settings->server && peer == STTCP_TLS_PEER_ASKED)
		return stt_fault(fault, -EINVAL,
				 "a client's require_peer is STTCP_TLS_PEER_NONE or _REQUIRED");
	settings->peer = (sttcp_tls_peer)peer;
	return 0;
}

/* Turns "h2,http/1.1" into the form of a hello; false if a name is empty or too long, or has a
 * space in it: no peer would have that one. */
static bool encode_alpn(unsigned char *wire, const char *protocols)
{
	for (;;) {
		size_t length = strcspn(protocols, ",");

		if (length == 0 || length > ALPN_NAME_MAX || memchr(protocols, ' ', length))
			return false;
		*wire++ = (unsigned char)length;
		memcpy(wire, protocols, length);
		wire += length;
		if (!protocols[length])
			return true;
		protocols += length + 1;
	}
}

int stt_tls_settings_set_alpn(struct stt_tls_settings *settings, const char *protocols,
			      struct stt_fault *fault)
{
	/* Each comma becomes a length, and the first name needs one more. */
	size_t size = protocols && *protocols ? strlen(protocols) + 1 : 0;
	unsigned char *alpn = NULL;

	if (size) {
		alpn = size <= ALPN_MAX ? malloc(size) : NULL;
		if (!alpn && size <= ALPN_MAX)
			return stt_fault(fault, -ENOMEM, "out of memory");
		if (!alpn || !encode_alpn(alpn, protocols)) {
			free(alpn);
			return stt_fault(fault, -EINVAL,
					 "ALPN protocols are names of 1 to 255 bytes with commas "
					 "and no spaces between them, such as \"h2,http/1.1\"");
		}
	}
	free(settings->alpn);
	settings->alpn = alpn;
	settings->alpn_size = size;
	return 0;
}

static bool is_version(int version)
{
	return version == 12 || version == 13;
}

int stt_tls_settings_set_versions(struct stt_tls_settings *settings, int least, int most,
				  struct stt_fault *fault)
{
	if (!is_version(least) || !is_version(most) || least > most)
		return stt_fault(fault, -EINVAL,
				 "versions are 12 (TLS 1.2) and 13 (TLS 1.3), the lower one first");
	settings->least = least;
	settings->most = most;
	return 0;
}

static void append_name(char *list, const char *name, size_t length)
{
	size_t end = strlen(list);

	if (end)
		list[end++] = ':';
	memcpy(list + end, name, length);
	list[end + length] = 0;
}

int stt_tls_settings_set_ciphers(struct stt_tls_settings *settings, const char *ciphers)
{
	/* Whoever verifies its peer may agree with it on none that needs no certificate. */
	static const char but[] = "!aNULL";
	size_t room = ciphers ? strlen(ciphers) + 1 + sizeof(but) : 1;
	char *older = calloc(1, room);
	char *suites = calloc(1, room);

	if (!older || !suites) {
		free(older);
		free(suites);
		return -ENOMEM;
	}
	while (ciphers && *ciphers) {
		size_t length = strcspn(ciphers, ":, ;");

		if (length)
			append_name(strncmp(ciphers, "TLS_", 4) == 0 ? suites : older, ciphers,
				    length);
		ciphers += length + (ciphers[length] != 0);
	}
	if (*older)
		append_name(older, but, strlen(but));
	free(settings->ciphers);
	free(settings->suites);
	settings->ciphers = older;
	settings->suites = suites;
	/* An empty list means that the default counts. */
	if (!*older) {
		free(older);
		settings->ciphers = NULL;
	}
	if (!*suites) {
		free(suites);
		settings->suites = NULL;
	}
	return 0;
}
