/* SPDX-License-Identifier: MIT */
/* Calls of another thread, while the loop is about to read, or asks a frame_fn: what the peer sends
 * after they have returned is not handled as before. */
#include "support/faults.h"
#include "support/read_faults.h"
#include "support/support.h"

#include <sys/ioctl.h>

static void note_turn(sttcp_conn *conn, void *context)
{
	(void)conn;
	event_raise(context);
}

static void let_it_read(struct pair *pair)
{
	assert_true(read_stopped());
	assert_int_equal(sttcp_conn_pause(pair->conn), 0);
	read_go_on();
}

static bool has_unread(const struct pair *pair, int size)
{
	int unread = 0;

	ioctl(sttcp_conn_fd(pair->conn), FIONREAD, &unread);
	return unread >= size;
}

/* What the loop was doing is over when a task has run. */
static void wait_for_a_turn(struct pair *pair)
{
	struct event over = EVENT_INIT;

	assert_int_equal(sttcp_conn_run(pair->conn, note_turn, &over, NULL), 0);
	assert_true(event_wait(&over, 1));
}

static void nothing_is_delivered_after_a_pause(void **state)
{
	(void)state;
	for (int framed = 0; framed < 2; framed++) {
		struct pair pair = {0};

		pair_open(&pair, STTCP_OPTIONS(.framing = framed ? STTCP_FRAMING_LINE
								 : STTCP_FRAMING_RAW));
		read_stop(sttcp_conn_fd(pair.conn));
		assert_true(peer_say(pair.peer, "later\n"));
		let_it_read(&pair);
		wait_for_a_turn(&pair);
		assert_int_equal(probe_count(pair.probe, STTCP_RECEIVE), 0);
		sttcp_conn_resume(pair.conn);
		assert_true(probe_wait(pair.probe, STTCP_RECEIVE, 1));
		assert_string_equal(probe_text(pair.probe), framed ? "later" : "later\n");
		assert_true(peer_say(pair.peer, "last\n"));
		assert_true(probe_wait(pair.probe, STTCP_RECEIVE, 2));
		pair_close(&pair);
	}
}

static void no_end_is_told_after_a_pause(void **state)
{
	(void)state;
	for (int half = 0; half < 2; half++) {
		struct pair pair = {0};

		pair_open(&pair, STTCP_OPTIONS(.half_close = half));
		read_stop(sttcp_conn_fd(pair.conn));
		peer_shutdown(pair.peer);
		let_it_read(&pair);
		/* Without a task, which the end would wait for. */
		for (int64_t until = now_ms() + 50; now_ms() < until; nap_ms(1)) {
			assert_true(sttcp_conn_is_open(pair.conn));
			assert_int_equal(probe_count(pair.probe, STTCP_END), 0);
		}
		wait_for_a_turn(&pair);
		sttcp_conn_resume(pair.conn);
		assert_true(probe_wait(pair.probe, half ? STTCP_END : STTCP_DISCONNECTION, 1));
		pair_close(&pair);
	}
}

static void g05_a_framing_holds_for_what_comes_after_the_call(void **state)
{
	struct pair pair = {0};

	(void)state;
	pair_open(&pair, STTCP_OPTIONS(.framing = STTCP_FRAMING_RAW));
	read_stop(sttcp_conn_fd(pair.conn));
	assert_true(peer_say(pair.peer, "1"));
	assert_true(read_stopped());
	assert_int_equal(
		sttcp_conn_set_framing(pair.conn, STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE)), 0);
	assert_true(peer_say(pair.peer, "23\nsecond\nthi"));
	EVENTUALLY(has_unread(&pair, 14));
	read_go_on();
	assert_true(probe_wait(pair.probe, STTCP_RECEIVE, 2));
	wait_for_a_turn(&pair);
	assert_int_equal(probe_count(pair.probe, STTCP_RECEIVE), 2);
	assert_string_equal(probe_text(pair.probe), "123second");
	assert_true(peer_say(pair.peer, "rd\n"));
	assert_true(probe_wait(pair.probe, STTCP_RECEIVE, 3));
	assert_string_equal(probe_text(pair.probe), "123secondthird");
	pair_close(&pair);
}

