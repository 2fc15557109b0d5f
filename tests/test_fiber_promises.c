/* SPDX-License-Identifier: MIT */
/* Promises of sttcp(7) whose handler is parked meanwhile (the option `fibers`). Those about waits
 * themselves are in test_fiber_handlers.c, test_fiber_ends.c, test_fiber_sends.c and
 * test_fiber_polls.c. Where there are no fibers the same holds of a handler that blocks its thread.
 */
#include "support/support.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>

static bool is_child;

#if UNDER_ASAN
/* In a forked child that ends by exit(), what only the parent's other threads pointed to is no
 * leak. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return is_child;
}
#endif

static const sttcp_options with_fibers = {.size = sizeof(sttcp_options), .fibers = true};

/* What the handlers note, and what holds them. */
static struct event began = EVENT_INIT;
static struct event went_on = EVENT_INIT;
static struct event ended = EVENT_INIT;
static _Atomic(sttcp_conn *) last;
static atomic_int slept;
static atomic_int reason_of_end;

/* Until somebody says a byte, or an end. */
static void park(sttcp_conn *conn)
{
	char byte;

	sttcp_conn_ref(conn);
	sttcp_conn_unref(atomic_exchange(&last, conn));
	event_raise(&began);
	atomic_store(&slept, (int)sttcp_conn_recv(conn, &byte, 1, -1));
	event_raise(&went_on);
}

static bool park_at_open(sttcp_conn *conn, void *context)
{
	(void)context;
	park(conn);
	return true;
}

static void note_end(sttcp_conn *conn, int reason, void *context)
{
	(void)conn;
	(void)context;
	atomic_store(&reason_of_end, reason);
	event_raise(&ended);
}

static void answer(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)context;
	sttcp_conn_send(conn, data, size);
}

static sttcp_server *new_server(sttcp_connection_handler open)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, &with_fibers);

	assert_int_equal(sttcp_server_on_connection(server, open), 0);
	assert_int_equal(sttcp_server_on_receive(server, answer), 0);
	assert_int_equal(sttcp_server_on_disconnection(server, note_end), 0);
	return server;
}

/* A peer whose connection handler waits. */
static int join_parked(sttcp_server *server)
{
	long before = event_count(&began);
	int peer = peer_connect(sttcp_server_port(server));

	assert_true(peer >= 0);
	assert_true(event_wait(&began, before + 1));
	return peer;
}

static void forget_last(void)
{
	sttcp_conn_unref(atomic_exchange(&last, NULL));
}

/* ------------------------------------------------------------------- servers */

/* G1, G16: a stop by force ends the wait, and the server starts again. */
static void server_starts_again_behind_a_parked_handler(void **state)
{
	sttcp_server *server = new_server(park_at_open);

	(void)state;
	for (int round = 0; round < 3; round++) {
		long before = event_count(&went_on);

		/* The last handlers of the connection may have yet to return. */
		EVENTUALLY(sttcp_server_start(server) == 0);
		int peer = join_parked(server);

		assert_int_equal(sttcp_server_stop_within(server, 0, NULL), 0);
		assert_true(event_wait(&went_on, before + 1));
		assert_int_equal(atomic_load(&slept), STTCP_ESTOPPED);
		assert_int_equal(sttcp_server_wait(server, DEADLINE_MS), 0);
		peer_close(peer);
	}
	forget_last();
	sttcp_server_free(server);
}

/* G2: no member before the connection handler has returned; the disconnection handler comes once,
 * and not before that. */
static void connection_is_told_of_in_sequence(void **state)
{
	sttcp_server *server = new_server(park_at_open);
	long ends = event_count(&ended);

	(void)state;
	assert_int_equal(sttcp_server_start(server), 0);
	int peer = join_parked(server);

	assert_int_equal(sttcp_server_count(server), 0);
	assert_null(sttcp_server_find(server, sttcp_conn_id(atomic_load(&last))));
	assert_true(peer_say(peer, "x"));
	EVENTUALLY(sttcp_server_count(server) == 1);
	assert_true(peer_say(peer, "after"));
	assert_true(peer_expect(peer, "after"));
	peer_close(peer);
	assert_true(event_wait(&ended, ends + 1));

	/* The end comes first. */
	peer = join_parked(server);
	assert_int_equal(sttcp_conn_close(atomic_load(&last)), 0);
	assert_true(event_wait(&ended, ends + 2));
	assert_int_equal(atomic_load(&slept), STTCP_ECLOSED);
	assert_int_equal(atomic_load(&reason_of_end), STTCP_ECLOSED);
	peer_close(peer);
	forget_last();
	sttcp_server_free(server);
	assert_int_equal(event_count(&ended), ends + 2);
}

