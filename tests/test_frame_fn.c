/* SPDX-License-Identifier: MIT */
/* Frame functions on connections: when they are asked, what they get and remember, and what becomes
 * of their word. How that is weighed is test_framing_limits.c's. */
#include "support/book.h"
#include "support/protocols.h"

enum {
	CALLS_MAX = 64
};

/* What a frame function was given, call by call. */
static struct {
	sttcp_conn *conn;
	size_t size;
	sttcp_frame before;
} calls[CALLS_MAX];
static atomic_int ncalls;

/* "<digit><payload>.", with as many bytes; it counts its calls for a message. At the header it
 * wants the ".", or tells all at once if its context says so. */
static int frame_and_note(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
			  void *context)
{
	const struct book *book = context;
	const char *text = data;
	int call = atomic_load(&ncalls);

	if (call < CALLS_MAX) {
		calls[call].conn = conn;
		calls[call].size = size;
		calls[call].before = *frame;
	}
	atomic_store(&ncalls, call + 1);
	frame->state += 1000;
	if (text[0] < '0' || text[0] > '9')
		return -1;
	frame->skip = 1;
	frame->size = (size_t)(text[0] - '0');
	frame->total = frame->size + 2;
	return book->extra || size >= frame->total;
}

static const sttcp_options digits =
	FRAMED(.framing = STTCP_FRAMING_CUSTOM, .frame_fn = frame_and_note, .max_message = 8);
static const sttcp_options lines = FRAMED(.framing = STTCP_FRAMING_LINE);

static void open_digits(struct talk *talk, bool at_once)
{
	if (!talk->book)
		talk->book = book_new();
	talk->book->extra = at_once ? talk : NULL;
	atomic_store(&ncalls, 0);
	talk_open(talk, &digits);
}

static void drip(struct talk *talk, const char *bytes)
{
	for (size_t i = 0; bytes[i]; i++)
		say_and_wait(talk, bytes + i, 1);
}

static bool is_zero(const sttcp_frame *frame)
{
	return !frame->skip && !frame->size && !frame->total && !frame->state;
}

/* ------------------------------------------------------------------- asked when */

static void frame_fn_is_asked_again_when_it_wants_to(void **state)
{
	struct talk talk = {0};

	(void)state;
	open_digits(&talk, false);
	drip(&talk, "3abc.1d.");
	say_and_wait(&talk, "2ef.0.", 6);
	talk_ends(&talk, "<abc><d><ef><>", 0);
	assert_int_equal(atomic_load(&ncalls), 6);
	for (int i = 0; i < 4; i++) {
		const sttcp_frame *before = &calls[i].before;

		assert_int_equal(calls[i].size, i == 1 ? 5 : i == 3 ? 3 : 1);
		if (i % 2) {
			assert_int_equal(before->state, 1000);
			assert_int_equal(before->skip, 1);
			assert_int_equal(before->size, i == 1 ? 3 : 1);
			assert_int_equal(before->total, i == 1 ? 5 : 3);
		} else {
			assert_true(is_zero(before));
		}
	}
	assert_true(is_zero(&calls[4].before));
	assert_true(is_zero(&calls[5].before));
}

static void message_told_early_comes_without_another_call(void **state)
{
	struct talk talk = {0};

	(void)state;
	open_digits(&talk, true);
	drip(&talk, "3abc.");
	assert_true(event_wait(&talk.book->changed, 1));
	assert_int_equal(atomic_load(&ncalls), 1);
	assert_int_equal(calls[0].size, 1);
	say_and_wait(&talk, "2ef.1", 5);
	say_and_wait(&talk, "g", 1);
	say_and_wait(&talk, ".", 1);
	talk_ends(&talk, "<abc><ef><g>", 0);
	assert_int_equal(atomic_load(&ncalls), 3);
}

