/* SPDX-License-Identifier: MIT */
/* The TLS object of a program: its settings, and reloading, also beside handshakes. Its files are
 * in test_tls_files.c, whom it trusts in test_tls_trust.c. */
#include "support/support.h"
#include "support/tls_good.h"
#include "support/tls_pairs.h"

#include <openssl/err.h>

/* --------------------------------------------------------------------- settings */

static void settings_that_make_no_sense_are_refused(void **state)
{
	static const char *const lists[] = {",", "h2,", ",h2", "h2,,irc", "h2, irc"};
	struct sttcp_tls *server = good_server(), *client = stt_tls_new_client();
	char long_name[300];

	(void)state;
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		assert_int_equal(stt_tls_set_alpn(server, lists[i]), -EINVAL);
	memset(long_name, 'x', sizeof(long_name));
	long_name[255] = 0;
	assert_int_equal(stt_tls_set_alpn(server, long_name), 0);
	long_name[255] = 'x';
	long_name[256] = 0;
	assert_int_equal(stt_tls_set_alpn(server, long_name), -EINVAL);
	assert_int_equal(stt_tls_set_versions(server, 11, 13), -EINVAL);
	assert_int_equal(stt_tls_set_versions(server, 12, 14), -EINVAL);
	assert_int_equal(stt_tls_set_versions(server, 13, 12), -EINVAL);
	assert_int_equal(stt_tls_set_versions(server, 0, 0), -EINVAL);
	assert_int_equal(stt_tls_require_peer(server, 3), -EINVAL);
	assert_int_equal(stt_tls_require_peer(server, -1), -EINVAL);
	assert_int_equal(stt_tls_require_peer(client, STTCP_TLS_PEER_ASKED), -EINVAL);
	assert_int_equal(stt_tls_set_certificate(server, good_certificate, good_key), -EINVAL);
	assert_int_equal(stt_tls_add_certificate(client, good_certificate, good_key), -EINVAL);
	assert_int_equal(stt_tls_add_certificate(server, NULL, good_key), -EINVAL);
	assert_int_equal(stt_tls_set_certificate(client, NULL, NULL), -EINVAL);
	assert_int_equal(stt_tls_trust(client, NULL), -EINVAL);
	stt_tls_unref(server);
	stt_tls_unref(client);
}

/* Whoever ignores a code must not start with other settings than were asked for. */
static void the_start_tells_a_setting_that_was_refused(void **state)
{
	struct sttcp_tls *tls = good_server();

	(void)state;
	assert_int_equal(stt_tls_set_versions(tls, 13, 12), -EINVAL);
	assert_int_equal(stt_tls_set_alpn(tls, "h2,,irc"), -EINVAL);
	assert_int_equal(stt_tls_use(tls), -EINVAL);
	expect_words(tls, "ALPN");
	assert_int_equal(stt_tls_set_alpn(tls, "h2"), 0);
	expect_words(tls, "versions are");
	assert_int_equal(stt_tls_use(tls), -EINVAL);
	assert_int_equal(stt_tls_set_versions(tls, 13, 13), 0);
	assert_string_equal(stt_tls_error(tls), "");
	assert_int_equal(stt_tls_use(tls), 0);
	stt_tls_unref(tls);
}

/* Nor with fewer. */
static void the_start_tells_what_was_not_given(void **state)
{
	struct sttcp_tls *server = good_server(), *client = stt_tls_new_client();

	(void)state;
	assert_int_equal(stt_tls_add_certificate(server, NULL, good_key), -EINVAL);
	assert_int_equal(stt_tls_use(server), -EINVAL);
	expect_words(server, "no certificate was given");
	assert_int_equal(stt_tls_trust(client, NULL), -EINVAL);
	assert_int_equal(stt_tls_use(client), -EINVAL);
	expect_words(client, "to trust");
	assert_int_equal(stt_tls_trust(client, trusted), 0);
	assert_int_equal(stt_tls_add_certificate(client, good_certificate, good_key), -EINVAL);
	assert_int_equal(stt_tls_use(client), -EINVAL);
	expect_words(client, "sttcp_tls_set_certificate");
	assert_int_equal(stt_tls_set_certificate(client, good_certificate, good_key), 0);
	assert_string_equal(stt_tls_error(client), "");
	assert_int_equal(stt_tls_use(client), 0);
	stt_tls_unref(server);
	stt_tls_unref(client);
}

