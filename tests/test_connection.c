/* SPDX-License-Identifier: MIT */
/* The life of a server's connection: G2 (accept, decline, exactly once, last) and G5 (bytes in
 * order, all of them, and the last answer leaves). */
#include "support/support.h"

#include <sched.h>
#include <sys/socket.h>

/* ------------------------------------------------------------------------ G2 */

static void accepted_connection_runs_through_its_phases(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	probe->data = echo_data;
	sttcp_server *server = probe_listen(probe, NULL);
	int peer = peer_connect(sttcp_server_port(server));
	assert_true(peer_say(peer, "one"));
	assert_true(peer_expect(peer, "one"));
	assert_true(peer_say(peer, "two"));
	assert_true(peer_expect(peer, "two"));
	peer_close(peer);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	sttcp_server_free(server);
	assert_string_equal(probe_order(probe), "cCrRrRdD");
	assert_int_equal(probe_reason(probe), 0);
	probe_free(probe);
}

static void connection_opens_without_a_byte_from_the_peer(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server = probe_listen(probe, NULL);
	int peer = peer_connect(sttcp_server_port(server));

	(void)state;
	assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
	EVENTUALLY(sttcp_server_count(server) == 1);
	peer_close(peer);
	sttcp_server_free(server);
	probe_free(probe);
}

static bool decline_with_words(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	sttcp_conn_send(conn, "go away", 7);
	return false;
}

/* Asks until the peer is gone, by its FIN or by a reset, and then declines. */
static bool ask_and_decline(struct probe *probe, sttcp_conn *conn)
{
	char got[16];

	sttcp_conn_send(conn, "who?", 4);
	while (sttcp_conn_recv(conn, got, sizeof(got), DEADLINE_MS) > 0)
		;
	if (sttcp_server_count(sttcp_conn_server(conn)) != 0)
		probe_violate(probe, "a member before it was accepted");
	return false;
}

/* A dialogue that ends with false is a declined connection and no failed one, whatever has become
 * of the peer; what was said in it is counted. */
static void declined_after_a_dialogue_is_not_failed(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	probe->connection = ask_and_decline;
	sttcp_server *server = probe_listen(probe, NULL);
	for (int i = 0; i < 10; i++) {
		int peer = peer_connect(sttcp_server_port(server));
		assert_true(peer_expect(peer, "who?"));
		assert_true(peer_say(peer, "me"));
		if (i % 2 == 0)
			peer_close(peer);
		else
			peer_reset(peer);
	}
	sttcp_stats stats;
	assert_int_equal(sttcp_server_stop(server), 0);
	assert_int_equal(sttcp_server_stats(server, &stats, sizeof(stats)), 0);
	assert_int_equal(stats.total, 10);
	assert_int_equal(stats.declined, 10);
	assert_int_equal(stats.failed, 0);
	assert_int_equal(stats.bytes_out, 10 * 4);
	assert_in_range(stats.bytes_in, 5 * 2, 10 * 2); /* a reset may overtake what was sent */
	assert_int_equal(probe_count(probe, STTCP_DISCONNECTION), 0);
	sttcp_server_free(server);
	probe_free(probe);
}

/* What it sent before is flushed; neither receive nor disconnection handlers run for it, even if
 * the peer has said something already. */
static void declined_connection_sees_no_other_handler(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	probe->connection = decline_with_words;
	sttcp_server *server = probe_listen(probe, NULL);
	for (int i = 0; i < 30; i++) {
		int peer = peer_connect(sttcp_server_port(server));
		assert_true(peer >= 0);
		if (i % 3 == 1)
			peer_say(peer, "hello?");
		if (i % 3 == 2)
			peer_shutdown(peer);
		assert_true(peer_expect(peer, "go away"));
		assert_int_equal(peer_end(peer), 0);
		peer_close(peer);
	}
	sttcp_stats stats;
	assert_int_equal(sttcp_server_stop(server), 0);
	assert_int_equal(sttcp_server_stats(server, &stats, sizeof(stats)), 0);
	assert_int_equal(stats.declined, 30);
	assert_int_equal(stats.total, 30);
	assert_int_equal(probe_count(probe, STTCP_CONNECTION), 30);
	assert_int_equal(probe_count(probe, STTCP_RECEIVE), 0);
	assert_int_equal(probe_count(probe, STTCP_DISCONNECTION), 0);
	assert_int_equal(probe->universals[STTCP_DISCONNECTION], 0);
	sttcp_server_free(server);
	probe_free(probe);
}

