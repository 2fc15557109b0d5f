/* SPDX-License-Identifier: MIT */
/* G3, G9: waiting for a client's open connection, sending on it, and where a client may be waited
 * for: not in its own handlers, but in those of other objects. */
#include "support/support.h"

#include <sys/syscall.h>

#define SOON .reconnect_ms = 1, .reconnect_max_ms = 20

enum {
	NEVER_MS = 1000 * 1000 * 1000
};

/* ------------------------------------------------------------------------- wait_open */

static struct event may_open = EVENT_INIT;
static struct event opening = EVENT_INIT;

static bool open_when_told(struct probe *probe, sttcp_conn *conn)
{
	(void)conn;
	event_raise(&opening);
	return event_wait(&may_open, 1) && !probe->extra;
}

static void wait_open_returns_when_the_handler_has(void **state)
{
	struct event fresh = EVENT_INIT;
	struct probe *side = probe_new();
	sttcp_server *server = probe_listen(side, NULL);
	struct probe *probe = probe_new();

	(void)state;
	may_open = opening = fresh;
	probe->connection = open_when_told;
	sttcp_client *client = probe_dial(probe, sttcp_server_port(server), NULL);
	assert_true(event_wait(&opening, 1));
	assert_int_equal(sttcp_client_wait_open(client, 0), -ETIMEDOUT);
	assert_int_equal(sttcp_client_wait_open(client, 30), -ETIMEDOUT);
	assert_int_equal(sttcp_client_send(client, "x", 1, 0), -ETIMEDOUT);
	event_raise(&may_open);
	assert_int_equal(sttcp_client_wait_open(client, -1), 0);
	assert_int_equal(sttcp_client_wait_open(client, 0), 0);
	assert_true(sttcp_client_wait(client, 0) == -ETIMEDOUT);
	sttcp_client_close(client);
	assert_int_equal(sttcp_client_wait_open(client, -1), STTCP_EDESTROYED);
	sttcp_client_free(client);
	sttcp_server_free(server);
	probe_free(side);
	probe_free(probe);
}

/* An open connection is one whose handler has said true. */
static void wait_open_does_not_take_a_false_for_an_open_connection(void **state)
{
	struct event fresh = EVENT_INIT;
	struct probe *side = probe_new();
	sttcp_server *server = probe_listen(side, NULL);

	(void)state;
	may_open = opening = fresh;
	event_raise(&may_open);
	for (int i = 0; i < 50; i++) {
		struct probe *probe = probe_new();

		probe->connection = open_when_told;
		probe->extra = probe;
		sttcp_client *client =
			probe_dial(probe, sttcp_server_port(server), STTCP_OPTIONS(SOON));
		assert_int_equal(sttcp_client_wait_open(client, -1), STTCP_ECLOSED);
		assert_int_equal(sttcp_client_send(client, "x", 1, -1), STTCP_ECLOSED);
		assert_int_equal(sttcp_client_wait(client, 0), 0);
		sttcp_client_free(client);
		probe_free(probe);
	}
	sttcp_server_free(server);
	probe_free(side);
}

static void wait_open_tells_the_reason_of_a_failed_attempt(void **state)
{
	struct probe *probe = probe_new();
	int port;
	int refusing = peer_refuse(&port);
	sttcp_client *client = probe_client(probe, "127.0.0.1", port, NULL);

	(void)state;
	assert_int_equal(sttcp_client_wait_open(client, -1), -EINVAL); /* never started */
	assert_int_equal(sttcp_client_send(client, "x", 1, -1), -EINVAL);
	assert_int_equal(sttcp_client_start(client), 0);
	assert_int_equal(sttcp_client_wait_open(client, -1), -ECONNREFUSED);
	assert_int_equal(sttcp_client_send(client, "x", 1, -1), -ECONNREFUSED);
	sttcp_client_free(client);
	peer_close(refusing);
	probe_free(probe);
}

