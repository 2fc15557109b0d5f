/* SPDX-License-Identifier: MIT */
/* Who is on the other side: names and dates of certificates, those of clients, what is chosen and
 * agreed on, sessions that go on, and new files while a server runs. */
#include "support/support.h"
#include "support/tls_stage.h"

/* A server of ours and a client of ours that has this object and asks for this name. */
struct meeting {
	struct probe *server_probe;
	struct probe *probe;
	sttcp_server *server;
	sttcp_client *client;
};

static void meet(struct meeting *meeting, sttcp_tls *server, sttcp_tls *client, const char *name)
{
	meeting->server_probe = probe_new();
	meeting->server_probe->data = echo_data;
	meeting->probe = probe_new();
	meeting->server = probe_listen(meeting->server_probe, STTCP_OPTIONS(.tls = server));
	meeting->client = probe_dial(meeting->probe, sttcp_server_port(meeting->server),
				     STTCP_OPTIONS(.tls = client, .tls_name = name));
}

static void part(struct meeting *meeting)
{
	sttcp_client_free(meeting->client);
	sttcp_server_free(meeting->server);
	probe_free(meeting->probe);
	probe_free(meeting->server_probe);
}

static void expect_refusal(sttcp_tls *server, sttcp_tls *client, const char *name,
			   const char *words)
{
	struct meeting meeting;

	meet(&meeting, server, client, name);
	assert_true(probe_wait(meeting.probe, STTCP_UNCONNECTED, 1));
	assert_int_equal(probe_reason(meeting.probe), STTCP_ETLS);
	if (!strstr(probe_fail_text(meeting.probe), words))
		fail_msg("\"%s\" is not in \"%s\"", words, probe_fail_text(meeting.probe));
	assert_int_equal(probe_count(meeting.probe, STTCP_CONNECTION), 0);
	part(&meeting);
}

static void expect_echo(struct meeting *meeting)
{
	assert_int_equal(sttcp_client_send(meeting->client, "hello", 5, DEADLINE_MS), 0);
	assert_true(probe_wait_bytes(meeting->probe, 5));
}

static sttcp_tls *server_with(const char *name, const struct cert_spec *spec)
{
	const char *chain, *key;

	stage_write(name, spec, &chain, &key);
	return sttcp_tls_server(chain, key);
}

static void wrong_certificates_are_refused_in_words(void **state)
{
	sttcp_tls *expired = server_with(
		"expired",
		&(struct cert_spec){.names = "DNS:localhost", .from_days = -20, .until_days = -10});
	sttcp_tls *early = server_with(
		"early",
		&(struct cert_spec){.names = "DNS:localhost", .from_days = 10, .until_days = 20});
	sttcp_tls *stranger = sttcp_tls_client();

	(void)state;
	expect_refusal(expired, stage_shared_client(), "localhost", "has expired on ");
	expect_refusal(early, stage_shared_client(), "localhost", "is not valid before ");
	expect_refusal(stage_shared_server(), stage_shared_client(), "other.example",
		       "the certificate is for localhost");
	expect_refusal(stage_shared_server(), stage_shared_client(), "127.0.0.2",
		       "not for 127.0.0.2");
	expect_refusal(stage_shared_server(), stranger, "localhost", "not trusted");
	sttcp_tls_unref(expired);
	sttcp_tls_unref(early);
	sttcp_tls_unref(stranger);
}

static void nobody_is_asked_where_that_was_said(void **state)
{
	sttcp_tls *client = sttcp_tls_client();
	struct meeting meeting;
	sttcp_tls_info info;

	(void)state;
	assert_int_equal(sttcp_tls_require_peer(client, STTCP_TLS_PEER_NONE), 0);
	meet(&meeting, stage_shared_server(), client, "nowhere.example");
	expect_echo(&meeting);
	sttcp_conn *conn = client_conn(meeting.client);

	assert_int_equal(sttcp_conn_tls(conn, &info, sizeof(info)), 0);
	assert_false(info.peer_verified);
	sttcp_conn_unref(conn);
	part(&meeting);
	/* It is in use by now. */
	assert_int_equal(sttcp_tls_set_alpn(client, "x"), -EBUSY);
	sttcp_tls_unref(client);
}

