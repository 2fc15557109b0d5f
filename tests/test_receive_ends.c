/* SPDX-License-Identifier: MIT */
/* Reading inside handlers: how long it waits, who wakes it, and where it is refused. */
#include "support/reading.h"

static const sttcp_options raw = FRAMED(.framing = STTCP_FRAMING_RAW);
static const sttcp_options lines = FRAMED(.framing = STTCP_FRAMING_LINE);
static const sttcp_options rest_lines = FRAMED(.framing = STTCP_FRAMING_LINE, .rest_at_end = true);
static const sttcp_options lengths =
	FRAMED(.framing = STTCP_FRAMING_LENGTH, .prefix_size = 2, .max_message = 1000);

static int64_t took_ms;

/* ------------------------------------------------------------------------ time */

static void wait_for_half(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	(void)book;
	(void)data;
	(void)size;
	take_bytes(conn, 0, 10, 0);
	take_message(conn, 1, 0);
	int64_t began = now_ms();
	take_bytes(conn, 2, 10, 50);
	took_ms = now_ms() - began;
	event_raise(&inside);
	/* Half of it comes, and later the rest. */
	do {
		take_message(conn, 3, 20);
	} while (results[3] == -ETIMEDOUT && now_ms() - began < DEADLINE_MS);
	event_raise(&inside);
	take_bytes(conn, 4, 1, -1);
}

static void timeouts_lose_nothing(void **state)
{
	struct talk talk = {0};

	(void)state;
	open_with(&talk, &lines, wait_for_half);
	assert_true(peer_say(talk.peer, "go\n"));
	assert_true(event_wait(&inside, 1));
	assert_int_equal(results[0], -ETIMEDOUT);
	assert_int_equal(results[1], -ETIMEDOUT);
	assert_int_equal(results[2], -ETIMEDOUT);
	assert_true(took_ms >= 50 && took_ms < DEADLINE_MS);
	say_and_wait(&talk, "one ", 4);
	assert_true(peer_say(talk.peer, "line\n"));
	assert_true(event_wait(&inside, 2));
	assert_string_equal(texts[3], "one line");
	assert_int_equal(event_count(&talk.book->changed), 0);
	assert_true(peer_say(talk.peer, "x"));
	talk_ends(&talk, "<go>", 0);
	assert_int_equal(results[4], 1);
}

/* ------------------------------------------------------------------------ ends */

static void read_to_the_end(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	(void)book;
	(void)data;
	(void)size;
	event_raise(&inside);
	for (int i = 0; i < 3; i++)
		take_message(conn, i, -1);
	for (int i = 3; i < 5; i++)
		take_bytes(conn, i, 10, -1);
	results[5] = sttcp_conn_reason(conn);
	event_raise(&inside);
}

static void end_of_the_peer_is_told(void **state)
{
	const struct {
		const sttcp_options *options;
		const char *bytes;
		size_t size;
		ssize_t results[5];
		int reason;
	} cases[] = {
		{&lines, WIRE("go\n"), {-ENODATA, -ENODATA, -ENODATA, 0, 0}, 0},
		{&rest_lines, WIRE("go\nrest"), {4, -ENODATA, -ENODATA, 0, 0}, 0},
		{&lines,
		 WIRE("go\nrest"),
		 {STTCP_EFRAME, STTCP_EFRAME, STTCP_EFRAME, STTCP_EFRAME, STTCP_EFRAME},
		 STTCP_EFRAME},
		{&raw, WIRE("go"), {-ENODATA, -ENODATA, -ENODATA, 0, 0}, 0},
		{&lengths,
		 WIRE("\0\2go\0\1a\0\2b"),
		 {1, STTCP_EFRAME, STTCP_EFRAME, STTCP_EFRAME, STTCP_EFRAME},
		 STTCP_EFRAME},
		{&lengths,
		 WIRE("\0\2go\0\1a\7\7"),
		 {1, STTCP_ELIMIT, STTCP_ELIMIT, STTCP_ELIMIT, STTCP_ELIMIT},
		 STTCP_ELIMIT},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct talk talk = {0};

		open_with(&talk, cases[i].options, read_to_the_end);
		assert_true(peer_send(talk.peer, cases[i].bytes, cases[i].size));
		assert_true(event_wait(&inside, 1));
		talk_ends(&talk, "<go>", cases[i].reason);
		for (int j = 0; j < 5; j++)
			assert_int_equal(results[j], cases[i].results[j]);
	}
}

static void stop_server(struct talk *talk)
{
	sttcp_server_stop_within(talk->server, 0, NULL);
}

static void close_conn(struct talk *talk)
{
	sttcp_conn_close(talk->book->conn);
}

static void abort_conn(struct talk *talk)
{
	sttcp_conn_abort(talk->book->conn);
}

