/* SPDX-License-Identifier: MIT */
/* The first read behind a handshake. That one has emptied the socket; whatever has come since is
 * found all the same, when its event has been taken already, too. */
#include "conn/conn.h"
#include "conn/stream.h"
#include "support/support.h"
#include "support/tls_stage.h"

static struct event in_handler = EVENT_INIT;
static struct event may_go_on = EVENT_INIT;

static void begin(void)
{
	struct event fresh = EVENT_INIT;

	in_handler = may_go_on = fresh;
}

/* In the connection handler: until input has come, and its event. */
static bool input_comes(sttcp_conn *conn)
{
	event_raise(&in_handler);
	for (int64_t until = now_ms() + DEADLINE_MS; now_ms() < until; nap_ms(1)) {
		if (stt_socket_has_input(stt_stream_fd(conn)) &&
		    stt_conn_is_wished(conn, STT_WISH_READ))
			return true;
	}
	return false;
}

/* One that speaks when the connection handler runs. */
static void speak_meanwhile(struct tls_peer *peer, sttcp_server *server)
{
	tls_peer_open(peer, sttcp_server_port(server));
	assert_true(event_wait(&in_handler, 1));
	assert_true(tls_peer_say(peer, "late"));
}

static void expect_late(struct probe *probe, sttcp_server *server, struct tls_peer *peer)
{
	assert_true(probe_wait_bytes(probe, 4));
	assert_string_equal(probe_text(probe), "late");
	tls_peer_close(peer);
	sttcp_server_free(server);
	probe_free(probe);
}

static bool take_a_while(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	return input_comes(conn);
}

static void input_beside_the_first_handler_is_read(void **state)
{
	struct probe *probe = probe_new();
	struct tls_peer peer;

	(void)state;
	begin();
	probe->connection = take_a_while;
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.tls = stage_shared_server()));

	speak_meanwhile(&peer, server);
	expect_late(probe, server, &peer);
}

static void do_nothing(sttcp_conn *conn, void *argument)
{
	(void)conn;
	(void)argument;
}

static bool give_a_task(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	return sttcp_conn_run(conn, do_nothing, NULL, NULL) == 0 && input_comes(conn);
}

static void input_in_front_of_a_task_is_read(void **state)
{
	struct probe *probe = probe_new();
	struct tls_peer peer;

	(void)state;
	begin();
	probe->connection = give_a_task;
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.tls = stage_shared_server()));

	speak_meanwhile(&peer, server);
	expect_late(probe, server, &peer);
}

static bool pause_at_first(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	sttcp_conn_pause(conn);
	event_raise(&in_handler);
	return true;
}

static void input_of_a_pause_is_read_behind_it(void **state)
{
	struct probe *probe = probe_new();
	struct tls_peer peer;

	(void)state;
	begin();
	probe->connection = pause_at_first;
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.tls = stage_shared_server()));

	speak_meanwhile(&peer, server);
	EVENTUALLY(sttcp_server_count(server) == 1);
	sttcp_conn *conn = sttcp_server_find(server, probe_last_id(probe));

	assert_non_null(conn);
	/* For its event; if that is late there is nothing to see here. */
	nap_ms(100);
	sttcp_conn_resume(conn);
	sttcp_conn_unref(conn);
	expect_late(probe, server, &peer);
}

/* More than the peer takes while it does not read. */
static const char much[8 * 1024 * 1024];

static bool send_much(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	event_raise(&in_handler);
	return sttcp_conn_try_send(conn, much, sizeof(much)) == 0;
}

static void input_of_a_held_reader_is_read_behind_it(void **state)
{
	struct probe *probe = probe_new();
	struct tls_peer peer;
	size_t got = 0;

	(void)state;
	begin();
	probe->connection = send_much;
	sttcp_server *server =
		probe_listen(probe, STTCP_OPTIONS(.tls = stage_shared_server(), .high_water = 65536,
						  .send_queue_max = 2 * sizeof(much)));

	speak_meanwhile(&peer, server);
	EVENTUALLY(sttcp_server_count(server) == 1);
	/* For its event, as above. */
	nap_ms(100);
	while (got < sizeof(much)) {
		char some[4096];
		int now = SSL_read(peer.ssl, some, sizeof(some));

		assert_true(now > 0);
		got += (size_t)now;
	}
	expect_late(probe, server, &peer);
}

static _Atomic int64_t seen;

static bool look_once(struct probe *probe, sttcp_conn *conn)
{
	char text[8];

	(void)probe;
	seen = input_comes(conn) ? sttcp_conn_recv(conn, text, sizeof(text), 0) : -ENODATA;
	event_raise(&may_go_on);
	return true;
}

/* A read that does not wait: what is there, it gives. */
static void a_look_finds_what_is_there(void **state)
{
	(void)state;
	for (int fibers = 0; fibers < 2; fibers++) {
		struct probe *probe = probe_new();
		struct tls_peer peer;

		begin();
		probe->connection = look_once;
		sttcp_server *server = probe_listen(
			probe, STTCP_OPTIONS(.tls = stage_shared_server(), .fibers = fibers));

		speak_meanwhile(&peer, server);
		assert_true(event_wait(&may_go_on, 1));
		assert_int_equal(seen, 4);
		tls_peer_close(&peer);
		sttcp_server_free(server);
		probe_free(probe);
	}
}

static sttcp_conn *_Atomic stopped;

static bool wait_for_the_stop(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	atomic_store(&stopped, sttcp_conn_ref(conn));
	return input_comes(conn) && event_wait(&may_go_on, 1);
}

static void *stop(void *server)
{
	sttcp_server_stop(server);
	return NULL;
}

/* G16, end_idle_at_stop: one whose message has come is not idle. */
static void a_stop_serves_what_has_come(void **state)
{
	struct probe *probe = probe_new();
	struct tls_peer peer;
	pthread_t stopper;

	(void)state;
	begin();
	probe->connection = wait_for_the_stop;
	probe->data = echo_data;
	sttcp_server *server = probe_listen(
		probe, STTCP_OPTIONS(.tls = stage_shared_server(), .end_idle_at_stop = true));

	speak_meanwhile(&peer, server);
	sttcp_conn *conn = atomic_load(&stopped);

	assert_int_equal(pthread_create(&stopper, NULL, stop, server), 0);
	EVENTUALLY(sttcp_conn_stopping(conn));
	event_raise(&may_go_on);
	assert_true(tls_peer_expect(&peer, "late"));
	assert_int_equal(tls_peer_end(&peer), 0);
	tls_peer_close(&peer);
	pthread_join(stopper, NULL);
	sttcp_conn_unref(conn);
	sttcp_server_free(server);
	probe_free(probe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(input_beside_the_first_handler_is_read),
		cmocka_unit_test(input_in_front_of_a_task_is_read),
		cmocka_unit_test(input_of_a_pause_is_read_behind_it),
		cmocka_unit_test(input_of_a_held_reader_is_read_behind_it),
		cmocka_unit_test(a_look_finds_what_is_there),
		cmocka_unit_test(a_stop_serves_what_has_come),
	};

	return cmocka_run_group_tests(tests, stage_open, stage_close);
}
