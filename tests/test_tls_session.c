/* SPDX-License-Identifier: MIT */
/* Two sessions of TLS over memory: handshake, bytes in both directions, the rest, and the ends,
 * with a wire that moves any number of bytes at a time. */
#include "support/certs.h"
#include "support/support.h"
#include "support/tls_pairs.h"

#include <openssl/err.h>

#include "tls/inner.h"

static struct cert authority;
static struct cert host;
static struct sttcp_tls *server;
static struct sttcp_tls *client;

static int set_up(void **state)
{
	struct cert_spec of_authority = {.subject = "Test Authority", .authority = true};
	struct cert_spec of_host = {.names = "DNS:a.example"};

	(void)state;
	certs_open();
	authority = cert_make(&of_authority, NULL);
	host = cert_make(&of_host, &authority);
	server = stt_tls_new_server(certs_write_chain("host.pem", &host, NULL),
				    certs_write_key("host.key", &host));
	client = stt_tls_new_client();
	assert_string_equal(stt_tls_error(server), "");
	assert_int_equal(
		stt_tls_trust(client, certs_write_chain("authority.pem", &authority, NULL)), 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	stt_tls_unref(server);
	stt_tls_unref(client);
	cert_free(&authority);
	cert_free(&host);
	certs_close();
	return 0;
}

static void open_pair(struct tls_pair *pair)
{
	tls_pair_open(pair, server, client, "a.example", NULL);
}

static void agree(struct tls_pair *pair)
{
	open_pair(pair);
	tls_pair_agree(pair);
}

/* ------------------------------------------------------------------------ bytes */

static void bytes_of_any_number_pass(void **state)
{
	static const size_t sizes[] = {1, 64, 1024, 1025, 16384, 16385, 65536, 65537, 300000};
	struct tls_pair pair;

	(void)state;
	agree(&pair);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		tls_expect_passage(&pair.client, &pair.server, sizes[i]);
		tls_expect_passage(&pair.server, &pair.client, sizes[i]);
	}
	tls_pair_close(&pair);
}

/* A hello in single bytes, a record header that is split: wherever the wire cuts. */
static void every_cut_of_the_wire_is_fine(void **state)
{
	static const size_t steps[] = {1, 2, 3, 5, 7, 100, 1000};

	(void)state;
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		struct tls_pair pair;

		open_pair(&pair);
		pair.to_client.step = pair.to_server.step = steps[i];
		tls_pair_agree(&pair);
		tls_expect_passage(&pair.client, &pair.server, 20000);
		tls_expect_passage(&pair.server, &pair.client, 20000);
		tls_pair_close(&pair);
	}
}

/* Wires of little room: there is always a rest. */
static void a_narrow_wire_loses_nothing(void **state)
{
	static const size_t rooms[] = {1, 100, 5000, 16406};

	(void)state;
	for (size_t i = 0; i < sizeof(rooms) / sizeof(rooms[0]); i++) {
		struct tls_pair pair;

		open_pair(&pair);
		pair.to_client.room = pair.to_server.room = rooms[i];
		tls_pair_agree(&pair);
		tls_expect_passage(&pair.server, &pair.client, 100000);
		tls_pair_close(&pair);
	}
}

static void four_records_leave_in_one_send(void **state)
{
	static unsigned char data[STT_TLS_BATCH + 1];
	struct iovec part = {.iov_base = data, .iov_len = sizeof(data)};
	struct tls_pair pair;
	long before;

	(void)state;
	agree(&pair);
	before = pair.to_client.writes;
	assert_int_equal(stt_tls_send(pair.server.session, &part, 1), STT_TLS_BATCH);
	assert_int_equal(pair.to_client.writes - before, 1);
	assert_int_equal(stt_tls_rest(pair.server.session), 0);
	tls_pair_close(&pair);
}

/* Small parts would else be a record each, of 22 bytes more and a system call's worth of time. */
static void parts_are_gathered_into_one_record(void **state)
{
	static unsigned char got[4096];
	struct iovec parts[100];
	struct tls_pair pair;
	size_t before;
	ssize_t end;

	(void)state;
	agree(&pair);
	for (int i = 0; i < 100; i++)
		parts[i] = (struct iovec){i % 3 ? "0123456789" : NULL, i % 3 ? 10 : 0};
	before = pair.to_client.total;
	assert_int_equal(stt_tls_send(pair.server.session, parts, 100), 660);
	assert_true(pair.to_client.total - before < 700);
	assert_int_equal(tls_drain(&pair.client, got, sizeof(got), &end), 660);
	for (size_t i = 0; i < 660; i++)
		assert_int_equal(got[i], '0' + i % 10);
	tls_pair_close(&pair);
}

