/* SPDX-License-Identifier: MIT */
/* The life of a server's connection, G2: accept, decline, exactly once, last. */
#include "support/support.h"

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
		cmocka_unit_test(detach_and_true_is_accepted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
