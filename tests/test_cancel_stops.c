/* SPDX-License-Identifier: MIT */
/* G9: as test_cancel.c, for the calls that begin and end a server or client, and wait for its end.
 */
#include "support/victims.h"

#include <signal.h>

static void check_echo(int port)
{
	int peer = peer_connect(port);

	assert_true(peer >= 0);
	assert_true(peer_say(peer, "meow"));
	assert_true(peer_expect(peer, "meow"));
	peer_close(peer);
}

static void start_again(sttcp_server *server)
{
	int result = -1;

	EVENTUALLY((result = sttcp_server_start(server)) != -EBUSY);
	assert_int_equal(result, 0);
	check_echo(sttcp_server_port(server));
}

/* ---------------------------------------------------------------- stop, wait, free */

static int call_stop(struct victim *victim)
{
	return sttcp_server_stop(victim->server);
}

static int call_wait(struct victim *victim)
{
	return sttcp_server_wait(victim->server, -1);
}

static int call_wait_a_moment(struct victim *victim)
{
	return sttcp_server_wait(victim->server, 2 * VICTIM_STAYS_MS);
}

static int call_keep_alive(struct victim *victim)
{
	return sttcp_server_keep_alive(victim->server);
}

/* The stop goes on until its connections have ended, and the server can be used again. */
static void stop_goes_on_when_it_is_cancelled(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	probe->data = echo_data;
	sttcp_server *server = probe_server(probe, "127.0.0.1", 0, NULL);
	assert_int_equal(sttcp_server_start(server), 0);
	for (int round = 0; round < VICTIM_ROUNDS; round++) {
		struct victim victim = {.server = server};
		int peer = peer_connect(sttcp_server_port(server));

		EVENTUALLY(sttcp_server_count(server) == 1);
		sttcp_conn *conn = sttcp_server_find(server, probe_last_id(probe));
		assert_non_null(conn);
		victim_start(&victim, call_stop);
		if (round % 2 == 0) {
			EVENTUALLY(sttcp_conn_stopping(conn));
			victim_cancel_waiting(&victim);
		} else {
			some_moment();
			victim_cancel(&victim);
		}
		sttcp_conn_unref(conn);
		assert_true(peer_say(peer, "still there"));
		assert_true(peer_expect(peer, "still there"));
		peer_close(peer);
		assert_int_equal(victim_finish(&victim), 0);
		assert_int_equal(sttcp_server_wait(server, 0), 0);
		start_again(server);
		EVENTUALLY(sttcp_server_count(server) == 0);
	}
	assert_int_equal(sttcp_server_stop(server), 0);
	sttcp_server_free(server);
	probe_free(probe);
}

/* So do the calls that wait for it; one with a limit comes back at its limit. */
static void wait_goes_on_when_it_is_cancelled(void **state)
{
	struct probe *probe = probe_new();
	struct sigaction before;
	struct sigaction after;

	(void)state;
	sigaction(SIGINT, NULL, &before);
	probe->data = echo_data;
	sttcp_server *server = probe_listen(probe, NULL);
	for (int round = 0; round < VICTIM_ROUNDS; round++) {
		struct victim waiting = {.server = server};
		struct victim limited = {.server = server};
		struct victim kept = {.server = server};

		victim_start(&waiting, call_wait);
		victim_start(&limited, call_wait_a_moment);
		victim_start(&kept, call_keep_alive);
		some_moment();
		victim_cancel(&limited);
		victim_cancel_waiting(&waiting);
		victim_cancel_waiting(&kept);
		assert_int_equal(victim_finish(&limited), -ETIMEDOUT);
		check_echo(sttcp_server_port(server));
		assert_int_equal(sttcp_server_stop(server), 0);
		assert_int_equal(victim_finish(&waiting), 0);
		assert_int_equal(victim_finish(&kept), 0);
		/* G17: the dispositions from before come back. */
		sigaction(SIGINT, NULL, &after);
		assert_ptr_equal(before.sa_handler, after.sa_handler);
		start_again(server);
	}
	sttcp_server_free(server);
	probe_free(probe);
}

struct room {
	struct event inside;
	struct event gate;
};

static void stay(struct probe *probe, sttcp_conn *conn, int reason)
{
	struct room *room = probe->extra;

	(void)conn;
	(void)reason;
	event_raise(&room->inside);
	event_wait(&room->gate, 1);
}

static int call_free(struct victim *victim)
{
	sttcp_server_free(victim->server);
	return 0;
}

