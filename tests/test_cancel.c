/* SPDX-License-Identifier: MIT */
/* G9: a thread of the user's that is cancelled while it is in a call of the library is so only when
 * the call has returned: no lock stays held, nothing hangs, and the same objects work as before.
 * Here the calls of a connection, and those to many; starts and stops are in test_cancel_stops.c.
 */
#include "support/victims.h"

enum {
	CAP = 64 * 1024,
	/* More than the kernel takes on both sides, and the cap. */
	LOT = 16 * 1024 * 1024
};

/* ---------------------------------------------------------------------- send */

static int call_send(struct victim *victim)
{
	return sttcp_conn_send(victim->conn, victim->data, LOT);
}

static void *send_more(void *argument)
{
	struct victim *other = argument;

	atomic_store(&other->result, sttcp_conn_send(other->conn, "more", 4));
	event_raise(&other->done);
	return NULL;
}

/* The whole of it leaves as one run of bytes, and whoever waits behind it gets through. */
static void send_at_the_cap_goes_on_when_it_is_cancelled(void **state)
{
	char *lot = malloc(LOT);
	char *got = malloc(LOT);

	(void)state;
	fill_pattern(lot, LOT, 3);
	for (int round = 0; round < VICTIM_ROUNDS / 3; round++) {
		struct pair pair = {0};
		struct victim victim = {.data = lot};
		struct victim other = {.done = EVENT_INIT};

		pair_open(&pair, STTCP_OPTIONS(.send_queue_max = CAP));
		victim.conn = other.conn = pair.conn;
		victim_start(&victim, call_send);
		if (round % 2 == 0) {
			EVENTUALLY(conn_queued(pair.conn) > 0);
			victim_cancel_waiting(&victim);
			assert_int_equal(pthread_create(&other.thread, NULL, send_more, &other), 0);
		} else {
			some_moment();
			victim_cancel(&victim);
		}
		assert_true(peer_recv(pair.peer, got, LOT));
		assert_memory_equal(got, lot, LOT);
		assert_int_equal(victim_finish(&victim), 0);
		if (round % 2 == 0) {
			assert_true(peer_expect(pair.peer, "more"));
			assert_true(event_wait(&other.done, 1));
			pthread_join(other.thread, NULL);
			assert_int_equal(atomic_load(&other.result), 0);
		}
		/* The connection works as before. */
		assert_int_equal(sttcp_conn_send(pair.conn, "still", 5), 0);
		assert_true(peer_expect(pair.peer, "still"));
		assert_int_equal(sttcp_conn_close(pair.conn), 0);
		assert_int_equal(peer_end(pair.peer), 0);
		peer_shutdown(pair.peer);
		assert_int_equal(sttcp_server_stop(pair.server), 0);
		pair_close(&pair);
	}
	free(got);
	free(lot);
}

/* What ends a waiting send ends one that was cancelled, too. */
static void send_at_the_cap_that_is_cancelled_ends_with_its_connection(void **state)
{
	char *lot = calloc(1, LOT);

	(void)state;
	for (int round = 0; round < 9; round++) {
		struct pair pair = {0};
		struct victim victim = {.data = lot};
		size_t bytes;

		pair_open(&pair, STTCP_OPTIONS(.send_queue_max = CAP));
		victim.conn = pair.conn;
		victim_start(&victim, call_send);
		EVENTUALLY(conn_queued(pair.conn) > 0);
		victim_cancel_waiting(&victim);
		if (round % 3 == 0) {
			assert_int_equal(sttcp_conn_abort(pair.conn), 0);
			assert_int_equal(victim_finish(&victim), STTCP_ECLOSED);
		} else if (round % 3 == 1) {
			/* What has begun to leave is flushed, and not torn. */
			assert_int_equal(sttcp_server_stop_within(pair.server, 0, NULL), 0);
			assert_int_equal(peer_drain(pair.peer, &bytes), 0);
			assert_int_equal(bytes, LOT);
			assert_int_equal(victim_finish(&victim), 0);
			assert_int_equal(sttcp_conn_reason(pair.conn), STTCP_ESTOPPED);
		} else {
			peer_reset(pair.peer);
			pair.peer = -1;
			/* A write may have found the reset as a broken pipe. */
			assert_true(victim_finish(&victim) < 0);
		}
		assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
		assert_int_equal(sttcp_server_stop_within(pair.server, 0, NULL), 0);
		pair_close(&pair);
	}
	free(lot);
}

