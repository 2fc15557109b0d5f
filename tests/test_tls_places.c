/* SPDX-License-Identifier: MIT */
/* From where sttcp_conn_start_tls may be called, and what it leaves alone where it may not; what
 * becomes of bytes that were read before; which of its failures are counted. */
#include "support/support.h"
#include "support/tls_stage.h"

enum {
	SHORT_MS = 300,
	NPLACES = STTCP_UNCONNECTED + 8
};

/* Where calls were made, and what they gave. */
static _Atomic int results[NPLACES];
static struct event calls = EVENT_INIT;
static struct event in_handler = EVENT_INIT, may_go = EVENT_INIT;

enum place {
	IN_CONNECTION,
	IN_RECEIVE,
	IN_RECEIVE_AGAIN,
	IN_TASK,
	IN_END,
	IN_DRAINED,
	IN_MALFORMED,
	IN_DISCONNECTION,
	IN_FRAME,
	IN_THREAD
};

enum {
	NOT_CALLED = 1
};

static void begin(void)
{
	struct event fresh = EVENT_INIT;

	for (int i = 0; i < NPLACES; i++)
		results[i] = NOT_CALLED;
	calls = in_handler = may_go = fresh;
}

static void start_in(enum place place, sttcp_conn *conn)
{
	results[place] = sttcp_conn_start_tls(conn, stage_shared_server(), NULL);
	event_raise(&calls);
}

static int64_t failed_handshakes(sttcp_server *server)
{
	sttcp_stats stats;

	assert_int_equal(sttcp_server_stats(server, &stats, sizeof(stats)), 0);
	return stats.tls_failed;
}

/* The peer's side of one that succeeds. */
static void shake_and_echo(int fd)
{
	struct tls_peer peer;

	tls_peer_adopt(&peer, fd, false, 0);
	assert_true(tls_peer_shake(&peer));
	assert_true(tls_peer_say(&peer, "there"));
	assert_true(tls_peer_expect(&peer, "there"));
	tls_peer_close(&peer);
}

/* -------------------------------------------------------------- where it is allowed */

static bool start_at_once(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	start_in(IN_CONNECTION, conn);
	return results[IN_CONNECTION] == 0;
}

static void connection_handler_may(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	begin();
	probe->connection = start_at_once;
	probe->data = echo_data;
	sttcp_server *server = probe_listen(probe, NULL);

	shake_and_echo(peer_connect(sttcp_server_port(server)));
	assert_int_equal(results[IN_CONNECTION], 0);
	assert_int_equal(failed_handshakes(server), 0);
	sttcp_server_free(server);
	probe_free(probe);
}

/* A universal handler is any handler, and may what the specific one of its phase may. */
static bool start_in_each_phase(struct probe *probe, sttcp_event event, sttcp_conn *conn)
{
	(void)probe;
	event_raise(&in_handler);
	if (event == STTCP_RECEIVE)
		start_in(results[IN_RECEIVE] == NOT_CALLED ? IN_RECEIVE : IN_RECEIVE_AGAIN, conn);
	else if (event == STTCP_END)
		start_in(IN_END, conn);
	else if (event == STTCP_DISCONNECTION)
		start_in(IN_DISCONNECTION, conn);
	return true;
}

static void universal_handler_may_as_the_specific_one(void **state)
{
	struct probe *probe = probe_new();
	struct tls_peer peer;

	(void)state;
	begin();
	probe->universal = start_in_each_phase;
	probe->data = echo_data;
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.half_close = true));
	int fd = peer_connect(sttcp_server_port(server));

	assert_true(peer_say(fd, "go"));
	/* The connection, and "go": what comes with that is no hello, but raw bytes. */
	assert_true(event_wait(&in_handler, 2));
	tls_peer_adopt(&peer, fd, false, 0);
	assert_true(tls_peer_shake(&peer));
	/* The specific handler got it as well, behind the handshake. */
	assert_true(tls_peer_expect(&peer, "go"));
	assert_true(tls_peer_say(&peer, "more"));
	assert_true(tls_peer_expect(&peer, "more"));
	tls_peer_notify(&peer);
	assert_true(probe_wait(probe, STTCP_END, 1));
	peer_shutdown(fd);
	sttcp_conn *conn = sttcp_server_find(server, probe_last_id(probe));

	if (conn)
		sttcp_conn_close(conn);
	sttcp_conn_unref(conn);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(results[IN_RECEIVE], 0);
	assert_int_equal(results[IN_RECEIVE_AGAIN], -EBUSY);
	assert_int_equal(results[IN_END], -EDEADLK);
	assert_int_equal(results[IN_DISCONNECTION], -EDEADLK);
	tls_peer_close(&peer);
	sttcp_server_free(server);
	probe_free(probe);
}

