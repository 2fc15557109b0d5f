/* SPDX-License-Identifier: MIT */
/* G13: memory per connection is bounded. The cap of the queue, try_send, the write timeout, and
 * broadcast, which never waits for a slow member. */
#include "support/numbered.h"
#include "support/support.h"

#include <poll.h>
#include <sys/socket.h>

enum {
	/* More than the kernel takes on its own for a peer that reads little. */
	QUEUED = 32 * 1024 * 1024
};

static int try_one(sttcp_conn *conn, const char message[NUMBERED_SIZE])
{
	return sttcp_conn_try_send(conn, message, NUMBERED_SIZE);
}

/* -EAGAIN takes nothing: the peer finds exactly the messages that were taken. */
static void try_send_at_the_cap_takes_nothing(void **state)
{
	struct pair pair = {0};

	(void)state;
	pair_open(&pair, STTCP_OPTIONS(.send_queue_max = 64 * 1024));
	uint32_t taken = try_numbered(pair.conn, 64 * 1024, try_one);

	assert_true(taken > 0);
	assert_true(conn_queued(pair.conn) > 0);
	assert_int_equal(sttcp_conn_close(pair.conn), 0);
	expect_numbered(pair.peer, taken, 0);
	pair_close(&pair);
}

static bool nobody_waits(sttcp_server *server)
{
	sttcp_stats stats;

	assert_int_equal(sttcp_server_stats(server, &stats, sizeof(stats)), 0);
	return stats.threads_blocked == 0 && stats.longest_id == 0;
}

/* A peer that sends and never reads holds up its own reading, and nobody's handler: the queue stays
 * below its cap, no send waits; and once the peer reads, all comes back. */
static void echo_to_a_peer_that_does_not_read_pauses_reading(void **state)
{
	enum {
		CAP = 256 * 1024
	};
	struct pair pair = {0};
	static char block[64 * 1024];
	size_t sent = 0;
	size_t back = 0;

	(void)state;
	pair.probe = probe_new();
	pair.probe->data = echo_data;
	pair_open(&pair, STTCP_OPTIONS(.send_queue_max = CAP));
	/* Until nothing has been taken for a while although there is a queue, which is when all
	 * buffers are full. */
	int64_t until = now_ms() + DEADLINE_MS;

	for (int refused = 0; refused < 20 || conn_queued(pair.conn) <= 0;) {
		ssize_t now = send(pair.peer, block, sizeof(block), MSG_DONTWAIT | MSG_NOSIGNAL);

		assert_true(now_ms() < until);
		assert_true(conn_queued(pair.conn) < CAP);
		sent += now > 0 ? (size_t)now : 0;
		refused = now > 0 ? 0 : refused + 1;
		if (now <= 0)
			poll(NULL, 0, 10);
	}
	/* No handler is in a send, once the last one has had the CPU. */
	EVENTUALLY(nobody_waits(pair.server));
	while (back < sent) {
		size_t part = sent - back < sizeof(block) ? sent - back : sizeof(block);

		assert_true(peer_recv(pair.peer, block, part));
		back += part;
	}
	EVENTUALLY(conn_queued(pair.conn) == 0);
	pair_close(&pair);
}

static void try_send_over_the_cap_is_too_long(void **state)
{
	struct pair pair = {0};
	static char data[64 * 1024 + 1];

	(void)state;
	pair_open(&pair, STTCP_OPTIONS(.send_queue_max = 64 * 1024));
	assert_int_equal(sttcp_conn_try_send(pair.conn, data, sizeof(data)), -EMSGSIZE);
	assert_true(peer_quiet(pair.peer, 30)); /* nothing was taken */
	assert_int_equal(sttcp_conn_try_send(pair.conn, data, sizeof(data) - 1), 0);
	assert_true(sttcp_conn_is_open(pair.conn));
	pair_close(&pair);
}

static void try_send_works_again_when_the_peer_reads(void **state)
{
	struct pair pair = {0};
	static char part[16 * 1024];

	(void)state;
	pair_open(&pair, STTCP_OPTIONS(.send_queue_max = 64 * 1024));
	while (sttcp_conn_try_send(pair.conn, part, sizeof(part)) == 0)
		;
	for (int i = 0; i < 10; i++) {
		int result = -EAGAIN;

		for (int64_t until = now_ms() + DEADLINE_MS;
		     result == -EAGAIN && now_ms() < until;) {
			assert_true(peer_recv(pair.peer, part, 4096));
			result = sttcp_conn_try_send(pair.conn, part, sizeof(part));
		}
		assert_int_equal(result, 0);
	}
	pair_close(&pair);
}

