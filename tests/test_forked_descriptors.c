/* SPDX-License-Identifier: MIT */
/* A child that was forked, and does not exec, has copies of all descriptors (G16, G17): what ends
 * in the parent ends all the same. */
#include "support/faults.h"
#include "support/support.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "die_after_fork=0";
}

/* A child with a copy of everything, that does nothing until it is killed. */
static pid_t make_copies(void)
{
	pid_t pid = process_fork();

	if (pid == 0) {
		sigset_t none;

		sigemptyset(&none);
		signal(SIGALRM, SIG_DFL);
		sigprocmask(SIG_SETMASK, &none, NULL); /* forked on a thread of the library, too */
		alarm(100);			       /* nobody came to kill it */
		for (;;)
			pause();
	}
	return pid;
}

static void end_copies(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static bool refuses(int port)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool connected = peer_connect_with(fd, port);
	int code = errno;

	peer_close(fd);
	return !connected && code == ECONNREFUSED;
}

/* ------------------------------------------------------------------- listeners */

static void port_is_free_after_a_stop(void **state)
{
	const int limits[] = {-1, 0};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct probe *probe = probe_new();
		sttcp_server *server = probe_listen(probe, NULL);
		int port = sttcp_server_port(server);
		sttcp_server *next = sttcp_server_new("127.0.0.1", port, NULL);
		pid_t child = make_copies();

		assert_true(child > 0);
		assert_int_equal(sttcp_server_stop_within(server, limits[i], NULL), 0);
		assert_true(refuses(port));
		assert_int_equal(sttcp_server_start(next), 0);
		sttcp_server_free(next);
		sttcp_server_free(server);
		end_copies(child);
		probe_free(probe);
	}
}

static void port_is_free_after_a_free(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server = probe_listen(probe, NULL);
	int port = sttcp_server_port(server);
	pid_t child = make_copies();

	(void)state;
	assert_true(child > 0);
	sttcp_server_free(server);
	assert_true(refuses(port));
	end_copies(child);
	probe_free(probe);
}

static void unix_path_is_free_after_a_stop(void **state)
{
	char dir[] = "/tmp/sttcp-XXXXXX";
	char path[64];
	char other[64];
	char host[80];
	struct stat status;
	struct probe *probe = probe_new();

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/socket", dir);
	snprintf(other, sizeof(other), "%s/other", dir);
	snprintf(host, sizeof(host), "unix:%s", path);
	sttcp_server *server = probe_server(probe, host, 0, NULL);
	assert_int_equal(sttcp_server_start(server), 0);
	pid_t child = make_copies();
	assert_true(child > 0);
	/* By another name it could still be found. */
	assert_int_equal(link(path, other), 0);
	assert_int_equal(sttcp_server_stop(server), 0);
	assert_int_equal(stat(path, &status), -1);
	assert_int_equal(peer_connect_unix(other), -1);
	assert_int_equal(unlink(other), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	int peer = peer_connect_unix(path);
	assert_true(peer >= 0);
	peer_close(peer);
	sttcp_server_free(server);
	end_copies(child);
	assert_int_equal(rmdir(dir), 0);
	probe_free(probe);
}

/* Called for a listener that is about to be registered; the registering fails then. */
static atomic_int port_of_failed;
static atomic_int copies;
static atomic_bool fails;

static bool is_listener(int fd)
{
	int on = 0;
	socklen_t len = sizeof(on);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) == 0 && on != 0;
}

static int fail_once(int poller, int op, int fd, struct epoll_event *event)
{
	if (op == EPOLL_CTL_ADD && is_listener(fd) && atomic_exchange(&fails, false)) {
		atomic_store(&port_of_failed, peer_port(fd));
		atomic_store(&copies, make_copies());
		errno = ENOSPC;
		return -1;
	}
	return real_epoll_ctl(poller, op, fd, event);
}

/* G1: it leaves nothing. */
static void port_is_free_after_a_start_that_failed(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server = probe_server(probe, "127.0.0.1", 0, NULL);

	(void)state;
	atomic_store(&fails, true);
	assert_int_equal(sttcp_server_start(server), -ENOSPC);
	assert_true(atomic_load(&copies) > 0);
	assert_true(refuses(atomic_load(&port_of_failed)));
	end_copies(atomic_load(&copies));
	sttcp_server_free(server);
	probe_free(probe);
}

