/* SPDX-License-Identifier: MIT */
/* The size of the next message, told inside a handler before it is read. */
#include "support/reading.h"

static const sttcp_options raw = FRAMED(.framing = STTCP_FRAMING_RAW);
static const sttcp_options lines = FRAMED(.framing = STTCP_FRAMING_LINE, .max_message = 9);
static const sttcp_options rest_lines = FRAMED(.framing = STTCP_FRAMING_LINE, .rest_at_end = true);
static const sttcp_options commas =
	FRAMED(.framing = STTCP_FRAMING_DELIMITER, .delimiter = ", ", .delimiter_size = 2);
static const sttcp_options lengths =
	FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_size = 2, .max_message = 9);
static const sttcp_options typed =
	FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_size = 1, .prefix_offset = 2);
static const sttcp_options fixed = FRAMED(.framing = STTCP_FRAMING_FIXED, .fixed_size = 2);

static atomic_int asked;

/* A digit, and as many bytes; twice as many are delivered as one that is skipped. */
static int frame_digit(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
		       void *context)
{
	unsigned char digit = *(const unsigned char *)data;

	(void)conn;
	(void)size;
	(void)context;
	asked++;
	if (digit < '0' || digit > '9')
		return -1;
	frame->skip = 1;
	frame->size = (size_t)(digit - '0');
	frame->total = frame->size + 1;
	return 1;
}

static const sttcp_options digits =
	FRAMED(.framing = STTCP_FRAMING_CUSTOM, .frame_fn = frame_digit);

/* Into a room of this size. */
static void take_up_to(sttcp_conn *conn, int at, size_t room, int timeout_ms)
{
	results[at] = sttcp_conn_recv_message(conn, texts[at], room, timeout_ms);
}

/* ------------------------------------------------------------------- what it tells */

static size_t ntaken;

/* Each message in a room of its size, which was told twice. */
static void take_all(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	ssize_t next;

	(void)book;
	(void)data;
	(void)size;
	while ((next = sttcp_conn_next_size(conn, DEADLINE_MS)) >= 0 && ntaken < 16) {
		if (sttcp_conn_next_size(conn, 0) != next ||
		    sttcp_conn_recv_message(conn, texts[ntaken], (size_t)next, 0) != next)
			break;
		results[ntaken++] = next;
	}
	results[15] = next;
}

static void open_to_take_all(struct talk *talk, const sttcp_options *options)
{
	asked = 0;
	ntaken = 0;
	open_with(talk, options, take_all);
}

