/* SPDX-License-Identifier: MIT */
/* G17, keep_alive: SIGINT or SIGTERM starts the graceful stop, a second one the immediate stop;
 * what was there before comes back. Each case runs in a process of its own. */
#include "support/support.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

static struct event failures = EVENT_INIT;

static void echo(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)context;
	if (size == 4 && memcmp(data, "fail", 4) == 0) {
		sttcp_conn_fail(conn, 0, "as told");
		event_raise(&failures);
		return;
	}
	sttcp_conn_send(conn, data, size);
}

static sttcp_server *echo_server(const sttcp_options *options)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, options);

	CHECK(server);
	CHECK(sttcp_server_on_receive(server, echo) == 0);
	CHECK(sttcp_server_start(server) == 0);
	return server;
}

static atomic_int caught;

static void catch_signal(int number)
{
	(void)number;
	atomic_fetch_add(&caught, 1);
}

static void set_handler(int number, void (*handler)(int))
{
	struct sigaction action = {.sa_handler = handler};

	sigemptyset(&action.sa_mask);
	CHECK(sigaction(number, &action, NULL) == 0);
}

static bool has_handler(int number, void (*handler)(int))
{
	struct sigaction action;

	return sigaction(number, NULL, &action) == 0 && action.sa_handler == handler;
}

/* ------------------------------------------------------------------ children */

static int keep_a_server(void)
{
	sttcp_server *server = echo_server(NULL);

	set_handler(SIGINT, catch_signal);
	set_handler(SIGUSR1, catch_signal);
	tell("port %d", sttcp_server_port(server));
	CHECK(sttcp_server_keep_alive(server) == 0);
	CHECK(atomic_load(&caught) == 0); /* the signal was the library's */
	CHECK(has_handler(SIGINT, catch_signal));
	CHECK(has_handler(SIGTERM, SIG_DFL));
	CHECK(has_handler(SIGUSR1, catch_signal)); /* nothing else was touched */
	raise(SIGINT);
	CHECK(atomic_load(&caught) == 1);
	sttcp_server_free(server);
	return 0;
}

static int keep_a_server_with_a_limit(void)
{
	sttcp_server *server = echo_server(STTCP_OPTIONS(.drain_timeout_ms = 300));

	tell("port %d", sttcp_server_port(server));
	CHECK(sttcp_server_keep_alive(server) == 0);
	sttcp_server_free(server);
	return 0;
}

static int keep_with_sigint_ignored(void)
{
	sttcp_server *server = echo_server(NULL);

	set_handler(SIGINT, SIG_IGN);
	tell("port %d", sttcp_server_port(server));
	CHECK(sttcp_server_keep_alive(server) == 0);
	CHECK(has_handler(SIGINT, SIG_IGN));
	CHECK(has_handler(SIGTERM, SIG_DFL));
	sttcp_server_free(server);
	return 0;
}

/* Two servers and a client, kept by one call. */
static int keep_everything(void)
{
	CHECK(sttcp_keep_alive() == -EINVAL);
	sttcp_server *first = echo_server(NULL);
	sttcp_server *second = echo_server(NULL);
	sttcp_client *client = sttcp_client_new("127.0.0.1", sttcp_server_port(second), NULL);
	CHECK(sttcp_client_start(client) == 0);
	tell("port %d", sttcp_server_port(first));
	CHECK(sttcp_keep_alive() == 0);
	CHECK(sttcp_server_wait(first, 0) == 0);
	CHECK(sttcp_server_wait(second, 0) == 0);
	CHECK(sttcp_client_wait(client, 0) == STTCP_EDESTROYED);
	CHECK(has_handler(SIGINT, SIG_DFL));
	sttcp_client_free(client);
	sttcp_server_free(first);
	sttcp_server_free(second);
	CHECK(sttcp_keep_alive() == -EINVAL);
	return 0;
}

static void *keep_in_a_thread(void *server)
{
	CHECK(sttcp_server_keep_alive(server) == 0);
	return NULL;
}

/* Several keep_alive at a time: the first in saves the dispositions, the last out restores. */
static int keep_in_many_threads(void)
{
	sttcp_server *servers[4];
	pthread_t threads[4];

	set_handler(SIGINT, catch_signal);
	for (int i = 0; i < 4; i++) {
		servers[i] = echo_server(NULL);
		CHECK(pthread_create(&threads[i], NULL, keep_in_a_thread, servers[i]) == 0);
	}
	while (has_handler(SIGINT, catch_signal)) /* until one has begun */
		nap_ms(1);
	/* One that ends early leaves the signals to the others. */
	CHECK(sttcp_server_stop(servers[0]) == 0);
	pthread_join(threads[0], NULL);
	tell("port %d", sttcp_server_port(servers[1]));
	for (int i = 1; i < 4; i++)
		pthread_join(threads[i], NULL);
	CHECK(has_handler(SIGINT, catch_signal));
	for (int i = 0; i < 4; i++)
		sttcp_server_free(servers[i]);
	return 0;
}

