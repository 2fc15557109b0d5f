/* SPDX-License-Identifier: MIT */
/* The option `fibers`: handlers whose send waits for room, on their own connection or another. */
#include "support/fibers.h"

static void send_a_lot(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	static char lot[8 * 1024 * 1024];

	(void)book;
	(void)data;
	(void)size;
	fill_pattern(lot, sizeof(lot), 1);
	event_raise(&parked);
	results[0] = sttcp_conn_send(conn, lot, sizeof(lot));
	event_raise(&woken);
}

/* G11, G13: a send at the cap waits without a thread, and all of it arrives. */
static void send_at_the_cap_holds_no_thread(void **state)
{
	static char lot[8 * 1024 * 1024];
	static char got[8 * 1024 * 1024];
	struct book *book = book_new();
	const sttcp_options small = FRAMED(.fibers = true, .send_queue_max = 64 * 1024);
	long parks = event_count(&parked);
	long wakes = event_count(&woken);

	(void)state;
	begin_anew();
	sttcp_server *server = listen_with(book, &small, NULL, send_a_lot);
	int peer = peer_connect_narrow(sttcp_server_port(server));

	assert_true(peer_say(peer, "go"));
	assert_true(event_wait(&parked, parks + 1));
	if (has_fibers())
		EVENTUALLY(stats_of(server).fibers_waiting == 1);
	fill_pattern(lot, sizeof(lot), 1);
	assert_true(peer_recv(peer, got, sizeof(got)));
	assert_memory_equal(got, lot, sizeof(lot));
	assert_true(event_wait(&woken, wakes + 1));
	assert_int_equal(results[0], 0);
	peer_close(peer);
	sttcp_server_free(server);
	book_free(book);
}

/* One that waits for room on another connection is ended with its own. */
static _Atomic(sttcp_conn *) full;

static void send_to_the_full_one(struct book *book, sttcp_conn *conn, const void *data, size_t size)
{
	static char lot[1024 * 1024];

	(void)book;
	if (is(data, size, "full")) {
		atomic_store(&full, sttcp_conn_ref(conn));
		while (sttcp_conn_try_send(conn, lot, 4096) == 0)
			;
		event_raise(&parked);
		return;
	}
	event_raise(&parked);
	if (is(data, size, "late"))
		ignore(sttcp_sleep(-1));
	/* What was full may have got more room since, on the way to its peer. */
	do
		results[0] = sttcp_conn_send(atomic_load(&full), lot, 60000);
	while (results[0] == 0);
	event_raise(&woken);
}

static void end_a_send_to_the_full_one(const char *how)
{
	struct book *book = book_new();
	const sttcp_options small =
		FRAMED(.fibers = true, .send_queue_max = 64 * 1024, .write_timeout_ms = -1);
	long parks = event_count(&parked);
	long wakes = event_count(&woken);

	begin_anew();
	sttcp_server *server = listen_with(book, &small, NULL, send_to_the_full_one);
	int peer = peer_connect_narrow(sttcp_server_port(server));

	assert_true(peer_say(peer, "full"));
	assert_true(event_wait(&parked, parks + 1));
	int second = peer_connect(sttcp_server_port(server));

	assert_true(peer_say(second, how));
	assert_true(event_wait(&parked, parks + 2));
	EVENTUALLY(stats_of(server).fibers_waiting == 1);
	assert_int_equal(sttcp_conn_abort(atomic_load(&book->conn)), 0);
	assert_true(event_wait(&woken, wakes + 1));
	assert_true(results[0] < 0);
	sttcp_conn_unref(atomic_load(&full));
	peer_close(peer);
	peer_close(second);
	sttcp_server_free(server);
	book_free(book);
}

static void abort_ends_a_send_to_another_connection(void **state)
{
	(void)state;
	if (!has_fibers())
		skip();
	end_a_send_to_the_full_one("send");
}

/* An earlier wait has been woken by that end: the send has to look for itself. */
static void send_behind_an_abort_does_not_wait(void **state)
{
	(void)state;
	if (!has_fibers())
		skip();
	end_a_send_to_the_full_one("late");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(send_at_the_cap_holds_no_thread),
		cmocka_unit_test(abort_ends_a_send_to_another_connection),
		cmocka_unit_test(send_behind_an_abort_does_not_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
