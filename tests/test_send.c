/* SPDX-License-Identifier: MIT */
/* G11: one send is one contiguous run of bytes, whoever else is sending; sends of one thread keep
 * their order. Large sends, slow readers, and ends in the middle of a send. */
#include "support/support.h"

#include <sys/socket.h>

/* --------------------------------------------------------- contiguous sends */

enum {
	SENDERS = 8,
	SENDS = 120,
	LONGEST = 60000
};

struct header {
	uint32_t sender;
	uint32_t number;
	uint32_t size;
	uint32_t checksum;
};

struct sender {
	pthread_t thread;
	sttcp_conn *conn;
	uint32_t index;
	atomic_int result;
};

static uint32_t size_of(uint32_t sender, uint32_t number)
{
	uint32_t state = sender * 1000 + number + 1;

	for (int i = 0; i < 5; i++)
		next_random(&state);
	return number % 10 == 0 ? state % LONGEST : state % 700;
}

static uint32_t checksum_of(const unsigned char *data, uint32_t size)
{
	uint32_t sum = size;

	for (uint32_t i = 0; i < size; i++)
		sum = sum * 31 + data[i];
	return sum;
}

/* Each message is sent in one of the four ways. */
static void *send_messages(void *argument)
{
	struct sender *sender = argument;
	unsigned char *message = malloc(sizeof(struct header) + LONGEST);

	for (uint32_t i = 0; i < SENDS && message; i++) {
		struct header header = {sender->index, i, size_of(sender->index, i), 0};
		unsigned char *body = message + sizeof(header);
		int result;

		fill_pattern(body, header.size, sender->index * SENDS + i);
		header.checksum = checksum_of(body, header.size);
		memcpy(message, &header, sizeof(header));
		if (i % 3 == 0) {
			struct iovec parts[3] = {
				{message, sizeof(header)},
				{body, header.size / 2},
				{body + header.size / 2, header.size - header.size / 2},
			};

			result = sttcp_conn_sendv(sender->conn, parts, 3);
		} else {
			do {
				result =
					i % 3 == 1
						? sttcp_conn_send(sender->conn, message,
								  sizeof(header) + header.size)
						: sttcp_conn_try_send(sender->conn, message,
								      sizeof(header) + header.size);
				if (result == -EAGAIN)
					nap_ms(1);
			} while (result == -EAGAIN);
		}
		if (result != 0)
			atomic_store(&sender->result, result);
	}
	free(message);
	return NULL;
}

static void sends_of_many_threads_stay_whole_and_in_order(void **state)
{
	struct pair pair = {0};
	struct sender senders[SENDERS];
	uint32_t next[SENDERS] = {0};
	unsigned char *body = malloc(LONGEST);

	(void)state;
	assert_non_null(body);
	pair_open(&pair, STTCP_OPTIONS(.send_queue_max = 256 * 1024));
	for (uint32_t i = 0; i < SENDERS; i++) {
		senders[i].conn = pair.conn;
		senders[i].index = i;
		atomic_init(&senders[i].result, 0);
		assert_int_equal(
			pthread_create(&senders[i].thread, NULL, send_messages, &senders[i]), 0);
	}
	for (int i = 0; i < SENDERS * SENDS; i++) {
		struct header header;

		assert_true(peer_recv(pair.peer, &header, sizeof(header)));
		assert_true(header.sender < SENDERS);
		assert_int_equal(header.number, next[header.sender]++);
		assert_int_equal(header.size, size_of(header.sender, header.number));
		assert_true(peer_recv(pair.peer, body, header.size));
		assert_int_equal(header.checksum, checksum_of(body, header.size));
	}
	for (int i = 0; i < SENDERS; i++) {
		pthread_join(senders[i].thread, NULL);
		assert_int_equal(atomic_load(&senders[i].result), 0);
	}
	free(body);
	pair_close(&pair);
}

static bool send_many_small(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	for (int i = 0; i < 20000; i++) {
		if (sttcp_conn_sendf(conn, "%d\n", i) != 0)
			return false;
	}
	return true;
}

static void sendf_prints_and_keeps_the_order(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	probe->connection = send_many_small;
	sttcp_server *server = probe_listen(probe, NULL);
	int peer = peer_connect(sttcp_server_port(server));
	for (int i = 0; i < 20000; i++) {
		char line[16];

		snprintf(line, sizeof(line), "%d\n", i);
		assert_true(peer_expect(peer, line));
	}
	peer_close(peer);
	sttcp_server_free(server);
	probe_free(probe);
}

