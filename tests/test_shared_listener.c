/* SPDX-License-Identifier: MIT */
/* Listening sockets that were adopted, over stops and starts, and between processes that share
 * them. */
#include "support/descriptors.h"
#include "support/faults.h"
#include "support/support.h"

#include <fcntl.h>
#include <sys/socket.h>

static int end_faults(void **state)
{
	(void)state;
	fault_clear();
	return 0;
}

static bool listens(int fd)
{
	int value = 0;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &len) == 0 && value;
}

/* A last handler may be on its way out after a forced stop. */
static void start_again(sttcp_server *server)
{
	EVENTUALLY(sttcp_server_start(server) == 0);
}

/* -------------------------------------------------------------------- stopping */

/* G16: what waits in its queue is served by the next start. */
static void stop_leaves_it_listening(void **state)
{
	const int limits[] = {-1, 0, -1, 0, 5000};
	int port;
	int fd = peer_listen(&port, 8);
	struct probe *probe = probe_new();
	sttcp_server *server = probe_adopt(probe, fd, NULL);

	(void)state;
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		start_again(server);
		assert_true(peer_is_answered(peer_connect(port)));
		assert_int_equal(sttcp_server_stop_within(server, limits[i], NULL), 0);
		assert_true(listens(fd));

		int waiting = peer_connect(port);

		assert_true(waiting >= 0);
		assert_true(peer_say(waiting, "hello"));
		start_again(server);
		assert_true(peer_expect(waiting, "hello"));
		peer_close(waiting);
		assert_int_equal(sttcp_server_stop_within(server, limits[i], NULL), 0);
	}
	sttcp_server_free(server);
	assert_int_equal(peer_connect(port), -1);
	probe_free(probe);
}

/* Those that max_connections keeps in the queue stay there over the stop. */
static void stop_leaves_the_queue_as_it_is(void **state)
{
	const int limits[] = {-1, 0};

	(void)state;
	for (int i = 0; i < 2; i++) {
		int port;
		int fd = peer_listen(&port, 8);
		struct probe *probe = probe_new();
		sttcp_server *server =
			probe_adopt(probe, fd,
				    STTCP_OPTIONS(.max_connections = 1, .end_idle_at_stop = true,
						  .linger_timeout_ms = -1));

		assert_int_equal(sttcp_server_start(server), 0);
		int first = peer_connect(port);
		assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
		int second = peer_connect(port);
		int third = peer_connect(port);
		assert_true(peer_say(second, "hello"));
		assert_true(peer_quiet(second, 30));
		assert_int_equal(sttcp_server_stop_within(server, limits[i], NULL), 0);
		assert_int_equal(peer_end(first), 0);
		peer_close(first);
		assert_true(peer_quiet(second, 30));
		assert_int_equal(probe_count(probe, STTCP_CONNECTION), 1);
		start_again(server);
		assert_true(peer_expect(second, "hello"));
		peer_close(second);
		assert_true(peer_is_answered(third));
		sttcp_server_free(server);
		probe_free(probe);
	}
}

struct connector {
	pthread_t thread;
	int port;
	int answered;
	int failed;
};

static void *connect_and_ask(void *argument)
{
	struct connector *connector = argument;

	for (int i = 0; i < 100; i++) {
		if (peer_is_answered(peer_connect(connector->port)))
			connector->answered++;
		else
			connector->failed++;
	}
	return NULL;
}

/* Whoever connects while graceful stops and starts go on gets an answer, for nobody is turned
 * away. */
static void nobody_is_lost_over_restarts(void **state)
{
	int port;
	int fd = peer_listen(&port, 128);
	struct probe *probe = probe_new();
	sttcp_server *server = probe_adopt(probe, fd, NULL);
	struct connector connectors[2];

	(void)state;
	assert_int_equal(sttcp_server_start(server), 0);
	for (int i = 0; i < 2; i++) {
		connectors[i] = (struct connector){.port = port};
		assert_int_equal(pthread_create(&connectors[i].thread, NULL, connect_and_ask,
						&connectors[i]),
				 0);
	}
	for (int i = 0; i < 50; i++) {
		assert_int_equal(sttcp_server_stop(server), 0);
		assert_int_equal(sttcp_server_start(server), 0);
	}
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pthread_join(connectors[i].thread, NULL), 0);
		assert_int_equal(connectors[i].answered, 100);
		assert_int_equal(connectors[i].failed, 0);
	}
	sttcp_server_free(server);
	probe_free(probe);
}

