/* SPDX-License-Identifier: MIT */
/* G10: no lock of the library is held while a handler runs. Were one held, these would hang. */
#include "support/support.h"

struct room {
	struct event inside;
	struct event gate;
	pthread_mutex_t lock; /* the user's own, taken in handlers and around calls */
};

static void room_init(struct room *room)
{
	struct event fresh = EVENT_INIT;

	memset(room, 0, sizeof(*room));
	room->inside = fresh;
	room->gate = fresh;
	pthread_mutex_init(&room->lock, NULL);
}

static void stay(struct room *room)
{
	event_raise(&room->inside);
	event_wait(&room->gate, 1);
}

static void nothing(sttcp_conn *conn, void *argument)
{
	(void)conn;
	atomic_fetch_add((atomic_int *)argument, 1);
}

/* All that one may call on a server and on one of its connections without ending them. */
static void call_everything(struct probe *probe, sttcp_server *server, sttcp_conn *conn)
{
	struct iovec part = {(char[]){'v'}, 1};
	sttcp_conn_counts counts;
	sttcp_stats stats;
	atomic_int seen;

	atomic_init(&seen, 0);
	if (sttcp_server_broadcast(server, "b", 1) < 0 ||
	    sttcp_server_broadcast_except(server, conn, "e", 1) < 0 ||
	    sttcp_server_each(server, nothing, &seen) < 0 || sttcp_server_count(server) < 0 ||
	    sttcp_server_stats(server, &stats, sizeof(stats)) < 0 ||
	    sttcp_server_port(server) <= 0 || !sttcp_server_error(server))
		probe_violate(probe, "a call on the server");
	ignore(sttcp_conn_join(conn, "room"));
	if (sttcp_server_send_room(server, "room", conn, "r", 1) < 0 ||
	    sttcp_server_send_room_message(server, "room", conn, "m", 1) < 0 ||
	    sttcp_server_each_in(server, "room", nothing, &seen) < 0 ||
	    sttcp_server_count_in(server, "room") < 0)
		probe_violate(probe, "a call on a room");
	ignore(sttcp_conn_leave(conn, "room"));
	sttcp_conn_unref(sttcp_server_find(server, sttcp_conn_id(conn)));
	sttcp_conn_unref(sttcp_conn_ref(conn));
	sttcp_conn_set_data(conn, &stats, NULL);
	if (sttcp_conn_data(conn) != &stats)
		probe_violate(probe, "user data");
	sttcp_conn_set_data(conn, NULL, NULL);
	(void)sttcp_conn_send(conn, "s", 1);
	ignore(sttcp_conn_try_send(conn, "t", 1));
	(void)sttcp_conn_sendv(conn, &part, 1);
	(void)sttcp_conn_sendf(conn, "%c", 'f');
	(void)sttcp_conn_flush(conn);
	(void)sttcp_conn_is_open(conn);
	(void)sttcp_conn_stopping(conn);
	(void)sttcp_conn_fd(conn);
	if (sttcp_conn_stats(conn, &counts, sizeof(counts)) != 0 || !sttcp_conn_host(conn) ||
	    !sttcp_conn_address(conn) || !sttcp_conn_local_address(conn) ||
	    !sttcp_conn_fail_text(conn))
		probe_violate(probe, "a call on the connection");
}

static bool stay_at_open(struct probe *probe, sttcp_conn *conn)
{
	(void)conn;
	stay(probe->extra);
	return true;
}

static bool stay_at_data(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)conn;
	(void)data;
	(void)size;
	stay(probe->extra);
	return true;
}

static void stay_at_end(struct probe *probe, sttcp_conn *conn, int reason)
{
	(void)conn;
	(void)reason;
	stay(probe->extra);
}

/* Every call from outside returns while a handler of that very connection is blocked. */
static void calls_from_outside_return_while_a_handler_blocks(void **state)
{
	(void)state;
	for (int phase = 0; phase < 3; phase++) {
		struct probe *probe = probe_new();
		struct room room;

		room_init(&room);
		probe->extra = &room;
		if (phase == 0)
			probe->data = stay_at_data;
		else if (phase == 1)
			probe->ended = stay_at_end;
		else
			probe->connection = stay_at_open;
		sttcp_server *server = probe_listen(probe, NULL);
		int peer = peer_connect(sttcp_server_port(server));
		sttcp_conn *conn = NULL;
		if (phase < 2) {
			EVENTUALLY(sttcp_server_count(server) == 1);
			conn = sttcp_server_find(server, probe_last_id(probe));
			assert_non_null(conn);
			if (phase == 0)
				assert_true(peer_say(peer, "x"));
			else
				peer_shutdown(peer);
		}
		assert_true(event_wait(&room.inside, 1));
		if (conn) {
			call_everything(probe, server, conn);
			(void)sttcp_conn_shutdown(conn);
			(void)sttcp_conn_fail(conn, 0, "from outside");
			(void)sttcp_conn_close(conn);
			(void)sttcp_conn_abort(conn);
			sttcp_conn_unref(conn);
		}
		assert_true(sttcp_server_broadcast(server, "x", 1) >= 0);
		assert_int_equal(sttcp_server_wait(server, 0), -ETIMEDOUT);
		event_raise(&room.gate);
		peer_close(peer);
		sttcp_server_free(server);
		probe_free(probe);
	}
}

