/* SPDX-License-Identifier: MIT */
/* Tasks for later: never early, in their order, without drift, cancelled at any moment; and while
 * they wait they change nothing (G14, G16). */
#include "support/support.h"

enum {
	HOUR_MS = 3600000,
	LATE_MS = 5000,
	LIMIT_MS = 200,
	MANY = 1000
};

struct note {
	struct event ran;
	struct event freed;
	atomic_llong at_ms[64];
	int sleep_ms;
	struct event *gate;
	int64_t id;
	atomic_int result;
};

static void note_init(struct note *note)
{
	const struct event fresh = EVENT_INIT;

	memset(note, 0, sizeof(*note));
	note->ran = fresh;
	note->freed = fresh;
}

static void take_note(sttcp_conn *conn, void *argument)
{
	struct note *note = argument;
	long count = event_count(&note->ran);

	(void)conn;
	if (count < 64)
		atomic_store(&note->at_ms[count], now_ms());
	event_raise(&note->ran);
	if (note->sleep_ms)
		nap_ms(note->sleep_ms);
	if (note->gate)
		event_wait(note->gate, 1);
}

static void note_freed(void *argument)
{
	struct note *note = argument;

	event_raise(&note->freed);
}

/* ------------------------------------------------------------------- in time */

static void after_comes_once_and_never_early(void **state)
{
	const int delays[] = {0, 1, 2, 10, 55};
	struct pair pair = {0};

	(void)state;
	pair_open(&pair, NULL);
	for (size_t i = 0; i < sizeof(delays) / sizeof(delays[0]); i++) {
		struct note note;

		note_init(&note);
		int64_t begin = now_ms();

		assert_int_equal(
			sttcp_conn_after(pair.conn, delays[i], take_note, &note, note_freed),
			i + 1);
		assert_true(event_wait(&note.freed, 1));
		int64_t took = atomic_load(&note.at_ms[0]) - begin;

		assert_true(took >= delays[i]);
		assert_true(took < delays[i] + LATE_MS);
		nap_ms(5);
		assert_int_equal(event_count(&note.ran), 1);
		assert_int_equal(sttcp_conn_cancel(pair.conn, (int64_t)i + 1), -ENOENT);
	}
	pair_close(&pair);
}

static int order[MANY + 1];
static int nordered;

static void note_order(sttcp_conn *conn, void *argument)
{
	(void)conn;
	order[nordered++] = (int)(intptr_t)argument;
}

/* Those with the same delay run in the order in which they were given, and an earlier one that is
 * given later runs first. */
static bool orders_by_time(int delay_ms)
{
	struct pair pair = {0};
	struct note note;

	note_init(&note);
	nordered = 0;
	pair_open(&pair, NULL);
	int64_t began = now_ms();

	for (int i = 0; i < MANY; i++)
		assert_true(sttcp_conn_after(pair.conn, delay_ms, note_order,
					     (void *)(intptr_t)(i + 1), NULL) > 0);
	assert_true(sttcp_conn_after(pair.conn, delay_ms + 50, take_note, &note, note_freed) > 0);
	assert_true(sttcp_conn_after(pair.conn, 1, note_order, (void *)(intptr_t)0, NULL) > 0);
	bool in_time = now_ms() - began < delay_ms / 2;

	assert_true(event_wait(&note.freed, 1));
	assert_int_equal(nordered, MANY + 1);
	for (int i = 0; in_time && i < nordered; i++)
		assert_int_equal(order[i], i);
	pair_close(&pair);
	return in_time;
}

static void after_keeps_the_order_of_the_times(void **state)
{
	int delay_ms = 600;

	(void)state;
	/* All are given before the first of them is due, or else with a longer delay. */
	for (; !orders_by_time(delay_ms); delay_ms *= 4)
		assert_true(delay_ms < DEADLINE_MS / 4);
}

/* Its times are those from the first one on, whatever a call takes; those that pass in a call are
 * left out. */
static void every_has_no_drift_and_leaves_out_what_it_missed(void **state)
{
	const int sleeps[] = {0, 70};
	struct pair pair = {0};

	(void)state;
	pair_open(&pair, NULL);
	for (int k = 0; k < 2; k++) {
		struct note note;

		note_init(&note);
		note.sleep_ms = sleeps[k];
		int64_t begin = now_ms();
		int64_t id = sttcp_conn_every(pair.conn, 30, take_note, &note, note_freed);

		assert_true(id > 0);
		assert_true(event_wait(&note.ran, 10));
		assert_int_equal(sttcp_conn_cancel(pair.conn, id), 0);
		assert_true(event_wait(&note.freed, 1));
		/* The tenth call: at 10 times 30, or each third time where it takes 70. */
		int64_t least = k ? 30 + 9 * 90 : 300;
		int64_t took = atomic_load(&note.at_ms[9]) - begin;

		assert_true(took >= least);
		assert_true(took < least + LATE_MS);
		for (int i = 0; i < 10; i++)
			assert_true(atomic_load(&note.at_ms[i]) - begin >= 30 * (i + 1));
	}
	pair_close(&pair);
}

