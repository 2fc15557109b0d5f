/* SPDX-License-Identifier: MIT */
/*
 * Reloading a server's files a thousand times while clients connect without
 * pause: none is refused, none sees anything but one whole set of files, and
 * files that are no use change nothing.
 */
#include "support/certs.h"
#include "support/echo.h"
#include "support/support.h"
#include "support/tls_dials.h"

#include <openssl/x509v3.h>
#include <signal.h>

enum {
	/* The sanitizers make a handshake ten times as dear. */
	NRELOADS = UNDER_TSAN || UNDER_ASAN ? 100 : 1000,
	EACH_BAD = 25, /* reloads */
	EACH_SEEN = 10,
	NCLIENTS = 2,
	LEAST_VISITS = 50, /* of each client */
	NSETS = 2
};

static struct cert authority;
static const char *trusted;

/* A set of files: for both names a certificate that says in its subject which set it is of. */
static struct set {
	const char *subject;
	struct cert first, second;
} sets[NSETS] = {{.subject = "even"}, {.subject = "odd"}};

static int set_up(void **state)
{
	struct cert_spec of_authority = {.subject = "Test Authority", .authority = true};

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	certs_open();
	authority = cert_make(&of_authority, NULL);
	trusted = certs_write_chain("authority.pem", &authority, NULL);
	for (int i = 0; i < NSETS; i++) {
		struct cert_spec of_first = {.subject = sets[i].subject, .names = "DNS:a.example"};
		struct cert_spec of_second = {
			.subject = sets[i].subject, .names = "DNS:b.example", .key = CERT_RSA};

		sets[i].first = cert_make(&of_first, &authority);
		sets[i].second = cert_make(&of_second, &authority);
	}
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	cert_free(&authority);
	for (int i = 0; i < NSETS; i++) {
		cert_free(&sets[i].first);
		cert_free(&sets[i].second);
	}
	certs_close();
	return 0;
}

static void write_set(const struct set *set)
{
	certs_write_chain("first.pem", &set->first, NULL);
	certs_write_key("first.key", &set->first);
	certs_write_chain("second.pem", &set->second, NULL);
	certs_write_key("second.key", &set->second);
}

/* --------------------------------------------------------------------- clients */

struct crowd {
	int port;
	SSL_CTX *context;
	atomic_bool stop;
	atomic_int failures;
	char why[NCLIENTS][128];
	struct client {
		struct crowd *crowd;
		int number;
		atomic_int visits;
		pthread_t thread;
	} clients[NCLIENTS];
};

static bool has_subject(const SSL *ssl, const char *subject)
{
	const X509 *certificate = SSL_get0_peer_certificate(ssl);
	char name[32] = "";

	if (certificate)
		X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name,
					  sizeof(name));
	return strcmp(name, subject) == 0;
}

static bool has_alpn(const SSL *ssl, const char *protocol)
{
	const unsigned char *name;
	unsigned size;

	SSL_get0_alpn_selected(ssl, &name, &size);
	return size == strlen(protocol) && memcmp(name, protocol, size) == 0;
}

/* All that a set decides has to be there in every connection: the certificate for the name that was
 * asked for, its key, which the handshake proves, and the protocol. NULL, or what is wrong. */
static const char *visit(struct crowd *crowd, const char *name)
{
	struct tls_dial dial;
	const char *wrong = NULL;

	if (!tls_dial(&dial, crowd->context, crowd->port, name))
		wrong = tls_dial_why();
	else if (!has_subject(dial.ssl, "even") && !has_subject(dial.ssl, "odd"))
		wrong = "another certificate";
	else if (!has_alpn(dial.ssl, "irc"))
		wrong = "another protocol";
	else if (!tls_dial_is_answered(&dial))
		wrong = "no answer";
	tls_dial_close(&dial);
	return wrong;
}

static void *come_and_go(void *argument)
{
	struct client *client = argument;
	struct crowd *crowd = client->crowd;

	while (!atomic_load(&crowd->stop)) {
		const char *wrong = visit(crowd, client->visits % 2 ? "a.example" : "b.example");

		if (wrong && atomic_fetch_add(&crowd->failures, 1) == 0)
			snprintf(crowd->why[client->number], sizeof(crowd->why[0]), "%s", wrong);
		atomic_fetch_add(&client->visits, 1);
	}
	return NULL;
}

static void crowd_start(struct crowd *crowd, int port)
{
	static const unsigned char irc[] = "\3irc";

	*crowd = (struct crowd){.port = port, .context = tls_dial_context(trusted, 0)};
	assert_int_equal(SSL_CTX_set_alpn_protos(crowd->context, irc, sizeof(irc) - 1), 0);
	for (int i = 0; i < NCLIENTS; i++) {
		crowd->clients[i].crowd = crowd;
		crowd->clients[i].number = i;
		assert_int_equal(pthread_create(&crowd->clients[i].thread, NULL, come_and_go,
						&crowd->clients[i]),
				 0);
	}
}

static void crowd_stop(struct crowd *crowd)
{
	for (int i = 0; i < NCLIENTS; i++)
		EVENTUALLY(atomic_load(&crowd->clients[i].visits) >= LEAST_VISITS);
	atomic_store(&crowd->stop, true);
	for (int i = 0; i < NCLIENTS; i++)
		pthread_join(crowd->clients[i].thread, NULL);
	for (int i = 0; i < NCLIENTS; i++) {
		if (crowd->why[i][0])
			fail_msg("client %d: %s", i, crowd->why[i]);
	}
	assert_int_equal(atomic_load(&crowd->failures), 0);
	SSL_CTX_free(crowd->context);
}

