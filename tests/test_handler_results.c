/* SPDX-License-Identifier: MIT */
/* G7: the universal handler runs before the specific one; whose verdict counts; and what close,
 * abort and fail in the same call make of it. */
#include "support/support.h"

enum verdict {
	NONE,
	YES,
	NO
};

static const enum verdict verdicts[] = {NONE, YES, NO};

/* The verdicts that one case lets the handlers give, and in which phase. */
struct verdict_case {
	sttcp_event phase;
	enum verdict specific;
	enum verdict universal;
};

static bool say_universal(struct probe *probe, sttcp_event event, sttcp_conn *conn)
{
	const struct verdict_case *now = probe->extra;

	(void)conn;
	return event != now->phase || now->universal == YES;
}

static bool say_connection(struct probe *probe, sttcp_conn *conn)
{
	const struct verdict_case *now = probe->extra;

	(void)conn;
	return now->phase != STTCP_CONNECTION || now->specific == YES;
}

static bool say_data(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	const struct verdict_case *now = probe->extra;

	(void)conn;
	(void)data;
	(void)size;
	return now->specific == YES;
}

static struct probe *probe_of(struct verdict_case *now)
{
	struct probe *probe = probe_new();

	probe->extra = now;
	probe->universal = say_universal;
	probe->connection = say_connection;
	probe->data = say_data;
	if (now->universal == NONE)
		probe->without |= NO_UNIVERSAL;
	if (now->specific == NONE)
		probe->without |= 1u << now->phase;
	return probe;
}

/* Whether the connection goes on, as the contract has it. */
static bool goes_on(const struct verdict_case *now)
{
	if (now->specific != NONE)
		return now->specific == YES;
	return now->universal != NO;
}

/* The expected calls: without those of handlers that are not set. */
static void assert_order(struct probe *probe, const char *full)
{
	char expected[64];
	size_t len = 0;

	for (; *full != '\0'; full++) {
		const char *capitals = "?CRSEDU";
		const char *at = strchr(capitals, *full);
		bool small = !at;
		unsigned bit = small ? NO_UNIVERSAL : 1u << (at - capitals);

		if ((probe->without & bit) == 0)
			expected[len++] = *full;
	}
	expected[len] = '\0';
	assert_string_equal(probe_order(probe), expected);
}

static void server_connection_verdicts(void **state)
{
	(void)state;
	for (int i = 0; i < 9; i++) {
		struct verdict_case now = {STTCP_CONNECTION, verdicts[i / 3], verdicts[i % 3]};
		struct probe *probe = probe_of(&now);
		sttcp_server *server = probe_listen(probe, NULL);
		int peer = peer_connect(sttcp_server_port(server));

		if (goes_on(&now))
			peer_shutdown(peer);
		assert_int_equal(peer_end(peer), 0);
		peer_close(peer);
		assert_int_equal(sttcp_server_stop(server), 0);
		assert_order(probe, goes_on(&now) ? "cCdD" : "cC");
		sttcp_server_free(server);
		probe_free(probe);
	}
}

/* A server's receive handler has no verdict: where there is one, the connection goes on. */
static void server_receive_verdicts(void **state)
{
	static const enum verdict specifics[] = {NONE, YES};

	(void)state;
	for (int i = 0; i < 6; i++) {
		struct verdict_case now = {STTCP_RECEIVE, specifics[i / 3], verdicts[i % 3]};
		struct probe *probe = probe_of(&now);
		sttcp_server *server = probe_listen(probe, NULL);
		int peer = peer_connect(sttcp_server_port(server));
		bool on = goes_on(&now);

		assert_true(peer_say(peer, "x"));
		if (on && (now.specific != NONE || now.universal != NONE)) {
			assert_true(probe_wait_bytes(probe, 1));
			assert_true(peer_say(peer, "y"));
			assert_true(probe_wait_bytes(probe, 2));
		}
		if (on)
			peer_shutdown(peer);
		assert_int_equal(peer_end(peer), 0);
		peer_close(peer);
		assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
		assert_int_equal(probe_reason(probe), 0);
		sttcp_server_free(server);
		if (now.specific != NONE || now.universal != NONE)
			assert_order(probe, on ? "cCrRrRdD" : "cCrRdD");
		probe_free(probe);
	}
}