static void large_parts_and_small_ones_keep_their_order(void **state)
{
	static unsigned char data[70000], got[70000];
	struct iovec parts[] = {{data, 3},
				{data + 3, 20000},
				{data + 20003, 0},
				{data + 20003, 16384},
				{data + 36387, 33613}};
	struct tls_pair pair;
	ssize_t end, taken;

	(void)state;
	fill_pattern(data, sizeof(data), 7);
	agree(&pair);
	taken = stt_tls_send(pair.server.session, parts, 5);
	assert_int_equal(taken, STT_TLS_BATCH);
	assert_int_equal(tls_drain(&pair.client, got, sizeof(got), &end), taken);
	assert_memory_equal(got, data, (size_t)taken);
	tls_pair_close(&pair);
}

static void an_empty_send_makes_no_record(void **state)
{
	struct iovec part = {.iov_base = NULL, .iov_len = 0};
	struct tls_pair pair;
	size_t before;

	(void)state;
	agree(&pair);
	before = pair.to_client.total;
	assert_int_equal(stt_tls_send(pair.server.session, &part, 1), 0);
	assert_int_equal(stt_tls_send(pair.server.session, NULL, 0), 0);
	assert_int_equal(pair.to_client.total, before);
	tls_pair_close(&pair);
}

/* --------------------------------------------------------------------- the rest */

static void the_rest_is_one_batch_and_leaves_before_more(void **state)
{
	static unsigned char data[200000];
	struct iovec part = {.iov_base = data, .iov_len = sizeof(data)};
	struct tls_pair pair;
	uint64_t moved;

	(void)state;
	agree(&pair);
	pair.to_client.room = pair.to_client.size + 10;
	moved = stt_tls_moved(pair.server.session);
	assert_int_equal(stt_tls_send(pair.server.session, &part, 1), STT_TLS_BATCH);
	assert_true(stt_tls_rest(pair.server.session) < STT_TLS_BATCH + 200);
	assert_int_equal(stt_tls_moved(pair.server.session) - moved, 10);
	assert_int_equal(stt_tls_send(pair.server.session, &part, 1), -EAGAIN);
	assert_int_equal(stt_tls_flush(pair.server.session), -EAGAIN);
	pair.to_client.room += 100;
	assert_int_equal(stt_tls_flush(pair.server.session), -EAGAIN);
	assert_int_equal(stt_tls_moved(pair.server.session) - moved, 110);
	pair.to_client.room = 0;
	assert_int_equal(stt_tls_flush(pair.server.session), 0);
	assert_int_equal(stt_tls_rest(pair.server.session), 0);
	tls_pair_close(&pair);
}

/* Whatever is sent at the moment of a full wire goes out again as it was: SSL_write never sees it.
 */
static void a_send_after_a_full_wire_may_be_another(void **state)
{
	static unsigned char got[20];
	struct iovec one = {.iov_base = "one", .iov_len = 3};
	struct iovec other = {.iov_base = "another", .iov_len = 7};
	struct tls_pair pair;
	ssize_t end;

	(void)state;
	agree(&pair);
	pair.to_server.room = pair.to_server.size + 1;
	assert_int_equal(stt_tls_send(pair.client.session, &one, 1), 3);
	assert_int_equal(stt_tls_send(pair.client.session, &other, 1), -EAGAIN);
	pair.to_server.room = 0;
	assert_int_equal(stt_tls_send(pair.client.session, &other, 1), 7);
	assert_int_equal(tls_drain(&pair.server, got, sizeof(got), &end), 10);
	assert_memory_equal(got, "oneanother", 10);
	tls_pair_close(&pair);
}