static void fail_conn(struct talk *talk)
{
	sttcp_conn_fail(talk->book->conn, -EPROTO, NULL);
}

static void reset_conn(struct talk *talk)
{
	peer_reset(talk->peer);
	talk->peer = -1;
}

/* Whoever ends the connection wakes a handler that waits without limit, and it learns why. */
static void end_of_the_connection_wakes_a_waiting_handler(void **state)
{
	const struct {
		void (*end)(struct talk *talk);
		int code;
	} cases[] = {{stop_server, STTCP_ESTOPPED},
		     {close_conn, STTCP_ECLOSED},
		     {abort_conn, STTCP_ECLOSED},
		     {fail_conn, -EPROTO},
		     {reset_conn, -ECONNRESET}};

	(void)state;
	for (size_t i = 0; i < 4 * sizeof(cases) / sizeof(cases[0]); i++) {
		struct talk talk = {0};
		int code = cases[i / 4].code;

		open_with(&talk, i % 2 ? &lines : &raw, read_to_the_end);
		assert_true(peer_say(talk.peer, "go\n"));
		assert_true(event_wait(&inside, 1));
		if (i % 4 > 1)
			nap_ms(5); /* it waits by now, or not yet: both have to do */
		cases[i / 4].end(&talk);
		assert_true(event_wait(&inside, 2));
		for (int j = 0; j < 6; j++)
			assert_int_equal(results[j], code);
		talk_ends(&talk, i % 2 ? "<go>" : "<go\n>", code);
	}
}

/* ------------------------------------------------------------------- elsewhere */

static _Atomic(sttcp_conn *) other;

static void *read_from_a_thread(void *argument)
{
	take_bytes(argument, 1, 10, 0);
	return NULL;
}

static void read_elsewhere(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	pthread_t thread;

	(void)book;
	(void)data;
	(void)size;
	take_bytes(atomic_load(&other), 0, 10, 0);
	if (pthread_create(&thread, NULL, read_from_a_thread, conn) == 0)
		pthread_join(thread, NULL);
	results[2] = sttcp_conn_recv(conn, NULL, 10, 0);
	results[3] = sttcp_conn_recv_message(conn, NULL, 10, 0);
	take_bytes(conn, 4, 10, -2);
	results[5] = sttcp_conn_recv(conn, NULL, 0, 0);
}

static void read_last(sttcp_conn *conn, int reason, void *context)
{
	struct book *book = context;

	book->reason = reason;
	take_bytes(conn, 6, 10, 0);
	event_raise(&book->ended);
}

static void read_at_end(sttcp_conn *conn, void *context)
{
	(void)context;
	take_message(conn, 7, 0);
	sttcp_conn_close(conn);
}

static void reading_elsewhere_is_refused(void **state)
{
	struct talk talk = {0};
	struct book *others = book_new();
	char buffer[8];

	(void)state;
	open_with(&talk, STTCP_OPTIONS(.half_close = true), read_elsewhere);
	assert_int_equal(sttcp_server_stop_within(talk.server, 0, NULL), 0);
	peer_close(talk.peer);
	assert_true(event_wait(&talk.book->ended, 1));
	talk.book->ended.count = 0;
	/* Until its last handler has returned it is busy. */
	EVENTUALLY(sttcp_server_on_end(talk.server, read_at_end) == 0);
	assert_int_equal(sttcp_server_on_disconnection(talk.server, read_last), 0);
	assert_int_equal(sttcp_server_start(talk.server), 0);
	talk.peer = book_join(talk.server);
	sttcp_server *second = book_listen(others, NULL);
	int peer = book_join(second);
	atomic_store(&other, others->conn);
	assert_int_equal(sttcp_conn_recv(others->conn, buffer, 8, 0), -EDEADLK);
	assert_int_equal(sttcp_conn_recv_message(others->conn, buffer, 8, 0), -EDEADLK);
	assert_int_equal(sttcp_conn_recv(NULL, buffer, 8, 0), -EINVAL);
	assert_true(peer_say(talk.peer, "x"));
	talk_ends(&talk, "<x>", STTCP_ECLOSED);
	assert_int_equal(results[0], -EDEADLK);
	assert_int_equal(results[1], -EDEADLK);
	assert_int_equal(results[2], -EINVAL);
	assert_int_equal(results[3], -EINVAL);
	assert_int_equal(results[4], -EINVAL);
	assert_int_equal(results[5], 0);
	assert_int_equal(results[6], -EDEADLK);
	assert_int_equal(results[7], -EDEADLK);
	peer_close(peer);
	sttcp_server_free(second);
	book_free(others);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(timeouts_lose_nothing),
		cmocka_unit_test(end_of_the_peer_is_told),
		cmocka_unit_test(end_of_the_connection_wakes_a_waiting_handler),
		cmocka_unit_test(reading_elsewhere_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
