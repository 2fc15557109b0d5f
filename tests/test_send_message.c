/* SPDX-License-Identifier: MIT */
/* Messages on their way out, to one and to all, and changes of the framing in between. */
#include "support/book.h"

enum {
	MIB = 1024 * 1024
};

static void echo_message(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	(void)book;
	sttcp_conn_send_message(conn, data, size);
}

static void messages_go_round_between_client_and_server(void **state)
{
	const size_t sizes[] = {1, 2, 63, 127, 128, 16383, 16384, 65535, 65536, 300000, MIB};
	const sttcp_options *const ways[] = {
		STTCP_OPTIONS(.framing = STTCP_FRAMING_LENGTH),
		STTCP_OPTIONS(.framing = STTCP_FRAMING_LENGTH, .prefix_varint = true,
			      .prefix_includes_itself = true),
		STTCP_OPTIONS(.framing = STTCP_FRAMING_LENGTH, .prefix_size = 3, .prefix_offset = 1,
			      .prefix_adjust = -1),
		STTCP_OPTIONS(.framing = STTCP_FRAMING_DELIMITER, .delimiter = "0123456789abcdef",
			      .delimiter_size = 16)};
	unsigned char *data = malloc(MIB);

	(void)state;
	assert_non_null(data);
	fill_pattern(data, MIB, 3);
	for (size_t way = 0; way < sizeof(ways) / sizeof(ways[0]); way++) {
		struct book *served = book_new();
		struct book *got = book_new();
		char expected[1024];
		size_t len = 0;

		served->script = echo_message;
		sttcp_server *server = book_listen(served, ways[way]);
		sttcp_client *client = book_dial(got, sttcp_server_port(server), ways[way]);
		sttcp_conn *conn = client_conn(client);
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			len += book_print(expected + len, sizeof(expected) - len, data, sizes[i]);
			assert_int_equal(sttcp_conn_send_message(conn, data, sizes[i]), 0);
		}
		/* Nothing is a message, too, where nothing stands in front of the length. */
		if (!ways[way]->prefix_offset) {
			len += book_print(expected + len, sizeof(expected) - len, data, 0);
			assert_int_equal(sttcp_conn_send_message(conn, NULL, 0), 0);
		}
		assert_true(event_wait(&got->changed, sizeof(sizes) / sizeof(sizes[0]) +
							      !ways[way]->prefix_offset));
		assert_string_equal(book_text(got), expected);
		sttcp_conn_unref(conn);
		sttcp_client_free(client);
		sttcp_server_free(server);
		book_free(served);
		book_free(got);
	}
	free(data);
}

