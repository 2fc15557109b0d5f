/* SPDX-License-Identifier: MIT */
/* G3: a client that connects again. After which ends it does and after which it does not, and how
 * often. What it does between two attempts is in test_reconnect_wait.c, what it tells of
 * them in test_reconnect_log.c. */
#include "support/sockets.h"
#include "support/support.h"

#include <net/if.h>
#include <sys/socket.h>

enum {
	NEVER_MS = 1000 * 1000 * 1000 /* a wait below it is hardly ever a short one */
};

#define SOON .reconnect_ms = 1, .reconnect_max_ms = 20

/* ---------------------------------------------------------- ends that were not asked for */

static void wait_for_death(int peer)
{
	ignore(peer_end(peer));
	peer_close(peer);
}

static void say_too_much(int peer)
{
	peer_say(peer, "0123456789\n");
	wait_for_death(peer);
}

static void cut_a_message(int peer)
{
	peer_say(peer, "012");
	peer_shutdown(peer);
	wait_for_death(peer);
}

/* A second connection, whatever has ended the first one. */
static void expect_return(const sttcp_options *options, void (*lose)(int peer), int reason)
{
	struct probe *probe = probe_new();
	int port;
	int listener = peer_listen(&port, 8);
	sttcp_client *client = probe_dial(probe, port, options);
	int peer = peer_accept(listener);

	assert_true(peer >= 0);
	assert_int_equal(sttcp_client_wait_open(client, DEADLINE_MS), 0);
	lose(peer);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(probe), reason);
	peer = peer_accept(listener);
	assert_true(peer >= 0);
	assert_true(probe_wait(probe, STTCP_CONNECTION, 2));
	assert_int_equal(sttcp_client_wait(client, 0), -ETIMEDOUT);
	assert_int_equal(sttcp_client_close(client), 0);
	assert_int_equal(sttcp_client_wait(client, 0), STTCP_EDESTROYED);
	peer_close(peer);
	peer_close(listener);
	sttcp_client_free(client);
	probe_free(probe);
}

static void lost_connection_comes_back(void **state)
{
	(void)state;
	expect_return(STTCP_OPTIONS(SOON), peer_close, 0);
	expect_return(STTCP_OPTIONS(SOON), peer_reset, -ECONNRESET);
	/* The end handler alone, and not the disconnection, has seen the FIN. */
	expect_return(STTCP_OPTIONS(SOON, .half_close = true, .lifetime_ms = 100), peer_close,
		      STTCP_ETIME_LIFETIME);
}

static void connection_over_a_limit_comes_back(void **state)
{
	(void)state;
	expect_return(STTCP_OPTIONS(SOON, .idle_timeout_ms = 50), wait_for_death, STTCP_ETIME_IDLE);
	expect_return(STTCP_OPTIONS(SOON, .first_byte_timeout_ms = 50), wait_for_death,
		      STTCP_ETIME_FIRST_BYTE);
	expect_return(STTCP_OPTIONS(SOON, .lifetime_ms = 50), wait_for_death, STTCP_ETIME_LIFETIME);
	/* The peer's end comes before that of this one. */
	expect_return(STTCP_OPTIONS(SOON, .framing = STTCP_FRAMING_FIXED, .fixed_size = 5,
				    .message_timeout_ms = 60000),
		      cut_a_message, STTCP_EFRAME);
}

static void connection_with_a_bad_message_comes_back(void **state)
{
	(void)state;
	expect_return(STTCP_OPTIONS(SOON, .framing = STTCP_FRAMING_LINE, .max_message = 5),
		      say_too_much, STTCP_ELIMIT);
	expect_return(STTCP_OPTIONS(SOON, .framing = STTCP_FRAMING_LINE), cut_a_message,
		      STTCP_EFRAME);
}

static void failed_attempt_is_tried_again(void **state)
{
	char path[64];
	char host[80];
	struct probe *probe = probe_new();

	(void)state;
	snprintf(path, sizeof(path), "/tmp/sttcp-reconnect-%d", (int)getpid());
	snprintf(host, sizeof(host), "unix:%s", path);
	sttcp_client *client = probe_client(probe, host, 0, STTCP_OPTIONS(SOON));
	assert_int_equal(sttcp_client_start(client), 0);
	assert_true(probe_wait(probe, STTCP_UNCONNECTED, 5));
	assert_int_equal(probe_reason(probe), -ENOENT);
	/* There it is. */
	struct probe *side = probe_new();
	sttcp_server *server = probe_server(side, host, 0, NULL);
	assert_int_equal(sttcp_server_start(server), 0);
	assert_int_equal(sttcp_client_wait_open(client, DEADLINE_MS), 0);
	assert_int_equal(probe_count(probe, STTCP_CONNECTION), 1);
	sttcp_client_free(client);
	sttcp_server_free(server);
	probe_free(side);
	probe_free(probe);
}

