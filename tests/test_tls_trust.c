/* SPDX-License-Identifier: MIT */
/* Whom a TLS object trusts: files, directories, or what the system does. */
#include "support/support.h"
#include "support/tls_good.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "support/tls_pairs.h"
#include "tls/credentials.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(trust_is_a_file_or_a_directory),
		cmocka_unit_test(a_broken_file_in_the_directory_is_told),
		cmocka_unit_test(a_name_does_not_make_a_broken_file_good),
		cmocka_unit_test(several_calls_add_up),
		cmocka_unit_test(a_trust_that_cannot_be_read_stays_wrong),
		cmocka_unit_test(a_server_that_asks_needs_to_know_whom_it_trusts),
		cmocka_unit_test(the_systems_trust_is_read_once),
	};

	return cmocka_run_group_tests(tests, good_files_open, good_files_close);
}
