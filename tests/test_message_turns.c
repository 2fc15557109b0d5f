/* SPDX-License-Identifier: MIT */
/* Many messages at once: they come in turns with those of others, up to the end and across a
 * pause. */
#include "support/book.h"

enum {
	LINES = 3000
};

static const sttcp_options rest_lines =
	FRAMED(.framing = STTCP_FRAMING_LINE, .max_message = 8, .rest_at_end = true);

static struct {
	atomic_int other; /* a raw peer of a second connection */
	atomic_long handled;
	atomic_long before;
} turn;

/* With the first of many messages the other peer's comes: it may not wait for all of them. */
static void wake_the_other(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	(void)book;
	if (size == 5 && memcmp(data, "other", 5) == 0) {
		atomic_store(&turn.before, atomic_load(&turn.handled));
		sttcp_conn_send(conn, "served", 6);
	} else if (atomic_fetch_add(&turn.handled, 1) == 0) {
		peer_say(turn.other, "other\n");
	}
}

static void many_messages_arrive_in_order_and_let_others_in(void **state)
{
	struct talk talk = {0};
	static char text[8 * LINES];
	static char expected[8 * LINES];
	size_t len = 0;
	char *at = expected;
	sttcp_stats stats;

	(void)state;
	atomic_store(&turn.handled, 0);
	atomic_store(&turn.before, LINES);
	talk.book = book_new();
	talk.book->script = wake_the_other;
	talk_open(&talk, STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE));
	turn.other = book_join(talk.server);
	for (int i = 0; i < LINES; i++) {
		len += (size_t)sprintf(text + len, "%d\n", i);
		at += sprintf(at, "<%d>", i);
	}
	assert_true(peer_send(talk.peer, text, len));
	assert_true(peer_expect(turn.other, "served"));
	assert_true(atomic_load(&turn.before) < LINES / 2);
	assert_true(event_wait(&talk.book->changed, LINES + 1));
	sttcp_server_stats(talk.server, &stats, sizeof(stats));
	assert_int_equal(stats.messages_in, LINES + 1);
	assert_int_equal(stats.bytes_in, len + 6);
	peer_close(turn.other);
	assert_true(event_wait(&talk.book->ended, 1));
	peer_shutdown(talk.peer);
	assert_true(event_wait(&talk.book->ended, 2));

	char *others = strstr(talk.book->text, "<other>");

	assert_non_null(others);
	memmove(others, others + 7, strlen(others + 7) + 1);
	talk_ends(&talk, expected, 0);
}

static bool pause_at_first(struct book *book, sttcp_conn *conn)
{
	(void)book;
	return sttcp_conn_pause(conn) == 0;
}

/* The last message comes with the FIN, at each place around the end of a turn. */
static void rest_at_the_end_of_a_turn_is_delivered(void **state)
{
	(void)state;
	for (int count = 253; count <= 258; count++) {
		struct talk talk = {0};
		char text[600];
		char expected[2000];
		char *at = expected;

		for (int i = 0; i < count; i++) {
			memcpy(text + (size_t)2 * (size_t)i, "x\n", 2);
			at += sprintf(at, "<x>");
		}
		sprintf(at, "<rest>");
		memcpy(text + (size_t)2 * (size_t)count, "rest", 4);
		talk.book = book_new();
		talk.book->opened = pause_at_first;
		talk_open(&talk, STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE, .rest_at_end = true));
		sttcp_conn *conn = sttcp_conn_ref(talk.book->conn);
		assert_true(peer_send(talk.peer, text, (size_t)2 * (size_t)count + 4));
		peer_shutdown(talk.peer);
		/* Behind these two on the only loop: when it is there, they are known. */
		int other = book_join(talk.server);
		sttcp_conn_resume(conn); /* it may have ended before this returns */
		talk_ends(&talk, expected, 0);
		sttcp_conn_unref(conn);
		peer_close(other);
	}
}

/* Sends until the peer's reset is told to a send: then no read is told of it. */
static void send_until_reset(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	char byte;

	if (size != 2 && size != 3)
		return;
	event_raise(book->extra);
	while (sttcp_conn_try_send(conn, "x", 1) >= 0)
		nap_ms(1);
	if (*(const char *)data == 'b')
		ignore(sttcp_conn_recv(conn, &byte, 1, 0));
	if (*(const char *)data == 'm')
		ignore(sttcp_conn_recv_message(conn, &byte, 1, 0));
}

/* What a reset has cut off is no last message. */
static void rest_before_a_reset_is_dropped(void **state)
{
	const sttcp_options *const ways[] = {
		&rest_lines, STTCP_OPTIONS(.framing = STTCP_FRAMING_LENGTH, .prefix_size = 1)};
	const char *const says[][3] = {{"go\nhalf", "by\n", "ms\nhalf"},
				       {"\2go\5half", "\2by", "\2ms\5half"}};

	(void)state;
	for (int way = 0; way < 2; way++) {
		for (int i = 0; i < 3; i++) {
			struct event inside = EVENT_INIT;
			struct talk talk = {.book = book_new()};
			char expected[8] = "<";

			talk.book->script = send_until_reset;
			talk.book->extra = &inside;
			talk_open(&talk, ways[way]);
			assert_true(peer_say(talk.peer, says[way][i]));
			assert_true(event_wait(&inside, 1));
			peer_reset(talk.peer);
			talk.peer = -1;
			strncat(expected, says[way][i] + way, 2);
			strcat(expected, ">");
			talk_ends(&talk, expected, -ECONNRESET);
		}
	}
}

static void pause_again(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	(void)book;
	(void)data;
	(void)size;
	sttcp_conn_pause(conn);
}

/* One by one, although all of them and the FIN are there. */
static void paused_messages_and_the_end_wait_for_resume(void **state)
{
	struct talk talk = {.book = book_new()};

	(void)state;
	talk.book->opened = pause_at_first;
	talk.book->script = pause_again;
	talk_open(&talk, &rest_lines);
	assert_true(peer_say(talk.peer, "a\nb\nrest"));
	peer_shutdown(talk.peer);
	for (int i = 1; i <= 3; i++) {
		assert_int_equal(event_count(&talk.book->changed), i - 1);
		assert_int_equal(sttcp_conn_resume(talk.book->conn), 0);
		assert_true(event_wait(&talk.book->changed, i));
	}
	assert_int_equal(event_count(&talk.book->ended), 0);
	sttcp_conn_resume(talk.book->conn); /* it may have ended before this returns */
	talk_ends(&talk, "<a><b><rest>", 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rest_before_a_reset_is_dropped),
		cmocka_unit_test(rest_at_the_end_of_a_turn_is_delivered),
		cmocka_unit_test(paused_messages_and_the_end_wait_for_resume),
		cmocka_unit_test(many_messages_arrive_in_order_and_let_others_in),
	};

	/* One loop: connections can only be fair to each other where they share one. */
	if (sttcp_engine_configure(1, 0, 0) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