static int keep_a_client(void)
{
	int port;
	int listener = peer_listen(&port, 4);
	sttcp_client *client = sttcp_client_new("127.0.0.1", port, NULL);

	CHECK(sttcp_client_start(client) == 0);
	peer_close(peer_accept(listener));
	CHECK(sttcp_client_keep_alive(client) == 0); /* its own end */
	CHECK(sttcp_client_start(client) == 0);
	CHECK(peer_accept(listener) >= 0);
	tell("port %d", port);
	CHECK(sttcp_client_keep_alive(client) == STTCP_EDESTROYED);
	sttcp_client_free(client);
	return 0;
}

static void stop_it(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)data;
	(void)size;
	(void)context;
	sttcp_server_stop(sttcp_conn_server(conn));
	sttcp_conn_close(conn);
}

/* keep_alive returns when a handler stops the server, and the default action is back. */
static int keep_until_a_handler_stops_it(void)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);

	CHECK(sttcp_server_on_receive(server, stop_it) == 0);
	CHECK(sttcp_server_start(server) == 0);
	tell("port %d", sttcp_server_port(server));
	CHECK(sttcp_server_keep_alive(server) == 0);
	CHECK(has_handler(SIGINT, SIG_DFL));
	sttcp_server_free(server);
	raise(SIGINT);
	return 1; /* it ends by the signal before this */
}

/* --------------------------------------------------------------------- tests */

static bool catches(pid_t pid, int number)
{
	char line[256];
	unsigned long long mask = 0;

	snprintf(line, sizeof(line), "/proc/%d/status", (int)pid);
	FILE *file = fopen(line, "re");
	if (!file)
		return false;
	while (fgets(line, sizeof(line), file)) {
		if (strncmp(line, "SigCgt:", 7) == 0)
			mask = strtoull(line + 7, NULL, 16);
	}
	fclose(file);
	return (mask >> (number - 1) & 1) != 0;
}

/* keep_alive has begun when the process catches SIGTERM, which nothing else here does. */
static void wait_until_kept(struct process *process)
{
	EVENTUALLY(catches(process->pid, SIGTERM));
	nap_ms(5); /* SIGINT may come after SIGTERM */
}

static void wait_until_refused(int port)
{
	int fd = -1;

	EVENTUALLY((peer_close(fd), fd = peer_connect(port)) == -1);
}

static void keep_alive_stops_gracefully_on(int number)
{
	struct process process;

	assert_true(process_start(&process, "keep_a_server"));
	int port = process_number(&process, "port ");
	int peer = peer_connect(port);
	assert_true(peer_say(peer, "x"));
	assert_true(peer_expect(peer, "x"));
	wait_until_kept(&process);
	assert_int_equal(kill(process.pid, number), 0);
	wait_until_refused(port);
	assert_true(peer_say(peer, "still served"));
	assert_true(peer_expect(peer, "still served"));
	peer_close(peer);
	assert_int_equal(process_wait(&process), 0);
}

static void keep_alive_stops_gracefully_on_sigint(void **state)
{
	(void)state;
	keep_alive_stops_gracefully_on(SIGINT);
}

static void keep_alive_stops_gracefully_on_sigterm(void **state)
{
	(void)state;
	keep_alive_stops_gracefully_on(SIGTERM);
}

/* The second signal is the immediate stop: it does not wait for the open connection. */
static void keep_alive_stops_at_once_on_the_second_signal(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct process process;

		assert_true(process_start(&process, "keep_a_server"));
		int port = process_number(&process, "port ");
		int peer = peer_connect(port);
		assert_true(peer_say(peer, "x"));
		assert_true(peer_expect(peer, "x"));
		wait_until_kept(&process);
		int64_t begin = now_ms();
		kill(process.pid, SIGINT);
		wait_until_refused(port);
		assert_true(peer_quiet(peer, 100)); /* it still waits for this one */
		kill(process.pid, i == 0 ? SIGINT : SIGTERM);
		assert_int_equal(peer_end(peer), 0);
		assert_int_equal(process_wait(&process), 0);
		assert_true(now_ms() - begin < 9000); /* before the drain limit of 10 s */
		peer_close(peer);
	}
}

