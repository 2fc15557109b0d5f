/* SPDX-License-Identifier: MIT */
/*
 * What should not come, seen by a whole server or client with TLS: other
 * protocols, and floods. Each has a code, and a sentence that says what to do.
 * Streams that are cut are in test_tls_cuts.c.
 */
#include "support/lines.h"
#include "support/support.h"
#include "support/tls_dials.h"
#include "support/tls_gate.h"
#include "support/tls_good.h"

#include <openssl/ssl.h>
#include <sys/socket.h>

/* -------------------------------------------------------------- other protocols */

/* Says it, and is turned away. Nobody but the log hears of it. */
static void expect_refusal(const struct gate *gate, const void *data, size_t size,
			   const char *words)
{
	int64_t before = tls_failed(gate);
	int told = lines_with(2, words);
	int peer = peer_connect(gate->port);

	/* The end may come before all of it is said. */
	ignore(send(peer, data, size, MSG_NOSIGNAL));
	peer_end(peer);
	peer_close(peer);
	EVENTUALLY(tls_failed(gate) == before + 1);
	for (int64_t until = now_ms() + DEADLINE_MS; lines_with(2, words) == told; nap_ms(2)) {
		if (now_ms() > until)
			fail_msg("nobody was told \"%s\"", words);
	}
	assert_int_equal(probe_count(gate->probe, STTCP_CONNECTION), 0);
}

static void what_is_no_tls_is_told_to_the_log(void **state)
{
	static const char *const requests[] = {
		"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
		"POST /form HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc",
	};
	static const char mail[] = "EHLO a.example\r\n";
	static const unsigned char huge[] = {22, 3, 1, 0xff, 0xff, 1, 0, 0, 0};
	static const unsigned char alert[] = {21, 3, 3, 0, 2, 2, 40};
	static const unsigned char data[] = {23, 3, 3, 0, 4, 1, 2, 3, 4};
	struct gate gate;
	char zeros[1000] = {0};

	(void)state;
	gate_open(&gate, STTCP_OPTIONS(.backlog = 0));
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
		expect_refusal(&gate, requests[i], strlen(requests[i]),
			       "the peer speaks HTTP, without TLS");
	expect_refusal(&gate, "CONNECT a.example:443 HTTP/1.1\r\n\r\n", 34,
		       "the peer speaks HTTP to a proxy, without TLS");
	expect_refusal(&gate, mail, sizeof(mail) - 1, "the peer does not speak TLS");
	expect_refusal(&gate, zeros, sizeof(zeros), "the peer does not speak TLS");
	/* TLS, but nothing that begins a connection. */
	expect_refusal(&gate, huge, sizeof(huge), "TLS failed: OpenSSL says: ");
	expect_refusal(&gate, alert, sizeof(alert), "TLS failed: OpenSSL says: ");
	expect_refusal(&gate, data, sizeof(data), "TLS failed: OpenSSL says: ");
	expect_service(&gate);
	gate_close(&gate);
}

static void a_plain_server_is_told_to_the_client(void **state)
{
	static const char *const greetings[] = {
		"220 mail.example ESMTP\r\n",
		"HTTP/1.1 400 Bad Request\r\n\r\n",
		"SSH-2.0-OpenSSH_9.2\r\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(greetings) / sizeof(greetings[0]); i++) {
		struct probe *probe = probe_new();
		sttcp_tls *tls = sttcp_tls_client();
		int port, listener = peer_listen(&port, 1);
		sttcp_client *client = probe_dial(probe, port, STTCP_OPTIONS(.tls = tls));
		int peer = peer_accept(listener);

		assert_true(peer_say(peer, greetings[i]));
		assert_true(probe_wait(probe, STTCP_UNCONNECTED, 1));
		assert_int_equal(probe_reason(probe), STTCP_ETLS);
		assert_string_equal(probe_fail_text(probe), "the peer does not speak TLS");
		peer_close(peer);
		peer_close(listener);
		sttcp_client_free(client);
		sttcp_tls_unref(tls);
		probe_free(probe);
	}
}

