/* SPDX-License-Identifier: MIT */
/* Options that a start refuses, and the sentences that say why. What options do is in the tests of
 * what they are about. */
#include "support/book.h"

static int never(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame, void *context)
{
	(void)conn;
	(void)data;
	(void)size;
	(void)frame;
	(void)context;
	return 0;
}

/* What the start of a server and of a client says to each, after "cannot start ADDRESS: ", and
 * set_framing; NULL: it is fine, or nothing that set_framing looks at. */
static const struct refusal {
	sttcp_options options;
	const char *server;
	const char *client;
	bool framing;
} refusals[] = {
/* One less than the size of a size. */
#if SIZE_MAX > UINT32_MAX
#define BELOW "7"
#else
#define BELOW "3"
#endif

/* The three words that many share. */
#define BOTH(text) (text), (text), false
#define ALL(text) (text), (text), true
#define MS ": it may be -1 (off), 0 (default) or a number of milliseconds"
#define BYTES ": it may be -1 (unlimited), 0 (default) or a number of bytes"
#define NUMBER ": it may be -1 (unlimited), 0 (default) or a number above it"
	/* Values that nothing has. */
	{FRAMED(.idle_timeout_ms = -7), BOTH("idle_timeout_ms is -7" MS)},
	{FRAMED(.first_byte_timeout_ms = -2), BOTH("first_byte_timeout_ms is -2" MS)},
	{FRAMED(.message_timeout_ms = -2), BOTH("message_timeout_ms is -2" MS)},
	{FRAMED(.lifetime_ms = -2), BOTH("lifetime_ms is -2" MS)},
	{FRAMED(.lifetime_jitter_ms = -2), BOTH("lifetime_jitter_ms is -2" MS)},
	{FRAMED(.write_timeout_ms = INT32_MIN), BOTH("write_timeout_ms is -2147483648" MS)},
	{FRAMED(.linger_timeout_ms = -2), BOTH("linger_timeout_ms is -2" MS)},
	{FRAMED(.drain_timeout_ms = -2), BOTH("drain_timeout_ms is -2" MS)},
	{FRAMED(.dead_peer_timeout_ms = -2), BOTH("dead_peer_timeout_ms is -2" MS)},
	{FRAMED(.connect_timeout_ms = -2), BOTH("connect_timeout_ms is -2" MS)},
	{FRAMED(.reconnect_ms = -2), BOTH("reconnect_ms is -2" MS)},
	{FRAMED(.reconnect_ms = INT32_MIN), BOTH("reconnect_ms is -2147483648" MS)},
	{FRAMED(.reconnect_ms = 1, .reconnect_max_ms = -2), "reconnect_ms is an option of a client",
	 "reconnect_max_ms is -2: it may be -1 (unlimited), 0 (default) or a number of "
	 "milliseconds",
	 false},
	{FRAMED(.reconnect_tries = -2), BOTH("reconnect_tries is -2" NUMBER)},
	{FRAMED(.send_queue_max = -2), BOTH("send_queue_max is -2" BYTES)},
	{FRAMED(.total_queue_max = INT64_MIN),
	 BOTH("total_queue_max is -9223372036854775808" BYTES)},
	{FRAMED(.high_water = -2), BOTH("high_water is -2" BYTES)},
	{FRAMED(.low_water = -2), BOTH("low_water is -2" BYTES)},
	{FRAMED(.framing = STTCP_FRAMING_LINE, .max_message = -2), ALL("max_message is -2" BYTES)},
	{FRAMED(.backlog = -2), BOTH("backlog is -2" NUMBER)},
	{FRAMED(.max_connections = -2), BOTH("max_connections is -2" NUMBER)},
	{FRAMED(.max_connections_per_ip = -2), BOTH("max_connections_per_ip is -2" NUMBER)},
	{FRAMED(.accept_rate = -2), BOTH("accept_rate is -2" NUMBER)},
	{FRAMED(.over_limit = 2),
	 BOTH("over_limit is 2: it may be STTCP_OVER_PAUSE (0) or STTCP_OVER_REJECT (1)")},
	{FRAMED(.framing = 6),
	 ALL("framing is 6: it may be STTCP_FRAMING_RAW (0) to STTCP_FRAMING_CUSTOM (5)")},
	{FRAMED(.framing = -1),
	 ALL("framing is -1: it may be STTCP_FRAMING_RAW (0) to STTCP_FRAMING_CUSTOM (5)")},
	{FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_size = 5),
	 ALL("prefix_size is 5: it may be 0 (default: 4), 1, 2, 3, 4 or 8")},
	{FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_size = -1),
	 ALL("prefix_size is -1: it may be 0 (default: 4), 1, 2, 3, 4 or 8")},
	{FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_offset = -1),
	 ALL("prefix_offset is -1: it may be 0 (default) or a number of bytes above it")},
	{FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_offset = INT32_MIN),
	 ALL("prefix_offset is -2147483648: it may be 0 (default) or a number of bytes above it")},
	{FRAMED(.framing = STTCP_FRAMING_FIXED, .fixed_size = -1),
	 ALL("fixed_size is -1: it may be a number of bytes from 1 on")},
	{FRAMED(.framing = STTCP_FRAMING_DELIMITER, .delimiter = "12345678901234567",
		.delimiter_size = 17),
	 ALL("delimiter_size is 17: it may be 1 to 16")},
	{FRAMED(.tls_handshake_timeout_ms = -2), BOTH("tls_handshake_timeout_ms is -2" MS)},
	{FRAMED(.tls_name = "x"), "tls_name is an option of a client", NULL, false},
	/* OpenSSL takes a dot in front for any name under it. */
	{FRAMED(.tls_name = ".b.example"), "tls_name is an option of a client",
	 "tls_name is \".b.example\": it may be a DNS name or an address, without a port", false},
	/* What a framing needs. */
	{FRAMED(.framing = STTCP_FRAMING_DELIMITER),
	 ALL("STTCP_FRAMING_DELIMITER needs delimiter and delimiter_size, of 1 to 16 bytes")},
	{FRAMED(.framing = STTCP_FRAMING_DELIMITER, .delimiter_size = 1),
	 ALL("STTCP_FRAMING_DELIMITER needs delimiter and delimiter_size, of 1 to 16 bytes")},
	{FRAMED(.framing = STTCP_FRAMING_DELIMITER, .delimiter = ";"),
	 ALL("STTCP_FRAMING_DELIMITER needs delimiter and delimiter_size, of 1 to 16 bytes")},
	{FRAMED(.framing = STTCP_FRAMING_FIXED), ALL("STTCP_FRAMING_FIXED needs fixed_size")},
	{FRAMED(.framing = STTCP_FRAMING_CUSTOM), ALL("STTCP_FRAMING_CUSTOM needs frame_fn")},
	/* What has no effect. */
	{FRAMED(.delimiter = ";", .delimiter_size = 1),
	 ALL("delimiter has no effect with STTCP_FRAMING_RAW")},
	{FRAMED(.framing = STTCP_FRAMING_LINE, .delimiter = ";", .delimiter_size = 1),
	 ALL("delimiter has no effect with STTCP_FRAMING_LINE")},
	{FRAMED(.framing = STTCP_FRAMING_LINE, .delimiter_size = 1),
	 ALL("delimiter_size has no effect with STTCP_FRAMING_LINE")},
	{FRAMED(.framing = STTCP_FRAMING_LINE, .fixed_size = 8),
	 ALL("fixed_size has no effect with STTCP_FRAMING_LINE")},
	{FRAMED(.framing = STTCP_FRAMING_FIXED, .fixed_size = 8, .frame_fn = never),
	 ALL("frame_fn has no effect with STTCP_FRAMING_FIXED")},
	{FRAMED(.framing = STTCP_FRAMING_CUSTOM, .frame_fn = never, .prefix_size = 2),
	 ALL("prefix_size has no effect with STTCP_FRAMING_CUSTOM")},
	{FRAMED(.prefix_varint = true), ALL("prefix_varint has no effect with STTCP_FRAMING_RAW")},
	{FRAMED(.prefix_little_endian = true),
	 ALL("prefix_little_endian has no effect with STTCP_FRAMING_RAW")},
	{FRAMED(.prefix_includes_itself = true),
	 ALL("prefix_includes_itself has no effect with STTCP_FRAMING_RAW")},
	{FRAMED(.framing = STTCP_FRAMING_LINE, .prefix_offset = 1),
	 ALL("prefix_offset has no effect with STTCP_FRAMING_LINE")},
	{FRAMED(.framing = STTCP_FRAMING_FIXED, .fixed_size = 4, .prefix_adjust = -1),
	 ALL("prefix_adjust has no effect with STTCP_FRAMING_FIXED")},
	{FRAMED(.rest_at_end = true), ALL("rest_at_end has no effect with STTCP_FRAMING_RAW")},
	{FRAMED(.framing = STTCP_FRAMING_LENGTH, .rest_at_end = true),
	 ALL("rest_at_end has no effect with STTCP_FRAMING_LENGTH")},
	{FRAMED(.max_message = 100), ALL("max_message has no effect with STTCP_FRAMING_RAW")},
	{FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_size = 4, .prefix_varint = true),
	 ALL("prefix_size has no effect with prefix_varint")},
	{FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_little_endian = true,
		.prefix_varint = true),
	 ALL("prefix_little_endian has no effect with prefix_varint")},
	{FRAMED(.over_limit = STTCP_OVER_REJECT),
	 "over_limit has no effect without max_connections or accept_rate",
	 "over_limit is an option of a server", false},
	{FRAMED(.over_limit = STTCP_OVER_REJECT, .max_connections_per_ip = 3,
		.max_connections = -1),
	 "over_limit has no effect without max_connections or accept_rate",
	 "max_connections_per_ip is an option of a server", false},
	{FRAMED(.lifetime_jitter_ms = 5),
	 BOTH("lifetime_jitter_ms has no effect without lifetime_ms")},
	{FRAMED(.lifetime_jitter_ms = 5, .lifetime_ms = -1),
	 BOTH("lifetime_jitter_ms has no effect without lifetime_ms")},
	/* What contradicts. */
	{FRAMED(.framing = STTCP_FRAMING_FIXED, .fixed_size = 9, .max_message = 8),
	 ALL("fixed_size is 9: max_message is 8, and no message may be larger")},
	{FRAMED(.framing = STTCP_FRAMING_FIXED, .fixed_size = 1048577),
	 ALL("fixed_size is 1048577: max_message is 1048576, and no message may be larger")},
	{FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_offset = 9, .max_message = 8),
	 ALL("prefix_offset is 9: max_message is 8, and no message may be larger")},
	{FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_offset = INT32_MAX),
	 ALL("prefix_offset is 2147483647: max_message is 1048576, and no message may be larger")},
	{FRAMED(.high_water = 2000, .send_queue_max = 1000),
	 BOTH("high_water is 2000: it may not be over send_queue_max, which is 1000")},
	{FRAMED(.high_water = 1048577),
	 BOTH("high_water is 1048577: it may not be over send_queue_max, which is 1048576")},
	{FRAMED(.high_water = 100, .low_water = 101),
	 BOTH("low_water is 101: it may not be over high_water, which is 100")},
	{FRAMED(.low_water = 600 * 1024),
	 BOTH("low_water is 614400: it may not be over high_water, which is 524288")},
	{FRAMED(.send_queue_max = 1000, .low_water = 501),
	 BOTH("low_water is 501: it may not be over high_water, which is 500")},
	/* Of the other kind. */
	{FRAMED(.connect_timeout_ms = 1), "connect_timeout_ms is an option of a client", NULL,
	 false},
	{FRAMED(.connect_timeout_ms = -1), "connect_timeout_ms is an option of a client", NULL,
	 false},
	{FRAMED(.reconnect_ms = 1), "reconnect_ms is an option of a client", NULL, false},
	{FRAMED(.reconnect_max_ms = 1), "reconnect_max_ms is an option of a client",
	 "reconnect_max_ms has no effect without reconnect_ms", false},
	{FRAMED(.reconnect_max_ms = -1, .reconnect_ms = -1),
	 "reconnect_max_ms is an option of a client",
	 "reconnect_max_ms has no effect without reconnect_ms", false},
	{FRAMED(.reconnect_tries = 1), "reconnect_tries is an option of a client",
	 "reconnect_tries has no effect without reconnect_ms", false},
	{FRAMED(.reconnect_tries = INT32_MAX, .reconnect_ms = -1),
	 "reconnect_tries is an option of a client",
	 "reconnect_tries has no effect without reconnect_ms", false},
	/* The first bound may be the largest, and not beyond it. */
	{FRAMED(.reconnect_ms = 500, .reconnect_max_ms = 499),
	 "reconnect_ms is an option of a client",
	 "reconnect_max_ms is 499: it may not be below reconnect_ms, which is 500", false},
	{FRAMED(.reconnect_ms = INT32_MAX), "reconnect_ms is an option of a client",
	 "reconnect_max_ms is 30000 by default: it may not be below reconnect_ms, which is "
	 "2147483647",
	 false},
	{FRAMED(.reconnect_ms = 500, .reconnect_max_ms = 500, .reconnect_tries = INT32_MAX),
	 "reconnect_ms is an option of a client", NULL, false},
	{FRAMED(.reconnect_ms = 30000), "reconnect_ms is an option of a client", NULL, false},
	{FRAMED(.reconnect_ms = INT32_MAX, .reconnect_max_ms = -1, .reconnect_tries = -1),
	 "reconnect_ms is an option of a client", NULL, false},
	{FRAMED(.reconnect_ms = INT32_MAX, .reconnect_max_ms = INT32_MAX),
	 "reconnect_ms is an option of a client", NULL, false},
	{FRAMED(.reconnect_ms = -1, .reconnect_tries = -1), NULL, NULL, false},
	{FRAMED(.backlog = 1), NULL, "backlog is an option of a server", false},
	{FRAMED(.max_connections = 1), NULL, "max_connections is an option of a server", false},
	{FRAMED(.max_connections_per_ip = 1), NULL,
	 "max_connections_per_ip is an option of a server", false},
	{FRAMED(.accept_rate = 1), NULL, "accept_rate is an option of a server", false},
	{FRAMED(.broadcast_skips = true), NULL, "broadcast_skips is an option of a server", false},
	{FRAMED(.end_idle_at_stop = true), NULL, "end_idle_at_stop is an option of a server",
	 false},
	{FRAMED(.reuse_port = true), NULL, "reuse_port is an option of a server", false},
	{FRAMED(.ipv6_only = true), NULL, "ipv6_only is an option of a server", false},
	/* Off, where that is the default, says nothing. */
	{FRAMED(.max_connections = -1, .max_connections_per_ip = -1, .accept_rate = -1,
		.lifetime_jitter_ms = -1, .lifetime_ms = -1, .idle_timeout_ms = -1,
		.total_queue_max = -1),
	 NULL, NULL, false},
	{FRAMED(.high_water = -1, .low_water = 5 << 20), NULL, NULL, false},
	{FRAMED(.high_water = 5 << 20, .send_queue_max = -1), NULL, NULL, false},
	{FRAMED(.framing = STTCP_FRAMING_FIXED, .fixed_size = 1 << 30, .max_message = -1), NULL,
	 NULL, false},
	{FRAMED(.framing = STTCP_FRAMING_LINE, .rest_at_end = true), NULL, NULL, false},
	{FRAMED(.framing = STTCP_FRAMING_DELIMITER, .delimiter = ";", .delimiter_size = 1,
		.rest_at_end = true),
	 NULL, NULL, false},
	{FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_varint = true,
		.prefix_includes_itself = true),
	 NULL, NULL, false},
	{FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_size = 3, .prefix_adjust = -1,
		.prefix_offset = 1 << 20),
	 NULL, NULL, false},
	{FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_adjust = INT32_MIN,
		.prefix_offset = INT32_MAX, .max_message = -1),
	 NULL, NULL, false},
	/* Structs that cannot be. */
	{{0}, ALL("size is 0: STTCP_OPTIONS or sttcp_options_init has to set it")},
	{{.size = sizeof(size_t) - 1},
	 ALL("size is " BELOW ": STTCP_OPTIONS or sttcp_options_init has to set it")},
	{{.size = (size_t)1 << 30},
	 ALL("size is 1073741824: STTCP_OPTIONS or sttcp_options_init has to set it")},
};

