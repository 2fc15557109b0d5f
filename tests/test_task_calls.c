/* SPDX-License-Identifier: MIT */
/* What a task may call: all that a handler may. And what a free_fn may, and callers with nonsense.
 */
#include "support/fate.h"

#include <stdint.h>

/* ---------------------------------------------------------- what they may do */

struct dialogue {
	struct fate *fate;
	char got[16];
	int result;
};

static void hold_a_dialogue(sttcp_conn *conn, void *argument)
{
	struct dialogue *dialogue = argument;

	sttcp_conn_send(conn, "name?", 5);
	dialogue->result =
		(int)sttcp_conn_recv(conn, dialogue->got, sizeof(dialogue->got), DEADLINE_MS);
	event_raise(&dialogue->fate->ran);
}

static void task_reads_what_the_peer_answers(void **state)
{
	struct pair pair = {0};
	struct dialogue dialogue = {.fate = fate_new()};

	(void)state;
	pair_open(&pair, NULL);
	assert_int_equal(sttcp_conn_run(pair.conn, hold_a_dialogue, &dialogue, NULL), 0);
	assert_true(peer_expect(pair.peer, "name?"));
	assert_true(peer_say(pair.peer, "Ada"));
	assert_true(event_wait(&dialogue.fate->ran, 1));
	assert_int_equal(dialogue.result, 3);
	assert_memory_equal(dialogue.got, "Ada", 3);
	assert_int_equal(probe_count(pair.probe, STTCP_RECEIVE), 0);
	assert_true(peer_say(pair.peer, "more"));
	assert_true(probe_wait(pair.probe, STTCP_RECEIVE, 1));
	pair_close(&pair);
	free(dialogue.fate);
}

static void read_a_message(sttcp_conn *conn, void *argument)
{
	struct dialogue *dialogue = argument;

	dialogue->result = (int)sttcp_conn_recv_message(conn, dialogue->got, sizeof(dialogue->got),
							DEADLINE_MS);
	event_raise(&dialogue->fate->ran);
}

/* A part of the message is held by then, and another one comes behind it. */
static void task_reads_on_in_a_message_that_has_begun(void **state)
{
	struct pair pair = {0};
	struct dialogue dialogue = {.fate = fate_new()};

	(void)state;
	pair_open(&pair, STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE));
	assert_true(peer_say(pair.peer, "zero\non"));
	assert_true(probe_wait(pair.probe, STTCP_RECEIVE, 1));
	assert_int_equal(sttcp_conn_run(pair.conn, read_a_message, &dialogue, NULL), 0);
	assert_true(peer_say(pair.peer, "e\ntwo\nthr"));
	assert_true(event_wait(&dialogue.fate->ran, 1));
	assert_int_equal(dialogue.result, 3);
	assert_memory_equal(dialogue.got, "one", 3);
	assert_true(peer_say(pair.peer, "ee\n"));
	assert_true(probe_wait(pair.probe, STTCP_RECEIVE, 3));
	assert_string_equal(probe_text(pair.probe), "zerotwothree");
	pair_close(&pair);
	free(dialogue.fate);
}

/* Also what had been read before it was paused. */
static void task_reads_what_a_pause_has_kept(void **state)
{
	struct pair pair = {0};
	struct dialogue dialogue = {.fate = fate_new()};

	(void)state;
	pair_open(&pair, STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE));
	assert_int_equal(sttcp_conn_pause(pair.conn), 0);
	assert_true(peer_say(pair.peer, "one\ntwo\n"));
	assert_int_equal(sttcp_conn_run(pair.conn, read_a_message, &dialogue, NULL), 0);
	assert_true(event_wait(&dialogue.fate->ran, 1));
	assert_memory_equal(dialogue.got, "one", 3);
	assert_int_equal(sttcp_conn_run(pair.conn, read_a_message, &dialogue, NULL), 0);
	assert_true(event_wait(&dialogue.fate->ran, 2));
	assert_memory_equal(dialogue.got, "two", 3);
	assert_int_equal(sttcp_conn_resume(pair.conn), 0);
	assert_true(peer_say(pair.peer, "three\n"));
	assert_true(probe_wait(pair.probe, STTCP_RECEIVE, 1));
	assert_string_equal(probe_text(pair.probe), "three");
	pair_close(&pair);
	free(dialogue.fate);
}

