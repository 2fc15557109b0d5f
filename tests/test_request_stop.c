/* SPDX-License-Identifier: MIT */
/* sttcp_server_request_stop: the stop that a signal handler may ask for. It begins what a first
 * SIGTERM begins in keep_alive (G16, G17). Each case runs in a process of its own. */
#include "support/echo.h"

#include <signal.h>

/* Children of a process with threads make threads of their own here. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "die_after_fork=0";
}

static sttcp_server *target; /* of the signal handlers */

static void on_signal(int number)
{
	int saved = errno;

	(void)number;
	errno = 1234;
	CHECK(sttcp_server_request_stop(target) == 0);
	CHECK(errno == 1234);
	errno = saved;
}

static void set_handler(int number, void (*handler)(int))
{
	struct sigaction action = {.sa_handler = handler};

	sigemptyset(&action.sa_mask);
	CHECK(sigaction(number, &action, NULL) == 0);
}

static void wait_until_refused(int port)
{
	int64_t until = now_ms() + DEADLINE_MS;
	int fd = peer_connect(port);

	while (fd >= 0) {
		CHECK(now_ms() < until);
		peer_close(fd);
		fd = peer_connect(port);
	}
}

/* Until all requests so far have been passed on: the walk over the servers that stops this one, the
 * youngest, has passed the others. */
static void wait_until_passed_on(void)
{
	sttcp_server *last = echo_server(NULL);

	CHECK(sttcp_server_request_stop(last) == 0);
	CHECK(sttcp_server_wait(last, DEADLINE_MS) == 0);
	sttcp_server_free(last);
}

/* --------------------------------------------------------------------- cases */

static int stop_by_a_signal_handler(void)
{
	target = echo_server(NULL);
	int port = sttcp_server_port(target);
	int peer = echoing_peer(target);

	set_handler(SIGTERM, on_signal);
	raise(SIGTERM);
	wait_until_refused(port);
	/* A second request does nothing more: what is connected is still served. */
	raise(SIGTERM);
	raise(SIGTERM);
	wait_until_passed_on();
	CHECK(peer_say(peer, "still served") && peer_expect(peer, "still served"));
	CHECK(sttcp_server_wait(target, 0) == -ETIMEDOUT);
	peer_close(peer);
	CHECK(sttcp_server_wait(target, DEADLINE_MS) == 0);
	sttcp_server_free(target);
	return 0;
}

static int force_at_the_limit(void)
{
	target = echo_server(STTCP_OPTIONS(.drain_timeout_ms = 200));
	int peer = echoing_peer(target);

	set_handler(SIGTERM, on_signal);
	raise(SIGTERM);
	CHECK(peer_end(peer) == 0);
	CHECK(sttcp_server_wait(target, DEADLINE_MS) == 0);
	sttcp_server_free(target);
	return 0;
}

/* A stop without a limit gets that of a signal. */
static void *stop_without_limit(void *server)
{
	CHECK(sttcp_server_stop_within(server, -1, NULL) == 0);
	return NULL;
}

static int shorten_a_stop(void)
{
	pthread_t thread;

	target = echo_server(STTCP_OPTIONS(.drain_timeout_ms = 200));
	int peer = echoing_peer(target);

	CHECK(pthread_create(&thread, NULL, stop_without_limit, target) == 0);
	wait_until_refused(sttcp_server_port(target));
	CHECK(sttcp_server_request_stop(target) == 0);
	CHECK(peer_end(peer) == 0);
	pthread_join(thread, NULL);
	sttcp_server_free(target);
	return 0;
}

static int request_without_a_run(void)
{
	errno = 1234;
	CHECK(sttcp_server_request_stop(NULL) == -EINVAL);
	target = server_with(echo, NULL);
	CHECK(sttcp_server_request_stop(target) == 0); /* and there is no engine */
	CHECK(errno == 1234);
	for (int round = 0; round < 3; round++) {
		/* What came before a start does not stop the run. */
		CHECK(sttcp_server_start(target) == 0);
		wait_until_passed_on();
		int peer = echoing_peer(target);
		CHECK(sttcp_server_wait(target, 0) == -ETIMEDOUT);
		peer_close(peer);
		CHECK(sttcp_server_request_stop(target) == 0);
		CHECK(sttcp_server_wait(target, DEADLINE_MS) == 0);
		CHECK(sttcp_server_request_stop(target) == 0); /* after its stop */
		CHECK(sttcp_server_wait(target, 0) == 0);
	}
	sttcp_server_free(target);
	return 0;
}

static int stop_one_of_many(void)
{
	sttcp_server *servers[5];

	for (int i = 0; i < 5; i++)
		servers[i] = echo_server(NULL);
	CHECK(sttcp_server_request_stop(servers[1]) == 0);
	CHECK(sttcp_server_request_stop(servers[3]) == 0);
	CHECK(sttcp_server_wait(servers[1], DEADLINE_MS) == 0);
	CHECK(sttcp_server_wait(servers[3], DEADLINE_MS) == 0);
	wait_until_passed_on();
	for (int i = 0; i < 5; i += 2) {
		peer_close(echoing_peer(servers[i]));
		CHECK(sttcp_server_wait(servers[i], 0) == -ETIMEDOUT);
	}
	for (int i = 0; i < 5; i++)
		sttcp_server_free(servers[i]);
	return 0;
}