/* The context may go when free has returned, and not before. */
static void free_goes_on_when_it_is_cancelled(void **state)
{
	(void)state;
	for (int round = 0; round < 10; round++) {
		struct probe *probe = probe_new();
		struct room room = {EVENT_INIT, EVENT_INIT};
		struct victim victim = {0};

		probe->ended = stay;
		probe->extra = &room;
		victim.server = probe_listen(probe, NULL);
		int peer = peer_connect(sttcp_server_port(victim.server));
		EVENTUALLY(sttcp_server_count(victim.server) == 1);
		victim_start(&victim, call_free);
		assert_true(event_wait(&room.inside, 1));
		victim_cancel_waiting(&victim);
		event_raise(&room.gate);
		victim_finish(&victim);
		assert_int_equal(probe_count(probe, STTCP_DISCONNECTION), 1);
		pthread_mutex_lock(&probe->lock);
		assert_int_equal(probe->releases, 1);
		pthread_mutex_unlock(&probe->lock);
		peer_close(peer);
		probe_free(probe);
	}
}

/* -------------------------------------------------------------------- client */

static int call_client(struct victim *victim)
{
	int result = sttcp_client_start(victim->client);

	if (result == 0 || result == -EBUSY)
		result = sttcp_client_close(victim->client);
	return result;
}

static int call_client_close(struct victim *victim)
{
	return sttcp_client_close(victim->client);
}

static void check_client(sttcp_client *client, struct probe *probe)
{
	size_t before;

	assert_int_equal(sttcp_client_close(client), 0);
	pthread_mutex_lock(&probe->lock);
	before = probe->total;
	pthread_mutex_unlock(&probe->lock);
	assert_int_equal(sttcp_client_start(client), 0);
	sttcp_conn *conn = client_conn(client);
	assert_int_equal(sttcp_conn_send(conn, "meow", 4), 0);
	assert_true(probe_wait_bytes(probe, before + 4));
	sttcp_conn_unref(conn);
	assert_int_equal(sttcp_client_close(client), 0);
}

/* At random moments of start and close, with a name to be resolved and without. */
static void client_start_and_close_can_be_cancelled(void **state)
{
	struct probe *served = probe_new();

	(void)state;
	served->data = echo_data;
	sttcp_server *server = probe_listen(served, NULL);
	for (int by_name = 0; by_name < 2; by_name++) {
		struct probe *probe = probe_new();
		sttcp_client *client = probe_client(probe, by_name ? "localhost" : "127.0.0.1",
						    sttcp_server_port(server), NULL);

		for (int round = 0; round < VICTIM_ROUNDS; round++) {
			struct victim victim = {.loops = true, .client = client};

			victim_start(&victim, call_client);
			some_moment();
			victim_cancel(&victim);
			assert_int_equal(victim_finish(&victim), 0);
			check_client(client, probe);
		}
		sttcp_client_free(client);
		probe_free(probe);
	}
	assert_int_equal(sttcp_server_stop(server), 0);
	sttcp_server_free(server);
	probe_free(served);
}

/* It returns when the last handler has. */
static void client_close_goes_on_when_it_is_cancelled(void **state)
{
	struct probe *served = probe_new();

	(void)state;
	served->data = echo_data;
	sttcp_server *server = probe_listen(served, NULL);
	for (int round = 0; round < 10; round++) {
		struct probe *probe = probe_new();
		struct room room = {EVENT_INIT, EVENT_INIT};

		probe->ended = stay;
		probe->extra = &room;
		sttcp_client *client = probe_dial(probe, sttcp_server_port(server), NULL);
		struct victim victim = {.client = client};
		sttcp_conn_unref(client_conn(client));
		victim_start(&victim, call_client_close);
		assert_true(event_wait(&room.inside, 1));
		victim_cancel_waiting(&victim);
		event_raise(&room.gate); /* for the next disconnection, too */
		assert_int_equal(victim_finish(&victim), 0);
		assert_int_equal(probe_reason(probe), STTCP_EDESTROYED);
		check_client(client, probe);
		sttcp_client_free(client);
		probe_free(probe);
	}
	sttcp_server_free(server);
	probe_free(served);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		VICTIM_CASE(stop_goes_on_when_it_is_cancelled),
		VICTIM_CASE(wait_goes_on_when_it_is_cancelled),
		VICTIM_CASE(free_goes_on_when_it_is_cancelled),
		VICTIM_CASE(client_start_and_close_can_be_cancelled),
		VICTIM_CASE(client_close_goes_on_when_it_is_cancelled),
	};

	victims_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
