/* SPDX-License-Identifier: MIT */
/* Streams of TLS that are cut, behind each record and in each, as a whole server or client sees
 * them: that is never an orderly end. */
#include "support/support.h"
#include "support/tls_dials.h"
#include "support/tls_gate.h"
#include "support/tls_good.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cut_is_never_an_orderly_end_for_a_server),
		cmocka_unit_test(a_cut_is_never_an_orderly_end_for_a_client),
	};

	return cmocka_run_group_tests(tests, gates_set_up, good_files_close);
}
