/* SPDX-License-Identifier: MIT */
/* Small answers to several messages of one read leave together, and nobody waits for that: not who
 * is answered before a handler blocks, and not who calls flush. */
#include "support/book.h"
#include "support/faults.h"

enum {
	ROUNDS = 20,
	LINES = 16,
	LARGE = 100 * 1024
};

static const sttcp_options lines = FRAMED(.framing = STTCP_FRAMING_LINE);

/* ------------------------------------------------------------------- counting */

/* The library sends by syscall(2). */
static atomic_long sends;

static long count_sends(long number, const long arguments[6])
{
	if (number == SYS_sendto || number == SYS_sendmsg)
		atomic_fetch_add(&sends, 1);
	return real_syscall(number, arguments);
}

static void echo_line(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	(void)book;
	sttcp_conn_send_message(conn, data, size);
}

/* For one of some rounds; -1 where all of them together needed many. */
static int fewest_sends(struct talk *talk)
{
	int best = LINES;

	atomic_store(&sends, 0);
	for (int round = 0; round < ROUNDS; round++) {
		char text[LINES * 8];
		size_t len = 0;
		long before = atomic_load(&sends);

		for (int i = 0; i < LINES; i++)
			len += (size_t)snprintf(text + len, sizeof(text) - len, "%d.%d\n", round,
						i);
		assert_true(peer_send(talk->peer, text, len));
		assert_true(peer_expect(talk->peer, text));
		int took = (int)(atomic_load(&sends) - before);
		best = took < best ? took : best;
	}
	return atomic_load(&sends) <= ROUNDS * LINES / 4 ? best : -1;
}

/* On a machine that interrupts a handler for long, it is taken for one that blocks: then a round
 * needs some more. */
static void answers_to_one_read_leave_in_one_send(void **state)
{
	struct talk talk = {0};
	int took = -1;

	(void)state;
	talk_open_with(&talk, &lines, echo_line);
	for (int tries = 0; tries < 10 && took != 1; tries++)
		took = fewest_sends(&talk);
	assert_int_equal(took, 1);
	talk_close(&talk);
}

/* Where only one message came nothing is held back. */
static struct event gate;
static struct event inside;

static void reset_events(void)
{
	struct event fresh = EVENT_INIT;

	gate = fresh;
	inside = fresh;
}

static void answer_and_stay(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	echo_line(book, conn, data, size);
	event_wait(&gate, 1);
}

static void answer_to_one_message_leaves_at_once(void **state)
{
	struct talk talk = {0};

	(void)state;
	reset_events();
	talk_open_with(&talk, &lines, answer_and_stay);
	assert_true(peer_say(talk.peer, "alone\n"));
	assert_true(peer_expect(talk.peer, "alone\n"));
	assert_int_equal(event_count(&talk.book->changed), 0);
	event_raise(&gate);
	talk_ends(&talk, "<alone>", 0);
}

/* ------------------------------------------------------------------- blocking */

static void stay_at_word(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	echo_line(book, conn, data, size);
	if (!is(data, size, "stay"))
		return;
	event_wait(&gate, 1);
	sttcp_conn_send(conn, "from inside\n", 12);
	event_wait(&gate, 2);
	sttcp_conn_send(conn, "and again\n", 10);
}

static void answers_do_not_wait_for_a_handler_that_blocks(void **state)
{
	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		struct talk talk = {0};

		reset_events();
		talk_open_with(&talk, &lines, stay_at_word);
		assert_true(peer_say(talk.peer, "a\nb\nstay\nc\nd\n"));
		assert_true(peer_expect(talk.peer, "a\nb\nstay\n"));
		assert_int_equal(event_count(&talk.book->changed), 2);
		event_raise(&gate);
		assert_true(peer_expect(talk.peer, "from inside\n"));
		assert_int_equal(event_count(&talk.book->changed), 2);
		event_raise(&gate);
		assert_true(peer_expect(talk.peer, "and again\nc\nd\n"));
		talk_ends(&talk, "<a><b><stay><c><d>", 0);
	}
}

/* The same on many connections of the same loops, each with its own blocked handler. */
static void answers_of_many_do_not_wait_for_handlers_that_block(void **state)
{
	struct talk talk = {0};
	int peers[32];

	(void)state;
	reset_events();
	talk_open_with(&talk, &lines, stay_at_word);
	for (int i = 0; i < 32; i++) {
		peers[i] = book_join(talk.server);
		assert_true(peer_say(peers[i], "a\nb\nstay\nc\n"));
	}
	for (int i = 0; i < 32; i++)
		assert_true(peer_expect(peers[i], "a\nb\nstay\n"));
	event_raise(&gate);
	for (int i = 0; i < 32; i++)
		assert_true(peer_expect(peers[i], "from inside\n"));
	event_raise(&gate);
	for (int i = 0; i < 32; i++) {
		assert_true(peer_expect(peers[i], "and again\nc\n"));
		peer_close(peers[i]);
	}
	talk_close(&talk);
}

