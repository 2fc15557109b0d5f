/* SPDX-License-Identifier: MIT */
/* G6: why a connection ended, and what can still be read of it then. The timeouts and limits on
 * output are in test_send_queue.c. */
#include "support/support.h"

#include <sys/socket.h>

static int last_reason(struct probe *probe, sttcp_server *server)
{
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	sttcp_server_free(server);
	return probe_reason(probe);
}

static void reason_is_zero_when_the_peer_closes(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server = probe_listen(probe, NULL);
	int peer = peer_connect(sttcp_server_port(server));

	(void)state;
	assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
	peer_close(peer);
	assert_int_equal(last_reason(probe, server), 0);
	assert_string_equal(probe_fail_text(probe), "");
	probe_free(probe);
}

static void reason_of_a_reset_is_econnreset(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++) {
		struct probe *probe = probe_new();
		sttcp_server *server = probe_listen(probe, NULL);
		int peer = peer_connect(sttcp_server_port(server));

		if (i % 2 == 0) {
			assert_true(peer_say(peer, "x"));
			assert_true(probe_wait_bytes(probe, 1));
		}
		assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
		peer_reset(peer);
		assert_int_equal(last_reason(probe, server), -ECONNRESET);
		probe_free(probe);
	}
}

static bool fail_with_text(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	const int *code = probe->extra;

	sttcp_conn_fail(conn, *code, "%.*s is no number", (int)size, (const char *)data);
	return true;
}

static bool fail_and_abort(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	static char text[8 * 1024 * 1024];

	(void)data;
	(void)size;
	/* More than the kernel takes, so that a flush would last until the peer reads. */
	if (sttcp_conn_try_send(conn, text, sizeof(text)) < 0)
		probe_violate(probe, "try_send");
	sttcp_conn_fail(conn, -EBADMSG, "no number");
	sttcp_conn_abort(conn);
	return true;
}

/* An abort cuts the flush of a failure short, and is not what is told of it. */
static void abort_after_a_failure_resets_and_keeps_the_reason(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	probe->data = fail_and_abort;
	sttcp_server *server =
		probe_listen(probe, STTCP_OPTIONS(.send_queue_max = -1, .write_timeout_ms = -1));
	int peer = peer_connect(sttcp_server_port(server));
	assert_true(peer_say(peer, "four"));
	assert_int_equal(last_reason(probe, server), -EBADMSG);
	assert_string_equal(probe_fail_text(probe), "no number");
	assert_int_equal(peer_end(peer), -ECONNRESET);
	peer_close(peer);
	probe_free(probe);
}

/* fail: the handler's own code and text; a code that is none is STTCP_EHANDLER. */
static void reason_of_a_failed_handler_is_its_own(void **state)
{
	static const int codes[][2] = {
		{0, STTCP_EHANDLER},	      {17, STTCP_EHANDLER}, {-EBADMSG, -EBADMSG},
		{STTCP_EFRAME, STTCP_EFRAME}, {-90000, -90000},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		struct probe *probe = probe_new();
		int code = codes[i][0];

		probe->data = fail_with_text;
		probe->extra = &code;
		sttcp_server *server = probe_listen(probe, NULL);
		int peer = peer_connect(sttcp_server_port(server));
		assert_true(peer_say(peer, "four"));
		assert_int_equal(peer_end(peer), 0); /* it ends as close does */
		peer_close(peer);
		assert_int_equal(last_reason(probe, server), codes[i][1]);
		assert_string_equal(probe_fail_text(probe), "four is no number");
		assert_true(strlen(sttcp_strerror(probe_reason(probe))) > 0);
		probe_free(probe);
	}
}

static void reason_of_close_and_abort_is_closed(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct probe *probe = probe_new();
		sttcp_server *server = probe_listen(probe, NULL);
		int peer = peer_connect(sttcp_server_port(server));

		assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
		EVENTUALLY(sttcp_server_count(server) == 1);
		sttcp_conn *conn = sttcp_server_find(server, probe_last_id(probe));
		assert_non_null(conn);
		assert_int_equal(i == 0 ? sttcp_conn_close(conn) : sttcp_conn_abort(conn), 0);
		assert_int_equal(peer_end(peer), i == 0 ? 0 : -ECONNRESET);
		peer_close(peer);
		assert_int_equal(last_reason(probe, server), STTCP_ECLOSED);
		assert_int_equal(sttcp_conn_reason(conn), STTCP_ECLOSED);
		sttcp_conn_unref(conn);
		probe_free(probe);
	}
}