static void arguments_are_checked_before_any_wait(void **state)
{
	sttcp_client *client = sttcp_client_new("127.0.0.1", 1, NULL);

	(void)state;
	assert_int_equal(sttcp_client_wait_open(NULL, -1), -EINVAL);
	assert_int_equal(sttcp_client_send(NULL, "x", 1, -1), -EINVAL);
	assert_int_equal(sttcp_client_send_message(NULL, "x", 1, -1), -EINVAL);
	assert_int_equal(sttcp_client_wait_open(client, -2), -EINVAL);
	assert_int_equal(sttcp_client_wait_open(client, INT32_MIN), -EINVAL);
	assert_int_equal(sttcp_client_send(client, "x", 1, -2), -EINVAL);
	assert_int_equal(sttcp_client_send(client, NULL, 1, INT32_MAX), -EINVAL);
	assert_int_equal(sttcp_client_send_message(client, NULL, 1, INT32_MAX), -EINVAL);
	assert_int_equal(sttcp_client_send(client, "x", SIZE_MAX, -1), -EINVAL);
	assert_int_equal(sttcp_client_send_message(client, "x", SIZE_MAX, -1), -EMSGSIZE);
	sttcp_client_free(client);
}

struct waiter {
	pthread_t thread;
	sttcp_client *client;
	atomic_int tid; /* from then on it does nothing more before its call */
	int result;
};

static void *wait_open(void *argument)
{
	struct waiter *waiter = argument;

	atomic_store(&waiter->tid, (int)syscall(SYS_gettid));
	waiter->result = sttcp_client_wait_open(waiter->client, DEADLINE_MS);
	return NULL;
}

/* A connection may be gone before who waits for it wakes up. */
static void wait_open_does_not_miss_a_short_connection(void **state)
{
	struct event fresh = EVENT_INIT;
	struct probe *probe = probe_new();
	int port;
	int listener = peer_listen(&port, 8);

	(void)state;
	probe->connection = open_when_told;
	for (int i = 1; i <= 20; i++) {
		/* The next one would come in days. */
		struct waiter waiter = {.tid = 0};

		may_open = opening = fresh;
		waiter.client = probe_dial(
			probe, port,
			STTCP_OPTIONS(.reconnect_ms = NEVER_MS, .reconnect_max_ms = NEVER_MS));
		assert_int_equal(pthread_create(&waiter.thread, NULL, wait_open, &waiter), 0);
		peer_close(peer_accept(listener));
		assert_true(event_wait(&opening, 1));
		EVENTUALLY(thread_sleeps(atomic_load(&waiter.tid)));
		event_raise(&may_open);
		assert_int_equal(pthread_join(waiter.thread, NULL), 0);
		assert_int_equal(waiter.result, 0);
		assert_true(probe_wait(probe, STTCP_DISCONNECTION, i));
		sttcp_client_free(waiter.client);
	}
	peer_close(listener);
	probe_free(probe);
}

/* ------------------------------------------------------------------------------ send */

static void *send_late(void *argument)
{
	return (void *)(intptr_t)sttcp_client_send(argument, "late", 4, -1);
}

static void send_waits_for_the_connection(void **state)
{
	struct probe *probe = probe_new();
	int port;
	int refusing = peer_refuse(&port);
	sttcp_client *client = probe_dial(probe, port, STTCP_OPTIONS(SOON));
	pthread_t thread;
	void *result;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, send_late, client), 0);
	assert_true(probe_wait(probe, STTCP_UNCONNECTED, 3));
	assert_int_equal(sttcp_client_send(client, "x", 1, 10), -ETIMEDOUT);
	struct probe *side = probe_new();
	sttcp_server *server = probe_server(side, "127.0.0.1", port, NULL);
	assert_int_equal(sttcp_server_start(server), 0);
	peer_close(refusing);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_int_equal((intptr_t)result, 0);
	assert_true(probe_wait_bytes(side, 4));
	assert_string_equal(probe_text(side), "late");
	sttcp_client_free(client);
	sttcp_server_free(server);
	probe_free(side);
	probe_free(probe);
}

static void send_is_that_of_the_connection(void **state)
{
	static char large[70000];
	struct probe *side = probe_new();
	sttcp_server *server = probe_listen(side, STTCP_OPTIONS(.half_close = true));
	struct probe *probe = probe_new();
	sttcp_client *client = probe_dial(
		probe, sttcp_server_port(server),
		STTCP_OPTIONS(SOON, .framing = STTCP_FRAMING_LINE, .max_message = 65536));

	(void)state;
	assert_int_equal(sttcp_client_send(client, "raw", 3, -1), 0);
	assert_int_equal(sttcp_client_send_message(client, "line", 4, -1), 0);
	assert_int_equal(sttcp_client_send(client, NULL, 0, -1), 0);
	assert_int_equal(sttcp_client_send_message(client, NULL, 0, -1), 0);
	assert_int_equal(sttcp_client_send_message(client, "two\nlines", 9, -1), -EINVAL);
	assert_int_equal(sttcp_client_send_message(client, large, sizeof(large), -1), -EMSGSIZE);
	assert_true(probe_wait_bytes(side, 9));
	assert_string_equal(probe_text(side), "rawline\n\n");

	sttcp_conn *conn = client_conn(client);
	assert_int_equal(sttcp_conn_shutdown(conn), 0);
	assert_int_equal(sttcp_client_send(client, "x", 1, -1), -EPIPE);
	sttcp_conn_unref(conn);
	sttcp_client_free(client);
	sttcp_server_free(server);
	probe_free(side);
	probe_free(probe);
}

