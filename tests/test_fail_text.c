/* SPDX-License-Identifier: MIT */
/* G6: what sttcp_conn_fail_text says of ends that the library decided. */
#include "support/support.h"

#include <sys/socket.h>

#include "conn/ending.h"

struct limit {
	sttcp_options options;
	const char *says; /* the peer, before it is silent */
	int reason;
	const char *text;
};

static const struct limit limits[] = {
	{{.first_byte_timeout_ms = 51},
	 "",
	 STTCP_ETIME_FIRST_BYTE,
	 "no first byte for 51 ms, first_byte_timeout_ms is 51"},
	{{.idle_timeout_ms = 52},
	 "x",
	 STTCP_ETIME_IDLE,
	 "no byte for 52 ms, idle_timeout_ms is 52"},
	{{.framing = STTCP_FRAMING_LINE, .message_timeout_ms = 53},
	 "half a line",
	 STTCP_ETIME_MESSAGE,
	 "a message not whole after 53 ms, message_timeout_ms is 53"},
	{{.lifetime_ms = 54}, "", STTCP_ETIME_LIFETIME, "open for 54 ms, lifetime_ms is 54"},
	{{.lifetime_ms = 54, .lifetime_jitter_ms = 5},
	 "",
	 STTCP_ETIME_LIFETIME,
	 "open for long enough, lifetime_ms is 54, lifetime_jitter_ms is 5"},
};

/* In its connection handler, for it may be gone a moment later. */
static bool keep_conn(struct probe *probe, sttcp_conn *conn)
{
	*(sttcp_conn **)probe->extra = sttcp_conn_ref(conn);
	return true;
}

static void time_limit_names_its_option(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		struct probe *probe = probe_new();
		sttcp_options options = limits[i].options;
		sttcp_conn *conn = NULL;

		options.size = sizeof(options);
		probe->connection = keep_conn;
		probe->extra = &conn;
		sttcp_server *server = probe_listen(probe, &options);
		int peer = peer_connect(sttcp_server_port(server));
		if (*limits[i].says)
			assert_true(peer_say(peer, limits[i].says));
		assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
		assert_int_equal(probe_reason(probe), limits[i].reason);
		assert_string_equal(probe_fail_text(probe), limits[i].text);
		peer_close(peer);
		sttcp_server_free(server);
		/* It stays for whoever holds a reference. */
		assert_string_equal(sttcp_conn_fail_text(conn), limits[i].text);
		sttcp_conn_unref(conn);
		probe_free(probe);
	}
}

/* The same limits on the other half. */
static void time_limit_of_a_client_names_its_option(void **state)
{
	struct probe *serving = probe_new();
	struct probe *calling = probe_new();
	sttcp_server *server = probe_listen(serving, NULL);

	(void)state;
	sttcp_client *client = probe_dial(calling, sttcp_server_port(server),
					  STTCP_OPTIONS(.idle_timeout_ms = 52));
	assert_true(probe_wait(calling, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(calling), STTCP_ETIME_IDLE);
	assert_string_equal(probe_fail_text(calling), "no byte for 52 ms, idle_timeout_ms is 52");
	sttcp_client_free(client);
	sttcp_server_free(server);
	probe_free(calling);
	probe_free(serving);
}

static void write_timeout_names_its_option(void **state)
{
	struct pair pair = {0};
	static char data[8 << 20];

	(void)state;
	pair_open(&pair, STTCP_OPTIONS(.write_timeout_ms = 55));
	assert_int_equal(sttcp_conn_send(pair.conn, data, sizeof(data)), STTCP_ETIME_WRITE);
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	assert_string_equal(probe_fail_text(pair.probe),
			    "the peer took no byte for 55 ms, write_timeout_ms is 55");
	pair_close(&pair);
}

static void slow_member_names_the_cap(void **state)
{
	static const char *const texts[] = {
		"the queue has no room, send_queue_max is 65536",
		"the queue has no room, send_queue_max is 65536, total_queue_max is 100000",
	};
	static char data[16 * 1024];

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct pair pair = {0};

		pair_open(&pair, STTCP_OPTIONS(.send_queue_max = 65536,
					       .total_queue_max = i ? 100000 : -1));
		while (sttcp_conn_is_open(pair.conn))
			sttcp_server_broadcast(pair.server, data, sizeof(data));
		assert_int_equal(sttcp_conn_reason(pair.conn), STTCP_ESLOW);
		assert_string_equal(sttcp_conn_fail_text(pair.conn), texts[i]);
		pair_close(&pair);
	}
}