static void sendf_of_a_long_text_is_whole(void **state)
{
	struct pair pair = {0};
	char *text = malloc(100001);

	(void)state;
	assert_non_null(text);
	memset(text, 't', 100000);
	text[100000] = '\0';
	pair_open(&pair, NULL);
	assert_int_equal(sttcp_conn_sendf(pair.conn, "<%s>%d%%", text, 100), 0);
	assert_true(peer_expect(pair.peer, "<"));
	for (int i = 0; i < 100000; i += 500) {
		char got[500];

		assert_true(peer_recv(pair.peer, got, sizeof(got)));
		assert_memory_equal(got, text, sizeof(got));
	}
	assert_true(peer_expect(pair.peer, ">100%"));
	free(text);
	pair_close(&pair);
}

/* 2^32 is no 0, where sizes in memory have 32 bits. */
static void send_has_room_under_a_cap_of_4_gib(void **state)
{
	enum {
		LONG = 4 * 1024 * 1024
	};
	static char text[LONG];
	struct pair pair = {.probe = probe_new()};
	const int64_t caps[] = {INT64_C(1) << 32, INT64_C(3) << 32};

	(void)state;
	pair.probe->connection = narrow;
	pair_open(&pair, STTCP_OPTIONS(.send_queue_max = caps[0], .total_queue_max = caps[1],
				       .high_water = caps[0], .write_timeout_ms = 2000));
	assert_int_equal(sttcp_conn_send(pair.conn, text, LONG), 0); /* does not wait */
	assert_true(peer_recv(pair.peer, text, LONG));
	pair_close(&pair);
}

/* What no memory can hold is refused, and not taken for what its sum is modulo 2^64. */
static void sendv_refuses_more_than_can_be(void **state)
{
	struct pair pair = {0};
	char byte = 'x';
	const struct iovec whole[] = {{&byte, SIZE_MAX / 2 + 1}, {&byte, SIZE_MAX / 2 + 1}};
	const struct iovec beside[] = {{&byte, 1}, {&byte, SIZE_MAX}};
	const struct iovec more[] = {{&byte, SIZE_MAX / 2}, {&byte, 1}};

	(void)state;
	pair_open(&pair, NULL);
	assert_int_equal(sttcp_conn_sendv(pair.conn, whole, 2), -EINVAL);
	assert_int_equal(sttcp_conn_sendv(pair.conn, beside, 2), -EINVAL);
	assert_int_equal(sttcp_conn_sendv(pair.conn, more, 2), -EINVAL);
	assert_true(sttcp_conn_is_open(pair.conn));
	assert_int_equal(sttcp_conn_send(pair.conn, "all", 3), 0);
	assert_true(peer_expect(pair.peer, "all"));
	pair_close(&pair);
}

/* As a length below 0 is: the calls for one connection and for many alike. */
static void send_refuses_more_than_can_be(void **state)
{
	static const size_t sizes[] = {SIZE_MAX, (size_t)PTRDIFF_MAX + 1};
	struct pair pair = {0};

	(void)state;
	pair_open(&pair, NULL);
	EVENTUALLY(sttcp_server_count(pair.server) == 1);
	assert_int_equal(sttcp_conn_join(pair.conn, "red"), 0);
	for (size_t i = 0; i < 2; i++) {
		sttcp_server *server = pair.server;
		size_t size = sizes[i];

		assert_int_equal(sttcp_conn_send(pair.conn, "x", size), -EINVAL);
		assert_int_equal(sttcp_server_broadcast(server, "x", size), -EINVAL);
		assert_int_equal(sttcp_server_broadcast_message(server, NULL, "x", size), -EINVAL);
		assert_int_equal(sttcp_server_send_room(server, "red", NULL, "x", size), -EINVAL);
		assert_int_equal(sttcp_server_send_room_message(server, "red", NULL, "x", size),
				 -EINVAL);
		/* These have another word for what is too large. */
		assert_int_equal(sttcp_conn_try_send(pair.conn, "x", size), -EMSGSIZE);
		assert_int_equal(sttcp_conn_send_message(pair.conn, "x", size), -EMSGSIZE);
	}
	assert_true(sttcp_conn_is_open(pair.conn));
	assert_int_equal(sttcp_conn_send(pair.conn, "all", 3), 0);
	assert_true(peer_expect(pair.peer, "all"));
	pair_close(&pair);
}

