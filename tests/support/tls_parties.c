/* SPDX-License-Identifier: MIT */
#include "support/tls_parties.h"

#include <stdio.h>

#include "support/support.h"

struct sttcp_tls *server_of(const struct cert_spec *spec, const struct cert *issuer)
{
	static int number;
	struct cert cert = cert_make(spec, issuer ? issuer : &authority);
	char file[32], key[32];
	struct sttcp_tls *tls;

	/* They are read again when it is used. */
	snprintf(file, sizeof(file), "server%d.pem", ++number);
	snprintf(key, sizeof(key), "server%d.key", number);
	tls = stt_tls_new_server(certs_write_chain(file, &cert, NULL), certs_write_key(key, &cert));
	cert_free(&cert);
	assert_string_equal(stt_tls_error(tls), "");
	return tls;
}

struct sttcp_tls *server_for(const char *names)
{
	struct cert_spec spec = {.names = names};

	return server_of(&spec, NULL);
}

struct sttcp_tls *asking_server(sttcp_tls_peer who)
{
	struct sttcp_tls *server = server_for("DNS:a.example");

	assert_int_equal(stt_tls_require_peer(server, (int)who), 0);
	assert_int_equal(stt_tls_trust(server, trusted), 0);
	return server;
}

struct sttcp_tls *trusting_client(void)
{
	struct sttcp_tls *tls = stt_tls_new_client();

	assert_int_equal(stt_tls_trust(tls, trusted), 0);
	return tls;
}

void give_certificate(struct sttcp_tls *tls, const struct cert_spec *spec,
		      const struct cert *issuer)
{
	struct cert cert = cert_make(spec, issuer);

	assert_int_equal(stt_tls_set_certificate(tls, certs_write_chain("own.pem", &cert, NULL),
						 certs_write_key("own.key", &cert)),
			 0);
	cert_free(&cert);
}

void let_go(struct sttcp_tls *one, struct sttcp_tls *other)
{
	stt_tls_unref(one);
	stt_tls_unref(other);
}

void meet(struct tls_pair *pair, struct sttcp_tls *server, struct sttcp_tls *client,
	  const char *name)
{
	tls_pair_open(pair, server, client, name, NULL);
	tls_pair_shake(pair);
}

void expect_agreement(struct sttcp_tls *server, struct sttcp_tls *client, const char *name)
{
	struct tls_pair pair;

	tls_pair_open(&pair, server, client, name, NULL);
	tls_pair_agree(&pair);
	tls_pair_close(&pair);
}

void expect_refusal(struct sttcp_tls *server, struct sttcp_tls *client, const char *name,
		    const char *words)
{
	struct tls_pair pair;

	meet(&pair, server, client, name);
	assert_int_equal(pair.client.result, STTCP_ETLS);
	expect_text(stt_tls_text(pair.client.session), words);
	/* The server has heard of it: an alert, or, in TLS 1.3, the end. */
	assert_true(pair.server.result < 0);
	tls_pair_close(&pair);
}