static void times_go_on_while_paused(void **state)
{
	struct pair pair = {0};
	struct note note;

	(void)state;
	note_init(&note);
	pair_open(&pair, NULL);
	assert_int_equal(sttcp_conn_pause(pair.conn), 0);
	assert_true(sttcp_conn_every(pair.conn, 2, take_note, &note, note_freed) > 0);
	assert_true(event_wait(&note.ran, 10));
	pair_close(&pair);
	assert_int_equal(event_count(&note.freed), 1);
}

/* A timer that is due earlier is set by the connection's own handler, or by another thread while a
 * handler blocks. */
static void set_one(sttcp_conn *conn, void *argument)
{
	struct note *note = argument;

	note->id = sttcp_conn_after(conn, 10, take_note, argument, note_freed);
	event_raise(note->gate);
	nap_ms(30);
}

static void after_set_in_a_handler_comes(void **state)
{
	struct pair pair = {0};
	struct note note;
	struct note other;
	struct event inside = EVENT_INIT;

	(void)state;
	note_init(&note);
	note_init(&other);
	pair_open(&pair, NULL);
	assert_true(sttcp_conn_after(pair.conn, HOUR_MS, take_note, &note, NULL) > 0);
	for (int i = 1; i <= 10; i++) {
		note.gate = &inside;
		assert_int_equal(sttcp_conn_run(pair.conn, set_one, &note, NULL), 0);
		assert_true(event_wait(&inside, i));
		assert_true(sttcp_conn_after(pair.conn, 5 * i, take_note, &other, note_freed) > 0);
		assert_true(event_wait(&note.freed, i));
		assert_true(event_wait(&other.freed, i));
	}
	pair_close(&pair);
}

/* ----------------------------------------------------------------- cancelled */

static void cancelled_before_its_time_it_never_runs(void **state)
{
	struct pair pair = {0};
	struct note note;

	(void)state;
	note_init(&note);
	pair_open(&pair, NULL);
	for (int i = 1; i <= 100; i++) {
		int64_t id =
			i % 2 ? sttcp_conn_after(pair.conn, HOUR_MS, take_note, &note, note_freed)
			      : sttcp_conn_every(pair.conn, HOUR_MS, take_note, &note, note_freed);

		assert_int_equal(id, i);
		assert_int_equal(sttcp_conn_cancel(pair.conn, id), 0);
		assert_int_equal(event_count(&note.freed), i);
		assert_int_equal(sttcp_conn_cancel(pair.conn, id), -ENOENT);
	}
	pair_close(&pair);
	assert_int_equal(event_count(&note.ran), 0);
	assert_int_equal(event_count(&note.freed), 100);
}

static void cancel_itself(sttcp_conn *conn, void *argument)
{
	struct note *note = argument;

	if (event_count(&note->ran) == 2)
		atomic_store(&note->result, sttcp_conn_cancel(conn, note->id));
	/* What it needs is there until it returns. */
	if (event_count(&note->freed))
		atomic_store(&note->result, 1);
	event_raise(&note->ran);
}

static void cancelled_in_itself_every_ends_with_this_call(void **state)
{
	struct pair pair = {0};
	struct note note;

	(void)state;
	note_init(&note);
	atomic_store(&note.result, -1);
	pair_open(&pair, NULL);
	note.id = 1;
	assert_int_equal(sttcp_conn_every(pair.conn, 2, cancel_itself, &note, note_freed), 1);
	assert_true(event_wait(&note.freed, 1));
	assert_int_equal(atomic_load(&note.result), 0);
	nap_ms(20);
	assert_int_equal(event_count(&note.ran), 3);
	assert_int_equal(sttcp_conn_cancel(pair.conn, 1), -ENOENT);
	pair_close(&pair);
	assert_int_equal(event_count(&note.freed), 1);
}