/* G1: all or none, and of an adopted one nothing is taken. */
static void start_that_fails_leaves_the_queue(void **state)
{
	int port;
	int taken;
	int fd = peer_listen(&port, 8);
	int other = peer_listen(&taken, 8);
	struct probe *probe = probe_new();
	sttcp_server *server = probe_adopt(probe, fd, NULL);

	(void)state;
	assert_int_equal(sttcp_server_add_address(server, "127.0.0.1", taken), 0);
	int peer = peer_connect(port);
	assert_true(peer_say(peer, "hello"));
	assert_int_equal(sttcp_server_start(server), -EADDRINUSE);
	/* When its loop knows it already, too. */
	peer_close(other);
	for (int after = 0; after < 2; after++) {
		fault_instead(SYS_epoll_ctl, ENOSPC, 1);
		assert_int_equal(sttcp_server_start(server), -ENOSPC);
		fault_clear();
	}
	assert_true(listens(fd));
	assert_true(peer_quiet(peer, 30));
	assert_int_equal(sttcp_server_start(server), 0);
	assert_true(peer_expect(peer, "hello"));
	peer_close(peer);
	sttcp_server_free(server);
	probe_free(probe);
}

/* By another process, through shutdown(2): the stop of an old version of this library, for one. */
static void listener_that_was_ended_is_told_by_start(void **state)
{
	int port;
	int fd = peer_listen(&port, 8);
	int copy = dup(fd);
	struct probe *probe = probe_new();
	sttcp_server *server = probe_adopt(probe, fd, NULL);
	char name[32];

	(void)state;
	snprintf(name, sizeof(name), "descriptor %d", fd);
	assert_int_equal(sttcp_server_start(server), 0);
	assert_int_equal(sttcp_server_stop(server), 0);
	assert_int_equal(shutdown(copy, SHUT_RDWR), 0);
	close(copy);
	assert_int_equal(sttcp_server_start(server), -EINVAL);
	assert_non_null(strstr(sttcp_server_error(server), name));
	sttcp_server_free(server);
	assert_false(is_open(fd));
	probe_free(probe);
}