static atomic_bool late_is_here;

/* An interface of the test's own, whose number the kernel does not look at for ::1. */
unsigned int if_nametoindex(const char *name)
{
	return strcmp(name, "late") == 0 && atomic_load(&late_is_here);
}

/* What the address is depends on the interfaces that there are at each attempt. */
static void interface_that_comes_late_is_found(void **state)
{
	struct probe *probe = probe_new();
	struct probe *side = probe_new();

	(void)state;
	if (!has_ipv6())
		skip();
	sttcp_server *server = probe_server(side, "::1", 0, NULL);
	assert_int_equal(sttcp_server_start(server), 0);
	sttcp_client *client =
		probe_client(probe, "::1%late", sttcp_server_port(server), STTCP_OPTIONS(SOON));

	assert_int_equal(sttcp_client_start(client), 0);
	assert_true(probe_wait(probe, STTCP_UNCONNECTED, 2));
	assert_int_equal(probe_reason(probe), STTCP_ERESOLVE);
	atomic_store(&late_is_here, true);
	assert_int_equal(sttcp_client_wait_open(client, DEADLINE_MS), 0);
	sttcp_client_free(client);
	sttcp_server_free(server);
	probe_free(side);
	probe_free(probe);
}

/* ------------------------------------------------------------------ ends that were */

static bool wave_off(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	(void)conn;
	return false;
}

static bool close_it(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	sttcp_conn_close(conn);
	return true;
}

static bool abort_it(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	sttcp_conn_abort(conn);
	return true;
}

static bool fail_it(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	sttcp_conn_fail(conn, -ECONNRESET, "as if the network had");
	return true;
}

static bool fail_it_now(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	sttcp_conn_fail_now(conn, STTCP_ETIME_IDLE, "as if it were a limit");
	return true;
}

static bool detach_it(struct probe *probe, sttcp_conn *conn)
{
	int fd;

	(void)probe;
	/* While its handler is about to return on another thread. */
	while ((fd = sttcp_conn_detach(conn)) == -EBUSY)
		nap_ms(1);
	peer_close(fd);
	return true;
}

static bool stop_the_client(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	sttcp_client_stop(sttcp_conn_client(conn));
	return true;
}

static const struct wish {
	bool (*end)(struct probe *probe, sttcp_conn *conn);
	int reason;
} wishes[] = {
	{wave_off, 0},
	{close_it, STTCP_ECLOSED},
	{abort_it, STTCP_ECLOSED},
	{fail_it, -ECONNRESET},
	{fail_it_now, STTCP_ETIME_IDLE},
	{detach_it, STTCP_ECLOSED},
	{stop_the_client, STTCP_EDESTROYED},
};

static bool end_at_data(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	const struct wish *wish = probe->extra;

	(void)data;
	(void)size;
	return wish->end(probe, conn);
}

static bool end_at_fin(struct probe *probe, sttcp_event event, sttcp_conn *conn)
{
	const struct wish *wish = probe->extra;

	return event != STTCP_END || wish->end(probe, conn);
}

/* The client has ended for good: wait returns, and nothing comes after that. */
static void expect_end(struct probe *probe, const struct wish *wish, const sttcp_options *options,
		       void (*provoke)(int peer))
{
	int port;
	int listener = peer_listen(&port, 8);

	probe->extra = (void *)(uintptr_t)wish;
	sttcp_client *client = probe_dial(probe, port, options);
	int peer = peer_accept(listener);
	assert_true(peer >= 0);
	if (provoke)
		provoke(peer);
	assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), wish->reason);
	assert_int_equal(probe_count(probe, STTCP_CONNECTION), 1);
	assert_int_equal(probe_count(probe, STTCP_UNCONNECTED), 0);
	assert_int_equal(sttcp_client_wait_open(client, 0),
			 wish->reason ? wish->reason : STTCP_ECLOSED);
	sttcp_client_free(client);
	peer_close(peer);
	peer_close(listener);
	probe_free(probe);
}

static void greet(int peer)
{
	peer_say(peer, "hello\n");
}

/* A connection with TLS is not detached. */
static bool can_be_done(const struct wish *wish)
{
	return !over_tls() || wish->end != detach_it;
}

