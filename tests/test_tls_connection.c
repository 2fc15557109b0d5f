/* SPDX-License-Identifier: MIT */
/* Connections with TLS: bytes both ways, and their ends. */
#include "support/support.h"
#include "support/tls_stage.h"

enum {
	LONG = 3 * 1024 * 1024
};

static sttcp_server *serve(struct probe *probe)
{
	return probe_listen(probe, STTCP_OPTIONS(.tls = stage_shared_server()));
}

static void echo_comes_back(void **state)
{
	struct probe *probe = probe_new();
	struct tls_peer peer;

	(void)state;
	probe->data = echo_data;
	sttcp_server *server = serve(probe);

	tls_peer_open(&peer, sttcp_server_port(server));
	for (int i = 0; i < 10; i++) {
		assert_true(tls_peer_say(&peer, "hello"));
		assert_true(tls_peer_expect(&peer, "hello"));
	}
	assert_int_equal(sttcp_server_count(server), 1);
	tls_peer_notify(&peer);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(probe), 0);
	/* Ours comes back, and then FIN. */
	assert_int_equal(tls_peer_end(&peer), 0);
	tls_peer_close(&peer);
	sttcp_server_free(server);
	probe_free(probe);
}

static void client_and_server_echo(void **state)
{
	struct probe *server_probe = probe_new();
	struct probe *client_probe = probe_new();

	(void)state;
	server_probe->data = echo_data;
	sttcp_server *server = serve(server_probe);
	sttcp_client *client = probe_dial(client_probe, sttcp_server_port(server),
					  STTCP_OPTIONS(.tls = stage_shared_client()));

	assert_true(probe_wait(client_probe, STTCP_CONNECTION, 1));
	assert_int_equal(sttcp_client_send(client, "over there", 10, DEADLINE_MS), 0);
	assert_true(probe_wait_bytes(client_probe, 10));
	assert_string_equal(probe_text(client_probe), "over there");
	sttcp_client_close(client);
	assert_true(probe_wait(server_probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(server_probe), 0);
	sttcp_client_free(client);
	sttcp_server_free(server);
	probe_free(client_probe);
	probe_free(server_probe);
}

/* More than the queue holds: it has to wait for the peer. */
static bool send_long(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	static char text[LONG];

	(void)probe;
	(void)data;
	(void)size;
	fill_pattern(text, sizeof(text), 7);
	sttcp_conn_send(conn, text, sizeof(text));
	sttcp_conn_close(conn);
	return true;
}

static void long_answer_arrives_before_the_end(void **state)
{
	static char got[LONG], wanted[LONG];
	struct probe *probe = probe_new();
	struct tls_peer peer;

	(void)state;
	probe->connection = narrow;
	probe->data = send_long;
	sttcp_server *server = serve(probe);

	tls_peer_adopt(&peer, peer_connect_narrow(sttcp_server_port(server)), false, 0);
	assert_true(tls_peer_shake(&peer));
	assert_true(tls_peer_say(&peer, "go"));
	assert_true(tls_peer_recv(&peer, got, sizeof(got)));
	fill_pattern(wanted, sizeof(wanted), 7);
	assert_memory_equal(got, wanted, sizeof(wanted));
	assert_int_equal(tls_peer_end(&peer), 0);
	tls_peer_close(&peer);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(probe), STTCP_ECLOSED);
	sttcp_server_free(server);
	probe_free(probe);
}

/* --------------------------------------------------------------------- framings */

static bool echo_message(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	return sttcp_conn_send_message(conn, data, size) == 0;
}

static int frame_three(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
		       void *context)
{
	(void)conn;
	(void)data;
	(void)context;
	frame->size = frame->total = 3;
	return size >= 1;
}