/* ------------------------------------------------------------------- clients */

static void note_unconnected(sttcp_conn *conn, int reason, void *context)
{
	(void)context;
	ignore(sttcp_sleep(20));
	note_end(conn, reason, NULL);
}

/* G3: who waits for an open client waits for its connection handler, too; and one that has failed
 * ends behind its last handler. */
static void client_opens_and_fails_behind_its_waits(void **state)
{
	int port;
	int listener = peer_listen(&port, 1);
	sttcp_client *client = sttcp_client_new("127.0.0.1", port, &with_fibers);
	long before = event_count(&began);
	long ends = event_count(&ended);

	(void)state;
	assert_int_equal(sttcp_client_on_connection(client, park_at_open), 0);
	assert_int_equal(sttcp_client_on_unconnected(client, note_unconnected), 0);
	assert_int_equal(sttcp_client_start(client), 0);
	int peer = peer_accept(listener);

	assert_true(event_wait(&began, before + 1));
	assert_int_equal(sttcp_client_wait_open(client, 20), -ETIMEDOUT);
	assert_true(peer_say(peer, "x"));
	assert_int_equal(sttcp_client_wait_open(client, DEADLINE_MS), 0);
	assert_int_equal(sttcp_client_close(client), 0);
	assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), STTCP_EDESTROYED);
	peer_close(peer);
	peer_close(listener);

	assert_int_equal(sttcp_client_start(client), 0);
	assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), -ECONNREFUSED);
	assert_int_equal(event_count(&ended), ends + 1);
	assert_int_equal(atomic_load(&reason_of_end), -ECONNREFUSED);
	forget_last();
	sttcp_client_free(client);
}

/* --------------------------------------------------------- the universal handler */

static bool wait_for_all(sttcp_event event, sttcp_conn *conn, const void *data, size_t size,
			 void *context)
{
	(void)event;
	(void)conn;
	(void)data;
	(void)size;
	(void)context;
	ignore(sttcp_sleep(5));
	return false;
}

static bool accept_late(sttcp_conn *conn, void *context)
{
	(void)conn;
	(void)context;
	ignore(sttcp_sleep(5));
	return true;
}

static void answer_late(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	ignore(sttcp_sleep(5));
	answer(conn, data, size, context);
}

/* G7: the universal handler first, wherever it waits, and the result of the specific one counts. */
static void specific_result_counts_behind_waits(void **state)
{
	sttcp_server *server = new_server(accept_late);

	(void)state;
	assert_int_equal(sttcp_server_on_universal(server, wait_for_all), 0);
	assert_int_equal(sttcp_server_on_receive(server, answer_late), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	int peer = peer_connect(sttcp_server_port(server));

	for (int i = 0; i < 3; i++) {
		assert_true(peer_say(peer, "again"));
		assert_true(peer_expect(peer, "again"));
	}
	peer_close(peer);
	sttcp_server_free(server);
}

/* G7: without a specific handler the result of the universal one ends it. */
static void universal_result_counts_behind_a_wait(void **state)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, &with_fibers);

	(void)state;
	assert_int_equal(sttcp_server_on_universal(server, wait_for_all), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	int peer = peer_connect(sttcp_server_port(server));

	assert_int_equal(peer_end(peer), 0);
	peer_close(peer);
	sttcp_server_free(server);
}

/* -------------------------------------------------------------- calls by others */

static void count_member(sttcp_conn *conn, void *argument)
{
	int *count = argument;

	(void)conn;
	++*count;
}

