/* SPDX-License-Identifier: MIT */
/*
 * Building an SSL_CTX. openssl.cnf counts (providers, FIPS, the default
 * ciphers), because libssl reads it; what is set here is what a program must
 * not get wrong.
 */
#include "tls/credentials.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "tls/choice.h"
#include "tls/ciphers.h"
#include "tls/errors.h"
#include "tls/pem.h"
#include "tls/trust.h"

enum {
	/* Names of authorities that a server tells its clients; more than this, and it tells none,
	 * which means any. */
	AUTHORITIES_MAX = 16 * 1024
};

static int out_of_memory(struct stt_fault *fault)
{
	return stt_fault(fault, -ENOMEM, "out of memory");
}

/* ---------------------------------------------------------------- certificates */

static const char *key_file(const struct stt_pair_files *files)
{
	return files->key ? files->key : files->certificate;
}

static int check_pair(const struct stt_pair *pair, const struct stt_pair_files *files,
		      struct stt_fault *fault)
{
	if (X509_check_private_key(pair->certificate, pair->key) == 1)
		return 0;

	int reason = ERR_GET_REASON(ERR_peek_last_error());

	if (stt_openssl_missed_memory())
		return out_of_memory(fault);
	if (reason == X509_R_KEY_VALUES_MISMATCH || reason == X509_R_KEY_TYPE_MISMATCH)
		return stt_fault(fault, -EINVAL,
				 "the key in %s does not fit the first certificate in %s",
				 stt_fault_show(key_file(files)).text,
				 stt_fault_show(files->certificate).text);
	return stt_fault(fault, -EINVAL,
			 "OpenSSL cannot use the key in %s with the first certificate in %s: %s",
			 stt_fault_show(key_file(files)).text,
			 stt_fault_show(files->certificate).text,
			 stt_openssl_says("no reason given"));
}

/* The first certificate of the file is the one's own, the others are its chain. */
static int read_pair(struct stt_pair *pair, const struct stt_pair_files *files,
		     struct stt_fault *fault)
{
	int result;

	if (!files->certificate)
		return stt_fault(fault, -EINVAL, "no certificate was given: a server needs one");
	result = stt_pem_read_certificates(files->certificate, &pair->chain, fault);
	if (result < 0)
		return result;
	pair->certificate = sk_X509_shift(pair->chain);
	result = stt_pem_read_key(key_file(files), &pair->key, fault);
	return result < 0 ? result : check_pair(pair, files, fault);
}

/* It is for the peers to judge, but whoever runs the program wants to know. Locks are held here, so
 * it is only noted; without memory it is not. */
static void note_dates(struct stt_pair *pair, const char *file)
{
	char text[512];
	const char *what;

	if (X509_cmp_current_time(X509_get0_notAfter(pair->certificate)) < 0)
		what = "has expired";
	else if (X509_cmp_current_time(X509_get0_notBefore(pair->certificate)) > 0)
		what = "is not valid yet";
	else
		return;
	snprintf(text, sizeof(text), "the certificate in %s %s", stt_fault_show(file).text, what);
	pair->warning = strdup(text);
}

void stt_credentials_warn(const struct stt_credentials *credentials)
{
	for (int i = 0; i < credentials->npairs; i++) {
		if (credentials->pairs[i].warning)
			stt_log(STT_LOG_WARNING, "%s", credentials->pairs[i].warning);
	}
}

/* A trial in the context finds what the policy forbids, such as a key that is too small. */
static int load_pair(struct stt_credentials *made, const struct stt_pair *pair,
		     const struct stt_pair_files *files, struct stt_fault *fault)
{
	if (SSL_CTX_use_cert_and_key(made->context, pair->certificate, pair->key, pair->chain, 1) ==
	    1)
		return 0;
	if (stt_openssl_missed_memory())
		return out_of_memory(fault);
	return stt_fault(fault, -EINVAL, "OpenSSL does not accept the certificate in %s: %s",
			 stt_fault_show(files->certificate).text,
			 stt_openssl_says("no reason given"));
}

static int read_pairs(struct stt_credentials *made, const struct stt_pair_files *all, int count,
		      struct stt_fault *fault)
{
	made->pairs = calloc((size_t)count + 1, sizeof(*made->pairs));
	if (!made->pairs)
		return out_of_memory(fault);
	for (int i = 0; i < count; i++) {
		const struct stt_pair_files *files = &all[i];
		struct stt_pair *pair = &made->pairs[made->npairs++];
		int result = read_pair(pair, files, fault);

		if (result == 0)
			result = load_pair(made, pair, files, fault);
		if (result < 0)
			return result;
		note_dates(pair, files->certificate);
		if (!stt_names_add(&made->names, pair->certificate, i))
			return out_of_memory(fault);
	}
	stt_names_sort(&made->names);
	return 0;
}

