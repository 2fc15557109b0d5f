/* SPDX-License-Identifier: MIT */
/* What the log says of ends at level 3: those that the library decided, and a stop's. */
#include "support/lines.h"

#include <signal.h>

/* ---------------------------------------------------------- ends, at level 3 */

static bool fail_it(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	/* One of the library's codes is the handler's decision all the same. */
	sttcp_conn_fail(conn, STTCP_EFRAME, "%.*s", (int)size, (const char *)data);
	return true;
}

/* Ends that somebody asked for are traced, those of the library are told. */
static void level_three_tells_what_the_library_decided(void **state)
{
	struct probe *probe = probe_new();
	char line[256];

	(void)state;
	probe->data = fail_it;
	sttcp_server *server = probe_listen(probe, NULL);
	int peers[3];

	for (int i = 0; i < 3; i++)
		peers[i] = peer_connect(sttcp_server_port(server));
	assert_true(probe_wait(probe, STTCP_CONNECTION, 3));
	peer_reset(peers[0]);
	peer_close(peers[1]);
	assert_true(peer_say(peers[2], "no such thing"));
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 3));
	peer_close(peers[2]);
	assert_int_equal(lines_with(4, ": ended: ECONNRESET, "), 1);
	assert_int_equal(lines_with(4, ": ended: orderly close"), 1);
	assert_int_equal(lines_with(4, ": ended: STTCP_EFRAME, malformed message: no such thing"),
			 1);

	sttcp_server *limited = probe_listen(probe, STTCP_OPTIONS(.idle_timeout_ms = 52));
	int idle = peer_connect(sttcp_server_port(limited));
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 4));
	peer_close(idle);
	sttcp_server_free(limited);
	snprintf(line, sizeof(line),
		 "%s #%llu: ended: STTCP_ETIME_IDLE, nothing sent or received for too long: "
		 "no byte for 52 ms, idle_timeout_ms is 52",
		 probe_address(probe), (unsigned long long)probe_last_id(probe));
	assert_int_equal(lines_with(3, line), 1);
	assert_int_equal(lines_with(3, "ended"), 1);
	sttcp_server_free(server);
	probe_free(probe);
}

/* A message, a queue: what the peer did is told with the limit that it went over. */
static void refused_message_and_slow_peer_are_told(void **state)
{
	struct pair pair = {0};
	static char data[64 * 1024];

	(void)state;
	pair_open(&pair,
		  STTCP_OPTIONS(.framing = STTCP_FRAMING_LENGTH, .send_queue_max = 256 * 1024));
	assert_true(peer_say(pair.peer, "GET "));
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(lines_with(3, ": ended: STTCP_ELIMIT, over a limit: a message of "
				       "1195725856 bytes, max_message is 1048576"),
			 1);
	int slow = peer_connect_narrow(sttcp_server_port(pair.server));
	assert_true(probe_wait(pair.probe, STTCP_CONNECTION, 2));
	while (probe_count(pair.probe, STTCP_DISCONNECTION) < 2)
		sttcp_server_broadcast(pair.server, data, sizeof(data));
	assert_int_equal(lines_with(3, ": ended: STTCP_ESLOW, the peer reads too slowly: the queue "
				       "has no room, send_queue_max is 262144"),
			 1);
	peer_close(slow);
	pair_close(&pair);
}

static int64_t taken(sttcp_server *server)
{
	sttcp_stats stats;

	return sttcp_server_stats(server, &stats, sizeof(stats)) == 0 ? stats.total : -1;
}

static void refused_connections_are_told(void **state)
{
	static const struct {
		sttcp_options options;
		const char *text;
	} cases[] = {
		{{.max_connections = 1, .over_limit = STTCP_OVER_REJECT}, "max_connections is 1"},
		{{.max_connections_per_ip = 1}, "max_connections_per_ip is 1"},
		{{.accept_rate = 1, .over_limit = STTCP_OVER_REJECT}, "accept_rate is 1"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct probe *probe = probe_new();
		sttcp_options options = cases[i].options;
		char line[256];

		options.size = sizeof(options);
		sttcp_server *server = probe_listen(probe, &options);
		int first = peer_connect(sttcp_server_port(server));
		assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
		/* On a machine that is slow the rate is not over with the second one. */
		for (int tries = 1; !lines_with(3, cases[i].text) && tries < 20; tries++) {
			int next = peer_connect(sttcp_server_port(server));

			snprintf(line, sizeof(line), "127.0.0.1:%d: ended at accept, %s",
				 peer_port(next), cases[i].text);
			EVENTUALLY(taken(server) > tries || lines_with(3, line) == 1);
			peer_close(next);
		}
		assert_int_equal(lines_with(3, line), 1);
		peer_close(first);
		sttcp_server_free(server);
		probe_free(probe);
	}
}

/* ----------------------------------------------------------------------- stop */

static bool catches(pid_t pid, int number)
{
	char path[64];
	char line[128];
	unsigned long long caught = 0;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	FILE *file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "SigCgt: %llx", &caught) == 1)
			break;
	if (file)
		fclose(file);
	return caught >> (number - 1) & 1;
}

static bool ends_by_force(int timeout_ms, const char *text)
{
	struct probe *probe = probe_new();
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.drain_timeout_ms = 58));
	int peers[2];

	for (int i = 0; i < 2; i++)
		peers[i] = peer_connect(sttcp_server_port(server));
	assert_true(probe_wait(probe, STTCP_CONNECTION, 2));
	if (timeout_ms < 0)
		sttcp_server_stop(server);
	else
		sttcp_server_stop_within(server, timeout_ms, NULL);
	assert_int_equal(probe_count(probe, STTCP_DISCONNECTION), 2);
	assert_int_equal(probe_reason(probe), STTCP_ESTOPPED);
	bool same = !strcmp(probe_fail_text(probe), text);

	for (int i = 0; i < 2; i++)
		peer_close(peers[i]);
	sttcp_server_free(server);
	probe_free(probe);
	return same;
}

