/* SPDX-License-Identifier: MIT */
/* Sends of several parts and of whole messages that may not wait: all or nothing, and the same
 * bytes as the send of the joined ones. */
#include "support/book.h"
#include "support/memory_faults.h"
#include "support/numbered.h"

enum {
	MIB = 1024 * 1024,
	MOST_PARTS = 1024
};

static const sttcp_options raw = FRAMED(.framing = STTCP_FRAMING_RAW);
static const sttcp_options lines = FRAMED(.framing = STTCP_FRAMING_LINE, .max_message = 5000);
static const sttcp_options commas =
	FRAMED(.framing = STTCP_FRAMING_DELIMITER, .delimiter = ", ", .delimiter_size = 2);
static const sttcp_options lengths = FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_size = 2);
static const sttcp_options typed =
	FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_size = 2, .prefix_offset = 3);
static const sttcp_options fixed = FRAMED(.framing = STTCP_FRAMING_FIXED, .fixed_size = 6);

static struct iovec part(const void *data, size_t size)
{
	return (struct iovec){(void *)(uintptr_t)data, size};
}

/* ------------------------------------------------------------------- messages of parts */

/* Cut at every two places, with empty parts between them. */
static void message_of_parts_is_the_joined_message(void **state)
{
	static const struct {
		const sttcp_options *options;
		const char *payload;
		size_t size;
		const char *wire;
		size_t wire_size;
	} cases[] = {
		{&raw, WIRE("abcdef"), WIRE("abcdef")},
		{&lines, WIRE("abcdef"), WIRE("abcdef\n")},
		{&lines, WIRE("a\rcdef"), WIRE("a\rcdef\n")},
		{&commas, WIRE("a,,cd,"), WIRE("a,,cd,, ")},
		{&lengths, WIRE("abcdef"), WIRE("\0\6abcdef")},
		{&typed, WIRE("abcdef"), WIRE("abc\0\3def")},
		{&fixed, WIRE("abcdef"), WIRE("abcdef")},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct talk talk = {0};
		char got[64];

		talk_open(&talk, cases[i].options);
		for (size_t one = 0; one <= cases[i].size; one++) {
			for (size_t two = one; two <= cases[i].size; two++) {
				const char *bytes = cases[i].payload;
				const struct iovec parts[] = {
					part(NULL, 0), part(bytes, one), part("x", 0),
					part(bytes + one, two - one),
					part(bytes + two, cases[i].size - two)};

				assert_int_equal(
					sttcp_conn_sendv_message(talk.book->conn, parts, 5), 0);
				assert_true(peer_recv(talk.peer, got, cases[i].wire_size));
				assert_memory_equal(got, cases[i].wire, cases[i].wire_size);
			}
		}
		sttcp_conn_close(talk.book->conn);
		assert_int_equal(peer_end(talk.peer), 0);
		talk_close(&talk);
	}
}

/* More than are laid out without memory, and as many as there may be; the place of a length that
 * stands behind many of them. */
static void message_may_have_many_parts(void **state)
{
	static const sttcp_options far =
		FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_size = 2, .prefix_offset = 700);
	const int counts[] = {0, 1, 13, 14, 63, 64, 65, MOST_PARTS};
	struct iovec parts[MOST_PARTS + 1];
	char bytes[MOST_PARTS + 1];
	struct talk talk = {0};
	char got[MOST_PARTS + 2];

	(void)state;
	fill_pattern(bytes, sizeof(bytes), 4);
	for (int i = 0; i <= MOST_PARTS; i++)
		parts[i] = part(bytes + i, 1);
	talk_open(&talk, &lengths);
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		size_t size = (size_t)counts[i];

		assert_int_equal(sttcp_conn_sendv_message(talk.book->conn, parts, counts[i]), 0);
		assert_true(peer_recv(talk.peer, got, size + 2));
		assert_int_equal((unsigned char)got[0] << 8 | (unsigned char)got[1], size);
		assert_memory_equal(got + 2, bytes, size);
	}
	assert_int_equal(sttcp_conn_set_framing(talk.book->conn, &far), 0);
	assert_int_equal(sttcp_conn_sendv_message(talk.book->conn, parts, 699), -EINVAL);
	assert_int_equal(sttcp_conn_sendv_message(talk.book->conn, parts, 700), 0);
	assert_true(peer_recv(talk.peer, got, 702));
	assert_memory_equal(got, bytes, 700);
	assert_memory_equal(got + 700, "\0\0", 2);
	assert_int_equal(sttcp_conn_sendv_message(talk.book->conn, parts, MOST_PARTS), 0);
	assert_true(peer_recv(talk.peer, got, MOST_PARTS + 2));
	assert_memory_equal(got + 700, "\1\104", 2);
	assert_memory_equal(got + 702, bytes + 700, MOST_PARTS - 700);
	talk_close(&talk);
}