/* Who sends through a server's restart loses what the old connection had, and no call fails for
 * want of a new one. */
/* A connection that the server's socket took while it was being closed has ended, and a send on
 * that one has its code; the next one waits for the next connection. */
static void send_to_whom_is_there(sttcp_client *client)
{
	int result = sttcp_client_send(client, "x", 1, DEADLINE_MS);

	for (int tries = 0; result < 0 && tries < 3; tries++) {
		assert_true(result == -ECONNRESET || result == -EPIPE || result == STTCP_ECLOSED ||
			    result == STTCP_ECUT);
		result = sttcp_client_send(client, "x", 1, DEADLINE_MS);
	}
	assert_int_equal(result, 0);
}

static void send_goes_on_over_a_restart(void **state)
{
	int port;
	int held = peer_refuse(&port);
	struct probe *side = probe_new();
	sttcp_server *server = probe_server(side, "127.0.0.1", port, NULL);
	struct probe *probe = probe_new();

	(void)state;
	assert_int_equal(sttcp_server_start(server), 0);
	sttcp_client *client = probe_dial(probe, port, STTCP_OPTIONS(SOON));
	for (int round = 0; round < 10; round++) {
		send_to_whom_is_there(client);
		assert_int_equal(sttcp_server_stop_within(server, 0, NULL), 0);
		sttcp_server_free(server);
		assert_true(probe_wait(probe, STTCP_DISCONNECTION, round + 1));
		server = probe_server(side, "127.0.0.1", port, NULL);
		assert_int_equal(sttcp_server_start(server), 0);
	}
	sttcp_client_free(client);
	sttcp_server_free(server);
	peer_close(held);
	probe_free(side);
	probe_free(probe);
}

/* ------------------------------------------------------------------- its own handlers */

static atomic_int own_results; /* that were not -EDEADLK */

static void expect_deadlock(sttcp_client *client)
{
	const int results[] = {
		sttcp_client_wait(client, 0),
		sttcp_client_wait(client, -1),
		sttcp_client_keep_alive(client),
		sttcp_client_wait_open(client, 0),
		sttcp_client_wait_open(client, -1),
		sttcp_client_send(client, "x", 1, 0),
		sttcp_client_send(client, "x", 1, -1),
		sttcp_client_send_message(client, "x", 1, -1),
	};

	for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++)
		if (results[i] != -EDEADLK)
			atomic_fetch_add(&own_results, 1);
}

static bool expect_deadlock_at(struct probe *probe, sttcp_event event, sttcp_conn *conn)
{
	(void)probe;
	(void)event;
	expect_deadlock(sttcp_conn_client(conn));
	return true;
}

static void free_data(void *data)
{
	expect_deadlock(data);
}

static bool set_data(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	sttcp_conn_set_data(conn, sttcp_conn_client(conn), free_data);
	return true;
}

static void own_handlers_may_not_wait(void **state)
{
	struct probe *probe = probe_new();
	int port;
	int listener = peer_listen(&port, 8);

	(void)state;
	probe->universal = expect_deadlock_at;
	probe->connection = set_data;
	sttcp_client *client = probe_dial(probe, port, STTCP_OPTIONS(SOON, .reconnect_tries = 1));
	int peer = peer_accept(listener);
	peer_say(peer, "x");
	assert_true(probe_wait(probe, STTCP_RESPONSE, 1));
	peer_close(listener);
	peer_close(peer);
	assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), -ECONNREFUSED);
	assert_int_equal(probe_count(probe, STTCP_DISCONNECTION), 1);
	assert_int_equal(probe_count(probe, STTCP_UNCONNECTED), 1);
	assert_int_equal(atomic_load(&own_results), 0);
	sttcp_client_free(client);
	probe_free(probe);
}

