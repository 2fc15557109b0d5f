/* SPDX-License-Identifier: MIT */
/* Tasks of a dialled connection, which take turns with its reads. */
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "support/dialling.h"
#include "support/hall.h"

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

/* --------------------------------------------------------------------- at max_threads */

static struct event at_cap = EVENT_INIT;
static struct event gate = EVENT_INIT;

static void stay(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)conn;
	(void)data;
	(void)size;
	(void)context;
	event_wait(&gate, 1);
}

static void do_nothing(sttcp_conn *conn, void *argument)
{
	(void)conn;
	(void)argument;
}

/* One task runs, and a reader waits for that. Behind it stands another one, for which no thread is
 * left when the first returns. */
static int read_between_tasks(void)
{
	enum {
		FULL = 6
	};
	struct line_pair pair;
	struct reader reader;
	int peers[FULL];

	CHECK(sttcp_engine_configure(1, 3, 0) == 0);
	hall_note_cap(&at_cap);
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);
	CHECK(sttcp_server_on_receive(server, stay) == 0);
	CHECK(sttcp_server_start(server) == 0);
	line_open(&pair, NULL);
	CHECK(sttcp_conn_run(pair.conn, hold_it, NULL, NULL) == 0);
	CHECK(event_wait(&in_task, 1));
	reader_start(&reader, pair.conn, DEADLINE_MS);
	CHECK(sttcp_conn_run(pair.conn, do_nothing, NULL, NULL) == 0);
	for (int i = 0; i < FULL; i++) {
		peers[i] = peer_connect(sttcp_server_port(server));
		CHECK(peer_say(peers[i], "s"));
	}
	CHECK(event_wait(&at_cap, 1));
	CHECK(peer_say(pair.peer, "x"));
	/* The loop has looked for the reader by then, and found the task that runs. */
	nap_ms(50);
	event_raise(&go_on);
	CHECK(reader_end(&reader) == 1);
	CHECK(event_count(&gate) == 0);
	event_raise(&gate);
	line_close(&pair);
	sttcp_server_free(server);
	for (int i = 0; i < FULL; i++)
		peer_close(peers[i]);
	return 0;
}

/* G8: a reader is no handler, and may have the last thread. */
static void a_read_between_tasks_needs_no_thread_of_handlers(void **state)
{
	(void)state;
	assert_int_equal(process_run("read_between_tasks"), 0);
}

static const struct child children[] = {
	{"read_between_tasks", read_between_tasks},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(task_runs_on_it_and_reads),
		cmocka_unit_test(task_waits_for_a_read),
		cmocka_unit_test(read_waits_for_a_task),
		cmocka_unit_test(read_waits_for_a_task_that_waits),
		cmocka_unit_test(reads_and_tasks_take_turns),
		cmocka_unit_test(a_read_between_tasks_needs_no_thread_of_handlers),
	};

	if (argc == 2)
		return child_main(children, argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
