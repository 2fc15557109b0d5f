/* SPDX-License-Identifier: MIT */
/* The option `fibers`: handlers that wait in the library hold no thread, and all that is promised
 * of handlers holds for one that is parked: its data, what comes behind it, tasks and time limits.
 * What ends a wait is in test_fiber_ends.c, other waits in test_fiber_sends.c and
 * test_fiber_polls.c. */
#include "support/dialling.h"
#include "support/fibers.h"

#include <poll.h>

enum {
	MANY = 300
};

/* ------------------------------------------------------------------ dialogues */

static bool echo_dialogue(struct book *book, sttcp_conn *conn)
{
	char line[64];
	ssize_t size;

	(void)book;
	while ((size = sttcp_conn_recv_message(conn, line, sizeof(line), -1)) >= 0)
		if (sttcp_conn_send_message(conn, line, (size_t)size) < 0)
			break;
	return true;
}

/* G8: as many dialogues as one likes, and no more threads than for one. */
static void waiting_dialogues_hold_no_thread(void **state)
{
	struct book *book = book_new();
	int peers[MANY];

	(void)state;
	if (!has_fibers())
		skip();
	sttcp_server *server = listen_with(book, &lines, echo_dialogue, NULL);
	for (int i = 0; i < MANY; i++) {
		peers[i] = peer_connect(sttcp_server_port(server));
		assert_true(peers[i] >= 0);
	}
	for (int round = 0; round < 3; round++)
		for (int i = 0; i < MANY; i++) {
			assert_true(peer_say(peers[i], "hello\n"));
			assert_true(peer_expect(peers[i], "hello\n"));
		}
	EVENTUALLY(stats_of(server).fibers_waiting == MANY);
	assert_int_equal(stats_of(server).fibers, MANY);
	assert_true(stats_of(server).threads < 40);
	for (int i = 0; i < MANY; i++)
		peer_close(peers[i]);
	EVENTUALLY(stats_of(server).fibers == 0);
	sttcp_server_free(server);
	book_free(book);
}

/* G5: lines that came together are answered in sequence, and the answers may leave together. */
static void pipelined_dialogue_answers_in_sequence(void **state)
{
	struct book *book = book_new();
	char text[8192];
	size_t size = 0;

	(void)state;
	sttcp_server *server = listen_with(book, &lines, echo_dialogue, NULL);
	int peer = peer_connect(sttcp_server_port(server));

	for (int i = 0; i < 1000; i++)
		size += (size_t)snprintf(text + size, sizeof(text) - size, "%d\n", i);
	for (int round = 0; round < 5; round++) {
		char got[8192];

		assert_true(peer_say(peer, text));
		assert_true(peer_recv(peer, got, size));
		assert_memory_equal(got, text, size);
	}
	peer_close(peer);
	sttcp_server_free(server);
	book_free(book);
}

/* ------------------------------------------------------------------ the handler's data */

static void wait_with_data(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	char *copy = malloc(size + 1);

	(void)book;
	memcpy(copy, data, size);
	for (int i = 0; i < 3; i++)
		ignore(sttcp_sleep(2));
	bool same = memcmp(copy, data, size) == 0;

	free(copy);
	if (same)
		sttcp_conn_send(conn, data, size);
}

/* G5: whatever its size, while others of the same worker read into its buffer. */
static void data_of_a_waiting_handler_stays_valid(void **state)
{
	static const size_t sizes[] = {1, 100, 2048, 2049, 5000, 30000};
	static char text[30000];
	struct book *book = book_new();
	int peers[8];

	(void)state;
	begin_anew();
	sttcp_server *server = listen_with(book, &raw, NULL, wait_with_data);
	for (size_t i = 0; i < sizeof(peers) / sizeof(*peers); i++)
		peers[i] = peer_connect(sttcp_server_port(server));
	for (size_t round = 0; round < sizeof(sizes) / sizeof(*sizes); round++) {
		for (size_t i = 0; i < 8; i++) {
			fill_pattern(text, sizes[round], (uint32_t)(i + round));
			assert_true(peer_send(peers[i], text, sizes[round]));
		}
		for (size_t i = 0; i < 8; i++) {
			static char got[30000];

			fill_pattern(text, sizes[round], (uint32_t)(i + round));
			assert_true(peer_recv(peers[i], got, sizes[round]));
			assert_memory_equal(got, text, sizes[round]);
		}
	}
	for (size_t i = 0; i < 8; i++)
		peer_close(peers[i]);
	sttcp_server_free(server);
	book_free(book);
}

