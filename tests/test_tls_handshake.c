/* SPDX-License-Identifier: MIT */
/* What a handshake agrees on and refuses: versions, ciphers, names, certificates of both sides,
 * ALPN, resumption; and what is said about it. */
#include "support/certs.h"
#include "support/support.h"
#include "support/tls_pairs.h"

#include <openssl/ssl.h>
#include <time.h>

#include "tls/inner.h"
#include "tls/resumption.h"

enum {
	HOUR = 3600
};

static struct cert authority;
static const char *trusted; /* the file of its certificate */
static long ahead_s;	    /* of the real clock, in place of which OpenSSL gets this one */

time_t time(time_t *now)
{
	struct timespec real;

	clock_gettime(CLOCK_REALTIME, &real);
	real.tv_sec += ahead_s;
	if (now)
		*now = real.tv_sec;
	return real.tv_sec;
}

static int set_up(void **state)
{
	struct cert_spec spec = {.subject = "Test Authority", .authority = true};

	(void)state;
	certs_open();
	authority = cert_make(&spec, NULL);
	trusted = certs_write_chain("authority.pem", &authority, NULL);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	cert_free(&authority);
	certs_close();
	return 0;
}

/* ---------------------------------------------------------------------- actors */

/* A server whose certificate is of the authority, or of another issuer. */
static struct sttcp_tls *server_of(const struct cert_spec *spec, const struct cert *issuer)
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

static struct sttcp_tls *server_for(const char *names)
{
	struct cert_spec spec = {.names = names};

	return server_of(&spec, NULL);
}

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

static struct sttcp_tls *trusting_client(void)
{
	struct sttcp_tls *tls = stt_tls_new_client();

	assert_int_equal(stt_tls_trust(tls, trusted), 0);
	return tls;
}

static void give_certificate(struct sttcp_tls *tls, const struct cert_spec *spec,
			     const struct cert *issuer)
{
	struct cert cert = cert_make(spec, issuer);

	assert_int_equal(stt_tls_set_certificate(tls, certs_write_chain("own.pem", &cert, NULL),
						 certs_write_key("own.key", &cert)),
			 0);
	cert_free(&cert);
}

static void let_go(struct sttcp_tls *one, struct sttcp_tls *other)
{
	stt_tls_unref(one);
	stt_tls_unref(other);
}

/* Lets them meet; the pair is left to look at. */
static void meet(struct tls_pair *pair, struct sttcp_tls *server, struct sttcp_tls *client,
		 const char *name)
{
	tls_pair_open(pair, server, client, name, NULL);
	tls_pair_shake(pair);
}

static void expect_agreement(struct sttcp_tls *server, struct sttcp_tls *client, const char *name)
{
	struct tls_pair pair;

	tls_pair_open(&pair, server, client, name, NULL);
	tls_pair_agree(&pair);
	tls_pair_close(&pair);
}

static void expect_text(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("\"%s\" does not say \"%s\"", text, part);
}

/* The client refuses with these words. */
static void expect_refusal(struct sttcp_tls *server, struct sttcp_tls *client, const char *name,
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
	tls_pair_close(&pair);
	let_go(server, client);
}

/* ------------------------------------------------------- the server's certificate */

static void a_good_certificate_is_verified(void **state)
{
	struct sttcp_tls *server = server_for("DNS:a.example"), *client = trusting_client();
	struct stt_tls_facts facts;
	struct tls_pair pair;

	(void)state;
	tls_pair_open(&pair, server, client, "a.example", NULL);
	tls_pair_agree(&pair);
	facts = tls_facts(&pair.client);
	assert_true(facts.peer_verified);
	assert_false(facts.resumed);
	assert_string_equal(facts.peer_subject, "CN=a.example");
	assert_string_equal(facts.server_name, "a.example");
	assert_string_equal(facts.alpn, "");
	assert_int_equal(strlen(facts.peer_fingerprint), 64);
	assert_int_equal(strspn(facts.peer_fingerprint, "0123456789abcdef"), 64);
	assert_true(facts.peer_certificate_size > 200);
	assert_int_equal(*(const unsigned char *)facts.peer_certificate, 0x30);
	facts = tls_facts(&pair.server);
	assert_false(facts.peer_verified);
	assert_string_equal(facts.peer_subject, "");
	assert_string_equal(facts.peer_fingerprint, "");
	assert_null(facts.peer_certificate);
	assert_string_equal(facts.server_name, "a.example");
	tls_pair_close(&pair);
	let_go(server, client);
}