static bool decline_local_2(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	return strcmp(sttcp_conn_host(conn), "127.0.0.2") != 0;
}

/* The seed's example: one address is declined, others are not. */
static void declining_one_does_not_touch_another(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	probe->connection = decline_local_2;
	probe->data = echo_data;
	sttcp_server *server = probe_listen(probe, NULL);
	int other = peer_connect_from("127.0.0.2", sttcp_server_port(server));
	assert_int_equal(peer_end(other), 0);
	peer_close(other);
	int peer = peer_connect(sttcp_server_port(server));
	assert_true(peer_say(peer, "x"));
	assert_true(peer_expect(peer, "x"));
	peer_close(peer);
	sttcp_server_stop(server);
	assert_string_equal(probe_order(probe), "cCcCrRdD");
	sttcp_server_free(server);
	probe_free(probe);
}

/* Peers that end in every way, all at once: each connection is disconnected once, as the last
 * thing (the probe checks each one's calls). */
static void every_connection_is_disconnected_exactly_once(void **state)
{
	enum {
		PEERS = 64,
		ROUNDS = 4
	};
	struct probe *probe = probe_new();

	(void)state;
	probe->data = echo_data;
	sttcp_server *server = probe_listen(probe, NULL);
	for (int round = 0; round < ROUNDS; round++) {
		int peers[PEERS];

		for (int i = 0; i < PEERS; i++) {
			peers[i] = peer_connect(sttcp_server_port(server));
			assert_true(peers[i] >= 0);
			if (i % 2 == 0)
				peer_say(peers[i], "some words");
		}
		for (int i = 0; i < PEERS; i++) {
			if (i % 4 < 2)
				peer_reset(peers[i]);
			else
				peer_close(peers[i]);
		}
	}
	assert_int_equal(sttcp_server_stop(server), 0);
	/* A connection that was reset before it was accepted may never have been seen. */
	assert_int_equal(probe_count(probe, STTCP_CONNECTION),
			 probe_count(probe, STTCP_DISCONNECTION));
	assert_true(probe_count(probe, STTCP_CONNECTION) >= PEERS * ROUNDS / 2);
	assert_int_equal(sttcp_server_count(server), 0);
	sttcp_server_free(server);
	probe_free(probe);
}

static bool close_any(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	(void)data;
	if (size % 2 == 0)
		sttcp_conn_close(conn);
	nap_ms(1);
	return true;
}

static void close_one(sttcp_conn *conn, void *argument)
{
	(void)argument;
	sttcp_conn_close(conn);
}

/* G2: never at the same time as another handler, however many want to end it. */
static void disconnection_never_overlaps_another_handler(void **state)
{
	enum {
		PEERS = 32
	};
	struct probe *probe = probe_new();
	int peers[PEERS];

	(void)state;
	probe->data = close_any;
	sttcp_server *server = probe_listen(probe, NULL);
	for (int i = 0; i < PEERS; i++)
		peers[i] = peer_connect(sttcp_server_port(server));
	assert_true(probe_wait(probe, STTCP_CONNECTION, PEERS));
	for (int i = 0; i < PEERS; i++)
		peer_send(peers[i], "odd and even", (size_t)(1 + i % 12));
	assert_true(sttcp_server_each(server, close_one, NULL) >= 0);
	for (int i = 0; i < PEERS; i++)
		peer_close(peers[i]);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, PEERS));
	sttcp_server_free(server);
	assert_int_equal(probe_count(probe, STTCP_DISCONNECTION), PEERS);
	probe_free(probe);
}

/* ------------------------------------------------------------------------ G5 */

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

/* ----------------------------------------------------------------- half_close */