static void fail_it(sttcp_conn *conn, void *argument)
{
	(void)argument;
	sttcp_conn_close(conn);
	sttcp_conn_fail(conn, -EPROTO, "said so in a task");
}

static void task_fails_its_connection(void **state)
{
	struct pair pair = {0};

	(void)state;
	pair_open(&pair, NULL);
	assert_int_equal(sttcp_conn_run(pair.conn, fail_it, NULL, NULL), 0);
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(pair.probe), -EPROTO);
	assert_string_equal(probe_fail_text(pair.probe), "said so in a task");
	pair_close(&pair);
}

static void detach(sttcp_conn *conn, void *argument)
{
	*(atomic_int *)argument = sttcp_conn_detach(conn);
}

static void task_takes_the_descriptor(void **state)
{
	struct pair pair = {0};
	struct fate *fate = fate_new();
	atomic_int fd = -1;

	(void)state;
	pair_open(&pair, NULL);
	assert_int_equal(sttcp_conn_run(pair.conn, detach, &fd, NULL), 0);
	ignore(sttcp_conn_run(pair.conn, note_run, fate, note_freed));
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	assert_true(atomic_load(&fd) >= 0);
	assert_true(peer_say(atomic_load(&fd), "ours"));
	assert_true(peer_expect(pair.peer, "ours"));
	peer_close(atomic_load(&fd));
	pair_close(&pair);
	assert_int_equal(event_count(&fate->ran), 0);
	free(fate);
}

static void switch_to_lines(sttcp_conn *conn, void *argument)
{
	struct fate *fate = argument;

	ignore(sttcp_conn_set_framing(conn, STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE)));
	event_raise(&fate->ran);
}

static void task_sets_a_framing(void **state)
{
	struct pair pair = {0};
	struct fate *fate = fate_new();

	(void)state;
	pair_open(&pair, NULL);
	assert_int_equal(sttcp_conn_run(pair.conn, switch_to_lines, fate, NULL), 0);
	assert_true(event_wait(&fate->ran, 1));
	assert_true(peer_say(pair.peer, "one\ntwo\n"));
	assert_true(probe_wait(pair.probe, STTCP_RECEIVE, 2));
	pair_close(&pair);
	free(fate);
}

enum {
	HIGH = 64 * 1024
};

static void send_much(sttcp_conn *conn, void *argument)
{
	static const char bytes[8 * HIGH];
	struct fate *fate = argument;

	sttcp_conn_send(conn, bytes, sizeof(bytes));
	event_raise(&fate->ran);
}

/* Its bytes are those of the connection's own handlers, and hold its reader. */
static void bytes_of_a_task_count_for_high_water(void **state)
{
	struct pair pair = {0};
	struct fate *fate = fate_new();
	static char got[8 * HIGH];

	(void)state;
	pair_open_narrow(&pair, STTCP_OPTIONS(.high_water = HIGH));
	assert_int_equal(sttcp_conn_run(pair.conn, send_much, fate, NULL), 0);
	assert_true(event_wait(&fate->ran, 1));
	assert_true(peer_say(pair.peer, "waits"));
	nap_ms(50);
	assert_int_equal(probe_count(pair.probe, STTCP_RECEIVE), 0);
	assert_true(peer_recv(pair.peer, got, sizeof(got)));
	assert_true(probe_wait(pair.probe, STTCP_RECEIVE, 1));
	pair_close(&pair);
	free(fate);
}

/* ----------------------------------------------------------------- bad input */

static void call_back(void *argument);

struct caller {
	sttcp_conn *conn;
	int64_t id;
	atomic_int calls;
	atomic_int taken;
};

static void call_nothing(sttcp_conn *conn, void *argument)
{
	(void)conn;
	(void)argument;
}

static void call_back(void *argument)
{
	struct caller *caller = argument;

	if (atomic_fetch_add(&caller->calls, 1) > 10)
		return;
	if (sttcp_conn_run(caller->conn, call_nothing, NULL, NULL) == 0)
		atomic_fetch_add(&caller->taken, 1);
	ignore(sttcp_conn_send(caller->conn, "x", 1));
	ignore(sttcp_conn_cancel(caller->conn, caller->id));
	ignore((ssize_t)sttcp_conn_after(caller->conn, 1000 * DEADLINE_MS, call_nothing, caller,
					 call_back));
	ignore(sttcp_conn_flush(caller->conn));
	ignore(sttcp_server_stop_within(sttcp_conn_server(caller->conn), 0, NULL));
}

