/* SPDX-License-Identifier: MIT */
/* The client's side of TLS: a struct wire for each connection, and the latest ticket. */
#include "load_tls.h"

#include <errno.h>
#include <stdlib.h>

#include "wire.h"

struct load_tls {
	struct wire wire;
	bool resumes; /* it was given a session */
	bool greeted; /* the handshake is over */
};

static SSL_CTX *context;
static SSL_SESSION *latest;

/* The callback for tickets. 1: it is taken. */
static int keep_session(SSL *ssl, SSL_SESSION *session)
{
	(void)ssl;
	SSL_SESSION_free(latest);
	latest = session;
	return 1;
}

bool load_tls_start(bool resume)
{
	context = wire_context(NULL);
	if (resume) {
		SSL_CTX_set_session_cache_mode(context,
					       SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
		SSL_CTX_sess_set_new_cb(context, keep_session);
	}
	return true;
}

struct load_tls *load_tls_new(int fd)
{
	struct load_tls *tls = calloc(1, sizeof(*tls));

	if (!tls || !wire_open(&tls->wire, context, fd)) {
		free(tls);
		return NULL;
	}
	if (latest)
		tls->resumes = SSL_set_session(tls->wire.ssl, latest) == 1;
	return tls;
}

void load_tls_free(struct load_tls *tls)
{
	if (!tls)
		return;
	wire_close(&tls->wire);
	free(tls);
}

bool load_tls_wake(struct load_tls *tls, uint32_t events)
{
	return wire_wake(&tls->wire, events);
}

/* Sends what the call has written, a handshake's messages included, and keeps its errno. */
static ssize_t leave(struct load_tls *tls, ssize_t result)
{
	int error = errno;

	if (!wire_flush(&tls->wire))
		return -1;
	if (!tls->greeted && SSL_is_init_finished(tls->wire.ssl)) {
		tls->greeted = true;
		if (tls->resumes && !SSL_session_reused(tls->wire.ssl)) {
			errno = EPROTO;
			return -1;
		}
	}
	errno = error;
	return result;
}

ssize_t load_tls_send(struct load_tls *tls, const void *data, size_t size)
{
	if (tls->wire.rest) {
		errno = EAGAIN;
		return -1;
	}
	return leave(tls, wire_send(&tls->wire, data, size));
}

ssize_t load_tls_recv(struct load_tls *tls, void *data, size_t size)
{
	return leave(tls, wire_recv(&tls->wire, data, size));
}
