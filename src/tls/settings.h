/* SPDX-License-Identifier: MIT */
/*
 * What a program has asked of a TLS object, as text and numbers: nothing here
 * has been read from a file yet. The caller locks.
 */
#ifndef STT_TLS_SETTINGS_H
#define STT_TLS_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "tls/context.h"
#include "tls/fault.h"

/* Files; `key` may be that of the certificate. NULL where the program gave none. */
struct stt_pair_files {
	char *certificate;
	char *key;
};

struct stt_tls_settings {
	bool server;
	struct stt_pair_files *pairs; /* of a client: its own, or none */
	int npairs;
	char **trust; /* files and directories; none: what the system trusts */
	int ntrust;
	sttcp_tls_peer peer;
	unsigned char *alpn; /* as it stands in a hello: each name after its length */
	size_t alpn_size;
	int least, most; /* 12 or 13 */
	char *ciphers;	 /* up to TLS 1.2, colons between; NULL: OpenSSL's default */
	char *suites;	 /* of TLS 1.3 */
};

void stt_tls_settings_init(struct stt_tls_settings *settings, bool server);
void stt_tls_settings_fini(struct stt_tls_settings *settings);

/* Each takes copies. 0, or -ENOMEM or -EINVAL, and then nothing has changed. */
int stt_tls_settings_add_pair(struct stt_tls_settings *settings, const char *certificate,
			      const char *key);
/* Once for each place. */
int stt_tls_settings_add_trust(struct stt_tls_settings *settings, const char *place);
int stt_tls_settings_set_peer(struct stt_tls_settings *settings, int peer, struct stt_fault *fault);
int stt_tls_settings_set_alpn(struct stt_tls_settings *settings, const char *protocols,
			      struct stt_fault *fault);
int stt_tls_settings_set_versions(struct stt_tls_settings *settings, int least, int most,
				  struct stt_fault *fault);

/* Parts the names of TLS 1.3 from the others; whether they exist is not asked here. */
int stt_tls_settings_set_ciphers(struct stt_tls_settings *settings, const char *ciphers);

void stt_tls_settings_remove_pairs(struct stt_tls_settings *settings);

#endif
