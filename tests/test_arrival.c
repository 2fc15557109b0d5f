/* SPDX-License-Identifier: MIT */
/* G5: all bytes arrive, in order, those before a FIN and the answers to them, too. */
#include "support/support.h"

#include <sched.h>
#include <sys/socket.h>

static bool maybe_slow_echo(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	uint64_t id = sttcp_conn_id(conn);

	(void)probe;
	if (id % 7 == 3)
		nap_ms((int)(id % 5));
	sttcp_conn_send(conn, data, size);
	return true;
}

static bool maybe_slow_open(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	if (sttcp_conn_id(conn) % 11 == 5)
		nap_ms(3);
	return true;
}

/* printf x | nc: data and FIN in one go, a moment apart, before or after the accept. */
static void data_before_fin_is_delivered_and_answered(void **state)
{
	static const size_t sizes[] = {1, 2, 100, 5000, 60 * 1024, 60 * 1024 + 1, 100000};
	enum {
		ROUNDS = 280
	};
	struct probe *probe = probe_new();
	char *sent = malloc(100000);
	char *got = malloc(100000);

	(void)state;
	assert_true(sent != NULL && got != NULL);
	probe->connection = maybe_slow_open;
	probe->data = maybe_slow_echo;
	sttcp_server *server = probe_listen(probe, NULL);
	for (int i = 0; i < ROUNDS; i++) {
		size_t size = sizes[i % 7];
		int peer = peer_connect(sttcp_server_port(server));

		assert_true(peer >= 0);
		fill_pattern(sent, size, (uint32_t)i);
		if (i % 3 == 1)
			assert_true(probe_wait(probe, STTCP_CONNECTION, i + 1));
		assert_true(peer_send(peer, sent, size));
		if (i % 5 == 2)
			sched_yield();
		if (i % 5 == 3)
			nap_ms(i % 3);
		peer_shutdown(peer);
		assert_true(peer_recv(peer, got, size));
		assert_memory_equal(sent, got, size);
		assert_int_equal(peer_end(peer), 0);
		peer_close(peer);
		assert_true(probe_wait(probe, STTCP_DISCONNECTION, i + 1));
		assert_int_equal(probe_reason(probe), 0);
	}
	sttcp_server_free(server);
	free(sent);
	free(got);
	probe_free(probe);
}

/* The same without waiting for one another. */
static void data_before_fin_is_delivered_to_a_crowd(void **state)
{
	enum {
		PEERS = 100
	};
	struct probe *probe = probe_new();
	int peers[PEERS];

	(void)state;
	probe->data = maybe_slow_echo;
	sttcp_server *server = probe_listen(probe, NULL);
	for (int i = 0; i < PEERS; i++) {
		peers[i] = peer_connect(sttcp_server_port(server));
		assert_true(peers[i] >= 0);
		assert_true(peer_say(peers[i], "x"));
		peer_shutdown(peers[i]);
	}
	for (int i = 0; i < PEERS; i++) {
		assert_true(peer_expect(peers[i], "x"));
		assert_int_equal(peer_end(peers[i]), 0);
		peer_close(peers[i]);
	}
	assert_int_equal(sttcp_server_stop(server), 0);
	assert_int_equal(probe_count(probe, STTCP_RECEIVE), PEERS);
	assert_int_equal(probe_count(probe, STTCP_DISCONNECTION), PEERS);
	sttcp_server_free(server);
	probe_free(probe);
}

struct stream {
	const char *expected;
	size_t size;
	size_t at;
	bool wrong;
};

static bool compare_stream(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	struct stream *stream = probe->extra;

	(void)conn;
	if (stream->at + size > stream->size ||
	    memcmp(stream->expected + stream->at, data, size) != 0)
		stream->wrong = true;
	stream->at += size;
	return true;
}