/* A handler that has just blocked: what comes next on its connection is worked by the pool. */
static void nap_at_word(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	if (is(data, size, "nap"))
		nap_ms(5);
	stay_at_word(book, conn, data, size);
}

static void go_to_the_pool(struct talk *talk)
{
	assert_true(peer_say(talk->peer, "nap\n"));
	assert_true(peer_expect(talk->peer, "nap\n"));
}

static void answers_leave_in_one_send_from_the_pool_too(void **state)
{
	struct talk talk = {0};
	long best = LINES;

	(void)state;
	talk_open_with(&talk, &lines, nap_at_word);
	for (int round = 0; round < ROUNDS; round++) {
		go_to_the_pool(&talk);
		long before = atomic_load(&sends);

		assert_true(peer_say(talk.peer, "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\n"));
		assert_true(peer_expect(talk.peer, "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\n"));
		long took = atomic_load(&sends) - before;

		best = took < best ? took : best;
	}
	assert_int_equal(best, 1);
	talk_close(&talk);
}

static void answers_do_not_wait_for_a_handler_that_blocks_in_the_pool(void **state)
{
	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		struct talk talk = {0};

		reset_events();
		talk_open_with(&talk, &lines, nap_at_word);
		go_to_the_pool(&talk);
		assert_true(peer_say(talk.peer, "a\nb\nstay\nc\nd\n"));
		assert_true(peer_expect(talk.peer, "a\nb\nstay\n"));
		event_raise(&gate);
		assert_true(peer_expect(talk.peer, "from inside\n"));
		event_raise(&gate);
		assert_true(peer_expect(talk.peer, "and again\nc\nd\n"));
		talk_ends(&talk, "<nap><a><b><stay><c><d>", 0);
	}
}

static void close_and_stay(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	nap_at_word(book, conn, data, size);
	if (!is(data, size, "end"))
		return;
	sttcp_conn_abort(conn);
	event_raise(&inside);
	event_wait(&gate, 1);
}

/* The one who lets go of it finds a connection that has ended. */
static void connection_may_end_while_the_pool_gathers(void **state)
{
	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		struct talk talk = {0};

		reset_events();
		talk_open_with(&talk, &lines, close_and_stay);
		go_to_the_pool(&talk);
		assert_true(peer_say(talk.peer, "a\nend\nc\n"));
		assert_int_equal(peer_end(talk.peer), -ECONNRESET);
		assert_true(event_wait(&inside, 1));
		event_raise(&gate);
		assert_true(event_wait(&talk.book->ended, 1));
		talk_ends(&talk, "<nap><a><end>", STTCP_ECLOSED);
	}
}

static atomic_bool let_go;
static atomic_llong queued_after;

static void flush_and_spin(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	echo_line(book, conn, data, size);
	if (!is(data, size, "flush"))
		return;
	atomic_store(&queued_after, sttcp_conn_flush(conn) == 0 ? conn_queued(conn) : -1);
	for (int64_t until = now_ms() + DEADLINE_MS; !atomic_load(&let_go) && now_ms() < until;)
		;
}

static void flush_lets_go_of_what_is_gathered(void **state)
{
	struct talk talk = {0};

	(void)state;
	atomic_store(&let_go, false);
	atomic_store(&queued_after, -1);
	talk_open_with(&talk, &lines, flush_and_spin);
	assert_true(peer_say(talk.peer, "a\nflush\nb\n"));
	assert_true(peer_expect(talk.peer, "a\nflush\n"));
	assert_int_equal(event_count(&talk.book->changed), 1);
	atomic_store(&let_go, true);
	assert_true(peer_expect(talk.peer, "b\n"));
	assert_int_equal(atomic_load(&queued_after), 0);
	talk_ends(&talk, "<a><flush><b>", 0);
}

static void look_for_input(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	char byte;

	echo_line(book, conn, data, size);
	if (!is(data, size, "recv") && !is(data, size, "message"))
		return;
	if (is(data, size, "recv"))
		ignore(sttcp_conn_recv(conn, &byte, 0, 0));
	else
		ignore(sttcp_conn_recv_message(conn, NULL, 0, 0));
	atomic_store(&queued_after, conn_queued(conn));
}

