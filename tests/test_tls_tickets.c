/* SPDX-License-Identifier: MIT */
/* When a server's tickets leave (RFC 8446, 4.6.1): with its first answer if there is one at once,
 * else as soon as nothing more is going on. No peer waits for them, and none may end by them. */
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>

#include "support/support.h"
#include "support/tls_pairs.h"
#include "support/tls_stage.h"
#include "tls/inner.h"

enum {
	TICKETS = 2, /* SSL_CTX_set_num_tickets(3) */
	NOTE = 8
};

/* ------------------------------------------------------------------- of a session */

/* The handshake, but for what the server's last step leaves. */
static void agree(struct tls_pair *pair)
{
	tls_pair_open(pair, stage_shared_server(), stage_shared_client(), "localhost", NULL);
	while (pair->server.result == -EAGAIN) {
		pair->client.result = stt_tls_handshake(pair->client.session);
		stt_tls_flush(pair->client.session);
		pair->server.result = stt_tls_handshake(pair->server.session);
		if (pair->server.result == -EAGAIN)
			stt_tls_flush(pair->server.session);
	}
	assert_int_equal(pair->server.result, 0);
	assert_int_equal(pair->client.result, 0);
}

static void a_small_answer_takes_them_along(void **state)
{
	struct tls_pair pair;

	(void)state;
	agree(&pair);
	assert_true(stt_tls_is_held(pair.server.session));
	size_t tickets = stt_tls_rest(pair.server.session);
	long before = pair.to_client.writes;

	assert_true(tickets > 0);
	assert_int_equal(tls_send(&pair.server, "answer", 6), 6);
	assert_int_equal(pair.to_client.writes, before + 1);
	assert_true(pair.to_client.size > tickets + 6);
	assert_int_equal(stt_tls_rest(pair.server.session), 0);
	assert_false(stt_tls_is_held(pair.server.session));

	char got[16];
	ssize_t end;

	assert_int_equal(tls_drain(&pair.client, got, sizeof(got), &end), 6);
	assert_memory_equal(got, "answer", 6);
	/* And the next one is a send as ever. */
	tls_expect_passage(&pair.server, &pair.client, 100);
	assert_int_equal(pair.to_client.writes, before + 2);
	tls_pair_close(&pair);
}

static void a_large_answer_follows_them(void **state)
{
	struct tls_pair pair;

	(void)state;
	agree(&pair);
	long before = pair.to_client.writes;

	tls_expect_passage(&pair.server, &pair.client, 100 * 1000);
	assert_true(pair.to_client.writes > before + 1);
	tls_pair_close(&pair);
}

/* A wire that takes a part: nothing is lost, and the answer counts as plain bytes. */
static void a_full_wire_takes_them_in_pieces(void **state)
{
	struct tls_pair pair;
	char got[16];
	ssize_t end;

	(void)state;
	agree(&pair);
	pair.to_client.room = pair.to_client.size + 10;
	assert_int_equal(tls_send(&pair.server, "answer", 6), 6);
	assert_true(pair.server.session->has_plain);
	assert_int_equal(stt_tls_flush(pair.server.session), -EAGAIN);
	pair.to_client.room = 0;
	assert_int_equal(stt_tls_flush(pair.server.session), 0);
	assert_int_equal(tls_drain(&pair.client, got, sizeof(got), &end), 6);
	assert_memory_equal(got, "answer", 6);
	tls_pair_close(&pair);
}

/* In TLS 1.2 the last flight has what the client waits for, and a client has no tickets. */
static void nothing_else_is_held(void **state)
{
	struct tls_pair pair;

	(void)state;
	sttcp_tls *old = stage_server();

	assert_int_equal(sttcp_tls_set_versions(old, 12, 12), 0);
	tls_pair_open(&pair, old, stage_shared_client(), "localhost", NULL);
	while (pair.client.result == -EAGAIN) {
		pair.client.result = stt_tls_handshake(pair.client.session);
		stt_tls_flush(pair.client.session);
		pair.server.result = stt_tls_handshake(pair.server.session);
		assert_false(stt_tls_is_held(pair.server.session));
		stt_tls_flush(pair.server.session);
	}
	assert_false(stt_tls_is_held(pair.client.session));
	tls_pair_close(&pair);
	agree(&pair);
	assert_false(stt_tls_is_held(pair.client.session));
	tls_pair_close(&pair);
	sttcp_tls_unref(old);
}

/* ---------------------------------------------------------------- of a connection */

static _Atomic int tickets_seen;

static int note_ticket(SSL *ssl, SSL_SESSION *session)
{
	(void)ssl;
	(void)session;
	atomic_fetch_add(&tickets_seen, 1);
	return 0;
}

/* Whether both have come, while the server says nothing. */
static bool sees_tickets(struct tls_peer *peer)
{
	char byte;

	SSL_peek(peer->ssl, &byte, 1);
	return atomic_load(&tickets_seen) == TICKETS;
}

