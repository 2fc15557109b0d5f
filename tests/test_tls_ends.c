/* SPDX-License-Identifier: MIT */
/* A peer that is cut off, told to each way of reading, in both roles; what a peer sends behind a
 * failure; objects and the engine that end while handshakes are under way. */
#include "support/support.h"
#include "support/tls_stage.h"

enum {
	NPEERS = 12,
	/* More than a read takes. */
	LONG = 400 * 1024
};

/* ------------------------------------------------------------------------------ cut */

static struct event read_ended = EVENT_INIT;
static _Atomic int64_t read_result;

enum reading {
	READ_SOME,
	READ_MESSAGE,
	READ_EXACTLY,
	READ_NEXT_SIZE,
	NREADINGS
};

static _Atomic int reading;

static ssize_t read_once(sttcp_conn *conn)
{
	char bytes[64];

	switch (atomic_load(&reading)) {
	case READ_SOME:
		return sttcp_conn_recv(conn, bytes, sizeof(bytes), DEADLINE_MS);
	case READ_MESSAGE:
		return sttcp_conn_recv_message(conn, bytes, sizeof(bytes), DEADLINE_MS);
	case READ_EXACTLY:
		return sttcp_conn_recv_exactly(conn, bytes, 3, DEADLINE_MS);
	default:
		return sttcp_conn_next_size(conn, DEADLINE_MS);
	}
}

static bool read_to_the_cut(struct probe *probe, sttcp_conn *conn)
{
	ssize_t got;

	(void)probe;
	/* What is there of a message that was cut does not count; next_size takes nothing. */
	do {
		got = read_once(conn);
	} while (got > 0 && atomic_load(&reading) != READ_NEXT_SIZE);
	read_result = got;
	event_raise(&read_ended);
	return true;
}

static void speak_and_cut(int fd, bool server)
{
	struct tls_peer peer;

	tls_peer_adopt(&peer, fd, server, 0);
	assert_true(tls_peer_shake(&peer));
	assert_true(tls_peer_say(&peer, "ab"));
	peer_shutdown(peer.fd);
	assert_true(event_wait(&read_ended, 1));
	tls_peer_close(&peer);
}

static void expect_cut(struct probe *probe)
{
	assert_int_equal(read_result, STTCP_ECUT);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(probe), STTCP_ECUT);
	assert_int_equal(probe_count(probe, STTCP_RECEIVE), 0);
	assert_int_equal(probe_count(probe, STTCP_RESPONSE), 0);
	assert_int_equal(probe_count(probe, STTCP_END), 0);
}

static struct probe *begin_reading(int how)
{
	struct event fresh = EVENT_INIT;
	struct probe *probe = probe_new();

	read_ended = fresh;
	reading = how;
	probe->connection = read_to_the_cut;
	return probe;
}

static void cut_is_told_to_each_way_of_reading_of_a_server(void **state)
{
	(void)state;
	for (int i = 0; i < NREADINGS; i++) {
		struct probe *probe = begin_reading(i);
		sttcp_server *server = probe_listen(
			probe, STTCP_OPTIONS(.tls = stage_shared_server(), .half_close = true,
					     .framing = STTCP_FRAMING_LINE, .rest_at_end = true));

		speak_and_cut(peer_connect(sttcp_server_port(server)), false);
		expect_cut(probe);
		sttcp_server_free(server);
		probe_free(probe);
	}
}

static void cut_is_told_to_each_way_of_reading_of_a_client(void **state)
{
	(void)state;
	for (int i = 0; i < NREADINGS; i++) {
		struct probe *probe = begin_reading(i);
		int port, listener = peer_listen(&port, 8);
		sttcp_client *client = probe_dial(
			probe, port,
			STTCP_OPTIONS(.tls = stage_shared_client(), .half_close = true,
				      .framing = STTCP_FRAMING_LINE, .rest_at_end = true));

		speak_and_cut(peer_accept(listener), true);
		expect_cut(probe);
		sttcp_client_free(client);
		peer_close(listener);
		probe_free(probe);
	}
}

/* ------------------------------------------------------------------------ failures */

/* What a peer goes on to send behind a failure is dropped until its FIN. A reset would take the
 * alert away, on its way or out of the peer's buffer. */
static void expect_that_it_may_send_on(int fd)
{
	for (int i = 0; i < 20; i++) {
		assert_true(peer_send(fd, "x", 1));
		nap_ms(5);
	}
}

static size_t take_hello(struct tls_peer *peer, char *into, size_t room)
{
	BIO *out = BIO_new(BIO_s_mem());
	char *hello;

	SSL_set_bio(peer->ssl, BIO_new(BIO_s_mem()), out);
	assert_false(tls_peer_shake(peer));
	size_t size = (size_t)BIO_get_mem_data(out, &hello);

	assert_true(size <= room);
	memcpy(into, hello, size);
	return size;
}