static void message_of_parts_is_refused_as_the_joined_one(void **state)
{
	static char long_part[3000];
	const struct iovec halves[] = {part(long_part, 2500), part(long_part, 2501)};
	const struct iovec split[] = {part("a,", 2), part("", 0), part(" b", 2)};
	const struct iovec newline[] = {part("a", 1), part("\n", 1), part("b", 1)};
	const struct iovec carriage[] = {part("a", 1), part("\r", 1), part("", 0)};
	const struct iovec none[] = {part(NULL, 1)};
	const struct iovec huge[] = {part("a", 1), part("b", PTRDIFF_MAX)};
	struct talk talk = {0};

	(void)state;
	memset(long_part, 'x', sizeof(long_part));
	talk_open(&talk, &lines);
	sttcp_conn *conn = talk.book->conn;

	assert_int_equal(sttcp_conn_sendv_message(conn, halves, 2), -EMSGSIZE);
	assert_int_equal(sttcp_conn_sendv_message(conn, newline, 3), -EINVAL);
	assert_int_equal(sttcp_conn_sendv_message(conn, carriage, 3), -EINVAL);
	assert_int_equal(sttcp_conn_sendv_message(conn, none, 1), -EINVAL);
	assert_int_equal(sttcp_conn_sendv_message(conn, huge, 2), -EINVAL);
	assert_int_equal(sttcp_conn_sendv_message(conn, NULL, 1), -EINVAL);
	assert_int_equal(sttcp_conn_sendv_message(conn, split, -1), -EINVAL);
	assert_int_equal(sttcp_conn_sendv_message(conn, split, INT32_MIN), -EINVAL);
	assert_int_equal(sttcp_conn_sendv_message(conn, split, MOST_PARTS + 1), -EINVAL);
	assert_int_equal(sttcp_conn_sendv_message(conn, split, INT32_MAX), -EINVAL);
	assert_int_equal(sttcp_conn_sendv_message(NULL, split, 3), -EINVAL);
	assert_int_equal(sttcp_conn_set_framing(conn, &commas), 0);
	assert_int_equal(sttcp_conn_sendv_message(conn, split, 3), -EINVAL);
	assert_int_equal(sttcp_conn_set_framing(conn, &fixed), 0);
	assert_int_equal(sttcp_conn_sendv_message(conn, split, 3), -EINVAL);
	/* Nothing of all that has left, and nothing is a message. */
	assert_int_equal(sttcp_conn_set_framing(conn, &lines), 0);
	assert_int_equal(sttcp_conn_sendv_message(conn, NULL, 0), 0);
	assert_int_equal(sttcp_conn_sendv_message(conn, split, 3), 0);
	assert_true(peer_expect(talk.peer, "\na, b\n"));
	sttcp_conn_fail(conn, -EBADMSG, "no more");
	assert_int_equal(sttcp_conn_sendv_message(conn, split, 3), -EBADMSG);
	assert_int_equal(sttcp_conn_try_send_message(conn, "a", 1), -EBADMSG);
	assert_int_equal(sttcp_conn_try_sendv(conn, split, 3), -EBADMSG);
	assert_int_equal(peer_end(talk.peer), 0);
	talk_close(&talk);
}

