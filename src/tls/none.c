/* SPDX-License-Identifier: MIT */
/* TLS where the library was built without OpenSSL: objects can be made, and nothing can be done
 * with them. Compiled instead of all other files of this folder. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "tls/context.h"
#include "tls/process.h"
#include "tls/resumption.h"
#include "tls/session.h"

struct sttcp_tls {
	atomic_int refs;
	atomic_uint owner; /* relaxed */
	bool server;
};

/* Where there is no memory for another one: they have as little to offer, but are not NULL, which
 * would be no wish for TLS. */
static struct sttcp_tls no_server = {.server = true};
static struct sttcp_tls no_client;

static bool stays(const struct sttcp_tls *tls)
{
	return tls == &no_server || tls == &no_client;
}

static struct sttcp_tls *new_tls(bool server)
{
	struct sttcp_tls *tls = calloc(1, sizeof(*tls));

	if (!tls)
		return server ? &no_server : &no_client;
	atomic_init(&tls->refs, 1);
	tls->server = server;
	return tls;
}

/* Those that stay give -ENOSYS, as all others do. */
bool stt_tls_is_missing(const struct sttcp_tls *tls)
{
	(void)tls;
	return false;
}

struct sttcp_tls *stt_tls_new_server(const char *certificate, const char *key)
{
	(void)certificate;
	(void)key;
	return new_tls(true);
}

struct sttcp_tls *stt_tls_new_client(void)
{
	return new_tls(false);
}

struct sttcp_tls *stt_tls_ref(struct sttcp_tls *tls)
{
	if (!stays(tls))
		atomic_fetch_add_explicit(&tls->refs, 1, memory_order_relaxed);
	return tls;
}

void stt_tls_unref(struct sttcp_tls *tls)
{
	if (!tls || stays(tls))
		return;
	/* acq_rel: whoever frees it has seen the last uses of all the others. */
	if (atomic_fetch_sub_explicit(&tls->refs, 1, memory_order_acq_rel) == 1)
		free(tls);
}

bool stt_tls_is_server(const struct sttcp_tls *tls)
{
	return tls->server;
}

const char *stt_tls_error(struct sttcp_tls *tls)
{
	(void)tls;
	return "this library was built without TLS (-DSTTCP_TLS=ON needs OpenSSL 3)";
}

void stt_tls_note(struct sttcp_tls *tls, int code, const char *text)
{
	(void)tls;
	(void)code;
	(void)text;
}

void stt_tls_copy_error(struct sttcp_tls *tls, char *text, size_t size)
{
	snprintf(text, size, "%s", stt_tls_error(tls));
}

void stt_tls_set_owner(struct sttcp_tls *tls, unsigned owner)
{
	atomic_store_explicit(&tls->owner, owner, memory_order_relaxed);
}

unsigned stt_tls_owner(const struct sttcp_tls *tls)
{
	return atomic_load_explicit(&tls->owner, memory_order_relaxed);
}

int stt_tls_add_certificate(struct sttcp_tls *tls, const char *certificate, const char *key)
{
	(void)tls;
	(void)certificate;
	(void)key;
	return -ENOSYS;
}

int stt_tls_set_certificate(struct sttcp_tls *tls, const char *certificate, const char *key)
{
	return stt_tls_add_certificate(tls, certificate, key);
}

int stt_tls_trust(struct sttcp_tls *tls, const char *file_or_directory)
{
	(void)tls;
	(void)file_or_directory;
	return -ENOSYS;
}

int stt_tls_require_peer(struct sttcp_tls *tls, int who)
{
	(void)tls;
	(void)who;
	return -ENOSYS;
}

int stt_tls_set_alpn(struct sttcp_tls *tls, const char *protocols)
{
	(void)tls;
	(void)protocols;
	return -ENOSYS;
}

int stt_tls_set_versions(struct sttcp_tls *tls, int least, int most)
{
	(void)tls;
	(void)least;
	(void)most;
	return -ENOSYS;
}

