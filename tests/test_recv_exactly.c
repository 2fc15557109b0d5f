/* SPDX-License-Identifier: MIT */
/* Reading exactly so many bytes inside a handler: all of them, or a code, and then nothing is
 * taken. What ends it is in test_recv_exactly_ends.c. */
#include "support/memory_faults.h"
#include "support/reading.h"

enum {
	MIB = 1024 * 1024
};

static const sttcp_options raw = FRAMED(.framing = STTCP_FRAMING_RAW);
static const sttcp_options lines = FRAMED(.framing = STTCP_FRAMING_LINE);
static const sttcp_options short_lines = FRAMED(.framing = STTCP_FRAMING_LINE, .max_message = 8);
static const sttcp_options endless_lines = FRAMED(.framing = STTCP_FRAMING_LINE, .max_message = -1);

/* ------------------------------------------------------------------- what is there */

static void take_three(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	(void)book;
	if (!is(data, size, "go"))
		return;
	take_exactly(conn, 0, 1, DEADLINE_MS);
	take_exactly(conn, 1, 0, DEADLINE_MS);
	take_exactly(conn, 2, 7, -1);
	take_exactly(conn, 3, 4, DEADLINE_MS);
}

/* However they arrive; what is behind them goes where it would have gone. */
static void bytes_are_read_exactly(void **state)
{
	static const char text[] = "go\nab\n\ncdefghijk\nlast\n";

	(void)state;
	for (size_t cut = 3; cut < sizeof(text) - 1; cut++) {
		struct talk talk = {0};

		open_with(&talk, &lines, take_three);
		say_and_wait(&talk, text, cut);
		assert_true(peer_send(talk.peer, text + cut, sizeof(text) - 1 - cut));
		talk_ends(&talk, "<go><k><last>", 0);
		assert_int_equal(results[0], 1);
		assert_string_equal(texts[0], "a");
		assert_int_equal(results[1], 0);
		assert_int_equal(results[2], 7);
		assert_string_equal(texts[2], "b\n\ncdef");
		assert_int_equal(results[3], 4);
		assert_string_equal(texts[3], "ghij");
	}
}

static void raw_bytes_are_read_exactly(void **state)
{
	static const char text[] = "ab\n\ncdefghij";

	(void)state;
	for (size_t cut = 0; cut <= sizeof(text) - 1; cut++) {
		struct talk talk = {0};

		open_with(&talk, &raw, take_three);
		say_and_wait(&talk, "go", 2);
		assert_true(peer_send(talk.peer, text, cut));
		assert_true(peer_send(talk.peer, text + cut, sizeof(text) - 1 - cut));
		assert_true(event_wait(&talk.book->changed, 1));
		assert_string_equal(texts[0], "a");
		assert_string_equal(texts[2], "b\n\ncdef");
		assert_string_equal(texts[3], "ghij");
		assert_true(peer_say(talk.peer, "raw\n"));
		talk_ends(&talk, "<go><raw\n>", 0);
	}
}

static bool greet(struct book *book, sttcp_conn *conn)
{
	(void)book;
	take_exactly(conn, 0, 3, DEADLINE_MS);
	return true;
}

/* In a connection handler, and what came with it. */
static void connection_handler_may_read_exactly(void **state)
{
	const sttcp_options *const ways[] = {&raw, &lines};

	(void)state;
	for (int way = 0; way < 2; way++) {
		struct talk talk = {.book = book_new()};

		begin_anew();
		talk.book->opened = greet;
		talk.server = book_listen(talk.book, ways[way]);
		talk.peer = peer_connect(sttcp_server_port(talk.server));
		assert_true(peer_say(talk.peer, "onetwo\n"));
		talk_ends(&talk, way ? "<two>" : "<two\n>", 0);
		assert_string_equal(texts[0], "one");
	}
}

static bool ask(struct book *book, sttcp_conn *conn)
{
	(void)book;
	sttcp_conn_send(conn, "question", 8);
	take_exactly(conn, 0, 6, DEADLINE_MS);
	event_raise(&inside);
	return true;
}