/* A process that shares the socket may take that away, and accept would block a loop. */
static void start_makes_it_nonblocking_again(void **state)
{
	int port;
	int fd = peer_listen(&port, 8);
	struct probe *probe = probe_new();
	sttcp_server *server = probe_adopt(probe, fd, NULL);

	(void)state;
	assert_int_equal(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	assert_true(is_nonblocking(fd));
	sttcp_server_free(server);
	probe_free(probe);
}

/* ---------------------------------------------------------------- two processes */

static bool say_child(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	return sttcp_conn_send(conn, "c", 1) == 0;
}

static bool say_parent(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	return sttcp_conn_send(conn, "p", 1) == 0;
}

/* Serves what the parent has left to it as a service manager would: by number. Until its input
 * ends. */
static int serve_beside(void)
{
	struct probe *probe = probe_new();
	sttcp_server *server = probe_server(probe, NULL, -1, NULL);
	int fd = atoi(getenv("STTCP_TEST_LISTENER"));
	char byte;

	probe->connection = say_child;
	CHECK(sttcp_server_add_listener(server, fd) == 0);
	CHECK(sttcp_server_start(server) == 0);
	tell("serves %s", sttcp_server_address(server, 0));
	while (read(0, &byte, 1) > 0) {
		CHECK(sttcp_server_stop(server) == 0);
		tell("stopped");
		CHECK(read(0, &byte, 1) > 0);
		CHECK(sttcp_server_start(server) == 0);
		tell("started");
	}
	sttcp_server_free(server);
	probe_free(probe);
	return 0;
}

/* A letter tells who has served. */
static char served_by(int port)
{
	int peer = peer_connect(port);
	char letter = '?';

	if (peer < 0 || !peer_recv(peer, &letter, 1))
		letter = '-';
	peer_close(peer);
	return letter;
}

static int count_served(int port, char letter, int times)
{
	int count = 0;

	for (int i = 0; i < times; i++)
		count += served_by(port) == letter;
	return count;
}

/* The standard input of the children that are started from now on. */
static int give_input(int *previous)
{
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	*previous = fcntl(0, F_DUPFD_CLOEXEC, 3);
	assert_int_equal(dup2(ends[0], 0), 0);
	close(ends[0]);
	return ends[1];
}

/* A child that serves the listener, too; `line` is what it has told. The result is the end of its
 * standard input, where a byte stops it or starts it again. */
static int start_beside(int fd, struct process *child, char *line, size_t size)
{
	char text[32];
	int previous;
	int input = give_input(&previous);

	over_tls_forget(fd);

	assert_int_equal(fcntl(fd, F_SETFD, 0), 0);
	snprintf(text, sizeof(text), "%d", fd);
	assert_int_equal(setenv("STTCP_TEST_LISTENER", text, 1), 0);
	assert_true(process_start(child, "serve_beside"));
	assert_int_equal(dup2(previous, 0), 0);
	close(previous);
	assert_true(process_line(child, line, size));
	return input;
}

/* Each stops, starts and ends by itself, and the other one serves on. */
static void two_processes_share_a_listener(void **state)
{
	int port;
	int fd = peer_listen(&port, 64);
	struct probe *probe = probe_new();
	struct process child;
	char line[64];
	int input = start_beside(fd, &child, line, sizeof(line));

	(void)state;
	assert_non_null(strstr(line, "serves 127.0.0.1:"));
	assert_int_equal(count_served(port, 'c', 10), 10);

	probe->connection = say_parent;
	sttcp_server *server = probe_adopt(probe, fd, NULL);
	assert_int_equal(sttcp_server_start(server), 0);
	int by_child = 0;
	int by_parent = 0;
	for (int i = 0; i < 50; i++) {
		char letter = served_by(port);

		by_child += letter == 'c';
		by_parent += letter == 'p';
	}
	assert_int_equal(by_child + by_parent, 50);

	/* This one stops, the other one serves. */
	assert_int_equal(sttcp_server_stop(server), 0);
	assert_int_equal(count_served(port, 'c', 20), 20);
	assert_int_equal(sttcp_server_start(server), 0);

	/* The other one stops, this one serves. */
	assert_int_equal(write(input, "x", 1), 1);
	assert_true(process_line(&child, line, sizeof(line)));
	assert_string_equal(line, "stopped");
	assert_int_equal(count_served(port, 'p', 20), 20);

	/* Neither serves: it waits for whoever comes first. */
	assert_int_equal(sttcp_server_stop_within(server, 0, NULL), 0);
	int waiting = peer_connect(port);
	assert_true(peer_quiet(waiting, 30));
	assert_int_equal(write(input, "x", 1), 1);
	assert_true(process_line(&child, line, sizeof(line)));
	assert_string_equal(line, "started");
	assert_true(peer_expect(waiting, "c"));
	peer_close(waiting);

	/* This one is gone, and the other one does not notice. */
	sttcp_server_free(server);
	assert_int_equal(count_served(port, 'c', 20), 20);
	close(input);
	assert_int_equal(process_wait(&child), 0);
	assert_int_equal(peer_connect(port), -1);
	probe_free(probe);
}

/* The end of the other one does not end it here. */
static void end_of_another_process_does_not_end_it(void **state)
{
	int port;
	int fd = peer_listen(&port, 64);
	struct probe *probe = probe_new();
	struct process child;
	char line[64];
	int input = start_beside(fd, &child, line, sizeof(line));

	(void)state;
	probe->connection = say_parent;
	sttcp_server *server = probe_adopt(probe, fd, NULL);
	assert_int_equal(sttcp_server_start(server), 0);
	close(input);
	assert_int_equal(process_wait(&child), 0);
	assert_int_equal(count_served(port, 'p', 20), 20);
	sttcp_server_free(server);
	probe_free(probe);
}

#define fault_test(function) cmocka_unit_test_teardown(function, end_faults)

int main(int argc, char **argv)
{
	const struct child children[] = {{"serve_beside", serve_beside}, {NULL, NULL}};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stop_leaves_it_listening),
		cmocka_unit_test(stop_leaves_the_queue_as_it_is),
		cmocka_unit_test(nobody_is_lost_over_restarts),
		fault_test(start_that_fails_leaves_the_queue),
		cmocka_unit_test(listener_that_was_ended_is_told_by_start),
		cmocka_unit_test(start_makes_it_nonblocking_again),
		cmocka_unit_test(two_processes_share_a_listener),
		cmocka_unit_test(end_of_another_process_does_not_end_it),
	};

	if (argc > 1)
		return child_main(children, argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