/* A client's connection handler that says no ends in the disconnection handler, reason 0. */
static void client_connection_verdicts(void **state)
{
	int port;
	int listener = peer_listen(&port, 8);

	(void)state;
	for (int i = 0; i < 9; i++) {
		struct verdict_case now = {STTCP_CONNECTION, verdicts[i / 3], verdicts[i % 3]};
		struct probe *probe = probe_of(&now);
		sttcp_client *client = probe_dial(probe, port, NULL);
		int peer = peer_accept(listener);

		assert_true(peer >= 0);
		if (goes_on(&now))
			peer_shutdown(peer);
		assert_int_equal(peer_end(peer), 0);
		peer_close(peer);
		assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), 0);
		assert_order(probe, "cCdD");
		assert_int_equal(probe_reason(probe), 0);
		sttcp_client_free(client);
		probe_free(probe);
	}
	peer_close(listener);
}

static void client_response_verdicts(void **state)
{
	int port;
	int listener = peer_listen(&port, 8);

	(void)state;
	for (int i = 0; i < 9; i++) {
		struct verdict_case now = {STTCP_RESPONSE, verdicts[i / 3], verdicts[i % 3]};
		struct probe *probe = probe_of(&now);
		sttcp_client *client = probe_dial(probe, port, NULL);
		int peer = peer_accept(listener);
		bool seen = now.specific != NONE || now.universal != NONE;

		assert_true(peer_say(peer, "x"));
		if (goes_on(&now)) {
			if (seen) {
				assert_true(probe_wait_bytes(probe, 1));
				assert_true(peer_say(peer, "y"));
			}
			peer_shutdown(peer);
		}
		assert_int_equal(peer_end(peer), 0);
		peer_close(peer);
		assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), 0);
		if (seen)
			assert_order(probe, goes_on(&now) ? "cCsSsSdD" : "cCsSdD");
		assert_int_equal(probe_reason(probe), 0);
		sttcp_client_free(client);
		probe_free(probe);
	}
	peer_close(listener);
}

/* END comes with half_close; the universal verdict counts only where there is no end handler. */
static void end_verdicts(void **state)
{
	static const enum verdict specifics[] = {NONE, YES};

	(void)state;
	for (int i = 0; i < 6; i++) {
		struct verdict_case now = {STTCP_END, specifics[i / 3], verdicts[i % 3]};
		struct probe *probe = probe_of(&now);
		sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.half_close = true));
		int peer = peer_connect(sttcp_server_port(server));

		peer_shutdown(peer);
		if (goes_on(&now)) {
			EVENTUALLY(sttcp_server_count(server) == 1);
			assert_true(peer_quiet(peer, 50));
			assert_int_equal(sttcp_server_stop_within(server, 0, NULL), 0);
			assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
			assert_int_equal(probe_reason(probe), STTCP_ESTOPPED);
		}
		assert_int_equal(peer_end(peer), 0);
		peer_close(peer);
		assert_int_equal(sttcp_server_stop(server), 0);
		if (!goes_on(&now))
			assert_int_equal(probe_reason(probe), 0);
		assert_order(probe, "cCeEdD");
		sttcp_server_free(server);
		probe_free(probe);
	}
}

/* Verdicts about a disconnection or a failed attempt are ignored. */
static void last_verdicts_are_ignored(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++) {
		struct verdict_case now = {STTCP_DISCONNECTION, i < 2 ? NONE : YES,
					   i % 2 == 0 ? YES : NO};
		struct probe *probe = probe_of(&now);
		sttcp_server *server = probe_listen(probe, NULL);
		int peer = peer_connect(sttcp_server_port(server));

		peer_shutdown(peer);
		assert_int_equal(peer_end(peer), 0);
		peer_close(peer);
		assert_int_equal(sttcp_server_stop(server), 0);
		assert_order(probe, "cCdD");
		assert_int_equal(probe_reason(probe), 0);
		sttcp_server_free(server);
		probe_free(probe);
	}
	for (int i = 0; i < 4; i++) {
		int port;
		int refusing = peer_refuse(&port);
		struct verdict_case now = {STTCP_UNCONNECTED, i < 2 ? NONE : YES,
					   i % 2 == 0 ? YES : NO};
		struct probe *probe = probe_of(&now);
		sttcp_client *client = probe_dial(probe, port, NULL);

		assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), -ECONNREFUSED);
		assert_order(probe, "uU");
		assert_int_equal(probe_reason(probe), -ECONNREFUSED);
		sttcp_client_free(client);
		peer_close(refusing);
		probe_free(probe);
	}
}

