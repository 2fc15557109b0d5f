/* SPDX-License-Identifier: MIT */
/* Handshakes of a server's and a client's connections: what they count for, their limit, and what
 * happens to those that come to nothing. */
#include <openssl/err.h>

#include "support/support.h"
#include "support/tls_stage.h"

enum {
	SHORT_MS = 300
};

static int64_t failed_handshakes(sttcp_server *server)
{
	sttcp_stats stats;

	assert_int_equal(sttcp_server_stats(server, &stats, sizeof(stats)), 0);
	assert_int_equal(stats.declined, 0);
	assert_int_equal(stats.failed, 0);
	return stats.tls_failed;
}

/* What the log says, from any thread. */
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static char log_text[16 * 1024];

static void keep_log(int level, const char *text, void *context)
{
	char line[512];

	(void)context;
	snprintf(line, sizeof(line), "%d %s\n", level, text);
	pthread_mutex_lock(&log_lock);
	strncat(log_text, line, sizeof(log_text) - strlen(log_text) - 1);
	pthread_mutex_unlock(&log_lock);
}

static bool log_has(int level, const char *text)
{
	char copy[sizeof(log_text)], *rest = copy, start[4];
	bool found = false;

	pthread_mutex_lock(&log_lock);
	memcpy(copy, log_text, sizeof(copy));
	pthread_mutex_unlock(&log_lock);
	snprintf(start, sizeof(start), "%d ", level);
	for (char *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		found |= strncmp(line, start, 2) == 0 && strstr(line, text);
	return found;
}

static void http_gets_an_end_and_no_handler(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	memset(log_text, 0, sizeof(log_text));
	sttcp_set_log(keep_log, NULL);
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.tls = stage_shared_server()));
	int peer = peer_connect(sttcp_server_port(server));

	assert_true(peer_say(peer, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
	/* OpenSSL answers it with no alert. */
	assert_int_equal(peer_end(peer), 0);
	peer_close(peer);
	EVENTUALLY(failed_handshakes(server) == 1);
	EVENTUALLY(log_has(2, "HTTP"));
	sttcp_server_free(server);
	sttcp_set_log(NULL, NULL);
	assert_int_equal(probe_count(probe, STTCP_CONNECTION), 0);
	assert_int_equal(probe_count(probe, STTCP_DISCONNECTION), 0);
	probe_free(probe);
}

static void alert_of_a_failed_handshake_arrives(void **state)
{
	struct probe *probe = probe_new();
	struct tls_peer peer;

	(void)state;
	sttcp_tls *tls = stage_server();

	assert_int_equal(sttcp_tls_set_versions(tls, 13, 13), 0);
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.tls = tls));

	tls_peer_prepare(&peer, sttcp_server_port(server), TLS1_2_VERSION);
	assert_false(tls_peer_shake(&peer));
	assert_int_equal(ERR_GET_REASON(ERR_peek_last_error()), SSL_R_TLSV1_ALERT_PROTOCOL_VERSION);
	/* And then FIN: a reset could have overtaken it. */
	assert_int_equal(peer_end(peer.fd), 0);
	EVENTUALLY(failed_handshakes(server) == 1);
	tls_peer_close(&peer);
	sttcp_server_free(server);
	sttcp_tls_unref(tls);
	probe_free(probe);
}

static void health_check_is_told_quietly(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	memset(log_text, 0, sizeof(log_text));
	sttcp_set_log(keep_log, NULL);
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.tls = stage_shared_server()));

	peer_close(peer_connect(sttcp_server_port(server)));
	EVENTUALLY(failed_handshakes(server) == 1);
	EVENTUALLY(log_has(3, "STTCP_ETLS"));
	assert_false(log_has(2, "ended"));
	sttcp_server_free(server);
	sttcp_set_log(NULL, NULL);
	probe_free(probe);
}

static void handshake_has_a_limit(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	sttcp_server *server =
		probe_listen(probe, STTCP_OPTIONS(.tls = stage_shared_server(),
						  .tls_handshake_timeout_ms = SHORT_MS));
	int64_t began = now_ms();
	int silent = peer_connect(sttcp_server_port(server));
	int slow = peer_connect(sttcp_server_port(server));

	assert_true(peer_send(slow, "\x16\x03\x01", 3));
	assert_int_equal(peer_end(silent), 0);
	assert_true(now_ms() - began >= SHORT_MS);
	assert_int_equal(peer_end(slow), 0);
	peer_close(silent);
	peer_close(slow);
	EVENTUALLY(failed_handshakes(server) == 2);
	sttcp_server_free(server);
	assert_int_equal(probe_count(probe, STTCP_CONNECTION), 0);
	probe_free(probe);
}