static void the_wires_failure_is_told_by_the_send(void **state)
{
	struct iovec part = {.iov_base = "lost", .iov_len = 4};
	struct tls_pair pair;

	(void)state;
	agree(&pair);
	pair.to_client.refuses = -EPIPE;
	assert_int_equal(stt_tls_send(pair.server.session, &part, 1), -EPIPE);
	assert_int_equal(stt_tls_send(pair.server.session, &part, 1), -EPIPE);
	assert_int_equal(stt_tls_rest(pair.server.session), 0);
	tls_pair_close(&pair);
}

/* A peer that sends and closes before it has read the tickets: they cannot be sent, and what it
 * said must arrive. */
static void a_peer_that_is_gone_is_still_read(void **state)
{
	unsigned char got[20];
	struct tls_pair pair;
	ssize_t end;

	(void)state;
	open_pair(&pair);
	assert_int_equal(stt_tls_handshake(pair.client.session), -EAGAIN);
	assert_int_equal(stt_tls_flush(pair.client.session), 0);
	assert_int_equal(stt_tls_handshake(pair.server.session), -EAGAIN);
	assert_int_equal(stt_tls_flush(pair.server.session), 0);
	assert_int_equal(stt_tls_handshake(pair.client.session), 0);
	assert_int_equal(stt_tls_flush(pair.client.session), 0);
	assert_int_equal(tls_send(&pair.client, "last words", 10), 10);
	stt_tls_finish(pair.client.session);
	assert_int_equal(stt_tls_flush(pair.client.session), 0);
	pair.to_server.fin = true;
	pair.to_client.refuses = -EPIPE;
	assert_int_equal(stt_tls_handshake(pair.server.session), 0);
	assert_true(stt_tls_rest(pair.server.session) > 0);
	assert_int_equal(stt_tls_flush(pair.server.session), 0);
	assert_true(stt_tls_has_input(pair.server.session));
	assert_int_equal(tls_drain(&pair.server, got, sizeof(got), &end), 10);
	assert_int_equal(end, 0);
	assert_int_equal(stt_tls_send(pair.server.session,
				      &(struct iovec){.iov_base = "x", .iov_len = 1}, 1),
			 -EPIPE);
	tls_pair_close(&pair);
}

/* ---------------------------------------------------------------------- emptied */

static void a_short_read_is_the_last_call_of_the_wire(void **state)
{
	unsigned char got[100];
	struct tls_pair pair;
	bool emptied;
	int budget = 100;
	long before;

	(void)state;
	agree(&pair);
	assert_int_equal(tls_send(&pair.client, "hello", 5), 5);
	before = pair.to_server.reads;
	assert_int_equal(stt_tls_recv(pair.server.session, got, sizeof(got), &emptied, &budget), 5);
	assert_true(emptied);
	assert_int_equal(pair.to_server.reads - before, 1);
	assert_false(stt_tls_has_input(pair.server.session));
	tls_pair_close(&pair);
}

/* Records that are in OpenSSL's buffer, behind the one that is read: SSL_pending knows nothing of
 * them, and no event comes. */
static void records_in_the_buffer_are_not_emptied(void **state)
{
	unsigned char got[100];
	struct tls_pair pair;
	bool emptied;
	int budget = 100;

	(void)state;
	agree(&pair);
	for (int i = 0; i < 3; i++)
		assert_int_equal(tls_send(&pair.client, "four", 4), 4);
	/* One record's worth of room. */
	assert_int_equal(stt_tls_recv(pair.server.session, got, 4, &emptied, &budget), 4);
	assert_false(emptied);
	assert_true(stt_tls_has_input(pair.server.session));
	assert_int_equal(pair.to_server.size, 0);
	assert_int_equal(stt_tls_recv(pair.server.session, got, 2, &emptied, &budget), 2);
	assert_false(emptied);
	assert_int_equal(stt_tls_recv(pair.server.session, got, sizeof(got), &emptied, &budget), 6);
	assert_true(emptied);
	tls_pair_close(&pair);
}

static void a_read_takes_several_records(void **state)
{
	static unsigned char data[50000], got[60000];
	struct tls_pair pair;
	bool emptied;
	int budget = 100;

	(void)state;
	agree(&pair);
	assert_int_equal(tls_send(&pair.client, data, sizeof(data)), sizeof(data));
	assert_int_equal(stt_tls_recv(pair.server.session, got, sizeof(got), &emptied, &budget),
			 sizeof(data));
	assert_true(emptied);
	tls_pair_close(&pair);
}