/* ----------------------------------------------------------------- broadcast */

static int call_broadcast(struct victim *victim)
{
	return sttcp_server_broadcast(victim->server, "0123456789abcdef", 16);
}

/* It goes to all or to none, and each that was begun has returned. */
static void broadcast_is_whole_when_it_is_cancelled(void **state)
{
	enum {
		MEMBERS = 5,
		CANCELLED = 2
	};
	struct probe *probe = probe_new();
	int peers[MEMBERS];

	(void)state;
	sttcp_server *server = probe_listen(probe, NULL);
	for (int i = 0; i < MEMBERS; i++)
		peers[i] = peer_connect(sttcp_server_port(server));
	EVENTUALLY(sttcp_server_count(server) == MEMBERS);
	for (int round = 0; round < VICTIM_ROUNDS; round++) {
		struct victim victims[CANCELLED] = {{.loops = true, .server = server},
						    {.loops = true, .server = server}};
		int calls = 0;

		for (int i = 0; i < CANCELLED; i++)
			victim_start(&victims[i], call_broadcast);
		some_moment();
		for (int i = 0; i < CANCELLED; i++)
			victim_cancel(&victims[i]);
		for (int i = 0; i < CANCELLED; i++) {
			assert_int_equal(victim_finish(&victims[i]), MEMBERS);
			calls += atomic_load(&victims[i].calls);
		}
		assert_int_equal(sttcp_server_broadcast(server, "!", 1), MEMBERS);
		for (int i = 0; i < MEMBERS; i++) {
			for (int j = 0; j < calls; j++)
				assert_true(peer_expect(peers[i], "0123456789abcdef"));
			assert_true(peer_expect(peers[i], "!"));
		}
	}
	for (int i = 0; i < MEMBERS; i++)
		peer_close(peers[i]);
	assert_int_equal(sttcp_server_stop(server), 0);
	sttcp_server_free(server);
	probe_free(probe);
}

/* ------------------------------------------------------------------------ log */

static struct event log_entered = EVENT_INIT;
static struct event log_gate = EVENT_INIT;

/* The log function of the user's may be a cancellation point. */
static void log_pause(int level, const char *text, void *context)
{
	(void)level;
	(void)context;
	if (!strstr(text, "pause: sttcp_conn_pause"))
		return;
	event_raise(&log_entered);
	event_wait(&log_gate, 1);
	pthread_testcancel();
}

static int call_pause(struct victim *victim)
{
	return sttcp_conn_pause(victim->conn);
}

static void pause_goes_on_when_it_is_cancelled_in_the_log(void **state)
{
	struct pair pair = {0};
	struct victim victim = {0};

	(void)state;
	pair_open(&pair, NULL);
	victim.conn = pair.conn;
	sttcp_log_level(4);
	sttcp_set_log(log_pause, NULL);
	victim_start(&victim, call_pause);
	assert_true(event_wait(&log_entered, 1));
	victim_cancel(&victim);
	event_raise(&log_gate);
	assert_int_equal(victim_finish(&victim), 0);
	/* Returns, for no call of the function is left. */
	sttcp_set_log(NULL, NULL);
	sttcp_log_level(3);
	assert_int_equal(sttcp_conn_resume(pair.conn), 0);
	assert_int_equal(sttcp_conn_close(pair.conn), 0);
	assert_int_equal(peer_end(pair.peer), 0);
	peer_shutdown(pair.peer);
	assert_int_equal(sttcp_server_stop(pair.server), 0);
	pair_close(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		VICTIM_CASE(send_at_the_cap_goes_on_when_it_is_cancelled),
		VICTIM_CASE(send_at_the_cap_that_is_cancelled_ends_with_its_connection),
		VICTIM_CASE(broadcast_is_whole_when_it_is_cancelled),
		VICTIM_CASE(pause_goes_on_when_it_is_cancelled_in_the_log),
	};

	victims_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
