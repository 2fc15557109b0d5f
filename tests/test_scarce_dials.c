/* SPDX-License-Identifier: MIT */
/* sttcp_dial where the system cannot wait or gives no memory: the code, and its sentence. Not in
 * test_dial.c, which runs under valgrind, too: that has an allocator of its own. */
#include "support/dialling.h"
#include "support/faults.h"
#include "support/memory_faults.h"

/* Not as a handler's end: there is no handler. */
static void a_wait_that_fails_is_told_as_such(void **state)
{
	struct blackhole hole;
	char sentence[64];
	int code = 0;

	(void)state;
	assert_true(blackhole_open(&hole)); /* or it might have connected before it waits */
	snprintf(sentence, sizeof(sentence), "cannot dial 127.0.0.1:%d: %s", hole.port,
		 sttcp_strerror(-ENOMEM));
	fault_instead(SYS_poll, ENOMEM, -1);
	sttcp_conn *conn = sttcp_dial("127.0.0.1", hole.port, NULL, &code);
	fault_clear();
	assert_null(conn);
	assert_int_equal(code, -ENOMEM);
	assert_string_equal(sttcp_dial_error(), sentence);
	blackhole_close(&hole);
}

/* In a thread that has no room for a sentence yet. */
static void *dial_without_memory(void *argument)
{
	int port = *(int *)argument;
	int code = 0;

	deny_after(0, true);
	sttcp_conn *conn = sttcp_dial("127.0.0.1", port, NULL, &code);
	allow_again();
	CHECK(!conn);
	CHECK(code == -ENOMEM);
	CHECK(strcmp(sttcp_dial_error(), "out of memory") == 0);
	/* It is that of the last dial alone. */
	CHECK(!sttcp_dial("127.0.0.1", 65536, NULL, NULL));
	CHECK(strstr(sttcp_dial_error(), "65536"));
	deny_after(0, true);
	conn = sttcp_dial("127.0.0.1", port, NULL, &code);
	allow_again();
	CHECK(!conn);
	CHECK(strstr(sttcp_dial_error(), "memory"));
	conn = sttcp_dial("127.0.0.1", port, NULL, &code);
	CHECK(conn);
	CHECK(!*sttcp_dial_error());
	sttcp_conn_unref(conn);
	return NULL;
}

static void lack_of_memory_is_told_as_such(void **state)
{
	pthread_t thread;

	(void)state;
	if (!memory_can_be_short())
		skip();
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);

	assert_int_equal(sttcp_server_start(server), 0);
	int port = sttcp_server_port(server);

	assert_int_equal(pthread_create(&thread, NULL, dial_without_memory, &port), 0);
	pthread_join(thread, NULL);
	sttcp_server_free(server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_wait_that_fails_is_told_as_such),
		cmocka_unit_test(lack_of_memory_is_told_as_such),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
