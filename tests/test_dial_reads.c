/* SPDX-License-Identifier: MIT */
/* Reading a dialled connection: by any thread, one at a time, and within limits. Ends are in
 * test_dial_ends.c, tasks in test_dial_tasks.c. */
#include <unistd.h>

#include "support/dialling.h"

/* ------------------------------------------------------------------- what is read */

static void bytes_are_read_by_any_thread(void **state)
{
	struct line_pair pair;
	struct reader reader;

	(void)state;
	line_open(&pair, NULL);
	assert_int_equal(sttcp_conn_recv(pair.conn, reader.text, 1, 0), -ETIMEDOUT);
	reader_start(&reader, pair.conn, DEADLINE_MS);
	assert_true(peer_say(pair.peer, "abc"));
	assert_int_equal(reader_end(&reader), 3);
	assert_string_equal(reader.text, "abc");
	line_close(&pair);
}

static void second_reader_is_refused(void **state)
{
	struct line_pair pair;
	struct reader reader;
	char text[8];

	(void)state;
	line_open(&pair, NULL);
	reader_start(&reader, pair.conn, DEADLINE_MS);
	assert_int_equal(sttcp_conn_recv(pair.conn, text, 8, 0), -EBUSY);
	assert_int_equal(sttcp_conn_recv_message(pair.conn, text, 8, -1), -EBUSY);
	assert_int_equal(sttcp_conn_recv_exactly(pair.conn, text, 8, -1), -EBUSY);
	assert_int_equal(sttcp_conn_next_size(pair.conn, -1), -EBUSY);
	/* Sending is for everybody. */
	assert_int_equal(sttcp_conn_send(pair.conn, "x", 1), 0);
	assert_true(peer_expect(pair.peer, "x"));
	assert_true(peer_say(pair.peer, "y"));
	assert_int_equal(reader_end(&reader), 1);
	assert_true(peer_say(pair.peer, "z"));
	assert_int_equal(sttcp_conn_recv(pair.conn, text, 8, DEADLINE_MS), 1);
	line_close(&pair);
}

static void limit_of_a_read_is_never_early(void **state)
{
	struct line_pair pair;
	char byte;

	(void)state;
	line_open(&pair, NULL);
	for (int ms = 1; ms < 40; ms += 6) {
		int64_t began = now_ms();

		assert_int_equal(sttcp_conn_recv(pair.conn, &byte, 1, ms), -ETIMEDOUT);
		assert_true(now_ms() - began >= ms);
	}
	line_close(&pair);
}

/* What one read has brought stays for the next, whichever that is. */
static void kinds_of_reads_take_turns(void **state)
{
	struct line_pair pair;
	char text[16] = "";

	(void)state;
	line_open(&pair, STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE, .max_message = 100));
	assert_true(peer_say(pair.peer, "one\r\ntwo\nbytes1234\nrest"));
	assert_string_equal(dial_message(pair.conn), "one");
	assert_int_equal(sttcp_conn_next_size(pair.conn, 0), 3);
	assert_int_equal(sttcp_conn_recv_message(pair.conn, text, 2, 0), -EMSGSIZE);
	assert_string_equal(dial_message(pair.conn), "two");
	assert_int_equal(sttcp_conn_recv_exactly(pair.conn, text, 5, 0), 5);
	assert_memory_equal(text, "bytes", 5);
	assert_string_equal(dial_message(pair.conn), "1234");
	assert_int_equal(sttcp_conn_recv_message(pair.conn, text, 16, 0), -ETIMEDOUT);
	assert_int_equal(sttcp_conn_recv(pair.conn, text, 16, 0), 4);
	assert_memory_equal(text, "rest", 4);
	line_close(&pair);
}

static void framing_may_be_changed(void **state)
{
	struct line_pair pair;

	(void)state;
	line_open(&pair, NULL);
	assert_true(peer_say(pair.peer, "1\n2,3,"));
	assert_int_equal(
		sttcp_conn_set_framing(pair.conn, STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE)), 0);
	assert_string_equal(dial_message(pair.conn), "1");
	for (int i = 0; i < 3; i++)
		assert_int_equal(
			sttcp_conn_set_framing(
				pair.conn, STTCP_OPTIONS(.framing = STTCP_FRAMING_DELIMITER,
							 .delimiter = ",", .delimiter_size = 1)),
			0);
	assert_string_equal(dial_message(pair.conn), "2");
	assert_string_equal(dial_message(pair.conn), "3");
	line_close(&pair);
}

static void large_messages_come_whole(void **state)
{
	enum {
		SIZE = 700000
	};
	struct probe *probe = probe_new();
	char *data = malloc(SIZE);
	char *back = malloc(SIZE);

	(void)state;
	probe->data = echo_data;
	fill_pattern(data, SIZE, 7);
	sttcp_server *server = probe_listen(probe, NULL);
	sttcp_conn *conn = dial_port(sttcp_server_port(server),
				     STTCP_OPTIONS(.framing = STTCP_FRAMING_LENGTH));

	for (int i = 0; i < 3; i++) {
		assert_int_equal(sttcp_conn_send_message(conn, data, SIZE), 0);
		assert_int_equal(sttcp_conn_next_size(conn, DEADLINE_MS), SIZE);
		assert_int_equal(sttcp_conn_recv_message(conn, back, SIZE, 0), SIZE);
		assert_memory_equal(data, back, SIZE);
	}
	sttcp_conn_unref(conn);
	sttcp_server_free(server);
	probe_free(probe);
	free(data);
	free(back);
}