/* An echo server without TLS sends the client's own hello back. */
static void a_hello_that_comes_back_is_refused(void **state)
{
	struct probe *plain = probe_new(), *probe = probe_new();
	sttcp_tls *tls = sttcp_tls_client();

	(void)state;
	plain->data = echo_data;

	sttcp_server *server = probe_listen(plain, NULL);
	sttcp_client *client =
		probe_dial(probe, sttcp_server_port(server), STTCP_OPTIONS(.tls = tls));

	assert_true(probe_wait(probe, STTCP_UNCONNECTED, 1));
	assert_int_equal(probe_reason(probe), STTCP_ETLS);
	assert_true(strlen(probe_fail_text(probe)) > 0);
	sttcp_client_free(client);
	sttcp_server_free(server);
	sttcp_tls_unref(tls);
	probe_free(probe);
	probe_free(plain);
}

/* In the middle of a stream that was fine. */
static void bytes_without_tls_end_a_connection(void **state)
{
	SSL_CTX *context = tls_dial_context(trusted, 0);
	struct gate gate;
	struct tls_dial dial;

	(void)state;
	gate_open(&gate, STTCP_OPTIONS(.half_close = true));
	assert_true(tls_dial(&dial, context, gate.port, "a.example"));
	assert_true(tls_dial_is_answered(&dial));
	assert_true(peer_say(dial.fd, "and now without\n"));
	peer_end(dial.fd);
	assert_true(probe_wait(gate.probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(gate.probe), STTCP_ETLS);
	assert_true(strlen(probe_fail_text(gate.probe)) > 0);
	assert_int_equal(probe_count(gate.probe, STTCP_END), 0);
	assert_int_equal(tls_failed(&gate), 0);
	tls_dial_close(&dial);
	gate_close(&gate);
	SSL_CTX_free(context);
}

/* ----------------------------------------------------------------------- floods */

/* The hello of a client, as it leaves. */
static size_t make_hello(unsigned char *hello, size_t room)
{
	SSL_CTX *context = tls_dial_context(NULL, 0);
	SSL *ssl = SSL_new(context);
	BIO *out = BIO_new(BIO_s_mem());
	int size;

	SSL_set_bio(ssl, BIO_new(BIO_s_mem()), out);
	SSL_set_connect_state(ssl);
	SSL_do_handshake(ssl);
	size = BIO_read(out, hello, (int)room);
	assert_true(size > 0 && (size_t)size < room);
	SSL_free(ssl);
	SSL_CTX_free(context);
	return (size_t)size;
}

/* Sends it again and again, until the other side has enough: how many bytes that were. */
static size_t flood(int peer, const void *data, size_t size, size_t most)
{
	size_t sent = 0;

	while (sent < most) {
		ssize_t result = send(peer, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (result > 0)
			sent += (size_t)result;
		else if (errno != EAGAIN)
			break;
		else if (!peer_quiet(peer, 1))
			break;
	}
	return sent;
}

static void a_flood_of_hellos_on_one_connection_is_no_handshake(void **state)
{
	unsigned char hello[4096];
	size_t size = make_hello(hello, sizeof(hello));
	struct gate gate;

	(void)state;
	gate_open(&gate, STTCP_OPTIONS(.backlog = 0));

	int peer = peer_connect(gate.port);

	flood(peer, hello, size, 64 * size);
	peer_end(peer);
	peer_close(peer);
	EVENTUALLY(tls_failed(&gate) == 1);
	assert_int_equal(probe_count(gate.probe, STTCP_CONNECTION), 0);
	expect_service(&gate);
	gate_close(&gate);
}

/* It announces sixteen megabytes, and they come: but nobody keeps them. */
static void a_hello_without_end_is_refused_early(void **state)
{
	enum {
		BODY = 16384,
		MOST = 16 * 1024 * 1024
	};
	static unsigned char record[5 + BODY] = {22, 3,	   1,	 BODY >> 8, BODY & 0xff,
						 1,  0xff, 0xff, 0xff};
	struct gate gate;

	(void)state;
	gate_open(&gate, STTCP_OPTIONS(.linger_timeout_ms = -1));

	int peer = peer_connect(gate.port);

	assert_true(flood(peer, record, sizeof(record), MOST) < MOST);
	peer_close(peer);
	EVENTUALLY(tls_failed(&gate) == 1);
	expect_service(&gate);
	gate_close(&gate);
}

/* Each has said half of a hello, and says no more: nobody is held up, each costs little, and each
 * ends in time. */
static void half_hellos_cost_little_and_end_in_time(void **state)
{
	enum {
		NPEERS = 100,
		MOST_EACH = 96 * 1024
	};
	unsigned char hello[4096];
	size_t size = make_hello(hello, sizeof(hello));
	int peers[NPEERS];
	struct gate gate;

	(void)state;
	sttcp_log_level(2); /* traces would fill the book */
	gate_open(&gate, STTCP_OPTIONS(.tls_handshake_timeout_ms = 3000));
	expect_service(&gate);

	size_t before = bytes_in_use();

	for (int i = 0; i < NPEERS; i++) {
		peers[i] = peer_connect(gate.port);
		assert_true(peer_send(peers[i], hello, size / 2));
	}
	expect_service(&gate);
	if (memory_is_measured()) {
		/* What those before have left may go meanwhile. */
		int64_t each = ((int64_t)bytes_in_use() - (int64_t)before) / NPEERS;

		print_message("a half hello costs %lld bytes\n", (long long)each);
		assert_true(each <= MOST_EACH);
	}
	assert_in_range(sttcp_server_count(gate.server), 0, 1); /* of those who are served */
	EVENTUALLY(tls_failed(&gate) == NPEERS);
	assert_int_equal(lines_with(2, "tls_handshake_timeout_ms"), NPEERS);
	for (int i = 0; i < NPEERS; i++) {
		peer_end(peers[i]);
		peer_close(peers[i]);
	}
	assert_int_equal(probe_count(gate.probe, STTCP_CONNECTION), 2);
	gate_close(&gate);
}

/* A connection in its handshake takes a seat of max_connections, until it ends. */
static void handshakes_count_for_max_connections(void **state)
{
	unsigned char hello[4096];
	size_t size = make_hello(hello, sizeof(hello));
	struct gate gate;
	sttcp_stats stats = {0};
	int peers[3];

	(void)state;
	gate_open(&gate,
		  STTCP_OPTIONS(.max_connections = 2, .tls_handshake_timeout_ms = DEADLINE_MS));
	for (int i = 0; i < 3; i++) {
		peers[i] = peer_connect(gate.port);
		assert_true(peer_send(peers[i], hello, size / 2));
	}
	while (stats.over_connections == 0)
		assert_int_equal(sttcp_server_stats(gate.server, &stats, sizeof(stats)), 0);
	assert_int_equal(stats.total, 2);
	assert_int_equal(sttcp_server_count(gate.server), 0);
	for (int i = 0; i < 3; i++)
		peer_close(peers[i]);
	expect_service(&gate);
	gate_close(&gate);
}

#define WITH_LINES(test) cmocka_unit_test_setup_teardown(test, lines_open, lines_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_LINES(what_is_no_tls_is_told_to_the_log),
		cmocka_unit_test(a_plain_server_is_told_to_the_client),
		cmocka_unit_test(a_hello_that_comes_back_is_refused),
		cmocka_unit_test(bytes_without_tls_end_a_connection),
		cmocka_unit_test(a_flood_of_hellos_on_one_connection_is_no_handshake),
		cmocka_unit_test(a_hello_without_end_is_refused_early),
		WITH_LINES(half_hellos_cost_little_and_end_in_time),
		cmocka_unit_test(handshakes_count_for_max_connections),
	};

	return cmocka_run_group_tests(tests, gates_set_up, good_files_close);
}