/* Every call is fine inside a handler, on its own connection and on all others. */
static bool call_all_at_open(struct probe *probe, sttcp_conn *conn)
{
	call_everything(probe, sttcp_conn_server(conn), conn);
	return true;
}

static bool call_all_at_data(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)data;
	(void)size;
	call_everything(probe, sttcp_conn_server(conn), conn);
	return true;
}

static void call_all_at_end(struct probe *probe, sttcp_conn *conn, int reason)
{
	(void)reason;
	call_everything(probe, sttcp_conn_server(conn), conn);
}

static void calls_inside_handlers_return(void **state)
{
	enum {
		PEERS = 8
	};
	struct probe *probe = probe_new();
	int peers[PEERS];

	(void)state;
	probe->connection = call_all_at_open;
	probe->data = call_all_at_data;
	probe->ended = call_all_at_end;
	sttcp_server *server = probe_listen(probe, NULL);
	for (int i = 0; i < PEERS; i++)
		peers[i] = peer_connect(sttcp_server_port(server));
	assert_true(probe_wait(probe, STTCP_CONNECTION, PEERS));
	for (int round = 0; round < 10; round++) {
		for (int i = 0; i < PEERS; i++)
			assert_true(peer_say(peers[i], "x"));
	}
	for (int i = 0; i < PEERS; i++) {
		peer_shutdown(peers[i]);
		assert_int_equal(peer_end(peers[i]), 0);
		peer_close(peers[i]);
	}
	assert_int_equal(sttcp_server_stop(server), 0);
	assert_int_equal(probe_count(probe, STTCP_DISCONNECTION), PEERS);
	sttcp_server_free(server);
	probe_free(probe);
}

/* ------------------------------------------------ a lock of the user's in both */

static bool lock_at_open(struct probe *probe, sttcp_conn *conn)
{
	struct room *room = probe->extra;

	(void)conn;
	pthread_mutex_lock(&room->lock);
	pthread_mutex_unlock(&room->lock);
	return true;
}

static bool lock_at_data(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	struct room *room = probe->extra;

	pthread_mutex_lock(&room->lock);
	sttcp_server_broadcast_except(sttcp_conn_server(conn), conn, data, size);
	pthread_mutex_unlock(&room->lock);
	return true;
}

static void lock_at_end(struct probe *probe, sttcp_conn *conn, int reason)
{
	struct room *room = probe->extra;

	(void)reason;
	pthread_mutex_lock(&room->lock);
	sttcp_server_broadcast_except(sttcp_conn_server(conn), conn, "left", 4);
	pthread_mutex_unlock(&room->lock);
}

static void *drop_all(void *argument)
{
	int peer = *(int *)argument;
	size_t bytes;

	peer_drain(peer, &bytes);
	return NULL;
}

static void lock_of_the_user_in_handlers_and_around_calls(void **state)
{
	enum {
		PEERS = 8,
		ROUNDS = 100
	};
	struct probe *probe = probe_new();
	struct room room;
	int peers[PEERS];
	pthread_t readers[PEERS];
	atomic_int seen;

	(void)state;
	atomic_init(&seen, 0);
	room_init(&room);
	probe->extra = &room;
	probe->connection = lock_at_open;
	probe->data = lock_at_data;
	probe->ended = lock_at_end;
	sttcp_server *server = probe_listen(probe, NULL);
	for (int i = 0; i < PEERS; i++) {
		peers[i] = peer_connect(sttcp_server_port(server));
		assert_int_equal(pthread_create(&readers[i], NULL, drop_all, &peers[i]), 0);
	}
	assert_true(probe_wait(probe, STTCP_CONNECTION, PEERS));
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < PEERS; i++)
			assert_true(peer_say(peers[i], "x"));
		pthread_mutex_lock(&room.lock);
		assert_true(sttcp_server_broadcast(server, "all", 3) >= 0);
		assert_true(sttcp_server_each(server, nothing, &seen) >= 0);
		assert_true(sttcp_server_count(server) >= 0);
		pthread_mutex_unlock(&room.lock);
	}
	for (int i = 0; i < PEERS; i++)
		peer_shutdown(peers[i]);
	for (int i = 0; i < PEERS; i++) {
		pthread_join(readers[i], NULL);
		peer_close(peers[i]);
	}
	assert_int_equal(sttcp_server_stop(server), 0);
	assert_int_equal(probe_count(probe, STTCP_DISCONNECTION), PEERS);
	assert_true(atomic_load(&seen) > 0);
	sttcp_server_free(server);
	pthread_mutex_destroy(&room.lock);
	probe_free(probe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(calls_from_outside_return_while_a_handler_blocks),
		cmocka_unit_test(calls_inside_handlers_return),
		cmocka_unit_test(lock_of_the_user_in_handlers_and_around_calls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
