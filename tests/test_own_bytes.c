/* SPDX-License-Identifier: MIT */
/* G13: only what a connection's own handlers have queued holds its reader. Two ends of which each
 * rests while anybody's bytes are queued for it would wait for each other. */
#include "support/support.h"

#include <sys/socket.h>

enum {
	HIGH = 64 * 1024,
	LOW = 16 * 1024,
	CAP = 4 * 1024 * 1024,
	PART = 64 * 1024
};

static const sttcp_options marks = {
	.size = sizeof(marks), .send_queue_max = CAP, .high_water = HIGH, .low_water = LOW};

static sttcp_conn_counts counts_of(sttcp_conn *conn)
{
	sttcp_conn_counts counts = {0};

	assert_int_equal(sttcp_conn_stats(conn, &counts, sizeof(counts)), 0);
	return counts;
}

/* -------------------------------------------------------------- two ends */

static void stream(sttcp_client *client, struct probe *at_client, size_t total)
{
	static char part[PART];
	sttcp_conn *conn = client_conn(client);

	for (size_t sent = 0; sent < total; sent += PART)
		assert_int_equal(sttcp_conn_send(conn, part, PART), 0);
	assert_true(probe_wait_bytes(at_client, total));
	assert_int_equal(probe_count(at_client, STTCP_DISCONNECTION), 0);
	sttcp_conn_unref(conn);
}

/* With small buffers to send from, so that the queues of both ends fill often. With large ones, on
 * a busy machine, Linux 6.18 itself came to a rest now and then: see narrow(). */
static struct probe *plain_probe(void)
{
	struct probe *probe = probe_new();

	probe->without = NO_UNIVERSAL;
	probe->connection = narrow;
	return probe;
}

/* All options by default: a client that is sent to by main, and an echo. */
static void main_streams_through_an_echo(void **state)
{
	struct probe *at_server = plain_probe(), *at_client = plain_probe();

	(void)state;
	at_server->data = echo_data;
	sttcp_server *server = probe_listen(at_server, NULL);
	sttcp_client *client = probe_dial(at_client, sttcp_server_port(server), NULL);

	stream(client, at_client, (size_t)40 << 20);
	sttcp_client_free(client);
	sttcp_server_free(server);
	probe_free(at_client);
	probe_free(at_server);
}

/* A relay: what comes on one side is sent on the other one, by the handlers. */
struct relay {
	int port; /* of what is behind it */
	struct probe *behind;
	sttcp_client *client;
	sttcp_conn *_Atomic front;
};

static bool relay_opens(struct probe *probe, sttcp_conn *conn)
{
	struct relay *relay = probe->extra;

	atomic_store(&relay->front, sttcp_conn_ref(conn));
	return narrow(probe, conn) && sttcp_client_start(relay->client) == 0;
}

static bool relay_forth(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	struct relay *relay = probe->extra;
	sttcp_conn *back = client_conn(relay->client);
	bool sent = back && sttcp_conn_send(back, data, size) == 0;

	(void)conn;
	sttcp_conn_unref(back);
	return sent;
}

static bool relay_back(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	struct relay *relay = probe->extra;

	(void)conn;
	return sttcp_conn_send(atomic_load(&relay->front), data, size) == 0;
}

static void main_streams_through_a_relay(void **state)
{
	struct probe *at_echo = plain_probe(), *front = plain_probe(), *back = plain_probe(),
		     *at_client = plain_probe();
	struct relay relay = {0};

	(void)state;
	at_echo->data = echo_data;
	front->connection = relay_opens;
	front->data = relay_forth;
	back->data = relay_back;
	front->extra = back->extra = &relay;
	sttcp_server *echo = probe_listen(at_echo, NULL);
	relay.client = probe_client(back, "127.0.0.1", sttcp_server_port(echo), NULL);
	sttcp_server *between = probe_listen(front, NULL);
	sttcp_client *client = probe_dial(at_client, sttcp_server_port(between), NULL);

	assert_true(probe_wait(back, STTCP_CONNECTION, 1));
	stream(client, at_client, (size_t)20 << 20);
	sttcp_client_free(client);
	sttcp_client_free(relay.client);
	sttcp_server_free(between);
	sttcp_server_free(echo);
	sttcp_conn_unref(atomic_load(&relay.front));
	probe_free(at_client);
	probe_free(back);
	probe_free(front);
	probe_free(at_echo);
}

