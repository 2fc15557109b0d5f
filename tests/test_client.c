/* SPDX-License-Identifier: MIT */
/* G3: a client attempt ends in exactly one of connection handler or unconnected handler. Closing,
 * waiting and starting again. */
#include "support/support.h"

#include <sys/socket.h>

static void refused_attempt_is_unconnected_once(void **state)
{
	int port;
	int refusing = peer_refuse(&port);
	struct probe *probe = probe_new();
	sttcp_client *client = probe_client(probe, "127.0.0.1", port, NULL);

	(void)state;
	for (int i = 1; i <= 20; i++) {
		assert_int_equal(sttcp_client_start(client), 0);
		assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), -ECONNREFUSED);
		assert_int_equal(probe_count(probe, STTCP_UNCONNECTED), i);
		assert_int_equal(probe_reason(probe), -ECONNREFUSED);
		assert_null(sttcp_client_conn(client));
	}
	sttcp_client_free(client);
	assert_int_equal(probe_count(probe, STTCP_UNCONNECTED), 20);
	assert_int_equal(probe_count(probe, STTCP_CONNECTION), 0);
	assert_int_equal(probe_count(probe, STTCP_DISCONNECTION), 0);
	peer_close(refusing);
	probe_free(probe);
}

static void unknown_host_is_unconnected(void **state)
{
	struct probe *probe = probe_new();
	sttcp_client *client = probe_client(probe, "no-such-host.invalid", 4711, NULL);

	(void)state;
	assert_int_equal(sttcp_client_start(client), 0);
	assert_int_equal(sttcp_client_wait(client, 2 * DEADLINE_MS), STTCP_ERESOLVE);
	assert_string_equal(probe_order(probe), "uU");
	assert_int_equal(probe_reason(probe), STTCP_ERESOLVE);
	assert_string_equal(probe_address(probe), "no-such-host.invalid:4711");
	sttcp_client_free(client);
	probe_free(probe);
}

/* G14: the connect timeout has a typed reason. */
static void attempt_without_an_answer_times_out(void **state)
{
	struct blackhole hole;
	struct probe *probe = probe_new();

	(void)state;
	if (!blackhole_open(&hole)) {
		print_message("no port that drops connections to be had here\n");
		skip();
	}
	int64_t begin = now_ms();
	sttcp_client *client =
		probe_dial(probe, hole.port, STTCP_OPTIONS(.connect_timeout_ms = 300));
	assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), STTCP_ETIME_CONNECT);
	assert_true(now_ms() - begin >= 295);
	assert_string_equal(probe_order(probe), "uU");
	assert_int_equal(probe_reason(probe), STTCP_ETIME_CONNECT);
	sttcp_client_free(client);
	blackhole_close(&hole);
	probe_free(probe);
}

/* Closing gives the unconnected handler at once, and returns after it. */
static void close_during_the_attempt_ends_it(void **state)
{
	struct blackhole hole;

	(void)state;
	if (!blackhole_open(&hole))
		skip();
	for (int i = 0; i < 10; i++) {
		struct probe *probe = probe_new();
		sttcp_client *client =
			probe_dial(probe, hole.port, STTCP_OPTIONS(.connect_timeout_ms = -1));

		if (i % 2 == 0)
			assert_int_equal(sttcp_client_wait(client, i), -ETIMEDOUT);
		if (i < 8) {
			assert_int_equal(sttcp_client_close(client), 0);
			assert_int_equal(sttcp_client_wait(client, 0), STTCP_EDESTROYED);
		} else {
			sttcp_client_free(client);
		}
		assert_string_equal(probe_order(probe), "uU");
		assert_int_equal(probe_reason(probe), STTCP_EDESTROYED);
		if (i < 8)
			sttcp_client_free(client);
		probe_free(probe);
	}
	blackhole_close(&hole);
}

