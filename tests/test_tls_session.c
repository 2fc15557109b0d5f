/* SPDX-License-Identifier: MIT */
/* Two sessions of TLS over memory, with a wire that moves any number of bytes at a time: bytes in
 * both directions, the rest, STARTTLS, the error queue, handshakes. Reads and ends are in
 * test_tls_session_reads.c. */
#include "support/support.h"
#include "support/tls_parties.h"

#include <openssl/err.h>

#include "tls/inner.h"

static struct sttcp_tls *server, *client;

static int set_up(void **state)
{
	int result = good_files_open(state);

	server = server_for("DNS:a.example");
	client = trusting_client();
	return result;
}

static int tear_down(void **state)
{
	let_go(server, client);
	return good_files_close(state);
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

/* ------------------------------------------------------------------- handshakes */

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
		cmocka_unit_test(a_client_does_not_begin_again),
		cmocka_unit_test(a_server_remembers_no_session),
		cmocka_unit_test(bytes_behind_starttls_are_the_first_of_tls),
		cmocka_unit_test(plain_text_behind_starttls_fails),
		cmocka_unit_test(a_stale_error_queue_changes_nothing),
		cmocka_unit_test(a_failure_leaves_the_error_queue_as_it_was),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