static void sleep_at_each(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	(void)book;
	ignore(sttcp_sleep(1));
	sttcp_conn_send_message(conn, data, size);
}

/* G4, G5: the messages behind one whose handler waits come after it. */
static void messages_behind_a_wait_come_after_it(void **state)
{
	struct book *book = book_new();

	(void)state;
	sttcp_server *server = listen_with(book, &lines, NULL, sleep_at_each);
	int peer = peer_connect(sttcp_server_port(server));

	assert_true(peer_say(peer, "one\ntwo\nthree\nfour\nfive\nsi"));
	assert_true(peer_expect(peer, "one\ntwo\n"));
	assert_true(peer_say(peer, "x\nseven\n"));
	assert_true(peer_expect(peer, "three\nfour\nfive\nsix\nseven\n"));
	peer_close(peer);
	sttcp_server_free(server);
	book_free(book);
}

/* ------------------------------------------------------------------ others of the connection */

static atomic_int tasks_run;

static void count_task(sttcp_conn *conn, void *argument)
{
	(void)conn;
	(void)argument;
	atomic_fetch_add(&tasks_run, 1);
}

static bool give_task_then_wait(struct book *book, sttcp_conn *conn)
{
	(void)book;
	ignore(sttcp_conn_run(conn, count_task, NULL, NULL));
	ignore((ssize_t)sttcp_conn_after(conn, 1, count_task, NULL, NULL));
	ignore(sttcp_sleep(50));
	results[0] = atomic_load(&tasks_run);
	event_raise(&woken);
	return true;
}

/* G4: no task runs while another call of the connection waits; and then they do. */
static void tasks_wait_for_the_handler(void **state)
{
	struct book *book = book_new();
	long wakes = event_count(&woken);

	(void)state;
	begin_anew();
	atomic_store(&tasks_run, 0);
	sttcp_server *server = listen_with(book, &raw, give_task_then_wait, NULL);
	int peer = peer_connect(sttcp_server_port(server));

	assert_true(event_wait(&woken, wakes + 1));
	assert_int_equal(results[0], 0);
	EVENTUALLY(atomic_load(&tasks_run) == 2);
	peer_close(peer);
	sttcp_server_free(server);
	book_free(book);
}

static void task_that_waits(sttcp_conn *conn, void *argument)
{
	char line[64];
	ssize_t size = sttcp_conn_recv_message(conn, line, sizeof(line), DEADLINE_MS);

	(void)argument;
	if (size >= 0)
		sttcp_conn_sendf(conn, "task: %.*s\n", (int)size, line);
}

static bool give_task_that_waits(struct book *book, sttcp_conn *conn)
{
	(void)book;
	ignore(sttcp_conn_run(conn, task_that_waits, NULL, NULL));
	ignore(sttcp_conn_run(conn, task_that_waits, NULL, NULL));
	return true;
}

static void answer(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	(void)book;
	sttcp_conn_send_message(conn, data, size);
}

static void tasks_may_wait(void **state)
{
	struct book *book = book_new();

	(void)state;
	sttcp_server *server = listen_with(book, &lines, give_task_that_waits, answer);
	int peer = peer_connect(sttcp_server_port(server));

	nap_ms(5);
	assert_true(peer_say(peer, "one\n"));
	assert_true(peer_expect(peer, "task: one\n"));
	assert_true(peer_say(peer, "two\nthree\n"));
	assert_true(peer_expect(peer, "task: two\nthree\n"));
	peer_close(peer);
	sttcp_server_free(server);
	book_free(book);
}

/* ------------------------------------------------------------------ time */