/* Also one that does not wait: the peer may be asked again and again. */
static void reading_lets_go_of_what_is_gathered(void **state)
{
	const char *const words[] = {"recv", "message"};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct talk talk = {0};
		char text[32];

		atomic_store(&queued_after, -1);
		talk_open_with(&talk, &lines, look_for_input);
		snprintf(text, sizeof(text), "a\n%s\nb\n", words[i]);
		assert_true(peer_say(talk.peer, text));
		assert_true(peer_expect(talk.peer, text));
		assert_int_equal(atomic_load(&queued_after), 0);
		talk_close(&talk);
	}
}

/* ---------------------------------------------------------------------- order */

static char large[LARGE];

/* A line of its own for each way of sending, small and large, in the order of the calls. */
static void send_all_ways(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	struct iovec parts[] = {{large, 40000}, {"v", 1}};

	(void)book;
	sttcp_conn_send_message(conn, data, size);
	sttcp_conn_sendf(conn, "%.*s%%", (int)size, (const char *)data);
	sttcp_server_broadcast(sttcp_conn_server(conn), "all", 3);
	sttcp_conn_send(conn, large, 32768); /* all that is ever gathered at once */
	ignore(sttcp_conn_try_send(conn, "try", 3));
	sttcp_conn_sendv(conn, parts, 2);
	sttcp_server_broadcast_message(sttcp_conn_server(conn), NULL, data, size);
	sttcp_conn_send(conn, large, LARGE);
	sttcp_server_broadcast(sttcp_conn_server(conn), large, 33000);
	sttcp_conn_send(conn, "", 0);
	sttcp_conn_send(conn, ".", 1);
}

static void expect_large(int peer, size_t size)
{
	static char got[LARGE];

	assert_true(peer_recv(peer, got, size));
	assert_memory_equal(got, large, size);
}

static void all_ways_of_sending_keep_the_order(void **state)
{
	struct talk talk = {0};
	char text[LINES * 8];
	size_t len = 0;

	(void)state;
	fill_pattern(large, sizeof(large), 5);
	talk_open_with(
		&talk,
		STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE, .send_queue_max = 16 * 1024 * 1024),
		send_all_ways);
	for (int i = 0; i < LINES; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%d\n", i);
	assert_true(peer_send(talk.peer, text, len));
	for (int i = 0; i < LINES; i++) {
		char line[64];

		snprintf(line, sizeof(line), "%d\n%d%%all", i, i);
		assert_true(peer_expect(talk.peer, line));
		expect_large(talk.peer, 32768);
		assert_true(peer_expect(talk.peer, "try"));
		expect_large(talk.peer, 40000);
		snprintf(line, sizeof(line), "v%d\n", i);
		assert_true(peer_expect(talk.peer, line));
		expect_large(talk.peer, LARGE);
		expect_large(talk.peer, 33000);
		assert_true(peer_expect(talk.peer, "."));
	}
	talk_close(&talk);
}

/* Answers that grow until several of them, then each alone, are more than is gathered. */
static void send_as_many(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	char number[16] = "";

	(void)book;
	memcpy(number, data, size < sizeof(number) - 1 ? size : 0);
	sttcp_conn_send(conn, large, (size_t)atoi(number));
}

static void answers_over_what_is_gathered_keep_the_order(void **state)
{
	struct talk talk = {0};
	char text[1024];
	size_t len = 0;

	(void)state;
	fill_pattern(large, sizeof(large), 6);
	talk_open_with(&talk, &lines, send_as_many);
	for (int size = 1; size < LARGE; size = size * 3 / 2 + 1)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%d\n7\n", size);
	assert_true(peer_send(talk.peer, text, len));
	for (int size = 1; size < LARGE; size = size * 3 / 2 + 1) {
		expect_large(talk.peer, (size_t)size);
		expect_large(talk.peer, 7);
	}
	talk_close(&talk);
}

/* ----------------------------------------------------------------------- ends */

static atomic_int refusal;

static void end_at_word(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	echo_line(book, conn, data, size);
	if (is(data, size, "close"))
		sttcp_conn_close(conn);
	else if (is(data, size, "fail"))
		sttcp_conn_fail(conn, -EPROTO, "so it is");
	else if (is(data, size, "abort"))
		sttcp_conn_abort(conn);
	else if (is(data, size, "shutdown"))
		sttcp_conn_shutdown(conn);
	else
		return;
	atomic_store(&refusal, sttcp_conn_send(conn, "late\n", 5));
}