/* What came with the last message of the handshake is in the buffer, and makes no event. */
static void a_handshake_leaves_input_to_be_read(void **state)
{
	unsigned char got[20];
	struct tls_pair pair;
	ssize_t end;

	(void)state;
	open_pair(&pair);
	stt_tls_handshake(pair.client.session);
	stt_tls_flush(pair.client.session);
	stt_tls_handshake(pair.server.session);
	stt_tls_flush(pair.server.session);
	assert_int_equal(stt_tls_handshake(pair.client.session), 0);
	stt_tls_flush(pair.client.session);
	assert_int_equal(tls_send(&pair.client, "at once", 7), 7);
	assert_int_equal(stt_tls_handshake(pair.server.session), 0);
	assert_int_equal(pair.to_server.size, 0);
	assert_true(stt_tls_has_input(pair.server.session));
	assert_int_equal(tls_drain(&pair.server, got, sizeof(got), &end), 7);
	tls_pair_close(&pair);
}

/* ----------------------------------------------------------------------- budget */

static void each_record_takes_of_the_budget(void **state)
{
	unsigned char got[100];
	struct tls_pair pair;
	bool emptied;
	int budget = 3;

	(void)state;
	agree(&pair);
	for (int i = 0; i < 5; i++)
		assert_int_equal(tls_send(&pair.client, "x", 1), 1);
	assert_int_equal(stt_tls_recv(pair.server.session, got, sizeof(got), &emptied, &budget), 3);
	assert_false(emptied);
	assert_int_equal(budget, 0);
	assert_true(stt_tls_has_input(pair.server.session));
	tls_pair_close(&pair);
}

static void ask_for_key_updates(struct tls_side *side, int count)
{
	for (int i = 0; i < count; i++) {
		assert_int_equal(SSL_key_update(side->session->ssl, SSL_KEY_UPDATE_REQUESTED), 1);
		assert_int_equal(SSL_do_handshake(side->session->ssl), 1);
	}
	assert_int_equal(stt_tls_flush(side->session), 0);
}

/* A flood of key updates that never ends must not keep the thread that reads. */
static void a_flood_of_key_updates_comes_back(void **state)
{
	unsigned char got[100];
	struct tls_pair pair;
	bool emptied;
	int calls = 0;

	(void)state;
	agree(&pair);
	ask_for_key_updates(&pair.client, 5000);
	do {
		int budget = 64;

		assert_int_equal(
			stt_tls_recv(pair.server.session, got, sizeof(got), &emptied, &budget),
			-EAGAIN);
		assert_int_equal(stt_tls_flush(pair.server.session), 0);
		calls++;
	} while (!emptied);
	assert_true(calls > 5);
	/* Each was answered, and bytes pass. */
	assert_true(pair.to_client.size > 5000 * 20);
	tls_expect_passage(&pair.client, &pair.server, 1000);
	tls_expect_passage(&pair.server, &pair.client, 1000);
	tls_pair_close(&pair);
}

static void answers_that_nobody_reads_end_the_session(void **state)
{
	unsigned char got[100];
	struct tls_pair pair;
	bool emptied;
	ssize_t result;

	(void)state;
	agree(&pair);
	ask_for_key_updates(&pair.client, 5000);
	pair.to_client.room = pair.to_client.size + 1;
	do {
		int budget = 64;

		result = stt_tls_recv(pair.server.session, got, sizeof(got), &emptied, &budget);
		stt_tls_flush(pair.server.session);
		assert_true(stt_tls_rest(pair.server.session) < 2 * STT_TLS_ANSWERS_MAX);
	} while (result == -EAGAIN && !emptied);
	assert_int_equal(result, STTCP_ETLS);
	assert_non_null(strstr(stt_tls_text(pair.server.session), "does not read"));
	tls_pair_close(&pair);
}

/* ------------------------------------------------------------------------- ends */

