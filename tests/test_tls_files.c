/* SPDX-License-Identifier: MIT */
/* The files of a TLS object, and what is said about those that are wrong: by the object, by the
 * start and in the log. */
#include "support/support.h"
#include "support/tls_gate.h"
#include "support/tls_good.h"

#include <sys/stat.h>

/* ---------------------------------------------------------------------- objects */

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

/* With as many steps that lead nowhere as fit. */
static const char *long_way_to(const char *file, char *path, size_t size)
{
	const char *name = strrchr(file, '/') + 1;
	int len = snprintf(path, size, "%.*s", (int)(name - file), file);

	while ((size_t)len + 2 + strlen(name) < size)
		len += snprintf(path + len, size - (size_t)len, "./");
	snprintf(path + len, size - (size_t)len, "%s", name);
	return path;
}

static void long_path_leaves_room_for_what_to_do(void **state)
{
	char certificate[800];
	char key[800];
	char other[800];

	(void)state;
	long_way_to(good_certificate, certificate, sizeof(certificate));
	long_way_to(certs_write_encrypted_key("long.key", &host), key, sizeof(key));
	long_way_to(certs_write_key("other.key", &authority), other, sizeof(other));
	expect_fault(certificate, key, -EINVAL, "long.key", "-out FILE)");
	expect_fault(certificate, other, -EINVAL, "other.key", "does not fit");
	expect_fault(other, NULL, -EINVAL, "other.key", "BEGIN CERTIFICATE");

	sttcp_tls *tls = sttcp_tls_server(certificate, key);
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, STTCP_OPTIONS(.tls = tls));

	assert_int_equal(sttcp_server_start(server), -EINVAL);
	assert_non_null(strstr(sttcp_server_error(server), "-out FILE)"));
	sttcp_server_free(server);
	sttcp_tls_unref(tls);
}

/* Nobody writes to it: it is not waited for, either. */
static void pipe_is_refused(void **state)
{
	const char *named = certs_path("fifo");
	char path[32];
	int ends[2];

	(void)state;
	assert_int_equal(mkfifo(named, 0600), 0);
	assert_int_equal(pipe(ends), 0);
	snprintf(path, sizeof(path), "/dev/fd/%d", ends[0]);

	const char *const pipes[] = {named, path};

	for (size_t i = 0; i < 2; i++) {
		struct sttcp_tls *client = stt_tls_new_client();

		expect_fault(pipes[i], good_key, -EINVAL, pipes[i], "is a pipe");
		expect_fault(good_certificate, pipes[i], -EINVAL, pipes[i], "write it to a file");
		assert_int_equal(stt_tls_trust(client, pipes[i]), -EINVAL);
		expect_words(client, "is a pipe");
		stt_tls_unref(client);
	}
	close(ends[0]);
	close(ends[1]);
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

/* -------------------------------------------------------- servers and clients */

/* The start says it, with the file's name, and nobody listens; set right, it starts. */
static void expect_no_start(const char *certificate, const char *key, int code, const char *file,
			    const char *words)
{
	sttcp_tls *tls = sttcp_tls_server(certificate, key);
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, STTCP_OPTIONS(.tls = tls));

	for (int i = 0; i < 2; i++) {
		assert_int_equal(sttcp_server_start(server), code);
		expect_text(sttcp_server_error(server), file);
		expect_text(sttcp_server_error(server), words);
		expect_text(sttcp_server_error(server), sttcp_tls_error(tls));
	}
	sttcp_server_free(server);
	sttcp_tls_unref(tls);
}