/* The first end sets the reason; later ones change nothing. */
static void reason_is_that_of_the_first_end(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server = probe_listen(probe, NULL);
	int peer = peer_connect(sttcp_server_port(server));

	(void)state;
	EVENTUALLY(sttcp_server_count(server) == 1);
	sttcp_conn *conn = sttcp_server_find(server, probe_last_id(probe));
	assert_int_equal(sttcp_conn_reason(conn), 0);
	assert_int_equal(sttcp_conn_close(conn), 0);
	assert_int_equal(sttcp_conn_reason(conn), STTCP_ECLOSED);
	sttcp_conn_fail(conn, -EBADMSG, "too late");
	sttcp_conn_abort(conn);
	sttcp_conn_close(conn);
	peer_close(peer);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(sttcp_conn_reason(conn), STTCP_ECLOSED);
	assert_string_equal(sttcp_conn_fail_text(conn), "");
	sttcp_conn_unref(conn);
	assert_int_equal(last_reason(probe, server), STTCP_ECLOSED);
	probe_free(probe);
}

static void reason_of_a_stop_is_stopped(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server = probe_listen(probe, NULL);
	int peer = peer_connect(sttcp_server_port(server));

	(void)state;
	assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
	assert_int_equal(sttcp_server_stop_within(server, 0, NULL), 0);
	assert_int_equal(peer_end(peer), 0);
	peer_close(peer);
	assert_int_equal(last_reason(probe, server), STTCP_ESTOPPED);
	probe_free(probe);
}

static void reason_of_a_free_is_stopped_or_destroyed(void **state)
{
	struct probe *serving = probe_new();
	struct probe *calling = probe_new();
	sttcp_server *server = probe_listen(serving, NULL);
	int peer = peer_connect(sttcp_server_port(server));
	sttcp_client *client = probe_dial(calling, sttcp_server_port(server), NULL);

	(void)state;
	assert_true(probe_wait(serving, STTCP_CONNECTION, 2));
	assert_true(probe_wait(calling, STTCP_CONNECTION, 1));
	sttcp_client_free(client);
	assert_int_equal(probe_reason(calling), STTCP_EDESTROYED);
	assert_true(probe_wait(serving, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(serving), 0);
	sttcp_server_free(server);
	assert_int_equal(probe_count(serving, STTCP_DISCONNECTION), 2);
	assert_int_equal(probe_reason(serving), STTCP_ESTOPPED);
	assert_int_equal(peer_end(peer), 0);
	peer_close(peer);
	probe_free(calling);
	probe_free(serving);
}

static void reason_of_a_closed_client_is_destroyed(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct probe *serving = probe_new();
		struct probe *calling = probe_new();
		sttcp_server *server = probe_listen(serving, NULL);
		sttcp_client *client = probe_dial(calling, sttcp_server_port(server), NULL);

		assert_true(probe_wait(calling, STTCP_CONNECTION, 1));
		assert_int_equal(i == 0 ? sttcp_client_close(client) : sttcp_client_stop(client),
				 0);
		assert_int_equal(probe_count(calling, STTCP_DISCONNECTION), 1);
		assert_int_equal(probe_reason(calling), STTCP_EDESTROYED);
		assert_int_equal(sttcp_client_wait(client, 0), STTCP_EDESTROYED);
		sttcp_client_free(client);
		assert_int_equal(last_reason(serving, server), 0);
		probe_free(calling);
		probe_free(serving);
	}
}

/* -------------------------------------------- what the last handler can read */

struct last_words {
	char address[64];
	char host[64];
	char local[64];
	int port;
	void *data;
	int sent;
	int tried;
	bool open;
	int stats;
	sttcp_conn_counts counts;
	sttcp_server *server;
	sttcp_client *client;
};

static int tag;

static bool tag_it(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	sttcp_conn_set_data(conn, &tag, NULL);
	return true;
}

static void read_all(struct probe *probe, sttcp_conn *conn, int reason)
{
	struct last_words *words = probe->extra;

	(void)reason;
	snprintf(words->address, sizeof(words->address), "%s", sttcp_conn_address(conn));
	snprintf(words->host, sizeof(words->host), "%s", sttcp_conn_host(conn));
	snprintf(words->local, sizeof(words->local), "%s", sttcp_conn_local_address(conn));
	words->port = sttcp_conn_port(conn);
	words->data = sttcp_conn_data(conn);
	words->sent = sttcp_conn_send(conn, "x", 1);
	words->tried = sttcp_conn_try_send(conn, "x", 1);
	words->open = sttcp_conn_is_open(conn);
	words->stats = sttcp_conn_stats(conn, &words->counts, sizeof(words->counts));
	words->server = sttcp_conn_server(conn);
	words->client = sttcp_conn_client(conn);
}

/* Address, user data and counters can be read; sending fails with the reason, or with
 * STTCP_ECLOSED where that is 0. */