static void expect_dates(int from_days, int until_days, const char *words)
{
	struct cert_spec spec = {
		.names = "DNS:db.example", .from_days = from_days, .until_days = until_days};
	struct sttcp_tls *server = server_of(&spec, NULL), *client = trusting_client();
	time_t day = time(NULL) + 24L * 3600 * (from_days > 0 ? from_days : until_days);
	char text[128], date[32];

	strftime(date, sizeof(date), "%Y-%m-%d", gmtime(&day));
	snprintf(text, sizeof(text), "the certificate of db.example %s %s", words, date);
	expect_refusal(server, client, "db.example", text);
	let_go(server, client);
}

static void dates_are_checked_and_told(void **state)
{
	(void)state;
	expect_dates(-10, -5, "has expired on");
	expect_dates(5, 10, "is not valid before");
}

static void another_name_is_refused(void **state)
{
	struct sttcp_tls *server = server_for("DNS:a.example,DNS:b.example");
	struct sttcp_tls *client = trusting_client();

	(void)state;
	expect_refusal(server, client, "c.example",
		       "the certificate is for a.example, b.example, not for c.example");
	let_go(server, client);
}

/* Never the common name: RFC 6125, 6.4.4. */
static void a_name_brings_no_control_bytes_into_the_text(void **state)
{
	struct sttcp_tls *server = server_for("DNS:b\n\033[31m.example");
	struct sttcp_tls *client = trusting_client();

	(void)state;
	expect_refusal(server, client, "a.example",
		       "the certificate is for b??[31m.example, not for a.example");
	let_go(server, client);
}

static void the_common_name_does_not_count(void **state)
{
	struct cert_spec spec = {.subject = "a.example"};
	struct sttcp_tls *server = server_of(&spec, NULL), *client = trusting_client();

	(void)state;
	expect_refusal(server, client, "a.example", "not for a.example");
	let_go(server, client);
}

static void wildcards_stand_for_one_whole_label(void **state)
{
	struct sttcp_tls *server = server_for("DNS:*.a.example"), *client = trusting_client();
	struct sttcp_tls *partial = server_for("DNS:w*.a.example");

	(void)state;
	expect_agreement(server, client, "www.a.example");
	expect_refusal(server, client, "a.example", "not for a.example");
	expect_refusal(server, client, "x.www.a.example", "not for x.www.a.example");
	expect_refusal(partial, client, "www.a.example", "not for www.a.example");
	stt_tls_unref(partial);
	let_go(server, client);
}

static void addresses_are_checked_as_addresses(void **state)
{
	struct sttcp_tls *server = server_for("IP:127.0.0.1,IP:::1"), *client = trusting_client();
	struct sttcp_tls *named = server_for("DNS:127.0.0.1");
	struct tls_pair pair;

	(void)state;
	expect_agreement(server, client, "127.0.0.1");
	expect_agreement(server, client, "::1");
	expect_agreement(server, client, "[::1]");
	expect_refusal(server, client, "127.0.0.2",
		       "the certificate is for 127.0.0.1, ::1, not for 127.0.0.2");
	expect_refusal(named, client, "127.0.0.1", "not for 127.0.0.1");
	/* And sends no name. */
	meet(&pair, server, client, "127.0.0.1");
	assert_string_equal(tls_facts(&pair.server).server_name, "");
	assert_string_equal(tls_facts(&pair.client).server_name, "");
	tls_pair_close(&pair);
	stt_tls_unref(named);
	let_go(server, client);
}

static void names_are_compared_as_dns_does(void **state)
{
	struct sttcp_tls *server = server_for("DNS:a.example"), *client = trusting_client();

	(void)state;
	expect_agreement(server, client, "A.Example");
	expect_agreement(server, client, "a.example.");
	let_go(server, client);
}

