/* SPDX-License-Identifier: MIT */
/* Certificates in a handshake, those of servers and those of clients: dates, names, issuers,
 * chains, and whether there is one at all; and what is said about one that is refused. */
#include "support/support.h"
#include "support/tls_parties.h"

#include <openssl/ssl.h>
#include <time.h>

#include "tls/credentials.h"

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
	expect_refusal(named, client, "127.0.0.1",
		       "the certificate has 127.0.0.1 as a host name, not as an address");
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

int main(void)
{
	const struct CMUnitTest tests[] = {
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
	};

	return cmocka_run_group_tests(tests, good_files_open, good_files_close);
}
