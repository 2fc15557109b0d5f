/* SPDX-License-Identifier: MIT */
/* The life of a session: its beginning, its handshake, its end. */
#include "tls/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/host_name.h"
#include "tls/context.h"
#include "tls/inner.h"
#include "tls/process.h"

/* ------------------------------------------------------------------- the peer */

/* A host as programs give it, "[fe80::1%eth0]" or "db.example.", as it stands in certificates. */
static char *plain_name(const char *host)
{
	const char *start = host + (*host == '[');
	size_t length = strcspn(start, *host == '[' ? "]" : "");
	const char *zone = memchr(start, '%', length);

	if (zone && memchr(start, ':', length))
		length = (size_t)(zone - start);
	if (length > 1 && start[length - 1] == '.')
		length--;
	return strndup(start, length);
}

/* An address is checked as one, and asks for no name (RFC 6066, 3). What is no name never comes to
 * OpenSSL, which takes ".example" for any name under it: X509_check_host(3). */
static bool set_name(struct stt_tls_session *session)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(session->ssl);

	if (stt_is_address(session->name))
		return X509_VERIFY_PARAM_set1_ip_asc(param, session->name) == 1;
	return stt_is_host_name(session->name) &&
	       X509_VERIFY_PARAM_set1_host(param, session->name, 0) == 1 &&
	       SSL_set_tlsext_host_name(session->ssl, session->name) == 1;
}

static void resume(struct stt_tls_session *session)
{
	SSL_SESSION *last = stt_resumption_take(session->resumption, session->credentials->number,
						session->name);

	if (!last)
		return;
	/* One that does not suit any more only means a full handshake. */
	SSL_set_session(session->ssl, last);
	SSL_SESSION_free(last);
}

/* The callback for sessions that a client may resume: SSL_CTX_sess_set_new_cb(3). 1: it is taken.
 */
static int keep_session(SSL *ssl, SSL_SESSION *last)
{
	struct stt_tls_session *session = SSL_get_app_data(ssl);

	if (!session->resumption)
		return 0;
	stt_resumption_keep(session->resumption, last, session->credentials->number, session->name);
	return 1;
}

/* Counts what a peer can send without end, and sees a close_notify: SSL_get_shutdown tells a fatal
 * alert the same way. */
static void see_message(int written, int version, int type, const void *data, size_t size, SSL *ssl,
			void *argument)
{
	struct stt_tls_session *session = argument;

	(void)version;
	(void)ssl;
	/* OpenSSL clears errno before it writes; but the record's header is shown here before. */
	stt_note_memory(session);
	if (written || (type != SSL3_RT_HANDSHAKE && type != SSL3_RT_ALERT &&
			type != SSL3_RT_CHANGE_CIPHER_SPEC))
		return;
	session->messages++;
	if (type == SSL3_RT_ALERT && size == 2 &&
	    ((const unsigned char *)data)[1] == SSL3_AD_CLOSE_NOTIFY)
		session->closed_by_peer = true;
}

static int verify_mode(const struct stt_credentials *credentials)
{
	switch (credentials->peer) {
	case STTCP_TLS_PEER_REQUIRED:
		return SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
	case STTCP_TLS_PEER_ASKED:
		return SSL_VERIFY_PEER;
	case STTCP_TLS_PEER_NONE:
		break;
	}
	return SSL_VERIFY_NONE;
}

void stt_session_attach(struct stt_credentials *credentials)
{
	SSL_CTX_set_verify(credentials->context, verify_mode(credentials), stt_verify);
	SSL_CTX_set_msg_callback(credentials->context, see_message);
	if (!credentials->server)
		SSL_CTX_sess_set_new_cb(credentials->context, keep_session);
}

/* ------------------------------------------------------------------------ birth */

static int prepare(struct stt_tls_session *session, const struct stt_tls_start *start)
{
	BIO *bio;

	session->ssl = SSL_new(session->credentials->context);
	bio = stt_bio_new(session);
	if (!session->ssl || !bio) {
		BIO_free(bio);
		return -ENOMEM;
	}
	SSL_set_bio(session->ssl, bio, bio);
	/* The callbacks find the session by it. */
	if (SSL_set_app_data(session->ssl, session) != 1)
		return -ENOMEM;
	SSL_set_msg_callback_arg(session->ssl, session);
	if (session->credentials->server) {
		SSL_set_accept_state(session->ssl);
		return 0;
	}
	SSL_set_connect_state(session->ssl);
	if (!start->name)
		return session->credentials->peer == STTCP_TLS_PEER_NONE ? 0 : -EINVAL;
	session->name = plain_name(start->name);
	if (!session->name)
		return -ENOMEM;
	if (!set_name(session))
		return -EINVAL;
	if (start->resumption) {
		session->resumption = start->resumption;
		resume(session);
	}
	return 0;
}

static int copy_early(struct stt_tls_session *session, const struct stt_tls_start *start)
{
	if (!start->early_size)
		return 0;
	session->early = malloc(start->early_size);
	if (!session->early)
		return -ENOMEM;
	memcpy(session->early, start->early, start->early_size);
	session->early_size = start->early_size;
	return 0;
}

