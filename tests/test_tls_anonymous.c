/* SPDX-License-Identifier: MIT */
/* Whoever verifies its peer takes none without a certificate, whatever ciphers a program, or the
 * system's configuration of OpenSSL, allows. */
#include "support/support.h"
#include "support/tls_dials.h"
#include "support/tls_gate.h"
#include "support/tls_good.h"

#include <stdlib.h>
#include <unistd.h>

static char configuration[] = "/tmp/sttcp-openssl-XXXXXX";

/* Before OpenSSL is used for the first time. */
static void allow_all(void)
{
	static const char text[] = "openssl_conf = all\n"
				   "[all]\nssl_conf = ssl\n"
				   "[ssl]\nsystem_default = default\n"
				   "[default]\nCipherString = ALL:@SECLEVEL=0\n";
	int fd = mkstemp(configuration);

	if (fd < 0 || write(fd, text, sizeof(text) - 1) != sizeof(text) - 1)
		abort();
	close(fd);
	setenv("OPENSSL_CONF", configuration, 1);
}

struct stranger {
	SSL_CTX *context;
	int listener, port;
};

static void *shake_hands(void *context)
{
	struct stranger *stranger = context;
	int fd = accept(stranger->listener, NULL, NULL);
	struct tls_dial dial;

	if (fd >= 0 && tls_answer_begin(&dial, stranger->context, fd)) {
		tls_dial_shake(&dial);
		tls_dial_close(&dial);
	}
	return NULL;
}

/* How a dial to a server without a certificate ends. */
static int dial(struct stranger *stranger, sttcp_tls *tls)
{
	pthread_t thread;
	int code = 0;

	assert_int_equal(pthread_create(&thread, NULL, shake_hands, stranger), 0);
	sttcp_conn *conn = sttcp_dial("127.0.0.1", stranger->port,
				      STTCP_OPTIONS(.tls = tls, .tls_name = "a.example"), &code);

	if (conn) {
		sttcp_conn_close(conn);
		sttcp_conn_unref(conn);
	}
	pthread_join(thread, NULL);
	return conn ? 0 : code;
}

static void a_client_takes_no_anonymous_server(void **state)
{
	/* NULL: what the system has. */
	static const char *const lists[] = {NULL, "ALL:@SECLEVEL=0", "HIGH:@SECLEVEL=0",
					    "COMPLEMENTOFDEFAULT:@SECLEVEL=0",
					    "DEFAULT:ADH-AES256-GCM-SHA384:@SECLEVEL=0"};
	struct stranger stranger = {.context = tls_answer_context(good_certificate, good_key, 12)};

	(void)state;
	assert_int_equal(SSL_CTX_set_cipher_list(stranger.context, "aNULL:@SECLEVEL=0"), 1);
	stranger.listener = peer_listen(&stranger.port, 4);
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		sttcp_tls *tls = sttcp_tls_client();

		assert_int_equal(sttcp_tls_trust(tls, trusted), 0);
		if (lists[i])
			assert_int_equal(sttcp_tls_set_ciphers(tls, lists[i]), 0);
		assert_int_equal(dial(&stranger, tls), STTCP_ETLS);
		sttcp_tls_unref(tls);
	}
	peer_close(stranger.listener);
	SSL_CTX_free(stranger.context);
}

/* And there is nothing left where no other was asked for. */
static void a_list_of_nothing_else_is_refused(void **state)
{
	sttcp_tls *tls = sttcp_tls_client();
	int code = 0;

	(void)state;
	assert_int_equal(sttcp_tls_set_ciphers(tls, "aNULL:@SECLEVEL=0"), 0);
	assert_null(sttcp_dial("127.0.0.1", 1, STTCP_OPTIONS(.tls = tls), &code));
	assert_int_equal(code, -EINVAL);
	assert_non_null(strstr(sttcp_tls_error(tls), "without authentication"));
	sttcp_tls_unref(tls);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_client_takes_no_anonymous_server),
		cmocka_unit_test(a_list_of_nothing_else_is_refused),
	};

	allow_all();

	int failed = cmocka_run_group_tests(tests, gates_set_up, good_files_close);

	unlink(configuration);
	return failed;
}
