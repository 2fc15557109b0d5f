/* SPDX-License-Identifier: MIT */
/* G9 and G12: every call at any time, NULL and ended connections too; references and ids. */
#include "support/support.h"

static void each_nothing(sttcp_conn *conn, void *argument)
{
	(void)conn;
	(*(int *)argument)++;
}

static void task_nothing(sttcp_conn *conn, void *argument)
{
	(void)conn;
	(void)argument;
}

static void release_nothing(void *context)
{
	(void)context;
}

/* ---------------------------------------------------------------------- NULL */

static void null_server_is_invalid(void **state)
{
	sttcp_stop_report report;
	sttcp_stats stats;
	int count = 0;

	(void)state;
	assert_int_equal(sttcp_server_on_connection(NULL, NULL), -EINVAL);
	assert_int_equal(sttcp_server_on_receive(NULL, NULL), -EINVAL);
	assert_int_equal(sttcp_server_on_end(NULL, NULL), -EINVAL);
	assert_int_equal(sttcp_server_on_disconnection(NULL, NULL), -EINVAL);
	assert_int_equal(sttcp_server_on_universal(NULL, NULL), -EINVAL);
	assert_int_equal(sttcp_server_set_context(NULL, &count), -EINVAL);
	assert_int_equal(sttcp_server_on_release(NULL, release_nothing), -EINVAL);
	assert_int_equal(sttcp_server_add_address(NULL, "127.0.0.1", 0), -EINVAL);
	assert_int_equal(sttcp_server_add_listener(NULL, 0), -EINVAL);
	assert_null(sttcp_server_address(NULL, 0));
	assert_int_equal(sttcp_server_start(NULL), -EINVAL);
	assert_int_equal(sttcp_server_port(NULL), -EINVAL);
	assert_null(sttcp_server_error(NULL));
	assert_int_equal(sttcp_server_close(NULL), -EINVAL);
	assert_int_equal(sttcp_server_stop(NULL), -EINVAL);
	assert_int_equal(sttcp_server_stop_within(NULL, 0, &report), -EINVAL);
	assert_int_equal(sttcp_server_wait(NULL, 0), -EINVAL);
	assert_int_equal(sttcp_server_keep_alive(NULL), -EINVAL);
	sttcp_server_free(NULL);
	assert_int_equal(sttcp_server_broadcast(NULL, "x", 1), -EINVAL);
	assert_int_equal(sttcp_server_broadcast_except(NULL, NULL, "x", 1), -EINVAL);
	assert_int_equal(sttcp_server_each(NULL, each_nothing, &count), -EINVAL);
	assert_int_equal(sttcp_server_count(NULL), -EINVAL);
	assert_null(sttcp_server_find(NULL, 1));
	assert_int_equal(sttcp_server_stats(NULL, &stats, sizeof(stats)), -EINVAL);
	assert_int_equal(count, 0);
}

static void null_client_is_invalid(void **state)
{
	int context;

	(void)state;
	assert_int_equal(sttcp_client_on_connection(NULL, NULL), -EINVAL);
	assert_int_equal(sttcp_client_on_response(NULL, NULL), -EINVAL);
	assert_int_equal(sttcp_client_on_end(NULL, NULL), -EINVAL);
	assert_int_equal(sttcp_client_on_disconnection(NULL, NULL), -EINVAL);
	assert_int_equal(sttcp_client_on_unconnected(NULL, NULL), -EINVAL);
	assert_int_equal(sttcp_client_on_universal(NULL, NULL), -EINVAL);
	assert_int_equal(sttcp_client_set_context(NULL, &context), -EINVAL);
	assert_int_equal(sttcp_client_on_release(NULL, release_nothing), -EINVAL);
	assert_int_equal(sttcp_client_start(NULL), -EINVAL);
	assert_int_equal(sttcp_client_close(NULL), -EINVAL);
	assert_int_equal(sttcp_client_stop(NULL), -EINVAL);
	assert_int_equal(sttcp_client_wait(NULL, 0), -EINVAL);
	assert_int_equal(sttcp_client_keep_alive(NULL), -EINVAL);
	assert_null(sttcp_client_conn(NULL));
	assert_null(sttcp_client_address(NULL));
	assert_null(sttcp_client_error(NULL));
	sttcp_client_free(NULL);
}