static bool recv_with_limit(struct book *book, sttcp_conn *conn)
{
	char byte;
	int64_t began = now_ms();

	(void)book;
	results[0] = sttcp_conn_recv(conn, &byte, 1, 0);
	results[1] = sttcp_conn_recv(conn, &byte, 1, 60);
	results[2] = (ssize_t)(now_ms() - began);
	results[3] = sttcp_sleep(0);
	results[4] = sttcp_sleep(-2);
	event_raise(&woken);
	return true;
}

/* G14. */
static void limits_are_never_early(void **state)
{
	struct book *book = book_new();
	long wakes = event_count(&woken);

	(void)state;
	begin_anew();
	sttcp_server *server = listen_with(book, &raw, recv_with_limit, NULL);
	int peer = peer_connect(sttcp_server_port(server));

	assert_true(event_wait(&woken, wakes + 1));
	assert_int_equal(results[0], -ETIMEDOUT);
	assert_int_equal(results[1], -ETIMEDOUT);
	assert_true(results[2] >= 60);
	assert_int_equal(results[3], 0);
	assert_int_equal(results[4], -EINVAL);
	peer_close(peer);
	sttcp_server_free(server);
	book_free(book);
}

/* G14: limits on input rest while a handler waits, and begin again when it returns. */
static void limits_on_input_rest_while_a_handler_waits(void **state)
{
	struct book *book = book_new();
	const sttcp_options limits =
		FRAMED(.fibers = true, .idle_timeout_ms = 100, .first_byte_timeout_ms = 100);
	int64_t began = now_ms();

	(void)state;
	begin_anew();
	sttcp_server *server = listen_with(book, &limits, sleep_a_while, NULL);
	int peer = peer_connect(sttcp_server_port(server));

	assert_true(event_wait(&book->ended, 1));
	assert_true(now_ms() - began >= 400);
	assert_int_equal(atomic_load(&slept), 0);
	assert_int_equal(atomic_load(&book->reason), STTCP_ETIME_FIRST_BYTE);
	peer_close(peer);
	sttcp_server_free(server);
	book_free(book);
}

/* ------------------------------------------------------------------ callbacks */

static int gate; /* what a callback waits for */
static struct line_pair far;

static void wait_at_gate(void)
{
	event_raise(&parked);
	ignore(sttcp_poll(gate, POLLIN, -1));
}

static void wait_in_free(void *argument)
{
	(void)argument;
	wait_at_gate();
}

static void do_nothing(sttcp_conn *conn, void *argument)
{
	(void)conn;
	(void)argument;
}

static bool free_data(struct book *book, sttcp_conn *conn)
{
	(void)book;
	sttcp_conn_set_data(conn, conn, wait_in_free);
	sttcp_conn_set_data(conn, NULL, NULL);
	event_raise(&woken);
	return true;
}

static bool cancel_task(struct book *book, sttcp_conn *conn)
{
	(void)book;
	sttcp_conn_cancel(conn, sttcp_conn_after(conn, 100000, do_nothing, NULL, wait_in_free));
	event_raise(&woken);
	return true;
}

static void wait_in_log(int level, const char *text, void *context)
{
	(void)level;
	(void)context;
	if (strstr(text, "fixed_size"))
		wait_at_gate();
}

static bool log_refusal(struct book *book, sttcp_conn *conn)
{
	(void)book;
	ignore(sttcp_conn_set_framing(conn, STTCP_OPTIONS(.fixed_size = 1)));
	event_raise(&woken);
	return true;
}

static int frame_at_gate(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
			 void *context)
{
	(void)conn;
	(void)data;
	(void)context;
	wait_at_gate();
	frame->size = frame->total = size;
	return 1;
}

static bool read_far(struct book *book, sttcp_conn *conn)
{
	char text[8];

	(void)book;
	(void)conn;
	ignore(sttcp_conn_recv_message(far.conn, text, sizeof(text), -1));
	event_raise(&woken);
	return true;
}