/* A server's certificates are those that it has, whatever else it was called with. */
static void a_call_for_the_other_kind_changes_nothing(void **state)
{
	struct sttcp_tls *server = good_server();

	(void)state;
	assert_int_equal(stt_tls_set_certificate(server, good_certificate, good_key), -EINVAL);
	expect_words(server, "sttcp_tls_add_certificate");
	assert_int_equal(stt_tls_add_certificate(server, good_certificate, good_key), 0);
	assert_string_equal(stt_tls_error(server), "");
	assert_int_equal(stt_tls_set_certificate(server, NULL, NULL), -EINVAL);
	assert_int_equal(stt_tls_use(server), 0);
	assert_string_equal(stt_tls_error(server), "");
	stt_tls_unref(server);
}

static void a_cipher_that_nobody_knows_is_refused(void **state)
{
	static const char *const good[] = {
		"ECDHE-ECDSA-AES128-GCM-SHA256",
		"TLS_AES_128_GCM_SHA256",
		"HIGH:!aNULL:!MD5:!RC4:!3DES",
		"ECDHE+AESGCM:DHE+AESGCM:TLS_AES_256_GCM_SHA384:@STRENGTH",
		"DEFAULT:@SECLEVEL=2",
		"ALL:-SHA1:+AES256",
		"",
	};
	static const char *const bad[] = {
		"ECDHE-ECDSA-AES128-GCM-SHA265",
		"TLS_AES_128_GCM_SHA265",
		"HIGH:!aNUL",
		"HIGH:SECURE128",
		"TLS_AES_128_GCM_SHA256:TLS_ROT13_SHA256",
		"ECDHE+ROT13",
	};
	struct sttcp_tls *tls = good_server();

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		if (stt_tls_set_ciphers(tls, good[i]))
			fail_msg("%s: %s", good[i], stt_tls_error(tls));
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (stt_tls_set_ciphers(tls, bad[i]) != -EINVAL)
			fail_msg("%s was accepted", bad[i]);
		expect_words(tls, "knows no cipher");
	}
	assert_int_equal(stt_tls_use(tls), -EINVAL);
	assert_int_equal(stt_tls_set_ciphers(tls, NULL), 0);
	assert_int_equal(stt_tls_use(tls), 0);
	stt_tls_unref(tls);
}

static void what_is_in_use_takes_no_settings(void **state)
{
	struct sttcp_tls *tls = good_server();

	(void)state;
	assert_int_equal(stt_tls_use(tls), 0);
	assert_int_equal(stt_tls_use(tls), 0);
	assert_int_equal(stt_tls_add_certificate(tls, good_certificate, good_key), -EBUSY);
	assert_int_equal(stt_tls_trust(tls, trusted), -EBUSY);
	assert_int_equal(stt_tls_require_peer(tls, STTCP_TLS_PEER_NONE), -EBUSY);
	assert_int_equal(stt_tls_set_alpn(tls, "h2"), -EBUSY);
	assert_int_equal(stt_tls_set_versions(tls, 12, 13), -EBUSY);
	assert_int_equal(stt_tls_set_ciphers(tls, "HIGH"), -EBUSY);
	expect_words(tls, "in use, and takes no more settings: make another one, or");
	assert_int_equal(stt_tls_reload(tls), 0);
	assert_string_equal(stt_tls_error(tls), "");
	stt_tls_unref(tls);
}

/* The kind of the object says who begins: the other kind would wait for ever. */
static void an_object_of_the_other_kind_is_refused(void **state)
{
	sttcp_tls *of_server = sttcp_tls_server(good_certificate, good_key);
	sttcp_tls *of_client = sttcp_tls_client();
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, STTCP_OPTIONS(.tls = of_client));
	sttcp_client *client = sttcp_client_new("127.0.0.1", 1, STTCP_OPTIONS(.tls = of_server));

	(void)state;
	assert_int_equal(sttcp_server_start(server), -EINVAL);
	expect_text(sttcp_server_error(server), "tls");
	assert_int_equal(sttcp_client_start(client), -EINVAL);
	expect_text(sttcp_client_error(client), "tls");
	sttcp_server_free(server);
	sttcp_client_free(client);
	sttcp_tls_unref(of_server);
	sttcp_tls_unref(of_client);
}

