/* SPDX-License-Identifier: MIT */
/* Bytes that a handler gives back, as the Python extension does (G5). */
#include "api/unread.h"

#include <errno.h>

#include "support/support.h"

static const char *back; /* given back by the first handler */

static bool give_back(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)data;
	(void)size;
	if (probe_count(probe, STTCP_RECEIVE) == 0 && stt_conn_unread(conn, back, strlen(back)) < 0)
		probe_violate(probe, "bytes that are not taken back");
	return true;
}

static void expect_text(const sttcp_options *options, const char *said, const char *text,
			long calls)
{
	struct pair pair = {.probe = probe_new()};

	pair.probe->data = give_back;
	pair_open(&pair, options);
	assert_true(peer_say(pair.peer, said));
	assert_true(probe_wait(pair.probe, STTCP_RECEIVE, calls));
	assert_string_equal(probe_text(pair.probe), text);
	pair_close(&pair);
}

static void what_is_given_back_comes_next(void **state)
{
	(void)state;
	back = "more";
	expect_text(NULL, "first ", "first more", 2);
}

/* In front of what came with the first message; and a part waits for its end. */
static void messages_are_found_in_it(void **state)
{
	const sttcp_options lines = {.size = sizeof(lines), .framing = STTCP_FRAMING_LINE};

	(void)state;
	back = "b\nc\n";
	expect_text(&lines, "a\nd\ne\n", "abcde", 5);
	back = "b\nc";
	expect_text(&lines, "a\nd\ne\n", "abcde", 4);
}

static bool read_back(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	char text[16] = "";

	(void)data;
	(void)size;
	if (probe_count(probe, STTCP_RECEIVE) > 0)
		return true;
	if (stt_conn_unread(conn, "given back", 10) < 0 ||
	    sttcp_conn_recv_exactly(conn, text, 10, 0) != 10 || strcmp(text, "given back") != 0)
		probe_violate(probe, "read \"%s\"", text);
	return true;
}

static void reads_find_it_first(void **state)
{
	struct pair pair = {.probe = probe_new()};

	(void)state;
	pair.probe->data = read_back;
	pair_open(&pair, STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE));
	assert_true(peer_say(pair.peer, "a\nb\n"));
	assert_true(probe_wait(pair.probe, STTCP_RECEIVE, 2));
	assert_string_equal(probe_text(pair.probe), "ab");
	pair_close(&pair);
}

static void it_is_taken_from_its_handlers_alone(void **state)
{
	struct pair pair = {0};

	(void)state;
	pair_open(&pair, NULL);
	assert_int_equal(stt_conn_unread(pair.conn, "x", 1), -EDEADLK);
	assert_int_equal(stt_conn_unread(NULL, "x", 1), -EINVAL);
	assert_true(peer_say(pair.peer, "y"));
	assert_true(probe_wait(pair.probe, STTCP_RECEIVE, 1));
	assert_string_equal(probe_text(pair.probe), "y");
	pair_close(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_given_back_comes_next),
		cmocka_unit_test(messages_are_found_in_it),
		cmocka_unit_test(reads_find_it_first),
		cmocka_unit_test(it_is_taken_from_its_handlers_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
