/* SPDX-License-Identifier: MIT */
/*
 * The TLS object of a program: certificates, trust and settings, shared by as
 * many servers, clients and connections as it likes. Counted. Any thread.
 *
 * Setting is done before the first stt_tls_use that succeeds. A setting that is
 * wrong is told by its own call, and again by stt_tls_use, until it is set
 * right. Nothing here is done while holding a lock of anybody else's: it may
 * wait for the disk.
 */
#ifndef STT_TLS_CONTEXT_H
#define STT_TLS_CONTEXT_H

#include <stdbool.h>

struct sttcp_tls;
struct stt_credentials;

/* Who has to show a certificate. */
enum stt_tls_peer {
	STT_TLS_PEER_NONE,
	STT_TLS_PEER_ASKED,
	STT_TLS_PEER_REQUIRED
};

/* NULL only when out of memory. A fault of the files is told by stt_tls_use and stt_tls_error. */
struct sttcp_tls *stt_tls_new_server(const char *certificate, const char *key);
struct sttcp_tls *stt_tls_new_client(void);
struct sttcp_tls *stt_tls_ref(struct sttcp_tls *tls);
void stt_tls_unref(struct sttcp_tls *tls); /* NULL is fine */
bool stt_tls_is_server(const struct sttcp_tls *tls);

/* The fault of the last call, with the file's name in it; "" when all is well. Valid until the
 * object's next call. */
const char *stt_tls_error(struct sttcp_tls *tls);

/* Each: 0, -EBUSY once it is in use, -EINVAL, -ENOMEM, or why a file cannot be read. */
int stt_tls_add_certificate(struct sttcp_tls *tls, const char *certificate, const char *key);
int stt_tls_set_certificate(struct sttcp_tls *tls, const char *certificate, const char *key);
int stt_tls_trust(struct sttcp_tls *tls, const char *file_or_directory);
int stt_tls_require_peer(struct sttcp_tls *tls, int who);
int stt_tls_set_alpn(struct sttcp_tls *tls, const char *protocols);
int stt_tls_set_versions(struct sttcp_tls *tls, int least, int most);
int stt_tls_set_ciphers(struct sttcp_tls *tls, const char *ciphers);

/* Reads all files again: 0, and that counts for handshakes from now on; or a code, and all stays as
 * it was. */
int stt_tls_reload(struct sttcp_tls *tls);

/* At a start: reads the files if that has not been done, and closes the object to settings. 0, or a
 * code: -ENOSYS where the library was built without OpenSSL. */
int stt_tls_use(struct sttcp_tls *tls);

/* What counts for handshakes now, with a reference; NULL before stt_tls_use. */
struct stt_credentials *stt_tls_take_credentials(struct sttcp_tls *tls);

#endif