/* Two messages at once and one in single bytes, of each framing. */
static void messages_come_back_in_each_framing(void **state)
{
	static const struct {
		sttcp_options options;
		const char *said;
		size_t size;
	} cases[] = {
		{{.framing = STTCP_FRAMING_LINE}, "one\ntwo\n", 8},
		{{.framing = STTCP_FRAMING_DELIMITER, .delimiter = "\r\n", .delimiter_size = 2},
		 "one\r\ntwo\r\n",
		 10},
		{{.framing = STTCP_FRAMING_LENGTH, .prefix_size = 2}, "\0\3one\0\3two", 10},
		{{.framing = STTCP_FRAMING_FIXED, .fixed_size = 3}, "onetwo", 6},
		{{.framing = STTCP_FRAMING_CUSTOM, .frame_fn = frame_three}, "onetwo", 6},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		sttcp_options options = cases[i].options;
		struct probe *probe = probe_new();
		struct tls_peer peer;
		char got[16];

		options.size = sizeof(options);
		options.tls = stage_shared_server();
		probe->data = echo_message;
		sttcp_server *server = probe_listen(probe, &options);

		tls_peer_open(&peer, sttcp_server_port(server));
		assert_true(tls_peer_send(&peer, cases[i].said, cases[i].size));
		assert_true(tls_peer_recv(&peer, got, cases[i].size));
		assert_memory_equal(got, cases[i].said, cases[i].size);
		for (size_t at = 0; at < cases[i].size; at++)
			assert_true(tls_peer_send(&peer, cases[i].said + at, 1));
		assert_true(tls_peer_recv(&peer, got, cases[i].size));
		assert_memory_equal(got, cases[i].said, cases[i].size);
		assert_true(probe_wait(probe, STTCP_RECEIVE, 4));
		tls_peer_close(&peer);
		sttcp_server_free(server);
		probe_free(probe);
	}
}

/* A record is longer than what a handler reads at a time: the rest raises no event. */
static bool read_by_three(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	char part[3];

	(void)probe;
	sttcp_conn_send(conn, data, size);
	for (int i = 0; i < 2; i++) {
		ssize_t got = sttcp_conn_recv(conn, part, sizeof(part), DEADLINE_MS);

		if (got <= 0 || sttcp_conn_send(conn, part, (size_t)got) < 0)
			return false;
	}
	return true;
}

static void what_a_handler_leaves_in_a_record_is_delivered(void **state)
{
	struct probe *probe = probe_new();
	struct tls_peer peer;

	(void)state;
	probe->data = read_by_three;
	sttcp_server *server = serve(probe);

	tls_peer_open(&peer, sttcp_server_port(server));
	for (int i = 0; i < 20; i++) {
		assert_true(tls_peer_say(&peer, "?"));
		assert_true(tls_peer_expect(&peer, "?"));
		/* Six bytes for the reads, six for the handler, which reads on. */
		assert_true(tls_peer_say(&peer, "abcdefghijkl"));
		assert_true(tls_peer_expect(&peer, "abcdefghijkl"));
		assert_true(tls_peer_say(&peer, "mnopqr"));
		assert_true(tls_peer_expect(&peer, "mnopqr"));
	}
	tls_peer_close(&peer);
	sttcp_server_free(server);
	probe_free(probe);
}

/* ------------------------------------------------------------------------- ends */

static void cut_is_a_reason_of_its_own(void **state)
{
	struct probe *probe = probe_new();
	struct tls_peer peer;

	(void)state;
	probe->data = echo_data;
	sttcp_server *server = probe_listen(
		probe, STTCP_OPTIONS(.tls = stage_shared_server(), .half_close = true));

	tls_peer_open(&peer, sttcp_server_port(server));
	assert_true(tls_peer_say(&peer, "last words"));
	assert_true(tls_peer_expect(&peer, "last words"));
	peer_shutdown(peer.fd);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(probe), STTCP_ECUT);
	assert_non_null(strstr(probe_fail_text(probe), "close_notify"));
	assert_int_equal(probe_count(probe, STTCP_END), 0);
	tls_peer_close(&peer);
	sttcp_server_free(server);
	probe_free(probe);
}

static struct event read_ended = EVENT_INIT;
static _Atomic int64_t read_result;

static bool read_to_the_end(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	char more[64];
	ssize_t got;

	(void)probe;
	(void)data;
	(void)size;
	do {
		got = sttcp_conn_recv(conn, more, sizeof(more), DEADLINE_MS);
	} while (got > 0);
	read_result = got;
	event_raise(&read_ended);
	return true;
}