static void queue_without_a_cap_takes_everything(void **state)
{
	struct pair pair = {0};
	size_t size = 8u << 20;
	char *data = calloc(1, size);

	(void)state;
	assert_non_null(data);
	pair_open(&pair, STTCP_OPTIONS(.send_queue_max = -1));
	for (int i = 0; i < 3; i++)
		assert_int_equal(sttcp_conn_try_send(pair.conn, data, size), 0);
	assert_true(conn_queued(pair.conn) > (int64_t)size);
	sttcp_conn_abort(pair.conn);
	free(data);
	pair_close(&pair);
}

/* ------------------------------------------------------------- write timeout */

static void fill(sttcp_conn *conn)
{
	static char part[16 * 1024];

	while (sttcp_conn_try_send(conn, part, sizeof(part)) == 0)
		;
}

/* A queue from which no byte leaves ends the connection, whether or not anybody waits. */
static void stalled_queue_ends_with_nobody_waiting(void **state)
{
	struct pair pair = {0};

	(void)state;
	pair_open(&pair, STTCP_OPTIONS(.write_timeout_ms = 300));
	int64_t begin = now_ms();
	fill(pair.conn);
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(pair.probe), STTCP_ETIME_WRITE);
	assert_true(now_ms() - begin >= 290);
	assert_int_equal(sttcp_conn_send(pair.conn, "x", 1), STTCP_ETIME_WRITE);
	assert_int_equal(peer_end(pair.peer), -ECONNRESET); /* as abort does */
	pair_close(&pair);
}

static void stalled_send_ends_with_the_write_timeout(void **state)
{
	struct pair pair = {0};
	size_t size = 12u << 20;
	char *data = calloc(1, size);

	(void)state;
	assert_non_null(data);
	pair_open(&pair, STTCP_OPTIONS(.write_timeout_ms = 300));
	int64_t begin = now_ms();
	assert_int_equal(sttcp_conn_send(pair.conn, data, size), STTCP_ETIME_WRITE);
	assert_true(now_ms() - begin >= 290);
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(pair.probe), STTCP_ETIME_WRITE);
	free(data);
	pair_close(&pair);
}

/* How it ends that is closed over a full queue. */
static int reason_of_stalled_close(int timeout_ms)
{
	struct pair pair = {0};

	pair_open(&pair, STTCP_OPTIONS(.write_timeout_ms = timeout_ms));
	fill(pair.conn);
	assert_int_equal(sttcp_conn_close(pair.conn), 0);
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	int reason = probe_reason(pair.probe);
	EVENTUALLY(sttcp_conn_fd(pair.conn) == -1);
	assert_int_equal(sttcp_server_stop(pair.server), 0);
	pair_close(&pair);
	return reason;
}

/* Every flush ends by it, too: a close whose bytes nobody takes. Its reason is the first end, which
 * is the timeout where it has passed before the close. */
static void stalled_close_ends_with_the_write_timeout(void **state)
{
	int timeout_ms = 300;

	(void)state;
	while (reason_of_stalled_close(timeout_ms) != STTCP_ECLOSED) {
		timeout_ms *= 3;
		assert_true(timeout_ms < DEADLINE_MS);
	}
}

/* A peer that takes a little now and then is slow, not stalled. */
static void slow_reader_is_not_stalled(void **state)
{
	struct pair pair = {0};
	static char got[256 * 1024];

	(void)state;
	pair_open(&pair, STTCP_OPTIONS(.write_timeout_ms = 3000));
	fill(pair.conn);
	int64_t begin = now_ms();
	while (now_ms() - begin < 4500) {
		assert_true(peer_recv(pair.peer, got, sizeof(got)));
		fill(pair.conn);
		nap_ms(100);
	}
	assert_int_equal(probe_count(pair.probe, STTCP_DISCONNECTION), 0);
	assert_true(sttcp_conn_is_open(pair.conn));
	sttcp_conn_abort(pair.conn);
	pair_close(&pair);
}

/* Nor is one that has not taken enough yet for the kernel to tell: it raises EPOLLOUT when a third
 * of a buffer of megabytes is free. */
