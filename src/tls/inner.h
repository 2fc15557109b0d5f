/* SPDX-License-Identifier: MIT */
/* The inside of a session, which its files share. */
#ifndef STT_TLS_INNER_H
#define STT_TLS_INNER_H

#include <errno.h>
#include <openssl/ssl.h>
#include <time.h>

#include "base/bytes.h"
#include "tls/credentials.h"
#include "tls/process.h"
#include "tls/session.h"

/* What a failed verification leaves behind: OpenSSL forgets the certificate. */
struct stt_refusal_note {
	long error; /* X509_V_ERR_..., 0: none */
	char *name; /* of the certificate that was refused */
	char *issuer;
	char *dates; /* since or until when it is valid */
};

struct stt_tls_session {
	/* Set at the beginning. */
	SSL *ssl;
	struct stt_credentials *credentials;
	const struct stt_tls_wire *wire;
	void *context;
	struct stt_resumption *resumption;
	char *name; /* whom a client asks for, or NULL */

	/* Reading. */
	unsigned char *early; /* bytes that come before those of the wire */
	size_t early_at;
	size_t early_size;
	uint64_t heard;
	int wire_code;	/* why the wire gives no more */
	bool dry;	/* it has nothing now: it is not asked again in this call */
	bool stays_dry; /* nor in the next one */
	bool fin;
	bool more; /* a read may have something without an event */
	bool amid; /* the last read has left a part of a record */

	/* Writing. */
	struct stt_bytes rest;
	unsigned char *batch; /* records of the running call gather here, or NULL */
	size_t batch_size;
	size_t batch_room;
	uint64_t moved;
	int out_code;	  /* why the wire takes no more */
	bool has_plain;	  /* plain bytes are in the rest, not only TLS's own */
	bool held;	  /* the rest is tickets alone, and has not been offered to the wire */
	bool needs_input; /* OpenSSL took no bytes, or no end, for a part of a message of the
			   * peer's is missing */
	bool end_waits;	  /* no end, that is */

	/* The whole. */
	bool open;	     /* the handshake is done */
	bool finished;	     /* close_notify was sent */
	bool closed_by_peer; /* close_notify has come */
	bool ended;	     /* reading has ended, with `end_code` */
	bool broken;	     /* OpenSSL can neither read nor write any more */
	bool out_of_memory;  /* in its handshake, or in the running visit: see stt_note_memory */
	bool refused; /* OpenSSL has refused a call, or handled a message, in the running visit */
	int end_code;
	int messages; /* that were not data, in the running call */
	char *text;
	struct stt_refusal_note note;
	struct stt_tls_left left;
	char *facts_memory; /* what the strings of the facts stand in */
	struct stt_tls_facts facts;
};

/* Notes whether memory was missed since the visit has begun, when errno was 0. */
static inline void stt_note_memory(struct stt_tls_session *session)
{
	if (errno == ENOMEM)
		session->out_of_memory = true;
}

/* The BIO of a session. NULL when out of memory. */
BIO *stt_bio_new(struct stt_tls_session *session);

/* Why the call that OpenSSL has just refused was refused: 0 when nothing is wrong, and it was only
 * a message that is not data; 1 after a close_notify; -EAGAIN when the wire is dry; else a code
 * that has ended the session, with a sentence. */
int stt_verdict(struct stt_tls_session *session);

/* Ends the session with a code and a sentence; the first one counts. Returns the code. */
int stt_end_with(struct stt_tls_session *session, int code, const char *format, ...)
	STTCP_PRINTF(3, 4);

/* The verify callback: SSL_CTX_set_verify(3). */
int stt_verify(int fine, X509_STORE_CTX *store);
void stt_note_fini(struct stt_refusal_note *note);

/* Fills in the facts, at the end of the handshake. False when out of memory. */
bool stt_facts_gather(struct stt_tls_session *session);

/* Takes the session. */
void stt_resumption_keep(struct stt_resumption *resumption, SSL_SESSION *session,
			 uint64_t credentials, const char *name);

/* A reference, or NULL. */
SSL_SESSION *stt_resumption_take(struct stt_resumption *resumption, uint64_t credentials,
				 const char *name);

#endif