static void an_unknown_issuer_is_named(void **state)
{
	struct cert_spec of_other = {.subject = "Somebody Else", .authority = true};
	struct cert_spec spec = {.names = "DNS:a.example"};
	struct cert other = cert_make(&of_other, NULL);
	struct sttcp_tls *server = server_of(&spec, &other), *client = trusting_client();

	(void)state;
	expect_refusal(server, client, "a.example",
		       "the certificate of a.example was issued by CN=Somebody Else, which is not "
		       "trusted");
	cert_free(&other);
	let_go(server, client);
}

/* What most programs meet first: the other side says little more than a number. */
static void an_alert_about_a_certificate_is_explained(void **state)
{
	struct cert_spec old = {.names = "DNS:a.example", .from_days = -3, .until_days = -2};
	struct sttcp_tls *server = server_for("DNS:a.example"), *expired = server_of(&old, NULL);
	struct sttcp_tls *client = trusting_client(), *stranger = stt_tls_new_client();
	struct cert_spec of_other = {.subject = "Somebody Else", .authority = true};
	struct cert other = cert_make(&of_other, NULL);
	struct tls_pair pair;

	(void)state;
	assert_int_equal(stt_tls_trust(stranger, certs_write_chain("else.pem", &other, NULL)), 0);
	meet(&pair, server, stranger, "a.example");
	expect_text(stt_tls_text(pair.server.session), "the peer does not trust the issuer");
	tls_pair_close(&pair);
	meet(&pair, expired, client, "a.example");
	expect_text(stt_tls_text(pair.server.session), "has expired (it sent the alert");
	tls_pair_close(&pair);
	meet(&pair, server, client, "b.example");
	expect_text(stt_tls_text(pair.server.session), "the peer does not accept the certificate");
	tls_pair_close(&pair);
	cert_free(&other);
	let_go(server, client);
	let_go(expired, stranger);
}

static void a_self_signed_certificate_is_refused_and_can_be_trusted(void **state)
{
	struct cert_spec spec = {.names = "DNS:a.example"};
	struct cert own = cert_make(&spec, NULL);
	const char *file = certs_write_chain("self.pem", &own, NULL);
	struct sttcp_tls *server = stt_tls_new_server(file, certs_write_key("self.key", &own));
	struct sttcp_tls *client = trusting_client(), *friend = stt_tls_new_client();

	(void)state;
	expect_refusal(server, client, "a.example", "is self-signed and not trusted");
	assert_int_equal(stt_tls_trust(friend, file), 0);
	expect_agreement(server, friend, "a.example");
	cert_free(&own);
	stt_tls_unref(friend);
	let_go(server, client);
}

/* A chain as it stands in the file; without its intermediate nobody can follow it, but for who
 * trusts that one. */
static void chains_are_sent_whole(void **state)
{
	struct cert_spec of_middle = {.subject = "Intermediate", .authority = true};
	struct cert_spec spec = {.names = "DNS:a.example"};
	struct cert middle = cert_make(&of_middle, &authority);
	struct cert leaf = cert_make(&spec, &middle);
	const char *key = certs_write_key("leaf.key", &leaf);
	struct sttcp_tls *whole =
		stt_tls_new_server(certs_write_chain("chain.pem", &leaf, &middle, NULL), key);
	struct sttcp_tls *bare =
		stt_tls_new_server(certs_write_chain("leaf.pem", &leaf, NULL), key);
	struct sttcp_tls *client = trusting_client(), *near = stt_tls_new_client();

	(void)state;
	expect_agreement(whole, client, "a.example");
	expect_refusal(bare, client, "a.example", "was issued by CN=Intermediate");
	assert_int_equal(stt_tls_trust(near, certs_write_chain("middle.pem", &middle, NULL)), 0);
	expect_agreement(bare, near, "a.example");
	cert_free(&middle);
	cert_free(&leaf);
	let_go(whole, bare);
	let_go(client, near);
}

static void a_client_may_not_want_to_know(void **state)
{
	struct sttcp_tls *server = server_for("DNS:a.example"), *client = stt_tls_new_client();
	struct tls_pair pair;

	(void)state;
	assert_int_equal(stt_tls_require_peer(client, STTCP_TLS_PEER_NONE), 0);
	tls_pair_open(&pair, server, client, NULL, NULL);
	tls_pair_agree(&pair);
	assert_false(tls_facts(&pair.client).peer_verified);
	assert_string_equal(tls_facts(&pair.client).peer_subject, "CN=a.example");
	tls_pair_close(&pair);
	let_go(server, client);
}