/* The place for many parts is not there. */
static void message_of_many_parts_needs_memory(void **state)
{
	struct iovec parts[100];
	struct talk talk = {0};

	(void)state;
	if (!memory_can_be_short())
		skip();
	for (int i = 0; i < 100; i++)
		parts[i] = part("a", 1);
	talk_open(&talk, &lines);
	deny_after(0, true);
	int many = sttcp_conn_sendv_message(talk.book->conn, parts, 100);
	int few = sttcp_conn_sendv_message(talk.book->conn, parts, 10);

	allow_again();
	assert_int_equal(many, -ENOMEM);
	assert_int_equal(few, 0);
	assert_true(peer_expect(talk.peer, "aaaaaaaaaa\n"));
	talk_close(&talk);
}

struct sender {
	sttcp_conn *conn;
	char letter;
	pthread_t thread;
	int failed;
};

static void *send_letters(void *argument)
{
	struct sender *sender = argument;
	char bytes[900];
	const struct iovec parts[] = {part(bytes, 400), part(bytes, 0), part(bytes + 400, 500)};

	memset(bytes, sender->letter, sizeof(bytes));
	for (int i = 0; i < 300; i++)
		sender->failed |= i % 2 ? sttcp_conn_sendv_message(sender->conn, parts, 3)
					: sttcp_conn_try_sendv(sender->conn, parts, 3);
	return NULL;
}

/* G11: runs of 900 equal bytes, whoever sends. */
static void parts_of_a_send_stay_together(void **state)
{
	enum {
		SENDERS = 4
	};
	struct talk talk = {0};
	struct sender senders[SENDERS];
	char got[900];

	(void)state;
	talk_open(&talk, STTCP_OPTIONS(.framing = STTCP_FRAMING_FIXED, .fixed_size = 900,
				       .send_queue_max = 4 * MIB));
	for (int i = 0; i < SENDERS; i++) {
		senders[i] = (struct sender){.conn = talk.book->conn, .letter = (char)('a' + i)};
		assert_int_equal(
			pthread_create(&senders[i].thread, NULL, send_letters, &senders[i]), 0);
	}
	for (int i = 0; i < SENDERS * 300; i++) {
		assert_true(peer_recv(talk.peer, got, sizeof(got)));
		for (size_t at = 1; at < sizeof(got); at++)
			assert_int_equal(got[at], got[0]);
	}
	for (int i = 0; i < SENDERS; i++) {
		pthread_join(senders[i].thread, NULL);
		assert_int_equal(senders[i].failed, 0);
	}
	talk_close(&talk);
}

/* ------------------------------------------------------------------- all or nothing */

/* The number, and what fills it, from two places. */
static int try_parts(sttcp_conn *conn, const char message[NUMBERED_SIZE])
{
	uint32_t number;
	const struct iovec parts[] = {
		part(&number, sizeof(number)), part(message, 0),
		part(message + sizeof(number), NUMBERED_SIZE - sizeof(number))};

	memcpy(&number, message, sizeof(number));
	return sttcp_conn_try_sendv(conn, parts, 3);
}

static int try_message(sttcp_conn *conn, const char message[NUMBERED_SIZE])
{
	return sttcp_conn_try_send_message(conn, message, NUMBERED_SIZE);
}

/* -EAGAIN takes nothing: the peer finds exactly what was taken. */
static void try_at_the_cap_takes_nothing(void **state)
{
	(void)state;
	for (int as_message = 0; as_message < 2; as_message++) {
		struct pair pair = {0};

		pair_open_narrow(&pair, as_message ? STTCP_OPTIONS(.framing = STTCP_FRAMING_LENGTH,
								   .prefix_size = 2,
								   .send_queue_max = 64 * 1024)
						   : STTCP_OPTIONS(.send_queue_max = 64 * 1024));

		uint32_t taken =
			try_numbered(pair.conn, 64 * 1024, as_message ? try_message : try_parts);

		assert_true(taken > 60);
		assert_int_equal(sttcp_conn_close(pair.conn), 0);
		expect_numbered(pair.peer, taken, as_message ? 2 : 0);
		pair_close(&pair);
	}
}

