/* SPDX-License-Identifier: MIT */
/* Messages through real sockets: cut out, delivered once and whole, and limited, however the peer
 * cuts its sends. What a framing finds in given bytes is test_framing.c's. */
#include "support/book.h"

enum {
	MIB = 1024 * 1024
};

/* ------------------------------------------------------------- cut and whole */

/* A digit, and as many bytes; with the object's context. */
static int frame_digit(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
		       void *context)
{
	unsigned char digit = *(const unsigned char *)data;

	(void)conn;
	((struct book *)context)->asked++;
	if (!size || digit < '0' || digit > '9')
		return -1;
	frame->size = frame->total = 1 + (size_t)(digit - '0');
	return 1;
}

static void go_on_with_lengths(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	int result = 0;

	if (size == 2 && memcmp(data, "go", 2) == 0)
		result = sttcp_conn_set_framing(
			conn, STTCP_OPTIONS(.framing = STTCP_FRAMING_LENGTH, .prefix_size = 2));
	if (size == 2 && memcmp(data, "ln", 2) == 0)
		result = sttcp_conn_set_framing(conn, STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE));
	if (result < 0)
		book->reason = result;
}

static bool begin_with_lines(struct book *book, sttcp_conn *conn)
{
	(void)book;
	return sttcp_conn_set_framing(conn, STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE)) == 0;
}

static const struct wire {
	sttcp_options options;
	const char *bytes;
	size_t size;
	const char *text;
	bool (*opened)(struct book *book, sttcp_conn *conn);
	void (*script)(struct book *book, sttcp_conn *conn, const void *data, size_t size);
} wires[] = {
	{FRAMED(.framing = STTCP_FRAMING_LINE), WIRE("one\ntwo\r\n\n\r\nthr\ree\n"),
	 "<one><two><><><thr\ree>", NULL, NULL},
	{FRAMED(.framing = STTCP_FRAMING_DELIMITER, .delimiter = "aab", .delimiter_size = 3),
	 WIRE("xaaabaabyaab"), "<xa><><y>", NULL, NULL},
	{FRAMED(.framing = STTCP_FRAMING_LENGTH), WIRE("\0\0\0\3abc\0\0\0\0\0\0\0\1d"),
	 "<abc><><d>", NULL, NULL},
	{FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_size = 1), WIRE("\3abc\0\1d"),
	 "<abc><><d>", NULL, NULL},
	{FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_size = 2, .prefix_little_endian = true),
	 WIRE("\3\0abc\0\0\1\0d"), "<abc><><d>", NULL, NULL},
	{FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_size = 8, .prefix_includes_itself = true),
	 WIRE("\0\0\0\0\0\0\0\x0b"
	      "abc\0\0\0\0\0\0\0\x8"),
	 "<abc><>", NULL, NULL},
	{FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_varint = true), WIRE("\3abc\0\x81\0d"),
	 "<abc><><d>", NULL, NULL},
	{FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_size = 3, .prefix_adjust = -1),
	 WIRE("\0\0\4abc\0\0\1\0\0\2d"), "<abc><><d>", NULL, NULL},
	{FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_size = 2, .prefix_offset = 3),
	 WIRE("abc\0\2deABC\0\0abc\0\1d"), "<abcde><ABC><abcd>", NULL, NULL},
	{FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_varint = true, .prefix_offset = 1),
	 WIRE("P\3abcQ\x81\0dR\0"), "<Pabc><Qd><R>", NULL, NULL},
	{FRAMED(.framing = STTCP_FRAMING_FIXED, .fixed_size = 4), WIRE("abcdefgh"), "<abcd><efgh>",
	 NULL, NULL},
	{FRAMED(.framing = STTCP_FRAMING_CUSTOM, .frame_fn = frame_digit), WIRE("3abc01d"),
	 "<3abc><0><1d>", NULL, NULL},
	/* What follows the message that is being handled is read in the new framing. */
	{FRAMED(.framing = STTCP_FRAMING_LINE), WIRE("a\ngo\n\0\3x\nz\0\0\0\2lnb\r\n"),
	 "<a><go><x\nz><><ln><b>", NULL, go_on_with_lengths},
	{FRAMED(.framing = STTCP_FRAMING_RAW), WIRE("a\ngo\n\0\3x\nz\0\0\0\2lnb\r\n"),
	 "<a><go><x\nz><><ln><b>", begin_with_lines, go_on_with_lengths},
};

enum {
	NWIRES = sizeof(wires) / sizeof(wires[0])
};

static void wire_open(struct talk *talk, const struct wire *wire)
{
	talk->book = book_new();
	talk->book->opened = wire->opened;
	talk->book->script = wire->script;
	talk_open(talk, &wire->options);
}