/* --------------------------------------------------------------------- reloads */

/* Whoever comes after a reload has returned sees what it has read. */
static void expect_set(const struct crowd *crowd, const struct set *set, const char *name)
{
	struct tls_dial dial;

	assert_true(tls_dial(&dial, crowd->context, crowd->port, name));
	if (!has_subject(dial.ssl, set->subject))
		fail_msg("it does not see the %s set", set->subject);
	tls_dial_close(&dial);
}

static void expect_words(const sttcp_tls *tls, const char *words)
{
	if (!strstr(sttcp_tls_error(tls), words))
		fail_msg("\"%s\" does not say \"%s\"", sttcp_tls_error(tls), words);
}

/* Each time another file of the other set is no use. */
static void reload_in_vain(sttcp_tls *tls, const struct set *other, int turn)
{
	const char *file;
	int code = -EINVAL;

	write_set(other);
	switch (turn % 5) {
	case 0:
		file = certs_write_text("second.pem", "");
		assert_int_equal(sttcp_tls_reload(tls), code);
		expect_words(tls, "contains no certificate");
		break;
	case 1:
		file = certs_path("first.key");
		assert_int_equal(unlink(file), 0);
		code = -ENOENT;
		assert_int_equal(sttcp_tls_reload(tls), code);
		expect_words(tls, "No such file");
		break;
	case 2:
		file = certs_write_key("second.key", &authority);
		assert_int_equal(sttcp_tls_reload(tls), code);
		expect_words(tls, "does not fit");
		break;
	case 3:
		file = certs_write_encrypted_key("first.key", &other->first);
		assert_int_equal(sttcp_tls_reload(tls), code);
		expect_words(tls, "is encrypted");
		break;
	default:
		file = certs_write_text("second.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n"
						      "-----END CERTIFICATE-----\n");
		assert_int_equal(sttcp_tls_reload(tls), code);
		expect_words(tls, "is malformed");
		break;
	}
	expect_words(tls, file);
}

static void reload_by_turns(sttcp_tls *tls, const struct crowd *crowd)
{
	for (int i = 1; i <= NRELOADS; i++) {
		const struct set *now = &sets[i % NSETS];

		write_set(now);
		if (sttcp_tls_reload(tls) < 0)
			fail_msg("reload %d: %s", i, sttcp_tls_error(tls));
		assert_string_equal(sttcp_tls_error(tls), "");
		if (i % EACH_BAD == 0)
			reload_in_vain(tls, &sets[(i + 1) % NSETS], i / EACH_BAD);
		if (i % EACH_SEEN == 0)
			expect_set(crowd, now, i % (2 * EACH_SEEN) ? "a.example" : "b.example");
	}
}

static sttcp_tls *two_certificates(void)
{
	sttcp_tls *tls = sttcp_tls_server(certs_path("first.pem"), certs_path("first.key"));

	assert_int_equal(
		sttcp_tls_add_certificate(tls, certs_path("second.pem"), certs_path("second.key")),
		0);
	assert_int_equal(sttcp_tls_set_alpn(tls, "h2,irc"), 0);
	assert_string_equal(sttcp_tls_error(tls), "");
	return tls;
}

static void a_thousand_reloads_refuse_nobody_and_show_nothing_half(void **state)
{
	struct crowd crowd;
	sttcp_stats stats;

	(void)state;
	write_set(&sets[0]);

	sttcp_tls *tls = two_certificates();
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, STTCP_OPTIONS(.tls = tls));

	assert_int_equal(sttcp_server_on_receive(server, echo), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	crowd_start(&crowd, sttcp_server_port(server));
	reload_by_turns(tls, &crowd);
	crowd_stop(&crowd);
	assert_int_equal(sttcp_server_stats(server, &stats, sizeof(stats)), 0);
	assert_int_equal(stats.tls_failed, 0);
	sttcp_server_free(server);
	sttcp_tls_unref(tls);
}

/* Whoever was there before a reload notices nothing of it. */
static void open_connections_go_on_over_reloads(void **state)
{
	enum {
		NDIALS = 8
	};
	SSL_CTX *context = tls_dial_context(trusted, 0);
	struct tls_dial dials[NDIALS];

	(void)state;
	write_set(&sets[0]);

	sttcp_tls *tls = two_certificates();
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, STTCP_OPTIONS(.tls = tls));

	assert_int_equal(sttcp_server_on_receive(server, echo), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	for (int i = 0; i < NDIALS; i++) {
		assert_true(tls_dial(&dials[i], context, sttcp_server_port(server), "a.example"));
		write_set(&sets[(i + 1) % NSETS]);
		assert_int_equal(sttcp_tls_reload(tls), 0);
		for (int j = 0; j <= i; j++) {
			assert_true(has_subject(dials[j].ssl, sets[j % NSETS].subject));
			assert_true(tls_dial_is_answered(&dials[j]));
		}
	}
	for (int i = 0; i < NDIALS; i++)
		tls_dial_close(&dials[i]);
	sttcp_server_free(server);
	sttcp_tls_unref(tls);
	SSL_CTX_free(context);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_thousand_reloads_refuse_nobody_and_show_nothing_half),
		cmocka_unit_test(open_connections_go_on_over_reloads),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
