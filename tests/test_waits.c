/* SPDX-License-Identifier: MIT */
/* sttcp_sleep and sttcp_poll: on any thread, and in handlers, where an end by force ends them. */
#include "support/support.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>

static struct event looked = EVENT_INIT;
static int found;

static bool poll_a_closed_number(sttcp_conn *conn, void *context)
{
	(void)conn;
	(void)context;
	/* From here on this thread has numbers of its own: else another one, such as the monitor,
	 * might open the one that is closed, and this fails now and then. Some containers deny it.
	 */
	CHECK(unshare(CLONE_FILES) == 0 || errno == EPERM);

	int fd = dup(0);

	CHECK(fd >= 0 && close(fd) == 0);
	/* With a limit, lest a failure waits for good. */
	found = sttcp_poll(fd, POLLIN, 1000);
	event_raise(&looked);
	return true;
}

/* The handler's thread may do nothing more: the process ends. */
static int poll_first_what_is_closed(void)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);

	CHECK(sttcp_server_on_connection(server, poll_a_closed_number) == 0);
	CHECK(sttcp_server_start(server) == 0);
	CHECK(peer_connect(sttcp_server_port(server)) >= 0);
	CHECK(event_wait(&looked, 1));
	CHECK(found == POLLNVAL);
	return 0;
}

/* The first wait of its thread, for which the library opens a descriptor of its own: the lowest
 * number that is free. */
static void first_wait_tells_of_a_closed_number(void **state)
{
	(void)state;
	assert_int_equal(process_run("poll_first_what_is_closed"), 0);
}

/* ------------------------------------------------------------------ outside handlers */

static void sleep_is_never_early(void **state)
{
	(void)state;
	assert_int_equal(sttcp_sleep(-2), -EINVAL);
	assert_int_equal(sttcp_sleep(0), 0);
	for (int ms = 1; ms < 40; ms += 6) {
		int64_t began = now_ms();

		assert_int_equal(sttcp_sleep(ms), 0);
		assert_true(now_ms() - began >= ms);
	}
}

static void note_signal(int number)
{
	(void)number;
}

struct sleeper {
	struct event begun;
	int64_t took_ms;
	int result;
};

static void *sleep_there(void *argument)
{
	struct sleeper *sleeper = argument;
	int64_t began = now_ms();

	event_raise(&sleeper->begun);
	sleeper->result = sttcp_sleep(300);
	sleeper->took_ms = now_ms() - began;
	return NULL;
}

/* Nor a cancellation: it is no cancellation point. */
static void signal_does_not_end_a_sleep(void **state)
{
	const struct sigaction action = {.sa_handler = note_signal};
	struct sleeper sleeper = {.begun = EVENT_INIT};
	struct sigaction before;
	pthread_t thread;

	(void)state;
	assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
	assert_int_equal(pthread_create(&thread, NULL, sleep_there, &sleeper), 0);
	assert_true(event_wait(&sleeper.begun, 1));
	for (int i = 0; i < 10; i++) {
		nap_ms(5);
		assert_int_equal(pthread_kill(thread, SIGUSR1), 0);
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(sleeper.result, 0);
	assert_true(sleeper.took_ms >= 300);
	sigaction(SIGUSR1, &before, NULL);
}

static void poll_tells_what_has_come(void **state)
{
	int ends[2];

	(void)state;
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(sttcp_poll(ends[0], POLLIN, 0), -ETIMEDOUT);
	assert_int_equal(sttcp_poll(ends[1], POLLOUT, -1), POLLOUT);

	int64_t began = now_ms();

	assert_int_equal(sttcp_poll(ends[0], POLLIN, 20), -ETIMEDOUT);
	assert_true(now_ms() - began >= 20);
	assert_int_equal(write(ends[1], "x", 1), 1);
	assert_int_equal(sttcp_poll(ends[0], POLLIN | POLLPRI, -1), POLLIN);
	/* Unasked. */
	assert_int_equal(close(ends[1]), 0);
	assert_int_equal(sttcp_poll(ends[0], 0, -1), POLLHUP);
	assert_int_equal(close(ends[0]), 0);
}

static void poll_takes_what_poll_takes(void **state)
{
	int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	(void)state;
	assert_int_equal(sttcp_poll(-1, POLLIN, 0), -EINVAL);
	assert_int_equal(sttcp_poll(0, POLLIN, -2), -EINVAL);
	/* A file is always ready. */
	assert_true(file >= 0);
	assert_int_equal(sttcp_poll(file, POLLIN | POLLOUT, -1), POLLIN | POLLOUT);
	/* One that is not open. */
	close(file);
	assert_int_equal(sttcp_poll(file, POLLIN, -1), POLLNVAL);
}

struct poller {
	int fd;
	int result;
};

static void *poll_there(void *argument)
{
	struct poller *poller = argument;

	poller->result = sttcp_poll(poller->fd, POLLIN, DEADLINE_MS);
	return NULL;
}

static void several_threads_poll_the_same(void **state)
{
	int ends[2];
	struct poller pollers[3];
	pthread_t threads[3];

	(void)state;
	assert_int_equal(pipe(ends), 0);
	for (int i = 0; i < 3; i++) {
		pollers[i].fd = ends[0];
		assert_int_equal(pthread_create(&threads[i], NULL, poll_there, &pollers[i]), 0);
	}
	assert_int_equal(write(ends[1], "x", 1), 1);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_int_equal(pollers[i].result, POLLIN);
	}
	close(ends[0]);
	close(ends[1]);
}