static void connected_client_runs_through_its_phases(void **state)
{
	int port;
	int listener = peer_listen(&port, 8);
	struct probe *probe = probe_new();

	(void)state;
	probe->data = echo_data;
	sttcp_client *client = probe_dial(probe, port, NULL);
	int peer = peer_accept(listener);
	assert_true(peer_say(peer, "ping"));
	assert_true(peer_expect(peer, "ping"));
	peer_close(peer);
	assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), 0);
	assert_string_equal(probe_order(probe), "cCsSdD");
	assert_int_equal(probe_reason(probe), 0);
	sttcp_client_free(client);
	peer_close(listener);
	probe_free(probe);
}

/* A client need not send first, and what the server says with its FIN arrives (G5). */
static void greeting_with_fin_is_delivered(void **state)
{
	int port;
	int listener = peer_listen(&port, 64);

	(void)state;
	for (int i = 0; i < 60; i++) {
		struct probe *probe = probe_new();
		sttcp_client *client = probe_dial(probe, port, NULL);
		int peer = peer_accept(listener);

		assert_true(peer_say(peer, "welcome and goodbye"));
		peer_close(peer);
		assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), 0);
		assert_string_equal(probe_text(probe), "welcome and goodbye");
		assert_int_equal(probe_count(probe, STTCP_DISCONNECTION), 1);
		sttcp_client_free(client);
		probe_free(probe);
	}
	peer_close(listener);
}

static void localhost_connects(void **state)
{
	struct probe *serving = probe_new();
	struct probe *calling = probe_new();
	sttcp_server *server = probe_server(serving, "localhost", 0, NULL);
	char address[64];

	(void)state;
	assert_int_equal(sttcp_server_start(server), 0);
	sttcp_client *client = probe_client(calling, "localhost", sttcp_server_port(server), NULL);
	snprintf(address, sizeof(address), "localhost:%d", sttcp_server_port(server));
	assert_string_equal(sttcp_client_address(client), address);
	assert_int_equal(sttcp_client_start(client), 0);
	assert_true(probe_wait(calling, STTCP_CONNECTION, 1));
	assert_string_equal(sttcp_client_address(client), address);
	sttcp_client_free(client);
	sttcp_server_free(server);
	probe_free(calling);
	probe_free(serving);
}

static void wait_tells_what_there_is_to_tell(void **state)
{
	int port;
	int listener = peer_listen(&port, 8);
	struct probe *probe = probe_new();
	sttcp_client *client = probe_client(probe, "127.0.0.1", port, NULL);

	(void)state;
	assert_int_equal(sttcp_client_wait(client, 0), -EINVAL);
	assert_int_equal(sttcp_client_wait(client, -1), -EINVAL);
	assert_int_equal(sttcp_client_keep_alive(client), -EINVAL);
	assert_int_equal(sttcp_client_close(client), 0);
	assert_int_equal(sttcp_client_start(client), 0);
	assert_int_equal(sttcp_client_wait(client, -2), -EINVAL);
	assert_int_equal(sttcp_client_wait(client, 0), -ETIMEDOUT);
	assert_int_equal(sttcp_client_wait(client, 20), -ETIMEDOUT);
	int peer = peer_accept(listener);
	peer_close(peer);
	assert_int_equal(sttcp_client_wait(client, -1), 0);
	assert_int_equal(sttcp_client_wait(client, 0), 0);
	sttcp_client_free(client);
	peer_close(listener);
	probe_free(probe);
}

static void conn_is_a_reference_to_the_open_connection(void **state)
{
	int port;
	int listener = peer_listen(&port, 8);
	struct probe *probe = probe_new();
	sttcp_client *client = probe_client(probe, "127.0.0.1", port, NULL);

	(void)state;
	assert_null(sttcp_client_conn(client));
	assert_int_equal(sttcp_client_start(client), 0);
	assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
	sttcp_conn *conn = client_conn(client);
	assert_true(sttcp_conn_is_open(conn));
	assert_ptr_equal(sttcp_conn_client(conn), client);
	assert_null(sttcp_conn_server(conn));
	assert_int_equal(sttcp_conn_id(conn), probe_last_id(probe));
	int peer = peer_accept(listener);
	assert_int_equal(sttcp_conn_send(conn, "from outside", 12), 0);
	assert_true(peer_expect(peer, "from outside"));
	peer_close(peer);
	assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), 0);
	assert_null(sttcp_client_conn(client));
	assert_false(sttcp_conn_is_open(conn));
	sttcp_client_free(client);
	assert_null(sttcp_conn_client(conn));
	sttcp_conn_unref(conn);
	peer_close(listener);
	probe_free(probe);
}