static void cut_is_told_to_a_read(void **state)
{
	struct probe *probe = probe_new();
	struct tls_peer peer;

	(void)state;
	probe->data = read_to_the_end;
	sttcp_server *server = serve(probe);

	for (int i = 1; i <= 2; i++) {
		tls_peer_open(&peer, sttcp_server_port(server));
		assert_true(tls_peer_say(&peer, "one"));
		assert_true(tls_peer_say(&peer, "two"));
		if (i == 2)
			tls_peer_notify(&peer);
		peer_shutdown(peer.fd);
		assert_true(event_wait(&read_ended, i));
		assert_int_equal(read_result, i == 2 ? 0 : STTCP_ECUT);
		assert_true(probe_wait(probe, STTCP_DISCONNECTION, i));
		assert_int_equal(probe_reason(probe), i == 2 ? 0 : STTCP_ECUT);
		tls_peer_close(&peer);
	}
	sttcp_server_free(server);
	probe_free(probe);
}

static void rest_that_was_cut_is_no_message(void **state)
{
	struct probe *probe = probe_new();
	struct tls_peer peer;

	(void)state;
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.tls = stage_shared_server(),
								 .framing = STTCP_FRAMING_LINE,
								 .rest_at_end = true));

	for (int i = 1; i <= 2; i++) {
		tls_peer_open(&peer, sttcp_server_port(server));
		assert_true(tls_peer_say(&peer, "whole\nhalf"));
		if (i == 2)
			tls_peer_notify(&peer);
		peer_shutdown(peer.fd);
		assert_true(probe_wait(probe, STTCP_DISCONNECTION, i));
		assert_int_equal(probe_reason(probe), i == 2 ? 0 : STTCP_ECUT);
		assert_int_equal(probe_count(probe, STTCP_RECEIVE), i == 2 ? 3 : 1);
		tls_peer_close(&peer);
	}
	sttcp_server_free(server);
	probe_free(probe);
}

static void say_goodbye(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	sttcp_conn_send(conn, "goodbye", 7);
	sttcp_conn_shutdown(conn);
}

static void half_close_is_a_close_notify(void **state)
{
	struct probe *probe = probe_new();
	struct tls_peer peer;

	(void)state;
	probe->end = say_goodbye;
	sttcp_server *server = probe_listen(
		probe, STTCP_OPTIONS(.tls = stage_shared_server(), .half_close = true));

	tls_peer_open(&peer, sttcp_server_port(server));
	tls_peer_notify(&peer);
	assert_true(tls_peer_expect(&peer, "goodbye"));
	assert_int_equal(tls_peer_end(&peer), 0);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(probe), 0);
	assert_int_equal(probe_count(probe, STTCP_END), 1);
	tls_peer_close(&peer);
	sttcp_server_free(server);
	probe_free(probe);
}

static bool abort_it(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	(void)data;
	(void)size;
	sttcp_conn_abort(conn);
	return true;
}

static void abort_sends_no_close_notify(void **state)
{
	struct probe *probe = probe_new();
	struct tls_peer peer;

	(void)state;
	probe->data = abort_it;
	sttcp_server *server = serve(probe);

	tls_peer_open(&peer, sttcp_server_port(server));
	assert_true(tls_peer_say(&peer, "x"));
	assert_int_equal(tls_peer_end(&peer), -ECONNRESET);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	tls_peer_close(&peer);
	sttcp_server_free(server);
	probe_free(probe);
}

static void changed_record_ends_with_an_alert(void **state)
{
	struct probe *probe = probe_new();
	struct tls_peer peer;
	static const char bad[] = "\x17\x03\x03\x00\x20"
				  "0123456789abcdef0123456789abcdef";

	(void)state;
	probe->data = echo_data;
	sttcp_server *server = serve(probe);

	tls_peer_open(&peer, sttcp_server_port(server));
	assert_true(tls_peer_say(&peer, "x"));
	assert_true(tls_peer_expect(&peer, "x"));
	assert_true(peer_send(peer.fd, bad, sizeof(bad) - 1));
	assert_int_equal(tls_peer_end(&peer), STTCP_ETLS);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(probe), STTCP_ETLS);
	assert_non_null(strstr(probe_fail_text(probe), "changed on its way"));
	tls_peer_close(&peer);
	sttcp_server_free(server);
	probe_free(probe);
}