static void close_notify_is_the_end(void **state)
{
	unsigned char got[20];
	struct tls_pair pair;
	ssize_t end;

	(void)state;
	agree(&pair);
	assert_int_equal(tls_send(&pair.client, "bye", 3), 3);
	stt_tls_finish(pair.client.session);
	stt_tls_finish(pair.client.session);
	assert_int_equal(stt_tls_flush(pair.client.session), 0);
	assert_int_equal(tls_drain(&pair.server, got, sizeof(got), &end), 3);
	assert_int_equal(end, 0);
	assert_string_equal(stt_tls_text(pair.server.session), "");
	/* Only that direction: the other one is open. */
	tls_expect_passage(&pair.server, &pair.client, 5000);
	assert_int_equal(stt_tls_send(pair.client.session,
				      &(struct iovec){.iov_base = "x", .iov_len = 1}, 1),
			 -EPIPE);
	/* The FIN behind it says nothing new. */
	pair.to_server.fin = true;
	assert_int_equal(tls_drain(&pair.server, got, sizeof(got), &end), 0);
	assert_int_equal(end, 0);
	tls_pair_close(&pair);
}

/* Wherever it is cut, what came whole is delivered, and the end is never orderly. */
static void an_end_without_close_notify_is_a_cut(void **state)
{
	(void)state;
	for (size_t cut = 0; cut <= 3; cut++) {
		static const size_t lengths[] = {0, 3, 1000, SIZE_MAX};
		static unsigned char data[2000], got[5000];
		struct tls_pair pair;
		size_t whole;
		ssize_t end;

		agree(&pair);
		tls_drain(&pair.client, got, sizeof(got), &end);
		assert_int_equal(tls_send(&pair.client, data, 700), 700);
		whole = pair.to_server.size;
		assert_int_equal(tls_send(&pair.client, data, 700), 700);
		if (lengths[cut] != SIZE_MAX)
			pair.to_server.size = lengths[cut];
		pair.to_server.fin = true;
		whole = lengths[cut] == SIZE_MAX ? 1400 : lengths[cut] < whole ? 0 : 700;
		assert_int_equal(tls_drain(&pair.server, got, sizeof(got), &end), whole);
		/* The FIN makes an event of its own. */
		if (end == -EAGAIN)
			assert_int_equal(tls_drain(&pair.server, got, sizeof(got), &end), 0);
		assert_int_equal(end, STTCP_ECUT);
		/* It can still be answered. */
		tls_expect_passage(&pair.server, &pair.client, 100);
		tls_pair_close(&pair);
	}
}

static void the_wires_failure_comes_behind_its_bytes(void **state)
{
	unsigned char got[20];
	struct tls_pair pair;
	ssize_t end;

	(void)state;
	agree(&pair);
	assert_int_equal(tls_send(&pair.client, "first", 5), 5);
	pair.to_server.code = -ECONNRESET;
	assert_int_equal(tls_drain(&pair.server, got, sizeof(got), &end), 5);
	assert_int_equal(tls_drain(&pair.server, got, sizeof(got), &end), 0);
	assert_int_equal(end, -ECONNRESET);
	tls_pair_close(&pair);
}

static void a_record_that_was_changed_is_an_error(void **state)
{
	unsigned char got[20];
	struct iovec part = {.iov_base = "x", .iov_len = 1};
	struct tls_pair pair;
	ssize_t end;

	(void)state;
	agree(&pair);
	assert_int_equal(tls_send(&pair.client, "forged", 6), 6);
	pair.to_server.bytes[pair.to_server.size - 1] ^= 1;
	assert_int_equal(tls_drain(&pair.server, got, sizeof(got), &end), 0);
	assert_int_equal(end, STTCP_ETLS);
	assert_non_null(strstr(stt_tls_text(pair.server.session), "changed on its way"));
	/* The alert waits to be sent; nothing else is sent. */
	assert_true(stt_tls_rest(pair.server.session) > 0);
	assert_int_equal(stt_tls_flush(pair.server.session), 0);
	assert_int_equal(stt_tls_send(pair.server.session, &part, 1), STTCP_ETLS);
	assert_int_equal(tls_drain(&pair.client, got, sizeof(got), &end), 0);
	assert_int_equal(end, STTCP_ETLS);
	assert_non_null(strstr(stt_tls_text(pair.client.session), "bad record mac"));
	tls_pair_close(&pair);
}