static void bytes_behind_a_failed_hello_are_dropped(void **state)
{
	enum {
		ALERT = 21, /* RFC 8446, 5.1 and 6 */
		FATAL = 2,
		PROTOCOL_VERSION = 70
	};
	static char sent[LONG];
	unsigned char alert[7];
	struct probe *probe = probe_new();
	struct tls_peer peer;
	sttcp_stats stats;

	(void)state;
	sttcp_tls *tls = stage_server();

	assert_int_equal(sttcp_tls_set_versions(tls, 13, 13), 0);
	sttcp_server *server =
		probe_listen(probe, STTCP_OPTIONS(.tls = tls, .linger_timeout_ms = DEADLINE_MS));

	tls_peer_prepare(&peer, sttcp_server_port(server), TLS1_2_VERSION);
	take_hello(&peer, sent, sizeof(sent));
	assert_true(peer_send(peer.fd, sent, sizeof(sent)));
	assert_true(peer_recv(peer.fd, alert, sizeof(alert)));
	assert_int_equal(alert[0], ALERT);
	assert_int_equal(alert[5], FATAL);
	assert_int_equal(alert[6], PROTOCOL_VERSION);
	assert_int_equal(peer_end(peer.fd), 0);
	EVENTUALLY(sttcp_server_stats(server, &stats, sizeof(stats)) == 0 && stats.tls_failed == 1);
	expect_that_it_may_send_on(peer.fd);
	tls_peer_close(&peer);
	sttcp_server_free(server);
	sttcp_tls_unref(tls);
	probe_free(probe);
}

static void bytes_behind_a_changed_record_are_dropped(void **state)
{
	static const char header[] = {0x17, 3, 3, 0, 64};
	static char sent[LONG];
	struct probe *probe = probe_new();
	struct tls_peer peer;

	(void)state;
	memcpy(sent, header, sizeof(header));
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.tls = stage_shared_server(),
								 .linger_timeout_ms = DEADLINE_MS));

	tls_peer_open(&peer, sttcp_server_port(server));
	assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
	assert_true(peer_send(peer.fd, sent, sizeof(sent)));
	assert_int_equal(tls_peer_end(&peer), STTCP_ETLS);
	assert_int_equal(peer_end(peer.fd), 0);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(probe), STTCP_ETLS);
	expect_that_it_may_send_on(peer.fd);
	tls_peer_close(&peer);
	sttcp_server_free(server);
	probe_free(probe);
}

/* ----------------------------------------------------------------- amid handshakes */

/* All stages: nothing said, a part of the hello, all of it, an open connection. */
static void open_in_stages(struct tls_peer *peers, int port)
{
	for (int i = 0; i < NPEERS; i++) {
		tls_peer_prepare(&peers[i], port, 0);
		if (i % 4 == 1)
			assert_true(peer_send(peers[i].fd, "\x16\x03\x01\x02", 4));
		if (i % 4 == 2) {
			BIO *out = BIO_new(BIO_s_mem());
			char *hello;

			SSL_set_bio(peers[i].ssl, BIO_new(BIO_s_mem()), out);
			assert_false(tls_peer_shake(&peers[i]));
			long size = BIO_get_mem_data(out, &hello);

			assert_true(peer_send(peers[i].fd, hello, (size_t)size));
		}
		if (i % 4 == 3)
			assert_true(tls_peer_shake(&peers[i]));
	}
}

static void close_all(struct tls_peer *peers)
{
	for (int i = 0; i < NPEERS; i++)
		tls_peer_close(&peers[i]);
}

static void expect_echo(sttcp_server *server)
{
	struct tls_peer peer;

	tls_peer_open(&peer, sttcp_server_port(server));
	assert_true(tls_peer_say(&peer, "there"));
	assert_true(tls_peer_expect(&peer, "there"));
	tls_peer_close(&peer);
}

static bool all_are_there(sttcp_server *server)
{
	sttcp_stats stats;

	return sttcp_server_stats(server, &stats, sizeof(stats)) == 0 && stats.total == NPEERS &&
	       sttcp_server_count(server) == NPEERS / 4;
}

/* Free ends them, and leaves nothing that the engine would wait for: then it can end, begin again
 * with another server over the same object, and speak TLS as before. */
static void engine_ends_amid_handshakes_and_begins_again(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		struct tls_peer peers[NPEERS];
		struct probe *probe = probe_new();

		probe->data = echo_data;
		sttcp_server *server =
			probe_listen(probe, STTCP_OPTIONS(.tls = stage_shared_server()));

		open_in_stages(peers, sttcp_server_port(server));
		EVENTUALLY(all_are_there(server));
		assert_int_equal(sttcp_engine_shutdown(), -EBUSY);
		if (i == 1)
			expect_echo(server);
		sttcp_server_free(server);
		assert_int_equal(probe_count(probe, STTCP_CONNECTION),
				 probe_count(probe, STTCP_DISCONNECTION));
		EVENTUALLY(sttcp_engine_shutdown() == 0);
		close_all(peers);
		probe_free(probe);
	}
}

static void client_is_freed_in_its_handshake(void **state)
{
	struct probe *probe = probe_new();
	int port, listener = peer_listen(&port, 8);
	char hello[5];

	(void)state;
	sttcp_client *client = probe_dial(probe, port, STTCP_OPTIONS(.tls = stage_shared_client()));
	int accepted = peer_accept(listener);

	assert_true(peer_recv(accepted, hello, sizeof(hello)));
	sttcp_client_free(client);
	assert_int_equal(probe_count(probe, STTCP_UNCONNECTED), 1);
	assert_int_equal(probe_count(probe, STTCP_CONNECTION), 0);
	peer_close(accepted);
	peer_close(listener);
	probe_free(probe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cut_is_told_to_each_way_of_reading_of_a_server),
		cmocka_unit_test(cut_is_told_to_each_way_of_reading_of_a_client),
		cmocka_unit_test(bytes_behind_a_failed_hello_are_dropped),
		cmocka_unit_test(bytes_behind_a_changed_record_are_dropped),
		cmocka_unit_test(engine_ends_amid_handshakes_and_begins_again),
		cmocka_unit_test(client_is_freed_in_its_handshake),
	};

	return cmocka_run_group_tests(tests, stage_open, stage_close);
}