static void keep_alive_forces_at_the_drain_limit(void **state)
{
	struct process process;

	(void)state;
	assert_true(process_start(&process, "keep_a_server_with_a_limit"));
	int peer = peer_connect(process_number(&process, "port "));
	assert_true(peer_say(peer, "x"));
	assert_true(peer_expect(peer, "x"));
	wait_until_kept(&process);
	kill(process.pid, SIGTERM);
	assert_int_equal(peer_end(peer), 0);
	assert_int_equal(process_wait(&process), 0);
	peer_close(peer);
}

static void keep_alive_leaves_an_ignored_signal_ignored(void **state)
{
	struct process process;

	(void)state;
	assert_true(process_start(&process, "keep_with_sigint_ignored"));
	int port = process_number(&process, "port ");
	wait_until_kept(&process);
	for (int i = 0; i < 3; i++) {
		kill(process.pid, SIGINT);
		nap_ms(5);
		int peer = peer_connect(port);
		assert_true(peer_say(peer, "x"));
		assert_true(peer_expect(peer, "x"));
		peer_close(peer);
	}
	kill(process.pid, SIGTERM);
	assert_int_equal(process_wait(&process), 0);
}

static void stop_by_signal(const char *child)
{
	struct process process;

	assert_true(process_start(&process, child));
	assert_true(process_number(&process, "port ") > 0);
	wait_until_kept(&process);
	kill(process.pid, SIGINT);
	assert_int_equal(process_wait(&process), 0);
}

static void keep_alive_of_everything_stops_everything(void **state)
{
	(void)state;
	stop_by_signal("keep_everything");
}

/* Nobody can tell from outside when the last thread has begun: the signal comes again until all
 * have stopped. The handler from before takes those that come too late. */
static void keep_alive_in_many_threads_is_counted(void **state)
{
	struct process process;
	siginfo_t info = {0};
	int64_t until = now_ms() + DEADLINE_MS;

	(void)state;
	assert_true(process_start(&process, "keep_in_many_threads"));
	assert_true(process_number(&process, "port ") > 0);
	while (info.si_pid == 0 && now_ms() < until) {
		kill(process.pid, SIGINT);
		nap_ms(100);
		waitid(P_PID, (id_t)process.pid, &info, WEXITED | WNOHANG | WNOWAIT);
	}
	assert_int_equal(process_wait(&process), 0);
}

static void keep_alive_of_a_client_tells_its_end(void **state)
{
	(void)state;
	stop_by_signal("keep_a_client");
}

static void keep_alive_ends_when_a_handler_stops_the_server(void **state)
{
	struct process process;

	(void)state;
	assert_true(process_start(&process, "keep_until_a_handler_stops_it"));
	int peer = peer_connect(process_number(&process, "port "));
	assert_true(peer_say(peer, "x"));
	assert_int_equal(peer_end(peer), 0);
	peer_close(peer);
	assert_int_equal(process_wait(&process), 128 + SIGINT);
}

/* G7: after any number of failed handlers the server still stops on Ctrl+C. */
static void keep_alive_stops_after_many_failed_handlers(void **state)
{
	struct process process;

	(void)state;
	assert_true(process_start(&process, "keep_a_server"));
	int port = process_number(&process, "port ");
	for (int i = 0; i < 200; i++) {
		int peer = peer_connect(port);

		assert_true(peer_say(peer, "fail"));
		assert_int_equal(peer_end(peer), 0);
		peer_close(peer);
	}
	wait_until_kept(&process);
	kill(process.pid, SIGINT);
	assert_int_equal(process_wait(&process), 0);
}

static const struct child children[] = {
	{"keep_a_server", keep_a_server},
	{"keep_a_server_with_a_limit", keep_a_server_with_a_limit},
	{"keep_with_sigint_ignored", keep_with_sigint_ignored},
	{"keep_everything", keep_everything},
	{"keep_in_many_threads", keep_in_many_threads},
	{"keep_a_client", keep_a_client},
	{"keep_until_a_handler_stops_it", keep_until_a_handler_stops_it},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keep_alive_stops_gracefully_on_sigint),
		cmocka_unit_test(keep_alive_stops_gracefully_on_sigterm),
		cmocka_unit_test(keep_alive_stops_at_once_on_the_second_signal),
		cmocka_unit_test(keep_alive_forces_at_the_drain_limit),
		cmocka_unit_test(keep_alive_leaves_an_ignored_signal_ignored),
		cmocka_unit_test(keep_alive_of_everything_stops_everything),
		cmocka_unit_test(keep_alive_in_many_threads_is_counted),
		cmocka_unit_test(keep_alive_of_a_client_tells_its_end),
		cmocka_unit_test(keep_alive_ends_when_a_handler_stops_the_server),
		cmocka_unit_test(keep_alive_stops_after_many_failed_handlers),
	};

	if (argc == 2)
		return child_main(children, argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