/* -------------------------------------------------------------------- the facts */

static void facts_are_what_was_agreed_on(void **state)
{
	sttcp_tls *server = stage_server(), *client = stage_client();
	struct meeting meeting;
	sttcp_tls_info info, half;

	(void)state;
	assert_int_equal(sttcp_tls_set_alpn(server, "h2,http/1.1"), 0);
	assert_int_equal(sttcp_tls_set_alpn(client, "http/1.1,h2"), 0);
	meet(&meeting, server, client, "localhost");
	expect_echo(&meeting);
	sttcp_conn *conn = client_conn(meeting.client);

	assert_int_equal(sttcp_conn_tls(conn, &info, sizeof(info)), 0);
	assert_string_equal(info.version, "TLSv1.3");
	assert_string_equal(info.alpn, "h2");
	assert_string_equal(info.server_name, "localhost");
	assert_string_equal(info.peer_subject, "CN=localhost");
	assert_int_equal(strlen(info.peer_fingerprint), 64);
	assert_non_null(info.peer_certificate);
	assert_true(info.peer_certificate_size > 100);
	assert_true(info.peer_verified);
	assert_false(info.resumed);
	assert_int_equal(strncmp(info.cipher, "TLS_", 4), 0);

	assert_int_equal(sttcp_conn_tls(conn, &half, offsetof(sttcp_tls_info, cipher)), 0);
	assert_ptr_equal(half.version, info.version);
	assert_int_equal(sttcp_conn_tls(conn, NULL, 0), -EINVAL);
	assert_int_equal(sttcp_conn_tls(NULL, &info, sizeof(info)), -EINVAL);

	sttcp_conn *other = sttcp_server_find(meeting.server, probe_last_id(meeting.server_probe));

	assert_non_null(other);
	assert_int_equal(sttcp_conn_tls(other, &info, sizeof(info)), 0);
	assert_string_equal(info.server_name, "localhost");
	assert_string_equal(info.peer_subject, "");
	assert_null(info.peer_certificate);
	sttcp_client_close(meeting.client);
	assert_true(probe_wait(meeting.probe, STTCP_DISCONNECTION, 1));
	/* They live as long as the handle. */
	assert_int_equal(sttcp_conn_tls(conn, &info, sizeof(info)), 0);
	assert_string_equal(info.alpn, "h2");
	sttcp_conn_unref(conn);
	sttcp_conn_unref(other);
	part(&meeting);
	sttcp_tls_unref(server);
	sttcp_tls_unref(client);
}

static void plain_connection_has_no_facts(void **state)
{
	struct pair pair = {0};
	sttcp_tls_info info;

	(void)state;
	pair_open(&pair, NULL);
	assert_int_equal(sttcp_conn_tls(pair.conn, &info, sizeof(info)), -ENOENT);
	pair_close(&pair);
}

static void no_common_alpn_is_refused(void **state)
{
	sttcp_tls *server = stage_server(), *client = stage_client();

	(void)state;
	assert_int_equal(sttcp_tls_set_alpn(server, "h2"), 0);
	assert_int_equal(sttcp_tls_set_alpn(client, "irc"), 0);
	expect_refusal(server, client, "localhost", "ALPN");
	sttcp_tls_unref(server);
	sttcp_tls_unref(client);
}

static void certificate_follows_the_name_that_is_asked_for(void **state)
{
	static const struct cert_spec wild = {.names = "DNS:*.wild.example"};
	sttcp_tls *server = stage_server();
	struct meeting meeting;
	const char *chain, *key;
	sttcp_tls_info info;

	(void)state;
	stage_write("wild", &wild, &chain, &key);
	assert_int_equal(sttcp_tls_add_certificate(server, chain, key), 0);
	meet(&meeting, server, stage_shared_client(), "a.wild.example");
	expect_echo(&meeting);
	sttcp_conn *conn = client_conn(meeting.client);

	assert_int_equal(sttcp_conn_tls(conn, &info, sizeof(info)), 0);
	assert_string_equal(info.peer_subject, "CN=*.wild.example");
	sttcp_conn_unref(conn);
	part(&meeting);
	sttcp_tls_unref(server);
}