static void prepare_peer(struct tls_peer *peer, sttcp_server *server)
{
	atomic_store(&tickets_seen, 0);
	tls_peer_prepare(peer, sttcp_server_port(server), TLS1_3_VERSION);
	SSL_CTX_set_session_cache_mode(peer->context, SSL_SESS_CACHE_CLIENT);
	SSL_CTX_sess_set_new_cb(peer->context, note_ticket);
}

/* A look for more returns soon. */
static void read_within(struct tls_peer *peer, int ms)
{
	struct timeval limit = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	assert_int_equal(setsockopt(peer->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
}

static void be_quick(struct tls_peer *peer)
{
	read_within(peer, 10);
}

static void open_peer(struct tls_peer *peer, sttcp_server *server)
{
	prepare_peer(peer, server);
	assert_true(tls_peer_shake(peer));
	be_quick(peer);
}

/* Both come to one that has said `text`, and gets no answer. */
static void expect_tickets(struct probe *probe, const sttcp_options *options, const char *text)
{
	struct tls_peer peer;
	sttcp_server *server = probe_listen(probe, options);

	open_peer(&peer, server);
	assert_true(tls_peer_say(&peer, text));
	EVENTUALLY(sees_tickets(&peer));
	tls_peer_close(&peer);
	sttcp_server_free(server);
}

static bool take(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	(void)conn;
	(void)data;
	(void)size;
	return true;
}

static void a_silent_server_gives_them(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		struct probe *probe = probe_new();

		probe->data = i ? take : NULL;
		expect_tickets(
			probe,
			STTCP_OPTIONS(.tls = stage_shared_server(),
				      .framing = i == 2 ? STTCP_FRAMING_LINE : STTCP_FRAMING_RAW),
			i ? "text without an end" : "");
		probe_free(probe);
	}
}

/* A dialogue that waits in its connection handler for more than has come. */
static bool wait_for_note(struct probe *probe, sttcp_conn *conn)
{
	char note[NOTE];

	(void)probe;
	return sttcp_conn_recv_exactly(conn, note, NOTE, -1) == NOTE;
}

static void a_handler_that_waits_gives_them(void **state)
{
	(void)state;
	for (int fibers = 0; fibers < 2; fibers++) {
		struct probe *probe = probe_new();

		probe->connection = wait_for_note;
		const sttcp_options *options =
			STTCP_OPTIONS(.tls = stage_shared_server(), .fibers = fibers);

		expect_tickets(probe, options, "");
		expect_tickets(probe, options, "part");
		probe_free(probe);
	}
}

static bool leave_at_once(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	(void)conn;
	return false;
}

static void one_that_ends_at_once_gives_them(void **state)
{
	struct probe *probe = probe_new();
	struct tls_peer peer;

	(void)state;
	probe->connection = leave_at_once;
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.tls = stage_shared_server()));

	open_peer(&peer, server);
	EVENTUALLY(sees_tickets(&peer));
	read_within(&peer, DEADLINE_MS);
	assert_int_equal(tls_peer_end(&peer), 0);
	tls_peer_close(&peer);
	sttcp_server_free(server);
	probe_free(probe);
}

/* Its last message of the handshake and `said` are one send. */
static void open_and_say(struct tls_peer *peer, sttcp_server *server, const void *said, size_t size)
{
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
	char flight[4096], *bytes;

	prepare_peer(peer, server);
	SSL_set_bio(peer->ssl, in, out);
	while (!tls_peer_shake(peer)) {
		long sent = BIO_get_mem_data(out, &bytes);

		assert_true(peer_send(peer->fd, bytes, (size_t)sent));
		(void)BIO_reset(out);
		ssize_t got = recv(peer->fd, flight, sizeof(flight), 0);

		assert_true(got > 0);
		BIO_write(in, flight, (int)got);
	}
	assert_true(tls_peer_send(peer, said, size));
	long last = BIO_get_mem_data(out, &bytes);

	assert_true(peer_send(peer->fd, bytes, (size_t)last));
	SSL_set_fd(peer->ssl, peer->fd);
}

/* tcp(7): TCP_INFO. */
static unsigned data_segments(const struct tls_peer *peer)
{
	struct tcp_info info = {0};
	socklen_t size = sizeof(info);

	assert_int_equal(getsockopt(peer->fd, IPPROTO_TCP, TCP_INFO, &info, &size), 0);
	return info.tcpi_data_segs_in;
}

static void the_answer_to_what_follows_has_them_in_its_segment(void **state)
{
	struct probe *probe = probe_new();
	struct tls_peer peer;

	(void)state;
	probe->data = echo_data;
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.tls = stage_shared_server()));

	open_and_say(&peer, server, "hello", 5);
	assert_true(tls_peer_expect(&peer, "hello"));
	assert_int_equal(atomic_load(&tickets_seen), TICKETS);
	/* The server's first flight, and this. */
	assert_int_equal(data_segments(&peer), 2);
	tls_peer_close(&peer);
	sttcp_server_free(server);
	probe_free(probe);
}

