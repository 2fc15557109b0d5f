/* SPDX-License-Identifier: MIT */
/* Tasks of a dialled connection, which take turns with its reads. */
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "support/dialling.h"

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
		cmocka_unit_test(task_runs_on_it_and_reads),
		cmocka_unit_test(task_waits_for_a_read),
		cmocka_unit_test(read_waits_for_a_task),
		cmocka_unit_test(read_waits_for_a_task_that_waits),
		cmocka_unit_test(reads_and_tasks_take_turns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
