/* SPDX-License-Identifier: MIT */
/* The TLS object of a program: its files and settings, what is said about those that are wrong, and
 * reloading. */
#include "support/certs.h"
#include "support/support.h"
#include "support/tls_pairs.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/stat.h>

#include "tls/credentials.h"

static struct cert authority;
static struct cert host;
static const char *good_certificate, *good_key, *trusted;

static int set_up(void **state)
{
	struct cert_spec of_authority = {.subject = "Test Authority", .authority = true};
	struct cert_spec of_host = {.names = "DNS:a.example"};

	(void)state;
	certs_open();
	authority = cert_make(&of_authority, NULL);
	host = cert_make(&of_host, &authority);
	trusted = certs_write_chain("authority.pem", &authority, NULL);
	good_certificate = certs_write_chain("host.pem", &host, NULL);
	good_key = certs_write_key("host.key", &host);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	cert_free(&authority);
	cert_free(&host);
	certs_close();
	return 0;
}

static struct sttcp_tls *good_server(void)
{
	struct sttcp_tls *tls = stt_tls_new_server(good_certificate, good_key);

	assert_string_equal(stt_tls_error(tls), "");
	return tls;
}

static void expect_words(struct sttcp_tls *tls, const char *words)
{
	if (!strstr(stt_tls_error(tls), words))
		fail_msg("\"%s\" does not say \"%s\"", stt_tls_error(tls), words);
}

/* ------------------------------------------------------------------------ files */

/* Told by the object at once, and by the start. */
static void expect_fault(const char *certificate, const char *key, int code, const char *file,
			 const char *words)
{
	struct sttcp_tls *tls = stt_tls_new_server(certificate, key);

	assert_non_null(tls);
	for (int i = 0; i < 2; i++) {
		expect_words(tls, words);
		expect_words(tls, file);
		assert_int_equal(stt_tls_use(tls), code);
	}
	assert_null(stt_tls_take_credentials(tls));
	stt_tls_unref(tls);
}

static void each_bad_file_has_a_code_and_a_sentence(void **state)
{
	const char *empty = certs_write_text("empty.pem", "");
	const char *text = certs_write_text("text.pem", "this is no certificate\n");
	const char *broken = certs_write_text("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n"
							    "-----END CERTIFICATE-----\n");
	const char *broken_key =
		certs_write_text("broken.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n"
					       "-----END PRIVATE KEY-----\n");
	const char *encrypted = certs_write_encrypted_key("encrypted.key", &host);
	const char *other = certs_write_key("other.key", &authority);
	const char *missing = certs_path("missing.pem");
	const char *directory = certs_path("directory");

	(void)state;
	assert_int_equal(mkdir(directory, 0700), 0);
	expect_fault(NULL, NULL, -EINVAL, "", "no certificate was given");
	expect_fault(missing, good_key, -ENOENT, missing, "No such file");
	expect_fault(good_certificate, missing, -ENOENT, missing, "No such file");
	expect_fault(directory, good_key, -EISDIR, directory, "directory");
	expect_fault(empty, good_key, -EINVAL, empty, "contains no certificate");
	expect_fault(text, good_key, -EINVAL, text, "contains no certificate");
	expect_fault(good_key, good_key, -EINVAL, good_key, "contains no certificate");
	expect_fault(broken, good_key, -EINVAL, broken, "certificate 1 in");
	expect_fault(good_certificate, empty, -EINVAL, empty, "contains no private key");
	expect_fault(good_certificate, good_certificate, -EINVAL, good_certificate,
		     "contains no private key");
	expect_fault(good_certificate, broken_key, -EINVAL, broken_key, "is malformed");
	expect_fault(good_certificate, encrypted, -EINVAL, encrypted, "is encrypted");
	expect_fault(good_certificate, other, -EINVAL, other, "does not fit");
	expect_fault(good_certificate, other, -EINVAL, good_certificate, "does not fit");
	expect_fault("/dev/zero", good_key, -EFBIG, "/dev/zero", "File too large");
}