static void an_end_during_the_handshake_is_told_as_one(void **state)
{
	struct tls_pair pair;

	(void)state;
	open_pair(&pair);
	pair.to_server.fin = true;
	assert_int_equal(stt_tls_handshake(pair.server.session), STTCP_ETLS);
	assert_int_equal(stt_tls_heard(pair.server.session), 0);
	assert_non_null(strstr(stt_tls_text(pair.server.session), "during the TLS handshake"));
	assert_int_equal(stt_tls_handshake(pair.server.session), STTCP_ETLS);
	tls_pair_close(&pair);
}

static void a_reset_during_the_handshake_is_the_wires(void **state)
{
	struct tls_pair pair;

	(void)state;
	open_pair(&pair);
	assert_int_equal(stt_tls_handshake(pair.client.session), -EAGAIN);
	pair.to_client.code = -ECONNRESET;
	assert_int_equal(stt_tls_handshake(pair.client.session), -ECONNRESET);
	tls_pair_close(&pair);
}

/* Of a client that takes no tickets: what a server kept for it would be memory for each handshake.
 */
static void a_server_remembers_no_session(void **state)
{
	struct tls_pair pair;
	unsigned size;

	(void)state;
	open_pair(&pair);
	assert_int_equal(SSL_set_max_proto_version(pair.client.session->ssl, TLS1_2_VERSION), 1);
	SSL_set_options(pair.client.session->ssl, SSL_OP_NO_TICKET);
	tls_pair_agree(&pair);
	assert_int_equal(SSL_CTX_sess_number(SSL_get_SSL_CTX(pair.server.session->ssl)), 0);
	SSL_SESSION_get_id(SSL_get_session(pair.server.session->ssl), &size);
	assert_int_equal(size, 0);
	tls_pair_close(&pair);
}

/* A server that asks for another handshake gets an alert. That one refuses a client's by itself is
 * OpenSSL's default; this is not. */
static void a_client_does_not_begin_again(void **state)
{
	struct tls_pair pair;
	unsigned char got[10];
	size_t before;
	ssize_t end;

	(void)state;
	open_pair(&pair);
	assert_int_equal(SSL_set_max_proto_version(pair.client.session->ssl, TLS1_2_VERSION), 1);
	tls_pair_agree(&pair);
	SSL_clear_options(pair.server.session->ssl, SSL_OP_NO_RENEGOTIATION);
	assert_int_equal(SSL_renegotiate(pair.server.session->ssl), 1);
	assert_int_equal(SSL_do_handshake(pair.server.session->ssl), 1);
	assert_int_equal(stt_tls_flush(pair.server.session), 0);
	before = pair.to_server.total;
	assert_int_equal(tls_drain(&pair.client, got, sizeof(got), &end), 0);
	assert_int_equal(stt_tls_flush(pair.client.session), 0);
	assert_true(pair.to_server.total > before);
	assert_true(pair.to_server.total - before < 100);
	tls_pair_close(&pair);
}

/* ---------------------------------------------------------------------- STARTTLS */

static void bytes_behind_starttls_are_the_first_of_tls(void **state)
{
	struct tls_pair pair;
	struct stt_tls_start start = {.wire = &tube_wire, .context = &pair.server};

	(void)state;
	open_pair(&pair);
	assert_int_equal(stt_tls_handshake(pair.client.session), -EAGAIN);
	assert_int_equal(stt_tls_flush(pair.client.session), 0);
	/* Half of the hello was read with the plain text. */
	stt_tls_session_free(pair.server.session);
	start.early = pair.to_server.bytes;
	start.early_size = pair.to_server.size / 2;
	assert_int_equal(stt_tls_session_new(&pair.server.session, server, &start), 0);
	pair.to_server.size -= start.early_size;
	memmove(pair.to_server.bytes, pair.to_server.bytes + start.early_size, pair.to_server.size);
	tls_pair_agree(&pair);
	/* Their memory is not kept for as long as the connection lasts. */
	assert_null(pair.server.session->early);
	tls_expect_passage(&pair.client, &pair.server, 100);
	tls_pair_close(&pair);
}

/* "STARTTLS injection": commands behind it, in the clear, are no commands. */
static void plain_text_behind_starttls_fails(void **state)
{
	static const char injected[] = "MAIL FROM:<somebody>\r\n";
	struct tls_pair pair;
	struct stt_tls_start start = {.wire = &tube_wire,
				      .context = &pair.server,
				      .early = injected,
				      .early_size = sizeof(injected) - 1};

	(void)state;
	open_pair(&pair);
	stt_tls_session_free(pair.server.session);
	assert_int_equal(stt_tls_session_new(&pair.server.session, server, &start), 0);
	tls_pair_shake(&pair);
	assert_int_equal(pair.server.result, STTCP_ETLS);
	tls_pair_close(&pair);
}