static void steady_reader_of_little_is_not_stalled(void **state)
{
	enum {
		TIMEOUT_MS = 1500,
		STEP_MS = 50,
		STEP = 20 * 1024
	};
	struct pair pair = {0};
	char *data = calloc(1, QUEUED);

	(void)state;
	assert_non_null(data);
	pair_open(&pair, STTCP_OPTIONS(.write_timeout_ms = TIMEOUT_MS, .send_queue_max = -1));
	assert_int_equal(sttcp_conn_try_send(pair.conn, data, QUEUED), 0);
	int64_t begin = now_ms();
	while (now_ms() - begin < 3 * TIMEOUT_MS) {
		assert_true(peer_recv(pair.peer, data, STEP));
		nap_ms(STEP_MS);
	}
	assert_int_equal(probe_count(pair.probe, STTCP_DISCONNECTION), 0);
	assert_true(conn_queued(pair.conn) > 0);
	sttcp_conn_abort(pair.conn);
	free(data);
	pair_close(&pair);
}

/* ----------------------------------------------------------------- in line */

static void *send_behind_empty_parts(void *argument)
{
	enum {
		EMPTY = 200
	};
	static char data[64 * 1024];
	struct iovec parts[EMPTY + 1] = {0};

	parts[EMPTY] = (struct iovec){data, sizeof(data)};
	return (void *)(intptr_t)sttcp_conn_sendv(argument, parts, EMPTY + 1);
}

/* More of them than are offered to the socket at a time. */
static void empty_parts_hold_up_nothing_in_line(void **state)
{
	struct pair pair = {0};
	static char got[64 * 1024];
	size_t size = sizeof(got);
	pthread_t thread;
	void *result;

	(void)state;
	pair_open_narrow(&pair, STTCP_OPTIONS(.send_queue_max = 16 * 1024));
	while (sttcp_conn_try_send(pair.conn, "x", 1) == 0)
		size++;
	assert_int_equal(pthread_create(&thread, NULL, send_behind_empty_parts, pair.conn), 0);
	/* If it is not in line by then it goes another way, which is fine, too. */
	nap_ms(50);
	while (size) {
		size_t part = size < sizeof(got) ? size : sizeof(got);

		assert_true(peer_recv(pair.peer, got, part));
		size -= part;
	}
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_null(result);
	pair_close(&pair);
}

/* ----------------------------------------------------------------- broadcast */

enum {
	MEMBERS = 10
};

static void crowd_open(struct probe *probe, sttcp_server *server, int *peers)
{
	(void)probe;
	for (int i = 0; i < MEMBERS; i++) {
		peers[i] = peer_connect(sttcp_server_port(server));
		assert_true(peers[i] >= 0);
		EVENTUALLY(sttcp_server_count(server) == i + 1);
	}
}

static void broadcast_reaches_every_member(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server = probe_listen(probe, NULL);
	int peers[MEMBERS];

	(void)state;
	assert_int_equal(sttcp_server_broadcast(server, "nobody", 6), 0);
	crowd_open(probe, server, peers);
	uint64_t last = probe_last_id(probe);
	assert_int_equal(sttcp_server_broadcast(server, "all", 3), MEMBERS);
	sttcp_conn *conn = sttcp_server_find(server, last);
	assert_int_equal(sttcp_server_broadcast_except(server, conn, "most", 4), MEMBERS - 1);
	assert_int_equal(sttcp_server_broadcast_except(server, NULL, "every", 5), MEMBERS);
	char address[64];
	for (int i = 0; i < MEMBERS; i++) {
		snprintf(address, sizeof(address), "127.0.0.1:%d", peer_port(peers[i]));
		bool excepted = strcmp(address, sttcp_conn_address(conn)) == 0;
		assert_true(peer_expect(peers[i], excepted ? "allevery" : "allmostevery"));
		peer_close(peers[i]);
	}
	sttcp_conn_unref(conn);
	sttcp_server_free(server);
	assert_int_equal(sttcp_server_broadcast(NULL, "x", 1), -EINVAL);
	probe_free(probe);
}

static bool say_joined(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	sttcp_server_broadcast(sttcp_conn_server(conn), "+", 1);
	return true;
}

static void say_left(struct probe *probe, sttcp_conn *conn, int reason)
{
	(void)probe;
	(void)reason;
	sttcp_server_broadcast(sttcp_conn_server(conn), "-", 1);
}