/* -------------------------------------------------------------------- in handlers */

/* What a handler waits with, and what came of it. */
enum waits {
	BY_SLEEP,
	BY_POLL
};

static enum waits waits_by;
static int quiet[2]; /* a pipe on which nothing comes */
static struct event waiting = EVENT_INIT;
static struct event waited = EVENT_INIT;
static atomic_int result;

static int wait_for_ever(void)
{
	return waits_by == BY_SLEEP ? sttcp_sleep(-1) : sttcp_poll(quiet[0], POLLIN, -1);
}

static bool wait_in_data(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	(void)data;
	(void)size;
	/* It leaves before the wait. */
	sttcp_conn_send(conn, "waits", 5);
	event_raise(&waiting);
	result = wait_for_ever();
	event_raise(&waited);
	return true;
}

static void open_waiting(struct pair *pair, const sttcp_options *options)
{
	long before = event_count(&waiting);

	*pair = (struct pair){.probe = probe_new()};
	pair->probe->data = wait_in_data;
	pair_open(pair, options);
	result = 1;
	assert_true(peer_say(pair->peer, "x"));
	assert_true(event_wait(&waiting, before + 1));
	assert_true(peer_expect(pair->peer, "waits"));
}

static void expect_result(struct pair *pair, long before, int expected)
{
	assert_true(event_wait(&waited, before + 1));
	assert_int_equal(result, expected);
	pair_close(pair);
}

static void ends_by_force(enum waits by)
{
	struct pair pair;
	long before = event_count(&waited);

	waits_by = by;
	open_waiting(&pair, NULL);
	assert_int_equal(sttcp_conn_abort(pair.conn), 0);
	expect_result(&pair, before, STTCP_ECLOSED);

	before = event_count(&waited);
	open_waiting(&pair, NULL);
	assert_int_equal(sttcp_conn_fail_now(pair.conn, -EPROTO, "nonsense"), 0);
	expect_result(&pair, before, -EPROTO);

	before = event_count(&waited);
	open_waiting(&pair, NULL);
	assert_int_equal(sttcp_server_stop_within(pair.server, 0, NULL), 0);
	expect_result(&pair, before, STTCP_ESTOPPED);

	before = event_count(&waited);
	open_waiting(&pair, STTCP_OPTIONS(.lifetime_ms = 1500));
	expect_result(&pair, before, STTCP_ETIME_LIFETIME);
}

static void end_by_force_ends_a_sleep(void **state)
{
	(void)state;
	ends_by_force(BY_SLEEP);
}

static void end_by_force_ends_a_poll(void **state)
{
	(void)state;
	assert_int_equal(pipe(quiet), 0);
	ends_by_force(BY_POLL);
	close(quiet[0]);
	close(quiet[1]);
}

/* G16: free waits for handlers, so it must end them. */
static void free_ends_a_wait(void **state)
{
	struct pair pair;
	long before = event_count(&waited);

	(void)state;
	waits_by = BY_SLEEP;
	open_waiting(&pair, NULL);
	sttcp_server_free(pair.server);
	pair.server = NULL;
	assert_true(event_count(&waited) > before);
	assert_int_equal(result, STTCP_ESTOPPED);
	sttcp_conn_unref(pair.conn);
	peer_close(pair.peer);
	probe_free(pair.probe);
}