static void start_in_task(sttcp_conn *conn, void *argument)
{
	(void)argument;
	start_in(IN_TASK, conn);
}

static void task_may(void **state)
{
	struct pair pair = {.probe = probe_new()};

	(void)state;
	begin();
	pair.probe->data = echo_data;
	pair_open(&pair, NULL);
	assert_int_equal(sttcp_conn_run(pair.conn, start_in_task, NULL, NULL), 0);
	shake_and_echo(pair.peer);
	assert_int_equal(results[IN_TASK], 0);
	pair.peer = -1;
	pair_close(&pair);
}

static int64_t bytes_in(sttcp_conn *conn)
{
	sttcp_conn_counts counts;

	return sttcp_conn_stats(conn, &counts, sizeof(counts)) == 0 ? counts.bytes_in : -1;
}

/* Somebody on the way has put the beginning of a message in front of the handshake, which was read
 * and waits for its end: it is no part of what comes encrypted. */
static void half_a_message_in_front_of_a_task_is_no_message(void **state)
{
	struct pair pair = {.probe = probe_new()};

	(void)state;
	begin();
	pair_open(&pair, STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE));
	assert_true(peer_say(pair.peer, "inject"));
	EVENTUALLY(bytes_in(pair.conn) == 6);
	assert_int_equal(sttcp_conn_run(pair.conn, start_in_task, NULL, NULL), 0);
	assert_true(event_wait(&calls, 1));
	assert_int_equal(results[IN_TASK], STTCP_ETLS);
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(pair.probe), STTCP_ETLS);
	assert_int_equal(probe_count(pair.probe, STTCP_RECEIVE), 0);
	EVENTUALLY(failed_handshakes(pair.server) == 1);
	pair_close(&pair);
}

/* ---------------------------------------------------------- where it is not allowed */

static void start_in_malformed(sttcp_conn *conn, int code, void *context)
{
	(void)code;
	(void)context;
	start_in(IN_MALFORMED, conn);
}

static void malformed_handler_may_not(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	begin();
	sttcp_server *server =
		probe_server(probe, "127.0.0.1", 0,
			     STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE, .max_message = 8));

	assert_int_equal(sttcp_server_on_malformed(server, start_in_malformed), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	int fd = peer_connect(sttcp_server_port(server));

	assert_true(peer_say(fd, "much too long\n"));
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(results[IN_MALFORMED], -EDEADLK);
	/* It changes nothing: the reason is that of the message. */
	assert_int_equal(probe_reason(probe), STTCP_ELIMIT);
	peer_close(fd);
	EVENTUALLY(sttcp_server_count(server) == 0);
	assert_int_equal(failed_handshakes(server), 0);
	sttcp_server_free(server);
	probe_free(probe);
}

static void start_in_end(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	start_in(IN_END, conn);
	sttcp_conn_send(conn, "still plain", 11);
	sttcp_conn_close(conn);
}

static void start_in_disconnection(struct probe *probe, sttcp_conn *conn, int reason)
{
	(void)probe;
	(void)reason;
	start_in(IN_DISCONNECTION, conn);
}

static void end_and_disconnection_handlers_may_not(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	begin();
	probe->end = start_in_end;
	probe->ended = start_in_disconnection;
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.half_close = true));
	int fd = peer_connect(sttcp_server_port(server));

	peer_shutdown(fd);
	assert_true(peer_expect(fd, "still plain"));
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(results[IN_END], -EDEADLK);
	assert_int_equal(results[IN_DISCONNECTION], -EDEADLK);
	peer_close(fd);
	sttcp_server_free(server);
	probe_free(probe);
}

static void start_in_drained(sttcp_conn *conn, void *context)
{
	(void)context;
	start_in(IN_DRAINED, conn);
}

