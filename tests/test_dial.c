/* SPDX-License-Identifier: MIT */
/* sttcp_dial: what it connects to, what it says when there is no connection, and how the connection
 * ends. What is read from it is in test_dial_reads.c and test_dial_ends.c, handlers that dial in
 * test_dial_handlers.c. */
#include "support/dialling.h"

const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "die_after_fork=0";
}

static const char *unix_host(void)
{
	static char host[64];

	snprintf(host, sizeof(host), "unix:@sttcp-dial-%d", (int)getpid());
	return host;
}

/* ------------------------------------------------------------------ connecting */

static void dialled_connection_talks_in_messages(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	probe->data = echo_data;
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.framing = STTCP_FRAMING_RAW));
	sttcp_conn *conn =
		dial_port(sttcp_server_port(server), STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE));

	assert_true(sttcp_conn_is_open(conn));
	assert_null(sttcp_conn_server(conn));
	assert_null(sttcp_conn_client(conn));
	assert_int_equal(sttcp_conn_port(conn), sttcp_server_port(server));
	assert_string_equal(sttcp_conn_host(conn), "127.0.0.1");
	assert_int_equal(sttcp_conn_reason(conn), 0);
	assert_int_equal(sttcp_conn_send_message(conn, "hello", 5), 0);
	assert_string_equal(dial_message(conn), "hello");
	assert_int_equal(sttcp_conn_sendf(conn, "%d\n%d\n", 17, 4), 0);
	assert_string_equal(dial_message(conn), "17");
	assert_string_equal(dial_message(conn), "4");

	sttcp_conn_counts counts;

	assert_int_equal(sttcp_conn_stats(conn, &counts, sizeof(counts)), 0);
	assert_int_equal(counts.messages_in, 3);
	assert_int_equal(counts.messages_out, 2);
	assert_int_equal(counts.bytes_in, 11);
	sttcp_conn_unref(conn);
	/* In order. */
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(probe), 0);
	sttcp_server_free(server);
	probe_free(probe);
}

static void unix_sockets_are_dialled(void **state)
{
	struct probe *probe = probe_new();
	int code;

	(void)state;
	probe->data = echo_data;
	sttcp_server *server = probe_server(probe, unix_host(), 0, NULL);

	assert_int_equal(sttcp_server_start(server), 0);
	sttcp_conn *conn = sttcp_dial(unix_host(), 0, NULL, &code);
	char byte = 0;

	assert_non_null(conn);
	assert_int_equal(sttcp_conn_send(conn, "x", 1), 0);
	assert_int_equal(sttcp_conn_recv(conn, &byte, 1, DEADLINE_MS), 1);
	assert_int_equal(byte, 'x');
	sttcp_conn_unref(conn);
	sttcp_server_free(server);
	probe_free(probe);
}

static void local_end_is_chosen(void **state)
{
	struct line_pair pair;
	int port = free_port();

	(void)state;
	line_open(&pair, STTCP_OPTIONS(.local_host = "127.0.0.1", .local_port = port));
	char text[32];

	snprintf(text, sizeof(text), "127.0.0.1:%d", port);
	assert_string_equal(sttcp_conn_local_address(pair.conn), text);
	line_close(&pair);
}

/* ---------------------------------------------------------------- no connection */

static void expect_none(const char *host, int port, const sttcp_options *options, int expected,
			const char *sentence)
{
	int code = 0;

	assert_null(sttcp_dial(host, port, options, &code));
	assert_int_equal(code, expected);
	if (!strstr(sttcp_dial_error(), sentence))
		fail_msg("\"%s\" is not in \"%s\"", sentence, sttcp_dial_error());
	assert_null(sttcp_dial(host, port, options, NULL));
}

static void nobody_is_told_as_refused(void **state)
{
	int port;
	int held = peer_refuse(&port);

	(void)state;
	expect_none("127.0.0.1", port, NULL, -ECONNREFUSED, "cannot connect to 127.0.0.1:");
	EVENTUALLY(sttcp_engine_shutdown() == 0);
	peer_close(held);
}

static void dead_address_is_told_at_its_limit(void **state)
{
	struct blackhole hole;
	int64_t began;

	(void)state;
	assert_true(blackhole_open(&hole));
	began = now_ms();
	expect_none("127.0.0.1", hole.port, STTCP_OPTIONS(.connect_timeout_ms = 100),
		    STTCP_ETIME_CONNECT, "connect_timeout_ms is 100");
	assert_true(now_ms() - began >= 200);
	blackhole_close(&hole);
}

static void unknown_name_is_told_by_the_resolver(void **state)
{
	(void)state;
	expect_none("no such name", 1, NULL, STTCP_ERESOLVE, "no such name");
}