/* -------------------------------------------------------------------- the peer */

static bool is_too_much(STACK_OF(X509_NAME) * names)
{
	int sum = 0;

	for (int i = 0; i < sk_X509_NAME_num(names); i++)
		sum += i2d_X509_NAME(sk_X509_NAME_value(names, i), NULL);
	return sum > AUTHORITIES_MAX;
}

/* Takes the names. */
static void name_authorities(SSL_CTX *context, STACK_OF(X509_NAME) * names)
{
	if (is_too_much(names))
		sk_X509_NAME_pop_free(names, X509_NAME_free);
	else
		SSL_CTX_set_client_CA_list(context, names);
}

static int set_trust(struct stt_credentials *made, const struct stt_tls_settings *settings,
		     bool anew, struct stt_fault *fault)
{
	STACK_OF(X509_NAME) *names = NULL;
	int result = 0;

	if (settings->ntrust)
		result = stt_trust_read(settings->trust, settings->ntrust, &made->trust,
					settings->server ? &names : NULL, fault);
	else if (!settings->server && settings->peer != STTCP_TLS_PEER_NONE)
		result = stt_trust_system(&made->trust, anew, fault);
	else if (settings->server && settings->peer != STTCP_TLS_PEER_NONE)
		result = stt_fault(fault, -EINVAL,
				   "a server that asks for certificates needs sttcp_tls_trust: "
				   "whose certificates are accepted");
	if (result < 0 || !made->trust)
		return result;
	SSL_CTX_set1_cert_store(made->context, made->trust);
	if (names)
		name_authorities(made->context, names);
	return 0;
}

/* -------------------------------------------------------------------- settings */

static const unsigned char session_id_context[] = "sttcp";

static void set_options(SSL_CTX *context, bool server)
{
	SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
					     SSL_OP_CIPHER_SERVER_PREFERENCE |
					     SSL_OP_PRIORITIZE_CHACHA);
	/* A chain is sent as it stands in the file: to find one in what is trusted would verify it
	 * in each handshake. RELEASE_BUFFERS: an idle connection takes 14 KB instead of 23.
	 * Without AUTO_RETRY a read comes back after a message that is not data, to be counted. */
	SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
	SSL_CTX_clear_mode(context, SSL_MODE_AUTO_RETRY);
	SSL_CTX_set_read_ahead(context, 1);
	/* A server's sessions are in their tickets alone; a client's are kept by their owner. */
	SSL_CTX_set_session_cache_mode(context,
				       server ? SSL_SESS_CACHE_OFF
					      : SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	/* Without one, a client with a certificate fails at its second connection. */
	SSL_CTX_set_session_id_context(context, session_id_context, sizeof(session_id_context) - 1);
	SSL_CTX_set_max_early_data(context, 0);
	SSL_CTX_set_recv_max_early_data(context, 0);
}

static int version_of(int number)
{
	return number == 12 ? TLS1_2_VERSION : TLS1_3_VERSION;
}