static void sendv_takes_many_and_empty_parts(void **state)
{
	struct pair pair = {0};
	struct iovec parts[1024];
	char digits[10] = "0123456789";

	(void)state;
	for (int i = 0; i < 1024; i++) {
		parts[i].iov_base = i % 3 == 0 ? NULL : &digits[i % 10];
		parts[i].iov_len = i % 3 == 0 ? 0 : 1;
	}
	pair_open(&pair, NULL);
	assert_int_equal(sttcp_conn_sendv(pair.conn, parts, 1024), 0);
	for (int i = 0; i < 1024; i++) {
		char got;

		if (i % 3 == 0)
			continue;
		assert_true(peer_recv(pair.peer, &got, 1));
		assert_int_equal(got, digits[i % 10]);
	}
	assert_int_equal(sttcp_conn_sendv(pair.conn, parts, 0), 0);
	assert_true(peer_quiet(pair.peer, 20));
	pair_close(&pair);
}

/* -------------------------------------------------- large sends, slow readers */

struct large {
	sttcp_conn *conn;
	const char *data;
	size_t size;
	atomic_int result;
	struct event done;
};

static void *send_large(void *argument)
{
	struct large *large = argument;

	atomic_store(&large->result, sttcp_conn_send(large->conn, large->data, large->size));
	event_raise(&large->done);
	return NULL;
}

static void large_init(struct large *large, sttcp_conn *conn, const char *data, size_t size)
{
	struct event fresh = EVENT_INIT;

	large->conn = conn;
	large->data = data;
	large->size = size;
	large->done = fresh;
	atomic_init(&large->result, 1);
}

/* Whether a part of the only send is gone already. */
static bool has_begun(sttcp_conn *conn)
{
	sttcp_conn_counts counts;

	return sttcp_conn_stats(conn, &counts, sizeof(counts)) == 0 && counts.bytes_out > 0;
}

/* G13: 64 MiB in one call to a reader that takes its time: the queue stays within its cap, the
 * send waits and goes on. */
static void large_send_reaches_a_slow_reader(void **state)
{
	size_t size = (UNDER_TSAN || UNDER_ASAN) ? 16u << 20 : 64u << 20;
	char *data = malloc(size);
	char *got = malloc(1u << 20);
	struct large large;
	struct pair pair = {0};
	pthread_t thread;
	int64_t most = 0;

	(void)state;
	assert_true(data != NULL && got != NULL);
	fill_pattern(data, size, 99);
	pair_open(&pair, NULL);
	large_init(&large, pair.conn, data, size);
	assert_int_equal(pthread_create(&thread, NULL, send_large, &large), 0);
	EVENTUALLY(has_begun(pair.conn));
	assert_false(event_wait_ms(&large.done, 1, 50)); /* it waits */
	for (size_t at = 0; at < size; at += 1u << 20) {
		int64_t now = conn_queued(pair.conn);

		most = now > most ? now : most;
		assert_true(peer_recv(pair.peer, got, 1u << 20));
		assert_memory_equal(got, data + at, 1u << 20);
		if (at % (8u << 20) == 0)
			nap_ms(3);
	}
	pthread_join(thread, NULL);
	assert_int_equal(atomic_load(&large.result), 0);
	assert_true(most <= 1 << 20);
	free(data);
	free(got);
	pair_close(&pair);
}

static bool send_back_large(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	struct large *large = probe->extra;

	(void)data;
	(void)size;
	atomic_store(&large->result, sttcp_conn_send(conn, large->data, large->size));
	event_raise(&large->done);
	return true;
}

/* The same from inside the connection's own handler: a send that waits does not wait for itself,
 * and others are answered meanwhile. */
static void large_send_from_a_handler_does_not_wait_for_itself(void **state)
{
	size_t size = 8u << 20;
	char *data = malloc(size);
	char *got = malloc(size);
	struct large large;
	struct probe *probe = probe_new();

	(void)state;
	assert_true(data != NULL && got != NULL);
	fill_pattern(data, size, 3);
	large_init(&large, NULL, data, size);
	probe->data = send_back_large;
	probe->extra = &large;
	sttcp_server *server = probe_listen(probe, NULL);
	int first = peer_connect(sttcp_server_port(server));
	int second = peer_connect(sttcp_server_port(server));
	assert_true(peer_say(first, "x"));
	assert_true(probe_wait_bytes(probe, 1));
	assert_true(peer_say(second, "x"));
	assert_true(peer_recv(second, got, size)); /* while the first one's send waits */
	assert_memory_equal(got, data, size);
	assert_true(event_wait(&large.done, 1));
	assert_true(peer_recv(first, got, size));
	assert_memory_equal(got, data, size);
	assert_true(event_wait(&large.done, 2));
	assert_int_equal(atomic_load(&large.result), 0);
	peer_close(first);
	peer_close(second);
	sttcp_server_free(server);
	free(data);
	free(got);
	probe_free(probe);
}