/* Root reads everything. */
static void an_unreadable_file_is_told(void **state)
{
	const char *secret = certs_write_key("secret.key", &host);

	(void)state;
	if (geteuid() == 0) {
		print_message("root reads every file: not tried\n");
		return;
	}
	assert_int_equal(chmod(secret, 0), 0);
	expect_fault(good_certificate, secret, -EACCES, secret, "Permission denied");
}

static void a_key_may_be_in_the_certificates_file(void **state)
{
	const char *both = certs_write_chain("both.pem", &host, NULL);
	FILE *file = fopen(both, "a"), *key = fopen(good_key, "r");
	struct sttcp_tls *tls;

	(void)state;
	for (int byte; (byte = fgetc(key)) != EOF;)
		fputc(byte, file);
	fclose(key);
	fclose(file);
	tls = stt_tls_new_server(both, NULL);
	assert_string_equal(stt_tls_error(tls), "");
	assert_int_equal(stt_tls_use(tls), 0);
	stt_tls_unref(tls);
}

/* What was put right before the start is right. */
static void a_file_may_come_before_the_start(void **state)
{
	const char *late = certs_path("late.pem");
	struct sttcp_tls *tls = stt_tls_new_server(late, good_key);

	(void)state;
	assert_int_equal(stt_tls_use(tls), -ENOENT);
	certs_write_chain("late.pem", &host, NULL);
	assert_int_equal(stt_tls_use(tls), 0);
	assert_string_equal(stt_tls_error(tls), "");
	stt_tls_unref(tls);
}

static void one_bad_certificate_of_several_is_told(void **state)
{
	struct sttcp_tls *tls = good_server();

	(void)state;
	assert_int_equal(stt_tls_add_certificate(tls, certs_path("missing.pem"), NULL), -ENOENT);
	assert_int_equal(stt_tls_add_certificate(tls, good_certificate, good_key), 0);
	expect_words(tls, "missing.pem");
	assert_int_equal(stt_tls_use(tls), -ENOENT);
	stt_tls_unref(tls);
}

static void a_policy_that_openssl_refuses_is_told(void **state)
{
	struct cert_spec spec = {.names = "DNS:weak.example"};
	struct cert weak = cert_make(&spec, NULL);
	struct sttcp_tls *tls;

	(void)state;
	EVP_PKEY_free(weak.key);
	weak.key = EVP_RSA_gen(512);
	X509_set_pubkey(weak.certificate, weak.key);
	X509_sign(weak.certificate, weak.key, EVP_sha256());
	tls = stt_tls_new_server(certs_write_chain("weak.pem", &weak, NULL),
				 certs_write_key("weak.key", &weak));
	expect_words(tls, "weak.pem");
	expect_words(tls, "too small");
	assert_int_equal(stt_tls_use(tls), -EINVAL);
	stt_tls_unref(tls);
	cert_free(&weak);
}

/* ------------------------------------------------------------------------ trust */

static void trust_is_a_file_or_a_directory(void **state)
{
	const char *directory = certs_path("trust");
	struct sttcp_tls *tls = stt_tls_new_client(), *server = good_server();
	struct tls_pair pair;

	(void)state;
	assert_int_equal(mkdir(directory, 0700), 0);
	assert_int_equal(stt_tls_trust(tls, directory), -EINVAL);
	expect_words(tls, "no file in");
	/* No hash links; what is no certificate does not matter, nor that one is there twice. */
	certs_write_text("trust/README", "Our authorities\n");
	certs_write_chain("trust/one.pem", &authority, NULL);
	certs_write_chain("trust/two.crt", &authority, &host, NULL);
	assert_int_equal(mkdir(certs_path("trust/sub"), 0700), 0);
	assert_int_equal(stt_tls_trust(tls, directory), 0);
	assert_string_equal(stt_tls_error(tls), "");
	tls_pair_open(&pair, server, tls, "a.example", NULL);
	tls_pair_agree(&pair);
	tls_pair_close(&pair);
	stt_tls_unref(tls);
	stt_tls_unref(server);
}