static void say_goodbye(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	sttcp_conn_send(conn, "goodbye", 7);
	sttcp_conn_close(conn);
}

static void half_close_calls_the_end_handler_once(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	probe->end = say_goodbye;
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.half_close = true));
	for (int i = 1; i <= 30; i++) {
		int peer = peer_connect(sttcp_server_port(server));

		assert_true(peer_say(peer, "x"));
		peer_shutdown(peer);
		assert_true(peer_expect(peer, "goodbye"));
		assert_int_equal(peer_end(peer), 0);
		peer_close(peer);
		assert_true(probe_wait(probe, STTCP_DISCONNECTION, i));
		assert_int_equal(probe_reason(probe), STTCP_ECLOSED);
	}
	sttcp_server_free(server);
	assert_int_equal(probe_count(probe, STTCP_END), 30);
	assert_memory_equal(probe_order(probe), "cCrReEdD", 8);
	probe_free(probe);
}

/* Sending stays open until somebody closes: the end handler does nothing, another thread sends. */
static void half_close_goes_on_until_somebody_closes(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.half_close = true));
	int peer = peer_connect(sttcp_server_port(server));

	(void)state;
	peer_shutdown(peer);
	assert_true(probe_wait(probe, STTCP_END, 1));
	assert_int_equal(sttcp_server_count(server), 1);
	sttcp_conn *conn = sttcp_server_find(server, probe_last_id(probe));
	assert_non_null(conn);
	assert_true(sttcp_conn_is_open(conn));
	for (int i = 0; i < 3; i++) {
		assert_int_equal(sttcp_conn_send(conn, "still", 5), 0);
		assert_true(peer_expect(peer, "still"));
	}
	assert_int_equal(probe_count(probe, STTCP_DISCONNECTION), 0);
	assert_int_equal(sttcp_conn_close(conn), 0);
	sttcp_conn_unref(conn);
	assert_int_equal(peer_end(peer), 0);
	peer_close(peer);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	sttcp_server_free(server);
	assert_string_equal(probe_order(probe), "cCeEdD");
	probe_free(probe);
}

static bool shut_sending(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	sttcp_conn_send(conn, "only this", 9);
	sttcp_conn_shutdown(conn);
	if (sttcp_conn_send(conn, "more", 4) != -EPIPE)
		probe_violate(probe, "send after shutdown");
	return true;
}

/* shutdown: no more sending from here; receiving goes on. */
static void shutdown_ends_sending_alone(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	probe->connection = shut_sending;
	sttcp_server *server = probe_listen(probe, NULL);
	int peer = peer_connect(sttcp_server_port(server));
	assert_true(peer_expect(peer, "only this"));
	assert_int_equal(peer_end(peer), 0);
	assert_true(peer_say(peer, "listen"));
	assert_true(probe_wait_bytes(probe, 6));
	assert_int_equal(probe_count(probe, STTCP_DISCONNECTION), 0);
	assert_true(peer_say(peer, " to me"));
	assert_true(probe_wait_bytes(probe, 12));
	peer_close(peer);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(probe), 0);
	assert_string_equal(probe_text(probe), "listen to me");
	sttcp_server_free(server);
	probe_free(probe);
}

static void shut_both_ways(const char *host, bool unix_socket)
{
	struct probe *probe = probe_new();
	sttcp_server *server = probe_server(probe, host, 0, STTCP_OPTIONS(.half_close = true));

	assert_int_equal(sttcp_server_start(server), 0);
	int peer = unix_socket ? peer_connect_unix(host + strlen("unix:"))
			       : peer_connect(sttcp_server_port(server));
	assert_true(peer >= 0);
	peer_shutdown(peer);
	assert_true(probe_wait(probe, STTCP_END, 1));
	sttcp_conn *conn = sttcp_server_find(server, probe_last_id(probe));
	assert_non_null(conn);
	/* The end handler is about to return: what comes now comes to a connection at rest. */
	nap_ms(20);
	assert_int_equal(sttcp_conn_shutdown(conn), 0);
	sttcp_conn_unref(conn);
	/* The peer keeps its descriptor: nothing more comes from there. */
	assert_int_equal(peer_end(peer), 0);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	assert_string_equal(probe_order(probe), "cCeEdD");
	assert_int_equal(probe_reason(probe), 0);
	peer_close(peer);
	sttcp_server_free(server);
	probe_free(probe);
}

