/* SPDX-License-Identifier: MIT */
/* Tasks of a connection: they run as its handlers do, in their order, or are freed instead. */
#include "support/fate.h"

#include <stdint.h>

enum {
	MOST = 16384
};

/* ------------------------------------------------------------------ one by one */

static atomic_int inside;
static atomic_int overlaps;
static int order[MOST];
static int nordered;

static void enter(void)
{
	if (atomic_fetch_add(&inside, 1))
		atomic_fetch_add(&overlaps, 1);
}

static void leave(void)
{
	atomic_fetch_sub(&inside, 1);
}

static void note_order(sttcp_conn *conn, void *argument)
{
	(void)conn;
	enter();
	order[nordered++] = (int)(intptr_t)argument;
	leave();
}

static bool echo_alone(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	enter();
	sttcp_conn_send(conn, data, size);
	leave();
	return true;
}

static void g4_tasks_run_one_at_a_time_in_their_order(void **state)
{
	struct pair pair = {.probe = probe_new()};
	struct fate *fate = fate_new();

	(void)state;
	atomic_store(&overlaps, 0);
	nordered = 0;
	pair.probe->data = echo_alone;
	pair_open(&pair, NULL);
	for (int i = 0; i < 2000; i++) {
		void *number = (void *)(intptr_t)i;

		assert_int_equal(sttcp_conn_run(pair.conn, note_order, number, NULL), 0);
		if (i % 8 == 0)
			assert_true(peer_say(pair.peer, "x"));
	}
	assert_int_equal(sttcp_conn_run(pair.conn, note_run, fate, note_freed), 0);
	assert_true(event_wait(&fate->freed, 1));
	assert_int_equal(event_count(&fate->ran), 1);
	for (int i = 0; i < 2000 / 8; i++)
		assert_true(peer_expect(pair.peer, "x"));
	assert_int_equal(nordered, 2000);
	for (int i = 0; i < nordered; i++)
		assert_int_equal(order[i], i);
	assert_int_equal(atomic_load(&overlaps), 0);
	pair_close(&pair);
	free(fate);
}

static struct event gate = EVENT_INIT;
static struct event blocked = EVENT_INIT;

static void close_gate(void)
{
	struct event fresh = EVENT_INIT;

	gate = fresh;
	blocked = fresh;
}

static void block(sttcp_conn *conn, void *argument)
{
	(void)conn;
	(void)argument;
	event_raise(&blocked);
	event_wait(&gate, 1);
}

/* G8: it may block, and others go on. */
static void g8_task_that_blocks_holds_up_nobody_else(void **state)
{
	struct pair pairs[8] = {{0}};
	struct probe *probe = probe_new();

	(void)state;
	close_gate();
	probe->data = echo_data;
	for (int i = 0; i < 8; i++) {
		pairs[i].probe = i ? probe_new() : probe;
		pairs[i].probe->data = echo_data;
		pair_open(&pairs[i], NULL);
	}
	for (int i = 0; i < 4; i++)
		assert_int_equal(sttcp_conn_run(pairs[i].conn, block, NULL, NULL), 0);
	assert_true(event_wait(&blocked, 4));
	for (int i = 4; i < 8; i++) {
		assert_true(peer_say(pairs[i].peer, "on"));
		assert_true(peer_expect(pairs[i].peer, "on"));
	}
	event_raise(&gate);
	for (int i = 0; i < 8; i++)
		pair_close(&pairs[i]);
}

/* --------------------------------------------------- in the connection handler */

static bool give_and_take(struct probe *probe, sttcp_conn *conn)
{
	int result = sttcp_conn_run(conn, note_run, probe->extra, note_freed);

	nap_ms(5);
	if (result != 0 || event_count(&((struct fate *)probe->extra)->ran))
		probe_violate(probe, "run gave %d, or the task ran in the handler", result);
	return true;
}

static bool expect_run(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)conn;
	(void)data;
	(void)size;
	if (event_count(&((struct fate *)probe->extra)->freed) != 1)
		probe_violate(probe, "the first message came before the task");
	return true;
}

static void task_of_a_connection_handler_runs_before_the_first_message(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++) {
		struct pair pair = {.probe = probe_new()};
		struct fate *fate = fate_new();

		pair.probe->extra = fate;
		pair.probe->connection = give_and_take;
		pair.probe->data = expect_run;
		pair.server = probe_listen(pair.probe, NULL);
		pair.peer = peer_connect(sttcp_server_port(pair.server));
		assert_true(peer_say(pair.peer, "first"));
		assert_true(probe_wait(pair.probe, STTCP_RECEIVE, 1));
		assert_int_equal(event_count(&fate->ran), 1);
		pair_close(&pair);
		free(fate);
	}
}