/* An application's own errors of OpenSSL are left as they were. */
static void the_error_queue_is_left_alone(void **state)
{
	struct sttcp_tls *tls;

	(void)state;
	ERR_raise(ERR_LIB_USER, 7);
	tls = stt_tls_new_server(certs_path("missing.pem"), NULL);
	stt_tls_unref(tls);
	tls = good_server();
	assert_int_equal(stt_tls_set_ciphers(tls, "ROT13"), -EINVAL);
	assert_int_equal(stt_tls_trust(tls, good_key), -EINVAL);
	stt_tls_unref(tls);
	assert_int_equal(ERR_GET_REASON(ERR_get_error()), 7);
	assert_int_equal(ERR_get_error(), 0);
}

/* ----------------------------------------------------------------------- reload */

/* The subject that a client sees now. */
static void expect_subject(struct sttcp_tls *server, const char *subject)
{
	struct sttcp_tls *client = stt_tls_new_client();
	struct tls_pair pair;

	assert_int_equal(stt_tls_require_peer(client, STTCP_TLS_PEER_NONE), 0);
	tls_pair_open(&pair, server, client, NULL, NULL);
	tls_pair_agree(&pair);
	assert_string_equal(tls_facts(&pair.client).peer_subject, subject);
	tls_pair_close(&pair);
	stt_tls_unref(client);
}

static void a_reload_counts_for_later_handshakes(void **state)
{
	struct cert_spec of_old = {.subject = "old", .names = "DNS:a.example"};
	struct cert_spec of_new = {.subject = "new", .names = "DNS:a.example"};
	struct cert old_one = cert_make(&of_old, &authority);
	struct cert new_one = cert_make(&of_new, &authority);
	struct sttcp_tls *tls = stt_tls_new_server(certs_write_chain("turn.pem", &old_one, NULL),
						   certs_write_key("turn.key", &old_one));
	struct sttcp_tls *client = stt_tls_new_client();
	struct tls_pair begun;

	(void)state;
	assert_int_equal(stt_tls_trust(client, trusted), 0);
	tls_pair_open(&begun, tls, client, "a.example", NULL);
	certs_write_chain("turn.pem", &new_one, NULL);
	/* The key is not there yet: nothing changes. */
	assert_int_equal(stt_tls_reload(tls), -EINVAL);
	expect_words(tls, "turn.key");
	expect_words(tls, "turn.pem");
	expect_subject(tls, "CN=old");
	certs_write_key("turn.key", &new_one);
	assert_int_equal(stt_tls_reload(tls), 0);
	expect_subject(tls, "CN=new");
	/* Whoever began before goes on with the old ones. */
	tls_pair_agree(&begun);
	assert_string_equal(tls_facts(&begun.client).peer_subject, "CN=old");
	tls_expect_passage(&begun.client, &begun.server, 1000);
	tls_pair_close(&begun);
	cert_free(&old_one);
	cert_free(&new_one);
	stt_tls_unref(tls);
	stt_tls_unref(client);
}

/* A start, of a dial too, is a call of the program's, and what it finds is the last word. The
 * start_tls of a handler is one of the peer's, so to speak: it comes at any time, and must not hide
 * from the caller of a reload why that has failed. */
