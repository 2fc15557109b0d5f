/* SPDX-License-Identifier: MIT */
/* G6, G7: fail_now ends as abort does, with the reason and the text of fail. */
#include "support/support.h"

enum {
	CODE = -7001,
	OTHER = -7002,
	QUEUED = 256 * 1024,
	ANY = 1
};

/* What a handler does to its connection. */
static void act(sttcp_conn *conn, const char *steps)
{
	for (; *steps; steps++) {
		switch (*steps) {
		case 'n':
			sttcp_conn_fail_now(conn, CODE, "now %d", 7);
			break;
		case 'f':
			sttcp_conn_fail(conn, OTHER, "in order");
			break;
		case 'c':
			sttcp_conn_close(conn);
			break;
		case 'a':
			sttcp_conn_abort(conn);
			break;
		}
	}
}

static bool act_at_data(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	const char *steps = probe->extra;

	(void)data;
	(void)size;
	act(conn, steps);
	return !strchr(steps, '-'); /* its verdict */
}

static bool act_at_connection(struct probe *probe, sttcp_conn *conn)
{
	return act_at_data(probe, conn, NULL, 0);
}

static const struct {
	const char *steps;
	int reason;
	const char *text;
	int end; /* what the peer sees; ANY: the FIN of the close may be there first */
} cases[] = {
	{"n", CODE, "now 7", -ECONNRESET},  {"cn", CODE, "now 7", ANY},
	{"an", CODE, "now 7", -ECONNRESET}, {"n-", CODE, "now 7", -ECONNRESET},
	{"nc", CODE, "now 7", -ECONNRESET}, {"nf", CODE, "now 7", -ECONNRESET},
	{"fn", OTHER, "in order", 0},	    {"cfn", OTHER, "in order", 0},
	{"cnf-", CODE, "now 7", ANY},
};

/* In one call of a handler: it wins over close, abort and false; the first of the failures
 * counts. */
static void first_failure_in_a_handler_counts(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (int at_connection = 0; at_connection < 2; at_connection++) {
			struct probe *probe = probe_new();

			print_message("%s\n", cases[i].steps);
			if (at_connection)
				probe->connection = act_at_connection;
			else
				probe->data = act_at_data;
			probe->extra = (void *)(uintptr_t)cases[i].steps;
			sttcp_server *server = probe_listen(probe, NULL);
			int peer = peer_connect(sttcp_server_port(server));

			if (!at_connection)
				assert_true(peer_say(peer, "x"));
			assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
			assert_int_equal(probe_reason(probe), cases[i].reason);
			assert_string_equal(probe_fail_text(probe), cases[i].text);
			if (cases[i].end != ANY)
				assert_int_equal(peer_end(peer), cases[i].end);
			peer_close(peer);
			sttcp_server_free(server);
			probe_free(probe);
		}
	}
}

/* A client's response handler, whose false would have been 0. */
static void client_fails_at_once(void **state)
{
	struct probe *probe = probe_new();
	int port;

	(void)state;
	probe->data = act_at_data;
	probe->extra = (void *)(uintptr_t) "n-";
	int listener = peer_listen(&port, 4);
	sttcp_client *client = probe_dial(probe, port, NULL);
	int peer = peer_accept(listener);

	assert_true(peer_say(peer, "x"));
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(probe), CODE);
	assert_int_equal(peer_end(peer), -ECONNRESET);
	assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), CODE);
	peer_close(peer);
	sttcp_client_free(client);
	peer_close(listener);
	probe_free(probe);
}

/* From outside, with output that nobody reads: the disconnection handler does not wait for it, and
 * it is lost. */
static void queued_output_is_lost(void **state)
{
	struct pair pair = {0};
	static char bytes[QUEUED];
	size_t got = 0;

	(void)state;
	pair.probe = probe_new();
	pair.probe->connection = narrow;
	pair_open(&pair, NULL);
	assert_int_equal(sttcp_conn_send(pair.conn, bytes, QUEUED), 0);
	assert_int_equal(sttcp_conn_fail_now(pair.conn, 0, NULL), 0);
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(pair.probe), STTCP_EHANDLER);
	assert_int_equal(peer_drain(pair.peer, &got), -ECONNRESET);
	assert_true(got < QUEUED);
	assert_int_equal(sttcp_conn_fail_now(pair.conn, CODE, NULL), STTCP_EHANDLER);
	pair_close(&pair);
}

/* As abort cuts the flush of a close short, and sets no reason; but not that of a failure. */
static void flush_of_a_close_is_cut_short_and_that_of_a_fail_is_not(void **state)
{
	(void)state;
	for (int by_fail = 0; by_fail < 2; by_fail++) {
		struct pair pair = {0};
		static char bytes[QUEUED];
		size_t got = 0;

		pair.probe = probe_new();
		pair.probe->connection = narrow;
		pair_open(&pair, NULL);
		assert_int_equal(sttcp_conn_send(pair.conn, bytes, QUEUED), 0);
		act(pair.conn, by_fail ? "f" : "c");
		int reason = by_fail ? OTHER : STTCP_ECLOSED;
		assert_int_equal(sttcp_conn_fail_now(pair.conn, CODE, "late"), reason);
		assert_int_equal(sttcp_conn_reason(pair.conn), reason);
		assert_string_equal(sttcp_conn_fail_text(pair.conn), by_fail ? "in order" : "");
		assert_int_equal(peer_drain(pair.peer, &got), by_fail ? 0 : -ECONNRESET);
		assert_true(by_fail ? got == QUEUED : got < QUEUED);
		pair_close(&pair);
	}
}

/* A Unix socket has no reset: the peer finds the end, and what was queued is lost. */
static void unix_socket_loses_what_is_queued(void **state)
{
	struct probe *probe = probe_new();
	char host[80];

	(void)state;
	snprintf(host, sizeof(host), "unix:/tmp/sttcp-fail-now-%d", (int)getpid());
	sttcp_server *server = probe_server(probe, host, 0, NULL);
	assert_int_equal(sttcp_server_start(server), 0);
	int peer = peer_connect_unix(host + 5);
	assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
	sttcp_conn *conn = NULL;
	EVENTUALLY((conn = sttcp_server_find(server, probe_last_id(probe))));
	static char bytes[512 * 1024];
	size_t got = 0;
	assert_int_equal(sttcp_conn_send(conn, bytes, sizeof(bytes)), 0);
	assert_int_equal(sttcp_conn_fail_now(conn, CODE, NULL), 0);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(probe), CODE);
	peer_drain(peer, &got);
	assert_true(got < sizeof(bytes));
	sttcp_conn_unref(conn);
	peer_close(peer);
	sttcp_server_free(server);
	probe_free(probe);
}

static void nobody_is_refused(void **state)
{
	(void)state;
	assert_int_equal(sttcp_conn_fail_now(NULL, CODE, "x"), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_failure_in_a_handler_counts),
		cmocka_unit_test(client_fails_at_once),
		cmocka_unit_test(queued_output_is_lost),
		cmocka_unit_test(flush_of_a_close_is_cut_short_and_that_of_a_fail_is_not),
		cmocka_unit_test(unix_socket_loses_what_is_queued),
		cmocka_unit_test(nobody_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