/* Each of them, in any order; one that is named twice is fine. */
static void several_calls_add_up(void **state)
{
	struct cert_spec of_other = {.subject = "Other Authority", .authority = true};
	struct cert stranger = cert_make(&of_other, NULL);
	const char *other = certs_write_chain("other.pem", &stranger, NULL);
	const char *const orders[][3] = {{trusted, other, trusted}, {other, trusted, other}};

	(void)state;
	cert_free(&stranger);
	for (int i = 0; i < 2; i++) {
		struct sttcp_tls *tls = stt_tls_new_client(), *server = good_server();
		struct tls_pair pair;

		for (int k = 0; k < 3; k++)
			assert_int_equal(stt_tls_trust(tls, orders[i][k]), 0);
		tls_pair_open(&pair, server, tls, "a.example", NULL);
		tls_pair_agree(&pair);
		tls_pair_close(&pair);
		stt_tls_unref(tls);
		stt_tls_unref(server);
	}
}

static void a_broken_file_in_the_directory_is_told(void **state)
{
	const char *directory = certs_path("half");
	struct sttcp_tls *tls = stt_tls_new_client();

	(void)state;
	assert_int_equal(mkdir(directory, 0700), 0);
	certs_write_chain("half/good.pem", &authority, NULL);
	certs_write_text("half/bad.pem",
			 "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
	assert_int_equal(stt_tls_trust(tls, directory), -EINVAL);
	expect_words(tls, "bad.pem");
	stt_tls_unref(tls);
}

/* Whatever the directory is called. */
static void a_name_does_not_make_a_broken_file_good(void **state)
{
	const char *directory = certs_path("it contains no certificate");
	struct sttcp_tls *tls = stt_tls_new_client();

	(void)state;
	assert_int_equal(mkdir(directory, 0700), 0);
	certs_write_chain("it contains no certificate/good.pem", &authority, NULL);
	certs_write_text("it contains no certificate/README", "nothing to read");
	assert_int_equal(stt_tls_trust(tls, directory), 0);
	certs_write_text("it contains no certificate/bad.pem",
			 "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
	assert_int_equal(stt_tls_trust(tls, directory), -EINVAL);
	expect_words(tls, "bad.pem");
	stt_tls_unref(tls);
}

/* It must not fall back to what the system trusts. */
static void a_trust_that_cannot_be_read_stays_wrong(void **state)
{
	struct sttcp_tls *tls = stt_tls_new_client();

	(void)state;
	assert_int_equal(stt_tls_trust(tls, certs_path("missing.pem")), -ENOENT);
	assert_int_equal(stt_tls_set_alpn(tls, "h2"), 0);
	expect_words(tls, "missing.pem");
	assert_int_equal(stt_tls_use(tls), -ENOENT);
	/* Another one does not make up for it. */
	assert_int_equal(stt_tls_trust(tls, trusted), -ENOENT);
	expect_words(tls, "missing.pem");
	certs_write_chain("missing.pem", &authority, NULL);
	assert_int_equal(stt_tls_trust(tls, trusted), 0);
	assert_string_equal(stt_tls_error(tls), "");
	assert_int_equal(stt_tls_use(tls), 0);
	stt_tls_unref(tls);
}

static void a_server_that_asks_needs_to_know_whom_it_trusts(void **state)
{
	struct sttcp_tls *tls = good_server();

	(void)state;
	assert_int_equal(stt_tls_require_peer(tls, STTCP_TLS_PEER_ASKED), 0);
	assert_int_equal(stt_tls_use(tls), -EINVAL);
	expect_words(tls, "sttcp_tls_trust");
	assert_int_equal(stt_tls_trust(tls, trusted), 0);
	assert_int_equal(stt_tls_use(tls), 0);
	stt_tls_unref(tls);
}

static X509_STORE *store_of(struct sttcp_tls *tls)
{
	struct stt_credentials *credentials = stt_tls_take_credentials(tls);
	X509_STORE *store = credentials->trust;

	stt_credentials_unref(credentials);
	return store;
}

/* It takes 20 ms to read. */
static void the_systems_trust_is_read_once(void **state)
{
	struct sttcp_tls *one = stt_tls_new_client(), *other = stt_tls_new_client();
	X509_STORE *before;

	(void)state;
	assert_int_equal(setenv("SSL_CERT_FILE", trusted, 1), 0);
	assert_int_equal(stt_tls_use(one), 0);
	assert_int_equal(stt_tls_use(other), 0);
	before = store_of(one);
	assert_non_null(before);
	assert_ptr_equal(store_of(other), before);
	/* A reload reads it again. */
	assert_int_equal(stt_tls_reload(other), 0);
	assert_false(store_of(other) == before);
	assert_ptr_equal(store_of(one), before);
	stt_tls_unref(one);
	stt_tls_unref(other);
	assert_int_equal(unsetenv("SSL_CERT_FILE"), 0);
}

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

/* ---------------------------------------------------------------------- the log */

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static int warnings;
static struct sttcp_tls *reloaded_in_the_log;

/* It is user code, and may call whatever it likes, for this object, too. */
static void count_warnings(int level, const char *text, void *context)
{
	struct sttcp_tls *tls = reloaded_in_the_log;

	(void)context;
	if (level != 2 || !strstr(text, "old.pem has expired"))
		return;
	pthread_mutex_lock(&log_lock);
	warnings++;
	pthread_mutex_unlock(&log_lock);
	reloaded_in_the_log = NULL;
	if (tls)
		stt_tls_reload(tls);
}

/* By what begins to count: not by a trial, nor by a second start. */
static void an_expired_certificate_is_warned_of_once(void **state)
{
	struct cert_spec spec = {.names = "DNS:a.example", .from_days = -10, .until_days = -5};
	struct cert old = cert_make(&spec, &authority);
	const char *file = certs_write_chain("old.pem", &old, NULL);
	const char *key = certs_write_key("old.key", &old);

	(void)state;
	warnings = 0;
	sttcp_set_log(count_warnings, NULL);
	struct sttcp_tls *tls = stt_tls_new_server(file, key);

	assert_int_equal(warnings, 0);
	assert_int_equal(stt_tls_use(tls), 0);
	assert_int_equal(stt_tls_use(tls), 0);
	assert_int_equal(warnings, 1);
	/* It reads the file again, and the file is no better. */
	assert_int_equal(stt_tls_reload(tls), 0);
	assert_int_equal(warnings, 2);
	/* In a callback for the log nothing is logged. */
	reloaded_in_the_log = tls;
	assert_int_equal(stt_tls_reload(tls), 0);
	assert_null(reloaded_in_the_log);
	assert_int_equal(warnings, 3);
	sttcp_set_log(NULL, NULL);
	stt_tls_unref(tls);
	cert_free(&old);
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
		cmocka_unit_test(each_bad_file_has_a_code_and_a_sentence),
		cmocka_unit_test(an_unreadable_file_is_told),
		cmocka_unit_test(a_key_may_be_in_the_certificates_file),
		cmocka_unit_test(a_file_may_come_before_the_start),
		cmocka_unit_test(one_bad_certificate_of_several_is_told),
		cmocka_unit_test(a_policy_that_openssl_refuses_is_told),
		cmocka_unit_test(trust_is_a_file_or_a_directory),
		cmocka_unit_test(a_broken_file_in_the_directory_is_told),
		cmocka_unit_test(a_name_does_not_make_a_broken_file_good),
		cmocka_unit_test(several_calls_add_up),
		cmocka_unit_test(a_trust_that_cannot_be_read_stays_wrong),
		cmocka_unit_test(a_server_that_asks_needs_to_know_whom_it_trusts),
		cmocka_unit_test(the_systems_trust_is_read_once),
		cmocka_unit_test(settings_that_make_no_sense_are_refused),
		cmocka_unit_test(the_start_tells_a_setting_that_was_refused),
		cmocka_unit_test(a_cipher_that_nobody_knows_is_refused),
		cmocka_unit_test(what_is_in_use_takes_no_settings),
		cmocka_unit_test(the_error_queue_is_left_alone),
		cmocka_unit_test(a_reload_counts_for_later_handshakes),
		cmocka_unit_test(a_reload_before_the_start_is_fine),
		cmocka_unit_test(reloads_leave_nothing_behind),
		cmocka_unit_test(an_expired_certificate_is_warned_of_once),
		cmocka_unit_test(reloads_beside_handshakes_harm_nobody),
		cmocka_unit_test(a_sentence_stays_as_it_was_told),
		cmocka_unit_test(sentences_are_read_beside_reloads),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
