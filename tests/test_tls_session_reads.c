/* SPDX-License-Identifier: MIT */
/* Sessions of TLS over memory: what a read brings, and whether there is more; what it takes of the
 * budget; and the ends that it finds. */
#include "support/support.h"
#include "support/tls_parties.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
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
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