/* A peer that takes nothing; while the handler waits for something else. */
static bool send_and_wait(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	static char block[512 * 1024];

	(void)probe;
	(void)data;
	(void)size;
	while (sttcp_conn_try_send(conn, block, sizeof(block)) == 0)
		;
	result = sttcp_sleep(-1);
	event_raise(&waited);
	return true;
}

static void write_limit_ends_a_wait(void **state)
{
	struct pair pair = {.probe = probe_new()};
	long before = event_count(&waited);

	(void)state;
	pair.probe->data = send_and_wait;
	pair_open(&pair, STTCP_OPTIONS(.write_timeout_ms = 50));
	assert_true(peer_say(pair.peer, "x"));
	expect_result(&pair, before, STTCP_ETIME_WRITE);
}

static bool close_and_wait(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	int64_t began = now_ms();

	(void)probe;
	(void)data;
	(void)size;
	sttcp_conn_close(conn);
	result = sttcp_sleep(50);
	if (now_ms() - began < 50)
		result = 1;
	event_raise(&waited);
	return true;
}

static void close_does_not_end_a_sleep(void **state)
{
	struct pair pair = {.probe = probe_new()};
	long before = event_count(&waited);

	(void)state;
	pair.probe->data = close_and_wait;
	pair_open(&pair, NULL);
	assert_true(peer_say(pair.peer, "x"));
	expect_result(&pair, before, 0);
}

static bool abort_and_wait(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	(void)data;
	(void)size;
	sttcp_conn_abort(conn);
	result = sttcp_sleep(-1) == STTCP_ECLOSED &&
				 sttcp_poll(quiet[0], POLLIN, -1) == STTCP_ECLOSED
			 ? 0
			 : 1;
	event_raise(&waited);
	return true;
}

static void waits_after_an_end_by_force_return_at_once(void **state)
{
	struct pair pair = {.probe = probe_new()};
	long before = event_count(&waited);

	(void)state;
	assert_int_equal(pipe(quiet), 0);
	pair.probe->data = abort_and_wait;
	pair_open(&pair, NULL);
	assert_true(peer_say(pair.peer, "x"));
	expect_result(&pair, before, 0);
	close(quiet[0]);
	close(quiet[1]);
}

/* -------------------------------------------------------------- in the last handler */

static int last_ms;

static void wait_in_last(struct probe *probe, sttcp_conn *conn, int reason)
{
	(void)probe;
	(void)conn;
	(void)reason;
	event_raise(&waiting);
	result = sttcp_sleep(last_ms);
	event_raise(&waited);
}

/* An end of the peer's is none by force. */
static void last_handler_sleeps_after_the_peers_end(void **state)
{
	struct pair pair = {.probe = probe_new()};
	long before = event_count(&waited);

	(void)state;
	last_ms = 30;
	pair.probe->ended = wait_in_last;
	pair_open(&pair, NULL);
	peer_reset(pair.peer);
	pair.peer = -1;
	expect_result(&pair, before, 0);
}

static void last_handler_is_woken_by_free(void **state)
{
	struct pair pair = {.probe = probe_new()};
	long before = event_count(&waiting);

	(void)state;
	last_ms = -1;
	pair.probe->ended = wait_in_last;
	pair_open(&pair, NULL);
	peer_close(pair.peer);
	assert_true(event_wait(&waiting, before + 1));
	sttcp_server_free(pair.server);
	/* Why it had ended before. */
	assert_int_equal(result, STTCP_ECLOSED);
	sttcp_conn_unref(pair.conn);
	probe_free(pair.probe);
}

/* --------------------------------------------------------------- others go on (G8) */

static bool sleep_or_echo(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	if (*(const char *)data == 's')
		sttcp_sleep(-1);
	return echo_data(probe, conn, data, size);
}

static void others_are_served_meanwhile(void **state)
{
	struct probe *probe = probe_new();
	int sleepers[8];

	(void)state;
	probe->data = sleep_or_echo;
	sttcp_server *server = probe_listen(probe, NULL);

	for (int i = 0; i < 8; i++) {
		sleepers[i] = peer_connect(sttcp_server_port(server));
		assert_true(peer_say(sleepers[i], "s"));
	}
	for (int i = 0; i < 20; i++)
		assert_true(peer_is_answered(peer_connect(sttcp_server_port(server))));
	sttcp_server_free(server);
	for (int i = 0; i < 8; i++)
		peer_close(sleepers[i]);
	probe_free(probe);
}