/* ------------------------------------------------------- certificates of clients */

static sttcp_tls *asking_server(sttcp_tls_peer who)
{
	sttcp_tls *tls = stage_server();

	assert_int_equal(sttcp_tls_trust(tls, stage.trust), 0);
	assert_int_equal(sttcp_tls_require_peer(tls, who), 0);
	return tls;
}

static void server_knows_clients_by_their_certificates(void **state)
{
	static const struct cert_spec spec = {.subject = "alice", .names = "DNS:alice"};
	sttcp_tls *server = asking_server(STTCP_TLS_PEER_REQUIRED);
	sttcp_tls *client = stage_client();
	struct meeting meeting;
	const char *chain, *key;
	sttcp_tls_info info;

	(void)state;
	stage_write("alice", &spec, &chain, &key);
	assert_int_equal(sttcp_tls_set_certificate(client, chain, key), 0);
	meet(&meeting, server, client, "localhost");
	/* Its second connection resumes the session, and is known all the same. */
	for (int i = 1; i <= 2; i++) {
		assert_int_equal(sttcp_client_send(meeting.client, "hello", 5, DEADLINE_MS), 0);
		assert_true(probe_wait_bytes(meeting.probe, 5 * (size_t)i));
		sttcp_conn *conn =
			sttcp_server_find(meeting.server, probe_last_id(meeting.server_probe));

		assert_non_null(conn);
		assert_int_equal(sttcp_conn_tls(conn, &info, sizeof(info)), 0);
		assert_string_equal(info.peer_subject, "CN=alice");
		assert_true(info.peer_verified);
		assert_int_equal(info.resumed, i == 2);
		sttcp_conn_unref(conn);
		sttcp_client_close(meeting.client);
		if (i == 1)
			assert_int_equal(sttcp_client_start(meeting.client), 0);
	}
	part(&meeting);
	sttcp_tls_unref(server);
	sttcp_tls_unref(client);
}

static void client_without_a_certificate_learns_why(void **state)
{
	sttcp_tls *server = asking_server(STTCP_TLS_PEER_REQUIRED);
	sttcp_tls *old = stage_client();
	struct meeting meeting;

	(void)state;
	/* With TLS 1.3 it hears of it only after its own handshake. */
	meet(&meeting, server, stage_shared_client(), "localhost");
	assert_true(probe_wait(meeting.probe, STTCP_DISCONNECTION, 1) ||
		    probe_wait(meeting.probe, STTCP_UNCONNECTED, 1));
	assert_int_equal(probe_reason(meeting.probe), STTCP_ETLS);
	assert_non_null(strstr(probe_fail_text(meeting.probe), "certificate required"));
	assert_int_equal(probe_count(meeting.server_probe, STTCP_CONNECTION), 0);
	part(&meeting);

	assert_int_equal(sttcp_tls_set_versions(old, 12, 12), 0);
	expect_refusal(server, old, "localhost", "certificate");
	sttcp_tls_unref(old);
	sttcp_tls_unref(server);

	server = asking_server(STTCP_TLS_PEER_ASKED);
	meet(&meeting, server, stage_shared_client(), "localhost");
	expect_echo(&meeting);
	part(&meeting);
	sttcp_tls_unref(server);
}

static void asking_needs_somebody_to_trust(void **state)
{
	struct probe *probe = probe_new();
	sttcp_tls *tls = stage_server();

	(void)state;
	assert_int_equal(sttcp_tls_require_peer(tls, STTCP_TLS_PEER_ASKED), 0);
	sttcp_server *server = probe_server(probe, "127.0.0.1", 0, STTCP_OPTIONS(.tls = tls));

	assert_int_equal(sttcp_server_start(server), -EINVAL);
	assert_non_null(strstr(sttcp_server_error(server), "trust"));
	sttcp_server_free(server);
	sttcp_tls_unref(tls);
	probe_free(probe);
}

/* ------------------------------------------------------------------------- reload */