static void one_that_takes_what_follows_and_says_nothing_gives_them(void **state)
{
	struct tls_peer peer;

	(void)state;
	for (int framing = STTCP_FRAMING_RAW; framing <= STTCP_FRAMING_LINE; framing++) {
		struct probe *probe = probe_new();

		probe->data = take;
		sttcp_server *server = probe_listen(
			probe, STTCP_OPTIONS(.tls = stage_shared_server(), .framing = framing));

		open_and_say(&peer, server, "line\npart", 9);
		be_quick(&peer);
		EVENTUALLY(sees_tickets(&peer));
		tls_peer_close(&peer);
		sttcp_server_free(server);
		probe_free(probe);
	}
}

static struct event may_end = EVENT_INIT;
static atomic_bool blocks;

static bool block(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	(void)conn;
	atomic_store(&blocks, true);
	event_wait(&may_end, 1);
	atomic_store(&blocks, false);
	return true;
}

static bool block_with_data(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)data;
	(void)size;
	return block(probe, conn);
}

/* In something that is none of the library's, for as long as it likes. A browser opens further
 * connections meanwhile, which want to resume. */
static void a_handler_that_blocks_gives_them(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		struct event fresh = EVENT_INIT;
		struct probe *probe = probe_new();
		struct tls_peer peer;

		may_end = fresh;
		if (i == 0)
			probe->connection = block;
		else
			probe->data = block_with_data;
		sttcp_server *server =
			probe_listen(probe, STTCP_OPTIONS(.tls = stage_shared_server(),
							  .framing = i == 2 ? STTCP_FRAMING_LINE
									    : STTCP_FRAMING_RAW));

		open_and_say(&peer, server, "a\nb\n", 4);
		be_quick(&peer);
		EVENTUALLY(atomic_load(&blocks));
		EVENTUALLY(sees_tickets(&peer));
		assert_true(atomic_load(&blocks));
		event_raise(&may_end);
		tls_peer_close(&peer);
		sttcp_server_free(server);
		probe_free(probe);
	}
}

static struct event pauses = EVENT_INIT;

/* Both ways, which is not told once only. */
static bool is_gone(sttcp_conn *conn)
{
	struct pollfd look = {.fd = sttcp_conn_fd(conn)};

	return poll(&look, 1, 0) == 1 && look.revents & POLLHUP;
}

static bool pause_until_it_is_gone(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	sttcp_conn_pause(conn);
	event_raise(&pauses);
	for (int64_t until = now_ms() + DEADLINE_MS; !is_gone(conn) && now_ms() < until;)
		sched_yield();
	return true;
}

/* The kernel tells a failure once: here to the tickets, of which nobody has to hear. */
static void a_paused_connection_ends_though_they_were_told(void **state)
{
	struct probe *probe = probe_new();
	struct tls_peer peer;

	(void)state;
	probe->connection = pause_until_it_is_gone;
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.tls = stage_shared_server()));

	open_peer(&peer, server);
	assert_true(event_wait(&pauses, 1));
	peer_reset(peer.fd);
	peer.fd = -1;
	tls_peer_close(&peer);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(probe), -ECONNRESET);
	sttcp_server_free(server);
	probe_free(probe);
}

static bool answer(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	return sttcp_conn_send_message(conn, data, size) == 0;
}

/* More than a turn's share of messages stands behind the handshake: none is lost, and they come
 * in order. */
static void what_follows_the_handshake_at_once_is_all_taken(void **state)
{
	enum {
		LINES = 2000
	};
	static char said[LINES * 6 + 1], got[LINES * 6];
	struct probe *probe = probe_new();
	struct tls_peer peer;

	(void)state;
	for (int i = 0; i < LINES; i++)
		snprintf(said + 6 * i, 7, "%05d\n", i);
	probe->data = answer;
	sttcp_server *server = probe_listen(
		probe, STTCP_OPTIONS(.tls = stage_shared_server(), .framing = STTCP_FRAMING_LINE));

	open_and_say(&peer, server, said, sizeof(said) - 1);
	assert_true(tls_peer_recv(&peer, got, sizeof(got)));
	assert_memory_equal(got, said, sizeof(got));
	tls_peer_close(&peer);
	sttcp_server_free(server);
	probe_free(probe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_small_answer_takes_them_along),
		cmocka_unit_test(a_large_answer_follows_them),
		cmocka_unit_test(a_full_wire_takes_them_in_pieces),
		cmocka_unit_test(nothing_else_is_held),
		cmocka_unit_test(a_silent_server_gives_them),
		cmocka_unit_test(a_handler_that_waits_gives_them),
		cmocka_unit_test(a_handler_that_blocks_gives_them),
		cmocka_unit_test(a_paused_connection_ends_though_they_were_told),
		cmocka_unit_test(one_that_ends_at_once_gives_them),
		cmocka_unit_test(the_answer_to_what_follows_has_them_in_its_segment),
		cmocka_unit_test(one_that_takes_what_follows_and_says_nothing_gives_them),
		cmocka_unit_test(what_follows_the_handshake_at_once_is_all_taken),
	};

	return cmocka_run_group_tests(tests, stage_open, stage_close);
}
