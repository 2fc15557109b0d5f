/* SPDX-License-Identifier: MIT */
/* G15: an idle server uses no CPU at all. Counted in context switches and CPU time of all threads
 * but the test's own. */
#include "support/support.h"

enum {
	MOST_PEERS = 100
};

static void idle(int peers_count, bool with_data)
{
	struct probe *probe = probe_new();
	int peers[MOST_PEERS];

	probe->data = echo_data;
	sttcp_server *server = probe_listen(probe, NULL);
	for (int i = 0; i < peers_count; i++) {
		peers[i] = peer_connect(sttcp_server_port(server));
		assert_true(peers[i] >= 0);
		if (with_data) {
			assert_true(peer_say(peers[i], "x"));
			assert_true(peer_expect(peers[i], "x"));
		}
	}
	EVENTUALLY(sttcp_server_count(server) == peers_count);
	if (UNDER_TSAN)
		print_message("the thread sanitizer's own thread never sleeps: not measured\n");
	else
		expect_silence();
	/* It is asleep, not dead. */
	int peer = peer_connect(sttcp_server_port(server));
	assert_true(peer_say(peer, "wake up"));
	assert_true(peer_expect(peer, "wake up"));
	peer_close(peer);
	for (int i = 0; i < peers_count; i++) {
		assert_true(peer_say(peers[i], "y"));
		assert_true(peer_expect(peers[i], "y"));
		peer_close(peers[i]);
	}
	sttcp_server_free(server);
	probe_free(probe);
}

static void idle_server_without_connections_is_silent(void **state)
{
	(void)state;
	idle(0, false);
}

static void idle_server_with_connections_is_silent(void **state)
{
	(void)state;
	idle(MOST_PEERS, true);
}

static void idle_clients_are_silent(void **state)
{
	int port;
	int listener = peer_listen(&port, 64);
	struct probe *probe = probe_new();
	sttcp_client *clients[20];
	int peers[20];

	(void)state;
	for (int i = 0; i < 20; i++) {
		clients[i] = probe_dial(probe, port, NULL);
		peers[i] = peer_accept(listener);
	}
	assert_true(probe_wait(probe, STTCP_CONNECTION, 20));
	if (!UNDER_TSAN)
		expect_silence();
	for (int i = 0; i < 20; i++) {
		sttcp_client_free(clients[i]);
		peer_close(peers[i]);
	}
	peer_close(listener);
	probe_free(probe);
}

static struct event gate = EVENT_INIT;

static bool block(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)conn;
	(void)data;
	(void)size;
	event_raise(probe->extra);
	event_wait_ms(&gate, 1, 3 * DEADLINE_MS);
	return true;
}

/* Blocked handlers are no work either: nobody looks at them again and again for ever. */
static void blocked_handlers_cost_no_cpu(void **state)
{
	struct probe *probe = probe_new();
	struct event inside = EVENT_INIT;
	int peers[8];

	(void)state;
	if (UNDER_TSAN)
		skip();
	probe->data = block;
	probe->extra = &inside;
	sttcp_server *server = probe_listen(probe, NULL);
	for (int i = 0; i < 8; i++) {
		peers[i] = peer_connect(sttcp_server_port(server));
		assert_true(peer_say(peers[i], "x"));
	}
	assert_true(event_wait(&inside, 8));
	expect_silence();
	event_raise(&gate);
	for (int i = 0; i < 8; i++)
		peer_close(peers[i]);
	sttcp_server_free(server);
	probe_free(probe);
}

/* ------------------------------------------------------------------- timers */

static struct event timer_calls = EVENT_INIT;
static struct event timer_gate = EVENT_INIT;

static void block_in_timer(sttcp_timer *timer, void *context)
{
	(void)timer;
	(void)context;
	event_raise(&timer_calls);
	event_wait_ms(&timer_gate, 1, 3 * DEADLINE_MS);
}

/* Before they are due, and while one blocks whose times pass all the while. */
static void timers_that_are_not_due_are_silent(void **state)
{
	enum {
		TIMERS = 1000
	};
	sttcp_timer *timers[TIMERS];

	(void)state;
	if (UNDER_TSAN)
		skip();
	for (int i = 0; i < TIMERS; i++) {
		timers[i] = sttcp_timer_new(block_in_timer, NULL);
		assert_non_null(timers[i]);
		assert_int_equal(sttcp_timer_start(timers[i], i ? 3600000 + i : 0, 1), 0);
	}
	assert_true(event_wait(&timer_calls, 1));
	expect_silence();
	event_raise(&timer_gate);
	assert_true(event_wait(&timer_calls, 3));
	for (int i = 0; i < TIMERS; i++)
		sttcp_timer_free(timers[i]);
	assert_int_equal(sttcp_engine_shutdown(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(idle_server_without_connections_is_silent),
		cmocka_unit_test(idle_server_with_connections_is_silent),
		cmocka_unit_test(idle_clients_are_silent),
		cmocka_unit_test(blocked_handlers_cost_no_cpu),
		cmocka_unit_test(timers_that_are_not_due_are_silent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
