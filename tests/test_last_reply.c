/* SPDX-License-Identifier: MIT */
/* G5: a connection that ends while its peer still sends does not lose its last reply, for no reset
 * overtakes it (RFC 1122, 4.2.2.13). How long that may take is in test_linger.c. */
#include "support/support.h"

enum {
	REPLY = 100 * 1000
};

struct closer {
	struct event inside;
	struct event gate;
	int way;
	atomic_bool sent;
	char reply[REPLY];
};

static const char *const ways[] = {"close", "false", "fail", "close while open"};

/* The handler has not read what the peer sends meanwhile. */
static bool reply_and_end(struct probe *probe, sttcp_conn *conn)
{
	struct closer *closer = probe->extra;

	event_raise(&closer->inside);
	event_wait(&closer->gate, 1);
	atomic_store(&closer->sent, sttcp_conn_send(conn, closer->reply, REPLY) == 0);
	switch (closer->way) {
	case 1:
		return false;
	case 2:
		sttcp_conn_fail(conn, STTCP_EHANDLER, "that is all");
		break;
	default:
		sttcp_conn_close(conn);
	}
	return true;
}

static bool reply_at_data(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)data;
	(void)size;
	return reply_and_end(probe, conn);
}

/* The whole reply, then FIN, and no reset, also if the peer goes on a little. */
static void expect_reply_and_end(int peer, const char *reply)
{
	static char got[REPLY];

	assert_true(peer_recv(peer, got, REPLY));
	assert_memory_equal(got, reply, REPLY);
	assert_int_equal(peer_end(peer), 0);
	assert_true(peer_send_unread(peer, 1000));
	assert_int_equal(peer_end(peer), 0);
}

static struct closer *closer_new(int way)
{
	struct closer *closer = calloc(1, sizeof(*closer));
	struct event fresh = EVENT_INIT;

	assert_non_null(closer);
	closer->inside = fresh;
	closer->gate = fresh;
	closer->way = way;
	fill_pattern(closer->reply, REPLY, 7);
	return closer;
}

/* G5: input that nobody read does not kill the last reply, whichever handler ends it. */
static void close_lets_the_last_reply_arrive(void **state)
{
	(void)state;
	for (int way = 0; way < 4; way++) {
		struct probe *probe = probe_new();
		struct closer *closer = closer_new(way);
		bool at_data = way == 3;

		print_message("%s\n", ways[way]);
		if (at_data)
			probe->data = reply_at_data;
		else
			probe->connection = reply_and_end;
		probe->extra = closer;
		sttcp_server *server = probe_listen(probe, NULL);
		int peer = peer_connect(sttcp_server_port(server));
		assert_true(peer >= 0);
		if (at_data)
			assert_true(peer_say(peer, "x"));
		assert_true(event_wait(&closer->inside, 1));
		assert_true(peer_send_unread(peer, 60 * 1000));
		event_raise(&closer->gate);
		expect_reply_and_end(peer, closer->reply);
		assert_true(atomic_load(&closer->sent));
		peer_close(peer);
		sttcp_server_free(server);
		probe_free(probe);
		free(closer);
	}
}

/* A client's connection likewise. */
static void close_of_a_client_lets_the_last_bytes_arrive(void **state)
{
	struct probe *probe = probe_new();
	struct closer *closer = closer_new(0);
	int port;

	(void)state;
	probe->data = reply_at_data;
	probe->extra = closer;
	int listener = peer_listen(&port, 4);
	assert_true(listener >= 0);
	sttcp_client *client = probe_dial(probe, port, NULL);
	int peer = peer_accept(listener);
	assert_true(peer >= 0);
	assert_true(peer_say(peer, "x"));
	assert_true(event_wait(&closer->inside, 1));
	assert_true(peer_send_unread(peer, 60 * 1000));
	event_raise(&closer->gate);
	expect_reply_and_end(peer, closer->reply);
	assert_true(atomic_load(&closer->sent));
	peer_close(peer);
	sttcp_client_free(client);
	peer_close(listener);
	probe_free(probe);
	free(closer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(close_lets_the_last_reply_arrive),
		cmocka_unit_test(close_of_a_client_lets_the_last_bytes_arrive),
	};

	if (sttcp_engine_configure(1, 0, 0) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
