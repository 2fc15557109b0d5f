/* SPDX-License-Identifier: MIT */
/* Messages of TLS's own that come in pieces behind the handshake, as the tickets of a server with
 * small records do (RFC 8446, 5.1). OpenSSL sends nothing while a piece is missing: what was sent
 * meanwhile leaves as soon as that has come. */
#include "support/support.h"
#include "support/tls_stage.h"

#include <openssl/ssl.h>
#include <sys/ioctl.h>

#include "conn/conn.h"

enum {
	/* The least that OpenSSL can be told (SSL_CTX_set_max_send_fragment(3)), and what makes a
	 * ticket longer. */
	SMALL_RECORD = 512,
	APPLICATION_DATA = 2000,
	RECORD_HEADER = 5
};

static int lengthen_ticket(SSL *ssl, void *argument)
{
	static const unsigned char data[APPLICATION_DATA];

	(void)argument;
	return SSL_SESSION_set1_ticket_appdata(SSL_get_session(ssl), data, sizeof(data));
}

static SSL_TICKET_RETURN use_ticket(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
				    size_t size, SSL_TICKET_STATUS status, void *argument)
{
	(void)ssl;
	(void)session;
	(void)name;
	(void)size;
	(void)status;
	(void)argument;
	return SSL_TICKET_RETURN_IGNORE;
}

/* A client of the library, and the server that it is connected to, whose tickets come in pieces. */
struct wire {
	struct probe *probe;
	int listener;
	sttcp_client *client;
	sttcp_conn *conn;
	struct tls_peer peer;
	unsigned char ticket[8 * 1024];
	size_t size;
};

static void wire_open(struct wire *wire, const sttcp_options *options)
{
	int port;

	*wire = (struct wire){.probe = probe_new()};
	wire->listener = peer_listen(&port, 8);
	wire->client = probe_dial(wire->probe, port, options);
	tls_peer_adopt(&wire->peer, peer_accept(wire->listener), true, TLS1_3_VERSION);
	assert_int_equal(SSL_set_num_tickets(wire->peer.ssl, 0), 1);
	assert_int_equal(SSL_set_max_send_fragment(wire->peer.ssl, SMALL_RECORD), 1);
	assert_int_equal(SSL_CTX_set_session_ticket_cb(wire->peer.context, lengthen_ticket,
						       use_ticket, NULL),
			 1);
	assert_true(tls_peer_shake(&wire->peer));
	/* From the end of the connection handler on. */
	EVENTUALLY((wire->conn = sttcp_client_conn(wire->client)) != NULL);
}

static void wire_close(struct wire *wire)
{
	sttcp_conn_unref(wire->conn);
	tls_peer_close(&wire->peer);
	sttcp_client_free(wire->client);
	peer_close(wire->listener);
	probe_free(wire->probe);
}

/* Of what was sent to the client neither of the kernel's queues has any left. */
static bool is_read(const struct wire *wire)
{
	int unread = 1;

	return ioctl(wire->peer.fd, TIOCOUTQ, &unread) == 0 && unread == 0 &&
	       ioctl(atomic_load(&wire->conn->fd), FIONREAD, &unread) == 0 && unread == 0;
}

/* Makes a ticket, and sends its first record; the client has read that when this returns. */
static void send_a_piece(struct wire *wire)
{
	BIO *out = BIO_new(BIO_s_mem());
	int got;

	assert_non_null(out);
	SSL_set0_wbio(wire->peer.ssl, out);
	assert_int_equal(SSL_new_session_ticket(wire->peer.ssl), 1);
	assert_int_equal(SSL_do_handshake(wire->peer.ssl), 1);
	got = BIO_read(out, wire->ticket, sizeof(wire->ticket));
	assert_true(got > 2 * SMALL_RECORD);
	wire->size = (size_t)got;
	assert_int_equal(SSL_set_wfd(wire->peer.ssl, wire->peer.fd), 1);

	size_t first = RECORD_HEADER + ((size_t)wire->ticket[3] << 8 | wire->ticket[4]);

	assert_true(first < wire->size);
	assert_true(peer_send(wire->peer.fd, wire->ticket, first));
	memmove(wire->ticket, wire->ticket + first, wire->size - first);
	wire->size -= first;
	EVENTUALLY(is_read(wire));
}

static void send_the_rest(struct wire *wire)
{
	assert_true(peer_send(wire->peer.fd, wire->ticket, wire->size));
}

static void what_is_sent_between_two_pieces_leaves_behind_the_last(void **state)
{
	struct wire wire;

	(void)state;
	wire_open(&wire, STTCP_OPTIONS(.tls = stage_shared_client()));
	for (int i = 0; i < 3; i++) {
		send_a_piece(&wire);
		assert_int_equal(sttcp_conn_send(wire.conn, "word", 4), 0);
		assert_true(peer_quiet(wire.peer.fd, 50));
		send_the_rest(&wire);
		assert_true(tls_peer_expect(&wire.peer, "word"));
	}
	assert_true(tls_peer_say(&wire.peer, "answer"));
	assert_true(probe_wait(wire.probe, STTCP_RESPONSE, 1));
	wire_close(&wire);
}

