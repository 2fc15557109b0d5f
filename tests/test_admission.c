/* SPDX-License-Identifier: MIT */
/* Limits on who may come in: the number of connections, of one address, of a second; what happens
 * over them, and what is counted. */
#include "support/faults.h"
#include "support/support.h"

#include <sys/socket.h>

static sttcp_stats stats_of(sttcp_server *server)
{
	sttcp_stats stats = {0};

	sttcp_server_stats(server, &stats, sizeof(stats));
	return stats;
}

static bool answer(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	sttcp_conn_send(conn, data, size);
	return true;
}

static bool echoes(int fd)
{
	return peer_say(fd, "x") && peer_expect(fd, "x");
}

static void connections_over_the_number_wait_in_the_backlog(void **state)
{
	enum {
		MOST = 3,
		MORE = 5
	};
	struct probe *probe = probe_new();
	int peers[MOST + MORE];

	(void)state;
	probe->data = answer;
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.max_connections = MOST));
	int port = sttcp_server_port(server);

	for (int i = 0; i < MOST; i++) {
		peers[i] = peer_connect(port);
		assert_true(echoes(peers[i]));
	}
	for (int i = MOST; i < MOST + MORE; i++) {
		peers[i] = peer_connect(port);
		assert_true(peer_say(peers[i], "x"));
	}
	EVENTUALLY(stats_of(server).over_connections >= 1);
	assert_true(peer_quiet(peers[MOST], 50));
	assert_int_equal(sttcp_server_count(server), MOST);
	/* Each that goes makes room for one that waits, first come, first served. */
	for (int i = 0; i < MORE; i++) {
		peer_close(peers[i]);
		assert_true(peer_expect(peers[MOST + i], "x"));
		assert_true(sttcp_server_count(server) <= MOST);
	}
	for (int i = MORE; i < MOST + MORE; i++)
		peer_close(peers[i]);
	assert_int_equal(stats_of(server).total, MOST + MORE);
	sttcp_server_free(server);
	probe_free(probe);
}

static void connections_over_the_number_are_rejected_when_asked(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	probe->data = answer;
	sttcp_server *server = probe_listen(
		probe, STTCP_OPTIONS(.max_connections = 2, .over_limit = STTCP_OVER_REJECT));
	int port = sttcp_server_port(server);
	int first = peer_connect(port);
	int second = peer_connect(port);

	assert_true(echoes(first));
	assert_true(echoes(second));
	for (int i = 1; i <= 10; i++) {
		int third = peer_connect(port);

		assert_int_equal(peer_end(third), 0);
		/* Who has seen the end sees it counted. */
		assert_int_equal(stats_of(server).over_connections, i);
		peer_close(third);
	}
	assert_int_equal(probe_count(probe, STTCP_CONNECTION), 2);
	peer_close(first);
	EVENTUALLY(sttcp_server_count(server) == 1);
	/* The descriptor goes a moment after the membership. */
	for (bool in = false; !in;) {
		int third = peer_connect(port);

		in = peer_say(third, "x") && peer_expect(third, "x");
		peer_close(third);
	}
	peer_close(second);
	sttcp_server_free(server);
	probe_free(probe);
}

static struct event inside = EVENT_INIT;
static struct event gate = EVENT_INIT;

static int hold_one_that_finds_nobody(int fd, any_address addr, socklen_t *restrict len, int flags)
{
	int accepted = real_accept4(fd, addr, len, flags);
	int errnum = errno;

	if (accepted < 0 && event_count(&inside) == 0) {
		event_raise(&inside);
		event_wait(&gate, 1);
	}
	errno = errnum;
	return accepted;
}