/* G9, G10: a call that waits holds no lock of the library's, and takes no call away. */
static void others_call_while_a_handler_waits(void **state)
{
	sttcp_server *server = new_server(park_at_open);
	sttcp_conn_counts counts;
	sttcp_stats stats;
	int members = 0;

	(void)state;
	assert_int_equal(sttcp_server_start(server), 0);
	int peer = join_parked(server);
	sttcp_conn *conn = atomic_load(&last);

	assert_int_equal(sttcp_conn_send(conn, "sent", 4), 0);
	assert_true(peer_expect(peer, "sent"));
	assert_int_equal(sttcp_conn_try_send(conn, "tried", 5), 0);
	assert_true(peer_expect(peer, "tried"));
	assert_int_equal(sttcp_conn_pause(conn), 0);
	assert_int_equal(sttcp_conn_resume(conn), 0);
	sttcp_conn_set_data(conn, &members, NULL);
	assert_ptr_equal(sttcp_conn_data(conn), &members);
	assert_int_equal(sttcp_conn_stats(conn, &counts, sizeof(counts)), 0);
	assert_int_equal(sttcp_server_stats(server, &stats, sizeof(stats)), 0);
	sttcp_server_each(server, count_member, &members);
	assert_int_equal(members, 0);
	assert_int_equal(sttcp_conn_join(conn, "room"), 0);
	char byte;
	assert_int_equal(sttcp_conn_recv(conn, &byte, 1, 0), -EDEADLK);
	assert_true(peer_say(peer, "x"));
	EVENTUALLY(sttcp_server_count(server) == 1);
	assert_int_equal(sttcp_server_count_in(server, "room"), 1);
	peer_close(peer);
	forget_last();
	sttcp_server_free(server);
}

/* G15: those that wait use no CPU. */
static void waiting_handlers_are_silent(void **state)
{
	sttcp_server *server = new_server(park_at_open);
	int peers[20];

	(void)state;
	assert_int_equal(sttcp_server_start(server), 0);
	for (size_t i = 0; i < 20; i++)
		peers[i] = join_parked(server);
	if (UNDER_TSAN)
		print_message("the thread sanitizer's own thread never sleeps: not measured\n");
	else
		expect_silence();
	for (size_t i = 0; i < 20; i++) {
		assert_true(peer_say(peers[i], "xyz"));
		assert_true(peer_expect(peers[i], "yz"));
		peer_close(peers[i]);
	}
	forget_last();
	sttcp_server_free(server);
}

/* ---------------------------------------------------------------------- process */

/* G17: what a signal handler requests ends those that wait, as any stop does. */
static void requested_stop_ends_waits(void **state)
{
	sttcp_server *server = new_server(park_at_open);
	long before = event_count(&went_on);

	(void)state;
	assert_int_equal(sttcp_server_start(server), 0);
	int peer = join_parked(server);

	assert_int_equal(sttcp_server_request_stop(server), 0);
	assert_true(event_wait(&went_on, before + 1));
	assert_int_equal(sttcp_server_wait(server, DEADLINE_MS), 0);
	peer_close(peer);
	forget_last();
	sttcp_server_free(server);
}

/* G17: a child that is forked while a handler waits has objects of its own, whose handlers wait,
 * too; the parent's go on in the parent. */
static int serve_in_child(void)
{
	sttcp_server *server = new_server(accept_late);

	if (sttcp_conn_close(atomic_load(&last)) != STTCP_EFORK || sttcp_server_start(server) < 0)
		return 1;
	int peer = peer_connect(sttcp_server_port(server));
	bool works = peer_say(peer, "child") && peer_expect(peer, "child");

	peer_close(peer);
	sttcp_server_free(server);
	return works ? 0 : 2;
}

static void child_has_waits_of_its_own(void **state)
{
	sttcp_server *server = new_server(park_at_open);

	(void)state;
	assert_int_equal(sttcp_server_start(server), 0);
	int peer = join_parked(server);
	pid_t child = process_fork();

	if (child == 0)
		_exit(serve_in_child());
	assert_true(child > 0);
	assert_int_equal(process_wait_pid(child), 0);
	assert_true(peer_say(peer, "xparent"));
	assert_true(peer_expect(peer, "parent"));
	peer_close(peer);
	forget_last();
	sttcp_server_free(server);
}

static bool leave(sttcp_conn *conn, void *context)
{
	(void)conn;
	(void)context;
	ignore(sttcp_sleep(5));
	exit(7);
}

/* G18: exit is the program's: in a handler that has waited it ends the process with its code. */
static void handler_may_leave_by_exit(void **state)
{
	(void)state;
	pid_t child = process_fork();

	is_child = child == 0;
	if (child == 0) {
		sttcp_server *parking = new_server(park_at_open);
		sttcp_server *server = new_server(leave);

		if (sttcp_server_start(parking) < 0 || sttcp_server_start(server) < 0)
			_exit(1);
		join_parked(parking);
		peer_connect(sttcp_server_port(server));
		sttcp_server_wait(server, DEADLINE_MS);
		_exit(2);
	}
	assert_true(child > 0);
	assert_int_equal(process_wait_pid(child), 7);
}