/* ------------------------------------------------------------ starting again */

struct again {
	atomic_int left;
	atomic_int failed;
};

static void start_again(struct probe *probe, sttcp_conn *conn, int reason)
{
	struct again *again = probe->extra;

	(void)reason;
	if (atomic_fetch_sub(&again->left, 1) <= 0)
		return;
	if (sttcp_client_start(sttcp_conn_client(conn)) != 0)
		atomic_fetch_add(&again->failed, 1);
	/* The next attempt begins when this handler returns: until then it is under way. */
	if (sttcp_client_start(sttcp_conn_client(conn)) != -EBUSY)
		atomic_fetch_add(&again->failed, 1);
}

/* For wait, a client that was started again has not ended. */
static void restart_from_the_unconnected_handler(void **state)
{
	int port;
	int refusing = peer_refuse(&port);
	struct probe *probe = probe_new();
	struct again again;

	(void)state;
	atomic_init(&again.left, 10);
	atomic_init(&again.failed, 0);
	probe->ended = start_again;
	probe->extra = &again;
	sttcp_client *client = probe_dial(probe, port, NULL);
	assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), -ECONNREFUSED);
	assert_int_equal(probe_count(probe, STTCP_UNCONNECTED), 11);
	assert_int_equal(atomic_load(&again.failed), 0);
	sttcp_client_free(client);
	peer_close(refusing);
	probe_free(probe);
}

static void restart_from_the_disconnection_handler(void **state)
{
	int port;
	int listener = peer_listen(&port, 64);
	struct probe *probe = probe_new();
	struct again again;

	(void)state;
	atomic_init(&again.left, 10);
	atomic_init(&again.failed, 0);
	probe->ended = start_again;
	probe->extra = &again;
	sttcp_client *client = probe_dial(probe, port, NULL);
	for (int i = 0; i < 11; i++) {
		int peer = peer_accept(listener);

		assert_true(peer_say(peer, "x"));
		assert_true(probe_wait_bytes(probe, (size_t)i + 1));
		assert_int_equal(sttcp_client_wait(client, 0), -ETIMEDOUT);
		if (i == 10)
			peer_reset(peer);
		else
			peer_close(peer);
	}
	assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), -ECONNRESET);
	assert_int_equal(probe_count(probe, STTCP_CONNECTION), 11);
	assert_int_equal(probe_count(probe, STTCP_DISCONNECTION), 11);
	assert_int_equal(atomic_load(&again.failed), 0);
	sttcp_client_free(client);
	peer_close(listener);
	probe_free(probe);
}

/* free ends a client that keeps starting itself. */
static void free_wins_over_restarting(void **state)
{
	int port;
	int refusing = peer_refuse(&port);

	(void)state;
	for (int i = 0; i < 6; i++) {
		struct probe *probe = probe_new();
		struct again again;

		atomic_init(&again.left, INT32_MAX / 2);
		atomic_init(&again.failed, 0);
		probe->ended = start_again;
		probe->extra = &again;
		sttcp_client *client = probe_dial(probe, port, NULL);
		assert_true(probe_wait(probe, STTCP_UNCONNECTED, 3));
		if (i % 2 == 0) {
			atomic_store(&again.left, 0); /* else only free can end it */
			assert_int_equal(sttcp_client_close(client), 0);
		}
		sttcp_client_free(client);
		assert_int_equal(probe->releases, 1);
		probe_free(probe);
	}
	peer_close(refusing);
}

/* --------------------------------------------------------------------- close */

static bool send_a_lot(struct probe *probe, sttcp_conn *conn)
{
	static char lot[900 * 1024];

	(void)probe;
	sttcp_conn_send(conn, lot, sizeof(lot));
	return true;
}

