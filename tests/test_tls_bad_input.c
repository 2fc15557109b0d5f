/* SPDX-License-Identifier: MIT */
/*
 * What should not come, seen by a whole server or client with TLS: other
 * protocols, floods, streams that are cut, and files that are no use. Each has a
 * code, and a sentence that says what to do.
 */
#include "support/certs.h"
#include "support/lines.h"
#include "support/support.h"
#include "support/tls_dials.h"

#include <openssl/ssl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>

static struct cert authority, host;
static const char *trusted, *good_certificate, *good_key;

static int set_up(void **state)
{
	struct cert_spec of_authority = {.subject = "Test Authority", .authority = true};
	struct cert_spec of_host = {.names = "DNS:a.example,IP:127.0.0.1"};

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	certs_open();
	authority = cert_make(&of_authority, NULL);
	host = cert_make(&of_host, &authority);
	trusted = certs_write_chain("authority.pem", &authority, NULL);
	good_certificate = certs_write_chain("host.pem", &host, NULL);
	good_key = certs_write_key("host.key", &host);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	cert_free(&authority);
	cert_free(&host);
	certs_close();
	return 0;
}

/* A server with TLS that echoes. */
struct gate {
	struct probe *probe;
	sttcp_tls *tls;
	sttcp_server *server;
	int port;
};

static void say_goodbye(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	sttcp_conn_close(conn);
}

static void gate_open(struct gate *gate, const sttcp_options *options)
{
	sttcp_options with_tls = *options;

	gate->probe = probe_new();
	gate->probe->data = echo_data;
	gate->probe->end = say_goodbye;
	gate->tls = sttcp_tls_server(good_certificate, good_key);
	with_tls.tls = gate->tls;
	gate->server = probe_listen(gate->probe, &with_tls);
	gate->port = sttcp_server_port(gate->server);
}

static int64_t tls_failed(const struct gate *gate)
{
	sttcp_stats stats;

	assert_int_equal(sttcp_server_stats(gate->server, &stats, sizeof(stats)), 0);
	return stats.tls_failed;
}

/* Whatever has happened, the next one is served. */
static void expect_service(const struct gate *gate)
{
	SSL_CTX *context = tls_dial_context(trusted, 0);
	struct tls_dial dial;

	if (!tls_dial(&dial, context, gate->port, "a.example"))
		fail_msg("the next one is not served: %s", tls_dial_why());
	assert_true(tls_dial_is_answered(&dial));
	assert_true(tls_dial_finish(&dial));
	assert_true(tls_dial_hears_the_end(&dial));
	tls_dial_close(&dial);
	SSL_CTX_free(context);
}

static void gate_close(struct gate *gate)
{
	sttcp_server_free(gate->server);
	sttcp_tls_unref(gate->tls);
	probe_free(gate->probe);
}

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

/* ------------------------------------------------------------------------- cuts */

/* A whole visit. Of what it says only so many records leave; then comes a FIN. */
static void visit(struct tls_dial *dial)
{
	(void)(tls_dial_shake(dial) && tls_dial_is_answered(dial) && tls_dial_finish(dial));
	peer_shutdown(dial->fd);
	peer_end(dial->fd);
}

static int records_of_visit(SSL_CTX *context, int port)
{
	struct tls_dial dial;

	assert_true(tls_dial_begin(&dial, context, peer_connect(port), "a.example"));
	visit(&dial);

	int records = dial.records;

	tls_dial_close(&dial);
	return records;
}

static void cut_visit(SSL_CTX *context, const struct gate *gate, int most, bool torn)
{
	struct tls_dial dial;

	assert_true(tls_dial_begin(&dial, context, peer_connect(gate->port), "a.example"));
	dial.most = most;
	dial.torn = torn;
	visit(&dial);
	tls_dial_close(&dial);
}

/* Behind each record, and in each: the server never takes it for an orderly end. */
static void a_cut_is_never_an_orderly_end_for_a_server(void **state)
{
	(void)state;
	for (int version = 12; version <= 13; version++) {
		SSL_CTX *context = tls_dial_context(trusted, version);
		struct gate gate;

		gate_open(&gate, STTCP_OPTIONS(.half_close = true));

		int records = records_of_visit(context, gate.port);
		long opened = 1;

		assert_true(probe_wait(gate.probe, STTCP_DISCONNECTION, 1));
		assert_int_equal(probe_count(gate.probe, STTCP_END), 1);
		for (int i = 1; i < 2 * records; i++) {
			int64_t failed = tls_failed(&gate);

			cut_visit(context, &gate, i / 2, i % 2 == 1);
			EVENTUALLY(tls_failed(&gate) > failed ||
				   probe_count(gate.probe, STTCP_DISCONNECTION) > opened);
			if (tls_failed(&gate) > failed)
				continue;
			opened++;
			assert_int_equal(probe_reason(gate.probe), STTCP_ECUT);
		}
		assert_int_equal(probe_count(gate.probe, STTCP_CONNECTION), opened);
		assert_int_equal(probe_count(gate.probe, STTCP_END), 1);
		/* Behind the handshake, in the data, behind them, and in the close_notify. */
		assert_true(opened >= 5);
		gate_close(&gate);
		SSL_CTX_free(context);
	}
}