static void wrong_arguments_are_told_in_a_sentence(void **state)
{
	sttcp_options wrong = {.size = sizeof(wrong), .nagle = true};

	(void)state;
	expect_none(NULL, 1, NULL, -EINVAL, "host is NULL");
	expect_none("127.0.0.1", 0, NULL, -EINVAL, "the port must be from 1 to 65535");
	expect_none("127.0.0.1", 65536, NULL, -EINVAL, "the port must be from 1 to 65535");
	expect_none("127.0.0.1", 1, STTCP_OPTIONS(.backlog = 5), -EINVAL,
		    "cannot dial 127.0.0.1:1: backlog is an option of a server");
	expect_none("127.0.0.1", 1, STTCP_OPTIONS(.max_connections = 5), -EINVAL,
		    "max_connections is an option of a server");
	expect_none("127.0.0.1", 1, STTCP_OPTIONS(.reconnect_ms = 5), -EINVAL,
		    "reconnect_ms has no effect with sttcp_dial");
	expect_none("127.0.0.1", 1, STTCP_OPTIONS(.idle_timeout_ms = -2), -EINVAL,
		    "idle_timeout_ms is -2");
	expect_none("unix:/tmp/x", 0, STTCP_OPTIONS(.local_port = 5), -EINVAL, "Unix socket");
	wrong.size = 1;
	expect_none("127.0.0.1", 1, &wrong, -EINVAL, "size is 1");
}

/* Nobody stops it, and the peer's FIN never ends it. */
static void options_without_effect_are_refused(void **state)
{
	(void)state;
	expect_none("127.0.0.1", 1, STTCP_OPTIONS(.half_close = true), -EINVAL,
		    "cannot dial 127.0.0.1:1: half_close has no effect with sttcp_dial");
	expect_none("127.0.0.1", 1, STTCP_OPTIONS(.drain_timeout_ms = 5), -EINVAL,
		    "drain_timeout_ms has no effect with sttcp_dial");
	expect_none("127.0.0.1", 1, STTCP_OPTIONS(.fibers = true), -EINVAL,
		    "fibers has no effect with sttcp_dial");
	expect_none("127.0.0.1", 1, STTCP_OPTIONS(.fiber_stack_size = 65536), -EINVAL,
		    "fiber_stack_size has no effect with sttcp_dial");
}

static void options_of_clients_are_taken(void **state)
{
	struct line_pair pair;

	(void)state;
	line_open(&pair, STTCP_OPTIONS(.send_queue_max = 4096, .linger_timeout_ms = 100,
				       .total_queue_max = 1024 * 1024, .lifetime_ms = 60000,
				       .lifetime_jitter_ms = 10, .nagle = true));
	assert_int_equal(sttcp_conn_send(pair.conn, "x", 1), 0);
	assert_true(peer_expect(pair.peer, "x"));
	line_close(&pair);
}

/* ----------------------------------------------------------------------- its end */

static void every_call_on_an_ended_one_tells_its_end(void **state)
{
	struct line_pair pair;
	char byte;

	(void)state;
	line_open(&pair, NULL);
	assert_int_equal(sttcp_conn_fail(pair.conn, -EPROTO, "no %s", "sense"), 0);
	assert_int_equal(sttcp_conn_send(pair.conn, "x", 1), -EPROTO);
	assert_int_equal(sttcp_conn_recv(pair.conn, &byte, 1, -1), -EPROTO);
	assert_int_equal(sttcp_conn_recv_message(pair.conn, &byte, 1, -1), -EPROTO);
	assert_int_equal(sttcp_conn_recv_exactly(pair.conn, &byte, 1, -1), -EPROTO);
	assert_int_equal(sttcp_conn_next_size(pair.conn, -1), -EPROTO);
	assert_int_equal(sttcp_conn_shutdown(pair.conn), -EPROTO);
	assert_string_equal(sttcp_conn_fail_text(pair.conn), "no sense");
	assert_false(sttcp_conn_is_open(pair.conn));
	assert_int_equal(peer_end(pair.peer), 0);
	line_close(&pair);
}

static void calls_of_handlers_and_rooms_are_refused(void **state)
{
	struct line_pair pair;

	(void)state;
	line_open(&pair, NULL);
	assert_int_equal(sttcp_conn_on_message(pair.conn, NULL, NULL), -EINVAL);
	assert_int_equal(sttcp_conn_join(pair.conn, "red"), -EINVAL);
	assert_int_equal(sttcp_conn_leave(pair.conn, "red"), -EINVAL);
	assert_false(sttcp_conn_stopping(pair.conn));
	assert_int_equal(sttcp_conn_pause(pair.conn), 0);
	assert_int_equal(sttcp_conn_resume(pair.conn), 0);
	line_close(&pair);
}