static void detach_is_refused(void **state)
{
	struct probe *probe = probe_new();
	struct tls_peer peer;

	(void)state;
	sttcp_server *server = serve(probe);

	tls_peer_open(&peer, sttcp_server_port(server));
	EVENTUALLY(sttcp_server_count(server) == 1);
	sttcp_conn *conn = sttcp_server_find(server, probe_last_id(probe));

	assert_non_null(conn);
	EVENTUALLY(sttcp_conn_detach(conn) == -EOPNOTSUPP);
	sttcp_conn_unref(conn);
	tls_peer_close(&peer);
	sttcp_server_free(server);
	probe_free(probe);
}

static void *stop(void *server)
{
	sttcp_server_stop(server);
	return NULL;
}

/* G16, end_idle_at_stop: a record that is on its way is a message on its way. */
static void stop_waits_for_the_rest_of_a_record(void **state)
{
	static const char *const versions[] = {"TLSv1.2", "TLSv1.3"};
	static const int numbers[] = {TLS1_2_VERSION, TLS1_3_VERSION};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct probe *probe = probe_new();
		struct tls_peer peer;
		pthread_t stopper;
		char *record;
		size_t sent;

		probe->data = echo_data;
		sttcp_server *server =
			probe_listen(probe, STTCP_OPTIONS(.tls = stage_shared_server(),
							  .end_idle_at_stop = true));

		tls_peer_prepare(&peer, sttcp_server_port(server), numbers[i]);
		assert_true(tls_peer_shake(&peer));
		assert_string_equal(SSL_get_version(peer.ssl), versions[i]);
		assert_true(tls_peer_say(&peer, "first"));
		assert_true(tls_peer_expect(&peer, "first"));
		SSL_set0_wbio(peer.ssl, BIO_new(BIO_s_mem()));
		assert_int_equal(SSL_write_ex(peer.ssl, "second", 6, &sent), 1);
		size_t size = (size_t)BIO_get_mem_data(SSL_get_wbio(peer.ssl), &record);

		assert_true(peer_send(peer.fd, record, size - 1));
		sttcp_conn *conn = sttcp_server_find(server, probe_last_id(probe));

		assert_non_null(conn);
		assert_int_equal(pthread_create(&stopper, NULL, stop, server), 0);
		EVENTUALLY(sttcp_conn_stopping(conn));
		nap_ms(50);
		assert_int_equal(probe_count(probe, STTCP_DISCONNECTION), 0);
		assert_true(peer_send(peer.fd, record + size - 1, 1));
		assert_true(tls_peer_expect(&peer, "second"));
		assert_int_equal(tls_peer_end(&peer), 0);
		tls_peer_close(&peer);
		pthread_join(stopper, NULL);
		assert_int_equal(probe_reason(probe), STTCP_ESTOPPED);
		sttcp_conn_unref(conn);
		sttcp_server_free(server);
		probe_free(probe);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(echo_comes_back),
		cmocka_unit_test(client_and_server_echo),
		cmocka_unit_test(long_answer_arrives_before_the_end),
		cmocka_unit_test(messages_come_back_in_each_framing),
		cmocka_unit_test(what_a_handler_leaves_in_a_record_is_delivered),
		cmocka_unit_test(cut_is_a_reason_of_its_own),
		cmocka_unit_test(cut_is_told_to_a_read),
		cmocka_unit_test(rest_that_was_cut_is_no_message),
		cmocka_unit_test(half_close_is_a_close_notify),
		cmocka_unit_test(abort_sends_no_close_notify),
		cmocka_unit_test(changed_record_ends_with_an_alert),
		cmocka_unit_test(detach_is_refused),
		cmocka_unit_test(stop_waits_for_the_rest_of_a_record),
	};

	return cmocka_run_group_tests(tests, stage_open, stage_close);
}