/* With what stands around it. */
static void try_over_the_cap_is_too_long(void **state)
{
	enum {
		CAP = 1000
	};
	static char bytes[CAP];
	const struct iovec fits[] = {part(bytes, 1), part(bytes, CAP - 1)};
	const struct iovec over[] = {part(bytes, 1), part(bytes, CAP)};
	struct talk talk = {0};
	char got[2 * CAP];

	(void)state;
	memset(bytes, 'x', sizeof(bytes));
	talk_open(&talk, STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE, .send_queue_max = CAP));
	sttcp_conn *conn = talk.book->conn;

	assert_int_equal(sttcp_conn_try_sendv(conn, over, 2), -EMSGSIZE);
	assert_int_equal(sttcp_conn_try_send_message(conn, bytes, CAP), -EMSGSIZE);
	assert_int_equal(sttcp_conn_try_sendv(conn, fits, 2), 0);
	assert_true(peer_recv(talk.peer, got, CAP));
	assert_int_equal(sttcp_conn_try_send_message(conn, bytes, CAP - 1), 0);
	assert_true(peer_recv(talk.peer, got, CAP));
	assert_int_equal(got[CAP - 1], '\n');
	assert_int_equal(sttcp_conn_try_send_message(conn, "a\nb", 3), -EINVAL);
	assert_int_equal(sttcp_conn_try_send_message(conn, NULL, 1), -EINVAL);
	assert_int_equal(sttcp_conn_try_send_message(conn, "a", SIZE_MAX), -EMSGSIZE);
	assert_int_equal(sttcp_conn_try_send_message(NULL, "a", 1), -EINVAL);
	assert_int_equal(sttcp_conn_try_sendv(conn, NULL, 1), -EINVAL);
	assert_int_equal(sttcp_conn_try_sendv(conn, fits, -1), -EINVAL);
	assert_int_equal(sttcp_conn_try_sendv(conn, fits, MOST_PARTS + 1), -EINVAL);
	assert_int_equal(sttcp_conn_try_sendv(NULL, fits, 2), -EINVAL);
	assert_int_equal(sttcp_conn_try_sendv(conn, NULL, 0), 0);
	assert_int_equal(sttcp_conn_try_send_message(conn, NULL, 0), 0);
	assert_true(peer_expect(talk.peer, "\n"));
	assert_int_equal(sttcp_conn_shutdown(conn), 0);
	assert_int_equal(sttcp_conn_try_sendv(conn, fits, 2), -EPIPE);
	assert_int_equal(sttcp_conn_try_send_message(conn, "a", 1), -EPIPE);
	talk_close(&talk);
}

/* It could not be taken however short it was. */
static void try_on_an_ended_connection_tells_its_end(void **state)
{
	static char bytes[2000];
	const struct iovec over[] = {part(bytes, 1), part(bytes, sizeof(bytes) - 1)};
	struct talk talk = {0};

	(void)state;
	memset(bytes, 'x', sizeof(bytes));
	talk_open(&talk, STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE, .send_queue_max = 1000));
	sttcp_conn *conn = talk.book->conn;

	assert_int_equal(sttcp_conn_fail(conn, -EPROTO, "no sense"), 0);
	EVENTUALLY(!sttcp_conn_is_open(conn));
	assert_int_equal(sttcp_conn_try_send(conn, bytes, sizeof(bytes)), -EPROTO);
	assert_int_equal(sttcp_conn_try_sendv(conn, over, 2), -EPROTO);
	assert_int_equal(sttcp_conn_try_send_message(conn, bytes, sizeof(bytes)), -EPROTO);
	assert_int_equal(sttcp_conn_try_send_message(conn, bytes, SIZE_MAX), -EPROTO);
	talk_close(&talk);
}

/* Sizes around what is sent at a time, over a cap that they fit: whole, and the bytes right. */
static void try_of_large_parts_is_whole(void **state)
{
	static const size_t sizes[] = {MIB - 1, MIB, MIB + 1, 3 * MIB + 5};
	char *bytes = malloc(4 * MIB);
	char *got = malloc(4 * MIB);

	(void)state;
	assert_non_null(bytes);
	assert_non_null(got);
	fill_pattern(bytes, 4 * MIB, 5);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (int as_message = 0; as_message < 2; as_message++) {
			struct talk talk = {0};
			size_t size = sizes[i];
			const struct iovec parts[] = {
				part(bytes, 7), part(bytes + 7, 0), part(bytes + 7, size / 2),
				part(bytes + 7 + size / 2, size - size / 2 - 7)};

			talk_open(&talk,
				  STTCP_OPTIONS(.framing = STTCP_FRAMING_LENGTH,
						.max_message = 4 * MIB, .send_queue_max = 4 * MIB));
			int result = as_message ? sttcp_conn_try_send_message(talk.book->conn,
									      bytes, size)
						: sttcp_conn_try_sendv(talk.book->conn, parts, 4);

			assert_int_equal(result, 0);
			if (as_message)
				assert_true(peer_recv(talk.peer, got, 4));
			assert_true(peer_recv(talk.peer, got, size));
			assert_memory_equal(got, bytes, size);
			talk_close(&talk);
		}
	}
	free(bytes);
	free(got);
}