/* A listener that looks for one more, and finds nobody, takes no place from another one. */
static void nobody_is_rejected_while_there_is_room(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	probe->data = answer;
	sttcp_server *server =
		probe_server(probe, "127.0.0.1", 0,
			     STTCP_OPTIONS(.max_connections = 2, .over_limit = STTCP_OVER_REJECT));
	assert_int_equal(sttcp_server_add_address(server, "127.0.0.2", 0), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	atomic_store(&stand_in_accept4, hold_one_that_finds_nobody);
	int first = peer_connect(sttcp_server_port(server));

	assert_true(event_wait(&inside, 1));
	const char *address = sttcp_server_address(server, 1);
	int second = peer_connect_to("127.0.0.2", (int)strtol(strchr(address, ':') + 1, NULL, 10));

	assert_true(echoes(second));
	event_raise(&gate);
	assert_true(echoes(first));
	atomic_store(&stand_in_accept4, NULL);
	assert_int_equal(stats_of(server).over_connections, 0);
	peer_close(first);
	peer_close(second);
	sttcp_server_free(server);
	probe_free(probe);
}

static void connections_of_one_address_over_the_limit_are_rejected(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	probe->data = answer;
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.max_connections_per_ip = 2));
	int port = sttcp_server_port(server);

	/* Each round with an address of its own: the last one's leave when they leave. */
	for (int round = 0; round < 20; round++) {
		char source[32];

		snprintf(source, sizeof(source), "127.0.2.%d", round + 1);
		int a = peer_connect_from(source, port);
		int b = peer_connect_from(source, port);

		assert_true(echoes(a));
		assert_true(echoes(b));

		int over = peer_connect_from(source, port);

		assert_int_equal(peer_end(over), 0);
		EVENTUALLY(stats_of(server).over_per_ip == round + 1);
		peer_close(over);
		peer_close(a);
		peer_close(b);
	}
	sttcp_server_free(server);
	probe_free(probe);
}

static void many_addresses_are_counted_apart(void **state)
{
	enum {
		ADDRESSES = 200
	};
	struct probe *probe = probe_new();
	int peers[ADDRESSES];

	(void)state;
	probe->data = answer;
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.max_connections_per_ip = 1));
	int port = sttcp_server_port(server);

	for (int i = 0; i < ADDRESSES; i++) {
		char source[32];

		snprintf(source, sizeof(source), "127.0.1.%d", i + 1);
		peers[i] = peer_connect_from(source, port);
		assert_true(echoes(peers[i]));
	}
	int over = peer_connect_from("127.0.1.77", port);

	assert_int_equal(peer_end(over), 0);
	peer_close(over);
	for (int i = 0; i < ADDRESSES; i++)
		peer_close(peers[i]);
	assert_int_equal(stats_of(server).over_per_ip, 1);
	sttcp_server_free(server);
	probe_free(probe);
}

/* A burst of a second's worth at once, the rest as fast as the rate allows. */
static void connections_over_the_rate_wait_their_turn(void **state)
{
	enum {
		RATE = 20,
		CLIENTS = 30
	};
	struct probe *probe = probe_new();
	int peers[CLIENTS];

	(void)state;
	probe->data = answer;
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.accept_rate = RATE));
	int64_t began = now_ms();

	for (int i = 0; i < CLIENTS; i++) {
		peers[i] = peer_connect(sttcp_server_port(server));
		assert_true(peer_say(peers[i], "x"));
	}
	for (int i = 0; i < CLIENTS; i++)
		assert_true(peer_expect(peers[i], "x"));
	/* 10 beyond the burst, at 20 a second. */
	assert_true(now_ms() - began >= (CLIENTS - RATE) * 1000 / RATE - 50);
	assert_true(stats_of(server).over_rate >= 1);
	for (int i = 0; i < CLIENTS; i++)
		peer_close(peers[i]);
	sttcp_server_free(server);
	probe_free(probe);
}

