/* SPDX-License-Identifier: MIT */
/*
 * The choice of a server's certificate. Those that come into question are
 * looked at in four steps: those with exactly the name that the peer asks for;
 * those with a wildcard for it; the first one, and those that share a name with
 * it; all others. The first step that has one whose key the peer can use
 * decides. Of several keys of that step OpenSSL takes the one that suits the
 * hello best, as if they were all of one server: a slot for each type of key.
 */
#include "tls/choice.h"

#include <string.h>

/* Certificates by their number: a run of the table of names, or all of them. */
struct step {
	const struct stt_name_entry *entries; /* NULL: the numbers themselves */
	size_t count;
};

static const struct stt_pair *pair_at(const struct stt_credentials *credentials,
				      const struct step *step, size_t place)
{
	size_t number = step->entries ? (size_t)step->entries[place].certificate : place;

	return &credentials->pairs[number];
}

/* That the peer knows the type of key and its parameters, and can check what signed the
 * certificate. */
static bool is_usable(SSL *ssl, const struct stt_pair *pair)
{
	int found = SSL_check_chain(ssl, pair->certificate, pair->key, pair->chain);

	return (found & CERT_PKEY_VALID) && (found & (CERT_PKEY_SIGN | CERT_PKEY_EXPLICIT_SIGN));
}

static bool load(SSL *ssl, const struct stt_pair *pair)
{
	return SSL_use_cert_and_key(ssl, pair->certificate, pair->key, pair->chain, 1) == 1;
}

/* Backwards, so that of two keys of one type the one that was added first stays in its slot. */
static bool load_usable(SSL *ssl, const struct stt_credentials *credentials,
			const struct step *step)
{
	bool any = false;

	for (size_t i = step->count; i-- > 0;) {
		const struct stt_pair *pair = pair_at(credentials, step, i);

		if (is_usable(ssl, pair) && load(ssl, pair))
			any = true;
	}
	return any;
}

static struct step step_of_name(const struct stt_credentials *credentials, const char *name,
				bool wildcard)
{
	struct stt_name_match match = stt_names_find(&credentials->names, name, wildcard);

	return (struct step){match.first, match.count};
}

/* Those that share a name with the first certificate, from the one that most share on. */
static bool load_default(SSL *ssl, const struct stt_credentials *credentials)
{
	const struct step first = {NULL, 1};
	struct step widest = {NULL, 0};

	for (size_t i = 0; i < credentials->names.count; i++) {
		const struct stt_name_entry *entry = &credentials->names.entries[i];
		size_t count = 1;

		/* Entries are sorted by name and then by number, so a run begins with the first. */
		if (entry->certificate != 0)
			continue;
		while (i + count < credentials->names.count &&
		       entry[count].wildcard == entry->wildcard &&
		       strcmp(entry[count].name, entry->name) == 0)
			count++;
		if (count > widest.count)
			widest = (struct step){entry, count};
	}
	return load_usable(ssl, credentials, widest.count ? &widest : &first);
}

/* The certificate callback: SSL_CTX_set_cert_cb(3). 1 goes on, with what is loaded. */
static int choose_certificate(SSL *ssl, void *argument)
{
	const struct stt_credentials *credentials = argument;
	const struct step all = {NULL, (size_t)credentials->npairs};
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	SSL_certs_clear(ssl);
	if (name) {
		struct step exact = step_of_name(credentials, name, false);
		struct step wildcard = step_of_name(credentials, name, true);

		if (load_usable(ssl, credentials, &exact) ||
		    load_usable(ssl, credentials, &wildcard))
			return 1;
	}
	if (load_default(ssl, credentials) || load_usable(ssl, credentials, &all))
		return 1;
	/* None will do. OpenSSL says so to the peer, as it does for a single certificate. */
	return load(ssl, &credentials->pairs[0]);
}

/* The server's order decides. A peer that offers nothing never comes here. */
static int choose_protocol(SSL *ssl, const unsigned char **chosen, unsigned char *chosen_size,
			   const unsigned char *offered, unsigned offered_size, void *argument)
{
	const struct stt_credentials *credentials = argument;
	unsigned char *found;

	(void)ssl;
	if (SSL_select_next_proto(&found, chosen_size, credentials->alpn,
				  (unsigned)credentials->alpn_size, offered,
				  offered_size) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*chosen = found;
	return SSL_TLSEXT_ERR_OK;
}

/* The name is accepted whatever it is, with or without a certificate for it. Only then does OpenSSL
 * keep it in the session, from which a resumed connection of TLS 1.2 has it. */
static int accept_name(SSL *ssl, int *alert, void *argument)
{
	(void)ssl;
	(void)alert;
	(void)argument;
	return SSL_TLSEXT_ERR_OK;
}

void stt_choice_attach(struct stt_credentials *credentials)
{
	if (credentials->npairs > 1)
		SSL_CTX_set_cert_cb(credentials->context, choose_certificate, credentials);
	SSL_CTX_set_tlsext_servername_callback(credentials->context, accept_name);
	if (credentials->alpn)
		SSL_CTX_set_alpn_select_cb(credentials->context, choose_protocol, credentials);
}
