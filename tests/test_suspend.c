/* SPDX-License-Identifier: MIT */
/* G14: a process that stands still for longer than its limits (SIGSTOP, a debugger, a frozen
 * container) judges nobody before it has read what came meanwhile. */
#include "support/support.h"

#include <signal.h>
#include <sys/socket.h>

enum {
	LIMIT_MS = 1000,
	STOPPED_MS = 2500,
	ANSWER = 8 * 1024 * 1024
};

/* ------------------------------------------------------------- the process that is stopped */

static char answer[64 * 1024];

/* "long" asks for more than the kernel takes; anything else comes back. */
static void answer_line(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)context;
	if (size != 4 || memcmp(data, "long", 4) != 0) {
		sttcp_conn_send_message(conn, data, size);
		return;
	}
	for (int i = 0; i < ANSWER / (int)sizeof(answer); i++)
		if (sttcp_conn_send(conn, answer, sizeof(answer)) < 0)
			return;
}

static void tell_end(sttcp_conn *conn, int reason, void *context)
{
	(void)conn;
	(void)context;
	tell("ended %d", -reason);
}

static bool tell_connected(sttcp_conn *conn, void *context)
{
	(void)conn;
	(void)context;
	tell("connected 0");
	return true;
}

static void tell_unconnected(sttcp_conn *conn, int reason, void *context)
{
	(void)conn;
	(void)context;
	tell("unconnected %d", -reason);
}

/* Its client's port comes with the environment: a listener whose queue is full until the stop. */
static int serve(void)
{
	const char *port = getenv("STTCP_TEST_HOLE");

	sttcp_server *server = sttcp_server_new(
		"127.0.0.1", 0,
		STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE, .idle_timeout_ms = LIMIT_MS,
			      .message_timeout_ms = LIMIT_MS, .write_timeout_ms = LIMIT_MS));
	sttcp_client *client = sttcp_client_new("127.0.0.1", port ? atoi(port) : 1,
						STTCP_OPTIONS(.connect_timeout_ms = STOPPED_MS));

	CHECK(sttcp_server_on_receive(server, answer_line) == 0);
	CHECK(sttcp_server_on_disconnection(server, tell_end) == 0);
	CHECK(sttcp_client_on_connection(client, tell_connected) == 0);
	CHECK(sttcp_client_on_unconnected(client, tell_unconnected) == 0);
	CHECK(sttcp_server_start(server) == 0);
	if (port)
		CHECK(sttcp_client_start(client) == 0);
	tell("port %d", sttcp_server_port(server));
	/* Its parent ends it. */
	while (getppid() != 1)
		pause();
	return 0;
}

/* ------------------------------------------------------------------------------- its parent */

struct stopped {
	struct process process;
	int port;
};

static void start(struct stopped *stopped)
{
	assert_true(process_start(&stopped->process, "serve"));
	stopped->port = process_number(&stopped->process, "port");
	assert_true(stopped->port > 0);
}

static void stop_for_longer_than_its_limits(const struct stopped *stopped)
{
	assert_int_equal(kill(stopped->process.pid, SIGSTOP), 0);
	/* Not to wait for anything: this is the time that has to pass. */
	nap_ms(STOPPED_MS);
}

static void go_on(const struct stopped *stopped)
{
	assert_int_equal(kill(stopped->process.pid, SIGCONT), 0);
}

static void end(struct stopped *stopped)
{
	kill(stopped->process.pid, SIGKILL);
	process_wait(&stopped->process);
}

static void peer_that_spoke_meanwhile_is_not_idle(void **state)
{
	struct stopped stopped;

	(void)state;
	start(&stopped);
	int peer = peer_connect(stopped.port);
	assert_true(peer_say(peer, "before\n"));
	assert_true(peer_expect(peer, "before\n"));
	stop_for_longer_than_its_limits(&stopped);
	assert_true(peer_say(peer, "meanwhile\n"));
	go_on(&stopped);
	assert_true(peer_expect(peer, "meanwhile\n"));
	assert_true(peer_say(peer, "after\n"));
	assert_true(peer_expect(peer, "after\n"));
	peer_close(peer);
	assert_int_equal(process_number(&stopped.process, "ended"), 0);
	end(&stopped);
}

static void message_that_came_meanwhile_is_not_late(void **state)
{
	struct stopped stopped;

	(void)state;
	start(&stopped);
	int peer = peer_connect(stopped.port);
	assert_true(peer_say(peer, "before\nhalf"));
	assert_true(peer_expect(peer, "before\n"));
	stop_for_longer_than_its_limits(&stopped);
	assert_true(peer_say(peer, " and half\n"));
	go_on(&stopped);
	assert_true(peer_expect(peer, "half and half\n"));
	peer_close(peer);
	assert_int_equal(process_number(&stopped.process, "ended"), 0);
	end(&stopped);
}

/* It has taken all that the kernel had before the process goes on. */
static void peer_that_read_meanwhile_is_not_slow(void **state)
{
	static char sink[64 * 1024];
	struct stopped stopped;
	size_t got = 0;
	ssize_t size;

	(void)state;
	start(&stopped);
	int peer = peer_connect_narrow(stopped.port);
	assert_true(peer_say(peer, "long\n"));
	assert_int_equal(recv(peer, sink, 1, MSG_WAITALL), 1);
	assert_int_equal(kill(stopped.process.pid, SIGSTOP), 0);
	for (int64_t until = now_ms() + STOPPED_MS; now_ms() < until; nap_ms(1))
		while ((size = recv(peer, sink, sizeof(sink), MSG_DONTWAIT)) > 0)
			got += (size_t)size;
	go_on(&stopped);
	while (got < ANSWER - 1 && (size = recv(peer, sink, sizeof(sink), 0)) > 0)
		got += (size_t)size;
	assert_int_equal(got, ANSWER - 1);
	peer_close(peer);
	assert_int_equal(process_number(&stopped.process, "ended"), 0);
	end(&stopped);
}

static void attempt_that_came_through_meanwhile_is_connected(void **state)
{
	struct stopped stopped;
	struct blackhole hole;
	char line[64];
	char port[16];

	(void)state;
	assert_true(blackhole_open(&hole));
	snprintf(port, sizeof(port), "%d", hole.port);
	setenv("STTCP_TEST_HOLE", port, 1);
	start(&stopped);
	unsetenv("STTCP_TEST_HOLE");
	EVENTUALLY(blackhole_has_an_attempt(&hole));
	assert_int_equal(kill(stopped.process.pid, SIGSTOP), 0);
	/* Its queue is free now, and the kernel's next SYN comes through: after a second, or on a
	 * busy machine, where that one has come too early, after three. */
	peer_close(peer_accept(hole.listener));
	nap_ms(STOPPED_MS + LIMIT_MS);
	int peer = peer_accept(hole.listener);

	go_on(&stopped);
	assert_true(process_line(&stopped.process, line, sizeof(line)));
	assert_string_equal(line, "connected 0");
	peer_close(peer);
	blackhole_close(&hole);
	end(&stopped);
}

static const struct child children[] = {
	{"serve", serve},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(peer_that_spoke_meanwhile_is_not_idle),
		cmocka_unit_test(message_that_came_meanwhile_is_not_late),
		cmocka_unit_test(peer_that_read_meanwhile_is_not_slow),
		cmocka_unit_test(attempt_that_came_through_meanwhile_is_connected),
	};

	if (argc == 2)
		return child_main(children, argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