static void messages_that_cannot_be_framed_are_refused(void **state)
{
	static char data[MIB + 1];
	struct talk talk = {0};

	(void)state;
	memset(data, 'x', sizeof(data));
	talk_open(&talk, STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE, .max_message = 300));
	sttcp_conn *conn = talk.book->conn;
	assert_int_equal(sttcp_conn_send_message(conn, data, 301), -EMSGSIZE);
	assert_int_equal(sttcp_conn_send_message(conn, "a\nb", 3), -EINVAL);
	assert_int_equal(sttcp_conn_send_message(conn, "a\r", 2), -EINVAL);
	assert_int_equal(sttcp_conn_send_message(conn, NULL, 1), -EINVAL);
	assert_int_equal(sttcp_conn_send_message(NULL, "a", 1), -EINVAL);
	assert_int_equal(sttcp_conn_send_message(conn, NULL, 0), 0);
	assert_int_equal(sttcp_conn_send_message(conn, "line", 4), 0);
	assert_true(peer_expect(talk.peer, "\nline\n"));

	const struct {
		sttcp_options framing;
		size_t size;
		int result;
	} cases[] = {
		{FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_size = 1), 255, 0},
		{FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_size = 1), 256, -EMSGSIZE},
		{FRAMED(.framing = STTCP_FRAMING_LENGTH), MIB, 0},
		{FRAMED(.framing = STTCP_FRAMING_LENGTH), MIB + 1, -EMSGSIZE},
		{FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_offset = 9), 8, -EINVAL},
		{FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_offset = 9), 9, 0},
		{FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_adjust = 9), 8, -EINVAL},
		{FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_adjust = 9), 9, 0},
		/* A longer prefix could count more of itself, and is not what anybody asked for. */
		{FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_varint = true,
			.prefix_includes_itself = true, .prefix_adjust = 5),
		 0, -EINVAL},
		{FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_varint = true,
			.prefix_includes_itself = true, .prefix_adjust = 5),
		 3, -EINVAL},
		{FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_varint = true,
			.prefix_includes_itself = true, .prefix_adjust = 5),
		 4, 0},
		{FRAMED(.framing = STTCP_FRAMING_FIXED, .fixed_size = 4), 3, -EINVAL},
		{FRAMED(.framing = STTCP_FRAMING_FIXED, .fixed_size = 4), 4, 0},
		{FRAMED(.framing = STTCP_FRAMING_DELIMITER, .delimiter = "xx", .delimiter_size = 2),
		 2, -EINVAL},
		{FRAMED(.framing = STTCP_FRAMING_DELIMITER, .delimiter = "xx", .delimiter_size = 2),
		 1, -EINVAL},
		{FRAMED(.framing = STTCP_FRAMING_RAW), 5, 0},
	};

	sttcp_server_stop_within(talk.server, 0, NULL);
	assert_int_equal(sttcp_conn_send_message(conn, "late", 4), STTCP_ESTOPPED);
	talk_close(&talk);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t bytes;
		struct talk other = {0};

		talk_open(&other, &cases[i].framing);
		assert_int_equal(sttcp_conn_send_message(other.book->conn, data, cases[i].size),
				 cases[i].result);
		sttcp_conn_close(other.book->conn);
		peer_drain(other.peer, &bytes);
		assert_true(cases[i].result == 0 ? bytes >= cases[i].size : bytes == 0);
		talk_close(&other);
	}
}

static const sttcp_options lines = FRAMED(.framing = STTCP_FRAMING_LINE);
static const sttcp_options semicolons =
	FRAMED(.framing = STTCP_FRAMING_DELIMITER, .delimiter = ";", .delimiter_size = 1);
static const sttcp_options short_lengths =
	FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_size = 1);

static int never(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame, void *context)
{
	(void)conn;
	(void)data;
	(void)size;
	(void)frame;
	(void)context;
	return 0;
}

static void framings_that_make_no_sense_are_refused(void **state)
{
	const sttcp_options bad[] = {
		FRAMED(.framing = -1),
		FRAMED(.framing = STTCP_FRAMING_CUSTOM + 1),
		FRAMED(.framing = STTCP_FRAMING_DELIMITER),
		FRAMED(.framing = STTCP_FRAMING_DELIMITER, .delimiter_size = 1),
		FRAMED(.framing = STTCP_FRAMING_DELIMITER, .delimiter = "12345678901234567",
		       .delimiter_size = 17),
		FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_size = 5),
		FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_size = -2),
		FRAMED(.framing = STTCP_FRAMING_FIXED),
		FRAMED(.framing = STTCP_FRAMING_FIXED, .fixed_size = -1),
		FRAMED(.framing = STTCP_FRAMING_FIXED, .fixed_size = 9, .max_message = 8),
		FRAMED(.framing = STTCP_FRAMING_CUSTOM),
		FRAMED(.framing = STTCP_FRAMING_LINE, .max_message = -2),
		{.framing = STTCP_FRAMING_LINE},
	};
	struct talk talk = {0};

	(void)state;
	talk_open(&talk, &lines);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		sttcp_server *server = sttcp_server_new("127.0.0.1", 0, &bad[i]);

		assert_int_equal(sttcp_server_start(server), -EINVAL);
		sttcp_server_free(server);
		sttcp_client *client = sttcp_client_new("127.0.0.1", 1, &bad[i]);
		assert_int_equal(sttcp_client_start(client), -EINVAL);
		sttcp_client_free(client);
		assert_int_equal(sttcp_conn_set_framing(talk.book->conn, &bad[i]), -EINVAL);
	}
	assert_int_equal(sttcp_conn_set_framing(talk.book->conn, NULL), -EINVAL);
	assert_int_equal(sttcp_conn_set_framing(NULL, &lines), -EINVAL);
	assert_int_equal(sttcp_conn_set_framing(
				 talk.book->conn,
				 STTCP_OPTIONS(.framing = STTCP_FRAMING_CUSTOM, .frame_fn = never)),
			 0);
	assert_int_equal(sttcp_conn_set_framing(talk.book->conn, &lines), 0);
	assert_true(peer_say(talk.peer, "still lines\n"));
	talk_ends(&talk, "<still lines>", 0);
}

