/* SPDX-License-Identifier: MIT */
/* The option `fibers`: what ends the wait of a handler, and what does not. */
#include "support/fibers.h"

static bool sleep_for_ever(struct book *book, sttcp_conn *conn)
{
	(void)book;
	(void)conn;
	event_raise(&parked);
	atomic_store(&slept, sttcp_sleep(-1));
	/* By force: later ones return at once. */
	if (sttcp_sleep(-1) != atomic_load(&slept) || sttcp_poll(0, 0, -1) != atomic_load(&slept))
		atomic_store(&slept, 1);
	event_raise(&woken);
	return true;
}

enum way {
	ABORT,
	FAIL_NOW,
	STOP,
	FREE,
	CLOSE,
	FAIL
};

static void end_by(enum way way, sttcp_server *server, sttcp_conn *conn)
{
	switch (way) {
	case ABORT:
		assert_int_equal(sttcp_conn_abort(conn), 0);
		break;
	case FAIL_NOW:
		assert_int_equal(sttcp_conn_fail_now(conn, -7, "so"), 0);
		break;
	case STOP:
		assert_int_equal(sttcp_server_stop_within(server, 0, NULL), 0);
		break;
	case FREE:
		sttcp_server_free(server);
		break;
	case CLOSE:
		assert_int_equal(sttcp_conn_close(conn), 0);
		break;
	case FAIL:
		assert_int_equal(sttcp_conn_fail(conn, -7, "so"), 0);
		break;
	}
}

/* Whether the wait was not over by itself when its connection was ended, for this thread had no CPU
 * for so long. */
static bool was_in_time;

/* Ends a connection whose connection handler waits, and returns what the wait returned. */
static int wait_ends_by(enum way way, const sttcp_options *options,
			bool (*opened)(struct book *book, sttcp_conn *conn))
{
	struct book *book = book_new();
	long parks = event_count(&parked);
	long wakes = event_count(&woken);

	sttcp_server *server = listen_with(book, options, opened, NULL);
	int peer = peer_connect(sttcp_server_port(server));

	assert_true(event_wait(&parked, parks + 1));
	EVENTUALLY(!options->fibers || !has_fibers() || stats_of(server).fibers_waiting == 1 ||
		   event_count(&woken) > wakes);
	EVENTUALLY(atomic_load(&book->conn));
	was_in_time = event_count(&woken) == wakes;
	end_by(way, server, atomic_load(&book->conn));
	assert_true(event_wait(&woken, wakes + 1));
	if (way != FREE)
		sttcp_server_free(server);
	peer_close(peer);
	book_free(book);
	return atomic_load(&slept);
}

static const sttcp_options plain = FRAMED(.framing = STTCP_FRAMING_RAW);

/* G6, G16: at once, with the reason; with fibers and without. */
static void end_by_force_ends_every_wait(void **state)
{
	static const struct {
		enum way way;
		int reason;
	} ways[] = {
		{ABORT, STTCP_ECLOSED},
		{FAIL_NOW, -7},
		{STOP, STTCP_ESTOPPED},
		{FREE, STTCP_ESTOPPED},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		assert_int_equal(wait_ends_by(ways[i].way, &raw, sleep_for_ever), ways[i].reason);
		assert_int_equal(wait_ends_by(ways[i].way, &raw, recv_for_ever), ways[i].reason);
		assert_int_equal(wait_ends_by(ways[i].way, &plain, sleep_for_ever), ways[i].reason);
		assert_int_equal(wait_ends_by(ways[i].way, &plain, recv_for_ever), ways[i].reason);
	}
}

/* G6. */
static void close_and_fail_end_the_wait_for_input(void **state)
{
	(void)state;
	assert_int_equal(wait_ends_by(CLOSE, &raw, recv_for_ever), STTCP_ECLOSED);
	assert_int_equal(wait_ends_by(FAIL, &raw, recv_for_ever), -7);
}

static void expect_whole_sleep(enum way way, const sttcp_options *options)
{
	int64_t until = now_ms() + DEADLINE_MS;

	begin_anew();
	do {
		assert_true(now_ms() < until);
		assert_int_equal(wait_ends_by(way, options, sleep_a_while), 0);
		assert_true(results[0] >= 300);
	} while (!was_in_time);
}

static void close_does_not_end_a_sleep(void **state)
{
	(void)state;
	expect_whole_sleep(CLOSE, &raw);
	expect_whole_sleep(FAIL, &raw);
	expect_whole_sleep(CLOSE, &plain);
}

static bool close_then_wait_then_fail(struct book *book, sttcp_conn *conn)
{
	(void)book;
	sttcp_conn_close(conn);
	ignore(sttcp_sleep(5));
	ignore(sttcp_conn_fail(conn, -9, "after all"));
	return true;
}

/* G6: a failure wins over a close in the same call of a handler, also over a wait. */
static void failure_wins_over_a_close_before_the_wait(void **state)
{
	struct book *book = book_new();

	(void)state;
	sttcp_server *server = listen_with(book, &raw, close_then_wait_then_fail, NULL);
	int peer = peer_connect(sttcp_server_port(server));

	assert_true(event_wait(&book->ended, 1));
	assert_int_equal(atomic_load(&book->reason), -9);
	peer_close(peer);
	sttcp_server_free(server);
	book_free(book);
}

static void sleep_in_disconnection(sttcp_conn *conn, int reason, void *context)
{
	(void)conn;
	(void)reason;
	(void)context;
	event_raise(&parked);
	atomic_store(&slept, sttcp_sleep(-1));
	event_raise(&woken);
}

/* G16: also in the last handler, of a connection that had ended long before. */
static void forced_stop_wakes_the_last_handler(void **state)
{
	long parks = event_count(&parked);
	long wakes = event_count(&woken);

	(void)state;
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, &raw);
	assert_int_equal(sttcp_server_on_disconnection(server, sleep_in_disconnection), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	int peer = peer_connect(sttcp_server_port(server));

	peer_close(peer);
	assert_true(event_wait(&parked, parks + 1));
	sttcp_stop_report report;
	assert_int_equal(sttcp_server_stop_within(server, 0, &report), 0);
	assert_true(event_wait(&woken, wakes + 1));
	sttcp_server_free(server);
}

/* G12. */
static void parked_connection_is_not_detached(void **state)
{
	struct book *book = book_new();
	long parks = event_count(&parked);

	(void)state;
	sttcp_server *server = listen_with(book, &raw, recv_for_ever, NULL);
	int peer = peer_connect(sttcp_server_port(server));

	assert_true(event_wait(&parked, parks + 1));
	if (has_fibers())
		EVENTUALLY(stats_of(server).fibers_waiting == 1);
	EVENTUALLY(atomic_load(&book->conn));
	assert_int_equal(sttcp_conn_detach(atomic_load(&book->conn)), -EBUSY);
	peer_close(peer);
	sttcp_server_free(server);
	book_free(book);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(end_by_force_ends_every_wait),
		cmocka_unit_test(close_and_fail_end_the_wait_for_input),
		cmocka_unit_test(close_does_not_end_a_sleep),
		cmocka_unit_test(failure_wins_over_a_close_before_the_wait),
		cmocka_unit_test(forced_stop_wakes_the_last_handler),
		cmocka_unit_test(parked_connection_is_not_detached),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
