/* SPDX-License-Identifier: MIT */
/*
 * Ticket keys: the current ones and those of the day before. OpenSSL's own are
 * one pair for each SSL_CTX, made with it and never changed: a reload would
 * throw every session away, and a key that leaked would open all of a process's
 * life. The lock is held for a copy of the keys; no cryptography is done under
 * it.
 */
#include "tls/tickets.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mutex.h"

enum {
	NAME_SIZE = 16,
	KEY_SIZE = 32,
	IV_SIZE = 16,
	LIFE_MS = 24 * 60 * 60 * 1000
};

struct ticket_key {
	unsigned char name[NAME_SIZE];
	unsigned char cipher[KEY_SIZE];
	unsigned char mac[KEY_SIZE];
};

struct stt_tickets {
	atomic_int refs;
	EVP_CIPHER *cipher; /* set before use: to fetch it for each ticket takes a lock */

	/* Under the lock. */
	struct stt_mutex lock;
	struct ticket_key current;
	struct ticket_key last;
	bool has_last;
	int64_t made_ms; /* the current one */
};

static bool make_key(struct ticket_key *key)
{
	bool fine;

	fine = RAND_bytes(key->name, NAME_SIZE) == 1 &&
	       RAND_priv_bytes(key->cipher, KEY_SIZE) == 1 &&
	       RAND_priv_bytes(key->mac, KEY_SIZE) == 1;
	return fine;
}

struct stt_tickets *stt_tickets_new(void)
{
	struct stt_tickets *tickets = calloc(1, sizeof(*tickets));

	if (!tickets)
		return NULL;
	atomic_init(&tickets->refs, 1);
	stt_mutex_init(&tickets->lock);
	tickets->cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
	tickets->made_ms = stt_now_ms();
	if (!tickets->cipher || !make_key(&tickets->current)) {
		stt_tickets_unref(tickets);
		return NULL;
	}
	return tickets;
}

struct stt_tickets *stt_tickets_ref(struct stt_tickets *tickets)
{
	atomic_fetch_add_explicit(&tickets->refs, 1, memory_order_relaxed);
	return tickets;
}

void stt_tickets_unref(struct stt_tickets *tickets)
{
	/* acq_rel: whoever frees it has seen the last uses of all the others. */
	if (!tickets || atomic_fetch_sub_explicit(&tickets->refs, 1, memory_order_acq_rel) != 1)
		return;
	EVP_CIPHER_free(tickets->cipher);
	stt_mutex_fini(&tickets->lock);
	OPENSSL_cleanse(&tickets->current, sizeof(tickets->current));
	OPENSSL_cleanse(&tickets->last, sizeof(tickets->last));
	free(tickets);
}

void stt_tickets_age(struct stt_tickets *tickets, int64_t ms)
{
	stt_lock(&tickets->lock);
	tickets->made_ms -= ms;
	stt_unlock(&tickets->lock);
}

static bool is_due(struct stt_tickets *tickets)
{
	stt_lock(&tickets->lock);
	bool due = stt_now_ms() - tickets->made_ms >= LIFE_MS;

	stt_unlock(&tickets->lock);
	return due;
}

/* A new day: the current keys become the last ones; those that nobody asked for in two days are
 * gone. Of several threads one does it. Without random bytes the old keys go on. */
static void rotate(struct stt_tickets *tickets)
{
	struct ticket_key fresh;

	if (!is_due(tickets) || !make_key(&fresh))
		return;
	stt_lock(&tickets->lock);
	int64_t age = stt_now_ms() - tickets->made_ms;

	if (age >= LIFE_MS) {
		tickets->last = tickets->current;
		tickets->has_last = age < 2 * (int64_t)LIFE_MS;
		tickets->current = fresh;
		tickets->made_ms = stt_now_ms();
	}
	stt_unlock(&tickets->lock);
	OPENSSL_cleanse(&fresh, sizeof(fresh));
}

/* What OpenSSL wants of its callback. */
enum {
	NOT_FOUND = 0,
	FOUND = 1,
	FOUND_AND_RENEW = 2 /* the client gets a new ticket */
};