/* ------------------------------------------------------------ handlers of other objects */

static struct {
	sttcp_client *client;
	atomic_int results[4];
	struct event done;
} relayed = {.done = EVENT_INIT};

/* A server's handler that passes what it gets on over a client. */
static bool relay(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	(void)conn;
	atomic_store(&relayed.results[0], sttcp_client_wait_open(relayed.client, -1));
	atomic_store(&relayed.results[1], sttcp_client_send(relayed.client, data, size, -1));
	atomic_store(&relayed.results[2], sttcp_client_wait(relayed.client, -1));
	atomic_store(&relayed.results[3], sttcp_client_keep_alive(relayed.client));
	event_raise(&relayed.done);
	return true;
}

static void handlers_of_others_may_wait(void **state)
{
	struct probe *front = probe_new();
	struct probe *probe = probe_new();
	struct probe *back = probe_new();
	int port;
	int refusing = peer_refuse(&port);

	(void)state;
	front->data = relay;
	sttcp_server *server = probe_listen(front, NULL);
	relayed.client = probe_dial(probe, port, STTCP_OPTIONS(SOON));
	assert_true(probe_wait(probe, STTCP_UNCONNECTED, 2));
	int peer = peer_connect(sttcp_server_port(server));
	peer_say(peer, "through");
	/* Others are served meanwhile: the handler has no loop. */
	assert_true(probe_wait(probe, STTCP_UNCONNECTED, 5));
	sttcp_server *behind = probe_server(back, "127.0.0.1", port, NULL);
	assert_int_equal(sttcp_server_start(behind), 0);
	peer_close(refusing);
	assert_true(probe_wait_bytes(back, 7));
	assert_string_equal(probe_text(back), "through");
	sttcp_client_close(relayed.client);
	assert_true(event_wait(&relayed.done, 1));
	assert_int_equal(atomic_load(&relayed.results[0]), 0);
	assert_int_equal(atomic_load(&relayed.results[1]), 0);
	assert_int_equal(atomic_load(&relayed.results[2]), STTCP_EDESTROYED);
	assert_int_equal(atomic_load(&relayed.results[3]), STTCP_EDESTROYED);
	sttcp_client_free(relayed.client);
	peer_close(peer);
	sttcp_server_free(server);
	sttcp_server_free(behind);
	probe_free(front);
	probe_free(probe);
	probe_free(back);
}

/* Timers and pieces of work are other objects, too. */
static void wait_as_job(void *argument)
{
	atomic_store(&relayed.results[0], sttcp_client_wait_open(argument, -1));
	atomic_store(&relayed.results[1], sttcp_client_send(argument, "job", 3, -1));
	atomic_store(&relayed.results[2], sttcp_client_wait(argument, 0));
	event_raise(&relayed.done);
}

static void wait_as_timer(sttcp_timer *timer, void *context)
{
	(void)timer;
	wait_as_job(context);
}

static void expect_job_done(struct probe *probe, size_t bytes)
{
	assert_true(event_wait(&relayed.done, 1));
	assert_int_equal(atomic_load(&relayed.results[0]), 0);
	assert_int_equal(atomic_load(&relayed.results[1]), 0);
	assert_int_equal(atomic_load(&relayed.results[2]), -ETIMEDOUT);
	assert_true(probe_wait_bytes(probe, bytes));
}

static void timers_and_work_may_wait(void **state)
{
	struct event fresh = EVENT_INIT;
	struct probe *side = probe_new();
	sttcp_server *server = probe_listen(side, NULL);
	struct probe *probe = probe_new();
	sttcp_client *client = probe_dial(probe, sttcp_server_port(server), STTCP_OPTIONS(SOON));
	sttcp_timer *timer = sttcp_timer_new(wait_as_timer, client);

	(void)state;
	relayed.done = fresh;
	assert_int_equal(sttcp_timer_start(timer, 0, 0), 0);
	expect_job_done(side, 3);
	sttcp_timer_free(timer);
	relayed.done = fresh;
	assert_int_equal(sttcp_run(wait_as_job, client), 0);
	expect_job_done(side, 6);
	sttcp_client_free(client);
	sttcp_server_free(server);
	probe_free(side);
	probe_free(probe);
}

/* A chain: each client's connection handler waits for the client behind it. */
static bool wait_for_next(struct probe *probe, sttcp_conn *conn)
{
	(void)conn;
	return !probe->extra || sttcp_client_wait_open(probe->extra, DEADLINE_MS) == 0;
}