/* The last handle closes it, and not before. */
static void last_reference_closes_in_order(void **state)
{
	struct line_pair pair;

	(void)state;
	line_open(&pair, NULL);
	assert_ptr_equal(sttcp_conn_ref(pair.conn), pair.conn);
	sttcp_conn_unref(pair.conn);
	assert_true(sttcp_conn_is_open(pair.conn));
	assert_int_equal(sttcp_conn_send(pair.conn, "bye", 3), 0);
	sttcp_conn_unref(pair.conn);
	pair.conn = NULL;
	assert_true(peer_expect(pair.peer, "bye"));
	assert_int_equal(peer_end(pair.peer), 0);
	line_close(&pair);
}

/* What is queued leaves after it. */
static void last_reference_drops_no_output(void **state)
{
	enum {
		SIZE = 4 * 1024 * 1024
	};
	struct line_pair pair;
	char *data = calloc(1, SIZE);
	size_t bytes = 0;

	(void)state;
	line_open(&pair, STTCP_OPTIONS(.send_queue_max = 2 * SIZE));
	assert_int_equal(sttcp_conn_try_send(pair.conn, data, SIZE), 0);
	sttcp_conn_unref(pair.conn);
	pair.conn = NULL;
	assert_int_equal(peer_drain(pair.peer, &bytes), 0);
	assert_int_equal(bytes, SIZE);
	free(data);
	line_close(&pair);
}

static void abort_resets(void **state)
{
	struct line_pair pair;

	(void)state;
	line_open(&pair, NULL);
	assert_int_equal(sttcp_conn_abort(pair.conn), 0);
	assert_int_equal(peer_end(pair.peer), -ECONNRESET);
	line_close(&pair);
}

static void lifetime_ends_it(void **state)
{
	struct line_pair pair;
	char byte;

	(void)state;
	/* Long enough for a handshake. */
	line_open(&pair, STTCP_OPTIONS(.lifetime_ms = 1000));
	assert_int_equal(sttcp_conn_recv(pair.conn, &byte, 1, DEADLINE_MS), STTCP_ETIME_LIFETIME);
	line_close(&pair);
}

static void peer_that_takes_nothing_ends_it(void **state)
{
	enum {
		SIZE = 32 * 1024 * 1024
	};
	struct line_pair pair;
	char *data = calloc(1, SIZE);

	(void)state;
	line_open(&pair, STTCP_OPTIONS(.write_timeout_ms = 100));
	assert_int_equal(sttcp_conn_send(pair.conn, data, SIZE), STTCP_ETIME_WRITE);
	free(data);
	line_close(&pair);
}

static struct event freed = EVENT_INIT;

static void free_data(void *data)
{
	(void)data;
	event_raise(&freed);
}

static void data_is_freed_with_it(void **state)
{
	struct line_pair pair;
	long before = event_count(&freed);

	(void)state;
	line_open(&pair, NULL);
	sttcp_conn_set_data(pair.conn, &pair, free_data);
	assert_ptr_equal(sttcp_conn_data(pair.conn), &pair);
	assert_int_equal(sttcp_conn_close(pair.conn), 0);
	assert_int_equal(peer_end(pair.peer), 0);
	assert_ptr_equal(sttcp_conn_data(pair.conn), &pair);
	sttcp_conn_unref(pair.conn);
	pair.conn = NULL;
	assert_true(event_wait(&freed, before + 1));
	line_close(&pair);
}

/* --------------------------------------------------------- the engine, and others */

/* It counts as started, until nobody uses it. */
static void shutdown_waits_for_nobody_but_users(void **state)
{
	struct line_pair pair;

	(void)state;
	line_open(&pair, NULL);
	assert_int_equal(sttcp_engine_shutdown(), -EBUSY);
	/* Nothing that could be kept alive. */
	assert_int_equal(sttcp_keep_alive(), -EINVAL);
	sttcp_conn_unref(pair.conn);
	pair.conn = NULL;
	EVENTUALLY(sttcp_engine_shutdown() == 0);
	line_close(&pair);
}

static void stop_of_a_server_leaves_it_alone(void **state)
{
	struct probe *probe = probe_new();
	struct line_pair pair;

	(void)state;
	line_open(&pair, NULL);
	sttcp_server *server = probe_listen(probe, NULL);

	sttcp_server_free(server);
	probe_free(probe);
	assert_int_equal(sttcp_conn_send(pair.conn, "x", 1), 0);
	assert_true(peer_expect(pair.peer, "x"));
	line_close(&pair);
}