int stt_tls_set_ciphers(struct sttcp_tls *tls, const char *ciphers)
{
	(void)tls;
	(void)ciphers;
	return -ENOSYS;
}

int stt_tls_reload(struct sttcp_tls *tls)
{
	(void)tls;
	return -ENOSYS;
}

int stt_tls_use(struct sttcp_tls *tls)
{
	(void)tls;
	return -ENOSYS;
}

int stt_tls_start(struct sttcp_tls *tls)
{
	return stt_tls_use(tls);
}

struct stt_credentials *stt_tls_take_credentials(struct sttcp_tls *tls)
{
	(void)tls;
	return NULL;
}

bool stt_tls_begin(void)
{
	return false;
}

void stt_tls_end(void)
{
}

bool stt_tls_enter(struct stt_visit *visit, const void *user)
{
	(void)visit;
	(void)user;
	return false;
}

void stt_tls_leave(struct stt_visit *visit)
{
	(void)visit;
}

struct stt_resumption *stt_resumption_new(void)
{
	return calloc(1, 1);
}

void stt_resumption_free(struct stt_resumption *resumption)
{
	free(resumption);
}

/* No session is ever made, so the other calls are never reached; they are here to be linked. */

int stt_tls_session_new(struct stt_tls_session **session, struct sttcp_tls *tls,
			const struct stt_tls_start *start)
{
	(void)session;
	(void)tls;
	(void)start;
	return -ENOSYS;
}

void stt_tls_session_free(struct stt_tls_session *session)
{
	(void)session;
}

int stt_tls_handshake(struct stt_tls_session *session)
{
	(void)session;
	return -ENOSYS;
}

uint64_t stt_tls_heard(const struct stt_tls_session *session)
{
	(void)session;
	return 0;
}

ssize_t stt_tls_recv(struct stt_tls_session *session, void *data, size_t size, bool *emptied,
		     int *budget)
{
	(void)session;
	(void)data;
	(void)size;
	(void)budget;
	*emptied = true;
	return -ENOSYS;
}

void stt_tls_stay_dry(struct stt_tls_session *session, bool on)
{
	(void)session;
	(void)on;
}

bool stt_tls_has_input(const struct stt_tls_session *session)
{
	(void)session;
	return false;
}

bool stt_tls_is_amid_record(const struct stt_tls_session *session)
{
	(void)session;
	return false;
}

ssize_t stt_tls_send(struct stt_tls_session *session, const struct iovec *parts, int count)
{
	(void)session;
	(void)parts;
	(void)count;
	return -ENOSYS;
}

int stt_tls_flush(struct stt_tls_session *session)
{
	(void)session;
	return -ENOSYS;
}

int stt_tls_failure(const struct stt_tls_session *session)
{
	(void)session;
	return 0;
}

bool stt_tls_has_failed(const struct stt_tls_session *session)
{
	(void)session;
	return false;
}

bool stt_tls_is_held(const struct stt_tls_session *session)
{
	(void)session;
	return false;
}

bool stt_tls_needs_input(const struct stt_tls_session *session)
{
	(void)session;
	return false;
}

size_t stt_tls_rest(const struct stt_tls_session *session)
{
	(void)session;
	return 0;
}

uint64_t stt_tls_moved(const struct stt_tls_session *session)
{
	(void)session;
	return 0;
}

bool stt_tls_is_amid_message(const struct stt_tls_session *session)
{
	(void)session;
	return false;
}

bool stt_tls_finishes_later(const struct stt_tls_session *session)
{
	(void)session;
	return false;
}

void stt_tls_finish(struct stt_tls_session *session)
{
	(void)session;
}

const char *stt_tls_text(const struct stt_tls_session *session)
{
	(void)session;
	return "";
}

bool stt_tls_get_facts(const struct stt_tls_session *session, struct stt_tls_facts *facts)
{
	(void)session;
	(void)facts;
	return false;
}
