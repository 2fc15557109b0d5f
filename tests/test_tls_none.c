/* SPDX-License-Identifier: MIT */
/* A library that was built without TLS: built in its stead, the start says so. */
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(objects_can_be_made_and_not_used),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