static void a_client_that_verifies_needs_a_name(void **state)
{
	struct sttcp_tls *client = trusting_client();
	struct stt_tls_session *session;
	struct stt_tls_start start = {.name = NULL};

	(void)state;
	assert_int_equal(stt_tls_use(client), 0);
	assert_int_equal(stt_tls_session_new(&session, client, &start), -EINVAL);
	start.name = "";
	assert_int_equal(stt_tls_session_new(&session, client, &start), -EINVAL);
	/* To OpenSSL this is every name below it. */
	start.name = ".example";
	assert_int_equal(stt_tls_session_new(&session, client, &start), -EINVAL);
	start.name = "a.example:443";
	assert_int_equal(stt_tls_session_new(&session, client, &start), -EINVAL);
	stt_tls_unref(client);
}

/* ------------------------------------------------------- certificates of clients */

static struct sttcp_tls *asking_server(sttcp_tls_peer who)
{
	struct sttcp_tls *server = server_for("DNS:a.example");

	assert_int_equal(stt_tls_require_peer(server, (int)who), 0);
	assert_int_equal(stt_tls_trust(server, trusted), 0);
	return server;
}

static void a_client_is_known_by_its_certificate(void **state)
{
	struct sttcp_tls *server = asking_server(STTCP_TLS_PEER_REQUIRED);
	struct sttcp_tls *client = trusting_client();
	struct cert_spec spec = {.subject = "alice"};

	(void)state;
	give_certificate(client, &spec, &authority);
	for (int version = 12; version <= 13; version++) {
		struct tls_pair pair;

		tls_pair_open(&pair, server, client, "a.example", NULL);
		tls_pair_agree(&pair);
		assert_true(tls_facts(&pair.server).peer_verified);
		assert_string_equal(tls_facts(&pair.server).peer_subject, "CN=alice");
		assert_int_equal(strlen(tls_facts(&pair.server).peer_fingerprint), 64);
		tls_pair_close(&pair);
	}
	let_go(server, client);
}

static void a_required_certificate_is_missed(void **state)
{
	(void)state;
	for (int version = 12; version <= 13; version++) {
		struct sttcp_tls *server = asking_server(STTCP_TLS_PEER_REQUIRED);
		struct sttcp_tls *client = trusting_client();
		struct tls_pair pair;
		char got[10];
		ssize_t end;

		assert_int_equal(stt_tls_set_versions(client, version, version), 0);
		meet(&pair, server, client, "a.example");
		assert_int_equal(pair.server.result, STTCP_ETLS);
		expect_text(stt_tls_text(pair.server.session), "has shown no certificate");
		/* In TLS 1.3 the client is done before it hears of it. */
		assert_int_equal(pair.client.result, version == 12 ? STTCP_ETLS : 0);
		tls_drain(&pair.client, got, sizeof(got), &end);
		assert_int_equal(end, STTCP_ETLS);
		expect_text(stt_tls_text(pair.client.session),
			    version == 12 ? "handshake failure" : "requires a certificate");
		tls_pair_close(&pair);
		let_go(server, client);
	}
}

static void whoever_is_asked_may_have_none_but_no_bad_one(void **state)
{
	struct cert_spec of_other = {.subject = "Somebody Else", .authority = true};
	struct cert_spec spec = {.subject = "mallory"};
	struct cert other = cert_make(&of_other, NULL);
	struct sttcp_tls *server = asking_server(STTCP_TLS_PEER_ASKED);
	struct sttcp_tls *client = trusting_client(), *bad = trusting_client();
	struct tls_pair pair;

	(void)state;
	tls_pair_open(&pair, server, client, "a.example", NULL);
	tls_pair_agree(&pair);
	assert_false(tls_facts(&pair.server).peer_verified);
	tls_pair_close(&pair);
	/* It would not be sent to a server that names other authorities; one that names none gets
	 * it. */
	give_certificate(bad, &spec, &other);
	meet(&pair, server, bad, "a.example");
	assert_int_equal(pair.server.result, STTCP_ETLS);
	expect_text(stt_tls_text(pair.server.session),
		    "the certificate of CN=mallory was issued by CN=Somebody Else");
	tls_pair_close(&pair);
	cert_free(&other);
	stt_tls_unref(bad);
	let_go(server, client);
}