static struct event opened;
static struct event drained;
static _Atomic(sttcp_conn *) last;

static bool on_connection(sttcp_conn *conn, void *context)
{
	(void)context;
	last = sttcp_conn_ref(conn);
	event_raise(&opened);
	return narrow(NULL, conn);
}

static void on_drained(sttcp_conn *conn, void *context)
{
	(void)conn;
	(void)context;
	event_raise(&drained);
}

/* G13: after -EAGAIN the drained handler follows, and then there is room. */
static void try_works_again_after_the_drained_handler(void **state)
{
	static char bytes[10000];
	const struct iovec parts[] = {part(bytes, 5000), part(bytes, 5000)};
	struct event fresh = EVENT_INIT;
	sttcp_server *server = sttcp_server_new(
		"127.0.0.1", 0,
		STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE, .send_queue_max = 20000));

	(void)state;
	memset(bytes, 'x', sizeof(bytes));
	opened = drained = fresh;
	assert_non_null(server);
	assert_int_equal(sttcp_server_on_connection(server, on_connection), 0);
	assert_int_equal(sttcp_server_on_drained(server, on_drained), 0);
	assert_int_equal(sttcp_server_start(server), 0);

	int peer = peer_connect_narrow(sttcp_server_port(server));

	assert_true(event_wait(&opened, 1));
	for (int way = 0; way < 2; way++) {
		size_t sent = 0;
		int result = 0;

		while (result == 0) {
			result = way ? sttcp_conn_try_send_message(last, bytes, 9999)
				     : sttcp_conn_try_sendv(last, parts, 2);
			sent += result == 0 ? sizeof(bytes) : 0;
		}
		assert_int_equal(result, -EAGAIN);
		while (sent) {
			assert_true(peer_recv(peer, bytes, sizeof(bytes)));
			sent -= sizeof(bytes);
		}
		assert_true(event_wait(&drained, way + 1));
		memset(bytes, 'x', sizeof(bytes));
	}
	sttcp_conn_unref(last);
	peer_close(peer);
	sttcp_server_free(server);
}

/* What is gathered keeps its place. */
static void answer(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	const struct iovec parts[] = {part("<", 1), part(data, size), part(">", 1)};

	(void)book;
	sttcp_conn_send_message(conn, data, size);
	ignore(sttcp_conn_try_send_message(conn, data, size));
	sttcp_conn_sendv_message(conn, parts, 3);
	ignore(sttcp_conn_try_sendv(conn, parts, 3));
}

static void answers_in_parts_keep_the_order(void **state)
{
	struct talk talk = {.book = book_new()};

	(void)state;
	talk.book->script = answer;
	talk_open(&talk, &lines);
	assert_true(peer_say(talk.peer, "a\nb\n"));
	assert_true(peer_expect(talk.peer, "a\na\n<a>\n<a>b\nb\n<b>\n<b>"));
	talk_close(&talk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(message_of_parts_is_the_joined_message),
		cmocka_unit_test(message_may_have_many_parts),
		cmocka_unit_test(message_of_parts_is_refused_as_the_joined_one),
		cmocka_unit_test(message_of_many_parts_needs_memory),
		cmocka_unit_test(parts_of_a_send_stay_together),
		cmocka_unit_test(try_at_the_cap_takes_nothing),
		cmocka_unit_test(try_over_the_cap_is_too_long),
		cmocka_unit_test(try_on_an_ended_connection_tells_its_end),
		cmocka_unit_test(try_of_large_parts_is_whole),
		cmocka_unit_test(try_works_again_after_the_drained_handler),
		cmocka_unit_test(answers_in_parts_keep_the_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