static void bytes_arrive_in_order(void **state)
{
	size_t size = 8u << 20;
	struct probe *probe = probe_new();
	char *sent = malloc(size);
	struct stream stream = {.expected = sent, .size = size};
	uint32_t random = 42;

	(void)state;
	assert_non_null(sent);
	fill_pattern(sent, size, 5);
	probe->data = compare_stream;
	probe->extra = &stream;
	sttcp_server *server = probe_listen(probe, NULL);
	int peer = peer_connect(sttcp_server_port(server));
	for (size_t at = 0; at < size;) {
		size_t part = next_random(&random) % 100000 + 1;

		part = part < size - at ? part : size - at;
		assert_true(peer_send(peer, sent + at, part));
		at += part;
	}
	peer_close(peer);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	sttcp_server_free(server);
	assert_false(stream.wrong);
	assert_int_equal(stream.at, size);
	assert_int_equal(probe->total, size);
	free(sent);
	probe_free(probe);
}

static bool bye_and_close(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	(void)data;
	(void)size;
	sttcp_conn_send(conn, "bye", 3);
	sttcp_conn_close(conn);
	return true;
}

/* Closing with input that nobody has read must not reset the connection and kill the answer. */
static void last_answer_survives_unread_input(void **state)
{
	char rest[32 * 1024];
	struct probe *probe = probe_new();

	(void)state;
	memset(rest, 'r', sizeof(rest));
	probe->data = bye_and_close;
	sttcp_server *server = probe_listen(probe, NULL);
	for (int i = 1; i <= 50; i++) {
		int peer = peer_connect(sttcp_server_port(server));

		assert_true(peer_say(peer, "x"));
		assert_true(peer_send(peer, rest, sizeof(rest)));
		assert_true(peer_expect(peer, "bye"));
		assert_int_equal(peer_end(peer), 0);
		peer_close(peer);
		assert_true(probe_wait(probe, STTCP_DISCONNECTION, i));
		assert_int_equal(probe_reason(probe), STTCP_ECLOSED);
	}
	assert_int_equal(probe_count(probe, STTCP_RECEIVE), 50); /* none after the close */
	sttcp_server_free(server);
	probe_free(probe);
}

enum {
	LOT = 8 << 20
};

static bool answer_a_lot(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	static char lot[LOT];

	(void)probe;
	(void)data;
	(void)size;
	sttcp_conn_send(conn, lot, sizeof(lot));
	return true;
}

/* The answer to the last bytes leaves though it does not fit into the kernel's buffers at once. */
static void large_answer_to_the_last_bytes_leaves(void **state)
{
	struct probe *probe = probe_new();
	size_t bytes;

	(void)state;
	probe->data = answer_a_lot;
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.send_queue_max = -1));
	for (int i = 0; i < 10; i++) {
		int peer = peer_connect(sttcp_server_port(server));

		assert_true(peer_say(peer, "x"));
		peer_shutdown(peer);
		nap_ms(i);
		assert_int_equal(peer_drain(peer, &bytes), 0);
		assert_int_equal(bytes, LOT);
		peer_close(peer);
	}
	sttcp_server_free(server);
	probe_free(probe);
}

static bool pause_first(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	return sttcp_conn_pause(conn) == 0;
}

/* A read ends at the mark of urgent data, though there is more behind it (tcp(7)). The urgent byte
 * itself is not delivered. */
static void bytes_behind_urgent_data_are_read(void **state)
{
	struct pair pair = {.probe = probe_new()};

	(void)state;
	pair.probe->connection = pause_first;
	pair_open(&pair, NULL);
	assert_true(peer_say(pair.peer, "before"));
	assert_int_equal(send(pair.peer, "!", 1, MSG_OOB), 1);
	assert_true(peer_say(pair.peer, "behind"));
	sttcp_conn_resume(pair.conn);
	assert_true(probe_wait_bytes(pair.probe, 12));
	assert_string_equal(probe_text(pair.probe), "beforebehind");
	pair_close(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(data_before_fin_is_delivered_and_answered),
		cmocka_unit_test(data_before_fin_is_delivered_to_a_crowd),
		cmocka_unit_test(bytes_arrive_in_order),
		cmocka_unit_test(bytes_behind_urgent_data_are_read),
		cmocka_unit_test(last_answer_survives_unread_input),
		cmocka_unit_test(large_answer_to_the_last_bytes_leaves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