/* The key of that name: the current one, or the last one, whose tickets are to be made anew. */
static int find_key(struct stt_tickets *tickets, const unsigned char *name, struct ticket_key *key)
{
	int found = NOT_FOUND;

	stt_lock(&tickets->lock);
	if (memcmp(name, tickets->current.name, NAME_SIZE) == 0) {
		*key = tickets->current;
		found = FOUND;
	} else if (tickets->has_last && memcmp(name, tickets->last.name, NAME_SIZE) == 0) {
		*key = tickets->last;
		found = FOUND_AND_RENEW;
	}
	stt_unlock(&tickets->lock);
	return found;
}

static bool set_mac(EVP_MAC_CTX *mac, struct ticket_key *key)
{
	char digest[] = "sha256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->mac, KEY_SIZE),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end(),
	};

	return EVP_MAC_CTX_set_params(mac, params) == 1;
}

static int encrypt(struct stt_tickets *tickets, unsigned char *name, unsigned char *iv,
		   EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
	struct ticket_key key;
	bool fine;

	stt_lock(&tickets->lock);
	key = tickets->current;
	stt_unlock(&tickets->lock);
	memcpy(name, key.name, NAME_SIZE);
	fine = RAND_bytes(iv, IV_SIZE) == 1 &&
	       EVP_EncryptInit_ex(cipher, tickets->cipher, NULL, key.cipher, iv) == 1 &&
	       set_mac(mac, &key);
	OPENSSL_cleanse(&key, sizeof(key));
	return fine ? 1 : -1;
}

static int decrypt(struct stt_tickets *tickets, const unsigned char *name, const unsigned char *iv,
		   EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
	struct ticket_key key;
	int found = find_key(tickets, name, &key);

	if (found == NOT_FOUND)
		return found;

	bool fine = EVP_DecryptInit_ex(cipher, tickets->cipher, NULL, key.cipher, iv) == 1 &&
		    set_mac(mac, &key);

	OPENSSL_cleanse(&key, sizeof(key));
	return fine ? found : -1;
}

bool stt_session_has_expired(const SSL_SESSION *session)
{
	/* The parameter is not const, and nothing is changed. */
	const X509 *peer = SSL_SESSION_get0_peer((SSL_SESSION *)(uintptr_t)session);

	return peer && X509_cmp_current_time(X509_get0_notAfter(peer)) < 0;
}

static int ticket_index = -1;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_index(void)
{
	ticket_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
}

/* OpenSSL asks for a key: SSL_CTX_set_tlsext_ticket_key_evp_cb(3). */
static int give_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
		    EVP_MAC_CTX *mac, int encrypting)
{
	struct stt_tickets *tickets = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), ticket_index);

	rotate(tickets);
	if (encrypting)
		return encrypt(tickets, name, iv, cipher, mac);

	int found = decrypt(tickets, name, iv, cipher, mac);

	/* There a client uses each ticket once. */
	return found == FOUND && SSL_version(ssl) >= TLS1_3_VERSION ? FOUND_AND_RENEW : found;
}

/* OpenSSL verifies a client's certificate in a full handshake only, and each resumption brings
 * another ticket. So one whose certificate has expired would come back for ever. This callback sees
 * what was in a ticket: SSL_CTX_set_session_ticket_cb(3). */
static SSL_TICKET_RETURN judge(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
			       size_t name_size, SSL_TICKET_STATUS status, void *argument)
{
	bool opened = status == SSL_TICKET_SUCCESS || status == SSL_TICKET_SUCCESS_RENEW;

	(void)ssl;
	(void)name;
	(void)name_size;
	(void)argument;
	if (!opened || stt_session_has_expired(session))
		return SSL_TICKET_RETURN_IGNORE_RENEW;
	return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
}

bool stt_tickets_attach(struct stt_tickets *tickets, SSL_CTX *context)
{
	pthread_once(&once, make_index);
	return ticket_index >= 0 && SSL_CTX_set_ex_data(context, ticket_index, tickets) == 1 &&
	       SSL_CTX_set_tlsext_ticket_key_evp_cb(context, give_key) == 1 &&
	       SSL_CTX_set_session_ticket_cb(context, NULL, judge, NULL) == 1;
}
