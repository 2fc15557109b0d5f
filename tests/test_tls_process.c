/* SPDX-License-Identifier: MIT */
/* OpenSSL in a process that ends while threads use it. */
#include "support/certs.h"
#include "support/support.h"
#include "support/tls_pairs.h"

#include <openssl/ssl.h>

#include "tls/process.h"

#if UNDER_ASAN
/* What threads hold at exit, and what can no longer be freed, is no leak. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return 1;
}
#endif

enum {
	NTHREADS = 3,
	ROUNDS = 10
};

static struct sttcp_tls *server;
static struct sttcp_tls *client;
static atomic_long handshakes;

static void make_objects(void)
{
	struct cert_spec spec = {.names = "DNS:a.example"};
	struct cert host;
	const char *file;

	CHECK(stt_tls_begin());
	certs_open();
	host = cert_make(&spec, NULL);
	file = certs_write_chain("host.pem", &host, NULL);
	server = stt_tls_new_server(file, certs_write_key("host.key", &host));
	client = stt_tls_new_client();
	CHECK(stt_tls_trust(client, file) == 0);
	CHECK(stt_tls_use(server) == 0);
	CHECK(stt_tls_use(client) == 0);
	cert_free(&host);
	certs_close();
}

static struct stt_tls_session *open_session(struct sttcp_tls *tls, struct tls_side *side)
{
	struct stt_tls_session *session = NULL;
	struct stt_tls_start start = {.name = "a.example", .wire = &tube_wire, .context = side};

	return stt_tls_session_new(&session, tls, &start) == 0 ? session : NULL;
}

/* Whatever the results: when the process ends there are none. */
static void meet_once(void)
{
	static char word[] = "word";
	struct iovec part = {.iov_base = word, .iov_len = sizeof(word)};
	struct tls_pair pair = {.server = {.in = &pair.to_server, .out = &pair.to_client},
				.client = {.in = &pair.to_client, .out = &pair.to_server}};
	char got[16];
	bool emptied;

	pair.server.session = open_session(server, &pair.server);
	pair.client.session = open_session(client, &pair.client);
	if (pair.server.session && pair.client.session) {
		pair.server.result = pair.client.result = -EAGAIN;
		tls_pair_shake(&pair);
		for (int i = 0; i < 20 && pair.client.result == 0; i++) {
			int budget = 10;

			stt_tls_send(pair.client.session, &part, 1);
			stt_tls_recv(pair.server.session, got, sizeof(got), &emptied, &budget);
		}
		atomic_fetch_add(&handshakes, pair.client.result == 0);
	}
	tls_pair_close(&pair);
}

static void *meet_for_ever(void *argument)
{
	(void)argument;
	for (;;)
		meet_once();
	return NULL;
}

static int exit_amid_traffic(void)
{
	pthread_t thread;

	make_objects();
	for (int i = 0; i < NTHREADS; i++)
		CHECK(pthread_create(&thread, NULL, meet_for_ever, NULL) == 0);
	EVENTUALLY(atomic_load(&handshakes) > 5);
	exit(0);
}

/* Its clean-up at exit is OpenSSL's own then. */
static int exit_after_openssl_was_used_before(void)
{
	CHECK(OPENSSL_init_ssl(0, NULL) == 1);
	return exit_amid_traffic();
}

static void look_behind_the_end(void)
{
	struct stt_tls_session *session;
	struct stt_tls_start start = {.name = "a.example"};

	CHECK(stt_tls_session_new(&session, client, &start) == -ECANCELED);
	CHECK(stt_tls_reload(server) == -ECANCELED);
	CHECK(strstr(stt_tls_error(server), "any more"));
	stt_tls_unref(server);
	stt_tls_unref(client);
	stt_tls_end();
	tell("refused");
}

/* Handlers of atexit(3) run backwards: this one after OpenSSL's. */
static int calls_behind_openssls_end(void)
{
	CHECK(atexit(look_behind_the_end) == 0);
	CHECK(OPENSSL_init_ssl(0, NULL) == 1);
	make_objects();
	exit(0);
}

static void look_that_nothing_has_ended(void)
{
	meet_once();
	CHECK(atomic_load(&handshakes) == 1);
	tell("agreed");
}

/* OpenSSL's clean-up is left out, so what runs behind where it would have been finds all as it was.
 */
static int calls_at_exit(void)
{
	CHECK(atexit(look_that_nothing_has_ended) == 0);
	make_objects();
	exit(0);
}

static const struct child children[] = {
	{"exit_amid_traffic", exit_amid_traffic},
	{"exit_after_openssl_was_used_before", exit_after_openssl_was_used_before},
	{"calls_behind_openssls_end", calls_behind_openssls_end},
	{"calls_at_exit", calls_at_exit},
	{NULL, NULL},
};

static void exit_amid_traffic_does_not_crash(void **state)
{
	(void)state;
	for (int i = 0; i < ROUNDS; i++)
		assert_int_equal(process_run("exit_amid_traffic"), 0);
}

static void neither_where_the_program_has_used_openssl_before(void **state)
{
	(void)state;
	for (int i = 0; i < ROUNDS; i++)
		assert_int_equal(process_run("exit_after_openssl_was_used_before"), 0);
}

static void expect_line(const char *child, const char *expected)
{
	struct process process;
	char line[64];

	assert_true(process_start(&process, child));
	assert_true(process_line(&process, line, sizeof(line)));
	assert_string_equal(line, expected);
	assert_int_equal(process_wait(&process), 0);
}

static void calls_after_openssls_end_have_a_code(void **state)
{
	(void)state;
	expect_line("calls_behind_openssls_end", "refused");
}

static void at_exit_all_is_as_it_was(void **state)
{
	(void)state;
	expect_line("calls_at_exit", "agreed");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(exit_amid_traffic_does_not_crash),
		cmocka_unit_test(neither_where_the_program_has_used_openssl_before),
		cmocka_unit_test(calls_after_openssls_end_have_a_code),
		cmocka_unit_test(at_exit_all_is_as_it_was),
	};

	if (argc > 1)
		return child_main(children, argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