static void ends_flush_what_is_gathered(void **state)
{
	const struct {
		const char *sent, *answer, *text;
		int reason, refusal;
	} cases[] = {
		{"a\nclose\nb\n", "a\nclose\n", "<a><close>", STTCP_ECLOSED, STTCP_ECLOSED},
		{"a\nfail\nb\n", "a\nfail\n", "<a><fail>", -EPROTO, -EPROTO},
		{"a\nshutdown\nb\n", "a\nshutdown\n", "<a><shutdown><b>", 0, -EPIPE},
		{"close\nb\n", "close\n", "<close>", STTCP_ECLOSED, STTCP_ECLOSED},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct talk talk = {0};

		atomic_store(&refusal, 0);
		talk_open_with(&talk, &lines, end_at_word);
		assert_true(peer_say(talk.peer, cases[i].sent));
		assert_true(peer_expect(talk.peer, cases[i].answer));
		assert_int_equal(peer_end(talk.peer), 0);
		talk_ends(&talk, cases[i].text, cases[i].reason);
		assert_int_equal(atomic_load(&refusal), cases[i].refusal);
	}
}

static void abort_drops_what_is_gathered(void **state)
{
	struct talk talk = {0};

	(void)state;
	talk_open_with(&talk, &lines, end_at_word);
	assert_true(peer_say(talk.peer, "a\nabort\nb\n"));
	assert_int_equal(peer_end(talk.peer), -ECONNRESET);
	assert_true(event_wait(&talk.book->ended, 1));
	talk_ends(&talk, "<a><abort>", STTCP_ECLOSED);
}

static bool say_no_at_no(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)context;
	sttcp_conn_send_message(conn, data, size);
	return !is(data, size, "no");
}

static void verdict_of_a_client_flushes_what_is_gathered(void **state)
{
	int port;
	int listener = peer_listen(&port, 1);

	(void)state;
	sttcp_client *client = sttcp_client_new("127.0.0.1", port, &lines);
	assert_int_equal(sttcp_client_on_response(client, say_no_at_no), 0);
	assert_int_equal(sttcp_client_start(client), 0);
	int peer = peer_accept(listener);
	assert_true(peer_say(peer, "yes\nno\nnever\n"));
	assert_true(peer_expect(peer, "yes\nno\n"));
	assert_int_equal(peer_end(peer), 0);
	peer_close(peer);
	assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), 0);
	sttcp_client_free(client);
	peer_close(listener);
}

/* ------------------------------------------------------------------ small caps */

static atomic_long taken;
static atomic_int too_large;

/* Until nothing more is taken. */
static void try_until_full(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	int result = 0;

	(void)book;
	echo_line(book, conn, data, size);
	if (!is(data, size, "fill"))
		return;
	for (size_t part = 1; result == 0; part = part % 64 + 1) {
		result = sttcp_conn_try_send(conn, large, part);
		if (result == 0)
			atomic_fetch_add(&taken, (long)part);
	}
	atomic_store(&too_large, result == -EAGAIN ? sttcp_conn_try_send(conn, large, 65) : result);
	event_raise(&inside);
}

static void try_send_with_a_small_cap_takes_all_or_nothing(void **state)
{
	struct talk talk = {0};

	(void)state;
	reset_events();
	memset(large, 'l', sizeof(large));
	atomic_store(&taken, 0);
	talk_open_with(&talk, STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE, .send_queue_max = 64),
		       try_until_full);
	assert_true(peer_say(talk.peer, "0123456789\n0123456789\n0123456789\nfill\nend\n"));
	assert_true(event_wait(&inside, 1));
	assert_int_equal(atomic_load(&too_large), -EMSGSIZE);
	assert_true(peer_expect(talk.peer, "0123456789\n0123456789\n0123456789\nfill\n"));
	for (long left = atomic_load(&taken); left > 0; left -= LARGE)
		expect_large(talk.peer, left < LARGE ? (size_t)left : LARGE);
	assert_true(peer_expect(talk.peer, "end\n"));
	talk_close(&talk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_to_one_read_leave_in_one_send),
		cmocka_unit_test(answer_to_one_message_leaves_at_once),
		cmocka_unit_test(answers_do_not_wait_for_a_handler_that_blocks),
		cmocka_unit_test(answers_leave_in_one_send_from_the_pool_too),
		cmocka_unit_test(answers_do_not_wait_for_a_handler_that_blocks_in_the_pool),
		cmocka_unit_test(connection_may_end_while_the_pool_gathers),
		cmocka_unit_test(answers_of_many_do_not_wait_for_handlers_that_block),
		cmocka_unit_test(flush_lets_go_of_what_is_gathered),
		cmocka_unit_test(reading_lets_go_of_what_is_gathered),
		cmocka_unit_test(all_ways_of_sending_keep_the_order),
		cmocka_unit_test(answers_over_what_is_gathered_keep_the_order),
		cmocka_unit_test(ends_flush_what_is_gathered),
		cmocka_unit_test(abort_drops_what_is_gathered),
		cmocka_unit_test(verdict_of_a_client_flushes_what_is_gathered),
		cmocka_unit_test(try_send_with_a_small_cap_takes_all_or_nothing),
	};

	atomic_store(&stand_in_syscall, count_sends);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