/* With neither handler, everything goes on, and nothing crashes. */
static void no_handlers_at_all_is_fine(void **state)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);

	(void)state;
	assert_int_equal(sttcp_server_start(server), 0);
	sttcp_client *client = sttcp_client_new("127.0.0.1", sttcp_server_port(server), NULL);
	assert_int_equal(sttcp_client_start(client), 0);
	int peer = peer_connect(sttcp_server_port(server));
	assert_true(peer_say(peer, "nobody listens"));
	EVENTUALLY(sttcp_server_count(server) == 2);
	peer_shutdown(peer);
	assert_int_equal(peer_end(peer), 0);
	peer_close(peer);
	assert_int_equal(sttcp_client_close(client), 0);
	assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), STTCP_EDESTROYED);
	assert_int_equal(sttcp_server_stop(server), 0);
	sttcp_client_free(client);
	sttcp_server_free(server);
}

/* ----------------------------------------- close, abort and fail in one call */

enum act {
	ACT_CLOSE = 1,
	ACT_ABORT = 2,
	ACT_FAIL_FIRST = 4,
	ACT_FAIL_LAST = 8,
	ACT_FALSE = 16
};

struct act_case {
	unsigned acts;
	int reason;    /* of the disconnection handler */
	bool declined; /* on a server there is none */
	const char *text;
};

static const struct act_case act_cases[] = {
	{ACT_CLOSE, STTCP_ECLOSED, true, ""},
	{ACT_CLOSE | ACT_FALSE, STTCP_ECLOSED, true, ""},
	{ACT_ABORT, STTCP_ECLOSED, true, ""},
	{ACT_ABORT | ACT_FALSE, STTCP_ECLOSED, true, ""},
	{ACT_FALSE, 0, true, ""},
	{ACT_FAIL_FIRST, STTCP_EHANDLER, false, "no 1"},
	{ACT_FAIL_LAST, -EBADMSG, false, "no 2"},
	{ACT_FAIL_FIRST | ACT_FALSE, STTCP_EHANDLER, false, "no 1"},
	{ACT_FAIL_FIRST | ACT_CLOSE, STTCP_EHANDLER, false, "no 1"},
	{ACT_FAIL_FIRST | ACT_ABORT, STTCP_EHANDLER, false, "no 1"},
	{ACT_FAIL_LAST | ACT_CLOSE, -EBADMSG, false, "no 2"},
	{ACT_FAIL_LAST | ACT_ABORT, -EBADMSG, false, "no 2"},
	{ACT_FAIL_LAST | ACT_CLOSE | ACT_FALSE, -EBADMSG, false, "no 2"},
	{ACT_FAIL_LAST | ACT_ABORT | ACT_FALSE, -EBADMSG, false, "no 2"},
};

#define ACT_CASES (sizeof(act_cases) / sizeof(act_cases[0]))

static bool act(struct probe *probe, sttcp_conn *conn)
{
	const struct act_case *now = probe->extra;

	if ((now->acts & ACT_FAIL_FIRST) != 0)
		sttcp_conn_fail(conn, 0, "no %d", 1);
	if ((now->acts & ACT_CLOSE) != 0)
		sttcp_conn_close(conn);
	if ((now->acts & ACT_ABORT) != 0)
		sttcp_conn_abort(conn);
	if ((now->acts & ACT_FAIL_LAST) != 0)
		sttcp_conn_fail(conn, -EBADMSG, "no %d", 2);
	return (now->acts & ACT_FALSE) == 0;
}

static bool act_on_data(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)data;
	(void)size;
	return act(probe, conn);
}

/* close or abort in a server's connection handler declines, whatever it returns; fail wins over
 * any verdict, and then the disconnection handler runs with it. */