static void each_framing_delivers_payloads_alone_and_once(void **state)
{
	(void)state;
	for (int i = 0; i < NWIRES; i++) {
		struct talk talk;

		wire_open(&talk, &wires[i]);
		assert_true(peer_send(talk.peer, wires[i].bytes, wires[i].size));
		talk_ends(&talk, wires[i].text, 0);
	}
}

static void messages_may_come_byte_by_byte(void **state)
{
	(void)state;
	for (int i = 0; i < NWIRES; i++) {
		struct talk talk;

		wire_open(&talk, &wires[i]);
		for (size_t at = 0; at < wires[i].size; at++)
			say_and_wait(&talk, wires[i].bytes + at, 1);
		talk_ends(&talk, wires[i].text, 0);
	}
}

static void messages_may_be_cut_anywhere(void **state)
{
	(void)state;
	for (int i = 0; i < NWIRES; i++) {
		for (size_t at = 1; at < wires[i].size; at++) {
			struct talk talk;

			wire_open(&talk, &wires[i]);
			say_and_wait(&talk, wires[i].bytes, at);
			say_and_wait(&talk, wires[i].bytes + at, wires[i].size - at);
			talk_ends(&talk, wires[i].text, 0);
		}
	}
}

/* ------------------------------------------------------------- ends and limits */

static const sttcp_options lines = FRAMED(.framing = STTCP_FRAMING_LINE, .max_message = 8);
static const sttcp_options plain_lines = FRAMED(.framing = STTCP_FRAMING_LINE);
static const sttcp_options rest_lines =
	FRAMED(.framing = STTCP_FRAMING_LINE, .max_message = 8, .rest_at_end = true);
static const sttcp_options rest_commas =
	FRAMED(.framing = STTCP_FRAMING_DELIMITER, .delimiter = ", ", .delimiter_size = 2,
	       .max_message = 8, .rest_at_end = true);
static const sttcp_options commas = FRAMED(.framing = STTCP_FRAMING_DELIMITER, .delimiter = ", ",
					   .delimiter_size = 2, .max_message = 8);
static const sttcp_options lengths =
	FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_size = 2, .max_message = 8);
static const sttcp_options itself =
	FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_size = 2, .prefix_includes_itself = true);
static const sttcp_options varints =
	FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_varint = true, .max_message = 8);
static const sttcp_options fixed = FRAMED(.framing = STTCP_FRAMING_FIXED, .fixed_size = 4);
static const sttcp_options digits =
	FRAMED(.framing = STTCP_FRAMING_CUSTOM, .frame_fn = frame_digit, .max_message = 8);

