/* SPDX-License-Identifier: MIT */
/* What a read of a dialled connection makes of its end: the peer's FIN and resets, and what this
 * side does. */
#include <unistd.h>

#include "support/dialling.h"

/* ------------------------------------------------------------------- the other's end */

static void fin_is_read_each_time_and_sending_goes_on(void **state)
{
	struct line_pair pair;
	char text[8];

	(void)state;
	line_open(&pair, STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE));
	assert_true(peer_say(pair.peer, "last\n"));
	peer_shutdown(pair.peer);
	assert_string_equal(dial_message(pair.conn), "last");
	for (int i = 0; i < 3; i++) {
		assert_int_equal(sttcp_conn_recv(pair.conn, text, 8, DEADLINE_MS), 0);
		assert_int_equal(sttcp_conn_recv_message(pair.conn, text, 8, DEADLINE_MS),
				 -ENODATA);
		assert_int_equal(sttcp_conn_recv_exactly(pair.conn, text, 8, DEADLINE_MS),
				 -ENODATA);
		assert_int_equal(sttcp_conn_next_size(pair.conn, DEADLINE_MS), -ENODATA);
		assert_true(sttcp_conn_is_open(pair.conn));
		assert_int_equal(sttcp_conn_send(pair.conn, "x", 1), 0);
		assert_true(peer_expect(pair.peer, "x"));
	}
	sttcp_conn_unref(pair.conn);
	pair.conn = NULL;
	assert_int_equal(peer_end(pair.peer), 0);
	line_close(&pair);
}

/* Half-closed from this side: everything that the peer still says is read. */
static void shutdown_leaves_reading(void **state)
{
	struct line_pair pair;
	char text[8];

	(void)state;
	line_open(&pair, NULL);
	assert_int_equal(sttcp_conn_send(pair.conn, "q", 1), 0);
	assert_int_equal(sttcp_conn_shutdown(pair.conn), 0);
	assert_int_equal(sttcp_conn_send(pair.conn, "x", 1), -EPIPE);
	assert_true(peer_expect(pair.peer, "q"));
	assert_int_equal(peer_end(pair.peer), 0);
	assert_true(peer_say(pair.peer, "answer"));
	peer_close(pair.peer);
	pair.peer = -1;
	assert_int_equal(sttcp_conn_recv_exactly(pair.conn, text, 6, DEADLINE_MS), 6);
	assert_int_equal(sttcp_conn_recv(pair.conn, text, 8, DEADLINE_MS), 0);
	line_close(&pair);
}

static void reset_is_told_behind_what_came_before(void **state)
{
	struct line_pair pair;
	char text[8];

	(void)state;
	line_open(&pair, NULL);
	assert_int_equal(sttcp_conn_send(pair.conn, "unread", 6), 0);
	assert_true(peer_say(pair.peer, "x"));
	assert_int_equal(sttcp_conn_recv(pair.conn, text, 8, DEADLINE_MS), 1);
	peer_reset(pair.peer);
	pair.peer = -1;
	assert_int_equal(sttcp_conn_recv(pair.conn, text, 8, DEADLINE_MS), -ECONNRESET);
	assert_int_equal(sttcp_conn_reason(pair.conn), -ECONNRESET);
	line_close(&pair);
}

/* --------------------------------------------------------------------- its own end */

static void close_ends_a_read(void **state)
{
	struct line_pair pair;
	struct reader reader;

	(void)state;
	line_open(&pair, NULL);
	reader_start(&reader, pair.conn, -1);
	assert_int_equal(sttcp_conn_close(pair.conn), 0);
	assert_int_equal(reader_end(&reader), STTCP_ECLOSED);
	assert_int_equal(peer_end(pair.peer), 0);
	line_close(&pair);
}

static void abort_and_failures_end_a_read(void **state)
{
	struct line_pair pair;
	struct reader reader;

	(void)state;
	line_open(&pair, NULL);
	reader_start(&reader, pair.conn, -1);
	assert_int_equal(sttcp_conn_abort(pair.conn), 0);
	assert_int_equal(reader_end(&reader), STTCP_ECLOSED);
	line_close(&pair);
	line_open(&pair, NULL);
	reader_start(&reader, pair.conn, -1);
	assert_int_equal(sttcp_conn_fail_now(pair.conn, -EPROTO, NULL), 0);
	assert_int_equal(reader_end(&reader), -EPROTO);
	line_close(&pair);
}

/* While another thread reads: that has no handle, but loses nothing. */
static void last_reference_ends_a_read(void **state)
{
	struct line_pair pair;
	struct reader reader;

	(void)state;
	line_open(&pair, NULL);
	reader_start(&reader, pair.conn, -1);
	sttcp_conn_unref(pair.conn);
	pair.conn = NULL;
	assert_int_equal(reader_end(&reader), STTCP_ECLOSED);
	assert_int_equal(peer_end(pair.peer), 0);
	line_close(&pair);
}

static void descriptor_is_detached(void **state)
{
	struct line_pair pair;
	struct reader reader;
	char byte = 0;

	(void)state;
	line_open(&pair, NULL);
	reader_start(&reader, pair.conn, DEADLINE_MS);
	assert_int_equal(sttcp_conn_detach(pair.conn), -EBUSY);
	assert_true(peer_say(pair.peer, "x"));
	assert_int_equal(reader_end(&reader), 1);
	int fd = sttcp_conn_detach(pair.conn);

	if (over_tls()) {
		assert_int_equal(fd, -EOPNOTSUPP);
	} else {
		assert_true(fd >= 0);
		assert_true(peer_say(pair.peer, "y"));
		assert_int_equal(read(fd, &byte, 1), 1);
		assert_int_equal(byte, 'y');
		assert_int_equal(sttcp_conn_recv(pair.conn, &byte, 1, -1), STTCP_ECLOSED);
		close(fd);
	}
	line_close(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fin_is_read_each_time_and_sending_goes_on),
		cmocka_unit_test(shutdown_leaves_reading),
		cmocka_unit_test(reset_is_told_behind_what_came_before),
		cmocka_unit_test(close_ends_a_read),
		cmocka_unit_test(abort_and_failures_end_a_read),
		cmocka_unit_test(last_reference_ends_a_read),
		cmocka_unit_test(descriptor_is_detached),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
