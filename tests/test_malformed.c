/* SPDX-License-Identifier: MIT */
/* The last word on a message that cannot be taken: when the malformed handler runs, what it may do,
 * and what it may not. */
#include "support/book.h"

static const sttcp_options lines = FRAMED(.framing = STTCP_FRAMING_LINE, .max_message = 8);
static const sttcp_options commas = FRAMED(.framing = STTCP_FRAMING_DELIMITER, .delimiter = ", ",
					   .delimiter_size = 2, .max_message = 8);
static const sttcp_options lengths =
	FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_size = 2, .max_message = 8);
static const sttcp_options itself =
	FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_size = 2, .prefix_includes_itself = true);
static const sttcp_options typed = FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_size = 1,
					  .prefix_offset = 2, .prefix_adjust = -2);
static const sttcp_options shorter =
	FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_size = 8, .prefix_adjust = INT32_MIN,
	       .prefix_includes_itself = true);
static const sttcp_options varints =
	FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_varint = true, .max_message = 8);
static const sttcp_options fixed = FRAMED(.framing = STTCP_FRAMING_FIXED, .fixed_size = 4);

/* A digit, and as many bytes. */
static int frame_digit(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
		       void *context)
{
	unsigned char digit = *(const unsigned char *)data;

	(void)conn;
	(void)size;
	(void)context;
	if (digit < '0' || digit > '9')
		return -1;
	frame->size = frame->total = 1 + (size_t)(digit - '0');
	return 1;
}

/* "<skip><size><total>" and as many bytes in all; nothing is known of it before these three. */
static int frame_words(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
		       void *context)
{
	const unsigned char *digits = data;

	(void)conn;
	(void)context;
	frame->total = 3;
	if (size < 3)
		return 0;
	frame->skip = (size_t)(digits[0] - '0');
	frame->size = (size_t)(digits[1] - '0');
	frame->total = (size_t)(digits[2] - '0');
	return 1;
}

static const sttcp_options digits =
	FRAMED(.framing = STTCP_FRAMING_CUSTOM, .frame_fn = frame_digit, .max_message = 8);

static const sttcp_options words =
	FRAMED(.framing = STTCP_FRAMING_CUSTOM, .frame_fn = frame_words, .max_message = 8);