static void client_tells_of_a_handshake_that_takes_too_long(void **state)
{
	struct probe *probe = probe_new();
	int port, listener = peer_listen(&port, 8);

	(void)state;
	sttcp_client *client = probe_dial(
		probe, port,
		STTCP_OPTIONS(.tls = stage_shared_client(), .tls_handshake_timeout_ms = SHORT_MS));

	assert_true(probe_wait(probe, STTCP_UNCONNECTED, 1));
	assert_int_equal(probe_reason(probe), STTCP_ETIME_HANDSHAKE);
	assert_non_null(strstr(probe_fail_text(probe), "tls_handshake_timeout_ms is 300"));
	assert_int_equal(probe_count(probe, STTCP_CONNECTION), 0);
	sttcp_client_free(client);
	peer_close(listener);
	probe_free(probe);
}

static void hello_in_single_bytes_is_taken(void **state)
{
	struct probe *probe = probe_new();
	struct tls_peer peer;
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
	char *hello;

	(void)state;
	probe->data = echo_data;
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.tls = stage_shared_server()));

	tls_peer_prepare(&peer, sttcp_server_port(server), 0);
	SSL_set_bio(peer.ssl, in, out);
	assert_false(tls_peer_shake(&peer));
	long size = BIO_get_mem_data(out, &hello);

	for (long i = 0; i < size; i++)
		assert_true(peer_send(peer.fd, hello + i, 1));
	SSL_set_fd(peer.ssl, peer.fd);
	assert_true(tls_peer_shake(&peer));
	assert_true(tls_peer_say(&peer, "there"));
	assert_true(tls_peer_expect(&peer, "there"));
	tls_peer_close(&peer);
	sttcp_server_free(server);
	probe_free(probe);
}

static void client_finds_that_the_peer_speaks_no_tls(void **state)
{
	struct probe *plain = probe_new();
	struct probe *probe = probe_new();

	(void)state;
	plain->data = echo_data;
	sttcp_server *server = probe_listen(plain, NULL);
	sttcp_client *client = probe_dial(probe, sttcp_server_port(server),
					  STTCP_OPTIONS(.tls = stage_shared_client()));

	assert_true(probe_wait(probe, STTCP_UNCONNECTED, 1));
	assert_int_equal(probe_reason(probe), STTCP_ETLS);
	assert_true(*probe_fail_text(probe));
	sttcp_client_free(client);
	sttcp_server_free(server);
	probe_free(plain);
	probe_free(probe);
}

static void handshake_counts_for_limits_and_not_for_members(void **state)
{
	struct probe *probe = probe_new();
	struct tls_peer peer;

	(void)state;
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.tls = stage_shared_server(),
								 .max_connections = 1,
								 .over_limit = STTCP_OVER_REJECT));

	tls_peer_prepare(&peer, sttcp_server_port(server), 0);
	/* The one place is taken before a byte was said. */
	int other = peer_connect(sttcp_server_port(server));

	assert_int_equal(peer_end(other), 0);
	peer_close(other);
	assert_int_equal(sttcp_server_count(server), 0);
	assert_true(tls_peer_shake(&peer));
	EVENTUALLY(sttcp_server_count(server) == 1);
	tls_peer_close(&peer);
	sttcp_server_free(server);
	probe_free(probe);
}

/* The idle limit is shorter than the handshake takes. */
static void idle_time_begins_after_the_handshake(void **state)
{
	struct probe *probe = probe_new();
	struct tls_peer peer;

	(void)state;
	sttcp_server *server = probe_listen(
		probe, STTCP_OPTIONS(.tls = stage_shared_server(), .idle_timeout_ms = SHORT_MS,
				     .first_byte_timeout_ms = SHORT_MS));

	tls_peer_prepare(&peer, sttcp_server_port(server), 0);
	assert_true(peer_quiet(peer.fd, SHORT_MS * 3));
	assert_true(tls_peer_shake(&peer));
	assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	assert_true(probe_reason(probe) == STTCP_ETIME_IDLE ||
		    probe_reason(probe) == STTCP_ETIME_FIRST_BYTE);
	tls_peer_close(&peer);
	sttcp_server_free(server);
	probe_free(probe);
}

struct stopper {
	sttcp_server *server;
	int timeout_ms;
	sttcp_stop_report report;
};

static void *stop_it(void *argument)
{
	struct stopper *stopper = argument;

	sttcp_server_stop_within(stopper->server, stopper->timeout_ms, &stopper->report);
	return NULL;
}

static bool leave_when_stopping(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	return !sttcp_conn_stopping(conn);
}