/* ------------------------------------------------------------------ G13: drained */

static struct event filled = EVENT_INIT;
static struct event emptied = EVENT_INIT;
static struct event drained = EVENT_INIT;

/* More than goes out, and then a wait over which all of it does. */
static bool fill_and_wait(sttcp_conn *conn, void *context)
{
	static char chunk[65536];

	(void)context;
	while (sttcp_conn_try_send(conn, chunk, sizeof(chunk)) == 0)
		;
	sttcp_conn_ref(conn);
	sttcp_conn_unref(atomic_exchange(&last, conn));
	event_raise(&filled);
	while (!event_count(&emptied))
		ignore(sttcp_sleep(1));
	return true;
}

static void note_drained(sttcp_conn *conn, void *context)
{
	(void)conn;
	(void)context;
	event_raise(&drained);
}

/* Output that went out while a handler waits is told of when it has returned. */
static void drained_is_told_behind_a_wait(void **state)
{
	static char sink[65536];
	sttcp_conn_counts counts = {.queued = 1};
	sttcp_server *server = new_server(fill_and_wait);

	(void)state;
	assert_int_equal(sttcp_server_on_drained(server, note_drained), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	int peer = peer_connect_narrow(sttcp_server_port(server));
	assert_true(event_wait(&filled, 1));
	for (int64_t until = now_ms() + DEADLINE_MS; counts.queued; sched_yield()) {
		assert_true(now_ms() < until);
		while (recv(peer, sink, sizeof(sink), MSG_DONTWAIT) > 0)
			;
		assert_int_equal(sttcp_conn_stats(atomic_load(&last), &counts, sizeof(counts)), 0);
	}
	assert_int_equal(event_count(&drained), 0);
	event_raise(&emptied);
	assert_true(event_wait(&drained, 1));
	peer_close(peer);
	forget_last();
	sttcp_server_free(server);
}

/* Where no stack is to be had, a handler runs on that of its thread, and a wait of it holds that.
 */
static int serve_without_stacks(void)
{
	const sttcp_options huge = {
		.size = sizeof(huge), .fibers = true, .fiber_stack_size = 512 * 1024 * 1024};
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, &huge);
	sttcp_stats stats;
	int peers[3];

	/* Of 64 such stacks at a time. With 32 bits there is no room for them anyway. */
	if (sizeof(void *) > 4) {
		const rlim_t room = (rlim_t)1 << 31;
		const struct rlimit most = {.rlim_cur = room, .rlim_max = room};

		if (setrlimit(RLIMIT_AS, &most) < 0)
			return 1;
	}
	if (sttcp_server_on_connection(server, park_at_open) < 0 ||
	    sttcp_server_on_receive(server, answer) < 0 || sttcp_server_start(server) < 0)
		return 2;
	for (int i = 0; i < 3; i++)
		peers[i] = join_parked(server);
	if (sttcp_server_stats(server, &stats, sizeof(stats)) < 0 || stats.fibers)
		return 3;
	for (int i = 0; i < 3; i++) {
		if (!peer_say(peers[i], "xyz") || !peer_expect(peers[i], "yz"))
			return 4;
		peer_close(peers[i]);
	}
	forget_last();
	sttcp_server_free(server);
	return 0;
}

static void handlers_wait_without_a_stack_of_their_own(void **state)
{
	(void)state;
	if (UNDER_ASAN || UNDER_TSAN)
		skip(); /* their shadow takes all addresses */
	pid_t child = process_fork();

	if (child == 0)
		_exit(serve_without_stacks());
	assert_true(child > 0);
	assert_int_equal(process_wait_pid(child), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(server_starts_again_behind_a_parked_handler),
		cmocka_unit_test(connection_is_told_of_in_sequence),
		cmocka_unit_test(client_opens_and_fails_behind_its_waits),
		cmocka_unit_test(specific_result_counts_behind_waits),
		cmocka_unit_test(universal_result_counts_behind_a_wait),
		cmocka_unit_test(others_call_while_a_handler_waits),
		cmocka_unit_test(waiting_handlers_are_silent),
		cmocka_unit_test(requested_stop_ends_waits),
		cmocka_unit_test(child_has_waits_of_its_own),
		cmocka_unit_test(handler_may_leave_by_exit),
		cmocka_unit_test(drained_is_told_behind_a_wait),
		cmocka_unit_test(handlers_wait_without_a_stack_of_their_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
