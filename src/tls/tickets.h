/* SPDX-License-Identifier: MIT */
/*
 * The keys of session tickets (RFC 5077, RFC 8446 4.6.1): a server keeps
 * nothing of a session, its clients bring it back, encrypted with these. They
 * outlive the reloads of a TLS object, unless what it trusts has changed. Each
 * encrypts for a day, and decrypts for one more.
 */
#ifndef STT_TLS_TICKETS_H
#define STT_TLS_TICKETS_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

struct stt_tickets;

/* NULL when out of memory, or of random bytes. */
struct stt_tickets *stt_tickets_new(void);
struct stt_tickets *stt_tickets_ref(struct stt_tickets *tickets);
void stt_tickets_unref(struct stt_tickets *tickets); /* NULL is fine */

/* Has a server's contexts use them; they have to live as long as it. False when OpenSSL refuses. */
bool stt_tickets_attach(struct stt_tickets *tickets, SSL_CTX *context);

/* Whether the certificate that the peer showed for a session has expired since. */
bool stt_session_has_expired(const SSL_SESSION *session);

/* Makes the keys older by so much: for tests. */
void stt_tickets_age(struct stt_tickets *tickets, int64_t ms);

#endif