static void a_good_start_is_the_last_call(void **state)
{
	struct cert_spec of_old = {.subject = "old", .names = "DNS:a.example"};
	struct cert_spec of_new = {.subject = "new", .names = "DNS:a.example"};
	struct cert old_one = cert_make(&of_old, &authority);
	struct cert new_one = cert_make(&of_new, &authority);
	sttcp_tls *tls = sttcp_tls_server(certs_write_chain("turn.pem", &old_one, NULL),
					  certs_write_key("turn.key", &old_one));
	sttcp_server *servers[2];

	(void)state;
	for (int i = 0; i < 2; i++)
		servers[i] = sttcp_server_new("127.0.0.1", 0, STTCP_OPTIONS(.tls = tls));
	assert_int_equal(sttcp_server_start(servers[0]), 0);
	certs_write_chain("turn.pem", &new_one, NULL);
	assert_int_equal(sttcp_tls_reload(tls), -EINVAL);
	assert_int_equal(stt_tls_use(tls), 0);
	expect_words(tls, "turn.key");
	assert_int_equal(sttcp_server_start(servers[1]), 0);
	assert_string_equal(sttcp_tls_error(tls), "");
	for (int i = 0; i < 2; i++)
		sttcp_server_free(servers[i]);
	cert_free(&old_one);
	cert_free(&new_one);
	sttcp_tls_unref(tls);
}

static void a_reload_before_the_start_is_fine(void **state)
{
	struct sttcp_tls *tls = good_server();

	(void)state;
	assert_int_equal(stt_tls_reload(tls), 0);
	assert_int_equal(stt_tls_set_alpn(tls, "h2"), 0);
	assert_int_equal(stt_tls_use(tls), 0);
	stt_tls_unref(tls);
}

/* What is no longer used by anybody is freed: what a thousand reloads leave is nothing. */
static void reloads_leave_nothing_behind(void **state)
{
	struct sttcp_tls *tls = good_server();
	size_t before, after;

	(void)state;
	assert_int_equal(stt_tls_use(tls), 0);
	for (int i = 0; i < 20; i++)
		assert_int_equal(stt_tls_reload(tls), 0);
	before = bytes_in_use();
	for (int i = 0; i < 1000; i++)
		assert_int_equal(stt_tls_reload(tls), 0);
	after = bytes_in_use();
	/* malloc's own come and go. */
	if (memory_is_measured() && after > before + 300000)
		fail_msg("1000 reloads keep %zu bytes", after - before);
	stt_tls_unref(tls);
}

/* --------------------------------------------------------------- several threads */

struct crowd {
	struct sttcp_tls *server;
	struct sttcp_tls *client;
	atomic_bool stop;
	atomic_long failures;
	atomic_long handshakes;
};

/* tls_pair_agree asserts, which belongs to the main thread. */
static void *shake_hands(void *argument)
{
	struct crowd *crowd = argument;

	while (!atomic_load(&crowd->stop)) {
		struct tls_pair pair;

		tls_pair_open(&pair, crowd->server, crowd->client, "a.example", NULL);
		tls_pair_shake(&pair);
		if (pair.client.result || pair.server.result)
			atomic_fetch_add(&crowd->failures, 1);
		atomic_fetch_add(&crowd->handshakes, 1);
		tls_pair_close(&pair);
	}
	return NULL;
}

/* No handshake is refused, and none sees half of a reload, good files and bad ones by turns. */
static void reloads_beside_handshakes_harm_nobody(void **state)
{
	enum {
		NTHREADS = 2,
		NRELOADS = 100
	};
	const char *file = certs_write_chain("busy.pem", &host, NULL);
	struct crowd crowd = {.server = stt_tls_new_server(file, good_key),
			      .client = stt_tls_new_client()};
	pthread_t threads[NTHREADS];

	(void)state;
	assert_int_equal(stt_tls_trust(crowd.client, trusted), 0);
	assert_int_equal(stt_tls_use(crowd.server), 0);
	assert_int_equal(stt_tls_use(crowd.client), 0);
	for (int i = 0; i < NTHREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, shake_hands, &crowd), 0);
	for (int i = 0; i < NRELOADS; i++) {
		if (i % 10 == 0)
			certs_write_text("busy.pem", "");
		else
			certs_write_chain("busy.pem", &host, NULL);
		assert_int_equal(stt_tls_reload(crowd.server), i % 10 ? 0 : -EINVAL);
		assert_int_equal(stt_tls_reload(crowd.client), 0);
	}
	EVENTUALLY(atomic_load(&crowd.handshakes) > 10);
	atomic_store(&crowd.stop, true);
	for (int i = 0; i < NTHREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&crowd.failures), 0);
	stt_tls_unref(crowd.server);
	stt_tls_unref(crowd.client);
}