/* They are no handlers, and have no stack of their own, even if one of a handler is below them. */
static void callbacks_wait_with_their_thread(void **state)
{
	static bool (*const callers[])(struct book *, sttcp_conn *) = {free_data, cancel_task,
								       log_refusal, read_far};

	(void)state;
	line_open(&far, STTCP_OPTIONS(.framing = STTCP_FRAMING_CUSTOM, .frame_fn = frame_at_gate));
	assert_true(peer_say(far.peer, "x"));
	sttcp_set_log(wait_in_log, NULL);
	for (size_t i = 0; i < sizeof(callers) / sizeof(callers[0]); i++) {
		struct book *book = book_new();
		long before = event_count(&parked);
		long after = event_count(&woken);
		int ends[2];

		assert_int_equal(pipe(ends), 0);
		gate = ends[0];
		sttcp_server *server = listen_with(book, &raw, callers[i], NULL);
		int peer = peer_connect(sttcp_server_port(server));

		assert_true(event_wait(&parked, before + 1));
		EVENTUALLY(stats_of(server).fibers_waiting || stats_of(server).threads_blocked);
		assert_int_equal(stats_of(server).fibers_waiting, 0);
		assert_int_equal(write(ends[1], "x", 1), 1);
		assert_true(event_wait(&woken, after + 1));
		peer_close(peer);
		sttcp_server_free(server);
		book_free(book);
		close(ends[0]);
		close(ends[1]);
	}
	sttcp_set_log(NULL, NULL);
	line_close(&far);
}

/* The byte that it reads, or 0. */
static void read_in_free(void *argument)
{
	char byte = 0;

	event_raise(&parked);
	ignore(sttcp_conn_recv(argument, &byte, 1, DEADLINE_MS));
	atomic_store(&slept, byte);
}

/* The first read has emptied the stream. */
static bool read_twice(struct book *book, sttcp_conn *conn)
{
	char bytes[8];

	(void)book;
	assert_int_equal(sttcp_conn_recv(conn, bytes, sizeof(bytes), DEADLINE_MS), 1);
	sttcp_conn_set_data(conn, conn, read_in_free);
	sttcp_conn_set_data(conn, NULL, NULL);
	event_raise(&woken);
	return true;
}

static void callbacks_read_with_their_thread(void **state)
{
	struct book *book = book_new();
	sttcp_server *server = listen_with(book, &raw, read_twice, NULL);
	long before = event_count(&parked);
	long after = event_count(&woken);
	int peer = peer_connect(sttcp_server_port(server));

	(void)state;
	assert_true(peer_say(peer, "1"));
	assert_true(event_wait(&parked, before + 1));
	EVENTUALLY(stats_of(server).threads_blocked == 1);
	assert_true(peer_say(peer, "2"));
	assert_true(event_wait(&woken, after + 1));
	assert_int_equal(atomic_load(&slept), '2');
	peer_close(peer);
	sttcp_server_free(server);
	book_free(book);
}

/* ------------------------------------------------------------------ anywhere */

static void stack_size_is_checked(void **state)
{
	static const int32_t wrong[] = {1, 16383, -1, INT32_MIN};
	sttcp_options options = FRAMED(.fibers = true);

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		options.fiber_stack_size = wrong[i];
		sttcp_server *server = sttcp_server_new("127.0.0.1", 0, &options);
		assert_int_equal(sttcp_server_start(server), -EINVAL);
		sttcp_server_free(server);
	}
	options.fiber_stack_size = 16384;
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, &options);
	assert_int_equal(sttcp_server_start(server), 0);
	sttcp_server_free(server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(waiting_dialogues_hold_no_thread),
		cmocka_unit_test(pipelined_dialogue_answers_in_sequence),
		cmocka_unit_test(data_of_a_waiting_handler_stays_valid),
		cmocka_unit_test(messages_behind_a_wait_come_after_it),
		cmocka_unit_test(tasks_wait_for_the_handler),
		cmocka_unit_test(tasks_may_wait),
		cmocka_unit_test(limits_are_never_early),
		cmocka_unit_test(limits_on_input_rest_while_a_handler_waits),
		cmocka_unit_test(callbacks_wait_with_their_thread),
		cmocka_unit_test(callbacks_read_with_their_thread),
		cmocka_unit_test(stack_size_is_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