static void expect_sentence(const char *error, const char *address, const char *sentence)
{
	char whole[320];

	snprintf(whole, sizeof(whole), "cannot start %s: %s", address, sentence);
	assert_string_equal(error, whole);
}

static void starts_name_the_option_that_is_wrong(void **state)
{
	int port;
	int listener = peer_listen(&port, 128);

	(void)state;
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		const struct refusal *refusal = &refusals[i];
		sttcp_server *server = sttcp_server_new("127.0.0.1", 0, &refusal->options);
		sttcp_client *client = sttcp_client_new("127.0.0.1", port, &refusal->options);
		char address[32];

		snprintf(address, sizeof(address), "127.0.0.1:%d", port);
		assert_string_equal(sttcp_server_error(server), "");
		assert_int_equal(sttcp_server_start(server), refusal->server ? -EINVAL : 0);
		if (refusal->server)
			expect_sentence(sttcp_server_error(server), "127.0.0.1:0", refusal->server);
		assert_int_equal(sttcp_client_start(client), refusal->client ? -EINVAL : 0);
		if (refusal->client)
			expect_sentence(sttcp_client_error(client), address, refusal->client);
		sttcp_server_free(server);
		sttcp_client_free(client);
	}
	close(listener);
}

static void stack_size_needs_fibers(void **state)
{
	sttcp_server *server =
		sttcp_server_new("127.0.0.1", 0, STTCP_OPTIONS(.fiber_stack_size = 65536));

	(void)state;
	assert_int_equal(sttcp_server_start(server), -EINVAL);
	expect_sentence(sttcp_server_error(server), "127.0.0.1:0",
			"fiber_stack_size has no effect without fibers");
	sttcp_server_free(server);
}