/* A server that is cut after so many of its records, and our client. */
struct answer {
	SSL_CTX *context;
	int listener, port, most, records;
	bool torn;
	pthread_t thread;
};

static void *answer_one(void *argument)
{
	struct answer *answer = argument;
	struct tls_dial dial;
	char said[5];

	if (tls_answer_begin(&dial, answer->context, peer_accept(answer->listener))) {
		dial.most = answer->most;
		dial.torn = answer->torn;
		(void)(tls_dial_shake(&dial) && tls_dial_recv(&dial, said, sizeof(said)) &&
		       tls_dial_send(&dial, said, sizeof(said)) && tls_dial_finish(&dial));
		answer->records = dial.records;
		peer_shutdown(dial.fd);
		peer_end(dial.fd);
	}
	tls_dial_close(&dial);
	return NULL;
}

static bool say_hello(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	return sttcp_conn_send(conn, "hello", 5) == 0;
}

/* The reason of the client's end; whether it was open is in *opened. */
static int ask(struct answer *answer, bool *opened)
{
	struct probe *probe = probe_new();
	sttcp_tls *tls = sttcp_tls_client();

	probe->connection = say_hello;
	assert_int_equal(sttcp_tls_trust(tls, trusted), 0);
	assert_int_equal(pthread_create(&answer->thread, NULL, answer_one, answer), 0);

	sttcp_client *client =
		probe_dial(probe, answer->port, STTCP_OPTIONS(.tls = tls, .tls_name = "a.example"));
	int reason = sttcp_client_wait(client, DEADLINE_MS);

	*opened = probe_count(probe, STTCP_CONNECTION) == 1;
	assert_int_equal(probe_count(probe, STTCP_DISCONNECTION), *opened);
	sttcp_client_free(client);
	pthread_join(answer->thread, NULL);
	sttcp_tls_unref(tls);
	probe_free(probe);
	return reason;
}

static void a_cut_is_never_an_orderly_end_for_a_client(void **state)
{
	(void)state;
	for (int version = 12; version <= 13; version++) {
		struct answer answer = {
			.context = tls_answer_context(good_certificate, good_key, version),
			.most = ALL_RECORDS};
		bool opened;

		answer.listener = peer_listen(&answer.port, 4);
		assert_int_equal(ask(&answer, &opened), 0);

		int records = answer.records, cuts = 0;

		assert_true(records >= 4);
		for (int i = 0; i < 2 * records; i++) {
			answer.most = i / 2;
			answer.torn = i % 2 == 1;

			int reason = ask(&answer, &opened);

			if (opened)
				assert_int_equal(reason, STTCP_ECUT);
			else
				assert_true(reason == STTCP_ECUT || reason == STTCP_ETLS);
			cuts += opened;
		}
		assert_true(cuts >= 2);
		peer_close(answer.listener);
		SSL_CTX_free(answer.context);
	}
}

/* ------------------------------------------------------------------------ files */

static void expect_words(const char *text, const char *words)
{
	if (!strstr(text, words))
		fail_msg("\"%s\" does not say \"%s\"", text, words);
}

/* The start says it, with the file's name, and nobody listens; set right, it starts. */
static void expect_no_start(const char *certificate, const char *key, int code, const char *file,
			    const char *words)
{
	sttcp_tls *tls = sttcp_tls_server(certificate, key);
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, STTCP_OPTIONS(.tls = tls));

	for (int i = 0; i < 2; i++) {
		assert_int_equal(sttcp_server_start(server), code);
		expect_words(sttcp_server_error(server), file);
		expect_words(sttcp_server_error(server), words);
		expect_words(sttcp_server_error(server), sttcp_tls_error(tls));
	}
	sttcp_server_free(server);
	sttcp_tls_unref(tls);
}