static bool give_and_decline(struct probe *probe, sttcp_conn *conn)
{
	if (sttcp_conn_run(conn, note_run, probe->extra, note_freed) != 0 ||
	    sttcp_conn_after(conn, 0, note_run, probe->extra, note_freed) < 1 ||
	    sttcp_conn_every(conn, 1, note_run, probe->extra, note_freed) < 1)
		probe_violate(probe, "a task was not taken");
	nap_ms(5);
	return false;
}

static void task_given_before_false_never_runs(void **state)
{
	struct probe *probe = probe_new();
	struct fate *fate = fate_new();

	(void)state;
	probe->extra = fate;
	probe->connection = give_and_decline;
	sttcp_server *server = probe_listen(probe, NULL);
	int peer = peer_connect(sttcp_server_port(server));

	assert_int_equal(peer_end(peer), 0);
	peer_close(peer);
	sttcp_server_free(server);
	assert_int_equal(event_count(&fate->ran), 0);
	assert_int_equal(event_count(&fate->freed), 3);
	probe_free(probe);
	free(fate);
}

static void client_task_given_before_false_never_runs(void **state)
{
	struct probe *probe = probe_new();
	struct fate *fate = fate_new();
	int port;
	int listener = peer_listen(&port, 4);

	(void)state;
	probe->extra = fate;
	probe->connection = give_and_decline;
	sttcp_client *client = probe_dial(probe, port, NULL);

	assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), 0);
	assert_int_equal(event_count(&fate->ran), 0);
	assert_int_equal(event_count(&fate->freed), 3);
	sttcp_client_free(client);
	peer_close(listener);
	probe_free(probe);
	free(fate);
}

/* ------------------------------------------------------------- until the end */

static void tasks_run_while_paused(void **state)
{
	struct pair pair = {.probe = probe_new()};
	struct fate *fate = fate_new();

	(void)state;
	pair_open(&pair, NULL);
	assert_int_equal(sttcp_conn_pause(pair.conn), 0);
	assert_true(peer_say(pair.peer, "x"));
	for (int i = 1; i <= 20; i++) {
		assert_int_equal(sttcp_conn_run(pair.conn, note_run, fate, note_freed), 0);
		assert_true(event_wait(&fate->freed, i));
	}
	assert_int_equal(event_count(&fate->ran), 20);
	assert_int_equal(probe_count(pair.probe, STTCP_RECEIVE), 0);
	assert_int_equal(sttcp_conn_resume(pair.conn), 0);
	assert_true(probe_wait(pair.probe, STTCP_RECEIVE, 1));
	pair_close(&pair);
	free(fate);
}

static bool give_many(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)data;
	(void)size;
	for (int i = 0; i < 1000; i++)
		if (sttcp_conn_run(conn, note_run, probe->extra, note_freed) != 0)
			probe_violate(probe, "a task was not taken");
	return true;
}

static void expect_all_run(struct probe *probe, sttcp_conn *conn, int reason)
{
	struct fate *fate = probe->extra;

	(void)conn;
	if (reason == 0 && event_count(&fate->freed) != 1000)
		probe_violate(probe, "%ld of 1000 tasks had run", event_count(&fate->freed));
}

/* Bytes and FIN come together, so it is known of the FIN before the handler has returned. */
static void task_given_before_the_fin_runs_before_the_end(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++) {
		struct pair pair = {.probe = probe_new()};
		struct fate *fate = fate_new();

		pair.probe->extra = fate;
		pair.probe->data = give_many;
		pair.probe->ended = expect_all_run;
		pair_open(&pair, i % 2 ? STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE) : NULL);
		assert_int_equal(sttcp_conn_pause(pair.conn), 0);
		assert_true(peer_say(pair.peer, "x\n"));
		peer_shutdown(pair.peer);
		/* It may have ended by the time that this returns. */
		ignore(sttcp_conn_resume(pair.conn));
		assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
		assert_int_equal(event_count(&fate->ran), 1000);
		pair_close(&pair);
		free(fate);
	}
}

static int64_t cancelled_id;

static void cancel_it(sttcp_conn *conn, void *argument)
{
	(void)argument;
	ignore(sttcp_conn_cancel(conn, cancelled_id));
}

static bool give_and_cancel(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)data;
	(void)size;
	if (sttcp_conn_run(conn, cancel_it, NULL, NULL) != 0)
		probe_violate(probe, "a task was not taken");
	cancelled_id = sttcp_conn_after(conn, 0, note_run, probe->extra, note_freed);
	return true;
}