static void memory_is_of_one_connection(void **state)
{
	struct talk talk = {0};

	(void)state;
	open_digits(&talk, false);
	int other = book_join(talk.server);
	int64_t before = book_bytes_in(talk.book);
	assert_true(peer_say(other, "2a"));
	EVENTUALLY(book_bytes_in(talk.book) == before + 2);
	assert_true(peer_say(talk.peer, "1"));
	EVENTUALLY(atomic_load(&ncalls) == 2);
	assert_true(peer_say(other, "b."));
	assert_true(event_wait(&talk.book->changed, 1));
	assert_true(peer_say(talk.peer, "c."));
	assert_true(event_wait(&talk.book->changed, 2));
	assert_true(is_zero(&calls[0].before));
	assert_true(is_zero(&calls[1].before));
	assert_int_equal(calls[2].before.size, 2);
	assert_int_equal(calls[3].before.size, 1);
	assert_ptr_equal(calls[0].conn, calls[2].conn);
	assert_ptr_equal(calls[1].conn, calls[3].conn);
	assert_true(calls[0].conn != calls[1].conn);
	assert_ptr_equal(calls[0].conn, atomic_load(&talk.book->conn));
	peer_close(other);
	talk_ends(&talk, "<ab><c>", 0);
}

/* Another framing knows nothing of what was kept. */
static void memory_is_forgotten_with_the_framing(void **state)
{
	struct talk talk = {0};

	(void)state;
	open_digits(&talk, false);
	say_and_wait(&talk, "5a\n", 3);
	EVENTUALLY(atomic_load(&ncalls) == 1);
	assert_int_equal(sttcp_conn_set_framing(talk.book->conn, &lines), 0);
	assert_true(event_wait(&talk.book->changed, 1));
	say_and_wait(&talk, "2", 1);
	assert_int_equal(sttcp_conn_set_framing(talk.book->conn, &digits), 0);
	EVENTUALLY(atomic_load(&ncalls) == 2);
	assert_int_equal(sttcp_conn_set_framing(talk.book->conn, &digits), 0);
	EVENTUALLY(atomic_load(&ncalls) == 3);
	assert_true(is_zero(&calls[1].before));
	assert_true(is_zero(&calls[2].before));
	assert_true(peer_say(talk.peer, "bc."));
	talk_ends(&talk, "<5a><bc>", 0);
}

/* ------------------------------------------------------------------ in a handler */

static struct {
	ssize_t results[4];
	char texts[4][16];
} got;

static void read_inside(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	(void)book;
	if (size != 2 || memcmp(data, "go", 2) != 0)
		return;
	/* Too little room twice, then enough; then two bytes that are no message. */
	got.results[0] = sttcp_conn_recv_message(conn, got.texts[0], 1, DEADLINE_MS);
	got.results[1] = sttcp_conn_recv_message(conn, NULL, 0, 0);
	got.results[2] = sttcp_conn_recv_message(conn, got.texts[2], 15, 0);
	got.results[3] = sttcp_conn_recv(conn, got.texts[3], 2, DEADLINE_MS);
}

static void handlers_that_read_ask_it_likewise(void **state)
{
	(void)state;
	for (int at_once = 0; at_once < 2; at_once++) {
		struct talk talk = {.book = book_new()};

		memset(&got, 0, sizeof(got));
		talk.book->script = read_inside;
		open_digits(&talk, at_once);
		assert_true(peer_say(talk.peer, "2go.3"));
		EVENTUALLY(atomic_load(&ncalls) == 2);
		assert_true(peer_say(talk.peer, "abc.??1d."));
		talk_ends(&talk, "<go><d>", 0);
		assert_int_equal(got.results[0], -EMSGSIZE);
		assert_int_equal(got.results[1], -EMSGSIZE);
		assert_int_equal(got.results[2], 3);
		assert_string_equal(got.texts[2], "abc");
		assert_int_equal(got.results[3], 2);
		assert_string_equal(got.texts[3], "??");
		assert_int_equal(atomic_load(&ncalls), at_once ? 3 : 4);
		assert_true(is_zero(&calls[atomic_load(&ncalls) - 1].before));
	}
}

/* ------------------------------------------------------------------ what it may do */