static void files_that_are_no_use_are_told_by_the_start(void **state)
{
	const char *missing = certs_path("missing.pem");
	const char *empty = certs_write_text("empty.pem", "");
	const char *directory = certs_path("directory");
	const char *encrypted = certs_write_encrypted_key("encrypted.key", &host);
	const char *other = certs_write_key("other.key", &authority);
	const char *secret = certs_write_key("secret.key", &host);

	(void)state;
	assert_int_equal(mkdir(directory, 0700), 0);
	assert_int_equal(chmod(secret, 0), 0);
	expect_no_start(missing, good_key, -ENOENT, missing, "No such file");
	expect_no_start(good_certificate, missing, -ENOENT, missing, "No such file");
	expect_no_start("", good_key, -ENOENT, "a file without a name", "No such file");
	expect_no_start(empty, good_key, -EINVAL, empty, "contains no certificate");
	expect_no_start(good_certificate, empty, -EINVAL, empty, "contains no private key");
	expect_no_start(directory, good_key, -EISDIR, directory, "directory");
	expect_no_start(good_certificate, directory, -EISDIR, directory, "directory");
	expect_no_start(good_certificate, encrypted, -EINVAL, encrypted, "decrypt it");
	expect_no_start(good_certificate, other, -EINVAL, other, "does not fit");
	if (geteuid() != 0) /* root reads everything */
		expect_no_start(good_certificate, secret, -EACCES, secret, "Permission denied");
}

/* What was wrong is set right in the file, and the same objects do. */
static void a_start_after_the_file_was_mended_is_fine(void **state)
{
	const char *file = certs_write_text("mended.pem", "");
	struct probe *probe = probe_new();
	struct gate gate = {.probe = probe};

	(void)state;
	probe->data = echo_data;
	gate.tls = sttcp_tls_server(file, good_key);
	gate.server = probe_server(probe, "127.0.0.1", 0, STTCP_OPTIONS(.tls = gate.tls));
	assert_int_equal(sttcp_server_start(gate.server), -EINVAL);
	certs_write_chain("mended.pem", &host, NULL);
	assert_int_equal(sttcp_server_start(gate.server), 0);
	assert_string_equal(sttcp_server_error(gate.server), "");
	assert_string_equal(sttcp_tls_error(gate.tls), "");
	gate.port = sttcp_server_port(gate.server);
	expect_service(&gate);
	gate_close(&gate);
}

static void a_client_tells_files_that_are_no_use(void **state)
{
	const char *missing = certs_path("missing.pem");
	sttcp_tls *tls = sttcp_tls_client();
	sttcp_client *client = sttcp_client_new("127.0.0.1", 1, STTCP_OPTIONS(.tls = tls));

	(void)state;
	assert_int_equal(sttcp_tls_trust(tls, missing), -ENOENT);
	assert_int_equal(sttcp_client_start(client), -ENOENT);
	expect_words(sttcp_client_error(client), missing);
	sttcp_client_free(client);
	sttcp_tls_unref(tls);

	tls = sttcp_tls_client();
	client = sttcp_client_new("127.0.0.1", 1, STTCP_OPTIONS(.tls = tls));
	assert_int_equal(sttcp_tls_set_certificate(tls, good_certificate,
						   certs_write_key("other.key", &authority)),
			 -EINVAL);
	assert_int_equal(sttcp_client_start(client), -EINVAL);
	expect_words(sttcp_client_error(client), "does not fit");
	sttcp_client_free(client);
	sttcp_tls_unref(tls);
}

/* The kind of the object says who begins: the other kind would wait for ever. */
static void an_object_of_the_other_kind_is_refused(void **state)
{
	sttcp_tls *of_server = sttcp_tls_server(good_certificate, good_key);
	sttcp_tls *of_client = sttcp_tls_client();
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, STTCP_OPTIONS(.tls = of_client));
	sttcp_client *client = sttcp_client_new("127.0.0.1", 1, STTCP_OPTIONS(.tls = of_server));

	(void)state;
	assert_int_equal(sttcp_server_start(server), -EINVAL);
	expect_words(sttcp_server_error(server), "tls");
	assert_int_equal(sttcp_client_start(client), -EINVAL);
	expect_words(sttcp_client_error(client), "tls");
	sttcp_server_free(server);
	sttcp_client_free(client);
	sttcp_tls_unref(of_server);
	sttcp_tls_unref(of_client);
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
		cmocka_unit_test(a_cut_is_never_an_orderly_end_for_a_server),
		cmocka_unit_test(a_cut_is_never_an_orderly_end_for_a_client),
		cmocka_unit_test(files_that_are_no_use_are_told_by_the_start),
		cmocka_unit_test(a_start_after_the_file_was_mended_is_fine),
		cmocka_unit_test(a_client_tells_files_that_are_no_use),
		cmocka_unit_test(an_object_of_the_other_kind_is_refused),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