static void forced_stop_names_its_limit(void **state)
{
	(void)state;
	assert_true(ends_by_force(0, "the server was stopped at once"));
	assert_int_equal(lines_with(3, ": stopping, ends 2 connections by force"), 1);
	assert_int_equal(lines_with(3, ": stopping, waits for"), 0);
	assert_int_equal(lines_with(3,
				    ": ended: STTCP_ESTOPPED, the server is stopping: the server "
				    "was stopped at once"),
			 2);
	assert_true(ends_by_force(59, "not at its end 59 ms after the stop"));
	assert_int_equal(lines_with(3, ": stopping, waits for 2 connections"), 1);
	assert_int_equal(lines_with(3, ": stopping, ends 2 connections by force"), 2);
	assert_true(
		ends_by_force(-1, "not at its end 58 ms after the stop, drain_timeout_ms is 58"));
	assert_int_equal(lines_with(3, "second signal"), 0);
}

/* A server with one connection; standard error comes out with the rest. */
static int keep_one_alive(void)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);

	dup2(STDOUT_FILENO, STDERR_FILENO);
	CHECK(sttcp_server_start(server) == 0);
	int peer = peer_connect(sttcp_server_port(server));

	CHECK(peer >= 0);
	for (int64_t until = now_ms() + DEADLINE_MS; now_ms() < until; nap_ms(2))
		if (sttcp_server_count(server) == 1)
			break;
	CHECK(sttcp_server_count(server) == 1);
	tell("port %d", sttcp_server_port(server));
	CHECK(sttcp_server_keep_alive(server) == 0);
	peer_close(peer);
	sttcp_server_free(server);
	tell("done");
	return 0;
}

/* keep_alive has begun when the process catches SIGTERM, which nothing else here does. */
static void wait_until_keeping(pid_t pid)
{
	bool keeping = false;

	for (int64_t until = now_ms() + DEADLINE_MS; !keeping && now_ms() < until; nap_ms(2))
		keeping = catches(pid, SIGTERM) && catches(pid, SIGINT);
	assert_true(keeping);
}

/* G17: for ten seconds nothing seems to happen after Ctrl+C, unless the log tells. A port that was
 * given as 0 is told as what it is. */
static void signal_tells_for_how_many_it_waits(void **state)
{
	struct process process;
	char expected[128];
	char line[256];

	(void)state;
	setenv("STTCP_LOG", "3", 1);
	assert_true(process_start(&process, "keep_one_alive"));
	unsetenv("STTCP_LOG");
	int port = process_number(&process, "port");
	assert_true(port > 0);
	wait_until_keeping(process.pid);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(kill(process.pid, SIGINT), 0);
		assert_true(process_line(&process, line, sizeof(line)));
		snprintf(
			expected, sizeof(expected),
			i ? " sttcp info: 127.0.0.1:%d: stopping, ends 1 connection by force"
			  : " sttcp info: 127.0.0.1:%d: stopping, waits for 1 connection, a second "
			    "signal ends it",
			port);
		assert_non_null(strstr(line, expected));
	}
	assert_true(process_line(&process, line, sizeof(line)));
	assert_non_null(strstr(line, ": ended: STTCP_ESTOPPED"));
	assert_true(process_line(&process, line, sizeof(line)));
	assert_string_equal(line, "done");
	assert_int_equal(process_wait(&process), 0);
}

/* G18: by default nothing is printed. */
static void nothing_is_printed_by_default(void **state)
{
	struct process process;
	char line[256];

	(void)state;
	assert_true(process_start(&process, "keep_one_alive"));
	assert_true(process_number(&process, "port") > 0);
	wait_until_keeping(process.pid);
	/* Two of one kind may become one. */
	assert_int_equal(kill(process.pid, SIGINT), 0);
	assert_int_equal(kill(process.pid, SIGTERM), 0);
	assert_true(process_line(&process, line, sizeof(line)));
	assert_string_equal(line, "done");
	assert_int_equal(process_wait(&process), 0);
}

static void idle_connection_that_a_stop_ends_names_its_option(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.end_idle_at_stop = true));
	int peer = peer_connect(sttcp_server_port(server));

	(void)state;
	assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
	sttcp_server_stop(server);
	assert_int_equal(probe_reason(probe), STTCP_ESTOPPED);
	assert_string_equal(probe_fail_text(probe),
			    "nothing was going on at the stop, end_idle_at_stop is true");
	assert_int_equal(lines_with(3, "end_idle_at_stop is true"), 1);
	peer_close(peer);
	sttcp_server_free(server);
	probe_free(probe);
}

static const struct child children[] = {
	{"keep_one_alive", keep_one_alive},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(level_three_tells_what_the_library_decided,
						lines_open, lines_close),
		cmocka_unit_test_setup_teardown(refused_message_and_slow_peer_are_told, lines_open,
						lines_close),
		cmocka_unit_test_setup_teardown(refused_connections_are_told, lines_open,
						lines_close),
		cmocka_unit_test_setup_teardown(forced_stop_names_its_limit, lines_open,
						lines_close),
		cmocka_unit_test_setup_teardown(idle_connection_that_a_stop_ends_names_its_option,
						lines_open, lines_close),
		cmocka_unit_test(signal_tells_for_how_many_it_waits),
		cmocka_unit_test(nothing_is_printed_by_default),
	};

	if (argc > 1)
		return child_main(children, argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