static const struct refused {
	const sttcp_options *options;
	const char *bytes;
	size_t size;
	int code;
	const char *text; /* of the connection */
} all_refused[] = {
	/* The FIN has cut it. */
	{&lines, WIRE("a\nrest"), STTCP_EFRAME, "the peer's FIN came after 4 bytes of a message"},
	{&commas, WIRE("a, rest,"), STTCP_EFRAME, "the peer's FIN came after 5 bytes of a message"},
	{&lengths, WIRE("\0\1a\0"), STTCP_EFRAME, "the peer's FIN came after 1 byte of a message"},
	{&lengths, WIRE("\0\1a\0\2b"), STTCP_EFRAME,
	 "the peer's FIN came after 3 of the 4 bytes of a message"},
	{&fixed, WIRE("abcdefg"), STTCP_EFRAME,
	 "the peer's FIN came after 3 of the 4 bytes of a message"},
	{&digits, WIRE("1a2b"), STTCP_EFRAME,
	 "the peer's FIN came after 2 of the 3 bytes of a message"},
	/* Malformed. */
	{&varints, WIRE("\1a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), STTCP_EFRAME,
	 "a length that is no varint of 64 bits"},
	{&itself, WIRE("\0\3a\0\1b"), STTCP_EFRAME,
	 "a length of 1, which is below its own prefix of 2 bytes"},
	{&typed, WIRE("ab\3cde\1"), STTCP_EFRAME,
	 "a length of 1, which is below 0 with prefix_adjust -2"},
	{&shorter, WIRE("\0\0\0\0\x80\0\0\x9y\0\0\0\0\x80\0\0\7"), STTCP_EFRAME,
	 "a length of 2147483655, which is below 0 with prefix_adjust -2147483648 and without "
	 "itself"},
	{&digits, WIRE("1ax"), STTCP_EFRAME, "frame_fn calls a message malformed"},
	{&words, WIRE("303300"), STTCP_EFRAME, "frame_fn has found a message with a total of 0"},
	{&words, WIRE("303243"), STTCP_EFRAME,
	 "frame_fn has found 4 bytes from 2 on in a message with a total of 3"},
	{&words, WIRE("303099"), STTCP_ELIMIT, "a message of 9 bytes, max_message is 8"},
	{&words, WIRE("303709"), STTCP_ELIMIT, "a message of 9 bytes, max_message is 8"},
	{&words, WIRE("303508a"), STTCP_EFRAME,
	 "the peer's FIN came after 4 of the 8 bytes of a message"},
	{&words, WIRE("30350"), STTCP_EFRAME, "the peer's FIN came after 2 bytes of a message"},
	/* Over the limit. */
	{&lines, WIRE("a\n123456789\n"), STTCP_ELIMIT, "a message of 9 bytes, max_message is 8"},
	{&lines, WIRE("a\n123456789"), STTCP_ELIMIT,
	 "a message of more than 8 bytes, max_message is 8"},
	{&commas, WIRE("a, 123456789, "), STTCP_ELIMIT, "a message of 9 bytes, max_message is 8"},
	{&commas, WIRE("a, 123456789"), STTCP_ELIMIT,
	 "a message of more than 8 bytes, max_message is 8"},
	{&lengths, WIRE("\0\1a\x12\x34"), STTCP_ELIMIT,
	 "a message of 4660 bytes, max_message is 8"},
	{&varints, WIRE("\1a\xff\xff\xff\xff\x7f"), STTCP_ELIMIT,
	 SIZE_MAX > UINT32_MAX ? "a message of 34359738367 bytes, max_message is 8"
			       : "a message of more than 8 bytes, max_message is 8"},
	{&digits, WIRE("1a8"), STTCP_ELIMIT, "a message of 9 bytes, max_message is 8"},
};

enum {
	NREFUSED = sizeof(all_refused) / sizeof(all_refused[0])
};

/* What the malformed handler does, and what it found. */
static struct {
	void (*act)(sttcp_conn *conn, int code);
	atomic_int calls;
	atomic_int code;
	atomic_int results[4];
	atomic_ullong thread;
	struct event inside;
	struct event go;
} word;

static void on_malformed(sttcp_conn *conn, int code, void *context)
{
	(void)context;
	atomic_fetch_add(&word.calls, 1);
	atomic_store(&word.code, code);
	atomic_store(&word.thread, (unsigned long long)pthread_self());
	if (word.act)
		word.act(conn, code);
	event_raise(&word.inside);
}

static void begin(void (*act)(sttcp_conn *conn, int code))
{
	struct event fresh = EVENT_INIT;

	word.act = act;
	atomic_store(&word.calls, 0);
	atomic_store(&word.code, 0);
	word.inside = fresh;
	word.go = fresh;
}

/* A server with this handler: one that has run once, since handlers are set while it is stopped. */
static void open_with(struct talk *talk, const sttcp_options *options)
{
	if (!talk->book)
		talk->book = book_new();
	talk->server = book_listen(talk->book, options);
	assert_int_equal(sttcp_server_on_malformed(talk->server, on_malformed), -EBUSY);
	assert_int_equal(sttcp_server_stop(talk->server), 0);
	assert_int_equal(sttcp_server_on_malformed(talk->server, on_malformed), 0);
	assert_int_equal(sttcp_server_start(talk->server), 0);
	talk->peer = book_join(talk->server);
}

static void say_sorry(sttcp_conn *conn, int code)
{
	atomic_store(&word.results[0], sttcp_conn_sendf(conn, "sorry %s", sttcp_error_name(code)));
}

/* --------------------------------------------------------------------- when */

static void refused_messages_have_a_last_word(void **state)
{
	(void)state;
	for (int i = 0; i < NREFUSED; i++) {
		const struct refused *refused = &all_refused[i];
		struct talk talk = {0};
		char answer[64];

		begin(say_sorry);
		open_with(&talk, refused->options);
		assert_true(peer_send(talk.peer, refused->bytes, refused->size));
		if (refused->text[0] == 't')
			peer_shutdown(talk.peer);
		snprintf(answer, sizeof(answer), "sorry %s", sttcp_error_name(refused->code));
		assert_true(peer_expect(talk.peer, answer));
		assert_int_equal(peer_end(talk.peer), 0);
		assert_true(event_wait(&talk.book->ended, 1));
		assert_int_equal(atomic_load(&word.calls), 1);
		assert_int_equal(atomic_load(&word.code), refused->code);
		assert_int_equal(talk.book->reason, refused->code);
		assert_string_equal(sttcp_conn_fail_text(talk.book->conn), refused->text);
		talk_close(&talk);
	}
}

static void good_messages_have_none(void **state)
{
	struct talk talk = {0};

	(void)state;
	begin(say_sorry);
	open_with(&talk, &lines);
	assert_true(peer_say(talk.peer, "12345678\r\n\n"));
	talk_ends(&talk, "<12345678><>", 0);
	assert_int_equal(atomic_load(&word.calls), 0);
}

/* All that came behind it is dropped, and it is the only one. */
static void messages_behind_a_refused_one_are_dropped(void **state)
{
	struct talk talk = {0};

	(void)state;
	begin(say_sorry);
	open_with(&talk, &lines);
	assert_true(peer_say(talk.peer, "a\n123456789\nb\n123456789\nrest"));
	assert_true(peer_expect(talk.peer, "sorry STTCP_ELIMIT"));
	talk_ends(&talk, "<a>", STTCP_ELIMIT);
	assert_int_equal(atomic_load(&word.calls), 1);
}

static bool universal(sttcp_event event, sttcp_conn *conn, const void *data, size_t size,
		      void *context)
{
	(void)conn;
	(void)data;
	(void)size;
	if (event < STTCP_CONNECTION || event > STTCP_UNCONNECTED)
		((struct book *)context)->asked = -1;
	((struct book *)context)->asked++;
	return true;
}

static void universal_handler_does_not_see_it(void **state)
{
	struct talk talk = {0};

	(void)state;
	for (int way = 0; way < 2; way++) {
		struct book *book = talk.book = book_new();

		begin(say_sorry);
		talk.server = book_listen(book, &lines);
		sttcp_server_stop(talk.server);
		assert_int_equal(sttcp_server_on_universal(talk.server, universal), 0);
		assert_int_equal(sttcp_server_on_malformed(talk.server, way ? on_malformed : NULL),
				 0);
		assert_int_equal(sttcp_server_start(talk.server), 0);
		talk.peer = book_join(talk.server);
		assert_true(peer_say(talk.peer, "123456789\n"));
		assert_int_equal(peer_end(talk.peer), 0);
		assert_true(event_wait(&book->ended, 1));
		assert_int_equal(atomic_load(&word.calls), way);
		assert_int_equal(book->asked, 2); /* connection, disconnection */
		talk_ends(&talk, "", STTCP_ELIMIT);
	}
}

static bool on_response(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)conn;
	(void)data;
	(void)size;
	(void)context;
	return true;
}