/* What has come is looked into anew, from its first byte, and without waiting for another. */
static void framing_changed_from_outside_holds_for_what_is_there(void **state)
{
	struct talk talk = {0};

	(void)state;
	talk_open(&talk, &lines);
	say_and_wait(&talk, "a;b;c", 5);
	assert_int_equal(sttcp_conn_set_framing(talk.book->conn, &semicolons), 0);
	assert_true(event_wait(&talk.book->changed, 2));
	assert_true(peer_say(talk.peer, ";\3def"));
	assert_true(event_wait(&talk.book->changed, 3));
	EVENTUALLY(book_bytes_in(talk.book) == 10);
	assert_int_equal(sttcp_conn_set_framing(talk.book->conn, &short_lengths), 0);
	assert_true(event_wait(&talk.book->changed, 4));
	talk_ends(&talk, "<a><b><c><def>", 0);
}

/* While bytes run through it; for the thread sanitizer, and for the address sanitizer. */
static void framing_may_change_at_any_time(void **state)
{
	struct talk talk = {0};
	char text[4096];

	(void)state;
	memset(text, ';', sizeof(text));
	for (size_t i = 7; i < sizeof(text); i += 8)
		text[i] = '\n';
	talk_open(&talk, &lines);
	for (int i = 0; i < 50; i++) {
		assert_true(peer_send(talk.peer, text, sizeof(text)));
		assert_int_equal(
			sttcp_conn_set_framing(talk.book->conn, i % 2 ? &lines : &semicolons), 0);
	}
	EVENTUALLY(book_bytes_in(talk.book) == 50 * (int64_t)sizeof(text));
	peer_close(talk.peer);
	talk.peer = -1;
	assert_true(event_wait(&talk.book->ended, 1));
	assert_int_equal(talk.book->reason, 0);
	talk_close(&talk);
}

static void set_for_last(struct book *book, const sttcp_options *framing)
{
	assert_int_equal(sttcp_conn_set_framing(book->conn, framing), 0);
}

static void broadcast_is_framed_for_each_member(void **state)
{
	struct talk talk = {0};
	char longer[300];

	(void)state;
	memset(longer, 'l', sizeof(longer));
	talk_open(&talk, &lines);
	int second = book_join(talk.server);
	set_for_last(talk.book, &short_lengths);
	int third = book_join(talk.server);
	set_for_last(talk.book, &semicolons);
	sttcp_server *server = talk.server;
	assert_int_equal(sttcp_server_broadcast_message(server, NULL, "all", 3), 3);
	assert_int_equal(sttcp_server_broadcast_message(server, NULL, "no\nline", 7), 2);
	assert_int_equal(sttcp_server_broadcast_message(server, NULL, "no;end", 6), 2);
	assert_int_equal(sttcp_server_broadcast_message(server, NULL, longer, 300), 2);
	assert_int_equal(sttcp_server_broadcast_message(server, talk.book->conn, "but", 3), 2);
	assert_int_equal(sttcp_server_broadcast_message(server, NULL, NULL, 0), 3);
	assert_int_equal(sttcp_server_broadcast_message(server, NULL, NULL, 1), -EINVAL);
	assert_int_equal(sttcp_server_broadcast(server, "raw", 3), 3);
	assert_true(peer_expect(talk.peer, "all\nno;end\n"));
	assert_true(peer_recv(talk.peer, longer, 300));
	assert_true(peer_expect(talk.peer, "\nbut\n\nraw"));
	assert_true(peer_expect(second, "\3all\7no\nline\6no;end\3but"));
	char empty = 'x';
	assert_true(peer_recv(second, &empty, 1));
	assert_int_equal(empty, 0);
	assert_true(peer_expect(second, "raw"));
	assert_true(peer_expect(third, "all;no\nline;"));
	assert_true(peer_recv(third, longer, 300));
	assert_true(peer_expect(third, ";;raw"));
	peer_close(second);
	peer_close(third);
	talk_close(&talk);
}