static struct {
	pthread_mutex_t lock;
	char text[512];
	int level;
} logged = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void note_log(int level, const char *text, void *context)
{
	(void)context;
	pthread_mutex_lock(&logged.lock);
	logged.level = level;
	snprintf(logged.text, sizeof(logged.text), "%s", text);
	pthread_mutex_unlock(&logged.lock);
}

/* There is no sentence to be had from a connection: the log has it. What does not frame does not
 * count, whatever it is. */
static void set_framing_refuses_the_same_and_logs_why(void **state)
{
	struct talk talk = {0};

	(void)state;
	talk_open(&talk, STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE));
	sttcp_set_log(note_log, NULL);
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		const struct refusal *refusal = &refusals[i];

		logged.text[0] = '\0';
		assert_int_equal(sttcp_conn_set_framing(talk.book->conn, &refusal->options),
				 refusal->framing ? -EINVAL : 0);
		if (refusal->framing) {
			assert_int_equal(logged.level, 2);
			assert_non_null(strstr(logged.text, refusal->server));
			assert_non_null(strstr(logged.text, sttcp_conn_address(talk.book->conn)));
		} else {
			assert_string_equal(logged.text, "");
		}
	}
	sttcp_set_log(NULL, NULL);
	assert_int_equal(sttcp_conn_set_framing(talk.book->conn,
						STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE)),
			 0);
	assert_true(peer_say(talk.peer, "a line\n"));
	talk_ends(&talk, "<a line>", 0);
}

/* A larger struct of a newer header, with something set in it that is not known here. */
static void unknown_options_are_told_by_their_place(void **state)
{
	struct {
		sttcp_options known;
		char newer[8];
	} options;
	char sentence[160];

	(void)state;
	memset(&options, 0, sizeof(options));
	options.known.size = sizeof(options);
	options.newer[7] = 1;
	snprintf(sentence, sizeof(sentence),
		 "size is %zu: behind the first %zu bytes stands an option that this version of "
		 "the library does not know",
		 sizeof(options), sizeof(sttcp_options));
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, &options.known);
	assert_int_equal(sttcp_server_start(server), -EINVAL);
	expect_sentence(sttcp_server_error(server), "127.0.0.1:0", sentence);
	sttcp_server_free(server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(starts_name_the_option_that_is_wrong),
		cmocka_unit_test(stack_size_needs_fibers),
		cmocka_unit_test(set_framing_refuses_the_same_and_logs_why),
		cmocka_unit_test(unknown_options_are_told_by_their_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