static void null_connection_is_invalid(void **state)
{
	struct iovec part = {(char[]){'x'}, 1};
	sttcp_conn_counts counts;

	(void)state;
	assert_int_equal(sttcp_conn_send(NULL, "x", 1), -EINVAL);
	assert_int_equal(sttcp_conn_try_send(NULL, "x", 1), -EINVAL);
	assert_int_equal(sttcp_conn_sendv(NULL, &part, 1), -EINVAL);
	assert_int_equal(sttcp_conn_sendf(NULL, "%d", 1), -EINVAL);
	assert_int_equal(sttcp_conn_flush(NULL), -EINVAL);
	assert_int_equal(sttcp_conn_close(NULL), -EINVAL);
	assert_int_equal(sttcp_conn_abort(NULL), -EINVAL);
	assert_int_equal(sttcp_conn_fail(NULL, 0, "%d", 1), -EINVAL);
	assert_int_equal(sttcp_conn_shutdown(NULL), -EINVAL);
	assert_int_equal(sttcp_conn_reason(NULL), -EINVAL);
	assert_null(sttcp_conn_fail_text(NULL));
	assert_null(sttcp_conn_host(NULL));
	assert_int_equal(sttcp_conn_port(NULL), -EINVAL);
	assert_null(sttcp_conn_address(NULL));
	assert_null(sttcp_conn_local_address(NULL));
	assert_int_equal(sttcp_conn_id(NULL), 0);
	assert_null(sttcp_conn_server(NULL));
	assert_null(sttcp_conn_client(NULL));
	assert_int_equal(sttcp_conn_stats(NULL, &counts, sizeof(counts)), -EINVAL);
	sttcp_conn_set_data(NULL, NULL, NULL);
	assert_null(sttcp_conn_data(NULL));
	assert_null(sttcp_conn_ref(NULL));
	sttcp_conn_unref(NULL);
	assert_false(sttcp_conn_is_open(NULL));
	assert_false(sttcp_conn_stopping(NULL));
	assert_true(sttcp_conn_fd(NULL) < 0);
	assert_int_equal(sttcp_conn_detach(NULL), -EINVAL);
	assert_int_equal(sttcp_conn_run(NULL, task_nothing, NULL, NULL), -EINVAL);
	assert_int_equal(sttcp_conn_after(NULL, 1, task_nothing, NULL, NULL), -EINVAL);
	assert_int_equal(sttcp_conn_every(NULL, 1, task_nothing, NULL, NULL), -EINVAL);
	assert_int_equal(sttcp_conn_cancel(NULL, 1), -EINVAL);
}

static void bad_arguments_are_invalid(void **state)
{
	struct pair pair = {.probe = probe_new()};
	struct iovec part = {(char[]){'x'}, 1};
	sttcp_stats stats;

	(void)state;
	pair_open(&pair, NULL);
	assert_int_equal(sttcp_conn_send(pair.conn, NULL, 1), -EINVAL);
	assert_int_equal(sttcp_conn_try_send(pair.conn, NULL, 1), -EINVAL);
	assert_int_equal(sttcp_conn_sendv(pair.conn, NULL, 1), -EINVAL);
	assert_int_equal(sttcp_conn_sendv(pair.conn, &part, -1), -EINVAL);
	assert_int_equal(sttcp_conn_sendv(pair.conn, &part, 1025), -EINVAL);
	assert_int_equal(sttcp_conn_stats(pair.conn, NULL, sizeof(sttcp_conn_counts)), -EINVAL);
	assert_int_equal(sttcp_server_stats(pair.server, NULL, sizeof(stats)), -EINVAL);
	assert_int_equal(sttcp_server_broadcast(pair.server, NULL, 1), -EINVAL);
	assert_int_equal(sttcp_server_each(pair.server, NULL, NULL), -EINVAL);
	assert_int_equal(sttcp_server_wait(pair.server, -2), -EINVAL);
	assert_int_equal(sttcp_server_stop_within(pair.server, -2, NULL), -EINVAL);
	assert_int_equal(sttcp_conn_send(pair.conn, "", 0), 0);
	assert_int_equal(sttcp_conn_send(pair.conn, "fine", 4), 0); /* nothing of it did harm */
	assert_true(peer_expect(pair.peer, "fine"));
	pair_close(&pair);
}

/* -------------------------------------------------------- ended connections */