static bool set_policy(SSL_CTX *context, const struct stt_tls_settings *settings)
{
	X509_VERIFY_PARAM_set_hostflags(SSL_CTX_get0_param(context),
					X509_CHECK_FLAG_NEVER_CHECK_SUBJECT |
						X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return SSL_CTX_set_min_proto_version(context, version_of(settings->least)) == 1 &&
	       SSL_CTX_set_max_proto_version(context, version_of(settings->most)) == 1 &&
	       (!settings->ciphers || SSL_CTX_set_cipher_list(context, settings->ciphers) == 1) &&
	       (!settings->suites || SSL_CTX_set_ciphersuites(context, settings->suites) == 1);
}

static bool set_protocols(struct stt_credentials *made, const struct stt_tls_settings *settings)
{
	if (!settings->alpn)
		return true;
	/* This one returns 0 when all is well. */
	if (!settings->server)
		return SSL_CTX_set_alpn_protos(made->context, settings->alpn,
					       (unsigned)settings->alpn_size) == 0;
	made->alpn = malloc(settings->alpn_size);
	if (!made->alpn)
		return false;
	memcpy(made->alpn, settings->alpn, settings->alpn_size);
	made->alpn_size = settings->alpn_size;
	return true;
}

static int make_context(struct stt_credentials *made, const struct stt_tls_settings *settings,
			struct stt_fault *fault)
{
	made->context = SSL_CTX_new(settings->server ? TLS_server_method() : TLS_client_method());
	if (!made->context) {
		if (stt_openssl_missed_memory())
			return out_of_memory(fault);
		return stt_fault(fault, -ENOMEM, "OpenSSL makes no context: %s",
				 stt_openssl_says("out of memory"));
	}
	set_options(made->context, settings->server);
	if (!set_policy(made->context, settings)) {
		if (stt_openssl_missed_memory())
			return out_of_memory(fault);
		return stt_fault(fault, -EINVAL,
				 "OpenSSL does not accept the versions or ciphers, of which "
				 "those without authentication (aNULL) do not count: %s",
				 stt_openssl_says("no reason given"));
	}
	return set_protocols(made, settings) ? 0 : out_of_memory(fault);
}

/* Whoever was trusted until now and is no more must not come back by a ticket. The old keys stay
 * with the old credentials: a handshake that is still going on with those gives out a ticket that
 * is worth nothing afterwards. */
static int set_tickets(struct stt_credentials *made, const struct stt_credentials *before,
		       struct stt_fault *fault)
{
	if (before && before->tickets && stt_trust_is_same(before->trust, made->trust))
		made->tickets = stt_tickets_ref(before->tickets);
	else
		made->tickets = stt_tickets_new();
	return made->tickets && stt_tickets_attach(made->tickets, made->context)
		       ? 0
		       : out_of_memory(fault);
}

static int build(struct stt_credentials *made, const struct stt_tls_settings *settings,
		 const struct stt_credentials *before, bool anew, struct stt_fault *fault)
{
	int result = stt_ciphers_check(settings->ciphers, settings->suites, fault);

	if (result == 0)
		result = make_context(made, settings, fault);
	if (result == 0)
		result = read_pairs(made, settings->pairs, settings->npairs, fault);
	if (result == 0)
		result = set_trust(made, settings, anew, fault);
	if (result == 0 && settings->server)
		result = set_tickets(made, before, fault);
	if (result < 0)
		return result;
	if (settings->server)
		stt_choice_attach(made);
	return 0;
}

static struct stt_credentials *new_credentials(const struct stt_tls_settings *settings)
{
	static atomic_uint_fast64_t last_number;
	struct stt_credentials *credentials = calloc(1, sizeof(*credentials));

	if (!credentials)
		return NULL;
	atomic_init(&credentials->refs, 1);
	credentials->number = atomic_fetch_add(&last_number, 1) + 1;
	credentials->server = settings->server;
	credentials->peer = settings->peer;
	return credentials;
}

int stt_credentials_try(const struct stt_tls_settings *settings, const struct stt_pair_files *files,
			struct stt_fault *fault)
{
	struct stt_credentials *trial = new_credentials(settings);
	int result;

	if (!trial)
		return out_of_memory(fault);
	result = make_context(trial, settings, fault);
	if (result == 0)
		result = read_pairs(trial, files, 1, fault);
	stt_credentials_unref(trial);
	return result;
}

int stt_credentials_new(struct stt_credentials **made, const struct stt_tls_settings *settings,
			const struct stt_credentials *before, bool anew, struct stt_fault *fault)
{
	struct stt_credentials *credentials = new_credentials(settings);
	int result;

	if (!credentials)
		return out_of_memory(fault);
	result = build(credentials, settings, before, anew, fault);
	if (result < 0) {
		stt_credentials_unref(credentials);
		return result;
	}
	*made = credentials;
	return 0;
}

struct stt_credentials *stt_credentials_ref(struct stt_credentials *credentials)
{
	atomic_fetch_add_explicit(&credentials->refs, 1, memory_order_relaxed);
	return credentials;
}

void stt_credentials_unref(struct stt_credentials *credentials)
{
	/* acq_rel: whoever frees it has seen the last uses of all the others. */
	if (!credentials ||
	    atomic_fetch_sub_explicit(&credentials->refs, 1, memory_order_acq_rel) != 1)
		return;
	SSL_CTX_free(credentials->context);
	X509_STORE_free(credentials->trust);
	for (int i = 0; i < credentials->npairs; i++) {
		X509_free(credentials->pairs[i].certificate);
		sk_X509_pop_free(credentials->pairs[i].chain, X509_free);
		EVP_PKEY_free(credentials->pairs[i].key);
		free(credentials->pairs[i].warning);
	}
	free(credentials->pairs);
	stt_names_fini(&credentials->names);
	stt_tickets_unref(credentials->tickets);
	free(credentials->alpn);
	free(credentials);
}