static void graceful_stop_lets_a_handshake_finish(void **state)
{
	struct probe *probe = probe_new();
	struct tls_peer peer;
	pthread_t thread;

	(void)state;
	probe->connection = leave_when_stopping;
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.tls = stage_shared_server()));
	struct stopper stopper = {.server = server, .timeout_ms = -1};
	sttcp_stats stats;

	tls_peer_prepare(&peer, sttcp_server_port(server), 0);
	EVENTUALLY(sttcp_server_stats(server, &stats, sizeof(stats)) == 0 && stats.total == 1);
	assert_int_equal(pthread_create(&thread, NULL, stop_it, &stopper), 0);
	/* It listens no more: the stop has begun. */
	int other = -1;

	EVENTUALLY((other = peer_connect(sttcp_server_port(server))) < 0 ||
		   (peer_close(other), false));
	assert_true(tls_peer_shake(&peer));
	assert_int_equal(tls_peer_end(&peer), 0);
	pthread_join(thread, NULL);
	assert_int_equal(stopper.report.forced, 0);
	assert_int_equal(probe_count(probe, STTCP_CONNECTION), 1);
	tls_peer_close(&peer);
	sttcp_server_free(server);
	probe_free(probe);
}

static void forced_stop_cuts_a_handshake(void **state)
{
	struct probe *probe = probe_new();
	struct tls_peer peer, said;

	(void)state;
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.tls = stage_shared_server()));
	sttcp_stats stats;

	tls_peer_prepare(&peer, sttcp_server_port(server), 0);
	tls_peer_prepare(&said, sttcp_server_port(server), 0);
	assert_true(peer_send(said.fd, "\x16\x03\x01\x02", 4));
	EVENTUALLY(sttcp_server_stats(server, &stats, sizeof(stats)) == 0 && stats.total == 2);
	assert_int_equal(sttcp_server_stop_within(server, 0, NULL), 0);
	assert_int_equal(probe_count(probe, STTCP_CONNECTION), 0);
	assert_false(tls_peer_shake(&peer));
	assert_false(tls_peer_shake(&said));
	tls_peer_close(&peer);
	tls_peer_close(&said);
	/* That is no failure of theirs. */
	assert_int_equal(sttcp_server_stats(server, &stats, sizeof(stats)), 0);
	assert_int_equal(stats.tls_failed, 0);
	sttcp_server_free(server);
	probe_free(probe);
}

static void client_can_be_closed_in_its_handshake(void **state)
{
	struct probe *probe = probe_new();
	int port, listener = peer_listen(&port, 8);

	(void)state;
	sttcp_client *client = probe_dial(probe, port, STTCP_OPTIONS(.tls = stage_shared_client()));
	int accepted = peer_accept(listener);
	char hello[5];

	assert_true(peer_recv(accepted, hello, sizeof(hello)));
	sttcp_client_close(client);
	assert_int_equal(probe_count(probe, STTCP_UNCONNECTED), 1);
	assert_int_equal(probe_reason(probe), STTCP_EDESTROYED);
	sttcp_client_free(client);
	peer_close(accepted);
	peer_close(listener);
	probe_free(probe);
}

static void start_tells_what_is_wrong(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	sttcp_server *server =
		probe_server(probe, "127.0.0.1", 0, STTCP_OPTIONS(.tls = stage_shared_client()));

	assert_int_equal(sttcp_server_start(server), -EINVAL);
	assert_non_null(strstr(sttcp_server_error(server), "sttcp_tls_server"));
	sttcp_server_free(server);

	sttcp_tls *missing = sttcp_tls_server(certs_path("nowhere.pem"), NULL);

	server = probe_server(probe, "127.0.0.1", 0, STTCP_OPTIONS(.tls = missing));
	sttcp_tls_unref(missing);
	assert_int_equal(sttcp_server_start(server), -ENOENT);
	assert_non_null(strstr(sttcp_server_error(server), "nowhere.pem"));
	sttcp_server_free(server);

	sttcp_client *client =
		probe_client(probe, "unix:@nobody", 0, STTCP_OPTIONS(.tls = stage_shared_client()));

	assert_int_equal(sttcp_client_start(client), -EINVAL);
	assert_non_null(strstr(sttcp_client_error(client), "tls_name"));
	sttcp_client_free(client);
	probe_free(probe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(http_gets_an_end_and_no_handler),
		cmocka_unit_test(alert_of_a_failed_handshake_arrives),
		cmocka_unit_test(health_check_is_told_quietly),
		cmocka_unit_test(handshake_has_a_limit),
		cmocka_unit_test(client_tells_of_a_handshake_that_takes_too_long),
		cmocka_unit_test(hello_in_single_bytes_is_taken),
		cmocka_unit_test(client_finds_that_the_peer_speaks_no_tls),
		cmocka_unit_test(handshake_counts_for_limits_and_not_for_members),
		cmocka_unit_test(idle_time_begins_after_the_handshake),
		cmocka_unit_test(graceful_stop_lets_a_handshake_finish),
		cmocka_unit_test(forced_stop_cuts_a_handshake),
		cmocka_unit_test(client_can_be_closed_in_its_handshake),
		cmocka_unit_test(start_tells_what_is_wrong),
	};

	return cmocka_run_group_tests(tests, stage_open, stage_close);
}