/* "X joined" and "X left" reach the others, not X. */
static void broadcast_of_joining_and_leaving_reaches_the_others(void **state)
{
	struct probe *probe = probe_new();
	int peers[3];

	(void)state;
	probe->connection = say_joined;
	probe->ended = say_left;
	sttcp_server *server = probe_listen(probe, NULL);
	for (int i = 0; i < 3; i++) {
		peers[i] = peer_connect(sttcp_server_port(server));
		EVENTUALLY(sttcp_server_count(server) == i + 1);
	}
	peer_shutdown(peers[0]);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	assert_true(peer_expect(peers[0], "++")); /* of the other two */
	assert_int_equal(peer_end(peers[0]), 0);
	assert_true(peer_expect(peers[1], "+-"));
	assert_true(peer_expect(peers[2], "-"));
	assert_true(peer_quiet(peers[1], 20));
	assert_true(peer_quiet(peers[2], 20));
	for (int i = 0; i < 3; i++)
		peer_close(peers[i]);
	sttcp_server_free(server);
	probe_free(probe);
}

/* It never waits: the member that does not read is dropped with STTCP_ESLOW, the others get
 * everything. */
static void broadcast_drops_the_slow_member_alone(void **state)
{
	enum {
		ROUNDS = 400,
		CHUNK = 50000
	};
	static char chunk[CHUNK];
	static char got[CHUNK];
	struct probe *probe = probe_new();
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.send_queue_max = 256 * 1024));
	int fast = peer_connect(sttcp_server_port(server));

	(void)state;
	EVENTUALLY(sttcp_server_count(server) == 1);
	int slow = peer_connect(sttcp_server_port(server));
	EVENTUALLY(sttcp_server_count(server) == 2);
	sttcp_conn *slow_conn = sttcp_server_find(server, probe_last_id(probe));
	for (int i = 0; i < ROUNDS; i++) {
		memset(chunk, i, sizeof(chunk));
		int reached = sttcp_server_broadcast(server, chunk, sizeof(chunk));
		assert_true(reached == 1 || reached == 2);
		assert_true(peer_recv(fast, got, sizeof(got)));
		assert_memory_equal(got, chunk, sizeof(got));
	}
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(probe), STTCP_ESLOW);
	assert_int_equal(sttcp_conn_reason(slow_conn), STTCP_ESLOW);
	assert_int_equal(sttcp_server_count(server), 1);
	sttcp_stats stats;
	EVENTUALLY(sttcp_server_stats(server, &stats, sizeof(stats)) == 0 && stats.failed == 1);
	sttcp_conn_unref(slow_conn);
	peer_close(slow);
	peer_close(fast);
	sttcp_server_free(server);
	probe_free(probe);
}

static void *broadcast_many(void *argument)
{
	sttcp_server *server = argument;
	char line[32];

	for (int i = 0; i < 500; i++) {
		memset(line, 'a' + i % 26, sizeof(line));
		sttcp_server_broadcast(server, line, sizeof(line));
	}
	return NULL;
}

/* G11 for broadcasts of several threads: each is one run of bytes. */
static void broadcasts_of_many_threads_stay_whole(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server = probe_listen(probe, NULL);
	int peers[MEMBERS];
	pthread_t threads[4];

	(void)state;
	crowd_open(probe, server, peers);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, broadcast_many, server), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < MEMBERS; i++) {
		for (int line = 0; line < 4 * 500; line++) {
			char got[32];

			assert_true(peer_recv(peers[i], got, sizeof(got)));
			for (size_t at = 1; at < sizeof(got); at++)
				assert_int_equal(got[at], got[0]);
		}
		peer_close(peers[i]);
	}
	sttcp_server_free(server);
	probe_free(probe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(try_send_at_the_cap_takes_nothing),
		cmocka_unit_test(echo_to_a_peer_that_does_not_read_pauses_reading),
		cmocka_unit_test(try_send_over_the_cap_is_too_long),
		cmocka_unit_test(try_send_works_again_when_the_peer_reads),
		cmocka_unit_test(queue_without_a_cap_takes_everything),
		cmocka_unit_test(stalled_queue_ends_with_nobody_waiting),
		cmocka_unit_test(stalled_send_ends_with_the_write_timeout),
		cmocka_unit_test(stalled_close_ends_with_the_write_timeout),
		cmocka_unit_test(slow_reader_is_not_stalled),
		cmocka_unit_test(steady_reader_of_little_is_not_stalled),
		cmocka_unit_test(empty_parts_hold_up_nothing_in_line),
		cmocka_unit_test(broadcast_reaches_every_member),
		cmocka_unit_test(broadcast_of_joining_and_leaving_reaches_the_others),
		cmocka_unit_test(broadcast_drops_the_slow_member_alone),
		cmocka_unit_test(broadcasts_of_many_threads_stay_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