static void malformed_message_ends_it(void **state)
{
	struct line_pair pair;
	char text[16];

	(void)state;
	line_open(&pair, STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE, .max_message = 4));
	assert_true(peer_say(pair.peer, "12345678"));
	assert_int_equal(sttcp_conn_recv_message(pair.conn, text, 16, DEADLINE_MS), STTCP_ELIMIT);
	assert_true(strstr(sttcp_conn_fail_text(pair.conn), "max_message is 4"));
	line_close(&pair);
}

/* Its frame_fn runs on the thread that reads. */
static pthread_t framed_by;

static int frame_pairs(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
		       void *context)
{
	char byte;

	(void)data;
	(void)context;
	framed_by = pthread_self();
	if (sttcp_conn_recv(conn, &byte, 1, 0) != -EBUSY)
		return -1;
	frame->size = frame->total = 2;
	return size >= 2;
}

static void frame_fn_runs_in_the_read(void **state)
{
	struct line_pair pair;

	(void)state;
	line_open(&pair, STTCP_OPTIONS(.framing = STTCP_FRAMING_CUSTOM, .frame_fn = frame_pairs));
	assert_true(peer_say(pair.peer, "abcd"));
	assert_string_equal(dial_message(pair.conn), "ab");
	assert_string_equal(dial_message(pair.conn), "cd");
	assert_true(pthread_equal(framed_by, pthread_self()));
	line_close(&pair);
}

/* G17: a child that is forked there comes out of the read. */
static pid_t forked;

static int frame_and_fork(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
			  void *context)
{
	(void)conn;
	(void)data;
	(void)context;
	forked = process_fork();
	frame->size = frame->total = size;
	return 1;
}

static void child_forked_in_a_frame_fn_comes_out(void **state)
{
	struct line_pair pair;

	(void)state;
	line_open(&pair,
		  STTCP_OPTIONS(.framing = STTCP_FRAMING_CUSTOM, .frame_fn = frame_and_fork));
	assert_true(peer_say(pair.peer, "ab"));
	const char *text = dial_message(pair.conn);

	if (forked == 0)
		_exit(!text && dial_result == STTCP_EFORK ? 0 : 1);
	assert_int_equal(process_wait_pid(forked), 0);
	assert_string_equal(text, "ab");
	line_close(&pair);
}

/* -------------------------------------------------------------------- limits for input */

static void idle_limit_runs_while_it_is_read(void **state)
{
	struct line_pair pair;
	char byte;

	(void)state;
	line_open(&pair, STTCP_OPTIONS(.idle_timeout_ms = 150));
	/* Nobody waits for the peer. */
	nap_ms(200);
	assert_true(sttcp_conn_is_open(pair.conn));
	/* It goes on from read to read. */
	int64_t began = now_ms();
	ssize_t got;

	do
		got = sttcp_conn_recv(pair.conn, &byte, 1, 20);
	while (got == -ETIMEDOUT && now_ms() - began < DEADLINE_MS);
	assert_int_equal(got, STTCP_ETIME_IDLE);
	assert_true(now_ms() - began >= 100);
	assert_true(strstr(sttcp_conn_fail_text(pair.conn), "idle_timeout_ms is 150"));
	line_close(&pair);
}

static void first_byte_limit_ends_a_read(void **state)
{
	struct line_pair pair;
	char byte;

	(void)state;
	line_open(&pair, STTCP_OPTIONS(.first_byte_timeout_ms = 60));
	assert_int_equal(sttcp_conn_recv(pair.conn, &byte, 1, -1), STTCP_ETIME_FIRST_BYTE);
	line_close(&pair);
}

static void message_limit_ends_a_read(void **state)
{
	struct line_pair pair;
	char text[8];

	(void)state;
	line_open(&pair, STTCP_OPTIONS(.message_timeout_ms = 60, .framing = STTCP_FRAMING_LINE));
	/* Not while no message has begun. */
	assert_int_equal(sttcp_conn_recv_message(pair.conn, text, 8, 100), -ETIMEDOUT);
	assert_true(peer_say(pair.peer, "half"));
	assert_int_equal(sttcp_conn_recv_message(pair.conn, text, 8, -1), STTCP_ETIME_MESSAGE);
	line_close(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_are_read_by_any_thread),
		cmocka_unit_test(second_reader_is_refused),
		cmocka_unit_test(limit_of_a_read_is_never_early),
		cmocka_unit_test(kinds_of_reads_take_turns),
		cmocka_unit_test(framing_may_be_changed),
		cmocka_unit_test(large_messages_come_whole),
		cmocka_unit_test(malformed_message_ends_it),
		cmocka_unit_test(frame_fn_runs_in_the_read),
		cmocka_unit_test(child_forked_in_a_frame_fn_comes_out),
		cmocka_unit_test(idle_limit_runs_while_it_is_read),
		cmocka_unit_test(first_byte_limit_ends_a_read),
		cmocka_unit_test(message_limit_ends_a_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