static void a_server_names_whom_it_trusts(void **state)
{
	struct sttcp_tls *server = asking_server(STTCP_TLS_PEER_REQUIRED);
	struct stt_credentials *credentials;
	const STACK_OF(X509_NAME) * names;

	(void)state;
	assert_int_equal(stt_tls_use(server), 0);
	credentials = stt_tls_take_credentials(server);
	names = SSL_CTX_get_client_CA_list(credentials->context);
	assert_int_equal(sk_X509_NAME_num(names), 1);
	stt_credentials_unref(credentials);
	stt_tls_unref(server);
}

/* -------------------------------------------------------------------------- SNI */

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

/* ------------------------------------------------------------------- resumption */

/* Whether this connection resumed the last one. */
static bool resumes(struct sttcp_tls *server, struct sttcp_tls *client, const char *name,
		    struct stt_resumption *resumption)
{
	struct tls_pair pair;
	char got[10];
	ssize_t end;
	bool resumed;

	tls_pair_open(&pair, server, client, name, resumption);
	tls_pair_agree(&pair);
	resumed = tls_facts(&pair.client).resumed;
	assert_string_equal(tls_facts(&pair.server).server_name, name);
	assert_int_equal(tls_facts(&pair.server).resumed, resumed);
	if (stt_tls_is_server(server) && resumed)
		assert_true(tls_facts(&pair.client).peer_verified);
	/* The tickets of TLS 1.3 come behind the handshake. */
	tls_drain(&pair.client, got, sizeof(got), &end);
	tls_pair_close(&pair);
	return resumed;
}

static void a_client_resumes_its_last_session(void **state)
{
	struct sttcp_tls *server = server_for("DNS:a.example,DNS:b.example");

	(void)state;
	for (int version = 12; version <= 13; version++) {
		struct stt_resumption *resumption = stt_resumption_new();
		struct sttcp_tls *client = trusting_client();

		assert_int_equal(stt_tls_set_versions(client, version, version), 0);
		assert_false(resumes(server, client, "a.example", resumption));
		assert_true(resumes(server, client, "a.example", resumption));
		assert_true(resumes(server, client, "a.example", resumption));
		/* Not for another name, nor for another client. */
		assert_false(resumes(server, client, "b.example", resumption));
		assert_false(resumes(server, client, "b.example", NULL));
		/* After a reload the server is verified anew. */
		assert_true(resumes(server, client, "b.example", resumption));
		assert_int_equal(stt_tls_reload(client), 0);
		assert_false(resumes(server, client, "b.example", resumption));
		stt_resumption_free(resumption);
		stt_tls_unref(client);
	}
	stt_tls_unref(server);
}

/* Without a session id context its second connection fails. */
static void a_client_with_a_certificate_resumes(void **state)
{
	(void)state;
	for (int version = 12; version <= 13; version++) {
		struct sttcp_tls *server = asking_server(STTCP_TLS_PEER_REQUIRED);
		struct sttcp_tls *client = trusting_client();
		struct stt_resumption *resumption = stt_resumption_new();
		struct cert_spec spec = {.subject = "alice"};
		struct tls_pair pair;

		give_certificate(client, &spec, &authority);
		assert_int_equal(stt_tls_set_versions(client, version, version), 0);
		assert_false(resumes(server, client, "a.example", resumption));
		tls_pair_open(&pair, server, client, "a.example", resumption);
		tls_pair_agree(&pair);
		assert_true(tls_facts(&pair.server).resumed);
		assert_true(tls_facts(&pair.server).peer_verified);
		assert_string_equal(tls_facts(&pair.server).peer_subject, "CN=alice");
		tls_pair_close(&pair);
		stt_resumption_free(resumption);
		let_go(server, client);
	}
}

static void tickets_outlive_a_reload(void **state)
{
	struct sttcp_tls *server = asking_server(STTCP_TLS_PEER_ASKED), *client = trusting_client();
	struct stt_resumption *resumption = stt_resumption_new();

	(void)state;
	assert_false(resumes(server, client, "a.example", resumption));
	assert_int_equal(stt_tls_reload(server), 0);
	assert_true(resumes(server, client, "a.example", resumption));
	stt_resumption_free(resumption);
	let_go(server, client);
}