/* By another thread, while it runs: cancel does not wait. */
static void cancelled_while_it_runs_it_goes_on(void **state)
{
	(void)state;
	for (int repeats = 0; repeats < 2; repeats++) {
		struct event gate = EVENT_INIT;
		struct pair pair = {0};
		struct note note;

		note_init(&note);
		note.gate = &gate;
		pair_open(&pair, NULL);
		int64_t id = repeats ? sttcp_conn_every(pair.conn, 1, take_note, &note, note_freed)
				     : sttcp_conn_after(pair.conn, 1, take_note, &note, note_freed);

		assert_int_equal(id, 1);
		assert_true(event_wait(&note.ran, 1));
		assert_int_equal(sttcp_conn_cancel(pair.conn, id), 0);
		assert_int_equal(sttcp_conn_cancel(pair.conn, id), -ENOENT);
		assert_int_equal(event_count(&note.freed), 0);
		event_raise(&gate);
		assert_true(event_wait(&note.freed, 1));
		nap_ms(10);
		assert_int_equal(event_count(&note.ran), 1);
		pair_close(&pair);
		assert_int_equal(event_count(&note.freed), 1);
	}
}

/* It has been due for long, and waits behind a handler. */
static void cancelled_when_due_it_never_runs(void **state)
{
	struct event gate = EVENT_INIT;
	struct pair pair = {0};
	struct note first;
	struct note note;

	(void)state;
	note_init(&first);
	note_init(&note);
	first.gate = &gate;
	pair_open(&pair, NULL);
	assert_int_equal(sttcp_conn_run(pair.conn, take_note, &first, note_freed), 0);
	assert_true(event_wait(&first.ran, 1));
	int64_t now = sttcp_conn_after(pair.conn, 0, take_note, &note, note_freed);
	int64_t soon = sttcp_conn_after(pair.conn, 1, take_note, &note, note_freed);

	nap_ms(20);
	assert_int_equal(sttcp_conn_cancel(pair.conn, now), 0);
	assert_int_equal(sttcp_conn_cancel(pair.conn, soon), 0);
	assert_int_equal(event_count(&note.freed), 2);
	event_raise(&gate);
	assert_true(event_wait(&first.freed, 1));
	pair_close(&pair);
	assert_int_equal(event_count(&note.ran), 0);
}

static void wait_at_the_gate(void *argument)
{
	struct note *note = argument;

	event_raise(&note->ran);
	event_wait(note->gate, 1);
	event_raise(&note->freed);
}

static void *cancel_first(void *argument)
{
	return (void *)(intptr_t)sttcp_conn_cancel(argument, 1);
}

static void expect_freed(struct probe *probe)
{
	struct note *note = probe->extra;

	if (event_count(&note->freed) != 1)
		probe_violate(probe, "released beside a free_fn");
}

static void *open_gate_later(void *argument)
{
	nap_ms(50);
	event_raise(argument);
	return NULL;
}

/* Another thread is in the free_fn of what it has cancelled: free waits for that, too. */
static void free_of_the_object_waits_for_a_free_fn(void **state)
{
	struct event gate = EVENT_INIT;
	struct pair pair = {.probe = probe_new()};
	struct note note;
	pthread_t canceller;
	pthread_t opener;
	void *result;

	(void)state;
	note_init(&note);
	note.gate = &gate;
	pair.probe->extra = &note;
	pair.probe->release = expect_freed;
	pair_open(&pair, NULL);
	assert_int_equal(sttcp_conn_after(pair.conn, HOUR_MS, take_note, &note, wait_at_the_gate),
			 1);
	assert_int_equal(pthread_create(&canceller, NULL, cancel_first, pair.conn), 0);
	assert_true(event_wait(&note.ran, 1));
	assert_int_equal(pthread_create(&opener, NULL, open_gate_later, &gate), 0);
	sttcp_server_free(pair.server);
	assert_int_equal(event_count(&note.freed), 1);
	pthread_join(canceller, &result);
	assert_null(result);
	pthread_join(opener, NULL);
	sttcp_conn_unref(pair.conn);
	peer_close(pair.peer);
	probe_free(pair.probe);
}

/* ---------------------------------------------------- what it is not: traffic */

/* A heartbeat that sends nothing keeps no idle connection open; one that sends does. */
static bool beat(struct probe *probe, sttcp_conn *conn)
{
	if (sttcp_conn_every(conn, 5, take_note, probe->extra, note_freed) <= 0)
		probe_violate(probe, "the heartbeat was refused");
	return true;
}