/* ------------------------------------------------------------- whose bytes */

/* Over the high mark by far. */
static char foreign[4 * HIGH + 256 * 1024];

static void by_main(struct pair *pair)
{
	assert_int_equal(sttcp_conn_send(pair->conn, foreign, sizeof(foreign)), 0);
}

static void by_parts(struct pair *pair)
{
	for (size_t at = 0; at < sizeof(foreign); at += 1000) {
		size_t size = sizeof(foreign) - at < 1000 ? sizeof(foreign) - at : 1000;
		struct iovec parts[] = {{foreign + at, size / 2},
					{foreign + at + size / 2, size - size / 2}};

		assert_int_equal(sttcp_conn_sendv(pair->conn, parts, 2), 0);
	}
}

static void by_broadcast(struct pair *pair)
{
	for (size_t at = 0; at < sizeof(foreign); at += HIGH)
		assert_int_equal(sttcp_server_broadcast(pair->server, foreign, HIGH), 1);
}

static void by_small_broadcasts(struct pair *pair)
{
	for (size_t at = 0; at < sizeof(foreign); at += 512)
		assert_int_equal(sttcp_server_broadcast_message(pair->server, NULL, foreign, 512),
				 1);
}

static void by_messages_to_a_room(struct pair *pair)
{
	assert_int_equal(sttcp_conn_join(pair->conn, "room"), 0);
	for (size_t at = 0; at < sizeof(foreign); at += HIGH)
		assert_int_equal(sttcp_server_send_room(pair->server, "room", NULL, foreign, HIGH),
				 1);
}

static void by_try(struct pair *pair)
{
	assert_int_equal(sttcp_conn_try_send(pair->conn, foreign, sizeof(foreign)), 0);
}

/* A handler, but of another connection. */
static bool send_there(struct probe *probe, sttcp_conn *conn, const void *bytes, size_t size)
{
	struct pair *pair = probe->extra;

	(void)conn;
	(void)bytes;
	(void)size;
	by_main(pair);
	return true;
}

static void by_another_s_handler(struct pair *pair)
{
	struct pair other = {.probe = probe_new()};

	other.probe->data = send_there;
	other.probe->extra = pair;
	pair_open(&other, NULL);
	assert_true(peer_say(other.peer, "go"));
	EVENTUALLY(counts_of(pair->conn).queued > 2 * HIGH);
	pair_close(&other);
}

static void others_never_hold_the_reader(void **state)
{
	static void (*const ways[])(struct pair * pair) = {
		by_main,
		by_parts,
		by_broadcast,
		by_small_broadcasts,
		by_messages_to_a_room,
		by_try,
		by_another_s_handler,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		struct pair pair = {0};

		pair_open_narrow(&pair, &marks);
		ways[i](&pair);
		assert_true(counts_of(pair.conn).queued > 2 * HIGH);
		for (int k = 1; k <= 3; k++) {
			assert_true(peer_say(pair.peer, "again"));
			EVENTUALLY(counts_of(pair.conn).bytes_in == 5 * k);
		}
		pair_close(&pair);
	}
}

/* Whatever call it is, on the thread of a handler of this connection it counts. */
enum own_way {
	OWN_SEND,
	OWN_SENDV,
	OWN_TRY,
	OWN_MESSAGE,
	OWN_BROADCAST,
	OWN_ROOM,
	OWN_WAYS
};