/* Whoever was trusted before a reload, and is not any more, does not come back by a ticket. */
static void tickets_of_an_old_trust_are_worth_nothing(void **state)
{
	struct cert_spec of_other = {.subject = "Somebody Else", .authority = true};
	struct cert_spec spec = {.subject = "alice"};
	struct cert other = cert_make(&of_other, NULL);
	struct sttcp_tls *server = server_for("DNS:a.example"), *client = trusting_client();
	struct stt_resumption *resumption = stt_resumption_new();
	struct tls_pair begun, pair;
	char got[10];
	ssize_t end;

	(void)state;
	assert_int_equal(stt_tls_require_peer(server, STTCP_TLS_PEER_REQUIRED), 0);
	assert_int_equal(stt_tls_trust(server, certs_write_chain("who.pem", &authority, NULL)), 0);
	give_certificate(client, &spec, &authority);
	assert_false(resumes(server, client, "a.example", resumption));
	assert_true(resumes(server, client, "a.example", resumption));
	/* One is in its handshake when the reload comes: it is finished under the old trust. */
	tls_pair_open(&begun, server, client, "a.example", NULL);
	certs_write_chain("who.pem", &other, NULL);
	assert_int_equal(stt_tls_reload(server), 0);
	tls_pair_agree(&begun);
	tls_drain(&begun.client, got, sizeof(got), &end);
	tls_pair_close(&begun);
	tls_pair_open(&pair, server, client, "a.example", resumption);
	tls_pair_shake(&pair);
	assert_int_equal(pair.server.result, STTCP_ETLS);
	tls_pair_close(&pair);
	cert_free(&other);
	stt_resumption_free(resumption);
	let_go(server, client);
}

static void ticket_keys_change_each_day_and_last_for_two(void **state)
{
	enum {
		DAY_MS = 24 * 60 * 60 * 1000
	};
	struct sttcp_tls *server = server_for("DNS:a.example"), *client = trusting_client();
	struct stt_resumption *resumption = stt_resumption_new();
	struct stt_credentials *credentials;

	(void)state;
	assert_false(resumes(server, client, "a.example", resumption));
	credentials = stt_tls_take_credentials(server);
	stt_tickets_age(credentials->tickets, DAY_MS + 1);
	/* A new key, and the ticket of the old one still counts; the next ticket is of the new one.
	 */
	assert_true(resumes(server, client, "a.example", resumption));
	stt_tickets_age(credentials->tickets, DAY_MS + 1);
	assert_true(resumes(server, client, "a.example", resumption));
	/* After two days without anybody, neither key is left. */
	stt_tickets_age(credentials->tickets, 2 * (int64_t)DAY_MS + 1);
	assert_false(resumes(server, client, "a.example", resumption));
	stt_credentials_unref(credentials);
	stt_resumption_free(resumption);
	let_go(server, client);
}

/* Valid for three hours from now, signed by the authority. */
static struct cert short_lived(struct cert_spec *spec)
{
	struct cert cert = cert_make(spec, &authority);

	assert_non_null(X509_gmtime_adj(X509_getm_notAfter(cert.certificate), 3 * HOUR));
	assert_true(X509_sign(cert.certificate, authority.key, EVP_sha256()) > 0);
	return cert;
}

