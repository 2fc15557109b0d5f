/* SPDX-License-Identifier: MIT */
/* Keeping a client's last session. It is only for the same name and the same credentials: after a
 * reload the peer is verified anew. */
#include "tls/resumption.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mutex.h"
#include "tls/inner.h"
#include "tls/process.h"
#include "tls/tickets.h"

struct stt_resumption {
	/* Under the lock. */
	struct stt_mutex lock;
	SSL_SESSION *session; /* or NULL */
	uint64_t credentials;
	char *name;

	struct stt_tls_left left;
};

struct stt_resumption *stt_resumption_new(void)
{
	struct stt_resumption *resumption = calloc(1, sizeof(*resumption));

	if (resumption)
		stt_mutex_init(&resumption->lock);
	return resumption;
}

void stt_resumption_free(struct stt_resumption *resumption)
{
	struct stt_visit visit;

	if (!resumption)
		return;
	if (resumption->session) {
		if (!stt_tls_enter(&visit, resumption)) {
			stt_tls_leave_to_the_end(&resumption->left);
			return;
		}
		SSL_SESSION_free(resumption->session);
		stt_tls_leave(&visit);
	}
	free(resumption->name);
	stt_mutex_fini(&resumption->lock);
	free(resumption);
}

void stt_resumption_keep(struct stt_resumption *resumption, SSL_SESSION *session,
			 uint64_t credentials, const char *name)
{
	char *copy = strdup(name);

	if (!copy) {
		SSL_SESSION_free(session);
		return;
	}
	stt_lock(&resumption->lock);
	SSL_SESSION *old = resumption->session;
	char *old_name = resumption->name;

	resumption->session = session;
	resumption->name = copy;
	resumption->credentials = credentials;
	stt_unlock(&resumption->lock);
	SSL_SESSION_free(old);
	free(old_name);
}

static bool is_fresh(const SSL_SESSION *session)
{
	time_t ends = (time_t)(SSL_SESSION_get_time(session) + SSL_SESSION_get_timeout(session));

	/* A resumption does not look at the certificate again. */
	return SSL_SESSION_is_resumable(session) && time(NULL) < ends &&
	       !stt_session_has_expired(session);
}

SSL_SESSION *stt_resumption_take(struct stt_resumption *resumption, uint64_t credentials,
				 const char *name)
{
	stt_lock(&resumption->lock);
	SSL_SESSION *session = resumption->session;
	bool fits = session && resumption->credentials == credentials &&
		    strcmp(resumption->name, name) == 0 && is_fresh(session);

	/* A ticket of TLS 1.3 is used once, so that nobody can tell that two connections are of one
	 * client (RFC 8446, C.4). The server sends others. */
	if (!fits || SSL_SESSION_get_protocol_version(session) >= TLS1_3_VERSION)
		resumption->session = NULL;
	else
		SSL_SESSION_up_ref(session);
	stt_unlock(&resumption->lock);
	if (fits)
		return session;
	SSL_SESSION_free(session);
	return NULL;
}