/* ------------------------------------------------------------------- error queue */

/* A handler's own errors are neither believed nor lost. */
static void a_stale_error_queue_changes_nothing(void **state)
{
	unsigned char got[20];
	struct tls_pair pair;
	ssize_t end;

	(void)state;
	ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH);
	ERR_raise(ERR_LIB_USER, 1);
	agree(&pair);
	tls_expect_passage(&pair.client, &pair.server, 100000);
	assert_int_equal(tls_drain(&pair.server, got, sizeof(got), &end), 0);
	assert_int_equal(end, -EAGAIN);
	stt_tls_finish(pair.client.session);
	assert_int_equal(stt_tls_flush(pair.client.session), 0);
	assert_int_equal(tls_drain(&pair.server, got, sizeof(got), &end), 0);
	assert_int_equal(end, 0);
	tls_pair_close(&pair);
	assert_int_equal(ERR_GET_REASON(ERR_get_error()), SSL_R_BAD_LENGTH);
	assert_int_equal(ERR_GET_REASON(ERR_get_error()), 1);
	assert_int_equal(ERR_get_error(), 0);
}

static void a_failure_leaves_the_error_queue_as_it_was(void **state)
{
	unsigned char got[20];
	struct tls_pair pair;
	ssize_t end;

	(void)state;
	agree(&pair);
	ERR_raise(ERR_LIB_USER, 2);
	assert_int_equal(tls_send(&pair.client, "forged", 6), 6);
	pair.to_server.bytes[pair.to_server.size - 1] ^= 1;
	tls_drain(&pair.server, got, sizeof(got), &end);
	assert_int_equal(end, STTCP_ETLS);
	tls_pair_close(&pair);
	assert_int_equal(ERR_GET_REASON(ERR_get_error()), 2);
	assert_int_equal(ERR_get_error(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_of_any_number_pass),
		cmocka_unit_test(every_cut_of_the_wire_is_fine),
		cmocka_unit_test(a_narrow_wire_loses_nothing),
		cmocka_unit_test(four_records_leave_in_one_send),
		cmocka_unit_test(parts_are_gathered_into_one_record),
		cmocka_unit_test(large_parts_and_small_ones_keep_their_order),
		cmocka_unit_test(an_empty_send_makes_no_record),
		cmocka_unit_test(the_rest_is_one_batch_and_leaves_before_more),
		cmocka_unit_test(a_send_after_a_full_wire_may_be_another),
		cmocka_unit_test(the_wires_failure_is_told_by_the_send),
		cmocka_unit_test(a_peer_that_is_gone_is_still_read),
		cmocka_unit_test(a_short_read_is_the_last_call_of_the_wire),
		cmocka_unit_test(records_in_the_buffer_are_not_emptied),
		cmocka_unit_test(a_read_takes_several_records),
		cmocka_unit_test(a_handshake_leaves_input_to_be_read),
		cmocka_unit_test(each_record_takes_of_the_budget),
		cmocka_unit_test(a_flood_of_key_updates_comes_back),
		cmocka_unit_test(answers_that_nobody_reads_end_the_session),
		cmocka_unit_test(close_notify_is_the_end),
		cmocka_unit_test(an_end_without_close_notify_is_a_cut),
		cmocka_unit_test(the_wires_failure_comes_behind_its_bytes),
		cmocka_unit_test(a_record_that_was_changed_is_an_error),
		cmocka_unit_test(an_end_during_the_handshake_is_told_as_one),
		cmocka_unit_test(a_reset_during_the_handshake_is_the_wires),
		cmocka_unit_test(a_client_does_not_begin_again),
		cmocka_unit_test(a_server_remembers_no_session),
		cmocka_unit_test(bytes_behind_starttls_are_the_first_of_tls),
		cmocka_unit_test(plain_text_behind_starttls_fails),
		cmocka_unit_test(a_stale_error_queue_changes_nothing),
		cmocka_unit_test(a_failure_leaves_the_error_queue_as_it_was),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