/* Nor does the end wait for one of them that is cancelled. */
static void task_given_before_the_fin_can_be_cancelled_behind_it(void **state)
{
	struct pair pair = {.probe = probe_new()};
	struct fate *fate = fate_new();

	(void)state;
	pair.probe->extra = fate;
	pair.probe->data = give_and_cancel;
	pair_open(&pair, NULL);
	assert_int_equal(sttcp_conn_pause(pair.conn), 0);
	assert_true(peer_say(pair.peer, "x"));
	peer_shutdown(pair.peer);
	ignore(sttcp_conn_resume(pair.conn));
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(event_count(&fate->ran), 0);
	assert_int_equal(event_count(&fate->freed), 1);
	pair_close(&pair);
	free(fate);
}

/* A task that is never through does not keep the FIN from its connection. */
static void give_again(sttcp_conn *conn, void *argument)
{
	struct fate *fate = argument;

	event_raise(&fate->ran);
	ignore(sttcp_conn_run(conn, give_again, argument, NULL));
}

static void endless_tasks_starve_nobody(void **state)
{
	struct pair pair = {.probe = probe_new()};
	struct fate *fate = fate_new();

	(void)state;
	pair.probe->data = echo_data;
	pair_open(&pair, NULL);
	assert_int_equal(sttcp_conn_run(pair.conn, give_again, fate, NULL), 0);
	assert_int_equal(sttcp_conn_every(pair.conn, 0, note_run, fate, note_freed), 1);
	for (int i = 0; i < 50; i++) {
		int other = peer_connect(sttcp_server_port(pair.server));

		assert_true(peer_say(other, "other"));
		assert_true(peer_expect(other, "other"));
		peer_close(other);
		assert_true(peer_say(pair.peer, "own"));
		assert_true(peer_expect(pair.peer, "own"));
	}
	assert_true(event_wait(&fate->ran, 1000));
	peer_shutdown(pair.peer);
	assert_int_equal(peer_end(pair.peer), 0);
	EVENTUALLY(!sttcp_conn_is_open(pair.conn));
	pair_close(&pair);
	assert_int_equal(event_count(&fate->freed), 1);
	free(fate);
}

static void expect_freed_at_release(struct probe *probe)
{
	struct fate *fate = probe->extra;

	if (event_count(&fate->freed) != 3)
		probe_violate(probe, "released before the tasks were freed");
}

/* They wait behind a handler that blocks, until it is too late for them. */
static void tasks_of_a_connection_that_ends_are_freed(void **state)
{
	struct pair pair = {.probe = probe_new()};
	struct fate *fate = fate_new();

	(void)state;
	close_gate();
	pair.probe->extra = fate;
	pair.probe->release = expect_freed_at_release;
	pair_open(&pair, NULL);
	assert_int_equal(sttcp_conn_run(pair.conn, block, NULL, NULL), 0);
	assert_true(event_wait(&blocked, 1));
	assert_int_equal(sttcp_conn_run(pair.conn, note_run, fate, note_freed), 0);
	assert_true(sttcp_conn_after(pair.conn, 1, note_run, fate, note_freed) > 0);
	assert_true(sttcp_conn_every(pair.conn, 3600000, note_run, fate, note_freed) > 0);
	assert_int_equal(sttcp_conn_close(pair.conn), 0);

	/* Nothing is taken any more, and nothing called. */
	assert_int_equal(sttcp_conn_run(pair.conn, note_run, fate, note_freed), STTCP_ECLOSED);
	assert_int_equal(sttcp_conn_after(pair.conn, 1, note_run, fate, note_freed), STTCP_ECLOSED);
	assert_int_equal(sttcp_conn_every(pair.conn, 1, note_run, fate, note_freed), STTCP_ECLOSED);
	assert_int_equal(event_count(&fate->freed), 0);
	event_raise(&gate);
	sttcp_server_free(pair.server);
	assert_int_equal(event_count(&fate->ran), 0);
	assert_int_equal(event_count(&fate->freed), 3);
	assert_int_equal(sttcp_conn_cancel(pair.conn, 1), -ENOENT);
	sttcp_conn_unref(pair.conn);
	peer_close(pair.peer);
	probe_free(pair.probe);
	free(fate);
}

static void give_and_close(sttcp_conn *conn, void *argument)
{
	struct fate *fate = argument;

	event_raise(&fate->ran);
	if (sttcp_conn_run(conn, note_run, fate, note_freed) == 0)
		sttcp_conn_close(conn);
}

