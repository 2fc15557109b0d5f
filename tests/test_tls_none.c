/* SPDX-License-Identifier: MIT */
/* A library without TLS: the start says so, and all else goes on. It is made of the objects of the
 * one under test, with the stand-ins for TLS and for the suite over it: what they lack is not
 * linked. */
#include "support/memory_faults.h"
#include "support/support.h"

#include "tls/context.h"
#include "tls/session.h"

static void objects_can_be_made_and_not_used(void **state)
{
	struct sttcp_tls *server = stt_tls_new_server("cert.pem", "key.pem");
	struct sttcp_tls *client = stt_tls_new_client();
	struct stt_tls_session *session;
	struct stt_tls_start start = {.name = NULL};

	(void)state;
	assert_non_null(server);
	assert_non_null(client);
	assert_true(stt_tls_is_server(server));
	assert_false(stt_tls_is_server(client));
	assert_int_equal(stt_tls_use(server), -ENOSYS);
	assert_int_equal(stt_tls_reload(server), -ENOSYS);
	assert_int_equal(stt_tls_trust(client, "authority.pem"), -ENOSYS);
	assert_int_equal(stt_tls_session_new(&session, client, &start), -ENOSYS);
	assert_non_null(strstr(stt_tls_error(client), "without TLS"));
	assert_ptr_equal(stt_tls_ref(server), server);
	stt_tls_unref(server);
	stt_tls_unref(server);
	stt_tls_unref(client);
	stt_tls_unref(NULL);
}

static void objects_are_never_null(void **state)
{
	(void)state;
	if (!memory_can_be_short())
		skip();
	deny_after(0, true);
	struct sttcp_tls *server = stt_tls_new_server("cert.pem", "key.pem");
	struct sttcp_tls *client = stt_tls_new_client();
	allow_again();
	assert_non_null(server);
	assert_non_null(client);
	assert_true(stt_tls_is_server(server));
	assert_false(stt_tls_is_server(client));
	assert_int_equal(stt_tls_use(server), -ENOSYS);
	assert_ptr_equal(stt_tls_ref(client), client);
	/* More often than references were taken: nothing is freed. */
	for (int i = 0; i < 3; i++) {
		stt_tls_unref(server);
		stt_tls_unref(client);
	}
	assert_non_null(strstr(stt_tls_error(client), "without TLS"));
}

static void a_start_says_why(void **state)
{
	sttcp_tls *accepts = sttcp_tls_server("cert.pem", "key.pem");
	sttcp_tls *begins = sttcp_tls_client();
	struct probe *probe = probe_new();
	sttcp_server *server = probe_server(probe, "127.0.0.1", 0, STTCP_OPTIONS(.tls = accepts));
	sttcp_client *client = probe_client(probe, "127.0.0.1", 1, STTCP_OPTIONS(.tls = begins));
	int code = 0;

	(void)state;
	assert_int_equal(sttcp_server_start(server), -ENOSYS);
	assert_int_equal(sttcp_client_start(client), -ENOSYS);
	assert_null(sttcp_dial("127.0.0.1", 1, STTCP_OPTIONS(.tls = begins), &code));
	assert_int_equal(code, -ENOSYS);
	assert_non_null(strstr(sttcp_tls_error(accepts), "without TLS"));
	sttcp_client_free(client);
	sttcp_server_free(server);
	sttcp_tls_unref(begins);
	sttcp_tls_unref(accepts);
	probe_free(probe);
}

/* Turns to TLS in vain, and answers nevertheless. */
static bool answer_without(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	sttcp_tls *tls = sttcp_tls_server("cert.pem", "key.pem");
	sttcp_tls_info info;

	if (sttcp_conn_start_tls(conn, tls, NULL) != -ENOSYS)
		probe_violate(probe, "TLS began");
	if (sttcp_conn_tls(conn, &info, sizeof(info)) != -ENOENT)
		probe_violate(probe, "there is TLS");
	sttcp_tls_unref(tls);
	return sttcp_conn_send(conn, data, size) == 0;
}

static void plain_connections_work(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	probe->data = answer_without;
	sttcp_server *server = probe_listen(probe, NULL);
	int fd = peer_connect(sttcp_server_port(server));

	assert_true(peer_say(fd, "one"));
	assert_true(peer_expect(fd, "one"));
	close(fd);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	sttcp_server_free(server);
	probe_free(probe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(objects_can_be_made_and_not_used),
		cmocka_unit_test(objects_are_never_null),
		cmocka_unit_test(a_start_says_why),
		cmocka_unit_test(plain_connections_work),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