static void reload_counts_for_the_next_handshake(void **state)
{
	static const struct cert_spec first = {.subject = "first", .names = "DNS:localhost"};
	static const struct cert_spec second = {.subject = "second", .names = "DNS:localhost"};
	const char *chain, *key;
	struct meeting meeting;
	sttcp_tls_info info;

	(void)state;
	stage_write("renewed", &first, &chain, &key);
	sttcp_tls *server = sttcp_tls_server(chain, key);

	meet(&meeting, server, stage_shared_client(), "localhost");
	expect_echo(&meeting);
	/* A broken file leaves all as it was. */
	certs_write_text("renewed.pem", "no certificate");
	assert_int_equal(sttcp_tls_reload(server), -EINVAL);
	assert_non_null(strstr(sttcp_tls_error(server), "renewed.pem"));
	stage_write("renewed", &second, &chain, &key);
	assert_int_equal(sttcp_tls_reload(server), 0);
	/* The open connection goes on. */
	assert_int_equal(sttcp_client_send(meeting.client, "hello", 5, DEADLINE_MS), 0);
	assert_true(probe_wait_bytes(meeting.probe, 10));

	struct tls_peer peer;

	tls_peer_open(&peer, sttcp_server_port(meeting.server));
	X509 *shown = SSL_get1_peer_certificate(peer.ssl);
	char name[64] = "";

	assert_non_null(shown);
	X509_NAME_get_text_by_NID(X509_get_subject_name(shown), NID_commonName, name, sizeof(name));
	assert_string_equal(name, "second");
	X509_free(shown);
	sttcp_conn *conn = client_conn(meeting.client);

	assert_int_equal(sttcp_conn_tls(conn, &info, sizeof(info)), 0);
	assert_string_equal(info.peer_subject, "CN=first");
	sttcp_conn_unref(conn);
	tls_peer_close(&peer);
	part(&meeting);
	sttcp_tls_unref(server);
}

/* --------------------------------------------------------------------------- fork */

static void child_of_a_fork_is_refused(void **state)
{
	struct meeting meeting;
	sttcp_tls_info info;

	(void)state;
	meet(&meeting, stage_shared_server(), stage_shared_client(), "localhost");
	expect_echo(&meeting);
	sttcp_conn *conn = client_conn(meeting.client);
	pid_t pid = process_fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		sttcp_server *own = sttcp_server_new("127.0.0.1", 0,
						     STTCP_OPTIONS(.tls = stage_shared_server()));
		/* Else it would have no TLS, and start. */
		sttcp_server *other = sttcp_server_new(
			"127.0.0.1", 0, STTCP_OPTIONS(.tls = sttcp_tls_ref(stage_shared_server())));
		bool refused = sttcp_server_start(own) == STTCP_EFORK &&
			       strstr(sttcp_server_error(own), "tls") &&
			       sttcp_server_start(other) == STTCP_EFORK &&
			       sttcp_conn_tls(conn, &info, sizeof(info)) == STTCP_EFORK &&
			       sttcp_conn_send(conn, "x", 1) == STTCP_EFORK &&
			       sttcp_tls_reload(stage_shared_server()) == STTCP_EFORK;

		_exit(refused ? 0 : 1);
	}
	assert_int_equal(process_wait_pid(pid), 0);
	/* And the parent's connection has noticed nothing. */
	assert_int_equal(sttcp_conn_send(conn, "again", 5), 0);
	assert_true(probe_wait_bytes(meeting.probe, 10));
	sttcp_conn_unref(conn);
	part(&meeting);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrong_certificates_are_refused_in_words),
		cmocka_unit_test(nobody_is_asked_where_that_was_said),
		cmocka_unit_test(facts_are_what_was_agreed_on),
		cmocka_unit_test(plain_connection_has_no_facts),
		cmocka_unit_test(no_common_alpn_is_refused),
		cmocka_unit_test(certificate_follows_the_name_that_is_asked_for),
		cmocka_unit_test(server_knows_clients_by_their_certificates),
		cmocka_unit_test(client_without_a_certificate_learns_why),
		cmocka_unit_test(asking_needs_somebody_to_trust),
		cmocka_unit_test(reload_counts_for_the_next_handshake),
		cmocka_unit_test(child_of_a_fork_is_refused),
	};

	return cmocka_run_group_tests(tests, stage_open, stage_close);
}