static void free_fn_may_call_the_library(void **state)
{
	struct pair pair = {0};
	struct caller caller = {0};

	(void)state;
	pair_open(&pair, NULL);
	caller.conn = pair.conn;
	/* After the task, which stops the server; then at the end, for what that one gives. */
	assert_int_equal(sttcp_conn_run(pair.conn, call_nothing, &caller, call_back), 0);
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	EVENTUALLY(atomic_load(&caller.calls) == 2);
	assert_int_equal(atomic_load(&caller.taken), 1);
	pair_close(&pair);
}

static void drop_reference(void *argument)
{
	sttcp_conn_unref(argument);
}

/* What is cancelled holds the last reference. */
static void free_fn_may_drop_the_last_reference(void **state)
{
	struct pair pair = {0};

	(void)state;
	pair_open(&pair, NULL);
	sttcp_conn_ref(pair.conn);
	int64_t id = sttcp_conn_after(pair.conn, 3600000, call_nothing, pair.conn, drop_reference);

	assert_true(id > 0);
	assert_int_equal(sttcp_conn_cancel(pair.conn, id), 0);
	pair_close(&pair);
}

static void bad_arguments_are_refused(void **state)
{
	struct pair pair = {0};
	struct fate *fate = fate_new();
	const int64_t strangers[] = {0, -1, INT32_MAX, INT64_MAX, INT64_MIN, 99};

	(void)state;
	pair_open(&pair, NULL);
	sttcp_conn *conn = pair.conn;

	assert_int_equal(sttcp_conn_cancel(conn, 1), -ENOENT);
	assert_int_equal(sttcp_conn_run(NULL, note_run, fate, note_freed), -EINVAL);
	assert_int_equal(sttcp_conn_run(conn, NULL, fate, note_freed), -EINVAL);
	assert_int_equal(sttcp_conn_after(NULL, 1, note_run, fate, note_freed), -EINVAL);
	assert_int_equal(sttcp_conn_after(conn, 1, NULL, fate, note_freed), -EINVAL);
	assert_int_equal(sttcp_conn_after(conn, -1, note_run, fate, note_freed), -EINVAL);
	assert_int_equal(sttcp_conn_after(conn, INT32_MIN, note_run, fate, note_freed), -EINVAL);
	assert_int_equal(sttcp_conn_every(NULL, 1, note_run, fate, note_freed), -EINVAL);
	assert_int_equal(sttcp_conn_every(conn, 1, NULL, fate, note_freed), -EINVAL);
	assert_int_equal(sttcp_conn_every(conn, -1, note_run, fate, note_freed), -EINVAL);
	assert_int_equal(sttcp_conn_cancel(NULL, 1), -EINVAL);
	assert_int_equal(sttcp_conn_after(conn, INT32_MAX, note_run, fate, note_freed), 1);
	assert_int_equal(sttcp_conn_every(conn, INT32_MAX, note_run, fate, note_freed), 2);
	for (size_t i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++)
		assert_int_equal(sttcp_conn_cancel(conn, strangers[i]), -ENOENT);
	assert_int_equal(event_count(&fate->freed), 0);
	pair_close(&pair);
	assert_int_equal(event_count(&fate->freed), 2);
	assert_int_equal(event_count(&fate->ran), 0);
	free(fate);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(task_reads_what_the_peer_answers),
		cmocka_unit_test(task_reads_on_in_a_message_that_has_begun),
		cmocka_unit_test(task_reads_what_a_pause_has_kept),
		cmocka_unit_test(task_fails_its_connection),
		cmocka_unit_test(task_takes_the_descriptor),
		cmocka_unit_test(task_sets_a_framing),
		cmocka_unit_test(bytes_of_a_task_count_for_high_water),
		cmocka_unit_test(free_fn_may_call_the_library),
		cmocka_unit_test(free_fn_may_drop_the_last_reference),
		cmocka_unit_test(bad_arguments_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
