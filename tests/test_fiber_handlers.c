/* SPDX-License-Identifier: MIT */
/* The option `fibers`: handlers that wait in the library hold no thread, and all that is promised
 * of handlers holds for one that is parked. */
#include "support/reading.h"

#include <sys/socket.h>

enum {
	MANY = 300,
	PART = 4096
};

static const sttcp_options lines = FRAMED(.framing = STTCP_FRAMING_LINE, .fibers = true);
static const sttcp_options raw = FRAMED(.fibers = true);

static sttcp_stats stats_of(sttcp_server *server)
{
	sttcp_stats stats;

	assert_int_equal(sttcp_server_stats(server, &stats, sizeof(stats)), 0);
	return stats;
}

static bool has_fibers(void)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, &raw);
	bool has = server != NULL;

	sttcp_server_free(server);
#ifndef __GLIBC__
	has = false; /* no makecontext: what follows is about threads that are not there */
#endif
	return has;
}

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

static sttcp_server *listen_with(struct book *book, const sttcp_options *options,
				 bool (*opened)(struct book *book, sttcp_conn *conn),
				 script_fn *script)
{
	book->opened = opened;
	book->script = script;
	return book_listen(book, options);
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

/* ------------------------------------------------------------------ ends */

static struct event parked = EVENT_INIT;
static struct event woken = EVENT_INIT;
static atomic_int slept;

static bool sleep_for_ever(struct book *book, sttcp_conn *conn)
{
	(void)book;
	(void)conn;
	event_raise(&parked);
	atomic_store(&slept, sttcp_sleep(-1));
	/* By force: later ones return at once. */
	if (sttcp_sleep(-1) != atomic_load(&slept) || sttcp_poll(0, 0, -1) != atomic_load(&slept))
		atomic_store(&slept, 1);
	event_raise(&woken);
	return true;
}

static bool recv_for_ever(struct book *book, sttcp_conn *conn)
{
	char byte;

	(void)book;
	event_raise(&parked);
	atomic_store(&slept, (int)sttcp_conn_recv(conn, &byte, 1, -1));
	event_raise(&woken);
	return true;
}

enum way {
	ABORT,
	FAIL_NOW,
	STOP,
	FREE,
	CLOSE,
	FAIL
};

static void end_by(enum way way, sttcp_server *server, sttcp_conn *conn)
{
	switch (way) {
	case ABORT:
		assert_int_equal(sttcp_conn_abort(conn), 0);
		break;
	case FAIL_NOW:
		assert_int_equal(sttcp_conn_fail_now(conn, -7, "so"), 0);
		break;
	case STOP:
		assert_int_equal(sttcp_server_stop_within(server, 0, NULL), 0);
		break;
	case FREE:
		sttcp_server_free(server);
		break;
	case CLOSE:
		assert_int_equal(sttcp_conn_close(conn), 0);
		break;
	case FAIL:
		assert_int_equal(sttcp_conn_fail(conn, -7, "so"), 0);
		break;
	}
}

/* Ends a connection whose connection handler waits, and returns what the wait returned. */
static int wait_ends_by(enum way way, const sttcp_options *options,
			bool (*opened)(struct book *book, sttcp_conn *conn))
{
	struct book *book = book_new();
	long parks = event_count(&parked);
	long wakes = event_count(&woken);

	sttcp_server *server = listen_with(book, options, opened, NULL);
	int peer = peer_connect(sttcp_server_port(server));

	assert_true(event_wait(&parked, parks + 1));
	EVENTUALLY(!options->fibers || !has_fibers() || stats_of(server).fibers_waiting == 1);
	EVENTUALLY(atomic_load(&book->conn));
	end_by(way, server, atomic_load(&book->conn));
	assert_true(event_wait(&woken, wakes + 1));
	if (way != FREE)
		sttcp_server_free(server);
	peer_close(peer);
	book_free(book);
	return atomic_load(&slept);
}

static const sttcp_options plain = FRAMED(.framing = STTCP_FRAMING_RAW);

/* G6, G16: at once, with the reason; with fibers and without. */
static void end_by_force_ends_every_wait(void **state)
{
	static const struct {
		enum way way;
		int reason;
	} ways[] = {
		{ABORT, STTCP_ECLOSED},
		{FAIL_NOW, -7},
		{STOP, STTCP_ESTOPPED},
		{FREE, STTCP_ESTOPPED},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		assert_int_equal(wait_ends_by(ways[i].way, &raw, sleep_for_ever), ways[i].reason);
		assert_int_equal(wait_ends_by(ways[i].way, &raw, recv_for_ever), ways[i].reason);
		assert_int_equal(wait_ends_by(ways[i].way, &plain, sleep_for_ever), ways[i].reason);
		assert_int_equal(wait_ends_by(ways[i].way, &plain, recv_for_ever), ways[i].reason);
	}
}

/* G6. */
static void close_and_fail_end_the_wait_for_input(void **state)
{
	(void)state;
	assert_int_equal(wait_ends_by(CLOSE, &raw, recv_for_ever), STTCP_ECLOSED);
	assert_int_equal(wait_ends_by(FAIL, &raw, recv_for_ever), -7);
}

static bool sleep_a_while(struct book *book, sttcp_conn *conn)
{
	int64_t began = now_ms();

	(void)book;
	(void)conn;
	event_raise(&parked);
	atomic_store(&slept, sttcp_sleep(300));
	results[0] = (ssize_t)(now_ms() - began);
	event_raise(&woken);
	return true;
}

static void close_does_not_end_a_sleep(void **state)
{
	(void)state;
	begin_anew();
	assert_int_equal(wait_ends_by(CLOSE, &raw, sleep_a_while), 0);
	assert_true(results[0] >= 300);
	assert_int_equal(wait_ends_by(FAIL, &raw, sleep_a_while), 0);
	assert_true(results[0] >= 300);
	assert_int_equal(wait_ends_by(CLOSE, &plain, sleep_a_while), 0);
	assert_true(results[0] >= 300);
}

static bool close_then_wait_then_fail(struct book *book, sttcp_conn *conn)
{
	(void)book;
	sttcp_conn_close(conn);
	ignore(sttcp_sleep(5));
	ignore(sttcp_conn_fail(conn, -9, "after all"));
	return true;
}

/* G6: a failure wins over a close in the same call of a handler, also over a wait. */
static void failure_wins_over_a_close_before_the_wait(void **state)
{
	struct book *book = book_new();

	(void)state;
	sttcp_server *server = listen_with(book, &raw, close_then_wait_then_fail, NULL);
	int peer = peer_connect(sttcp_server_port(server));

	assert_true(event_wait(&book->ended, 1));
	assert_int_equal(atomic_load(&book->reason), -9);
	peer_close(peer);
	sttcp_server_free(server);
	book_free(book);
}

static void sleep_in_disconnection(sttcp_conn *conn, int reason, void *context)
{
	(void)conn;
	(void)reason;
	(void)context;
	event_raise(&parked);
	atomic_store(&slept, sttcp_sleep(-1));
	event_raise(&woken);
}

/* G16: also in the last handler, of a connection that had ended long before. */
static void forced_stop_wakes_the_last_handler(void **state)
{
	long parks = event_count(&parked);
	long wakes = event_count(&woken);

	(void)state;
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, &raw);
	assert_int_equal(sttcp_server_on_disconnection(server, sleep_in_disconnection), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	int peer = peer_connect(sttcp_server_port(server));

	peer_close(peer);
	assert_true(event_wait(&parked, parks + 1));
	sttcp_stop_report report;
	assert_int_equal(sttcp_server_stop_within(server, 0, &report), 0);
	assert_true(event_wait(&woken, wakes + 1));
	sttcp_server_free(server);
}

/* ------------------------------------------------------------------ sends */

static void send_a_lot(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	static char lot[8 * 1024 * 1024];

	(void)book;
	(void)data;
	(void)size;
	fill_pattern(lot, sizeof(lot), 1);
	event_raise(&parked);
	results[0] = sttcp_conn_send(conn, lot, sizeof(lot));
	event_raise(&woken);
}

/* G11, G13: a send at the cap waits without a thread, and all of it arrives. */
static void send_at_the_cap_holds_no_thread(void **state)
{
	static char lot[8 * 1024 * 1024];
	static char got[8 * 1024 * 1024];
	struct book *book = book_new();
	const sttcp_options small = FRAMED(.fibers = true, .send_queue_max = 64 * 1024);
	long parks = event_count(&parked);
	long wakes = event_count(&woken);

	(void)state;
	begin_anew();
	sttcp_server *server = listen_with(book, &small, NULL, send_a_lot);
	int peer = peer_connect_narrow(sttcp_server_port(server));

	assert_true(peer_say(peer, "go"));
	assert_true(event_wait(&parked, parks + 1));
	if (has_fibers())
		EVENTUALLY(stats_of(server).fibers_waiting == 1);
	fill_pattern(lot, sizeof(lot), 1);
	assert_true(peer_recv(peer, got, sizeof(got)));
	assert_memory_equal(got, lot, sizeof(lot));
	assert_true(event_wait(&woken, wakes + 1));
	assert_int_equal(results[0], 0);
	peer_close(peer);
	sttcp_server_free(server);
	book_free(book);
}

/* One that waits for room on another connection is ended with its own. */
static _Atomic(sttcp_conn *) full;

static void send_to_the_full_one(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	static char lot[1024 * 1024];

	(void)book;
	if (is(data, size, "full")) {
		atomic_store(&full, sttcp_conn_ref(conn));
		while (sttcp_conn_try_send(conn, lot, 4096) == 0)
			;
		event_raise(&parked);
		return;
	}
	event_raise(&parked);
	if (is(data, size, "late"))
		ignore(sttcp_sleep(-1));
	results[0] = sttcp_conn_send(atomic_load(&full), lot, 60000);
	event_raise(&woken);
}

static void end_a_send_to_the_full_one(const char *how)
{
	struct book *book = book_new();
	const sttcp_options small =
		FRAMED(.fibers = true, .send_queue_max = 64 * 1024, .write_timeout_ms = -1);
	long parks = event_count(&parked);
	long wakes = event_count(&woken);

	begin_anew();
	sttcp_server *server = listen_with(book, &small, NULL, send_to_the_full_one);
	int peer = peer_connect_narrow(sttcp_server_port(server));

	assert_true(peer_say(peer, "full"));
	assert_true(event_wait(&parked, parks + 1));
	int second = peer_connect(sttcp_server_port(server));

	assert_true(peer_say(second, how));
	assert_true(event_wait(&parked, parks + 2));
	EVENTUALLY(stats_of(server).fibers_waiting == 1);
	assert_int_equal(sttcp_conn_abort(atomic_load(&book->conn)), 0);
	assert_true(event_wait(&woken, wakes + 1));
	assert_true(results[0] < 0);
	sttcp_conn_unref(atomic_load(&full));
	peer_close(peer);
	peer_close(second);
	sttcp_server_free(server);
	book_free(book);
}

static void abort_ends_a_send_to_another_connection(void **state)
{
	(void)state;
	if (!has_fibers())
		skip();
	end_a_send_to_the_full_one("send");
}

/* An earlier wait has been woken by that end: the send has to look for itself. */
static void send_behind_an_abort_does_not_wait(void **state)
{
	(void)state;
	if (!has_fibers())
		skip();
	end_a_send_to_the_full_one("late");
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

/* G12. */
static void parked_connection_is_not_detached(void **state)
{
	struct book *book = book_new();
	long parks = event_count(&parked);

	(void)state;
	sttcp_server *server = listen_with(book, &raw, recv_for_ever, NULL);
	int peer = peer_connect(sttcp_server_port(server));

	assert_true(event_wait(&parked, parks + 1));
	if (has_fibers())
		EVENTUALLY(stats_of(server).fibers_waiting == 1);
	EVENTUALLY(atomic_load(&book->conn));
	assert_int_equal(sttcp_conn_detach(atomic_load(&book->conn)), -EBUSY);
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

/* ------------------------------------------------------------------ descriptors of others */

static int pipes[2];

static bool poll_pipe(struct book *book, sttcp_conn *conn)
{
	(void)book;
	results[0] = sttcp_poll(pipes[0], 1 /* POLLIN */, 20);
	event_raise(&parked);
	results[1] = sttcp_poll(pipes[0], 1, -1);
	event_raise(&woken);
	sttcp_conn_send(conn, "ok", 2);
	return true;
}

static void poll_waits_for_a_descriptor(void **state)
{
	struct book *book = book_new();
	long parks = event_count(&parked);
	long wakes = event_count(&woken);

	(void)state;
	begin_anew();
	assert_int_equal(pipe(pipes), 0);
	sttcp_server *server = listen_with(book, &raw, poll_pipe, NULL);
	int peer = peer_connect(sttcp_server_port(server));

	assert_true(event_wait(&parked, parks + 1));
	if (has_fibers())
		EVENTUALLY(stats_of(server).fibers_waiting == 1);
	assert_int_equal(write(pipes[1], "x", 1), 1);
	assert_true(peer_expect(peer, "ok"));
	assert_true(event_wait(&woken, wakes + 1));
	assert_int_equal(results[0], -ETIMEDOUT);
	assert_int_equal(results[1], 1);
	peer_close(peer);
	sttcp_server_free(server);
	book_free(book);
	close(pipes[0]);
	close(pipes[1]);
}

static bool poll_oddities(struct book *book, sttcp_conn *conn)
{
	int fd = dup(0);

	(void)book;
	close(fd);
	results[0] = sttcp_poll(fd, 1, -1); /* POLLNVAL */
	results[1] = sttcp_poll(-1, 1, -1);
	results[2] = sttcp_poll(0, 1, -2);
	FILE *file = tmpfile();
	results[3] = file ? sttcp_poll(fileno(file), 4 /* POLLOUT */, -1) : 4;
	if (file)
		fclose(file);
	event_raise(&woken);
	sttcp_conn_send(conn, "ok", 2);
	return true;
}

static void poll_is_that_of_the_system(void **state)
{
	struct book *book = book_new();
	long wakes = event_count(&woken);

	(void)state;
	begin_anew();
	sttcp_server *server = listen_with(book, &raw, poll_oddities, NULL);
	int peer = peer_connect(sttcp_server_port(server));

	assert_true(peer_expect(peer, "ok"));
	assert_true(event_wait(&woken, wakes + 1));
	assert_int_equal(results[0], 32);
	assert_int_equal(results[1], -EINVAL);
	assert_int_equal(results[2], -EINVAL);
	assert_int_equal(results[3], 4);
	peer_close(peer);
	sttcp_server_free(server);
	book_free(book);
}

static void poll_same_pipe(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	(void)book;
	(void)data;
	(void)size;
	event_raise(&parked);
	if (sttcp_poll(pipes[0], 1, DEADLINE_MS) == 1)
		sttcp_conn_send(conn, "ok", 2);
}

/* The second one holds its thread. */
static void two_may_wait_for_the_same_descriptor(void **state)
{
	struct book *book = book_new();
	long parks = event_count(&parked);
	int peers[4];

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	sttcp_server *server = listen_with(book, &raw, NULL, poll_same_pipe);
	for (int i = 0; i < 4; i++) {
		peers[i] = peer_connect(sttcp_server_port(server));
		assert_true(peer_say(peers[i], "go"));
	}
	assert_true(event_wait(&parked, parks + 4));
	assert_int_equal(write(pipes[1], "x", 1), 1);
	for (int i = 0; i < 4; i++) {
		assert_true(peer_expect(peers[i], "ok"));
		peer_close(peers[i]);
	}
	sttcp_server_free(server);
	book_free(book);
	close(pipes[0]);
	close(pipes[1]);
}

/* The first ones have a limit, and are still there when the number belongs to another pipe. */
static void poll_same_number(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	bool first = is(data, size, "first");

	(void)book;
	event_raise(&parked);
	int result = sttcp_poll(pipes[0], 1, first ? 300 : 10 * DEADLINE_MS);

	sttcp_conn_send(conn, result == (first ? -ETIMEDOUT : 1) ? "ok" : "no", 2);
}

static void poll_leaves_a_number_that_came_back_alone(void **state)
{
	struct book *book = book_new();
	long parks = event_count(&parked);
	int peers[8];
	int other[2];

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	sttcp_server *server = listen_with(book, &raw, NULL, poll_same_number);
	for (int i = 0; i < 4; i++) {
		peers[i] = peer_connect(sttcp_server_port(server));
		assert_true(peer_say(peers[i], "first"));
	}
	assert_true(event_wait(&parked, parks + 4));
	if (has_fibers())
		EVENTUALLY(stats_of(server).fibers_waiting >= 1);
	assert_int_equal(pipe(other), 0);
	assert_int_equal(dup2(other[0], pipes[0]), pipes[0]);
	for (int i = 4; i < 8; i++) {
		peers[i] = peer_connect(sttcp_server_port(server));
		assert_true(peer_say(peers[i], "second"));
	}
	assert_true(event_wait(&parked, parks + 8));
	for (int i = 0; i < 4; i++)
		assert_true(peer_expect(peers[i], "ok"));
	assert_int_equal(write(other[1], "x", 1), 1);
	for (int i = 4; i < 8; i++)
		assert_true(peer_expect(peers[i], "ok"));
	for (int i = 0; i < 8; i++)
		peer_close(peers[i]);
	sttcp_server_free(server);
	book_free(book);
	for (int i = 0; i < 2; i++) {
		close(pipes[i]);
		close(other[i]);
	}
}

/* ------------------------------------------------------------------ anywhere */

static void waits_work_outside_handlers(void **state)
{
	int64_t began = now_ms();
	int ends[2];

	(void)state;
	assert_int_equal(sttcp_sleep(20), 0);
	assert_true(now_ms() - began >= 20);
	assert_int_equal(sttcp_sleep(-2), -EINVAL);
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(sttcp_poll(ends[0], 1, 0), -ETIMEDOUT);
	assert_int_equal(sttcp_poll(ends[0], 1, 10), -ETIMEDOUT);
	assert_int_equal(sttcp_poll(ends[1], 4, -1), 4);
	close(ends[0]);
	close(ends[1]);
}

static void stack_size_is_checked(void **state)
{
	static const int32_t wrong[] = {1, 16383, -1, INT32_MIN};
	sttcp_options options = FRAMED(.fiber_stack_size = 16384);

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
		cmocka_unit_test(end_by_force_ends_every_wait),
		cmocka_unit_test(close_and_fail_end_the_wait_for_input),
		cmocka_unit_test(close_does_not_end_a_sleep),
		cmocka_unit_test(failure_wins_over_a_close_before_the_wait),
		cmocka_unit_test(forced_stop_wakes_the_last_handler),
		cmocka_unit_test(send_at_the_cap_holds_no_thread),
		cmocka_unit_test(abort_ends_a_send_to_another_connection),
		cmocka_unit_test(send_behind_an_abort_does_not_wait),
		cmocka_unit_test(tasks_wait_for_the_handler),
		cmocka_unit_test(tasks_may_wait),
		cmocka_unit_test(parked_connection_is_not_detached),
		cmocka_unit_test(limits_are_never_early),
		cmocka_unit_test(limits_on_input_rest_while_a_handler_waits),
		cmocka_unit_test(poll_waits_for_a_descriptor),
		cmocka_unit_test(poll_is_that_of_the_system),
		cmocka_unit_test(two_may_wait_for_the_same_descriptor),
		cmocka_unit_test(poll_leaves_a_number_that_came_back_alone),
		cmocka_unit_test(waits_work_outside_handlers),
		cmocka_unit_test(stack_size_is_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