/* Queued output goes first, and a client may read, too. */
static void client_may_read_exactly(void **state)
{
	struct book *book = book_new();
	int port;
	int listener = peer_listen(&port, 1);

	(void)state;
	begin_anew();
	book->opened = ask;

	sttcp_client *client = book_dial(book, port, &raw);
	int peer = peer_accept(listener);

	assert_true(peer_expect(peer, "question"));
	assert_true(peer_say(peer, "answer"));
	assert_true(event_wait(&inside, 1));
	assert_string_equal(texts[0], "answer");
	peer_close(peer);
	assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), 0);
	sttcp_client_free(client);
	peer_close(listener);
	book_free(book);
}

/* Far more than any buffer holds; what the handler was called with stays. */
static char *lot;

static void take_a_lot(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	char copy[64];

	(void)book;
	if (size != 5)
		return;
	memcpy(copy, data, size);
	results[0] = sttcp_conn_recv_exactly(conn, lot, 3 * MIB, DEADLINE_MS);
	results[1] = memcmp(copy, data, size);
}

static void data_of_the_handler_stays_valid(void **state)
{
	char *sent = malloc(3 * MIB);

	(void)state;
	lot = calloc(1, 3 * MIB);
	assert_non_null(sent);
	assert_non_null(lot);
	fill_pattern(sent, 3 * MIB, 7);
	for (size_t cut = 1; cut <= 6; cut++) {
		struct talk talk = {0};

		open_with(&talk, &endless_lines, take_a_lot);
		say_and_wait(&talk, "first\n", cut);
		assert_true(peer_send(talk.peer, &"first\n"[cut], 6 - cut));
		assert_true(peer_send(talk.peer, sent, 3 * MIB));
		assert_true(peer_say(talk.peer, "behind\n"));
		talk_ends(&talk, "<first><behind>", 0);
		assert_int_equal(results[0], 3 * MIB);
		assert_int_equal(results[1], 0);
		assert_memory_equal(lot, sent, 3 * MIB);
	}
	free(lot);
	free(sent);
}

/* ------------------------------------------------------------------- nothing is taken */

static void take_too_early(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	(void)book;
	if (!is(data, size, "go"))
		return;
	take_exactly(conn, 0, 5, 0);
	take_exactly(conn, 1, 5, 20);
	take_bytes(conn, 2, 1, 0);
	take_exactly(conn, 3, 5, 0);
	take_message(conn, 4, 0);
	event_raise(&inside);
}

static void bytes_that_are_late_stay_to_be_read(void **state)
{
	struct talk talk = {0};

	(void)state;
	open_with(&talk, &lines, take_too_early);
	assert_true(peer_say(talk.peer, "go\nabcd"));
	assert_true(event_wait(&inside, 1));
	assert_int_equal(results[0], -ETIMEDOUT);
	assert_int_equal(results[1], -ETIMEDOUT);
	assert_int_equal(results[2], 1);
	assert_string_equal(texts[2], "a");
	assert_int_equal(results[3], -ETIMEDOUT);
	assert_int_equal(results[4], -ETIMEDOUT);
	assert_string_equal(texts[0], "");
	assert_true(peer_say(talk.peer, "ef\ng\n"));
	talk_ends(&talk, "<go><bcdef><g>", 0);
}

/* Bytes that nobody asks for by messages: the handler gets them when it has returned. */
static void take_late_raw(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	(void)book;
	if (!is(data, size, "go"))
		return;
	event_raise(&inside);
	do {
		take_exactly(conn, 0, 3, DEADLINE_MS);
		take_exactly(conn, 1, 5, 20);
	} while (results[0] < 0);
	event_raise(&inside);
}

static void raw_bytes_that_are_left_come_once(void **state)
{
	struct talk talk = {0};

	(void)state;
	open_with(&talk, &raw, take_late_raw);
	assert_true(peer_say(talk.peer, "go"));
	assert_true(event_wait(&inside, 1));
	assert_true(peer_say(talk.peer, "oneleft"));
	assert_true(event_wait(&inside, 2));
	assert_string_equal(texts[0], "one");
	assert_int_equal(results[1], -ETIMEDOUT);
	assert_true(event_wait(&talk.book->changed, 2));
	assert_true(peer_say(talk.peer, "more"));
	talk_ends(&talk, "<go><left><more>", 0);
}

/* The limit is for all bytes: one that comes now and then does not extend it. */
static struct {
	int peer;
	atomic_bool done;
} drip;