/* Each resumption brings another ticket, so sessions may go on for ever. */
static void a_certificate_that_expires_is_not_resumed(void **state)
{
	struct cert_spec of_server = {.names = "DNS:a.example"}, of_client = {.subject = "alice"};
	struct cert server_cert = short_lived(&of_server), client_cert = short_lived(&of_client);
	struct cert lasting = cert_make(&of_server, &authority);
	const char *server_key = certs_write_key("lasting.key", &lasting);

	(void)state;
	for (int round = 0; round < 4; round++) {
		bool of_whom = round & 1; /* whose expires: the client's, or the server's */
		int version = round & 2 ? 13 : 12;
		struct sttcp_tls *server = stt_tls_new_server(
			certs_write_chain("s.pem", of_whom ? &lasting : &server_cert, NULL),
			of_whom ? server_key : certs_write_key("s.key", &server_cert));
		struct sttcp_tls *client = trusting_client();
		struct stt_resumption *resumption = stt_resumption_new();
		struct tls_pair pair;

		if (of_whom) {
			assert_int_equal(stt_tls_require_peer(server, STTCP_TLS_PEER_REQUIRED), 0);
			assert_int_equal(stt_tls_trust(server, trusted), 0);
			assert_int_equal(stt_tls_set_certificate(
						 client,
						 certs_write_chain("c.pem", &client_cert, NULL),
						 certs_write_key("c.key", &client_cert)),
					 0);
		}
		assert_int_equal(stt_tls_set_versions(client, version, version), 0);
		assert_false(resumes(server, client, "a.example", resumption));
		for (ahead_s = HOUR; ahead_s < 3 * HOUR; ahead_s += HOUR)
			resumes(server, client, "a.example", resumption);
		ahead_s = 3 * HOUR + 600;
		tls_pair_open(&pair, server, client, "a.example", resumption);
		tls_pair_shake(&pair);
		assert_int_equal(of_whom ? pair.server.result : pair.client.result, STTCP_ETLS);
		expect_text(stt_tls_text(of_whom ? pair.server.session : pair.client.session),
			    "has expired");
		ahead_s = 0;
		tls_pair_close(&pair);
		stt_resumption_free(resumption);
		let_go(server, client);
	}
	cert_free(&server_cert);
	cert_free(&client_cert);
	cert_free(&lasting);
}

static void a_session_that_failed_is_not_kept(void **state)
{
	struct sttcp_tls *server = server_for("DNS:a.example"), *client = trusting_client();
	struct stt_resumption *resumption = stt_resumption_new();
	struct tls_pair pair;

	(void)state;
	tls_pair_open(&pair, server, client, "wrong.example", resumption);
	tls_pair_shake(&pair);
	assert_int_equal(pair.client.result, STTCP_ETLS);
	tls_pair_close(&pair);
	assert_false(resumes(server, client, "a.example", resumption));
	stt_resumption_free(resumption);
	let_go(server, client);
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
		cmocka_unit_test(a_good_certificate_is_verified),
		cmocka_unit_test(dates_are_checked_and_told),
		cmocka_unit_test(another_name_is_refused),
		cmocka_unit_test(a_name_brings_no_control_bytes_into_the_text),
		cmocka_unit_test(the_common_name_does_not_count),
		cmocka_unit_test(wildcards_stand_for_one_whole_label),
		cmocka_unit_test(addresses_are_checked_as_addresses),
		cmocka_unit_test(names_are_compared_as_dns_does),
		cmocka_unit_test(an_unknown_issuer_is_named),
		cmocka_unit_test(an_alert_about_a_certificate_is_explained),
		cmocka_unit_test(a_self_signed_certificate_is_refused_and_can_be_trusted),
		cmocka_unit_test(chains_are_sent_whole),
		cmocka_unit_test(a_client_may_not_want_to_know),
		cmocka_unit_test(a_client_that_verifies_needs_a_name),
		cmocka_unit_test(a_client_is_known_by_its_certificate),
		cmocka_unit_test(a_required_certificate_is_missed),
		cmocka_unit_test(whoever_is_asked_may_have_none_but_no_bad_one),
		cmocka_unit_test(a_server_names_whom_it_trusts),
		cmocka_unit_test(the_name_chooses_the_certificate),
		cmocka_unit_test(of_several_keys_one_that_the_peer_can_use),
		cmocka_unit_test(the_servers_order_of_protocols_decides),
		cmocka_unit_test(no_common_protocol_is_an_alert),
		cmocka_unit_test(a_side_without_alpn_goes_on),
		cmocka_unit_test(a_client_resumes_its_last_session),
		cmocka_unit_test(a_client_with_a_certificate_resumes),
		cmocka_unit_test(tickets_outlive_a_reload),
		cmocka_unit_test(tickets_of_an_old_trust_are_worth_nothing),
		cmocka_unit_test(ticket_keys_change_each_day_and_last_for_two),
		cmocka_unit_test(a_certificate_that_expires_is_not_resumed),
		cmocka_unit_test(a_session_that_failed_is_not_kept),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