static void clients_have_the_same(void **state)
{
	int port;
	int listener = peer_listen(&port, 1);
	sttcp_client *client = sttcp_client_new("127.0.0.1", port, &lines);

	(void)state;
	begin(say_sorry);
	assert_int_equal(sttcp_client_on_response(client, on_response), 0);
	assert_int_equal(sttcp_client_on_malformed(client, on_malformed), 0);
	assert_int_equal(sttcp_client_start(client), 0);
	int peer = peer_accept(listener);
	assert_true(peer_say(peer, "half"));
	peer_shutdown(peer);
	assert_true(peer_expect(peer, "sorry STTCP_EFRAME"));
	assert_int_equal(peer_end(peer), 0);
	assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), STTCP_EFRAME);
	assert_int_equal(atomic_load(&word.calls), 1);
	sttcp_client_free(client);
	peer_close(peer);
	close(listener);
	assert_int_equal(sttcp_client_on_malformed(NULL, on_malformed), -EINVAL);
	assert_int_equal(sttcp_server_on_malformed(NULL, on_malformed), -EINVAL);
}

/* ------------------------------------------------------------- what it may do */

static void fail_with_text(sttcp_conn *conn, int code)
{
	(void)code;
	sttcp_conn_send(conn, "400", 3);
	sttcp_conn_fail(conn, -EPROTO, "not %s", "understood");
}

static void close_and_fail(sttcp_conn *conn, int code)
{
	sttcp_conn_close(conn);
	fail_with_text(conn, code);
}

static void close_it(sttcp_conn *conn, int code)
{
	(void)code;
	sttcp_conn_send(conn, "400", 3);
	sttcp_conn_close(conn);
}

static void abort_it(sttcp_conn *conn, int code)
{
	(void)code;
	sttcp_conn_abort(conn);
}