/* The same for a length that stands inside of the payload; who would need another one misses it. */
static void broadcast_puts_lengths_behind_the_front(void **state)
{
	static const sttcp_options typed = FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_size = 1,
						  .prefix_offset = 3, .prefix_adjust = -48);
	struct talk talk = {0};

	(void)state;
	talk_open(&talk, &typed);
	int second = book_join(talk.server);
	set_for_last(talk.book, &lines);
	assert_int_equal(sttcp_server_broadcast_message(talk.server, NULL, "abcd", 4), 2);
	assert_int_equal(sttcp_server_broadcast_message(talk.server, NULL, "abc", 3), 2);
	assert_int_equal(sttcp_server_broadcast_message(talk.server, NULL, "ab", 2), 1);
	assert_int_equal(sttcp_server_broadcast_message(talk.server, NULL, "abcdef", 6), 2);
	assert_true(peer_expect(talk.peer, "abc1dabc0abc3def"));
	assert_true(peer_expect(second, "abcd\nabc\nab\nabcdef\n"));
	peer_close(second);
	talk_close(&talk);
}

/* Each replaced framing is freed, also when it is another thread that replaces it. */
static void framing_changed_often_takes_no_memory(void **state)
{
	struct talk talk = {0};

	(void)state;
	talk_open(&talk, STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE));
	sttcp_conn *conn = atomic_load(&talk.book->conn);
	size_t before = bytes_in_use();
	for (int i = 0; i < 100000; i++)
		assert_int_equal(sttcp_conn_set_framing(conn, i % 2 ? &lines : &semicolons), 0);
	EVENTUALLY(bytes_in_use() < before + 100000);
	assert_true(peer_say(talk.peer, "one\ntwo\n"));
	talk_ends(&talk, "<one><two>", 0);
}

static void close_and_tell_all(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	(void)data;
	(void)size;
	ignore(sttcp_conn_set_framing(conn, &semicolons));
	sttcp_conn_close(conn);
	book->asked = sttcp_server_broadcast_message(sttcp_conn_server(conn), NULL, "all", 3);
	book->asked += sttcp_conn_set_framing(conn, &lines) == STTCP_ECLOSED ? 100 : 0;
}

/* It is a member until its disconnection handler, and gets nothing all the same. */
static void broadcast_passes_over_who_has_ended(void **state)
{
	struct talk talk = {.book = book_new()};

	(void)state;
	talk.book->script = close_and_tell_all;
	talk_open(&talk, &lines);
	assert_true(peer_say(talk.peer, "go\n"));
	assert_int_equal(peer_end(talk.peer), 0);
	assert_true(event_wait(&talk.book->ended, 1));
	assert_int_equal(talk.book->asked, 100);
	talk_close(&talk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_go_round_between_client_and_server),
		cmocka_unit_test(messages_that_cannot_be_framed_are_refused),
		cmocka_unit_test(framings_that_make_no_sense_are_refused),
		cmocka_unit_test(framing_changed_from_outside_holds_for_what_is_there),
		cmocka_unit_test(framing_may_change_at_any_time),
		cmocka_unit_test(framing_changed_often_takes_no_memory),
		cmocka_unit_test(broadcast_passes_over_who_has_ended),
		cmocka_unit_test(broadcast_is_framed_for_each_member),
		cmocka_unit_test(broadcast_puts_lengths_behind_the_front),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