static void disconnection_handler_can_read_everything(void **state)
{
	(void)state;
	for (int reset = 0; reset < 2; reset++) {
		struct probe *probe = probe_new();
		struct last_words words = {0};
		char expected[64];

		probe->connection = tag_it;
		probe->data = echo_data;
		probe->ended = read_all;
		probe->extra = &words;
		sttcp_server *server = probe_listen(probe, NULL);
		int port = sttcp_server_port(server);
		int peer = peer_connect(port);
		int from = peer_port(peer);
		assert_true(peer_say(peer, "hello"));
		assert_true(peer_expect(peer, "hello"));
		assert_true(peer_say(peer, "again"));
		assert_true(peer_expect(peer, "again"));
		if (reset)
			peer_reset(peer);
		else
			peer_close(peer);
		assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
		assert_ptr_equal(words.server, server);
		assert_null(words.client);
		sttcp_server_free(server);
		snprintf(expected, sizeof(expected), "127.0.0.1:%d", from);
		assert_string_equal(words.address, expected);
		snprintf(expected, sizeof(expected), "127.0.0.1:%d", port);
		assert_string_equal(words.local, expected);
		assert_string_equal(words.host, "127.0.0.1");
		assert_int_equal(words.port, from);
		assert_ptr_equal(words.data, &tag);
		assert_int_equal(words.sent, reset ? -ECONNRESET : STTCP_ECLOSED);
		assert_int_equal(words.tried, words.sent);
		assert_false(words.open);
		assert_int_equal(words.stats, 0);
		assert_int_equal(words.counts.bytes_in, 10);
		assert_int_equal(words.counts.bytes_out, 10);
		assert_int_equal(words.counts.messages_in, 2);
		assert_int_equal(words.counts.messages_out, 2);
		assert_int_equal(words.counts.queued, 0);
		assert_true(words.counts.age_ms >= 0);
		probe_free(probe);
	}
}

static void unconnected_handler_can_read_everything(void **state)
{
	int port;
	int refusing = peer_refuse(&port);
	struct probe *probe = probe_new();
	struct last_words words = {0};
	char expected[64];

	(void)state;
	probe->ended = read_all;
	probe->extra = &words;
	sttcp_client *client = probe_dial(probe, port, NULL);
	assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), -ECONNREFUSED);
	assert_ptr_equal(words.client, client);
	assert_null(words.server);
	sttcp_client_free(client);
	snprintf(expected, sizeof(expected), "127.0.0.1:%d", port);
	assert_string_equal(words.address, expected);
	assert_string_equal(words.host, "127.0.0.1");
	assert_int_equal(words.port, port);
	assert_string_equal(words.local, "");
	assert_int_equal(words.sent, -ECONNREFUSED);
	assert_false(words.open);
	assert_int_equal(words.stats, 0);
	assert_int_equal(words.counts.bytes_in, 0);
	peer_close(refusing);
	probe_free(probe);
}

static void stats_of_the_server_add_up(void **state)
{
	struct probe *probe = probe_new();
	sttcp_stats stats;

	(void)state;
	probe->data = echo_data;
	sttcp_server *server = probe_listen(probe, NULL);
	for (int i = 0; i < 5; i++) {
		int peer = peer_connect(sttcp_server_port(server));

		assert_true(peer_say(peer, "12345"));
		assert_true(peer_expect(peer, "12345"));
		if (i == 0)
			peer_reset(peer);
		else
			peer_close(peer);
		assert_true(probe_wait(probe, STTCP_DISCONNECTION, i + 1));
	}
	int peer = peer_connect(sttcp_server_port(server));
	EVENTUALLY(sttcp_server_count(server) == 1);
	memset(&stats, 0xff, sizeof(stats));
	assert_int_equal(sttcp_server_stats(server, &stats, sizeof(stats)), 0);
	assert_int_equal(stats.connections, 1);
	assert_int_equal(stats.total, 6);
	assert_int_equal(stats.declined, 0);
	assert_int_equal(stats.failed, 1);
	assert_int_equal(stats.bytes_in, 25);
	assert_int_equal(stats.bytes_out, 25);
	assert_int_equal(stats.messages_in, 5);
	assert_int_equal(stats.messages_out, 5);
	assert_int_equal(stats.queued, 0);
	assert_true(stats.threads > 0);
	/* A caller with a shorter struct gets the part that it knows. */
	memset(&stats, 0x55, sizeof(stats));
	assert_int_equal(sttcp_server_stats(server, &stats, offsetof(sttcp_stats, declined)), 0);
	assert_int_equal(stats.total, 6);
	assert_int_equal(stats.declined, 0x5555555555555555);
	peer_close(peer);
	sttcp_server_free(server);
	probe_free(probe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reason_is_zero_when_the_peer_closes),
		cmocka_unit_test(reason_of_a_reset_is_econnreset),
		cmocka_unit_test(reason_of_a_failed_handler_is_its_own),
		cmocka_unit_test(abort_after_a_failure_resets_and_keeps_the_reason),
		cmocka_unit_test(reason_of_close_and_abort_is_closed),
		cmocka_unit_test(reason_is_that_of_the_first_end),
		cmocka_unit_test(reason_of_a_stop_is_stopped),
		cmocka_unit_test(reason_of_a_free_is_stopped_or_destroyed),
		cmocka_unit_test(reason_of_a_closed_client_is_destroyed),
		cmocka_unit_test(disconnection_handler_can_read_everything),
		cmocka_unit_test(unconnected_handler_can_read_everything),
		cmocka_unit_test(stats_of_the_server_add_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