/* In every framing, however it arrives. */
static void size_is_that_of_the_message(void **state)
{
	static const struct {
		const sttcp_options *options;
		const char *wire;
		size_t size;
		size_t first; /* bytes of the message that the handler is called for */
		const char *texts[4];
	} cases[] = {
		{&lines, WIRE("go\nab\r\n\nc\n"), 3, {"ab", "", "c"}},
		{&rest_lines, WIRE("go\nab\n\ncd\r"), 3, {"ab", "", "cd\r"}},
		{&commas, WIRE("go, a,, , , c, "), 4, {"a,", "", "", "c"}},
		{&lengths, WIRE("\0\2go\0\3abc\0\0\0\1d"), 4, {"abc", "", "d"}},
		{&typed, WIRE("go\0ab\2cdxy\0"), 3, {"abcd", "xy"}},
		{&fixed, WIRE("goabcd"), 2, {"ab", "cd"}},
		{&digits, WIRE("2go3abc01d"), 3, {"abc", "", "d"}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (size_t cut = cases[i].first; cut < cases[i].size; cut++) {
			struct talk talk = {0};
			size_t count = 0;

			open_to_take_all(&talk, cases[i].options);
			say_and_wait(&talk, cases[i].wire, cut);
			assert_true(peer_send(talk.peer, cases[i].wire + cut, cases[i].size - cut));
			talk_ends(&talk, "<go>", 0);
			while (count < 4 && cases[i].texts[count]) {
				assert_int_equal(results[count], strlen(cases[i].texts[count]));
				assert_string_equal(texts[count], cases[i].texts[count]);
				count++;
			}
			assert_int_equal(ntaken, count);
			assert_int_equal(results[15], -ENODATA);
		}
	}
}

static void look_only(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	char text[4] = "";

	(void)book;
	if (size != 2 || memcmp(data, "go", 2))
		return;
	results[0] = sttcp_conn_next_size(conn, DEADLINE_MS);
	take_up_to(conn, 1, 2, 0);
	results[2] = sttcp_conn_next_size(conn, 0);
	/* The bytes of the message may be read as such. */
	results[3] = sttcp_conn_recv_exactly(conn, text, 1, 0);
	results[4] = sttcp_conn_next_size(conn, 0);
}

/* What is not taken goes to the handler, whole. */
static void message_that_was_told_stays(void **state)
{
	struct talk talk = {0};

	(void)state;
	open_with(&talk, &lines, look_only);
	assert_true(peer_say(talk.peer, "go\nlong\nb\n"));
	talk_ends(&talk, "<go><ong><b>", 0);
	assert_int_equal(results[0], 4);
	assert_int_equal(results[1], -EMSGSIZE);
	assert_int_equal(results[2], 4);
	assert_int_equal(results[3], 1);
	assert_int_equal(results[4], 3);
}

/* A frame_fn is not asked again for a message whose end it has told. */
static void size_is_found_once(void **state)
{
	struct talk talk = {0};

	(void)state;
	open_to_take_all(&talk, &digits);
	assert_true(peer_say(talk.peer, "2go3abc1d"));
	talk_ends(&talk, "<go>", 0);
	assert_int_equal(ntaken, 2);
	assert_int_equal(asked, 3);
}

/* ------------------------------------------------------------------- raw bytes */

static void look_at_bytes(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	(void)book;
	if (size != 2 || memcmp(data, "go", 2))
		return;
	results[0] = sttcp_conn_next_size(conn, 0);
	event_raise(&inside);
	results[1] = sttcp_conn_next_size(conn, DEADLINE_MS);
	results[2] = sttcp_conn_next_size(conn, 0);
	take_up_to(conn, 3, 2, 0);
	results[4] = sttcp_conn_next_size(conn, 0);
	take_up_to(conn, 5, 63, 0);
	results[6] = sttcp_conn_next_size(conn, 0);
}

/* How many are there, and none of them is lost when nobody takes them. */
static void size_of_raw_bytes_is_how_many_are_there(void **state)
{
	struct talk talk = {0};

	(void)state;
	open_with(&talk, &raw, look_at_bytes);
	assert_true(peer_say(talk.peer, "go"));
	assert_true(event_wait(&inside, 1));
	assert_true(peer_say(talk.peer, "abcde"));
	talk_ends(&talk, "<go>", 0);
	assert_int_equal(results[0], -ETIMEDOUT);
	assert_int_equal(results[1], 5);
	assert_int_equal(results[2], 5);
	assert_string_equal(texts[3], "ab");
	assert_int_equal(results[4], 3);
	assert_string_equal(texts[5], "cde");
	assert_true(results[6] == -ETIMEDOUT || results[6] == -ENODATA);
}

static void look_and_leave(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	(void)book;
	if (size != 2 || memcmp(data, "go", 2))
		return;
	event_raise(&inside);
	results[0] = sttcp_conn_next_size(conn, DEADLINE_MS);
}

static void raw_bytes_that_were_told_go_to_the_handler(void **state)
{
	struct talk talk = {0};

	(void)state;
	open_with(&talk, &raw, look_and_leave);
	assert_true(peer_say(talk.peer, "go"));
	assert_true(event_wait(&inside, 1));
	assert_true(peer_say(talk.peer, "abcde"));
	assert_true(event_wait(&talk.book->changed, 2));
	assert_int_equal(results[0], 5);
	assert_true(peer_say(talk.peer, "f"));
	talk_ends(&talk, "<go><abcde><f>", 0);
}

/* ------------------------------------------------------------------- waiting */

static void look_at_half(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	(void)book;
	if (size != 2 || memcmp(data, "go", 2))
		return;
	results[0] = sttcp_conn_next_size(conn, 0);
	results[1] = sttcp_conn_next_size(conn, 20);
	event_raise(&inside);
	results[2] = sttcp_conn_next_size(conn, DEADLINE_MS);
	results[3] = sttcp_conn_next_size(conn, -2);
	ignore(sttcp_conn_set_framing(conn, &commas));
	results[4] = sttcp_conn_next_size(conn, -1);
}

/* The whole message is waited for; another framing finds another one. */
static void size_is_told_when_the_message_is_whole(void **state)
{
	struct talk talk = {0};

	(void)state;
	open_with(&talk, &lines, look_at_half);
	say_and_wait(&talk, "go\nabc", 6);
	assert_true(event_wait(&inside, 1));
	assert_true(peer_say(talk.peer, "de\nf, "));
	talk_ends(&talk, "<go><abcde\nf>", 0);
	assert_int_equal(results[0], -ETIMEDOUT);
	assert_int_equal(results[1], -ETIMEDOUT);
	assert_int_equal(results[2], 5);
	assert_int_equal(results[3], -EINVAL);
	assert_int_equal(results[4], 7);
}

static void look_for_good(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	(void)book;
	(void)data;
	(void)size;
	event_raise(&inside);
	results[0] = sttcp_conn_next_size(conn, -1);
	results[1] = sttcp_conn_next_size(conn, 0);
}

/* G16 */
static void forced_stop_wakes_who_waits(void **state)
{
	struct talk talk = {0};

	(void)state;
	open_with(&talk, &lines, look_for_good);
	assert_true(peer_say(talk.peer, "go\nab"));
	assert_true(event_wait(&inside, 1));
	assert_int_equal(sttcp_server_stop_within(talk.server, 0, NULL), 0);
	assert_true(event_wait(&talk.book->ended, 1));
	assert_int_equal(results[0], STTCP_ESTOPPED);
	assert_int_equal(results[1], STTCP_ESTOPPED);
	talk_close(&talk);
}

static void size_cannot_be_asked_outside_handlers(void **state)
{
	struct talk talk = {0};

	(void)state;
	talk_open(&talk, &lines);
	assert_int_equal(sttcp_conn_next_size(talk.book->conn, 0), -EDEADLK);
	assert_int_equal(sttcp_conn_next_size(talk.book->conn, -2), -EINVAL);
	assert_int_equal(sttcp_conn_next_size(NULL, 0), -EINVAL);
	talk_close(&talk);
}

/* ------------------------------------------------------------------- malformed messages */

static atomic_int refused;

static void on_malformed(sttcp_conn *conn, int code, void *context)
{
	(void)context;
	refused = code;
	sttcp_conn_send(conn, "what?", 5);
	if (sttcp_conn_next_size(conn, 0) != -EDEADLK)
		refused = 1;
}

static void on_receive(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	look_for_good(context, conn, data, size);
	event_raise(&inside);
}

/* They end the connection here, too, and their handler runs before. */
static void malformed_message_ends_the_connection(void **state)
{
	static const struct {
		const sttcp_options *options;
		const char *wire;
		size_t size;
		int code;
	} cases[] = {
		{&lines, WIRE("go\n1234567890\n"), STTCP_ELIMIT},
		{&lines, WIRE("go\n1234567890"), STTCP_ELIMIT},
		{&lengths, WIRE("\0\2go\1\0"), STTCP_ELIMIT},
		{&digits, WIRE("2gox"), STTCP_EFRAME},
		{&lines, WIRE("go\ncut"), STTCP_EFRAME},
		{&lengths, WIRE("\0\2go\0\4cut"), STTCP_EFRAME},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		sttcp_server *server = sttcp_server_new("127.0.0.1", 0, cases[i].options);

		begin_anew();
		refused = 0;
		assert_non_null(server);
		assert_int_equal(sttcp_server_on_receive(server, on_receive), 0);
		assert_int_equal(sttcp_server_on_malformed(server, on_malformed), 0);
		assert_int_equal(sttcp_server_start(server), 0);

		int peer = peer_connect(sttcp_server_port(server));

		assert_true(peer_send(peer, cases[i].wire, cases[i].size));
		peer_shutdown(peer);
		assert_true(peer_expect(peer, "what?"));
		assert_int_equal(peer_end(peer), 0);
		assert_true(event_wait(&inside, 2));
		assert_int_equal(results[0], cases[i].code);
		assert_int_equal(results[1], cases[i].code);
		assert_int_equal(refused, cases[i].code);
		peer_close(peer);
		sttcp_server_free(server);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(size_is_that_of_the_message),
		cmocka_unit_test(message_that_was_told_stays),
		cmocka_unit_test(size_is_found_once),
		cmocka_unit_test(size_of_raw_bytes_is_how_many_are_there),
		cmocka_unit_test(raw_bytes_that_were_told_go_to_the_handler),
		cmocka_unit_test(size_is_told_when_the_message_is_whole),
		cmocka_unit_test(forced_stop_wakes_who_waits),
		cmocka_unit_test(size_cannot_be_asked_outside_handlers),
		cmocka_unit_test(malformed_message_ends_the_connection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