static void acts_in_a_server_connection_handler(void **state)
{
	(void)state;
	for (size_t i = 0; i < ACT_CASES; i++) {
		struct act_case now = act_cases[i];
		struct probe *probe = probe_new();
		sttcp_stats stats;

		probe->extra = &now;
		probe->connection = act;
		sttcp_server *server = probe_listen(probe, NULL);
		int peer = peer_connect(sttcp_server_port(server));
		int end = peer_end(peer);
		assert_true(end == 0 || (now.acts & ACT_ABORT) != 0);
		peer_close(peer);
		assert_int_equal(sttcp_server_stop(server), 0);
		assert_int_equal(sttcp_server_stats(server, &stats, sizeof(stats)), 0);
		assert_int_equal(stats.declined, now.declined ? 1 : 0);
		sttcp_server_free(server);
		assert_string_equal(probe_order(probe), now.declined ? "cC" : "cCdD");
		if (!now.declined) {
			assert_int_equal(probe_reason(probe), now.reason);
			assert_string_equal(probe_fail_text(probe), now.text);
		}
		probe_free(probe);
	}
}

static void acts_in_a_client_connection_handler(void **state)
{
	int port;
	int listener = peer_listen(&port, 8);

	(void)state;
	for (size_t i = 0; i < ACT_CASES; i++) {
		struct act_case now = act_cases[i];
		struct probe *probe = probe_new();

		probe->extra = &now;
		probe->connection = act;
		sttcp_client *client = probe_dial(probe, port, NULL);
		assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), now.reason);
		sttcp_client_free(client);
		assert_string_equal(probe_order(probe), "cCdD");
		assert_int_equal(probe_reason(probe), now.reason);
		assert_string_equal(probe_fail_text(probe), now.text);
		peer_close(peer_accept(listener));
		probe_free(probe);
	}
	peer_close(listener);
}

/* The same in receive and response handlers; false is ignored in the first. */
static void acts_in_data_handlers(void **state)
{
	(void)state;
	for (size_t i = 0; i < ACT_CASES; i++) {
		struct act_case now = act_cases[i];
		struct probe *serving = probe_new();
		struct probe *calling = probe_new();

		serving->extra = &now;
		serving->data = act_on_data;
		sttcp_server *server = probe_listen(serving, NULL);
		sttcp_client *client = probe_dial(calling, sttcp_server_port(server), NULL);
		assert_true(probe_wait(calling, STTCP_CONNECTION, 1));
		sttcp_conn *conn = client_conn(client);
		assert_int_equal(sttcp_conn_send(conn, "x", 1), 0);
		if (now.acts == ACT_FALSE) {
			assert_true(probe_wait_bytes(serving, 1));
			sttcp_conn_close(conn);
		}
		sttcp_conn_unref(conn);
		assert_true(probe_wait(serving, STTCP_DISCONNECTION, 1));
		assert_int_equal(probe_reason(serving), now.reason);
		assert_string_equal(probe_fail_text(serving), now.text);
		sttcp_client_free(client);
		sttcp_server_free(server);
		probe_free(calling);

		int port;
		int listener = peer_listen(&port, 1);
		calling = probe_new();
		calling->extra = &now;
		calling->data = act_on_data;
		client = probe_dial(calling, port, NULL);
		int peer = peer_accept(listener);
		assert_true(peer_say(peer, "x"));
		assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), now.reason);
		assert_int_equal(probe_reason(calling), now.reason);
		assert_string_equal(probe_fail_text(calling), now.text);
		sttcp_client_free(client);
		peer_close(peer);
		peer_close(listener);
		probe_free(calling);
		probe_free(serving);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(server_connection_verdicts),
		cmocka_unit_test(server_receive_verdicts),
		cmocka_unit_test(client_connection_verdicts),
		cmocka_unit_test(client_response_verdicts),
		cmocka_unit_test(end_verdicts),
		cmocka_unit_test(last_verdicts_are_ignored),
		cmocka_unit_test(no_handlers_at_all_is_fine),
		cmocka_unit_test(acts_in_a_server_connection_handler),
		cmocka_unit_test(acts_in_a_client_connection_handler),
		cmocka_unit_test(acts_in_data_handlers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