/* ------------------------------------------------ ends while a send is waiting */

/* close from elsewhere: the send under way may finish, and FIN comes after it; later ones are
 * turned away. No message is torn. */
static void close_while_a_send_waits_tears_nothing(void **state)
{
	size_t size = 12u << 20;
	char *data = calloc(1, size);
	struct large large;
	struct pair pair = {0};
	pthread_t thread;
	size_t bytes;

	(void)state;
	assert_non_null(data);
	pair_open(&pair, NULL);
	large_init(&large, pair.conn, data, size);
	assert_int_equal(pthread_create(&thread, NULL, send_large, &large), 0);
	EVENTUALLY(has_begun(pair.conn));
	assert_false(event_wait_ms(&large.done, 1, 50));
	int64_t begin = now_ms();
	assert_int_equal(sttcp_conn_close(pair.conn), 0);
	assert_true(now_ms() - begin < DEADLINE_MS / 2); /* never waits */
	assert_int_equal(sttcp_conn_send(pair.conn, "late", 4), STTCP_ECLOSED);
	assert_int_equal(peer_drain(pair.peer, &bytes), 0);
	pthread_join(thread, NULL);
	assert_int_equal(atomic_load(&large.result), 0);
	assert_int_equal(bytes, size);
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(pair.probe), STTCP_ECLOSED);
	free(data);
	pair_close(&pair);
}

/* abort, the peer's reset, a forced stop's free: the waiting send ends with a code. */
static void abort_and_reset_wake_a_waiting_send(void **state)
{
	size_t size = 12u << 20;
	char *data = calloc(1, size);

	(void)state;
	assert_non_null(data);
	for (int way = 0; way < 3; way++) {
		struct large large[2];
		struct pair pair = {0};
		pthread_t threads[2];
		int code = way == 1 ? -ECONNRESET : STTCP_ECLOSED;

		pair_open(&pair, NULL);
		for (int i = 0; i < 2; i++) {
			large_init(&large[i], pair.conn, data, size);
			assert_int_equal(pthread_create(&threads[i], NULL, send_large, &large[i]),
					 0);
		}
		assert_false(event_wait_ms(&large[0].done, 1, 50));
		if (way == 0)
			assert_int_equal(sttcp_conn_abort(pair.conn), 0);
		if (way == 1) {
			peer_reset(pair.peer);
			pair.peer = -1;
		}
		if (way == 2) {
			assert_int_equal(sttcp_conn_close(pair.conn), 0);
			assert_int_equal(sttcp_conn_abort(pair.conn), 0); /* still ends it */
		}
		for (int i = 0; i < 2; i++) {
			assert_true(event_wait(&large[i].done, 1));
			pthread_join(threads[i], NULL);
			assert_int_equal(atomic_load(&large[i].result), code);
		}
		assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
		assert_int_equal(probe_reason(pair.probe), code);
		pair_close(&pair);
	}
	free(data);
}

static void flush_and_close_deliver_what_was_sent(void **state)
{
	struct pair pair = {0};
	size_t bytes;
	static char part[1000];

	(void)state;
	pair_open(&pair, NULL);
	for (int i = 0; i < 500; i++)
		assert_int_equal(sttcp_conn_send(pair.conn, part, sizeof(part)), 0);
	assert_int_equal(sttcp_conn_flush(pair.conn), 0);
	assert_int_equal(sttcp_conn_close(pair.conn), 0);
	assert_true(sttcp_conn_close(pair.conn) <= 0); /* idempotent */
	assert_int_equal(peer_drain(pair.peer, &bytes), 0);
	assert_int_equal(bytes, 500 * 1000);
	pair_close(&pair);
}

