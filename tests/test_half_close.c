/* SPDX-License-Identifier: MIT */
/* Option half_close, and sttcp_conn_shutdown: one direction ends, the other goes on. */
#include "support/support.h"

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

/* Nothing can come or go after both FINs: that is the end. */
static void half_close_ends_with_the_second_fin(void **state)
{
	char host[64];

	(void)state;
	shut_both_ways("127.0.0.1", false);
	snprintf(host, sizeof(host), "unix:/tmp/sttcp-life-%d", (int)getpid());
	shut_both_ways(host, true);
}

/* ------------------------------------------------------------------ of one connection */

static bool turn_on(struct probe *probe, sttcp_conn *conn)
{
	if (sttcp_conn_set_half_close(conn, true) != 0)
		probe_violate(probe, "it cannot be turned on");
	return true;
}

static void turn_off_task(sttcp_conn *conn, void *argument)
{
	if (sttcp_conn_set_half_close(conn, false) != 0)
		probe_violate(argument, "it cannot be turned off");
}

/* Without the option, one connection has it until it is taken back; then the FIN that has come
 * before is the end. */
static void half_close_of_one_connection_can_be_turned_on(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	probe->connection = turn_on;
	sttcp_server *server = probe_listen(probe, NULL);
	int peer = peer_connect(sttcp_server_port(server));

	peer_shutdown(peer);
	assert_true(probe_wait(probe, STTCP_END, 1));
	sttcp_conn *conn = sttcp_server_find(server, probe_last_id(probe));
	assert_non_null(conn);
	assert_int_equal(sttcp_conn_set_half_close(conn, false), -EDEADLK);
	assert_int_equal(sttcp_conn_send(conn, "still", 5), 0);
	assert_true(peer_expect(peer, "still"));
	assert_true(sttcp_conn_is_open(conn));
	assert_int_equal(sttcp_conn_run(conn, turn_off_task, probe, NULL), 0);
	assert_int_equal(peer_end(peer), 0);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(probe), 0);
	sttcp_conn_unref(conn);
	peer_close(peer);
	sttcp_server_free(server);
	probe_free(probe);
}

static bool turn_off(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)data;
	(void)size;
	turn_off_task(conn, probe);
	return true;
}

static void half_close_of_one_connection_can_be_turned_off(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	probe->data = turn_off;
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.half_close = true));
	int peer = peer_connect(sttcp_server_port(server));

	assert_true(peer_say(peer, "x"));
	peer_shutdown(peer);
	assert_int_equal(peer_end(peer), 0);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(probe), 0);
	assert_int_equal(probe_count(probe, STTCP_END), 0);
	peer_close(peer);
	sttcp_server_free(server);
	probe_free(probe);
	assert_int_equal(sttcp_conn_set_half_close(NULL, true), -EINVAL);
}

static void tell_that_it_is_late(struct probe *probe, sttcp_conn *conn, int reason)
{
	(void)reason;
	if (sttcp_conn_set_half_close(conn, true) != STTCP_ECLOSED)
		probe_violate(probe, "it is not too late");
}

static void half_close_cannot_be_turned_on_after_the_end(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	probe->ended = tell_that_it_is_late;
	sttcp_server *server = probe_listen(probe, NULL);
	int peer = peer_connect(sttcp_server_port(server));

	peer_shutdown(peer);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	peer_close(peer);
	sttcp_server_free(server);
	probe_free(probe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(half_close_calls_the_end_handler_once),
		cmocka_unit_test(half_close_goes_on_until_somebody_closes),
		cmocka_unit_test(shutdown_ends_sending_alone),
		cmocka_unit_test(half_close_ends_with_the_second_fin),
		cmocka_unit_test(half_close_hears_no_end_behind_half_a_message),
		cmocka_unit_test(half_close_of_one_connection_can_be_turned_on),
		cmocka_unit_test(half_close_of_one_connection_can_be_turned_off),
		cmocka_unit_test(half_close_cannot_be_turned_on_after_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