static void *close_it(void *client)
{
	sttcp_client_close(client);
	return NULL;
}

/* What was sent is flushed. */
static void close_flushes_what_was_sent(void **state)
{
	int port;
	int listener = peer_listen(&port, 8);
	struct probe *probe = probe_new();
	size_t bytes;

	(void)state;
	probe->connection = send_a_lot;
	sttcp_client *client = probe_dial(probe, port, NULL);
	assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
	int peer = peer_accept(listener);
	pthread_t closer;
	assert_int_equal(pthread_create(&closer, NULL, close_it, client), 0);
	assert_int_equal(peer_drain(peer, &bytes), 0);
	assert_int_equal(bytes, 900 * 1024);
	pthread_join(closer, NULL);
	assert_int_equal(probe_reason(probe), STTCP_EDESTROYED);
	sttcp_client_free(client);
	peer_close(peer);
	peer_close(listener);
	probe_free(probe);
}

static bool send_and_close(struct probe *probe, sttcp_conn *conn)
{
	static char more[8 * 1024 * 1024]; /* than the kernel takes */

	if (sttcp_conn_send(conn, more, sizeof(more)) < 0)
		probe_violate(probe, "nothing can be sent");
	sttcp_client_close(sttcp_conn_client(conn));
	return true;
}

/* Free ends it at once, and what was queued still has the drain limit of the close. */
static void free_behind_close_flushes_what_was_sent(void **state)
{
	int port;
	int listener = peer_listen(&port, 8);
	struct probe *probe = probe_new();
	size_t bytes;

	(void)state;
	probe->connection = send_and_close;
	sttcp_client *client = probe_dial(probe, port,
					  STTCP_OPTIONS(.drain_timeout_ms = 6 * DEADLINE_MS,
							.send_queue_max = 16 * 1024 * 1024));
	int peer = peer_accept(listener);

	assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
	sttcp_client_free(client);
	assert_int_equal(peer_drain(peer, &bytes), 0);
	assert_int_equal(bytes, 8 * 1024 * 1024);
	peer_close(peer);
	peer_close(listener);
	probe_free(probe);
}

static bool overfill(struct probe *probe, sttcp_conn *conn)
{
	static char part[64 * 1024];

	(void)probe;
	while (sttcp_conn_try_send(conn, part, sizeof(part)) == 0)
		;
	return true;
}

/* The flush takes as long as the drain limit at most. */
static void close_gives_up_at_the_drain_limit(void **state)
{
	int port;
	int listener = peer_listen(&port, 8);
	struct probe *probe = probe_new();

	(void)state;
	probe->connection = overfill;
	sttcp_client *client = probe_dial(probe, port, STTCP_OPTIONS(.drain_timeout_ms = 200));
	assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
	int64_t begin = now_ms();
	assert_int_equal(sttcp_client_close(client), 0);
	assert_true(now_ms() - begin >= 190);
	assert_true(now_ms() - begin < 9000); /* not the default of 10 s */
	assert_int_equal(probe_count(probe, STTCP_DISCONNECTION), 1);
	assert_int_equal(probe_reason(probe), STTCP_EDESTROYED);
	sttcp_client_free(client);
	peer_close(listener);
	probe_free(probe);
}

static void half_close_client_hears_the_end(void **state)
{
	int port;
	int listener = peer_listen(&port, 8);
	struct probe *probe = probe_new();

	(void)state;
	sttcp_client *client = probe_dial(probe, port, STTCP_OPTIONS(.half_close = true));
	int peer = peer_accept(listener);
	peer_shutdown(peer);
	assert_true(probe_wait(probe, STTCP_END, 1));
	sttcp_conn *conn = client_conn(client);
	assert_int_equal(sttcp_conn_send(conn, "still here", 10), 0);
	assert_true(peer_expect(peer, "still here"));
	assert_int_equal(sttcp_conn_close(conn), 0);
	sttcp_conn_unref(conn);
	assert_int_equal(peer_end(peer), 0);
	assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), STTCP_ECLOSED);
	assert_string_equal(probe_order(probe), "cCeEdD");
	sttcp_client_free(client);
	peer_close(peer);
	peer_close(listener);
	probe_free(probe);
}