static void *keep_dripping(void *argument)
{
	int64_t until = now_ms() + DEADLINE_MS;

	(void)argument;
	while (!drip.done && now_ms() < until) {
		if (!peer_send(drip.peer, "x", 1))
			return NULL;
		nap_ms(5);
	}
	return NULL;
}

static void take_while_it_drips(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	static char room[MIB];
	int64_t began = now_ms();

	(void)book;
	if (!is(data, size, "go"))
		return;
	results[0] = sttcp_conn_recv_exactly(conn, room, sizeof(room), 60);
	results[1] = now_ms() - began >= 60;
	event_raise(&inside);
}

static void timeout_is_for_all_bytes(void **state)
{
	struct talk talk = {0};
	pthread_t dripper;

	(void)state;
	open_with(&talk, &lines, take_while_it_drips);
	drip.peer = talk.peer;
	drip.done = false;
	assert_true(peer_say(talk.peer, "go\n"));
	assert_int_equal(pthread_create(&dripper, NULL, keep_dripping, NULL), 0);
	bool ended = event_wait_ms(&inside, 1, DEADLINE_MS / 2);

	drip.done = true;
	pthread_join(dripper, NULL);
	assert_true(ended);
	assert_int_equal(results[0], -ETIMEDOUT);
	assert_int_equal(results[1], 1);
	talk_close(&talk);
}

/* ------------------------------------------------------------------- limits */

static void take_over_limits(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	(void)book;
	if (!is(data, size, "go"))
		return;
	take_exactly(conn, 0, 9, DEADLINE_MS);
	take_exactly(conn, 1, 8, DEADLINE_MS);
	results[2] = sttcp_conn_recv_exactly(conn, NULL, 1, 0);
	results[3] = sttcp_conn_recv_exactly(conn, texts[3], 1, -2);
	results[4] = sttcp_conn_recv_exactly(conn, NULL, 0, INT32_MIN);
	results[5] = sttcp_conn_recv_exactly(conn, NULL, 0, 0);
	results[6] = sttcp_conn_recv_exactly(conn, texts[6], SIZE_MAX, 0);
	ignore(sttcp_conn_set_framing(conn, &endless_lines));
	results[7] = sttcp_conn_recv_exactly(conn, texts[7], SIZE_MAX, 0);
}

static void more_than_a_message_is_refused(void **state)
{
	struct talk talk = {0};

	(void)state;
	open_with(&talk, &short_lines, take_over_limits);
	assert_true(peer_say(talk.peer, "go\n12345678a\n"));
	talk_ends(&talk, "<go><a>", 0);
	assert_int_equal(results[0], -EMSGSIZE);
	assert_int_equal(results[1], 8);
	assert_string_equal(texts[1], "12345678");
	assert_int_equal(results[2], -EINVAL);
	assert_int_equal(results[3], -EINVAL);
	assert_int_equal(results[4], -EINVAL);
	assert_int_equal(results[5], 0);
	assert_int_equal(results[6], -EMSGSIZE);
	assert_int_equal(results[7], -EMSGSIZE);
}

static void take_a_mebibyte(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	(void)book;
	(void)data;
	(void)size;
	results[0] = sttcp_conn_recv_exactly(conn, lot, MIB + 1, DEADLINE_MS);
	results[1] = sttcp_conn_recv_exactly(conn, lot, MIB, DEADLINE_MS);
}

static void raw_limit_is_a_mebibyte(void **state)
{
	struct talk talk = {0};
	char *sent = calloc(1, MIB);

	(void)state;
	lot = calloc(1, MIB);
	assert_non_null(sent);
	assert_non_null(lot);
	open_with(&talk, &raw, take_a_mebibyte);
	say_and_wait(&talk, "go", 2);
	assert_true(peer_send(talk.peer, sent, MIB));
	talk_ends(&talk, "<go>", 0);
	assert_int_equal(results[0], -EMSGSIZE);
	assert_int_equal(results[1], MIB);
	free(sent);
	free(lot);
}

/* G13: the bytes that wait count, and those over the cap of all connections are refused. */
static void take_over_the_total(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	(void)book;
	(void)data;
	(void)size;
	results[0] = sttcp_conn_recv_exactly(conn, lot, 900 * 1024, DEADLINE_MS);
	results[1] = sttcp_conn_recv_exactly(conn, lot, 1, 0);
}