/* G17 */
static void child_has_none_of_it_and_may_dial(void **state)
{
	struct line_pair pair;
	int port;

	(void)state;
	line_open(&pair, NULL);
	int listener = peer_listen(&port, 8);
	pid_t pid = process_fork();

	if (pid == 0) {
		char byte;
		bool none = sttcp_conn_send(pair.conn, "x", 1) == STTCP_EFORK &&
			    sttcp_conn_recv(pair.conn, &byte, 1, -1) == STTCP_EFORK &&
			    sttcp_conn_close(pair.conn) == STTCP_EFORK &&
			    !sttcp_conn_ref(pair.conn);

		sttcp_conn_unref(pair.conn);

		sttcp_conn *own = sttcp_dial("127.0.0.1", port, NULL, NULL);

		_exit(none && own && sttcp_conn_send(own, "y", 1) == 0 ? 0 : 1);
	}
	assert_int_equal(process_wait_pid(pid), 0);
	assert_int_equal(sttcp_conn_send(pair.conn, "z", 1), 0);
	assert_true(peer_expect(pair.peer, "z"));
	peer_close(listener);
	line_close(&pair);
}

/* From many threads at a time, some of which give up at once. */
static void child_is_told_of_what_is_the_parents(void **state)
{
	sttcp_tls *tls = sttcp_tls_client();
	pid_t pid = process_fork();

	(void)state;
	if (pid == 0) {
		int code = 0;
		sttcp_conn *conn = sttcp_dial("127.0.0.1", 1, STTCP_OPTIONS(.tls = tls), &code);

		_exit(!conn && code == STTCP_EFORK &&
				      strstr(sttcp_dial_error(), "cannot dial 127.0.0.1:1: tls")
			      ? 0
			      : 1);
	}
	assert_int_equal(process_wait_pid(pid), 0);
	sttcp_tls_unref(tls);
}

static void *dial_often(void *argument)
{
	const int *port = argument;
	char byte;

	for (int i = 0; i < 50; i++) {
		sttcp_conn *conn = sttcp_dial("127.0.0.1", *port, NULL, NULL);

		if (!conn)
			return "no connection";
		if (i % 3 == 0 && (sttcp_conn_send(conn, "x", 1) < 0 ||
				   sttcp_conn_recv(conn, &byte, 1, DEADLINE_MS) != 1))
			return "no answer";
		if (i % 5 == 0)
			sttcp_conn_abort(conn);
		sttcp_conn_unref(conn);
	}
	return NULL;
}

static void many_dial_at_a_time(void **state)
{
	struct probe *probe = probe_new();
	pthread_t threads[8];
	int fds;

	(void)state;
	probe->data = echo_data;
	sttcp_server *server = probe_listen(probe, NULL);
	int port = sttcp_server_port(server);

	assert_null(dial_often(&port));
	fds = count_fds();
	for (int i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, dial_often, &port), 0);
	for (int i = 0; i < 8; i++) {
		void *what;

		assert_int_equal(pthread_join(threads[i], &what), 0);
		assert_null(what);
	}
	EVENTUALLY(count_fds() <= fds);
	sttcp_server_free(server);
	probe_free(probe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_is_told_as_refused),
		cmocka_unit_test(dialled_connection_talks_in_messages),
		cmocka_unit_test(unix_sockets_are_dialled),
		cmocka_unit_test(local_end_is_chosen),
		cmocka_unit_test(dead_address_is_told_at_its_limit),
		cmocka_unit_test(unknown_name_is_told_by_the_resolver),
		cmocka_unit_test(wrong_arguments_are_told_in_a_sentence),
		cmocka_unit_test(options_without_effect_are_refused),
		cmocka_unit_test(options_of_clients_are_taken),
		cmocka_unit_test(every_call_on_an_ended_one_tells_its_end),
		cmocka_unit_test(calls_of_handlers_and_rooms_are_refused),
		cmocka_unit_test(last_reference_closes_in_order),
		cmocka_unit_test(last_reference_drops_no_output),
		cmocka_unit_test(abort_resets),
		cmocka_unit_test(lifetime_ends_it),
		cmocka_unit_test(peer_that_takes_nothing_ends_it),
		cmocka_unit_test(data_is_freed_with_it),
		cmocka_unit_test(shutdown_waits_for_nobody_but_users),
		cmocka_unit_test(stop_of_a_server_leaves_it_alone),
		cmocka_unit_test(child_has_none_of_it_and_may_dial),
		cmocka_unit_test(child_is_told_of_what_is_the_parents),
		cmocka_unit_test(many_dial_at_a_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