/* A piece of work has no connection that could end. */
static void sleep_in_work(void *argument)
{
	(void)argument;
	result = sttcp_sleep(20);
	event_raise(&waited);
}

static void work_sleeps(void **state)
{
	long before = event_count(&waited);

	(void)state;
	result = 1;
	assert_int_equal(sttcp_run(sleep_in_work, NULL), 0);
	assert_true(event_wait(&waited, before + 1));
	assert_int_equal(result, 0);
}

/* ----------------------------------------------------- without a descriptor left */

enum {
	SHORT_MS = 200
};

struct poor {
	struct event done;
	int slept, polled, received;
	int64_t took_ms[3];
	int forced;
};

/* No number is free from here on: no waker can be had for the wait of this thread. */
static struct rlimit take_descriptors_away(void)
{
	int lowest = dup(0);
	struct rlimit limit;

	close(lowest);
	getrlimit(RLIMIT_NOFILE, &limit);
	setrlimit(RLIMIT_NOFILE,
		  &(struct rlimit){.rlim_cur = (rlim_t)lowest, .rlim_max = limit.rlim_max});
	return limit;
}

static bool wait_without_descriptors(struct probe *probe, sttcp_conn *conn, const void *data,
				     size_t size)
{
	struct poor *poor = probe->extra;
	struct rlimit limit = take_descriptors_away();
	int64_t began = now_ms();
	char rest[8];

	(void)data;
	(void)size;
	poor->slept = sttcp_sleep(SHORT_MS);
	poor->took_ms[0] = now_ms() - began;
	began = now_ms();
	poor->polled = sttcp_poll(sttcp_conn_fd(conn), POLLPRI, SHORT_MS);
	poor->took_ms[1] = now_ms() - began;
	began = now_ms();
	poor->received = (int)sttcp_conn_recv(conn, rest, sizeof(rest), SHORT_MS);
	poor->took_ms[2] = now_ms() - began;
	event_raise(&poor->done);
	poor->forced = sttcp_sleep(DEADLINE_MS);
	setrlimit(RLIMIT_NOFILE, &limit);
	return true;
}

static void waits_need_no_descriptor(void **state)
{
	struct poor poor = {.done = EVENT_INIT};
	struct pair pair = {.probe = probe_new()};

	(void)state;
	pair.probe->extra = &poor;
	pair.probe->data = wait_without_descriptors;
	pair_open(&pair, NULL);
	assert_true(peer_say(pair.peer, "go"));
	assert_true(event_wait(&poor.done, 1));
	/* The end by force is seen, too. */
	assert_int_equal(sttcp_server_stop_within(pair.server, 0, NULL), 0);
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(poor.slept, 0);
	assert_int_equal(poor.polled, -ETIMEDOUT);
	assert_int_equal(poor.received, -ETIMEDOUT);
	for (int i = 0; i < 3; i++)
		assert_true(poor.took_ms[i] >= SHORT_MS);
	assert_int_equal(poor.forced, STTCP_ESTOPPED);
	pair_close(&pair);
}

static const struct child children[] = {
	{"poll_first_what_is_closed", poll_first_what_is_closed},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_wait_tells_of_a_closed_number),
		cmocka_unit_test(sleep_is_never_early),
		cmocka_unit_test(signal_does_not_end_a_sleep),
		cmocka_unit_test(poll_tells_what_has_come),
		cmocka_unit_test(poll_takes_what_poll_takes),
		cmocka_unit_test(several_threads_poll_the_same),
		cmocka_unit_test(end_by_force_ends_a_sleep),
		cmocka_unit_test(end_by_force_ends_a_poll),
		cmocka_unit_test(free_ends_a_wait),
		cmocka_unit_test(write_limit_ends_a_wait),
		cmocka_unit_test(close_does_not_end_a_sleep),
		cmocka_unit_test(waits_after_an_end_by_force_return_at_once),
		cmocka_unit_test(last_handler_sleeps_after_the_peers_end),
		cmocka_unit_test(last_handler_is_woken_by_free),
		cmocka_unit_test(others_are_served_meanwhile),
		cmocka_unit_test(work_sleeps),
		cmocka_unit_test(waits_need_no_descriptor),
	};

	if (argc == 2)
		return child_main(children, argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