static bool answer(struct probe *probe, sttcp_conn *conn, const void *bytes, size_t size)
{
	static char reply[4 * HIGH];
	const struct iovec parts[] = {{reply, 2 * HIGH}, {reply + 2 * HIGH, 2 * HIGH}};

	(void)bytes;
	(void)size;
	switch (*(enum own_way *)probe->extra) {
	case OWN_SEND:
		return sttcp_conn_send(conn, reply, sizeof(reply)) == 0;
	case OWN_SENDV:
		return sttcp_conn_sendv(conn, parts, 2) == 0;
	case OWN_TRY:
		return sttcp_conn_try_send(conn, reply, sizeof(reply)) == 0;
	case OWN_MESSAGE:
		return sttcp_conn_send_message(conn, reply, sizeof(reply)) == 0;
	case OWN_ROOM:
		return sttcp_conn_join(conn, "room") == 0 &&
		       sttcp_server_send_room(sttcp_conn_server(conn), "room", NULL, reply,
					      sizeof(reply)) == 1;
	default:
		return sttcp_server_broadcast(sttcp_conn_server(conn), reply, sizeof(reply)) == 1;
	}
}

/* Of an answer the kernel takes less than the half, in parts of 64 KiB over TLS, and on a busy
 * machine the last of them late: what it leaves is more than the mark in each case. */
static void ask(struct pair *pair)
{
	assert_true(peer_say(pair->peer, "?"));
	EVENTUALLY(counts_of(pair->conn).messages_out == 1);
	assert_true(counts_of(pair->conn).queued >= 2 * HIGH);
}

static void own_handlers_hold_the_reader(void **state)
{
	enum own_way way;

	(void)state;
	for (way = OWN_SEND; way < OWN_WAYS; way++) {
		struct pair pair = {.probe = probe_new()};

		pair.probe->data = answer;
		pair.probe->extra = &way;
		pair_open_narrow(&pair, &marks);
		ask(&pair);
		int64_t before = counts_of(pair.conn).bytes_in;

		assert_true(peer_say(pair.peer, "!"));
		nap_ms(20);
		assert_int_equal(counts_of(pair.conn).bytes_in, before);
		pair_close(&pair);
	}
}

/* Own bytes in front of foreign ones: reading goes on when the own ones have left, however many of
 * the others there are still. */
static void reading_goes_on_when_the_own_bytes_have_left(void **state)
{
	enum own_way way = OWN_SEND;
	struct pair pair = {.probe = probe_new()};
	static char got[1024];

	(void)state;
	pair.probe->data = answer;
	pair.probe->extra = &way;
	pair_open_narrow(&pair, &marks);
	ask(&pair);
	int64_t before = counts_of(pair.conn).bytes_in;
	int64_t own = counts_of(pair.conn).queued;

	for (int i = 0; i < 3; i++)
		by_main(&pair);
	assert_true(peer_say(pair.peer, "!"));
	/* Nothing may be read before the own ones are at the low mark, but then. */
	while (counts_of(pair.conn).bytes_in == before) {
		if (counts_of(pair.conn).queued <= 2 * (int64_t)sizeof(foreign)) {
			EVENTUALLY(counts_of(pair.conn).bytes_in > before);
			break;
		}
		assert_true(peer_recv(pair.peer, got, sizeof(got)));
		assert_true(counts_of(pair.conn).queued > own);
	}
	assert_true(counts_of(pair.conn).queued > (int64_t)sizeof(foreign));
	pair_close(&pair);
}

/* At the cap of all, too. */
static void the_cap_of_all_holds_those_with_own_bytes_only(void **state)
{
	struct pair pair = {0};

	(void)state;
	pair_open_narrow(&pair,
			 STTCP_OPTIONS(.total_queue_max = 4 * HIGH, .broadcast_skips = true));
	while (sttcp_server_broadcast(pair.server, foreign, 4096) == 1)
		;
	assert_true(counts_of(pair.conn).queued > 3 * HIGH);
	assert_true(peer_say(pair.peer, "again"));
	EVENTUALLY(counts_of(pair.conn).bytes_in == 5);
	pair_close(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(main_streams_through_an_echo),
		cmocka_unit_test(main_streams_through_a_relay),
		cmocka_unit_test(others_never_hold_the_reader),
		cmocka_unit_test(own_handlers_hold_the_reader),
		cmocka_unit_test(reading_goes_on_when_the_own_bytes_have_left),
		cmocka_unit_test(the_cap_of_all_holds_those_with_own_bytes_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
