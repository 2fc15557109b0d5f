/* SPDX-License-Identifier: MIT */
/* What a handshake agrees on, and where it fails: versions, ciphers, the certificate for a name,
 * ALPN, and peers that do not speak TLS. */
#include "support/support.h"
#include "support/tls_parties.h"

#include <openssl/ssl.h>

#include "tls/inner.h"

/* ------------------------------------------------------------- versions, ciphers */

static void each_version_can_be_had(void **state)
{
	struct sttcp_tls *server = server_for("DNS:a.example");

	(void)state;
	for (int version = 12; version <= 13; version++) {
		struct sttcp_tls *client = trusting_client();
		struct tls_pair pair;

		assert_int_equal(stt_tls_set_versions(client, version, version), 0);
		tls_pair_open(&pair, server, client, "a.example", NULL);
		tls_pair_agree(&pair);
		assert_string_equal(tls_facts(&pair.server).version,
				    version == 12 ? "TLSv1.2" : "TLSv1.3");
		assert_string_equal(tls_facts(&pair.client).version,
				    version == 12 ? "TLSv1.2" : "TLSv1.3");
		tls_expect_passage(&pair.client, &pair.server, 70000);
		tls_expect_passage(&pair.server, &pair.client, 70000);
		tls_pair_close(&pair);
		stt_tls_unref(client);
	}
	stt_tls_unref(server);
}

static void no_common_version_is_told_on_both_sides(void **state)
{
	struct sttcp_tls *server = server_for("DNS:a.example"), *client = trusting_client();
	struct tls_pair pair;

	(void)state;
	assert_int_equal(stt_tls_set_versions(server, 13, 13), 0);
	assert_int_equal(stt_tls_set_versions(client, 12, 12), 0);
	meet(&pair, server, client, "a.example");
	assert_int_equal(pair.server.result, STTCP_ETLS);
	expect_text(stt_tls_text(pair.server.session), "no version of TLS that is allowed here");
	assert_int_equal(pair.client.result, STTCP_ETLS);
	expect_text(stt_tls_text(pair.client.session), "protocol version");
	tls_pair_close(&pair);
	let_go(server, client);
}

static void both_lists_of_ciphers_count(void **state)
{
	struct sttcp_tls *server = server_for("DNS:a.example");
	struct tls_pair pair;

	(void)state;
	assert_int_equal(
		stt_tls_set_ciphers(server,
				    "ECDHE-ECDSA-AES128-GCM-SHA256:TLS_CHACHA20_POLY1305_SHA256"),
		0);
	for (int version = 12; version <= 13; version++) {
		struct sttcp_tls *client = trusting_client();

		assert_int_equal(stt_tls_set_versions(client, version, version), 0);
		tls_pair_open(&pair, server, client, "a.example", NULL);
		tls_pair_agree(&pair);
		assert_string_equal(tls_facts(&pair.client).cipher,
				    version == 12 ? "ECDHE-ECDSA-AES128-GCM-SHA256"
						  : "TLS_CHACHA20_POLY1305_SHA256");
		tls_pair_close(&pair);
		stt_tls_unref(client);
	}
	stt_tls_unref(server);
}

static void no_common_cipher_is_told_on_both_sides(void **state)
{
	struct sttcp_tls *server = server_for("DNS:a.example"), *client = trusting_client();
	struct tls_pair pair;

	(void)state;
	assert_int_equal(stt_tls_set_ciphers(server, "TLS_AES_128_GCM_SHA256"), 0);
	assert_int_equal(stt_tls_set_versions(server, 13, 13), 0);
	assert_int_equal(stt_tls_set_ciphers(client, "TLS_AES_256_GCM_SHA384"), 0);
	meet(&pair, server, client, "a.example");
	assert_int_equal(pair.server.result, STTCP_ETLS);
	expect_text(stt_tls_text(pair.server.session), "no cipher");
	assert_int_equal(pair.client.result, STTCP_ETLS);
	expect_text(stt_tls_text(pair.client.session), "handshake failure");
	tls_pair_close(&pair);
	let_go(server, client);
}

/* ------------------------------------------------------------------ bad peers */