static void read_message(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	char buffer[8];

	if (size == 5 && memcmp(data, "other", 5) == 0)
		return;
	book->extra = (void *)(intptr_t)sttcp_conn_recv_message(conn, buffer, sizeof(buffer), -1);
	book->asked = (long)sttcp_conn_recv_message(conn, buffer, sizeof(buffer), -1);
}

/* The first end counts, as ever; in a handler that reads, too. */
static void end_in_it_counts(void **state)
{
	const struct {
		void (*act)(sttcp_conn *conn, int code);
		const char *answer;
		int reason;
		const char *text;
	} cases[] = {
		{fail_with_text, "400", -EPROTO, "not understood"},
		{close_and_fail, "", -EPROTO, "not understood"},
		{close_it, "400", STTCP_ECLOSED, ""},
		{abort_it, "", STTCP_ECLOSED, ""},
	};

	(void)state;
	for (int i = 0; i < 8; i++) {
		struct talk talk = {.book = book_new()};

		begin(cases[i / 2].act);
		talk.book->script = i % 2 ? read_message : NULL;
		open_with(&talk, &lines);
		assert_true(peer_say(talk.peer, "go\n123456789\n"));
		if (cases[i / 2].answer[0])
			assert_true(peer_expect(talk.peer, cases[i / 2].answer));
		assert_int_equal(peer_end(talk.peer),
				 cases[i / 2].act == abort_it ? -ECONNRESET : 0);
		assert_true(event_wait(&talk.book->ended, 1));
		if (i % 2) {
			assert_int_equal((intptr_t)talk.book->extra, cases[i / 2].reason);
			assert_int_equal(talk.book->asked, cases[i / 2].reason);
		}
		assert_string_equal(sttcp_conn_fail_text(talk.book->conn), cases[i / 2].text);
		assert_int_equal(atomic_load(&word.calls), 1);
		talk_ends(&talk, "<go>", cases[i / 2].reason);
	}
}

static void read_in_it(sttcp_conn *conn, int code)
{
	char buffer[8];

	(void)code;
	atomic_store(&word.results[0], (int)sttcp_conn_recv(conn, buffer, sizeof(buffer), -1));
	atomic_store(&word.results[1],
		     (int)sttcp_conn_recv_message(conn, buffer, sizeof(buffer), -1));
	atomic_store(&word.results[2], sttcp_conn_reason(conn));
	atomic_store(&word.results[3], sttcp_conn_is_open(conn));
}

static atomic_ullong reader;

static void read_and_tell(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	atomic_store(&reader, (unsigned long long)pthread_self());
	read_message(book, conn, data, size);
}

static void reading_in_it_is_refused(void **state)
{
	(void)state;
	for (int inside = 0; inside < 2; inside++) {
		struct talk talk = {.book = book_new()};

		begin(read_in_it);
		talk.book->script = inside ? read_and_tell : NULL;
		open_with(&talk, &lines);
		assert_true(peer_say(talk.peer, "go\n123456789\nmore\n"));
		assert_true(event_wait(&talk.book->ended, 1));
		assert_int_equal(atomic_load(&word.results[0]), -EDEADLK);
		assert_int_equal(atomic_load(&word.results[1]), -EDEADLK);
		assert_int_equal(atomic_load(&word.results[2]), 0);
		assert_true(atomic_load(&word.results[3]));
		if (inside) {
			assert_true(atomic_load(&word.thread) == atomic_load(&reader));
			assert_int_equal((intptr_t)talk.book->extra, STTCP_ELIMIT);
			assert_int_equal(talk.book->asked, STTCP_ELIMIT);
		}
		assert_int_equal(atomic_load(&word.calls), 1);
		talk_ends(&talk, "<go>", STTCP_ELIMIT);
	}
}

/* The whole table once more, where a handler waits for the message. */
static void handler_that_reads_runs_it_inside(void **state)
{
	(void)state;
	for (int i = 0; i < NREFUSED; i++) {
		const struct refused *refused = &all_refused[i];
		struct talk talk = {.book = book_new()};
		char answer[64];

		begin(say_sorry);
		talk.book->script = read_message;
		open_with(&talk, refused->options);
		assert_true(peer_send(talk.peer, refused->bytes, refused->size));
		if (refused->text[0] == 't')
			peer_shutdown(talk.peer);
		snprintf(answer, sizeof(answer), "sorry %s", sttcp_error_name(refused->code));
		assert_true(peer_expect(talk.peer, answer));
		assert_int_equal(peer_end(talk.peer), 0);
		assert_true(event_wait(&talk.book->ended, 1));
		assert_int_equal((intptr_t)talk.book->extra, refused->code);
		assert_int_equal(talk.book->asked, refused->code);
		assert_int_equal(atomic_load(&word.calls), 1);
		assert_string_equal(sttcp_conn_fail_text(talk.book->conn), refused->text);
		talk_close(&talk);
	}
}