static void drained_handler_may_not(void **state)
{
	static char text[900 * 1024], got[sizeof(text)];
	struct probe *probe = probe_new();

	(void)state;
	begin();
	fill_pattern(text, sizeof(text), 11);
	probe->connection = narrow;
	sttcp_server *server = probe_server(probe, "127.0.0.1", 0, NULL);

	assert_int_equal(sttcp_server_on_drained(server, start_in_drained), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	int fd = peer_connect_narrow(sttcp_server_port(server));

	EVENTUALLY(sttcp_server_count(server) == 1);
	sttcp_conn *conn = sttcp_server_find(server, probe_last_id(probe));

	assert_int_equal(sttcp_conn_send(conn, text, sizeof(text)), 0);
	assert_true(peer_recv(fd, got, sizeof(got)));
	assert_true(event_wait(&calls, 1));
	assert_int_equal(results[IN_DRAINED], -EDEADLK);
	assert_int_equal(sttcp_conn_send(conn, "still plain", 11), 0);
	assert_true(peer_expect(fd, "still plain"));
	sttcp_conn_unref(conn);
	peer_close(fd);
	sttcp_server_free(server);
	probe_free(probe);
}

/* It may not change what it is asked about. */
static int start_in_frame(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
			  void *context)
{
	(void)data;
	(void)context;
	start_in(IN_FRAME, conn);
	frame->size = frame->total = 2;
	return size >= 2;
}

static bool read_one_message(struct probe *probe, sttcp_conn *conn)
{
	char message[8];

	(void)probe;
	ignore(sttcp_conn_recv_message(conn, message, sizeof(message), DEADLINE_MS));
	return true;
}

static void frame_function_may_not(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	probe->connection = read_one_message;
	for (int i = 1; i <= 2; i++) {
		begin();
		sttcp_server *server =
			probe_listen(probe, STTCP_OPTIONS(.framing = STTCP_FRAMING_CUSTOM,
							  .frame_fn = start_in_frame));
		int fd = peer_connect(sttcp_server_port(server));

		/* In a handler that waits for a message, and where one is delivered. */
		assert_true(peer_say(fd, i == 1 ? "ab" : "abcd"));
		assert_true(event_wait(&calls, i));
		assert_int_equal(results[IN_FRAME], -EDEADLK);
		peer_close(fd);
		sttcp_server_free(server);
	}
	probe_free(probe);
}

/* Another thread, while the handler of the connection is in the handshake, and while it sleeps. */

static bool start_and_wait(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	if (size != 2 || memcmp(data, "go", 2) != 0)
		return echo_data(probe, conn, data, size);
	event_raise(&in_handler);
	start_in(IN_RECEIVE, conn);
	/* Once is enough. */
	start_in(IN_RECEIVE_AGAIN, conn);
	return true;
}

static bool wait_for_the_thread(struct probe *probe, sttcp_conn *conn, const void *data,
				size_t size)
{
	event_raise(&in_handler);
	event_wait(&may_go, 1);
	return start_and_wait(probe, conn, data, size);
}

static void other_threads_may_not(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct pair pair = {.probe = probe_new()};

		begin();
		pair.probe->data = i ? wait_for_the_thread : start_and_wait;
		pair_open(&pair, NULL);
		assert_true(peer_say(pair.peer, "go"));
		assert_true(event_wait(&in_handler, 1));
		assert_int_equal(sttcp_conn_start_tls(pair.conn, stage_shared_server(), NULL),
				 -EDEADLK);
		assert_int_equal(sttcp_conn_start_tls(pair.conn, stage_shared_client(), "a.b"),
				 -EDEADLK);
		pair.probe->data = start_and_wait;
		event_raise(&may_go);
		shake_and_echo(pair.peer);
		assert_int_equal(results[IN_RECEIVE], 0);
		assert_int_equal(results[IN_RECEIVE_AGAIN], -EBUSY);
		pair.peer = -1;
		pair_close(&pair);
	}
}

static struct event others = EVENT_INIT;
static sttcp_conn *_Atomic first;

/* The first one's handler keeps it; the second's tries it. */
static bool start_the_first(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	sttcp_conn *other = first;

	(void)probe;
	(void)data;
	(void)size;
	if (other && other != conn)
		start_in(IN_THREAD, other);
	else
		first = sttcp_conn_ref(conn);
	event_raise(&others);
	return true;
}

static void handler_of_another_connection_may_not(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	begin();
	first = NULL;
	probe->data = start_the_first;
	sttcp_server *server = probe_listen(probe, NULL);
	int one = peer_connect(sttcp_server_port(server));
	int two = peer_connect(sttcp_server_port(server));

	assert_true(peer_say(one, "1"));
	assert_true(event_wait(&others, 1));
	assert_true(peer_say(two, "2"));
	assert_true(event_wait(&others, 2));
	assert_int_equal(results[IN_THREAD], -EDEADLK);
	sttcp_conn_unref(first);
	peer_close(one);
	peer_close(two);
	sttcp_server_free(server);
	probe_free(probe);
}

/* ------------------------------------------------------------------------- too late */

static bool shut_down_and_start(struct probe *probe, sttcp_conn *conn, const void *data,
				size_t size)
{
	(void)probe;
	(void)data;
	(void)size;
	ignore(sttcp_conn_shutdown(conn));
	start_in(IN_RECEIVE, conn);
	return true;
}