static void g14_tasks_are_no_sign_of_life(void **state)
{
	struct pair pair = {.probe = probe_new()};
	struct note note;

	(void)state;
	note_init(&note);
	pair.probe->extra = &note;
	pair.probe->connection = beat;
	int64_t begin = now_ms();

	pair_open(&pair, STTCP_OPTIONS(.idle_timeout_ms = LIMIT_MS));
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(pair.probe), STTCP_ETIME_IDLE);
	assert_true(now_ms() - begin >= LIMIT_MS);
	assert_true(now_ms() - begin < LIMIT_MS + LATE_MS);
	pair_close(&pair);
}

static atomic_llong ended_ms;

static void note_end(struct probe *probe, sttcp_conn *conn, int reason)
{
	(void)probe;
	(void)conn;
	(void)reason;
	atomic_store(&ended_ms, now_ms());
}

static bool give_task(struct probe *probe, sttcp_conn *conn)
{
	if (sttcp_conn_run(conn, take_note, probe->extra, note_freed) != 0)
		probe_violate(probe, "the task was refused");
	return true;
}

/* A task that blocks is a handler that runs: limits on the peer rest meanwhile, and go on. */
static void g14_limits_rest_while_a_task_runs(void **state)
{
	struct pair pair = {.probe = probe_new()};
	struct note note;

	(void)state;
	note_init(&note);
	note.sleep_ms = 3 * LIMIT_MS;
	pair.probe->extra = &note;
	pair.probe->connection = give_task;
	pair.probe->ended = note_end;
	int64_t begin = now_ms();

	pair_open(&pair, STTCP_OPTIONS(.idle_timeout_ms = LIMIT_MS));
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(event_count(&note.freed), 1);
	assert_int_equal(probe_reason(pair.probe), STTCP_ETIME_IDLE);
	/* The whole limit outside the task. */
	assert_true(atomic_load(&ended_ms) - begin >= 4 * LIMIT_MS);
	pair_close(&pair);
}

static void *stop_gracefully(void *argument)
{
	return (void *)(intptr_t)sttcp_server_stop(argument);
}

/* One that is due is something that goes on, one for later is not. */
static void g16_idle_connection_ends_with_a_task_for_later(void **state)
{
	struct event gate = EVENT_INIT;
	struct pair pair = {0};
	struct note note;
	struct note later;
	pthread_t thread;
	void *result;

	(void)state;
	note_init(&note);
	note_init(&later);
	note.gate = &gate;
	pair_open(&pair, STTCP_OPTIONS(.end_idle_at_stop = true));
	assert_true(sttcp_conn_every(pair.conn, HOUR_MS, take_note, &later, note_freed) > 0);
	assert_int_equal(sttcp_conn_run(pair.conn, take_note, &note, note_freed), 0);
	assert_true(event_wait(&note.ran, 1));
	assert_int_equal(sttcp_conn_run(pair.conn, take_note, &note, note_freed), 0);
	assert_int_equal(pthread_create(&thread, NULL, stop_gracefully, pair.server), 0);
	EVENTUALLY(sttcp_conn_stopping(pair.conn));
	nap_ms(20);
	assert_int_equal(probe_count(pair.probe, STTCP_DISCONNECTION), 0);
	event_raise(&gate);
	assert_int_equal(peer_end(pair.peer), 0);
	peer_close(pair.peer);
	pthread_join(thread, &result);
	assert_null(result);
	assert_int_equal(event_count(&note.ran), 2);
	assert_int_equal(event_count(&later.ran), 0);
	assert_int_equal(event_count(&later.freed), 1);
	assert_int_equal(probe_reason(pair.probe), STTCP_ESTOPPED);
	sttcp_conn_unref(pair.conn);
	sttcp_server_free(pair.server);
	probe_free(pair.probe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(after_comes_once_and_never_early),
		cmocka_unit_test(after_keeps_the_order_of_the_times),
		cmocka_unit_test(every_has_no_drift_and_leaves_out_what_it_missed),
		cmocka_unit_test(times_go_on_while_paused),
		cmocka_unit_test(after_set_in_a_handler_comes),
		cmocka_unit_test(cancelled_before_its_time_it_never_runs),
		cmocka_unit_test(cancelled_in_itself_every_ends_with_this_call),
		cmocka_unit_test(cancelled_while_it_runs_it_goes_on),
		cmocka_unit_test(cancelled_when_due_it_never_runs),
		cmocka_unit_test(free_of_the_object_waits_for_a_free_fn),
		cmocka_unit_test(g14_tasks_are_no_sign_of_life),
		cmocka_unit_test(g14_limits_rest_while_a_task_runs),
		cmocka_unit_test(g16_idle_connection_ends_with_a_task_for_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