static void wait_to_go(sttcp_conn *conn, int code)
{
	event_raise(&word.inside);
	if (event_wait(&word.go, 1))
		say_sorry(conn, code);
}

/* G8: on the only loop, and others go on. */
static void it_may_block(void **state)
{
	(void)state;
	for (int inside = 0; inside < 2; inside++) {
		struct talk talk = {.book = book_new()};

		begin(wait_to_go);
		talk.book->script = inside ? read_message : NULL;
		open_with(&talk, &lines);
		assert_true(peer_say(talk.peer, "go\n123456789\n"));
		assert_true(event_wait(&word.inside, 1));
		int other = book_join(talk.server);
		assert_true(peer_say(other, "other\n"));
		EVENTUALLY(strstr(book_text(talk.book), "<other>"));
		assert_int_equal(event_count(&talk.book->ended), 0);
		event_raise(&word.go);
		assert_true(peer_expect(talk.peer, "sorry STTCP_ELIMIT"));
		assert_int_equal(peer_end(talk.peer), 0);
		peer_close(other);
		assert_true(event_wait(&talk.book->ended, 2));
		talk_close(&talk);
	}
}

static void *upload(void *argument)
{
	static const char zeroes[64 * 1024];
	int peer = *(int *)argument;

	/* As a client does that looks for the answer only when all of its request is out. */
	for (int i = 0; i < 128; i++)
		if (!peer_send(peer, zeroes, sizeof(zeroes)))
			return NULL;
	return argument;
}

/* The 413 to an upload that is far too large: 8 MiB are still to come when it is sent. */
static void answer_reaches_a_peer_that_is_still_sending(void **state)
{
	sttcp_options patient = lines;

	patient.linger_timeout_ms = DEADLINE_MS;
	(void)state;
	for (int inside = 0; inside < 2; inside++) {
		struct talk talk = {.book = book_new()};
		pthread_t thread;
		void *sent;

		begin(say_sorry);
		talk.book->script = inside ? read_message : NULL;
		open_with(&talk, &patient);
		assert_true(peer_say(talk.peer, "go\n"));
		assert_int_equal(pthread_create(&thread, NULL, upload, &talk.peer), 0);
		assert_int_equal(pthread_join(thread, &sent), 0);
		assert_non_null(sent);
		assert_true(peer_expect(talk.peer, "sorry STTCP_ELIMIT"));
		assert_int_equal(peer_end(talk.peer), 0);
		talk_ends(&talk, "<go>", STTCP_ELIMIT);
	}
}

/* ------------------------------------------------------------------ in between */

static int frame_and_close(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
			   void *context)
{
	(void)data;
	(void)size;
	(void)frame;
	(void)context;
	sttcp_conn_close(conn);
	return -1;
}

/* What has ended already is not ended by a message. */
static void ended_connections_have_no_last_word(void **state)
{
	struct talk talk = {0};

	(void)state;
	begin(say_sorry);
	open_with(&talk,
		  STTCP_OPTIONS(.framing = STTCP_FRAMING_CUSTOM, .frame_fn = frame_and_close));
	assert_true(peer_say(talk.peer, "x"));
	assert_true(event_wait(&talk.book->ended, 1));
	assert_int_equal(atomic_load(&word.calls), 0);
	talk_ends(&talk, "", STTCP_ECLOSED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refused_messages_have_a_last_word),
		cmocka_unit_test(good_messages_have_none),
		cmocka_unit_test(messages_behind_a_refused_one_are_dropped),
		cmocka_unit_test(universal_handler_does_not_see_it),
		cmocka_unit_test(clients_have_the_same),
		cmocka_unit_test(end_in_it_counts),
		cmocka_unit_test(reading_in_it_is_refused),
		cmocka_unit_test(handler_that_reads_runs_it_inside),
		cmocka_unit_test(it_may_block),
		cmocka_unit_test(answer_reaches_a_peer_that_is_still_sending),
		cmocka_unit_test(ended_connections_have_no_last_word),
	};

	/* One loop: who blocks it blocks all. */
	if (sttcp_engine_configure(1, 0, 0) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