static int frame_by_state(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
			  void *context)
{
	struct book *book = context;
	const char *end = memchr(data, sttcp_conn_data(conn) ? ';' : '\n', size);
	char byte;

	book->asked = sttcp_conn_recv(conn, &byte, 1, 0) == -EDEADLK &&
		      sttcp_conn_recv_message(conn, &byte, 1, 0) == -EDEADLK &&
		      sttcp_conn_is_open(conn);
	if (!end)
		return 0;
	frame->size = (size_t)(end - (const char *)data);
	frame->total = frame->size + 1;
	return 1;
}

static void go_on_with_semicolons(struct book *book, sttcp_conn *conn, const void *data,
				  size_t size)
{
	(void)data;
	if (size == 2)
		sttcp_conn_set_data(conn, book, NULL);
}

static void connection_tells_it_what_was_said_before(void **state)
{
	struct talk talk = {.book = book_new()};

	(void)state;
	talk.book->script = go_on_with_semicolons;
	talk_open(&talk,
		  STTCP_OPTIONS(.framing = STTCP_FRAMING_CUSTOM, .frame_fn = frame_by_state));
	assert_true(peer_say(talk.peer, "a;b\ngo\nc\nd;e;"));
	assert_true(event_wait(&talk.book->changed, 4));
	assert_int_equal(talk.book->asked, 1);
	talk_ends(&talk, "<a;b><go><c\nd><e>", 0);
}

static int frame_and_fail(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
			  void *context)
{
	(void)size;
	(void)context;
	if (*(const char *)data == 'x') {
		sttcp_conn_fail(conn, -71, "no x here");
		return -1;
	}
	frame->size = frame->total = 1;
	return 1;
}

/* Its own word on the reason comes before the library's. */
static void failure_in_it_is_the_reason(void **state)
{
	struct talk talk = {0};

	(void)state;
	talk_open(&talk,
		  STTCP_OPTIONS(.framing = STTCP_FRAMING_CUSTOM, .frame_fn = frame_and_fail));
	assert_true(peer_say(talk.peer, "abxc"));
	assert_true(event_wait(&talk.book->ended, 1));
	assert_string_equal(sttcp_conn_fail_text(talk.book->conn), "no x here");
	talk_ends(&talk, "<a><b>", -71);
}

/* ------------------------------------------------------------------------ cost */

/* A command of many parts: each byte is looked at a few times, however slowly they come. */
static void command_of_many_parts_may_drip(void **state)
{
	enum {
		PARTS = 100
	};
	struct talk talk = {0};
	char command[PARTS * 8 + 16];
	int len = snprintf(command, sizeof(command), "*%d\r\n", PARTS);

	(void)state;
	for (int i = 0; i < PARTS; i++)
		len += snprintf(command + len, sizeof(command) - (size_t)len, "$1\r\n%c\r\n",
				'a' + i % 26);
	atomic_store(&resp_looked, 0);
	talk_open(&talk, STTCP_OPTIONS(.framing = STTCP_FRAMING_CUSTOM, .frame_fn = resp_frame));
	drip(&talk, command);
	assert_true(event_wait(&talk.book->changed, 1));
	assert_in_range(atomic_load(&resp_looked), len / 2, 4 * len);
	assert_true(peer_say(talk.peer, "PING\r\n"));
	assert_true(event_wait(&talk.book->changed, 2));
	const char *text = book_text(talk.book);
	assert_string_equal(text + strlen(text) - 8, "<PING\r\n>");
	talk_close(&talk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frame_fn_is_asked_again_when_it_wants_to),
		cmocka_unit_test(message_told_early_comes_without_another_call),
		cmocka_unit_test(memory_is_of_one_connection),
		cmocka_unit_test(memory_is_forgotten_with_the_framing),
		cmocka_unit_test(handlers_that_read_ask_it_likewise),
		cmocka_unit_test(connection_tells_it_what_was_said_before),
		cmocka_unit_test(failure_in_it_is_the_reason),
		cmocka_unit_test(command_of_many_parts_may_drip),
	};

	/* One loop: the functions run one at a time. */
	if (sttcp_engine_configure(1, 0, 0) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