/* Every call on a connection that has ended gives its reason, or STTCP_ECLOSED where that is 0. */
static void call_on_the_ended(sttcp_conn *conn, int code)
{
	struct iovec part = {(char[]){'x'}, 1};
	sttcp_conn_counts counts;
	int result;

	assert_int_equal(sttcp_conn_send(conn, "x", 1), code);
	assert_int_equal(sttcp_conn_try_send(conn, "x", 1), code);
	assert_int_equal(sttcp_conn_sendv(conn, &part, 1), code);
	assert_int_equal(sttcp_conn_sendf(conn, "%d", 1), code);
	result = sttcp_conn_flush(conn);
	assert_true(result == 0 || result == code);
	result = sttcp_conn_close(conn);
	assert_true(result == 0 || result == code);
	result = sttcp_conn_abort(conn);
	assert_true(result == 0 || result == code);
	result = sttcp_conn_shutdown(conn);
	assert_true(result == 0 || result == code);
	result = sttcp_conn_fail(conn, -EBADMSG, "too late");
	assert_true(result == 0 || result == code);
	assert_true(sttcp_conn_detach(conn) < 0);
	assert_string_equal(sttcp_conn_fail_text(conn), "");
	assert_string_equal(sttcp_conn_host(conn), "127.0.0.1");
	assert_true(sttcp_conn_port(conn) > 0);
	assert_int_equal(strncmp(sttcp_conn_address(conn), "127.0.0.1:", 10), 0);
	assert_int_equal(strncmp(sttcp_conn_local_address(conn), "127.0.0.1:", 10), 0);
	assert_true(sttcp_conn_id(conn) > 0);
	assert_int_equal(sttcp_conn_stats(conn, &counts, sizeof(counts)), 0);
	assert_int_equal(counts.bytes_in, 5);
	assert_false(sttcp_conn_is_open(conn));
	assert_int_equal(sttcp_conn_fd(conn), -1);
}

/* G12: a reference outlives the connection's end, its server's stop and its server's free. */
static void ended_connection_answers_with_its_reason(void **state)
{
	(void)state;
	for (int reset = 0; reset < 2; reset++) {
		struct pair pair = {.probe = probe_new()};
		int reason = reset ? -ECONNRESET : 0;
		int code = reset ? -ECONNRESET : STTCP_ECLOSED;

		pair_open(&pair, NULL);
		assert_true(peer_say(pair.peer, "hello"));
		assert_true(probe_wait_bytes(pair.probe, 5));
		if (reset)
			peer_reset(pair.peer);
		else
			peer_close(pair.peer);
		pair.peer = -1;
		assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
		EVENTUALLY(sttcp_conn_fd(pair.conn) == -1);
		call_on_the_ended(pair.conn, code);
		assert_ptr_equal(sttcp_conn_server(pair.conn), pair.server);
		assert_int_equal(sttcp_server_stop(pair.server), 0);
		call_on_the_ended(pair.conn, code);
		sttcp_server_free(pair.server);
		pair.server = NULL;
		call_on_the_ended(pair.conn, code);
		assert_null(sttcp_conn_server(pair.conn));
		assert_int_equal(sttcp_conn_reason(pair.conn), reason);
		pair_close(&pair);
	}
}

static void references_count(void **state)
{
	struct pair pair = {.probe = probe_new()};

	(void)state;
	pair_open(&pair, NULL);
	for (int i = 0; i < 100; i++)
		assert_ptr_equal(sttcp_conn_ref(pair.conn), pair.conn);
	sttcp_server_free(pair.server);
	pair.server = NULL;
	for (int i = 0; i < 100; i++)
		sttcp_conn_unref(pair.conn);
	assert_int_equal(sttcp_conn_reason(pair.conn), STTCP_ESTOPPED);
	assert_true(sttcp_conn_id(pair.conn) > 0);
	pair_close(&pair);
}

/* Ids begin at 1 and never repeat, over servers, clients and failed attempts. */
static void ids_never_repeat(void **state)
{
	enum {
		ROUNDS = 20,
		PER_ROUND = 3
	};
	uint64_t ids[ROUNDS * PER_ROUND];
	int count = 0;
	int closed_port;
	int refusing = peer_refuse(&closed_port);

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		struct probe *serving = probe_new();
		struct probe *calling = probe_new();
		struct probe *failing = probe_new();
		sttcp_server *server = probe_listen(serving, NULL);
		sttcp_client *client = probe_dial(calling, sttcp_server_port(server), NULL);
		sttcp_client *refused = probe_dial(failing, closed_port, NULL);

		assert_true(probe_wait(serving, STTCP_CONNECTION, 1));
		assert_true(probe_wait(calling, STTCP_CONNECTION, 1));
		assert_true(probe_wait(failing, STTCP_UNCONNECTED, 1));
		ids[count++] = probe_last_id(serving);
		ids[count++] = probe_last_id(calling);
		ids[count++] = probe_last_id(failing);
		sttcp_client_free(refused);
		sttcp_client_free(client);
		sttcp_server_free(server);
		probe_free(serving);
		probe_free(calling);
		probe_free(failing);
	}
	for (int i = 0; i < count; i++) {
		assert_true(ids[i] >= 1);
		for (int j = 0; j < i; j++)
			assert_true(ids[i] != ids[j]);
	}
	peer_close(refusing);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(null_server_is_invalid),
		cmocka_unit_test(null_client_is_invalid),
		cmocka_unit_test(null_connection_is_invalid),
		cmocka_unit_test(bad_arguments_are_invalid),
		cmocka_unit_test(ended_connection_answers_with_its_reason),
		cmocka_unit_test(references_count),
		cmocka_unit_test(ids_never_repeat),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