static void bytes_over_the_total_are_refused(void **state)
{
	struct talk talk = {0};

	(void)state;
	lot = calloc(1, MIB);
	assert_non_null(lot);
	open_with(&talk, STTCP_OPTIONS(.total_queue_max = 200 * 1024), take_over_the_total);
	say_and_wait(&talk, "go", 2);
	for (int i = 0; i < 9 && peer_send(talk.peer, lot, 100 * 1024); i++)
		;
	assert_true(event_wait(&talk.book->ended, 1));
	assert_int_equal(results[0], STTCP_ELIMIT);
	assert_int_equal(results[1], STTCP_ELIMIT);
	assert_int_equal(talk.book->reason, STTCP_ELIMIT);
	assert_string_equal(sttcp_conn_fail_text(talk.book->conn),
			    "no room for more of a message, total_queue_max is 204800");
	talk_close(&talk);
	free(lot);
}

static void take_without_memory(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	(void)book;
	if (!is(data, size, "go"))
		return;
	deny_after(0, true);
	take_exactly(conn, 0, 5, DEADLINE_MS);
	allow_again();
	take_exactly(conn, 1, 5, DEADLINE_MS);
}

static void bytes_stay_when_memory_is_short(void **state)
{
	struct talk talk = {0};

	(void)state;
	if (!memory_can_be_short())
		skip();
	open_with(&talk, &raw, take_without_memory);
	say_and_wait(&talk, "go", 2);
	assert_true(peer_say(talk.peer, "12345"));
	talk_ends(&talk, "<go>", 0);
	assert_int_equal(results[0], -ENOMEM);
	assert_string_equal(texts[1], "12345");
}

/* ------------------------------------------------------------------- between messages */

static atomic_int asked;

/* Lines, with a memory of how far it has looked. */
static int frame_lines(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
		       void *context)
{
	const char *bytes = data;

	(void)conn;
	(void)context;
	asked++;
	for (; frame->state < size; frame->state++) {
		if (bytes[frame->state] == '\n') {
			frame->size = (size_t)frame->state;
			frame->total = frame->size + 1;
			return 1;
		}
	}
	return 0;
}

static const sttcp_options framed =
	FRAMED(.framing = STTCP_FRAMING_CUSTOM, .frame_fn = frame_lines);

static void read_both_ways(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	(void)book;
	if (!is(data, size, "go"))
		return;
	take_message(conn, 0, 0); /* looks at a part of it */
	take_exactly(conn, 1, 30, 0);
	event_raise(&inside);
	take_message(conn, 2, DEADLINE_MS);
	take_exactly(conn, 3, 4, DEADLINE_MS);
	take_message(conn, 4, DEADLINE_MS);
}

/* A read that took nothing has not disturbed what is known of the message at hand, and one that
 * took bytes has forgotten it. */
static void message_is_looked_at_as_if_nothing_was_read(void **state)
{
	const sttcp_options *const ways[] = {&lines, &framed};

	(void)state;
	for (int way = 0; way < 2; way++) {
		struct talk talk = {0};

		open_with(&talk, ways[way], read_both_ways);
		say_and_wait(&talk, "go\nmess", 7);
		assert_true(event_wait(&inside, 1));
		assert_true(peer_say(talk.peer, "age\nab\ncd\nlast\n"));
		talk_ends(&talk, "<go><last>", 0);
		assert_int_equal(results[0], -ETIMEDOUT);
		assert_int_equal(results[1], -ETIMEDOUT);
		assert_string_equal(texts[2], "message");
		assert_string_equal(texts[3], "ab\nc");
		assert_string_equal(texts[4], "d");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_are_read_exactly),
		cmocka_unit_test(raw_bytes_are_read_exactly),
		cmocka_unit_test(connection_handler_may_read_exactly),
		cmocka_unit_test(client_may_read_exactly),
		cmocka_unit_test(data_of_the_handler_stays_valid),
		cmocka_unit_test(bytes_that_are_late_stay_to_be_read),
		cmocka_unit_test(raw_bytes_that_are_left_come_once),
		cmocka_unit_test(timeout_is_for_all_bytes),
		cmocka_unit_test(more_than_a_message_is_refused),
		cmocka_unit_test(raw_limit_is_a_mebibyte),
		cmocka_unit_test(bytes_over_the_total_are_refused),
		cmocka_unit_test(bytes_stay_when_memory_is_short),
		cmocka_unit_test(message_is_looked_at_as_if_nothing_was_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
