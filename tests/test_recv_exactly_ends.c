/* SPDX-License-Identifier: MIT */
/* Reading exactly so many bytes: what ends it, and where it is refused. */
#include "support/reading.h"

static const sttcp_options raw = FRAMED(.framing = STTCP_FRAMING_RAW);
static const sttcp_options lines = FRAMED(.framing = STTCP_FRAMING_LINE);

/* ------------------------------------------------------------------- the peer's FIN */

static void take_over_the_end(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	(void)book;
	if (!is(data, size, "go"))
		return;
	take_exactly(conn, 0, 9, DEADLINE_MS);
	take_exactly(conn, 1, 9, 0);
	take_exactly(conn, 2, 2, 0);
	take_exactly(conn, 3, 2, 0);
	take_exactly(conn, 4, 0, 0);
}

/* The peer's FIN comes first: what is there stays, and counts as what it is. */
static void bytes_before_the_fin_stay_to_be_read(void **state)
{
	static const sttcp_options rest =
		FRAMED(.framing = STTCP_FRAMING_LINE, .rest_at_end = true);
	static const struct {
		const sttcp_options *options;
		const char *wire;
		const char *texts;
		int reason;
	} cases[] = {
		{&lines, "go\nabc\n\nd\n", "<go><><d>", 0},
		{&lines, "go\nabcde", "<go>", STTCP_EFRAME},
		{&rest, "go\nabcde", "<go><e>", 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct talk talk = {0};

		open_with(&talk, cases[i].options, take_over_the_end);
		assert_true(peer_say(talk.peer, cases[i].wire));
		peer_shutdown(talk.peer);
		assert_true(event_wait(&talk.book->ended, 1));
		assert_int_equal(results[0], -ENODATA);
		assert_int_equal(results[1], -ENODATA);
		assert_string_equal(texts[2], "ab");
		assert_int_equal(results[3], 2);
		assert_int_equal(results[4], 0);
		assert_string_equal(book_text(talk.book), cases[i].texts);
		assert_int_equal(talk.book->reason, cases[i].reason);
		talk_close(&talk);
	}
}

static void raw_bytes_before_the_fin_go_to_the_handler(void **state)
{
	struct talk talk = {0};

	(void)state;
	open_with(&talk, &raw, take_over_the_end);
	say_and_wait(&talk, "go", 2);
	assert_true(peer_say(talk.peer, "abcdrest"));
	talk_ends(&talk, "<go><rest>", 0);
	assert_int_equal(results[0], -ENODATA);
	assert_int_equal(results[1], -ENODATA);
	assert_string_equal(texts[3], "cd");
}

/* ------------------------------------------------------------------- who may, and other ends */

static bool read_at_the_end(struct probe *probe, sttcp_conn *conn, int reason)
{
	char byte;

	(void)probe;
	(void)reason;
	return sttcp_conn_recv_exactly(conn, &byte, 1, 0) == -EDEADLK &&
	       sttcp_conn_next_size(conn, 0) == -EDEADLK;
}

static void no_read_in_last_handlers(struct probe *probe, sttcp_conn *conn, int reason)
{
	if (!read_at_the_end(probe, conn, reason))
		probe_violate(probe, "recv_exactly in the last handler");
}

static void no_read_at_the_fin(struct probe *probe, sttcp_conn *conn)
{
	if (!read_at_the_end(probe, conn, 0))
		probe_violate(probe, "recv_exactly in the end handler");
	sttcp_conn_close(conn);
}

static void reading_elsewhere_is_a_deadlock(void **state)
{
	struct pair pair = {.probe = probe_new()};
	char byte;

	(void)state;
	pair.probe->end = no_read_at_the_fin;
	pair.probe->ended = no_read_in_last_handlers;
	pair_open(&pair, STTCP_OPTIONS(.half_close = true));
	assert_int_equal(sttcp_conn_recv_exactly(pair.conn, &byte, 1, 0), -EDEADLK);
	assert_int_equal(sttcp_conn_recv_exactly(NULL, &byte, 1, 0), -EINVAL);
	peer_shutdown(pair.peer);
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	pair_close(&pair);
}

static void wait_for_the_end(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	(void)book;
	if (!is(data, size, "go"))
		return;
	event_raise(&inside);
	take_exactly(conn, 0, 5, -1);
	take_exactly(conn, 1, 1, 0);
}

/* G16: a forced stop wakes it, and a reset does. */
static void end_wakes_who_waits(void **state)
{
	(void)state;
	for (int reset = 0; reset < 2; reset++) {
		struct talk talk = {0};
		int code = reset ? -ECONNRESET : STTCP_ESTOPPED;

		open_with(&talk, &lines, wait_for_the_end);
		assert_true(peer_say(talk.peer, "go\nab"));
		assert_true(event_wait(&inside, 1));
		if (reset) {
			peer_reset(talk.peer);
			talk.peer = -1;
		} else {
			assert_int_equal(sttcp_server_stop_within(talk.server, 0, NULL), 0);
		}
		assert_true(event_wait(&talk.book->ended, 1));
		assert_int_equal(results[0], code);
		assert_int_equal(results[1], code);
		assert_string_equal(book_text(talk.book), "<go>");
		talk_close(&talk);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_before_the_fin_stay_to_be_read),
		cmocka_unit_test(raw_bytes_before_the_fin_go_to_the_handler),
		cmocka_unit_test(reading_elsewhere_is_a_deadlock),
		cmocka_unit_test(end_wakes_who_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