static int request_in_a_forked_child(void)
{
	target = echo_server(NULL);
	pid_t pid = process_fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		CHECK(sttcp_server_request_stop(target) == STTCP_EFORK);
		sttcp_server *own = echo_server(NULL);
		CHECK(sttcp_server_request_stop(own) == 0);
		CHECK(sttcp_server_wait(own, DEADLINE_MS) == 0);
		_exit(0);
	}
	CHECK(process_wait_pid(pid) == 0);
	wait_until_passed_on();
	peer_close(echoing_peer(target));
	CHECK(sttcp_server_wait(target, 0) == -ETIMEDOUT);
	sttcp_server_free(target);
	return 0;
}

static void request_and_echo(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)context;
	CHECK(sttcp_server_request_stop(sttcp_conn_server(conn)) == 0);
	sttcp_conn_send(conn, data, size);
	sttcp_conn_close(conn);
}

static int end_keep_alive(void)
{
	target = server_with(echo, NULL);
	CHECK(sttcp_server_on_receive(target, request_and_echo) == 0);
	CHECK(sttcp_server_start(target) == 0);
	int peer = peer_connect(sttcp_server_port(target));

	CHECK(peer_say(peer, "x"));
	CHECK(sttcp_server_keep_alive(target) == 0);
	CHECK(peer_expect(peer, "x"));
	sttcp_server_free(target);
	return 0;
}

static void look(sttcp_conn *conn, void *argument)
{
	(void)argument;
	sttcp_conn_id(conn);
}

static pthread_t main_thread;
static atomic_bool requesting;

static void *send_signals(void *unused)
{
	while (atomic_load(&requesting))
		pthread_kill(main_thread, SIGUSR1);
	return unused;
}

/* Interrupts main in whatever it does, also where it holds a lock of the library. */
static int interrupt_every_call(void)
{
	pthread_t thread;
	sttcp_stats stats;

	main_thread = pthread_self();
	target = server_with(echo, NULL);
	set_handler(SIGUSR1, on_signal);
	atomic_store(&requesting, true);
	CHECK(pthread_create(&thread, NULL, send_signals, NULL) == 0);
	for (int round = 0; round < 150; round++) {
		CHECK(sttcp_server_start(target) == 0);
		sttcp_server *other = echo_server(NULL);
		for (int i = 0; i < 5; i++) {
			sttcp_server_each(target, look, NULL);
			CHECK(sttcp_server_broadcast(target, "x", 1) >= 0);
			CHECK(sttcp_server_stats(target, &stats, sizeof(stats)) == 0);
		}
		if (round % 3 == 0)
			CHECK(sttcp_server_stop_within(target, 0, NULL) == 0);
		CHECK(sttcp_server_wait(target, DEADLINE_MS) == 0);
		CHECK(sttcp_server_stop(other) == 0);
		sttcp_server_free(other);
	}
	atomic_store(&requesting, false);
	pthread_join(thread, NULL);
	sttcp_server_free(target);
	return 0;
}

static const struct child children[] = {
	{"stop_by_a_signal_handler", stop_by_a_signal_handler},
	{"force_at_the_limit", force_at_the_limit},
	{"shorten_a_stop", shorten_a_stop},
	{"request_without_a_run", request_without_a_run},
	{"stop_one_of_many", stop_one_of_many},
	{"request_in_a_forked_child", request_in_a_forked_child},
	{"end_keep_alive", end_keep_alive},
	{"interrupt_every_call", interrupt_every_call},
	{NULL, NULL},
};

static void request_stop_in_a_signal_handler_is_a_graceful_stop(void **state)
{
	(void)state;
	assert_int_equal(process_run("stop_by_a_signal_handler"), 0);
}

static void request_stop_has_the_limit_of_a_signal(void **state)
{
	(void)state;
	assert_int_equal(process_run("force_at_the_limit"), 0);
	assert_int_equal(process_run("shorten_a_stop"), 0);
}

static void request_stop_concerns_the_run_that_it_finds(void **state)
{
	(void)state;
	assert_int_equal(process_run("request_without_a_run"), 0);
}

static void request_stop_stops_this_server_alone(void **state)
{
	(void)state;
	assert_int_equal(process_run("stop_one_of_many"), 0);
}

static void request_stop_in_a_child_leaves_the_parents_server_alone(void **state)
{
	(void)state;
	assert_int_equal(process_run("request_in_a_forked_child"), 0);
}

static void request_stop_in_a_handler_ends_keep_alive(void **state)
{
	(void)state;
	assert_int_equal(process_run("end_keep_alive"), 0);
}

static void request_stop_may_interrupt_every_call(void **state)
{
	(void)state;
	assert_int_equal(process_run("interrupt_every_call"), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(request_stop_in_a_signal_handler_is_a_graceful_stop),
		cmocka_unit_test(request_stop_has_the_limit_of_a_signal),
		cmocka_unit_test(request_stop_concerns_the_run_that_it_finds),
		cmocka_unit_test(request_stop_stops_this_server_alone),
		cmocka_unit_test(request_stop_in_a_child_leaves_the_parents_server_alone),
		cmocka_unit_test(request_stop_in_a_handler_ends_keep_alive),
		cmocka_unit_test(request_stop_may_interrupt_every_call),
	};

	if (argc == 2)
		return child_main(children, argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
