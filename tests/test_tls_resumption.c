/* SPDX-License-Identifier: MIT */
/* Sessions that are resumed: which, for how long, and which must not be. */
#include "support/support.h"
#include "support/tls_parties.h"

#include <time.h>

#include "tls/credentials.h"
#include "tls/resumption.h"
#include "tls/tickets.h"

enum {
	HOUR = 3600
};

static long ahead_s; /* of the real clock, in place of which OpenSSL gets this one */

time_t time(time_t *now)
{
	struct timespec real;

	clock_gettime(CLOCK_REALTIME, &real);
	real.tv_sec += ahead_s;
	if (now)
		*now = real.tv_sec;
	return real.tv_sec;
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
		cmocka_unit_test(a_client_resumes_its_last_session),
		cmocka_unit_test(a_client_with_a_certificate_resumes),
		cmocka_unit_test(tickets_outlive_a_reload),
		cmocka_unit_test(tickets_of_an_old_trust_are_worth_nothing),
		cmocka_unit_test(ticket_keys_change_each_day_and_last_for_two),
		cmocka_unit_test(a_certificate_that_expires_is_not_resumed),
		cmocka_unit_test(a_session_that_failed_is_not_kept),
	};

	return cmocka_run_group_tests(tests, good_files_open, good_files_close);
}