static void expect_nonsense(const char *bytes, const char *words)
{
	struct sttcp_tls *server = server_for("DNS:a.example");
	struct stt_tls_start start = {.wire = &tube_wire};
	struct tube in = {.bytes = malloc(strlen(bytes)), .size = strlen(bytes)};
	struct tube out = {.bytes = NULL};
	struct tls_side side = {.in = &in, .out = &out};

	assert_non_null(in.bytes);
	memcpy(in.bytes, bytes, in.size);
	start.context = &side;
	assert_int_equal(stt_tls_use(server), 0);
	assert_int_equal(stt_tls_session_new(&side.session, server, &start), 0);
	assert_int_equal(stt_tls_handshake(side.session), STTCP_ETLS);
	expect_text(stt_tls_text(side.session), words);
	assert_int_equal(stt_tls_heard(side.session), strlen(bytes));
	stt_tls_session_free(side.session);
	stt_tls_unref(server);
	free(in.bytes);
	free(out.bytes);
}

static void other_protocols_are_called_by_their_name(void **state)
{
	(void)state;
	expect_nonsense("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "speaks HTTP");
	expect_nonsense("CONNECT a.example:443 HTTP/1.1\r\n\r\n", "HTTP to a proxy");
	expect_nonsense("SSH-2.0-OpenSSH_9.2p1 Debian\r\n", "does not speak TLS");
}

static void a_peer_without_tls_is_told(void **state)
{
	static const char greeting[] = "220 mail.example ESMTP\r\n";
	struct sttcp_tls *server = server_for("DNS:a.example"), *client = trusting_client();
	struct tls_pair pair;

	(void)state;
	tls_pair_open(&pair, server, client, "a.example", NULL);
	pair.to_client.bytes = malloc(sizeof(greeting) - 1);
	assert_non_null(pair.to_client.bytes);
	memcpy(pair.to_client.bytes, greeting, sizeof(greeting) - 1);
	pair.to_client.size = sizeof(greeting) - 1;
	assert_int_equal(stt_tls_handshake(pair.client.session), STTCP_ETLS);
	expect_text(stt_tls_text(pair.client.session), "does not speak TLS");
	tls_pair_close(&pair);
	let_go(server, client);
}

/* A peer that begins again and again would make the server sign each time. */
static void nobody_renegotiates(void **state)
{
	struct sttcp_tls *server = server_for("DNS:a.example"), *client = trusting_client();
	struct tls_pair pair;
	size_t before;
	char got[10];
	ssize_t end;

	(void)state;
	assert_int_equal(stt_tls_set_versions(client, 12, 12), 0);
	tls_pair_open(&pair, server, client, "a.example", NULL);
	tls_pair_agree(&pair);
	before = pair.to_client.total;
	SSL_clear_options(pair.client.session->ssl, SSL_OP_NO_RENEGOTIATION);
	assert_int_equal(SSL_renegotiate(pair.client.session->ssl), 1);
	assert_int_equal(SSL_do_handshake(pair.client.session->ssl), -1);
	assert_int_equal(stt_tls_flush(pair.client.session), 0);
	tls_drain(&pair.server, got, sizeof(got), &end);
	assert_int_equal(end, -EAGAIN);
	assert_int_equal(stt_tls_flush(pair.server.session), 0);
	/* An alert, and no other handshake. */
	assert_true(pair.to_client.total > before);
	assert_true(pair.to_client.total - before < 100);
	/* The peer does not bear that; and its handshake had not been refused. */
	tls_drain(&pair.client, got, sizeof(got), &end);
	assert_int_equal(stt_tls_flush(pair.client.session), 0);
	tls_drain(&pair.server, got, sizeof(got), &end);
	assert_int_equal(end, STTCP_ETLS);
	assert_string_equal(stt_tls_text(pair.server.session),
			    "the peer sent the alert \"handshake failure\"");
	tls_pair_close(&pair);
	let_go(server, client);
}

/* -------------------------------------------------------------------------- SNI */

/* Adds a certificate for these names. */
static void add(struct sttcp_tls *tls, const char *file, const char *names, enum cert_key key)
{
	struct cert_spec spec = {.names = names, .key = key};
	struct cert cert = cert_make(&spec, &authority);
	char key_file[64];

	snprintf(key_file, sizeof(key_file), "%s.key", file);
	assert_int_equal(stt_tls_add_certificate(tls, certs_write_chain(file, &cert, NULL),
						 certs_write_key(key_file, &cert)),
			 0);
	cert_free(&cert);
}

/* Whose certificate a client gets that asks for this name; the first DNS name in it. */
static void expect_chosen(struct sttcp_tls *server, const char *name, const char *subject)
{
	struct sttcp_tls *client = stt_tls_new_client();
	struct tls_pair pair;

	assert_int_equal(stt_tls_require_peer(client, STTCP_TLS_PEER_NONE), 0);
	tls_pair_open(&pair, server, client, name, NULL);
	tls_pair_agree(&pair);
	if (strcmp(tls_facts(&pair.client).peer_subject, subject) != 0)
		fail_msg("for %s: %s, not %s", name ? name : "no name",
			 tls_facts(&pair.client).peer_subject, subject);
	tls_pair_close(&pair);
	stt_tls_unref(client);
}

static void the_name_chooses_the_certificate(void **state)
{
	struct sttcp_tls *server = server_for("DNS:first.example");

	(void)state;
	add(server, "star.pem", "DNS:*.b.example", CERT_EC);
	add(server, "exact.pem", "DNS:www.b.example,DNS:c.example", CERT_EC);
	add(server, "rsa.pem", "DNS:d.example", CERT_RSA);
	expect_chosen(server, "first.example", "CN=first.example");
	expect_chosen(server, "x.b.example", "CN=*.b.example");
	expect_chosen(server, "www.b.example", "CN=www.b.example");
	expect_chosen(server, "WWW.B.Example", "CN=www.b.example");
	expect_chosen(server, "c.example", "CN=www.b.example");
	expect_chosen(server, "d.example", "CN=d.example");
	/* The first is for all others. */
	expect_chosen(server, "b.example", "CN=first.example");
	expect_chosen(server, "x.y.b.example", "CN=first.example");
	expect_chosen(server, "nowhere.example", "CN=first.example");
	expect_chosen(server, NULL, "CN=first.example");
	expect_chosen(server, "127.0.0.1", "CN=first.example");
	stt_tls_unref(server);
}

/* A client that knows one kind of signature alone. */
static const char *kind_given_to(struct sttcp_tls *server, const char *signatures, const char *name)
{
	struct sttcp_tls *client = stt_tls_new_client();
	struct stt_credentials *credentials;
	struct tls_pair pair;
	const char *kind;
	X509 *certificate;
	const unsigned char *der;
	struct stt_tls_facts facts;

	assert_int_equal(stt_tls_require_peer(client, STTCP_TLS_PEER_NONE), 0);
	assert_int_equal(stt_tls_use(client), 0);
	credentials = stt_tls_take_credentials(client);
	assert_int_equal(SSL_CTX_set1_sigalgs_list(credentials->context, signatures), 1);
	stt_credentials_unref(credentials);
	tls_pair_open(&pair, server, client, name, NULL);
	tls_pair_agree(&pair);
	facts = tls_facts(&pair.client);
	der = facts.peer_certificate;
	certificate = d2i_X509(NULL, &der, (long)facts.peer_certificate_size);
	kind = EVP_PKEY_get0_type_name(X509_get0_pubkey(certificate));
	kind = strcmp(kind, "EC") == 0 ? "EC" : strcmp(kind, "RSA") == 0 ? "RSA" : "other";
	X509_free(certificate);
	tls_pair_close(&pair);
	stt_tls_unref(client);
	return kind;
}

static void of_several_keys_one_that_the_peer_can_use(void **state)
{
	/* The signatures of the certificates themselves are the authority's: ECDSA. */
	static const char rsa_only[] = "rsa_pss_rsae_sha256:RSA+SHA256";
	static const char ecdsa_only[] = "ECDSA+SHA256";
	struct cert_spec of_root = {.subject = "RSA", .key = CERT_RSA, .authority = true};
	struct cert_spec spec = {.names = "DNS:a.example", .key = CERT_RSA};
	struct cert root = cert_make(&of_root, NULL);
	struct sttcp_tls *server = server_of(&spec, &root);

	(void)state;
	add(server, "ec.pem", "DNS:a.example", CERT_EC);
	add(server, "other.pem", "DNS:b.example", CERT_EC);
	assert_string_equal(kind_given_to(server, rsa_only, "a.example"), "RSA");
	assert_string_equal(kind_given_to(server, ecdsa_only, "a.example"), "EC");
	/* Without a name, too, where both are for the same host. */
	assert_string_equal(kind_given_to(server, rsa_only, NULL), "RSA");
	assert_string_equal(kind_given_to(server, ecdsa_only, NULL), "EC");
	/* Rather another name than none at all: the peer may not look at names. */
	assert_string_equal(kind_given_to(server, rsa_only, "b.example"), "RSA");
	cert_free(&root);
	stt_tls_unref(server);
}

/* ------------------------------------------------------------------------- ALPN */

static void the_servers_order_of_protocols_decides(void **state)
{
	struct sttcp_tls *server = server_for("DNS:a.example"), *client = trusting_client();
	struct tls_pair pair;

	(void)state;
	assert_int_equal(stt_tls_set_alpn(server, "h2,http/1.1"), 0);
	assert_int_equal(stt_tls_set_alpn(client, "spdy,http/1.1,h2"), 0);
	tls_pair_open(&pair, server, client, "a.example", NULL);
	tls_pair_agree(&pair);
	assert_string_equal(tls_facts(&pair.server).alpn, "h2");
	assert_string_equal(tls_facts(&pair.client).alpn, "h2");
	tls_pair_close(&pair);
	let_go(server, client);
}

static void no_common_protocol_is_an_alert(void **state)
{
	struct sttcp_tls *server = server_for("DNS:a.example"), *client = trusting_client();
	struct tls_pair pair;

	(void)state;
	assert_int_equal(stt_tls_set_alpn(server, "h2"), 0);
	assert_int_equal(stt_tls_set_alpn(client, "irc"), 0);
	meet(&pair, server, client, "a.example");
	assert_int_equal(pair.server.result, STTCP_ETLS);
	expect_text(stt_tls_text(pair.server.session), "no ALPN protocol");
	assert_int_equal(pair.client.result, STTCP_ETLS);
	expect_text(stt_tls_text(pair.client.session), "none of the ALPN protocols");
	tls_pair_close(&pair);
	let_go(server, client);
}

static void a_side_without_alpn_goes_on(void **state)
{
	struct sttcp_tls *server = server_for("DNS:a.example"), *client = trusting_client();
	struct sttcp_tls *plain = server_for("DNS:a.example"), *without = trusting_client();
	struct tls_pair pair;

	(void)state;
	assert_int_equal(stt_tls_set_alpn(server, "h2"), 0);
	assert_int_equal(stt_tls_set_alpn(client, "h2"), 0);
	tls_pair_open(&pair, server, without, "a.example", NULL);
	tls_pair_agree(&pair);
	assert_string_equal(tls_facts(&pair.server).alpn, "");
	tls_pair_close(&pair);
	tls_pair_open(&pair, plain, client, "a.example", NULL);
	tls_pair_agree(&pair);
	assert_string_equal(tls_facts(&pair.client).alpn, "");
	tls_pair_close(&pair);
	let_go(server, client);
	let_go(plain, without);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_version_can_be_had),
		cmocka_unit_test(no_common_version_is_told_on_both_sides),
		cmocka_unit_test(both_lists_of_ciphers_count),
		cmocka_unit_test(no_common_cipher_is_told_on_both_sides),
		cmocka_unit_test(other_protocols_are_called_by_their_name),
		cmocka_unit_test(a_peer_without_tls_is_told),
		cmocka_unit_test(nobody_renegotiates),
		cmocka_unit_test(the_name_chooses_the_certificate),
		cmocka_unit_test(of_several_keys_one_that_the_peer_can_use),
		cmocka_unit_test(the_servers_order_of_protocols_decides),
		cmocka_unit_test(no_common_protocol_is_an_alert),
		cmocka_unit_test(a_side_without_alpn_goes_on),
	};

	return cmocka_run_group_tests(tests, good_files_open, good_files_close);
}
