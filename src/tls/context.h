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
#include <stddef.h>

#include "sttcp.h"

struct stt_credentials;

/* Never NULL. A fault, of the files or for want of memory, is told by stt_tls_use and
 * stt_tls_error.
 */
struct sttcp_tls *stt_tls_new_server(const char *certificate, const char *key);
struct sttcp_tls *stt_tls_new_client(void);

/* Whether it is what stands for an object that there was no memory for. It lives as long as the
 * process, stt_tls_use gives -ENOMEM, and it may not be set or reloaded. */
bool stt_tls_is_missing(const struct sttcp_tls *tls);

struct sttcp_tls *stt_tls_ref(struct sttcp_tls *tls);
void stt_tls_unref(struct sttcp_tls *tls); /* NULL is fine */
bool stt_tls_is_server(const struct sttcp_tls *tls);

/* The fault of the last call, with the file's name in it; "" when all is well. Valid as long as the
 * object, whatever is called meanwhile. */
const char *stt_tls_error(struct sttcp_tls *tls);
/* The same into memory of the caller's. */
void stt_tls_copy_error(struct sttcp_tls *tls, char *text, size_t size);

/* A use of the object was refused, though nothing is wrong with its files and settings:
 * stt_tls_error tells it as the fault of a call of its own. `text` is one of a few, since each that
 * is told is kept. */
void stt_tls_note(struct sttcp_tls *tls, int code, const char *text);

/* The process that it belongs to: a number of the caller's, 0 until it is set. Before anybody else
 * can find the object. */
void stt_tls_set_owner(struct sttcp_tls *tls, unsigned owner);
unsigned stt_tls_owner(const struct sttcp_tls *tls);

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

/* Before a session: reads the files if that has not been done, and closes the object to settings.
 * 0, or a code: -ENOSYS where the library was built without OpenSSL. */
int stt_tls_use(struct sttcp_tls *tls);

/* The same for a start of the program's, which is a call that stt_tls_error tells of: a good one
 * ends the sentence of an earlier call. The use of one that is in use already leaves that as it is:
 * peers make handlers do so at any time. */
int stt_tls_start(struct sttcp_tls *tls);

/* What counts for handshakes now, with a reference; NULL before stt_tls_use. */
struct stt_credentials *stt_tls_take_credentials(struct sttcp_tls *tls);

#endif