/* ----------------------------------------------------------------- connections */

/* Sends until that fails; false if it comes to a standstill. */
static bool is_told_of_the_end(int peer)
{
	static char lot[64 * 1024];
	const struct timeval limit = {.tv_sec = DEADLINE_MS / 1000};

	setsockopt(peer, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	for (;;) {
		ssize_t sent = send(peer, lot, sizeof(lot), MSG_NOSIGNAL);

		if (sent < 0)
			return errno == EPIPE || errno == ECONNRESET;
	}
}

/* A peer that sends on and on after an end here. */
static void peer_that_sends_on_learns_of_the_end(void **state)
{
	int (*const ends[])(sttcp_conn *) = {sttcp_conn_close, sttcp_conn_abort};

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct pair pair = {0};

		pair_open(&pair, NULL);
		pid_t child = make_copies();
		assert_true(child > 0);
		if (i < 2)
			ends[i](pair.conn);
		else
			sttcp_server_stop_within(pair.server, 0, NULL);
		assert_true(is_told_of_the_end(pair.peer));
		end_copies(child);
		pair_close(&pair);
	}
}

/* In the middle of accepting a child is forked. */
static atomic_bool copies_accepted;

static int accept_and_copy(int fd, any_address addr, socklen_t *restrict len, int flags)
{
	int conn = real_accept4(fd, addr, len, flags);

	if (conn >= 0 && atomic_exchange(&copies_accepted, false))
		atomic_store(&copies, make_copies());
	return conn;
}

/* One that is turned away before any handler has seen it. */
static void peer_that_is_rejected_learns_of_it(void **state)
{
	const sttcp_options *const options[] = {
		STTCP_OPTIONS(.max_connections = 1, .over_limit = STTCP_OVER_REJECT),
		STTCP_OPTIONS(.max_connections_per_ip = 1),
	};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct probe *probe = probe_new();
		sttcp_server *server = probe_listen(probe, options[i]);
		int first = peer_connect(sttcp_server_port(server));

		assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
		atomic_store(&copies_accepted, true);
		int second = peer_connect(sttcp_server_port(server));
		assert_true(is_told_of_the_end(second));
		end_copies(atomic_load(&copies));
		peer_close(second);
		peer_close(first);
		sttcp_server_free(server);
		probe_free(probe);
	}
}

/* An attempt that was given up does not connect later, to be a connection of nobody. */
static void attempt_that_is_given_up_ends(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct probe *probe = probe_new();
		struct blackhole hole;

		assert_true(blackhole_open(&hole));
		assert_false(blackhole_has_an_attempt(&hole));
		sttcp_client *client =
			probe_client(probe, "127.0.0.1", hole.port,
				     STTCP_OPTIONS(.connect_timeout_ms = i ? 3000 : 0));
		assert_int_equal(sttcp_client_start(client), 0);
		EVENTUALLY(blackhole_has_an_attempt(&hole) ||
			   probe_count(probe, STTCP_UNCONNECTED));
		pid_t child = make_copies();
		assert_true(child > 0);
		if (i == 0)
			assert_int_equal(sttcp_client_close(client), 0);
		assert_true(probe_wait(probe, STTCP_UNCONNECTED, 1));
		sttcp_client_free(client);
		assert_false(blackhole_has_an_attempt(&hole));
		end_copies(child);
		blackhole_close(&hole);
		probe_free(probe);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(port_is_free_after_a_stop),
		cmocka_unit_test(port_is_free_after_a_free),
		cmocka_unit_test(unix_path_is_free_after_a_stop),
		cmocka_unit_test(port_is_free_after_a_start_that_failed),
		cmocka_unit_test(peer_that_sends_on_learns_of_the_end),
		cmocka_unit_test(peer_that_is_rejected_learns_of_it),
		cmocka_unit_test(attempt_that_is_given_up_ends),
	};

	atomic_store(&stand_in_epoll_ctl, fail_once);
	atomic_store(&stand_in_accept4, accept_and_copy);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