static void nothing_is_delivered_after_a_close(void **state)
{
	(void)state;
	for (int framed = 0; framed < 2; framed++) {
		struct pair pair = {0};

		pair_open(&pair, STTCP_OPTIONS(.framing = framed ? STTCP_FRAMING_LINE
								 : STTCP_FRAMING_RAW));
		read_stop(sttcp_conn_fd(pair.conn));
		assert_true(peer_say(pair.peer, "1\n"));
		assert_true(read_stopped());
		assert_int_equal(sttcp_conn_close(pair.conn), 0);
		assert_true(peer_say(pair.peer, "after the close\n"));
		read_go_on();
		assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
		assert_int_equal(probe_count(pair.probe, STTCP_RECEIVE), 0);
		pair_close(&pair);
	}
}

/* Which ends the connection, as the peer's FIN does in any case. */
static void a_fin_that_meets_a_close_ends_the_connection(void **state)
{
	(void)state;
	for (int half = 0; half < 2; half++) {
		struct pair pair = {0};

		pair_open(&pair, STTCP_OPTIONS(.half_close = half));
		read_stop(sttcp_conn_fd(pair.conn));
		peer_shutdown(pair.peer);
		assert_true(read_stopped());
		assert_int_equal(sttcp_conn_close(pair.conn), 0);
		int64_t began = now_ms();
		read_go_on();
		assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
		EVENTUALLY(sttcp_server_count(pair.server) == 0);
		assert_true(now_ms() - began < DEADLINE_MS / 4);
		assert_int_equal(probe_count(pair.probe, STTCP_END), 0);
		pair_close(&pair);
	}
}

static struct event asks = EVENT_INIT;
static struct event may_go_on = EVENT_INIT;
static atomic_int asked;

/* All that is there is a message; it takes its time to say so. */
static int think(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame, void *context)
{
	(void)conn;
	(void)data;
	(void)context;
	atomic_fetch_add(&asked, 1);
	event_raise(&asks);
	event_wait(&may_go_on, 1);
	frame->size = frame->total = size;
	return 1;
}

static void nothing_is_delivered_that_a_frame_fn_finds_too_late(void **state)
{
	(void)state;
	for (int closes = 0; closes < 2; closes++) {
		struct event fresh = EVENT_INIT;
		struct pair pair = {0};

		asks = may_go_on = fresh;
		atomic_store(&asked, 0);
		pair_open(&pair, STTCP_OPTIONS(.framing = STTCP_FRAMING_CUSTOM, .frame_fn = think));
		assert_true(peer_say(pair.peer, "late"));
		assert_true(event_wait(&asks, 1));
		assert_int_equal(closes ? sttcp_conn_close(pair.conn) : sttcp_conn_pause(pair.conn),
				 0);
		event_raise(&may_go_on);
		if (closes) {
			assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
			assert_int_equal(probe_count(pair.probe, STTCP_RECEIVE), 0);
		} else {
			wait_for_a_turn(&pair);
			assert_int_equal(probe_count(pair.probe, STTCP_RECEIVE), 0);
			sttcp_conn_resume(pair.conn);
			assert_true(probe_wait(pair.probe, STTCP_RECEIVE, 1));
			assert_string_equal(probe_text(pair.probe), "late");
		}
		assert_int_equal(atomic_load(&asked), 1);
		pair_close(&pair);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_delivered_after_a_pause),
		cmocka_unit_test(no_end_is_told_after_a_pause),
		cmocka_unit_test(g05_a_framing_holds_for_what_comes_after_the_call),
		cmocka_unit_test(nothing_is_delivered_after_a_close),
		cmocka_unit_test(a_fin_that_meets_a_close_ends_the_connection),
		cmocka_unit_test(nothing_is_delivered_that_a_frame_fn_finds_too_late),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