static void end_in_a_handler_is_the_last(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(wishes) / sizeof(wishes[0]); i++) {
		if (!can_be_done(&wishes[i]))
			continue;
		struct probe *probe = probe_new();

		probe->connection = wishes[i].end;
		expect_end(probe, &wishes[i], STTCP_OPTIONS(SOON), NULL);
		probe = probe_new();
		probe->data = end_at_data;
		expect_end(probe, &wishes[i], STTCP_OPTIONS(SOON), greet);
		/* The universal handler's word counts where there is no other. */
		probe = probe_new();
		probe->without = 1u << STTCP_END;
		probe->universal = end_at_fin;
		expect_end(probe, &wishes[i], STTCP_OPTIONS(SOON, .half_close = true),
			   peer_shutdown);
	}
}

static void end_by_another_thread_is_the_last(void **state)
{
	(void)state;
	for (size_t i = 1; i < sizeof(wishes) / sizeof(wishes[0]); i++) {
		if (!can_be_done(&wishes[i]))
			continue;
		struct probe *probe = probe_new();
		int port;
		int listener = peer_listen(&port, 8);
		sttcp_client *client = probe_dial(probe, port, STTCP_OPTIONS(SOON));
		sttcp_conn *conn = client_conn(client);

		wishes[i].end(probe, conn);
		assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), wishes[i].reason);
		assert_int_equal(probe_count(probe, STTCP_CONNECTION), 1);
		sttcp_conn_unref(conn);
		sttcp_client_free(client);
		peer_close(listener);
		probe_free(probe);
	}
}

/* ------------------------------------------------------------------------- tries */

static void tries_are_as_many_as_allowed(void **state)
{
	int port;
	int refusing = peer_refuse(&port);

	(void)state;
	for (int tries = 1; tries <= 4; tries++) {
		struct probe *probe = probe_new();
		sttcp_client *client =
			probe_dial(probe, port, STTCP_OPTIONS(SOON, .reconnect_tries = tries));

		/* Two runs: the count begins anew. */
		for (int run = 1; run <= 2; run++) {
			assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), -ECONNREFUSED);
			assert_int_equal(probe_count(probe, STTCP_UNCONNECTED), run * (1 + tries));
			if (run == 1)
				assert_int_equal(sttcp_client_start(client), 0);
		}
		sttcp_client_free(client);
		probe_free(probe);
	}
	peer_close(refusing);
}

/* Opened once, it has all of its tries again. */
static void tries_count_from_the_last_open_connection(void **state)
{
	struct probe *probe = probe_new();
	int port;
	int listener = peer_listen(&port, 8);
	sttcp_client *client = probe_dial(probe, port, STTCP_OPTIONS(SOON, .reconnect_tries = 2));

	(void)state;
	for (int i = 1; i <= 5; i++) {
		int peer = peer_accept(listener);

		assert_true(peer >= 0);
		assert_true(probe_wait(probe, STTCP_CONNECTION, i));
		if (i == 5)
			peer_close(listener);
		peer_close(peer);
	}
	assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), -ECONNREFUSED);
	assert_int_equal(probe_count(probe, STTCP_CONNECTION), 5);
	assert_int_equal(probe_count(probe, STTCP_DISCONNECTION), 5);
	assert_int_equal(probe_count(probe, STTCP_UNCONNECTED), 2);
	sttcp_client_free(client);
	probe_free(probe);
}

static void tries_are_none_without_the_option(void **state)
{
	struct probe *probe = probe_new();
	int port;
	int refusing = peer_refuse(&port);
	sttcp_client *client =
		probe_dial(probe, port, STTCP_OPTIONS(.reconnect_ms = -1, .reconnect_tries = -1));

	(void)state;
	assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), -ECONNREFUSED);
	assert_string_equal(probe_order(probe), "uU");
	sttcp_client_free(client);
	peer_close(refusing);
	probe_free(probe);
}

/* ------------------------------------------------------- calls in its own handlers */

static void start_again(struct probe *probe, sttcp_conn *conn, int reason)
{
	int *starts = probe->extra;

	(void)reason;
	if (--*starts < 0)
		return;

	int result = sttcp_client_start(sttcp_conn_client(conn));

	if (result < 0)
		probe_violate(probe, "start: %d", result);
}