/* ----------------------------------------------------- ends of a second attempt */

struct second {
	atomic_int result; /* of the start inside the handler */
	struct event inside;
};

static void start_a_second_time(struct probe *probe, sttcp_conn *conn, int reason)
{
	struct second *second = probe->extra;

	(void)reason;
	if (event_count(&second->inside) > 0)
		return;
	atomic_store(&second->result, sttcp_client_start(sttcp_conn_client(conn)));
	event_raise(&second->inside);
	nap_ms(50); /* so that the close comes, most likely, before the attempt begins */
}

/* A start that gave 0 has its outcome, also when the client is closed before its attempt begins. */
static void close_before_the_second_attempt_is_its_outcome(void **state)
{
	int port;
	int refusing = peer_refuse(&port);
	struct probe *probe = probe_new();
	struct second second = {.inside = EVENT_INIT};

	(void)state;
	atomic_init(&second.result, 1);
	probe->ended = start_a_second_time;
	probe->extra = &second;
	sttcp_client *client = probe_dial(probe, port, NULL);
	assert_true(event_wait(&second.inside, 1));
	assert_int_equal(atomic_load(&second.result), 0);
	assert_int_equal(sttcp_client_close(client), 0);
	assert_string_equal(probe_order(probe), "uUuU");
	assert_int_equal(sttcp_client_wait(client, 0), probe_reason(probe));
	sttcp_client_free(client);
	peer_close(refusing);
	probe_free(probe);
}

/* ---------------------------------------------------------------------- memory */

static void start_and_free(int port, int count)
{
	for (int i = 0; i < count; i++) {
		/* What waits for the drain limit would wait longer than this test does. */
		sttcp_client *client = sttcp_client_new(
			"127.0.0.1", port, STTCP_OPTIONS(.drain_timeout_ms = 10 * DEADLINE_MS));

		assert_non_null(client);
		assert_int_equal(sttcp_client_start(client), 0);
		assert_int_equal(sttcp_client_close(client), 0);
		sttcp_client_free(client);
	}
}

/* What is freed is gone, and does not stay until a time that nobody waits for any more. */
static void freed_clients_leave_no_memory_behind(void **state)
{
	(void)state;
	if (!memory_is_measured())
		skip();
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);
	assert_int_equal(sttcp_server_start(server), 0);
	int port = sttcp_server_port(server);
	start_and_free(port, 200);
	EVENTUALLY(sttcp_server_count(server) == 0);
	size_t before = bytes_in_use();
	start_and_free(port, 4000);
	EVENTUALLY(bytes_in_use() < before + (512 << 10));
	sttcp_server_free(server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refused_attempt_is_unconnected_once),
		cmocka_unit_test(unknown_host_is_unconnected),
		cmocka_unit_test(attempt_without_an_answer_times_out),
		cmocka_unit_test(close_during_the_attempt_ends_it),
		cmocka_unit_test(connected_client_runs_through_its_phases),
		cmocka_unit_test(greeting_with_fin_is_delivered),
		cmocka_unit_test(localhost_connects),
		cmocka_unit_test(wait_tells_what_there_is_to_tell),
		cmocka_unit_test(conn_is_a_reference_to_the_open_connection),
		cmocka_unit_test(restart_from_the_unconnected_handler),
		cmocka_unit_test(restart_from_the_disconnection_handler),
		cmocka_unit_test(free_wins_over_restarting),
		cmocka_unit_test(close_flushes_what_was_sent),
		cmocka_unit_test(free_behind_close_flushes_what_was_sent),
		cmocka_unit_test(close_gives_up_at_the_drain_limit),
		cmocka_unit_test(half_close_client_hears_the_end),
		cmocka_unit_test(close_before_the_second_attempt_is_its_outcome),
		cmocka_unit_test(freed_clients_leave_no_memory_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