static bool fail_without_words(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)size;
	/* A format of "", which is no secret to the compiler, is warned about. */
	const char *text = probe->extra;

	sttcp_conn_fail(conn, *(const char *)data == 'l' ? STTCP_ELIMIT : 0, text, "");
	return true;
}

/* Also where a handler has given the code and no text, or an empty one. */
static void code_without_a_text_has_its_sentence(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++) {
		struct pair pair = {.probe = probe_new()};
		int code = i % 2 ? STTCP_ELIMIT : STTCP_EHANDLER;

		pair.probe->data = fail_without_words;
		pair.probe->extra = i < 2 ? NULL : "%s";
		pair_open(&pair, NULL);
		assert_true(peer_say(pair.peer, i % 2 ? "l" : "h"));
		assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
		assert_int_equal(probe_reason(pair.probe), code);
		assert_string_equal(probe_fail_text(pair.probe), sttcp_strerror(code));
		pair_close(&pair);
	}
}

/* Whoever in the library ends a connection, and whether or not it is easy to bring about: with its
 * own code there is something to say, and where there is an option it is named. */
static void every_code_of_the_library_has_words(void **state)
{
	static const struct {
		int code;
		const char *text;
	} codes[] = {
		{STTCP_ESTOPPED, "the server is stopping"},
		{STTCP_EHANDLER, "a handler failed the connection"},
		{STTCP_EFRAME, "malformed message"},
		{STTCP_ELIMIT, "over a limit"},
		{STTCP_ESLOW, "the queue has no room, send_queue_max is -1"},
		{STTCP_ERESOLVE, "the host name could not be resolved"},
		{STTCP_ETLS, "TLS failed"},
		{STTCP_ETIME_CONNECT, "connecting took too long"},
		{STTCP_ETIME_WRITE,
		 "the peer took no byte for 30000 ms, write_timeout_ms is 30000"},
		{STTCP_EDEAD_PEER, "no answer from the peer, dead_peer_timeout_ms is 60000"},
		{STTCP_ECLOSED, ""},
		{STTCP_EDESTROYED, ""},
		{-ENOMEM, ""},
		{0, ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		struct pair pair = {0};

		pair_open(&pair, STTCP_OPTIONS(.send_queue_max = -1));
		assert_true(stt_conn_end(pair.conn, codes[i].code, STT_END_RESET));
		assert_string_equal(sttcp_conn_fail_text(pair.conn), codes[i].text);
		pair_close(&pair);
	}
}

/* What somebody here has asked for, or the peer, needs no words. */
static void end_that_was_asked_for_has_no_text(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		struct pair pair = {0};

		pair_open(&pair, STTCP_OPTIONS(.idle_timeout_ms = 60000));
		if (i == 0)
			sttcp_conn_close(pair.conn);
		else if (i == 1)
			sttcp_conn_abort(pair.conn);
		else
			peer_reset(pair.peer);
		if (i == 2)
			pair.peer = -1;
		assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
		assert_string_equal(probe_fail_text(pair.probe), "");
		pair_close(&pair);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(time_limit_names_its_option),
		cmocka_unit_test(time_limit_of_a_client_names_its_option),
		cmocka_unit_test(write_timeout_names_its_option),
		cmocka_unit_test(slow_member_names_the_cap),
		cmocka_unit_test(code_without_a_text_has_its_sentence),
		cmocka_unit_test(every_code_of_the_library_has_words),
		cmocka_unit_test(end_that_was_asked_for_has_no_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