/* So that it leaves, some of the input is read into memory. */
static void it_leaves_although_nothing_is_read(void **state)
{
	struct wire wire;

	(void)state;
	wire_open(&wire, STTCP_OPTIONS(.tls = stage_shared_client()));
	send_a_piece(&wire);
	assert_int_equal(sttcp_conn_pause(wire.conn), 0);
	assert_int_equal(sttcp_conn_send(wire.conn, "word", 4), 0);
	assert_true(peer_quiet(wire.peer.fd, 50));
	send_the_rest(&wire);
	assert_true(tls_peer_say(&wire.peer, "answer"));
	assert_true(tls_peer_expect(&wire.peer, "word"));
	assert_int_equal(probe_count(wire.probe, STTCP_RESPONSE), 0);
	assert_int_equal(sttcp_conn_resume(wire.conn), 0);
	assert_true(probe_wait(wire.probe, STTCP_RESPONSE, 1));
	wire_close(&wire);
}

/* Nobody wants the input any more, but the output does. */
static void it_leaves_although_the_connection_is_closed(void **state)
{
	struct wire wire;

	(void)state;
	wire_open(&wire, STTCP_OPTIONS(.tls = stage_shared_client()));
	send_a_piece(&wire);
	assert_int_equal(sttcp_conn_send(wire.conn, "word", 4), 0);
	assert_int_equal(sttcp_conn_close(wire.conn), 0);
	assert_true(peer_quiet(wire.peer.fd, 50));
	send_the_rest(&wire);
	assert_true(tls_peer_expect(&wire.peer, "word"));
	assert_int_equal(tls_peer_end(&wire.peer), 0);
	wire_close(&wire);
}

/* The end itself is something that is sent. */
static void check_end(int (*end)(sttcp_conn *conn))
{
	struct wire wire;

	wire_open(&wire, STTCP_OPTIONS(.tls = stage_shared_client()));
	send_a_piece(&wire);
	assert_int_equal(end(wire.conn), 0);
	assert_true(peer_quiet(wire.peer.fd, 50));
	send_the_rest(&wire);
	assert_int_equal(tls_peer_end(&wire.peer), 0);
	wire_close(&wire);
}

static void end_between_two_pieces_is_told_behind_the_last(void **state)
{
	(void)state;
	check_end(sttcp_conn_close);
	check_end(sttcp_conn_shutdown);
}

static int pause_and_shut_down(sttcp_conn *conn)
{
	assert_int_equal(sttcp_conn_pause(conn), 0);
	return sttcp_conn_shutdown(conn);
}

static void it_is_told_although_nothing_is_read(void **state)
{
	(void)state;
	check_end(pause_and_shut_down);
}

/* What is queued has met a full socket before it could be refused. */
static void close_with_a_full_socket_loses_nothing(void **state)
{
	struct wire wire;
	static char part[10000];
	sttcp_conn_counts counts;
	size_t size = 0;

	(void)state;
	wire_open(&wire, STTCP_OPTIONS(.tls = stage_shared_client()));
	/* Until nothing has been taken for a while: the kernel has what it takes, also of the bytes
	 * for which it tells no room. */
	for (int refused = 0; refused < 10; refused++) {
		sttcp_conn_flush(wire.conn);
		while (sttcp_conn_try_send(wire.conn, part, sizeof(part)) == 0) {
			size += sizeof(part);
			refused = 0;
		}
		nap_ms(20);
	}
	send_a_piece(&wire);
	assert_int_equal(sttcp_conn_stats(wire.conn, &counts, sizeof(counts)), 0);
	assert_true(counts.queued > 0);
	assert_int_equal(sttcp_conn_close(wire.conn), 0);
	send_the_rest(&wire);
	EVENTUALLY(is_read(&wire));
	for (; size; size -= sizeof(part))
		assert_true(tls_peer_recv(&wire.peer, part, sizeof(part)));
	assert_int_equal(tls_peer_end(&wire.peer), 0);
	wire_close(&wire);
}

/* Of a message that is cut there is no rest to wait for. */
static void close_between_two_pieces_ends_with_the_peer(void **state)
{
	struct wire wire;

	(void)state;
	wire_open(&wire, STTCP_OPTIONS(.tls = stage_shared_client(), .linger_timeout_ms = -1));
	send_a_piece(&wire);
	assert_int_equal(sttcp_conn_close(wire.conn), 0);
	assert_true(peer_quiet(wire.peer.fd, 50));
	peer_shutdown(wire.peer.fd);
	EVENTUALLY(sttcp_conn_fd(wire.conn) == -1);
	assert_true(probe_wait(wire.probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(wire.probe), STTCP_ECLOSED);
	wire_close(&wire);
}

/* Nor for what a peer never sends. */
static void close_between_two_pieces_has_a_limit(void **state)
{
	struct wire wire;

	(void)state;
	wire_open(&wire, STTCP_OPTIONS(.tls = stage_shared_client(), .write_timeout_ms = 100));
	send_a_piece(&wire);
	assert_int_equal(sttcp_conn_close(wire.conn), 0);
	EVENTUALLY(sttcp_conn_fd(wire.conn) == -1);
	assert_true(probe_wait(wire.probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(wire.probe), STTCP_ECLOSED);
	wire_close(&wire);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_sent_between_two_pieces_leaves_behind_the_last),
		cmocka_unit_test(it_leaves_although_nothing_is_read),
		cmocka_unit_test(it_leaves_although_the_connection_is_closed),
		cmocka_unit_test(end_between_two_pieces_is_told_behind_the_last),
		cmocka_unit_test(it_is_told_although_nothing_is_read),
		cmocka_unit_test(close_with_a_full_socket_loses_nothing),
		cmocka_unit_test(close_between_two_pieces_ends_with_the_peer),
		cmocka_unit_test(close_between_two_pieces_has_a_limit),
	};

	return cmocka_run_group_tests(tests, stage_open, stage_close);
}
