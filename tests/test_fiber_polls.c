/* SPDX-License-Identifier: MIT */
/* sttcp_poll and sttcp_sleep: descriptors of others, in handlers with the option `fibers`, and
 * outside handlers. */
#include "support/fibers.h"

#include <unistd.h>

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

	event_raise(&woken);
	sttcp_conn_send(conn, result == (first ? -ETIMEDOUT : 1) ? "ok" : "no", 2);
}

/* Whether the first ones all waited still. */
static bool give_the_number_to_another_pipe(void)
{
	struct book *book = book_new();
	long parks = event_count(&parked);
	long wakes = event_count(&woken);
	int peers[8];
	int other[2];

	assert_int_equal(pipe(pipes), 0);
	sttcp_server *server = listen_with(book, &raw, NULL, poll_same_number);
	for (int i = 0; i < 4; i++) {
		peers[i] = peer_connect(sttcp_server_port(server));
		assert_true(peer_say(peers[i], "first"));
	}
	assert_true(event_wait(&parked, parks + 4));
	if (has_fibers())
		EVENTUALLY(stats_of(server).fibers_waiting >= 1 || event_count(&woken) > wakes);
	assert_int_equal(pipe(other), 0);
	assert_int_equal(dup2(other[0], pipes[0]), pipes[0]);
	for (int i = 4; i < 8; i++) {
		peers[i] = peer_connect(sttcp_server_port(server));
		assert_true(peer_say(peers[i], "second"));
	}
	assert_true(event_wait(&parked, parks + 8));
	bool in_time = event_count(&woken) == wakes;

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
	return in_time;
}

static void poll_leaves_a_number_that_came_back_alone(void **state)
{
	int64_t until = now_ms() + DEADLINE_MS;

	(void)state;
	while (!give_the_number_to_another_pipe())
		assert_true(now_ms() < until);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(poll_waits_for_a_descriptor),
		cmocka_unit_test(poll_is_that_of_the_system),
		cmocka_unit_test(two_may_wait_for_the_same_descriptor),
		cmocka_unit_test(poll_leaves_a_number_that_came_back_alone),
		cmocka_unit_test(waits_work_outside_handlers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