static const struct verdict {
	const sttcp_options *options;
	const char *bytes;
	size_t size;
	const char *text;
	int reason;
} verdicts[] = {
	/* G5: the peer's FIN inside of a message. */
	{&lines, WIRE("a\nrest"), "<a>", STTCP_EFRAME},
	{&lines, WIRE("a\nrest\r"), "<a>", STTCP_EFRAME},
	{&lines, WIRE("a\n\r"), "<a>", STTCP_EFRAME},
	{&commas, WIRE("a, rest"), "<a>", STTCP_EFRAME},
	{&commas, WIRE("a, rest,"), "<a>", STTCP_EFRAME},
	{&lines, WIRE("a\n"), "<a>", 0},
	{&commas, WIRE("a, "), "<a>", 0},
	{&rest_lines, WIRE("a\nrest"), "<a><rest>", 0},
	{&rest_lines, WIRE("a\nrest\r"), "<a><rest\r>", 0},
	{&rest_lines, WIRE("a\n"), "<a>", 0},
	{&rest_commas, WIRE("a, rest,"), "<a><rest,>", 0},
	{&rest_commas, WIRE("a, "), "<a>", 0},
	{&lengths, WIRE("\0\1a\0\2b"), "<a>", STTCP_EFRAME},
	{&lengths, WIRE("\0\1a\0"), "<a>", STTCP_EFRAME},
	{&varints, WIRE("\1a\x80"), "<a>", STTCP_EFRAME},
	{&fixed, WIRE("abcdefg"), "<abcd>", STTCP_EFRAME},
	{&digits, WIRE("1a2b"), "<1a>", STTCP_EFRAME},
	/* At the limit, and over it. */
	{&lines, WIRE("12345678\r\n"), "<12345678>", 0},
	{&lines, WIRE("a\n123456789\n"), "<a>", STTCP_ELIMIT},
	{&lines, WIRE("a\n123456789"), "<a>", STTCP_ELIMIT},
	{&rest_lines, WIRE("a\n12345678\r"), "<a>", STTCP_ELIMIT},
	{&commas, WIRE("12345678, "), "<12345678>", 0},
	{&commas, WIRE("a, 123456789, "), "<a>", STTCP_ELIMIT},
	{&lengths,
	 WIRE("\0\x8"
	      "12345678"),
	 "<12345678>", 0},
	{&lengths, WIRE("\0\1a\0\x9"), "<a>", STTCP_ELIMIT},
	{&varints, WIRE("\1a\xff\xff\xff\xff\x7f"), "<a>", STTCP_ELIMIT},
	{&digits, WIRE("71234567"), "<71234567>", 0},
	{&digits, WIRE("1a8"), "<1a>", STTCP_ELIMIT},
	/* Malformed. */
	{&varints, WIRE("\1a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), "<a>", STTCP_EFRAME},
	{&itself, WIRE("\0\3a\0\1b"), "<a>", STTCP_EFRAME},
	{&digits, WIRE("1ax"), "<1a>", STTCP_EFRAME},
};

static void ends_in_a_message_have_their_reasons(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(verdicts) / sizeof(verdicts[0]); i++) {
		struct talk talk = {0};

		talk_open(&talk, verdicts[i].options);
		assert_true(peer_send(talk.peer, verdicts[i].bytes, verdicts[i].size));
		talk_ends(&talk, verdicts[i].text, verdicts[i].reason);
	}
}

/* Over a limit nothing has to follow for the connection to end, in an orderly way, with a FIN. */
static void limit_ends_the_connection_at_once(void **state)
{
	struct talk talk = {0};

	(void)state;
	talk_open(&talk, &lengths);
	assert_true(peer_send(talk.peer, "\x7f\xff", 2));
	assert_int_equal(peer_end(talk.peer), 0);
	talk_ends(&talk, "", STTCP_ELIMIT);
}

static void half_a_message_is_dropped_at_a_reset(void **state)
{
	struct talk talk = {0};

	(void)state;
	talk_open(&talk, &lengths);
	say_and_wait(&talk, "\0\7half", 6);
	peer_reset(talk.peer);
	talk.peer = -1;
	talk_ends(&talk, "", -ECONNRESET);
}

static void large_messages_are_whole_up_to_the_limit(void **state)
{
	struct talk talk = {0};
	unsigned char *large = malloc(4 + MIB + 4);
	char expected[64];

	(void)state;
	assert_non_null(large);
	fill_pattern(large + 4, MIB, 1);
	memcpy(large, "\0\x10\0\0", 4);
	memcpy(large + 4 + MIB, "\0\x10\0\1", 4);
	size_t len = book_print(expected, sizeof(expected), large + 4, MIB);
	talk_open(&talk, STTCP_OPTIONS(.framing = STTCP_FRAMING_LENGTH));
	/* Whole, and in halves; one byte more is over the default of max_message. */
	assert_true(peer_send(talk.peer, large, 4 + MIB));
	say_and_wait(&talk, large, MIB / 2);
	memcpy(expected + len, expected, len);
	expected[2 * len] = '\0';
	assert_true(peer_send(talk.peer, large + MIB / 2, 4 + MIB + 4 - MIB / 2));
	talk_ends(&talk, expected, STTCP_ELIMIT);
	free(large);
}

/* ------------------------------------------------------------ what is held */

enum {
	LONG_ONE = 300
};

/* Tells at the first byte how long the message will be. */
static int frame_at_once(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
			 void *context)
{
	(void)conn;
	(void)data;
	(void)size;
	((struct book *)context)->asked++;
	frame->size = frame->total = LONG_ONE;
	return 1;
}

/* Tells when all of it is there, which its last byte shows. */
static int frame_at_last(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
			 void *context)
{
	const char *end = memchr(data, '.', size);

	(void)conn;
	((struct book *)context)->asked++;
	if (end)
		frame->size = frame->total = (size_t)(end - (const char *)data) + 1;
	return end ? 1 : 0;
}

static void take_one_more(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	char message[LONG_ONE];

	(void)data;
	(void)size;
	book->extra = NULL;
	/* Too little room, and then enough: it is the same message. */
	if (sttcp_conn_recv_message(conn, message, 1, -1) == -EMSGSIZE &&
	    sttcp_conn_recv_message(conn, message, sizeof(message), 0) == LONG_ONE)
		book->extra = book;
}

static void drip(struct talk *talk, const char *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		say_and_wait(talk, bytes + i, 1);
}

/* A peer that sends byte by byte does not choose how often a function sees the same bytes. */
static void frame_fn_is_asked_once_for_what_has_come(void **state)
{
	struct talk talk = {0};
	char bytes[LONG_ONE];

	(void)state;
	memset(bytes, 'x', sizeof(bytes));
	bytes[LONG_ONE - 1] = '.';
	talk_open(&talk, STTCP_OPTIONS(.framing = STTCP_FRAMING_CUSTOM, .frame_fn = frame_at_last));
	drip(&talk, bytes, sizeof(bytes));
	assert_true(event_wait(&talk.book->changed, 1));
	assert_in_range(talk.book->asked, 1, LONG_ONE);
	talk_close(&talk);
}

static void frame_fn_is_not_asked_what_it_has_told(void **state)
{
	struct talk talk = {.book = book_new()};
	char bytes[LONG_ONE];

	(void)state;
	memset(bytes, 'x', sizeof(bytes));
	talk.book->script = take_one_more;
	talk_open(&talk, STTCP_OPTIONS(.framing = STTCP_FRAMING_CUSTOM, .frame_fn = frame_at_once));
	drip(&talk, bytes, sizeof(bytes));
	/* The second one is read by the handler that has the first. */
	assert_true(peer_send(talk.peer, bytes, 1));
	EVENTUALLY(book_bytes_in(talk.book) == LONG_ONE + 1);
	drip(&talk, bytes + 1, sizeof(bytes) - 1);
	assert_true(event_wait(&talk.book->changed, 1));
	assert_ptr_equal(talk.book->extra, talk.book);
	assert_int_equal(talk.book->asked, 2);
	talk_close(&talk);
}

static atomic_int moves; /* of the bytes that are held */

/* One message that never ends. Where its bytes stand tells when they were copied. */
static int frame_never(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
		       void *context)
{
	struct book *book = context;

	(void)conn;
	(void)size;
	(void)frame;
	if (book->extra != data)
		atomic_fetch_add(&moves, 1);
	book->extra = (void *)(uintptr_t)data;
	return 0;
}

/* Many small reads behind a long part: what is held grows by doubling, and is not copied for each
 * of them. */
static void bytes_that_drip_are_not_copied_each_time(void **state)
{
	enum {
		PART = 256 * 1024,
		DRIPS = 200
	};
	static char part[PART];
	struct talk talk = {0};

	(void)state;
	talk_open(&talk, STTCP_OPTIONS(.framing = STTCP_FRAMING_CUSTOM, .frame_fn = frame_never));
	say_and_wait(&talk, part, PART);
	int before = atomic_load(&moves);
	for (int i = 0; i < DRIPS; i++)
		say_and_wait(&talk, "x", 1);
	assert_in_range(atomic_load(&moves) - before, 0, 4);
	talk_ends(&talk, "", STTCP_EFRAME);
}

/* A peer gets no more memory than it has sent twice, and none when its message is whole. */
static void part_of_a_message_takes_twice_its_size_at_most(void **state)
{
	enum {
		PIECE = 1000,
		PIECES = 150,
		BESIDE = 16 * 1024 /* for what else is allocated */
	};
	static char piece[PIECE];
	struct talk talk = {0};

	(void)state;
	if (!memory_is_measured())
		skip();
	talk_open(&talk, &plain_lines);
	say_and_wait(&talk, "first\n", 6);
	memset(piece, 'x', sizeof(piece));
	size_t before = bytes_in_use();
	for (size_t sent = PIECE; sent <= (size_t)PIECES * PIECE; sent += PIECE) {
		say_and_wait(&talk, piece, PIECE);
		EVENTUALLY(bytes_in_use() <= before + 2 * sent + BESIDE);
	}
	assert_true(bytes_in_use() + BESIDE >= before + (size_t)PIECES * PIECE);
	say_and_wait(&talk, "\n", 1);
	EVENTUALLY(bytes_in_use() <= before + BESIDE);
	talk_close(&talk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_framing_delivers_payloads_alone_and_once),
		cmocka_unit_test(messages_may_come_byte_by_byte),
		cmocka_unit_test(messages_may_be_cut_anywhere),
		cmocka_unit_test(ends_in_a_message_have_their_reasons),
		cmocka_unit_test(limit_ends_the_connection_at_once),
		cmocka_unit_test(half_a_message_is_dropped_at_a_reset),
		cmocka_unit_test(large_messages_are_whole_up_to_the_limit),
		cmocka_unit_test(frame_fn_is_asked_once_for_what_has_come),
		cmocka_unit_test(frame_fn_is_not_asked_what_it_has_told),
		cmocka_unit_test(bytes_that_drip_are_not_copied_each_time),
		cmocka_unit_test(part_of_a_message_takes_twice_its_size_at_most),
	};

	/* One loop: connections can only be fair to each other where they share one. */
	if (sttcp_engine_configure(1, 0, 0) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
