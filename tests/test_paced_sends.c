/* SPDX-License-Identifier: MIT */
/* Once a send has waited, others wait for a shorter queue (conn/output.c). That must cost nobody
 * the room which send_queue_max gives (G13), and tear nothing (G11). */
#include "support/support.h"

#include <errno.h>
#include <sched.h>

enum {
	CAP = 1024 * 1024,
	BLOCK = 64 * 1024,
	/* More than is queued in a short queue, and less than what then still fits. */
	READ = CAP / 2
};

/* Sends blocks, each full of its number, on a thread of the user's. */
struct stream {
	sttcp_conn *conn;
	int most;
	atomic_int sent;
	int result;
	pthread_t thread;
};

static void *send_blocks(void *argument)
{
	struct stream *stream = argument;
	static _Thread_local char block[BLOCK];

	for (int i = 0; i < stream->most && stream->result == 0; i++) {
		memset(block, 'a' + i % 16, sizeof(block));
		stream->result = sttcp_conn_send(stream->conn, block, sizeof(block));
		if (stream->result == 0)
			atomic_fetch_add(&stream->sent, 1);
	}
	return NULL;
}

/* Whether one of its sends waits: else all of them are through. */
static bool stream_begin(struct stream *stream, sttcp_conn *conn, int most)
{
	int64_t until = now_ms() + DEADLINE_MS;

	*stream = (struct stream){.conn = conn, .most = most};
	assert_int_equal(pthread_create(&stream->thread, NULL, send_blocks, stream), 0);
	/* Without a nap, in which the pace would end. */
	while (conn_queued(conn) < CAP && atomic_load(&stream->sent) < most && now_ms() < until)
		sched_yield();
	assert_true(now_ms() < until);
	return atomic_load(&stream->sent) < most;
}

static void expect_blocks(int peer, size_t from, size_t size)
{
	static char bytes[BLOCK];

	while (size) {
		size_t part = BLOCK - from % BLOCK < size ? BLOCK - from % BLOCK : size;

		assert_true(peer_recv(peer, bytes, part));
		for (size_t i = 0; i < part; i++)
			assert_int_equal(bytes[i], 'a' + (int)(from / BLOCK % 16));
		from += part;
		size -= part;
	}
}

/* A peer that reads a little and then no more: the sends that there is room for come back. */
static void sends_find_the_room_of_a_peer_that_stops_reading(void **state)
{
	struct pair pair = {0};
	struct stream stream;

	(void)state;
	pair_open_narrow(&pair, STTCP_OPTIONS(.send_queue_max = CAP));
	assert_true(stream_begin(&stream, pair.conn, 64));

	int before = atomic_load(&stream.sent);

	expect_blocks(pair.peer, 0, READ);
	EVENTUALLY(atomic_load(&stream.sent) >= before + READ / BLOCK / 2);
	EVENTUALLY(conn_queued(pair.conn) == CAP);
	expect_blocks(pair.peer, READ, (size_t)stream.most * BLOCK - READ);
	pthread_join(stream.thread, NULL);
	assert_int_equal(stream.result, 0);
	EVENTUALLY(conn_queued(pair.conn) == 0);
	pair_close(&pair);
}

/* The result of a try_send behind a send that waits for a shorter queue. */
static int try_beside_a_send_that_waits(void)
{
	struct pair pair = {0};
	struct stream stream;
	static char parts[2 * CAP];
	size_t ahead = 0;

	pair_open_narrow(&pair, STTCP_OPTIONS(.send_queue_max = CAP));
	/* The socket's buffers, and then the queue but for a part of a block. */
	for (; conn_queued(pair.conn) == 0; ahead++)
		assert_int_equal(sttcp_conn_try_send(pair.conn, "x", 1), 0);
	for (;;) {
		int64_t room = CAP - conn_queued(pair.conn) - BLOCK / 2;

		if (room > 0) {
			assert_int_equal(sttcp_conn_try_send(pair.conn, parts, (size_t)room), 0);
			ahead += (size_t)room;
		}
		if (stream_begin(&stream, pair.conn, 1))
			break;
		/* The socket has taken more of it meanwhile. */
		pthread_join(stream.thread, NULL);
		assert_int_equal(stream.result, 0);
		ahead += BLOCK;
	}

	/* What stood in front is read, until there is room: at once, while the pace lasts. */
	do {
		assert_true(peer_recv(pair.peer, parts, 2 * BLOCK));
		ahead -= 2 * BLOCK;
	} while (conn_queued(pair.conn) > CAP - BLOCK);
	int result = sttcp_conn_try_send(pair.conn, "end", 3);

	pthread_join(stream.thread, NULL);
	assert_int_equal(stream.result, 0);

	assert_true(peer_recv(pair.peer, parts, ahead));
	expect_blocks(pair.peer, 0, BLOCK);
	if (result == 0) {
		assert_true(peer_recv(pair.peer, parts, 3));
		assert_memory_equal(parts, "end", 3);
	}
	pair_close(&pair);
	return result;
}

/* Whoever may not wait finds the room. On a busy machine the pace may be over by then, and the
 * other one has it: not each time. */
static void try_send_finds_the_room_beside_a_send_that_waits(void **state)
{
	int result = -EAGAIN;
	int64_t until = now_ms() + DEADLINE_MS;

	(void)state;
	for (int tries = 0; result == -EAGAIN && (tries < 20 || now_ms() < until); tries++)
		result = try_beside_a_send_that_waits();
	assert_int_equal(result, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sends_find_the_room_of_a_peer_that_stops_reading),
		cmocka_unit_test(try_send_finds_the_room_beside_a_send_that_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
