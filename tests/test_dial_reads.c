/* SPDX-License-Identifier: MIT */
/* Reading a dialled connection: by any thread, one at a time; the peer's FIN, limits, tasks. */
#include <fcntl.h>
#include <poll.h>
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

/* --------------------------------------------------------------------------- tasks */

static struct event in_task = EVENT_INIT;
static struct event go_on = EVENT_INIT;
static ssize_t task_read;
static char task_text[8];

static void read_there(sttcp_conn *conn, void *argument)
{
	(void)argument;
	task_read = sttcp_conn_recv(conn, task_text, 2, DEADLINE_MS);
	event_raise(&in_task);
}

static void hold_it(sttcp_conn *conn, void *argument)
{
	(void)conn;
	(void)argument;
	event_raise(&in_task);
	event_wait(&go_on, 1);
}

static void task_runs_on_it_and_reads(void **state)
{
	struct line_pair pair;
	long before = event_count(&in_task);
	char text[8] = "";

	(void)state;
	line_open(&pair, NULL);
	assert_true(peer_say(pair.peer, "abcd"));
	assert_int_equal(sttcp_conn_run(pair.conn, read_there, NULL, NULL), 0);
	assert_true(event_wait(&in_task, before + 1));
	assert_int_equal(task_read, 2);
	assert_memory_equal(task_text, "ab", 2);
	assert_int_equal(sttcp_conn_recv_exactly(pair.conn, text, 2, DEADLINE_MS), 2);
	assert_string_equal(text, "cd");
	line_close(&pair);
}

static void *read_two(void *argument)
{
	struct reader *reader = argument;

	reader->result = sttcp_conn_recv_exactly(reader->conn, reader->text, 2, DEADLINE_MS);
	return NULL;
}

static int64_t bytes_read(sttcp_conn *conn)
{
	sttcp_conn_counts counts;

	assert_int_equal(sttcp_conn_stats(conn, &counts, sizeof(counts)), 0);
	return counts.bytes_in;
}

/* A read is as a handler: what is given meanwhile runs after it. */
static void task_waits_for_a_read(void **state)
{
	struct line_pair pair;
	struct reader reader = {.result = 0};
	long before = event_count(&in_task);

	(void)state;
	line_open(&pair, NULL);
	reader.conn = pair.conn;
	assert_int_equal(pthread_create(&reader.thread, NULL, read_two, &reader), 0);
	/* From the first byte on it is under way, and no longer waits for its turn. */
	assert_true(peer_say(pair.peer, "w"));
	EVENTUALLY(bytes_read(pair.conn) == 1);
	assert_int_equal(sttcp_conn_run(pair.conn, read_there, NULL, NULL), 0);
	assert_true(peer_say(pair.peer, "x"));
	assert_int_equal(reader_end(&reader), 2);
	assert_true(peer_say(pair.peer, "y"));
	assert_true(event_wait(&in_task, before + 1));
	assert_int_equal(task_read, 1);
	assert_int_equal(task_text[0], 'y');
	line_close(&pair);
}

static void read_waits_for_a_task(void **state)
{
	struct line_pair pair;
	struct reader reader;
	long before = event_count(&in_task);
	char byte;

	(void)state;
	line_open(&pair, NULL);
	assert_int_equal(sttcp_conn_run(pair.conn, hold_it, NULL, NULL), 0);
	assert_true(event_wait(&in_task, before + 1));
	assert_true(peer_say(pair.peer, "x"));
	assert_int_equal(sttcp_conn_recv(pair.conn, &byte, 1, 20), -ETIMEDOUT);
	reader_start(&reader, pair.conn, DEADLINE_MS);
	event_raise(&go_on);
	assert_int_equal(reader_end(&reader), 1);
	line_close(&pair);
}

static int task_pipe[2];

static void wait_there(sttcp_conn *conn, void *argument)
{
	(void)conn;
	(void)argument;
	event_raise(&in_task);
	task_read = sttcp_poll(task_pipe[0], POLLIN, -1);
	event_raise(&in_task);
}

/* Both wait in the library, and neither takes the other's place there: the reader learns that the
 * task has returned, and an abort ends them both. */
static void read_waits_for_a_task_that_waits(void **state)
{
	struct line_pair pair;
	struct reader reader;
	char byte;

	(void)state;
	assert_int_equal(pipe2(task_pipe, O_CLOEXEC), 0);
	for (int aborts = 0; aborts <= 1; aborts++) {
		long before = event_count(&in_task);

		line_open(&pair, NULL);
		assert_int_equal(sttcp_conn_run(pair.conn, wait_there, NULL, NULL), 0);
		assert_true(event_wait(&in_task, before + 1));
		assert_true(peer_say(pair.peer, "x"));
		reader_start(&reader, pair.conn, -1);
		if (aborts)
			assert_int_equal(sttcp_conn_abort(pair.conn), 0);
		else
			assert_int_equal(write(task_pipe[1], "x", 1), 1);
		assert_true(event_wait(&in_task, before + 2));
		assert_int_equal(task_read, aborts ? STTCP_ECLOSED : POLLIN);
		assert_true(event_wait(&reader.ended, 1));
		assert_int_equal(reader_end(&reader), aborts ? STTCP_ECLOSED : 1);
		assert_int_equal(aborts || read(task_pipe[0], &byte, 1) == 1, 1);
		line_close(&pair);
	}
	close(task_pipe[0]);
	close(task_pipe[1]);
}

static atomic_int beats;

static void beat(sttcp_conn *conn, void *argument)
{
	(void)conn;
	(void)argument;
	atomic_fetch_add(&beats, 1);
}

/* Reads and tasks hand the connection to and fro. */
static void reads_and_tasks_take_turns(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	probe->data = echo_data;
	sttcp_server *server = probe_listen(probe, NULL);
	sttcp_conn *conn = dial_port(sttcp_server_port(server), NULL);

	beats = 0;
	assert_true(sttcp_conn_every(conn, 1, beat, NULL, NULL) > 0);
	for (int i = 0; i < 2000 || beats < 20; i++) {
		char byte = (char)i;
		char back = 0;

		assert_int_equal(sttcp_conn_send(conn, &byte, 1), 0);
		assert_int_equal(sttcp_conn_recv(conn, &back, 1, DEADLINE_MS), 1);
		assert_int_equal(back, byte);
		if (i % 7 == 0)
			assert_int_equal(sttcp_conn_run(conn, beat, NULL, NULL), 0);
	}
	sttcp_conn_unref(conn);
	sttcp_server_free(server);
	probe_free(probe);
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
		cmocka_unit_test(fin_is_read_each_time_and_sending_goes_on),
		cmocka_unit_test(shutdown_leaves_reading),
		cmocka_unit_test(reset_is_told_behind_what_came_before),
		cmocka_unit_test(close_ends_a_read),
		cmocka_unit_test(abort_and_failures_end_a_read),
		cmocka_unit_test(last_reference_ends_a_read),
		cmocka_unit_test(descriptor_is_detached),
		cmocka_unit_test(idle_limit_runs_while_it_is_read),
		cmocka_unit_test(first_byte_limit_ends_a_read),
		cmocka_unit_test(message_limit_ends_a_read),
		cmocka_unit_test(task_runs_on_it_and_reads),
		cmocka_unit_test(task_waits_for_a_read),
		cmocka_unit_test(read_waits_for_a_task),
		cmocka_unit_test(read_waits_for_a_task_that_waits),
		cmocka_unit_test(reads_and_tasks_take_turns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