static int begin(struct stt_tls_session *session, struct sttcp_tls *tls,
		 const struct stt_tls_start *start)
{
	int result;

	session->credentials = stt_tls_take_credentials(tls);
	if (!session->credentials)
		return -EINVAL;
	result = copy_early(session, start);
	if (result == 0)
		result = prepare(session, start);
	stt_note_memory(session);
	return result < 0 && session->out_of_memory ? -ENOMEM : result;
}

int stt_tls_session_new(struct stt_tls_session **made, struct sttcp_tls *tls,
			const struct stt_tls_start *start)
{
	struct stt_tls_session *session = calloc(1, sizeof(*session));
	struct stt_visit visit;
	int result = -ECANCELED;

	if (!session)
		return -ENOMEM;
	session->wire = start->wire;
	session->context = start->context;
	if (stt_tls_enter(&visit, session)) {
		result = begin(session, tls, start);
		stt_tls_leave(&visit);
	}
	if (result == 0)
		*made = session;
	else
		stt_tls_session_free(session);
	return result;
}

static void free_inside(struct stt_tls_session *session)
{
	/* An SSL that was never shut down takes its session along, and could not be resumed. */
	if (session->ssl && !session->broken)
		SSL_set_shutdown(session->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(session->ssl);
	stt_credentials_unref(session->credentials);
}

void stt_tls_session_free(struct stt_tls_session *session)
{
	struct stt_visit visit;

	if (!session)
		return;
	if (!stt_tls_enter(&visit, session)) {
		stt_tls_leave_to_the_end(&session->left);
		return;
	}
	free_inside(session);
	stt_tls_leave(&visit);
	stt_bytes_clear(&session->rest);
	stt_note_fini(&session->note);
	free(session->early);
	free(session->name);
	free(session->text);
	free(session->facts_memory);
	free(session);
}

/* -------------------------------------------------------------------- handshake */

/* The peer's end is no end of a handshake. */
static int explain_end(struct stt_tls_session *session, int code)
{
	if (code != 1 && code != STTCP_ECUT)
		return code;
	free(session->text);
	session->text = NULL;
	if (session->out_of_memory)
		return stt_end_with(session, -ENOMEM, "out of memory");
	return stt_end_with(session, STTCP_ETLS,
			    "the peer ended the connection during the TLS handshake");
}

static bool lacks_certificate(SSL *ssl)
{
	int needs = SSL_is_server(ssl) ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : SSL_VERIFY_PEER;

	return (SSL_get_verify_mode(ssl) & needs) && !SSL_get0_peer_certificate(ssl);
}

static int step(struct stt_tls_session *session)
{
	for (;;) {
		BIO_clear_retry_flags(SSL_get_rbio(session->ssl));

		int done = SSL_do_handshake(session->ssl);
		int verdict = done == 1 ? 0 : stt_verdict(session);

		/* What is missed now may only show in a later step. */
		stt_note_memory(session);
		if (done == 1)
			break;
		if (verdict != 0)
			return explain_end(session, verdict);
	}
	/* A cipher that needs no certificate is not agreed on but where the system's configuration
	 * of OpenSSL has it in its default list. */
	if (lacks_certificate(session->ssl))
		return stt_end_with(session, STTCP_ETLS,
				    "the peer has shown no certificate, and one is required");
	/* Whoever finds it open finds its facts. */
	if (!stt_facts_gather(session))
		return stt_end_with(session, -ENOMEM, "out of memory");
	session->open = true;
	/* RFC 8446, 4.6.1. In TLS 1.2 it has the server's Finished, for which its peer waits. */
	session->held = session->rest.size && SSL_is_server(session->ssl) &&
			SSL_version(session->ssl) >= TLS1_3_VERSION;
	session->out_of_memory = false;
	/* What the peer sent behind its last message may be in OpenSSL's buffer. */
	session->more = true;
	return 0;
}

int stt_tls_handshake(struct stt_tls_session *session)
{
	struct stt_visit visit;
	int result;

	if (session->ended)
		return session->end_code;
	if (session->open)
		return 0;
	if (!stt_tls_enter(&visit, session))
		return -ECANCELED;
	session->dry = false;
	result = step(session);
	stt_tls_leave(&visit);
	return result;
}

uint64_t stt_tls_heard(const struct stt_tls_session *session)
{
	return session->heard;
}

/* -------------------------------------------------------------------------- end */

bool stt_tls_is_amid_message(const struct stt_tls_session *session)
{
	return session->open && !session->broken && !session->ended && SSL_in_init(session->ssl);
}

bool stt_tls_finishes_later(const struct stt_tls_session *session)
{
	return session->end_waits;
}

void stt_tls_finish(struct stt_tls_session *session)
{
	struct stt_visit visit;

	session->end_waits = !session->finished && stt_tls_is_amid_message(session);
	if (session->end_waits)
		session->needs_input = true;
	if (!session->open || session->finished || session->broken || session->end_waits ||
	    !stt_tls_enter(&visit, session))
		return;
	session->finished = true;
	SSL_shutdown(session->ssl);
	stt_tls_leave(&visit);
}

const char *stt_tls_text(const struct stt_tls_session *session)
{
	if (session->text)
		return session->text;
	/* There may have been no memory for the sentence. */
	return session->ended && session->end_code ? sttcp_strerror(session->end_code) : "";
}