static bool close_and_start(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	(void)data;
	(void)size;
	sttcp_conn_close(conn);
	start_in(IN_RECEIVE, conn);
	return true;
}

static void connection_that_ends_has_none(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct pair pair = {.probe = probe_new()};

		begin();
		pair.probe->data = i ? close_and_start : shut_down_and_start;
		pair_open(&pair, NULL);
		assert_true(peer_say(pair.peer, "go"));
		assert_true(event_wait(&calls, 1));
		assert_int_equal(results[IN_RECEIVE], i ? STTCP_ECLOSED : -EPIPE);
		assert_int_equal(peer_end(pair.peer), 0);
		assert_int_equal(failed_handshakes(pair.server), 0);
		pair_close(&pair);
	}
}

/* -------------------------------------------------------------------------- counted */

static bool start_on_data(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	(void)data;
	(void)size;
	event_raise(&in_handler);
	start_in(IN_RECEIVE, conn);
	return true;
}

static void say_else(int peer)
{
	assert_true(peer_say(peer, "GET / HTTP/1.1\r\n\r\n"));
}

static void be_silent(int peer)
{
	(void)peer;
	assert_true(event_wait(&calls, 1));
}

/* They had handlers, so they have failed as connections, too. */
static void expect_count(int limit_ms, void (*spoil)(int peer), int reason)
{
	enum {
		TIMES = 2
	};
	struct probe *probe = probe_new();
	sttcp_stats stats;

	probe->data = start_on_data;
	sttcp_server *server =
		probe_listen(probe, STTCP_OPTIONS(.tls_handshake_timeout_ms = limit_ms));

	for (int i = 1; i <= TIMES; i++) {
		begin();
		int fd = peer_connect(sttcp_server_port(server));

		assert_true(peer_say(fd, "go"));
		assert_true(event_wait(&in_handler, 1));
		spoil(fd);
		assert_true(probe_wait(probe, STTCP_DISCONNECTION, i));
		assert_int_equal(results[IN_RECEIVE], probe_reason(probe));
		assert_int_equal(probe_reason(probe), reason);
		if (spoil != peer_reset)
			peer_close(fd);
		EVENTUALLY(failed_handshakes(server) == i);
	}
	assert_int_equal(sttcp_server_stats(server, &stats, sizeof(stats)), 0);
	assert_int_equal(stats.failed, TIMES);
	assert_int_equal(stats.declined, 0);
	sttcp_server_free(server);
	probe_free(probe);
}

/* A peer that says something else, one that is silent, one that goes away. */
static void failures_are_counted(void **state)
{
	(void)state;
	expect_count(DEADLINE_MS, say_else, STTCP_ETLS);
	expect_count(SHORT_MS, be_silent, STTCP_ETIME_HANDSHAKE);
	expect_count(DEADLINE_MS, peer_reset, -ECONNRESET);
}

/* One that somebody here has ended, and a call that was refused, are no failures of TLS. */
static void what_was_ended_here_is_not_counted(void **state)
{
	struct pair pair = {.probe = probe_new()};

	(void)state;
	begin();
	pair.probe->data = start_on_data;
	pair_open(&pair, NULL);
	assert_true(peer_say(pair.peer, "go"));
	assert_true(event_wait(&in_handler, 1));
	assert_int_equal(sttcp_conn_abort(pair.conn), 0);
	assert_true(event_wait(&calls, 1));
	assert_int_equal(results[IN_RECEIVE], STTCP_ECLOSED);
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(sttcp_server_stop(pair.server), 0);
	assert_int_equal(failed_handshakes(pair.server), 0);
	pair_close(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(connection_handler_may),
		cmocka_unit_test(universal_handler_may_as_the_specific_one),
		cmocka_unit_test(task_may),
		cmocka_unit_test(half_a_message_in_front_of_a_task_is_no_message),
		cmocka_unit_test(malformed_handler_may_not),
		cmocka_unit_test(end_and_disconnection_handlers_may_not),
		cmocka_unit_test(drained_handler_may_not),
		cmocka_unit_test(frame_function_may_not),
		cmocka_unit_test(other_threads_may_not),
		cmocka_unit_test(handler_of_another_connection_may_not),
		cmocka_unit_test(connection_that_ends_has_none),
		cmocka_unit_test(failures_are_counted),
		cmocka_unit_test(what_was_ended_here_is_not_counted),
	};

	return cmocka_run_group_tests(tests, stage_open, stage_close);
}