/* Each attempt of these would else begin in days. */
static void start_in_its_own_handler_does_not_wait(void **state)
{
	int starts = 5;
	struct probe *probe = probe_new();
	int port;
	int refusing = peer_refuse(&port);

	(void)state;
	probe->extra = &starts;
	probe->ended = start_again;
	sttcp_client *client = probe_dial(
		probe, port, STTCP_OPTIONS(.reconnect_ms = NEVER_MS, .reconnect_max_ms = -1));
	assert_true(probe_wait(probe, STTCP_UNCONNECTED, 6));
	assert_int_equal(sttcp_client_wait(client, 0), -ETIMEDOUT);
	/* From elsewhere it is started already. */
	assert_int_equal(sttcp_client_start(client), -EBUSY);
	sttcp_client_close(client);
	assert_int_equal(probe_count(probe, STTCP_UNCONNECTED), 6);
	sttcp_client_free(client);
	peer_close(refusing);
	probe_free(probe);
}

/* It is the attempt that was due; and when none was, it is a first one. */
static void start_in_its_own_handler_counts_as_the_try_that_was_due(void **state)
{
	static const struct {
		int starts, attempts;
	} cases[] = {{0, 3}, {1, 3}, {2, 3}, {3, 6}};
	int port;
	int refusing = peer_refuse(&port);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct probe *probe = probe_new();
		int starts = cases[i].starts;

		probe->extra = &starts;
		probe->ended = start_again;
		sttcp_client *client =
			probe_dial(probe, port, STTCP_OPTIONS(SOON, .reconnect_tries = 2));
		assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), -ECONNREFUSED);
		assert_int_equal(probe_count(probe, STTCP_UNCONNECTED), cases[i].attempts);
		sttcp_client_free(client);
		probe_free(probe);
	}
	peer_close(refusing);
}

static void free_at_the_end(struct probe *probe, sttcp_conn *conn, int reason)
{
	(void)probe;
	(void)reason;
	sttcp_client_free(sttcp_conn_client(conn));
}

static bool free_at_the_beginning(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	sttcp_client_free(sttcp_conn_client(conn));
	return true;
}

static void expect_release(struct probe *probe, int port, const char *order)
{
	probe_dial(probe, port, STTCP_OPTIONS(SOON));
	pthread_mutex_lock(&probe->lock);
	while (!probe->releases)
		pthread_cond_wait(&probe->changed, &probe->lock);
	pthread_mutex_unlock(&probe->lock);
	assert_string_equal(probe_order(probe), order);
	probe_free(probe);
}

/* G12: freed in its own handlers, it does not come back. */
static void free_in_its_own_handler_is_the_end(void **state)
{
	struct probe *side = probe_new();
	sttcp_server *server = probe_listen(side, NULL);
	int port;
	int refusing = peer_refuse(&port);

	(void)state;
	for (int i = 0; i < 50; i++) {
		struct probe *probe = probe_new();

		probe->ended = free_at_the_end;
		expect_release(probe, port, "uU");
		probe = probe_new();
		probe->connection = free_at_the_beginning;
		expect_release(probe, sttcp_server_port(server), "cCdD");
	}
	peer_close(refusing);
	sttcp_server_free(server);
	probe_free(side);
}

static void stop_at_the_end(struct probe *probe, sttcp_conn *conn, int reason)
{
	(void)reason;
	stop_the_client(probe, conn);
}

/* A close in the last handler: it was closed, whatever the connection has ended with. */
static void close_in_the_last_handler_is_the_end(void **state)
{
	struct probe *probe = probe_new();
	int port;
	int refusing = peer_refuse(&port);

	(void)state;
	probe->ended = stop_at_the_end;
	sttcp_client *client = probe_dial(probe, port, STTCP_OPTIONS(SOON));
	assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), STTCP_EDESTROYED);
	assert_string_equal(probe_order(probe), "uU");
	sttcp_client_free(client);
	peer_close(refusing);
	probe_free(probe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lost_connection_comes_back),
		cmocka_unit_test(connection_over_a_limit_comes_back),
		cmocka_unit_test(connection_with_a_bad_message_comes_back),
		cmocka_unit_test(failed_attempt_is_tried_again),
		cmocka_unit_test(interface_that_comes_late_is_found),
		cmocka_unit_test(end_in_a_handler_is_the_last),
		cmocka_unit_test(end_by_another_thread_is_the_last),
		cmocka_unit_test(tries_are_as_many_as_allowed),
		cmocka_unit_test(tries_count_from_the_last_open_connection),
		cmocka_unit_test(tries_are_none_without_the_option),
		cmocka_unit_test(start_in_its_own_handler_does_not_wait),
		cmocka_unit_test(start_in_its_own_handler_counts_as_the_try_that_was_due),
		cmocka_unit_test(free_in_its_own_handler_is_the_end),
		cmocka_unit_test(close_in_the_last_handler_is_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