static void shutdown_sends_fin_after_the_queue(void **state)
{
	struct pair pair = {0};
	size_t bytes;
	static char part[8 << 20];

	(void)state;
	pair_open(&pair, STTCP_OPTIONS(.send_queue_max = -1));
	assert_int_equal(sttcp_conn_send(pair.conn, part, sizeof(part)), 0);
	assert_int_equal(sttcp_conn_shutdown(pair.conn), 0);
	assert_int_equal(sttcp_conn_send(pair.conn, "x", 1), -EPIPE);
	assert_int_equal(sttcp_conn_try_send(pair.conn, "x", 1), -EPIPE);
	assert_true(sttcp_conn_reason(pair.conn) == 0);
	assert_int_equal(peer_drain(pair.peer, &bytes), 0);
	assert_int_equal(bytes, sizeof(part));
	assert_true(peer_say(pair.peer, "heard"));
	assert_true(probe_wait_bytes(pair.probe, 5));
	pair_close(&pair);
}

/* An empty send has nothing to wait for, and nobody has to wait for it. */
static void empty_send_behind_a_waiting_one_gets_through(void **state)
{
	struct pair pair = {0};
	struct large first, empty, last;
	pthread_t threads[3];
	static char lot[16 << 20];
	static char back[sizeof(lot) + 1];

	(void)state;
	pair_open(&pair, NULL);
	large_init(&first, pair.conn, lot, sizeof(lot));
	large_init(&empty, pair.conn, "", 0);
	large_init(&last, pair.conn, "x", 1);
	assert_int_equal(pthread_create(&threads[0], NULL, send_large, &first), 0);
	EVENTUALLY(has_begun(pair.conn));
	assert_int_equal(pthread_create(&threads[1], NULL, send_large, &empty), 0);
	event_wait_ms(&empty.done, 1, 100); /* if it waits, it stands in line now */
	assert_true(peer_recv(pair.peer, back, sizeof(lot)));
	assert_true(event_wait(&first.done, 1));
	assert_int_equal(pthread_create(&threads[2], NULL, send_large, &last), 0);
	assert_true(event_wait(&empty.done, 1));
	assert_true(event_wait(&last.done, 1));
	assert_true(peer_expect(pair.peer, "x"));
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&first.result), 0);
	assert_int_equal(atomic_load(&empty.result), 0);
	assert_int_equal(atomic_load(&last.result), 0);
	EVENTUALLY(conn_queued(pair.conn) == 0);
	pair_close(&pair);
}

/* Nor does an empty broadcast get in the way of what comes after it. */
static void empty_broadcasts_leave_nothing_in_the_queue(void **state)
{
	struct pair pair = {0};
	static char lot[16 << 20];
	static char back[sizeof(lot)];

	(void)state;
	pair_open(&pair, STTCP_OPTIONS(.send_queue_max = -1));
	assert_int_equal(sttcp_conn_send(pair.conn, lot, sizeof(lot)), 0);
	assert_true(conn_queued(pair.conn) > 0);
	for (int i = 0; i < 64; i++)
		assert_int_equal(sttcp_server_broadcast(pair.server, "", 0), 1);
	assert_int_equal(sttcp_server_broadcast(pair.server, "after", 5), 1);
	assert_true(peer_recv(pair.peer, back, sizeof(back)));
	assert_true(peer_expect(pair.peer, "after"));
	EVENTUALLY(conn_queued(pair.conn) == 0);
	pair_close(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sends_of_many_threads_stay_whole_and_in_order),
		cmocka_unit_test(sendf_prints_and_keeps_the_order),
		cmocka_unit_test(sendf_of_a_long_text_is_whole),
		cmocka_unit_test(sendv_takes_many_and_empty_parts),
		cmocka_unit_test(sendv_refuses_more_than_can_be),
		cmocka_unit_test(send_refuses_more_than_can_be),
		cmocka_unit_test(send_has_room_under_a_cap_of_4_gib),
		cmocka_unit_test(large_send_reaches_a_slow_reader),
		cmocka_unit_test(large_send_from_a_handler_does_not_wait_for_itself),
		cmocka_unit_test(close_while_a_send_waits_tears_nothing),
		cmocka_unit_test(abort_and_reset_wake_a_waiting_send),
		cmocka_unit_test(flush_and_close_deliver_what_was_sent),
		cmocka_unit_test(shutdown_sends_fin_after_the_queue),
		cmocka_unit_test(empty_send_behind_a_waiting_one_gets_through),
		cmocka_unit_test(empty_broadcasts_leave_nothing_in_the_queue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