static void connections_over_the_rate_are_rejected_when_asked(void **state)
{
	enum {
		RATE = 5,
		CLIENTS = 10
	};
	struct probe *probe = probe_new();
	int peers[CLIENTS];
	int rejected = 0;

	(void)state;
	sttcp_server *server = probe_listen(
		probe, STTCP_OPTIONS(.accept_rate = RATE, .over_limit = STTCP_OVER_REJECT));

	for (int i = 0; i < CLIENTS; i++)
		peers[i] = peer_connect(sttcp_server_port(server));
	EVENTUALLY(stats_of(server).over_rate + stats_of(server).total == CLIENTS);
	rejected = (int)stats_of(server).over_rate;
	/* A second may pass on a slow machine, and then there is one burst more. */
	assert_true(rejected <= CLIENTS - RATE);
	assert_true(rejected >= 1);
	for (int i = 0; i < CLIENTS; i++)
		peer_close(peers[i]);
	sttcp_server_free(server);
	probe_free(probe);
}

/* Listeners that wait for a place are closed all the same; nothing hangs and nothing leaks. */
/* No handler has seen it, and so none has declined it. */
static void connection_that_cannot_be_watched_has_failed(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	sttcp_server *server = probe_listen(probe, NULL);
	fault_instead(SYS_epoll_ctl, ENOSPC, 1);
	int peer = peer_connect(sttcp_server_port(server));

	EVENTUALLY(stats_of(server).failed == 1);
	fault_clear();
	assert_int_equal(stats_of(server).declined, 0);
	assert_int_equal(probe_count(probe, STTCP_CONNECTION), 0);
	peer_close(peer);
	sttcp_server_free(server);
	probe_free(probe);
}

static void stop_while_over_the_limit_is_a_stop(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		struct probe *probe = probe_new();
		int peers[4];

		probe->data = answer;
		sttcp_server *server = probe_listen(
			probe, STTCP_OPTIONS(.max_connections = 1, .drain_timeout_ms = 20));

		for (int i = 0; i < 4; i++)
			peers[i] = peer_connect(sttcp_server_port(server));
		assert_true(echoes(peers[0]));
		EVENTUALLY(stats_of(server).over_connections >= 1);
		/* The close of the first calls the listener at the moment of the stop. */
		peer_close(peers[0]);
		assert_int_equal(sttcp_server_stop(server), 0);
		/* By force, a handler may still be on its way out. */
		EVENTUALLY(sttcp_server_start(server) == 0);
		int again = peer_connect(sttcp_server_port(server));
		assert_true(echoes(again));
		peer_close(again);
		for (int i = 1; i < 4; i++)
			peer_close(peers[i]);
		sttcp_server_free(server);
		probe_free(probe);
	}
}

static void limits_below_minus_one_are_invalid(void **state)
{
	const sttcp_options *bad[] = {
		STTCP_OPTIONS(.max_connections = -2), STTCP_OPTIONS(.max_connections_per_ip = -2),
		STTCP_OPTIONS(.accept_rate = -2),     STTCP_OPTIONS(.over_limit = 2),
		STTCP_OPTIONS(.over_limit = -1),
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		sttcp_server *server = sttcp_server_new("127.0.0.1", 0, bad[i]);

		assert_non_null(server);
		assert_int_equal(sttcp_server_start(server), -EINVAL);
		sttcp_server_free(server);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(connections_over_the_number_wait_in_the_backlog),
		cmocka_unit_test(connections_over_the_number_are_rejected_when_asked),
		cmocka_unit_test(nobody_is_rejected_while_there_is_room),
		cmocka_unit_test(connections_of_one_address_over_the_limit_are_rejected),
		cmocka_unit_test(many_addresses_are_counted_apart),
		cmocka_unit_test(connections_over_the_rate_wait_their_turn),
		cmocka_unit_test(connections_over_the_rate_are_rejected_when_asked),
		cmocka_unit_test(connection_that_cannot_be_watched_has_failed),
		cmocka_unit_test(stop_while_over_the_limit_is_a_stop),
		cmocka_unit_test(limits_below_minus_one_are_invalid),
	};

	/* Two listeners are on two loops. */
	if (sttcp_engine_configure(2, 0, 0) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