/* Nothing can come or go after both FINs: that is the end. */
/* G5: what a FIN has cut is no request, so nobody is told that all of them are there. */
static void half_close_hears_no_end_behind_half_a_message(void **state)
{
	(void)state;
	for (int way = 0; way < 3; way++) {
		struct probe *probe = probe_new();

		probe->end = say_goodbye;
		sttcp_server *server = probe_listen(
			probe, STTCP_OPTIONS(.half_close = true, .framing = STTCP_FRAMING_LINE,
					     .rest_at_end = way != 0));
		int peer = peer_connect(sttcp_server_port(server));

		assert_true(peer_say(peer, way == 2 ? "one\n" : "one"));
		peer_shutdown(peer);
		assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
		assert_int_equal(probe_reason(probe), way ? STTCP_ECLOSED : STTCP_EFRAME);
		assert_string_equal(probe_order(probe), way ? "cCrReEdD" : "cCdD");
		peer_close(peer);
		sttcp_server_free(server);
		probe_free(probe);
	}
}

static void half_close_ends_with_the_second_fin(void **state)
{
	char host[64];

	(void)state;
	shut_both_ways("127.0.0.1", false);
	snprintf(host, sizeof(host), "unix:/tmp/sttcp-life-%d", (int)getpid());
	shut_both_ways(host, true);
}

static bool detach_and_accept(struct probe *probe, sttcp_conn *conn)
{
	atomic_store((atomic_int *)probe->extra, sttcp_conn_detach(conn));
	return true;
}

/* G2: true accepts, also after the handler has taken the descriptor away. */
static void detach_and_true_is_accepted(void **state)
{
	struct probe *probe = probe_new();
	atomic_int taken = -1;
	sttcp_stats stats;

	(void)state;
	probe->connection = detach_and_accept;
	probe->extra = &taken;
	sttcp_server *server = probe_listen(probe, NULL);
	int peer = peer_connect(sttcp_server_port(server));
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	assert_string_equal(probe_order(probe), "cCdD");
	assert_int_equal(probe_reason(probe), STTCP_ECLOSED);
	assert_int_equal(sttcp_server_stats(server, &stats, sizeof(stats)), 0);
	assert_int_equal(stats.declined, 0);
	assert_true(peer_say(atomic_load(&taken), "mine"));
	assert_true(peer_expect(peer, "mine"));
	peer_close(atomic_load(&taken));
	peer_close(peer);
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
		cmocka_unit_test(accepted_connection_runs_through_its_phases),
		cmocka_unit_test(connection_opens_without_a_byte_from_the_peer),
		cmocka_unit_test(declined_connection_sees_no_other_handler),
		cmocka_unit_test(declined_after_a_dialogue_is_not_failed),
		cmocka_unit_test(declining_one_does_not_touch_another),
		cmocka_unit_test(every_connection_is_disconnected_exactly_once),
		cmocka_unit_test(disconnection_never_overlaps_another_handler),
		cmocka_unit_test(data_before_fin_is_delivered_and_answered),
		cmocka_unit_test(data_before_fin_is_delivered_to_a_crowd),
		cmocka_unit_test(bytes_arrive_in_order),
		cmocka_unit_test(bytes_behind_urgent_data_are_read),
		cmocka_unit_test(last_answer_survives_unread_input),
		cmocka_unit_test(large_answer_to_the_last_bytes_leaves),
		cmocka_unit_test(half_close_calls_the_end_handler_once),
		cmocka_unit_test(half_close_goes_on_until_somebody_closes),
		cmocka_unit_test(shutdown_ends_sending_alone),
		cmocka_unit_test(half_close_ends_with_the_second_fin),
		cmocka_unit_test(half_close_hears_no_end_behind_half_a_message),
		cmocka_unit_test(detach_and_true_is_accepted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