static void handlers_of_clients_may_wait_for_other_clients(void **state)
{
	enum {
		LENGTH = 12
	};
	struct probe *side = probe_new();
	sttcp_server *server = probe_listen(side, NULL);
	struct probe *probes[LENGTH];
	sttcp_client *clients[LENGTH];

	(void)state;
	for (int i = LENGTH - 1; i >= 0; i--) {
		probes[i] = probe_new();
		probes[i]->connection = wait_for_next;
		clients[i] = probe_client(probes[i], "127.0.0.1", sttcp_server_port(server), NULL);
		probes[i]->extra = i < LENGTH - 1 ? clients[i + 1] : NULL;
	}
	/* The last one first: nobody can wait for one that was never started. */
	for (int i = LENGTH - 1; i >= 0; i--)
		assert_int_equal(sttcp_client_start(clients[i]), 0);
	for (int i = 0; i < LENGTH; i++)
		assert_int_equal(sttcp_client_wait_open(clients[i], DEADLINE_MS), 0);
	for (int i = 0; i < LENGTH; i++)
		sttcp_client_free(clients[i]);
	for (int i = 0; i < LENGTH; i++)
		probe_free(probes[i]);
	sttcp_server_free(server);
	probe_free(side);
}

/* Closed while a handler of another object waits for it: the wait returns. */
static struct event waits = EVENT_INIT;

static bool wait_for_relayed(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	(void)conn;
	event_raise(&waits);
	atomic_store(&relayed.results[0], sttcp_client_wait_open(relayed.client, -1));
	atomic_store(&relayed.results[1], sttcp_client_send(relayed.client, "x", 1, 10000));
	atomic_store(&relayed.results[2], sttcp_client_wait(relayed.client, -1));
	atomic_store(&relayed.results[3], sttcp_client_keep_alive(relayed.client));
	event_raise(&relayed.done);
	return true;
}

/* The client tries for ever; `by_force`: it is the handler's connection that ends. */
static void check_end_of_wait(bool by_force)
{
	struct event fresh = EVENT_INIT;
	struct probe *front = probe_new();
	struct probe *probe = probe_new();
	int code = by_force ? STTCP_ESTOPPED : STTCP_EDESTROYED;
	int port;
	int refusing = peer_refuse(&port);

	relayed.done = waits = fresh;
	front->connection = wait_for_relayed;
	sttcp_server *server = probe_listen(front, NULL);
	relayed.client = probe_dial(probe, port, STTCP_OPTIONS(SOON));
	int peer = peer_connect(sttcp_server_port(server));
	assert_true(event_wait(&waits, 1));
	if (by_force)
		assert_int_equal(sttcp_server_stop_within(server, 0, NULL), 0);
	else
		sttcp_client_close(relayed.client);
	assert_true(event_wait(&relayed.done, 1));
	for (int i = 0; i < 4; i++)
		assert_int_equal(atomic_load(&relayed.results[i]), code);
	sttcp_client_free(relayed.client);
	peer_close(peer);
	peer_close(refusing);
	sttcp_server_free(server);
	probe_free(front);
	probe_free(probe);
}

static void wait_in_a_handler_ends_with_the_client(void **state)
{
	(void)state;
	check_end_of_wait(false);
}

static void wait_in_a_handler_ends_with_its_connection(void **state)
{
	(void)state;
	check_end_of_wait(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wait_open_returns_when_the_handler_has),
		cmocka_unit_test(wait_open_does_not_take_a_false_for_an_open_connection),
		cmocka_unit_test(wait_open_tells_the_reason_of_a_failed_attempt),
		cmocka_unit_test(arguments_are_checked_before_any_wait),
		cmocka_unit_test(wait_open_does_not_miss_a_short_connection),
		cmocka_unit_test(send_waits_for_the_connection),
		cmocka_unit_test(send_is_that_of_the_connection),
		cmocka_unit_test(send_goes_on_over_a_restart),
		cmocka_unit_test(own_handlers_may_not_wait),
		cmocka_unit_test(handlers_of_others_may_wait),
		cmocka_unit_test(timers_and_work_may_wait),
		cmocka_unit_test(handlers_of_clients_may_wait_for_other_clients),
		cmocka_unit_test(wait_in_a_handler_ends_with_the_client),
		cmocka_unit_test(wait_in_a_handler_ends_with_its_connection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