static void files_that_are_no_use_are_told_by_the_start(void **state)
{
	const char *missing = certs_path("missing.pem");
	const char *empty = certs_write_text("empty.pem", "");
	const char *directory = certs_path("directory_at_start");
	const char *encrypted = certs_write_encrypted_key("encrypted.key", &host);
	const char *other = certs_write_key("other.key", &authority);
	const char *secret = certs_write_key("secret_at_start.key", &host);

	(void)state;
	assert_int_equal(mkdir(directory, 0700), 0);
	assert_int_equal(chmod(secret, 0), 0);
	expect_no_start(missing, good_key, -ENOENT, missing, "No such file");
	expect_no_start(good_certificate, missing, -ENOENT, missing, "No such file");
	expect_no_start("", good_key, -ENOENT, "a file without a name", "No such file");
	expect_no_start(empty, good_key, -EINVAL, empty, "contains no certificate");
	expect_no_start(good_certificate, empty, -EINVAL, empty, "contains no private key");
	expect_no_start(directory, good_key, -EISDIR, directory, "directory");
	expect_no_start(good_certificate, directory, -EISDIR, directory, "directory");
	expect_no_start(good_certificate, encrypted, -EINVAL, encrypted, "decrypt it");
	expect_no_start(good_certificate, other, -EINVAL, other, "does not fit");
	if (geteuid() != 0) /* root reads everything */
		expect_no_start(good_certificate, secret, -EACCES, secret, "Permission denied");
}

/* What was wrong is set right in the file, and the same objects do. */
static void a_start_after_the_file_was_mended_is_fine(void **state)
{
	const char *file = certs_write_text("mended.pem", "");
	struct probe *probe = probe_new();
	struct gate gate = {.probe = probe};

	(void)state;
	probe->data = echo_data;
	gate.tls = sttcp_tls_server(file, good_key);
	gate.server = probe_server(probe, "127.0.0.1", 0, STTCP_OPTIONS(.tls = gate.tls));
	assert_int_equal(sttcp_server_start(gate.server), -EINVAL);
	certs_write_chain("mended.pem", &host, NULL);
	assert_int_equal(sttcp_server_start(gate.server), 0);
	assert_string_equal(sttcp_server_error(gate.server), "");
	assert_string_equal(sttcp_tls_error(gate.tls), "");
	gate.port = sttcp_server_port(gate.server);
	expect_service(&gate);
	gate_close(&gate);
}

static void a_client_tells_files_that_are_no_use(void **state)
{
	const char *missing = certs_path("missing.pem");
	sttcp_tls *tls = sttcp_tls_client();
	sttcp_client *client = sttcp_client_new("127.0.0.1", 1, STTCP_OPTIONS(.tls = tls));

	(void)state;
	assert_int_equal(sttcp_tls_trust(tls, missing), -ENOENT);
	assert_int_equal(sttcp_client_start(client), -ENOENT);
	expect_text(sttcp_client_error(client), missing);
	sttcp_client_free(client);
	sttcp_tls_unref(tls);

	tls = sttcp_tls_client();
	client = sttcp_client_new("127.0.0.1", 1, STTCP_OPTIONS(.tls = tls));
	assert_int_equal(sttcp_tls_set_certificate(tls, good_certificate,
						   certs_write_key("other.key", &authority)),
			 -EINVAL);
	assert_int_equal(sttcp_client_start(client), -EINVAL);
	expect_text(sttcp_client_error(client), "does not fit");
	sttcp_client_free(client);
	sttcp_tls_unref(tls);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_bad_file_has_a_code_and_a_sentence),
		cmocka_unit_test(long_path_leaves_room_for_what_to_do),
		cmocka_unit_test(pipe_is_refused),
		cmocka_unit_test(an_unreadable_file_is_told),
		cmocka_unit_test(a_key_may_be_in_the_certificates_file),
		cmocka_unit_test(a_file_may_come_before_the_start),
		cmocka_unit_test(one_bad_certificate_of_several_is_told),
		cmocka_unit_test(a_policy_that_openssl_refuses_is_told),
		cmocka_unit_test(an_expired_certificate_is_warned_of_once),
		cmocka_unit_test(files_that_are_no_use_are_told_by_the_start),
		cmocka_unit_test(a_start_after_the_file_was_mended_is_fine),
		cmocka_unit_test(a_client_tells_files_that_are_no_use),
	};

	return cmocka_run_group_tests(tests, gates_set_up, good_files_close);
}