static void task_behind_a_close_never_runs(void **state)
{
	struct pair pair = {0};
	struct fate *fate = fate_new();

	(void)state;
	pair_open(&pair, NULL);
	assert_int_equal(sttcp_conn_run(pair.conn, give_and_close, fate, note_freed), 0);
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(pair.probe), STTCP_ECLOSED);
	assert_int_equal(event_count(&fate->ran), 1);
	assert_int_equal(event_count(&fate->freed), 2);
	pair_close(&pair);
	free(fate);
}

static bool block_once(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	(void)data;
	(void)size;
	block(conn, NULL);
	return true;
}

static void close_it(sttcp_conn *conn, void *argument)
{
	(void)argument;
	sttcp_conn_close(conn);
}

static void *stop_server(void *server)
{
	return (void *)(intptr_t)sttcp_server_stop(server);
}

/* G2: what comes in the same turn as that task reaches no handler any more. The stop makes its
 * owner read in that turn. */
static void input_behind_a_task_that_closes_is_not_delivered(void **state)
{
	struct pair pair = {.probe = probe_new()};
	pthread_t thread;
	void *result;

	(void)state;
	close_gate();
	pair.probe->data = block_once;
	pair_open(&pair, STTCP_OPTIONS(.end_idle_at_stop = true));
	assert_true(peer_say(pair.peer, "a"));
	assert_true(event_wait(&blocked, 1));
	assert_true(peer_say(pair.peer, "b"));
	assert_int_equal(pthread_create(&thread, NULL, stop_server, pair.server), 0);
	EVENTUALLY(sttcp_conn_stopping(pair.conn));
	assert_int_equal(sttcp_conn_run(pair.conn, close_it, NULL, NULL), 0);
	event_raise(&gate);
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(pair.probe), STTCP_ECLOSED);
	assert_int_equal(probe_count(pair.probe, STTCP_RECEIVE), 1);
	assert_int_equal(peer_end(pair.peer), 0);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_int_equal((intptr_t)result, 0);
	pair_close(&pair);
}

static void queue_of_a_blocked_connection_has_a_cap(void **state)
{
	struct pair pair = {0};
	struct fate *fate = fate_new();

	(void)state;
	close_gate();
	pair_open(&pair, NULL);
	assert_int_equal(sttcp_conn_run(pair.conn, block, NULL, NULL), 0);
	assert_true(event_wait(&blocked, 1));
	for (int i = 0; i < MOST - 2; i++)
		assert_int_equal(sttcp_conn_run(pair.conn, note_run, fate, note_freed), 0);
	int64_t later = sttcp_conn_after(pair.conn, 3600000, note_run, fate, note_freed);

	assert_true(later > 0);
	assert_true(sttcp_conn_every(pair.conn, 3600000, note_run, fate, note_freed) > 0);
	assert_int_equal(sttcp_conn_run(pair.conn, note_run, fate, note_freed), -EAGAIN);
	assert_int_equal(sttcp_conn_after(pair.conn, 0, note_run, fate, note_freed), -EAGAIN);
	assert_int_equal(sttcp_conn_every(pair.conn, 1, note_run, fate, note_freed), -EAGAIN);
	assert_int_equal(event_count(&fate->freed), 0);
	assert_int_equal(sttcp_conn_cancel(pair.conn, later), 0);
	assert_int_equal(sttcp_conn_run(pair.conn, note_run, fate, note_freed), 0);
	assert_int_equal(sttcp_conn_run(pair.conn, note_run, fate, note_freed), -EAGAIN);
	event_raise(&gate);
	/* All but the one that was cancelled, and the one for later. */
	assert_true(event_wait(&fate->ran, MOST - 1));
	assert_true(event_wait(&fate->freed, MOST));
	pair_close(&pair);
	assert_int_equal(event_count(&fate->ran), MOST - 1);
	assert_int_equal(event_count(&fate->freed), MOST + 1);
	free(fate);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(g4_tasks_run_one_at_a_time_in_their_order),
		cmocka_unit_test(g8_task_that_blocks_holds_up_nobody_else),
		cmocka_unit_test(task_of_a_connection_handler_runs_before_the_first_message),
		cmocka_unit_test(task_given_before_false_never_runs),
		cmocka_unit_test(client_task_given_before_false_never_runs),
		cmocka_unit_test(tasks_run_while_paused),
		cmocka_unit_test(task_given_before_the_fin_runs_before_the_end),
		cmocka_unit_test(task_given_before_the_fin_can_be_cancelled_behind_it),
		cmocka_unit_test(endless_tasks_starve_nobody),
		cmocka_unit_test(tasks_of_a_connection_that_ends_are_freed),
		cmocka_unit_test(task_behind_a_close_never_runs),
		cmocka_unit_test(input_behind_a_task_that_closes_is_not_delivered),
		cmocka_unit_test(queue_of_a_blocked_connection_has_a_cap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