/* Each failure has words of its own. */
static const char *fail_reload(struct sttcp_tls *tls, const char *file, const char *text)
{
	certs_write_text(file, text);
	assert_true(stt_tls_reload(tls) < 0);
	return stt_tls_error(tls);
}

static void a_sentence_stays_as_it_was_told(void **state)
{
	const char *file = certs_write_chain("told.pem", &host, NULL);
	struct sttcp_tls *tls = stt_tls_new_server(file, good_key);
	char first_copy[512];

	(void)state;
	const char *first = fail_reload(tls, "told.pem", "");

	snprintf(first_copy, sizeof(first_copy), "%s", first);
	assert_non_null(strstr(first, "told.pem"));
	certs_write_chain("told.pem", &authority, NULL);
	assert_int_equal(stt_tls_reload(tls), -EINVAL);
	expect_words(tls, "does not fit");
	assert_string_equal(first, first_copy);
	/* The same again is kept once. */
	assert_ptr_equal(fail_reload(tls, "told.pem", ""), first);
	stt_tls_unref(tls);
}

struct listener {
	struct sttcp_tls *tls;
	atomic_bool stop;
	atomic_long heard;
	atomic_long torn;
};

/* Each sentence names the file; one that is read while it changes does not, or is found by the
 * thread sanitizer. */
static void *listen_to_errors(void *argument)
{
	struct listener *listener = argument;

	while (!atomic_load(&listener->stop)) {
		const char *text = stt_tls_error(listener->tls);

		if (*text && !strstr(text, "shared.pem"))
			atomic_fetch_add(&listener->torn, 1);
		atomic_fetch_add(&listener->heard, 1);
	}
	return NULL;
}

static void sentences_are_read_beside_reloads(void **state)
{
	const char *file = certs_write_chain("shared.pem", &host, NULL);
	struct listener listener = {.tls = stt_tls_new_server(file, good_key)};
	pthread_t thread;

	(void)state;
	assert_int_equal(stt_tls_use(listener.tls), 0);
	assert_int_equal(pthread_create(&thread, NULL, listen_to_errors, &listener), 0);
	for (int i = 0; i < 300; i++) {
		switch (i % 3) {
		case 0:
			certs_write_text("shared.pem", "");
			break;
		case 1:
			certs_write_chain("shared.pem", &authority, NULL);
			break;
		default:
			certs_write_chain("shared.pem", &host, NULL);
		}
		assert_int_equal(stt_tls_reload(listener.tls), i % 3 == 2 ? 0 : -EINVAL);
	}
	EVENTUALLY(atomic_load(&listener.heard) > 1000);
	atomic_store(&listener.stop, true);
	pthread_join(thread, NULL);
	assert_int_equal(atomic_load(&listener.torn), 0);
	stt_tls_unref(listener.tls);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(settings_that_make_no_sense_are_refused),
		cmocka_unit_test(the_start_tells_a_setting_that_was_refused),
		cmocka_unit_test(the_start_tells_what_was_not_given),
		cmocka_unit_test(a_call_for_the_other_kind_changes_nothing),
		cmocka_unit_test(a_cipher_that_nobody_knows_is_refused),
		cmocka_unit_test(what_is_in_use_takes_no_settings),
		cmocka_unit_test(an_object_of_the_other_kind_is_refused),
		cmocka_unit_test(the_error_queue_is_left_alone),
		cmocka_unit_test(a_reload_counts_for_later_handshakes),
		cmocka_unit_test(a_good_start_is_the_last_call),
		cmocka_unit_test(a_reload_before_the_start_is_fine),
		cmocka_unit_test(reloads_leave_nothing_behind),
		cmocka_unit_test(reloads_beside_handshakes_harm_nobody),
		cmocka_unit_test(a_sentence_stays_as_it_was_told),
		cmocka_unit_test(sentences_are_read_beside_reloads),
	};

	return cmocka_run_group_tests(tests, good_files_open, good_files_close);
}
