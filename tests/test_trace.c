/* SPDX-License-Identifier: MIT */
/* What the log says of connections: their life at level 4, and at level 3 the ends that the library
 * decided. */
#include "support/support.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

/* ------------------------------------------------------------------ the book */

struct book {
	pthread_mutex_t lock;
	int count;
	struct {
		int level;
		char text[256];
	} lines[200];
};

static struct book book = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void write_down(int level, const char *text, void *context)
{
	struct book *into = context;

	pthread_mutex_lock(&into->lock);
	if (into->count < 200) {
		into->lines[into->count].level = level;
		snprintf(into->lines[into->count++].text, 256, "%s", text);
	}
	pthread_mutex_unlock(&into->lock);
}

/* How many lines of this level have the text in them. */
static int lines_with(int level, const char *text)
{
	int found = 0;

	pthread_mutex_lock(&book.lock);
	for (int i = 0; i < book.count; i++)
		found += book.lines[i].level == level && strstr(book.lines[i].text, text);
	pthread_mutex_unlock(&book.lock);
	return found;
}

/* Every one of them has to have come by now, and in this order; other lines may stand in between.
 */
static void assert_order(int count, const char *const *texts)
{
	int next = 0;

	pthread_mutex_lock(&book.lock);
	for (int i = 0; i < book.count && next < count; i++)
		next += !strcmp(book.lines[i].text, texts[next]);
	pthread_mutex_unlock(&book.lock);
	if (next < count)
		fail_msg("not told, or not in its place: %s", texts[next]);
}

static int open_book(void **state)
{
	(void)state;
	pthread_mutex_lock(&book.lock);
	book.count = 0;
	pthread_mutex_unlock(&book.lock);
	sttcp_log_level(4);
	sttcp_set_log(write_down, &book);
	return 0;
}

static int close_book(void **state)
{
	(void)state;
	sttcp_set_log(NULL, NULL);
	return 0;
}

/* ---------------------------------------------------------------------- life */

/* Every line of a life, once, with the address and the id. */
static void assert_life(const char *address, uint64_t id, const char *accepted, const char *ended)
{
	char lines[3][256];
	const char *const texts[] = {lines[0], lines[1], lines[2]};
	char who[128];
	int first = accepted ? 0 : 1;

	snprintf(who, sizeof(who), "%s #%llu: ", address, (unsigned long long)id);
	snprintf(lines[0], sizeof(lines[0]), "%saccept on %s", who, accepted ? accepted : "");
	snprintf(lines[1], sizeof(lines[1]), "%sopen", who);
	snprintf(lines[2], sizeof(lines[2]), "%s%s", who, ended);
	assert_order(3 - first, texts + first);
	assert_int_equal(lines_with(4, who) + lines_with(3, who), 3 - first);
}

static void life_is_told_from_accept_to_end(void **state)
{
	struct probe *serving = probe_new();
	struct probe *calling = probe_new();
	sttcp_server *server = probe_listen(serving, NULL);
	sttcp_client *client = probe_dial(calling, sttcp_server_port(server), NULL);
	char listens[64];

	(void)state;
	assert_true(probe_wait(calling, STTCP_CONNECTION, 1));
	assert_true(probe_wait(serving, STTCP_CONNECTION, 1));
	sttcp_client_close(client);
	assert_true(probe_wait(serving, STTCP_DISCONNECTION, 1));
	snprintf(listens, sizeof(listens), "127.0.0.1:%d", sttcp_server_port(server));
	assert_life(probe_address(serving), probe_last_id(serving), listens,
		    "ended: orderly close");
	assert_life(probe_address(calling), probe_last_id(calling), NULL,
		    "ended: STTCP_EDESTROYED, the client was closed by its owner");
	sttcp_client_free(client);
	sttcp_server_free(server);
	probe_free(calling);
	probe_free(serving);
}

static void start_that_succeeds_is_no_error(void **state)
{
	struct probe *serving = probe_new();
	struct probe *calling = probe_new();
	sttcp_server *server = probe_listen(serving, NULL);
	sttcp_client *client = probe_dial(calling, sttcp_server_port(server), NULL);

	(void)state;
	assert_true(probe_wait(calling, STTCP_CONNECTION, 1));
	assert_int_equal(lines_with(1, ""), 0);
	assert_true(sttcp_server_start(server) < 0);
	assert_int_equal(lines_with(1, "cannot start"), 1);
	sttcp_client_free(client);
	sttcp_server_free(server);
	probe_free(calling);
	probe_free(serving);
}

static void life_on_a_unix_socket_is_told(void **state)
{
	struct probe *probe = probe_new();
	char path[64];

	(void)state;
	snprintf(path, sizeof(path), "unix:/tmp/sttcp-trace-%d", (int)getpid());
	sttcp_server *server = probe_server(probe, path, 0, NULL);
	assert_int_equal(sttcp_server_start(server), 0);
	int peer = peer_connect_unix(path + strlen("unix:"));
	assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
	peer_close(peer);
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	assert_life(probe_address(probe), probe_last_id(probe), path, "ended: orderly close");
	sttcp_server_free(server);
	probe_free(probe);
}

static bool decline(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	(void)conn;
	return false;
}

static void declined_connection_never_opens(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	probe->connection = decline;
	sttcp_server *server = probe_listen(probe, NULL);
	int peer = peer_connect(sttcp_server_port(server));
	assert_int_equal(peer_end(peer), 0);
	peer_close(peer);
	sttcp_server_free(server);
	assert_int_equal(lines_with(4, ": ended: declined"), 1);
	assert_int_equal(lines_with(4, ": open"), 0);
	probe_free(probe);
}

static void failed_attempt_says_why(void **state)
{
	struct probe *probe = probe_new();
	int port;
	int refuser = peer_refuse(&port);
	char line[256];

	(void)state;
	sttcp_client *client = probe_dial(probe, port, NULL);
	assert_true(probe_wait(probe, STTCP_UNCONNECTED, 1));
	snprintf(line, sizeof(line),
		 "127.0.0.1:%d #%llu: ended: ECONNREFUSED, Connection refused: cannot connect to "
		 "127.0.0.1:%d: Connection refused",
		 port, (unsigned long long)probe_last_id(probe), port);
	assert_int_equal(lines_with(4, line), 1);
	sttcp_client_free(client);
	close(refuser);
	probe_free(probe);
}

static void attempt_that_took_too_long_names_its_limit(void **state)
{
	struct probe *probe = probe_new();
	struct blackhole hole;
	char text[256];

	(void)state;
	assert_true(blackhole_open(&hole));
	sttcp_client *client =
		probe_dial(probe, hole.port, STTCP_OPTIONS(.connect_timeout_ms = 57));
	assert_true(probe_wait(probe, STTCP_UNCONNECTED, 1));
	assert_int_equal(probe_reason(probe), STTCP_ETIME_CONNECT);
	snprintf(text, sizeof(text),
		 "cannot connect to 127.0.0.1:%d: no answer for 57 ms, connect_timeout_ms is 57",
		 hole.port);
	assert_string_equal(probe_fail_text(probe), text);
	assert_int_equal(lines_with(3, text), 1);
	sttcp_client_free(client);
	blackhole_close(&hole);
	probe_free(probe);
}

/* ------------------------------------------------------------ pause, resume */

static void pause_and_resume_tell_who_asked(void **state)
{
	struct pair pair = {0};

	(void)state;
	pair_open(&pair, NULL);
	for (int i = 0; i < 2; i++)
		sttcp_conn_pause(pair.conn);
	assert_int_equal(lines_with(4, ": pause: sttcp_conn_pause"), 1);
	assert_int_equal(lines_with(4, ": resume"), 0);
	for (int i = 0; i < 2; i++)
		sttcp_conn_resume(pair.conn);
	assert_int_equal(lines_with(4, ": pause"), 1);
	assert_int_equal(lines_with(4, ": resume: sttcp_conn_resume"), 1);
	pair_close(&pair);
}

/* Sends until the socket of this peer is full, and what it answers is read by nobody. */
static size_t fill(int peer)
{
	static char block[64 * 1024];
	size_t sent = 0;

	for (int refused = 0; refused < 20;) {
		ssize_t now = send(peer, block, sizeof(block), MSG_DONTWAIT | MSG_NOSIGNAL);

		sent += now > 0 ? (size_t)now : 0;
		refused = now > 0 ? 0 : refused + 1;
		if (now <= 0)
			poll(NULL, 0, 10);
	}
	return sent;
}

static void reader_that_is_held_tells_the_mark(void **state)
{
	struct pair pair = {.probe = probe_new()};
	static char data[64 * 1024];

	(void)state;
	pair.probe->data = echo_data;
	pair_open(&pair, STTCP_OPTIONS(.send_queue_max = 256 * 1024, .high_water = 100000));
	size_t sent = fill(pair.peer);

	/* More than one, where the kernel's buffers have grown meanwhile. */
	EVENTUALLY(lines_with(4, "bytes are queued, high_water is 100000") > 0);
	while (sent) {
		size_t part = sent < sizeof(data) ? sent : sizeof(data);

		assert_true(peer_recv(pair.peer, data, part));
		sent -= part;
	}
	/* Nothing is held any more: as many ends as beginnings. */
	EVENTUALLY(lines_with(4, ": resume: ") == lines_with(4, ": pause: "));
	pair_close(&pair);
}

static bool try_a_byte(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	(void)size;
	return sttcp_conn_try_send(conn, data, 1) <= 0;
}

/* Bytes of others do not reach the mark, and so it is not what is told, however many they are. */
static void reader_that_is_held_by_the_cap_of_all_tells_that(void **state)
{
	struct pair pair = {.probe = probe_new()};
	static const char part[1000];

	(void)state;
	pair.probe->data = try_a_byte;
	pair.probe->connection = narrow;
	pair_open(&pair, STTCP_OPTIONS(.high_water = 100000, .total_queue_max = 300000));
	for (int64_t until = now_ms() + DEADLINE_MS; !lines_with(4, ": pause: "); nap_ms(1)) {
		assert_true(now_ms() < until);
		/* Room for one of its own, and then for none. */
		while (sttcp_conn_try_send(pair.conn, part, sizeof(part)) == 0)
			;
		assert_true(peer_send(pair.peer, "y", 1));
		nap_ms(1);
		while (sttcp_conn_try_send(pair.conn, part, 1) == 0)
			;
	}
	assert_int_equal(lines_with(4, "bytes are queued, high_water is"), 0);
	assert_int_equal(lines_with(4, "bytes are queued, total_queue_max is 300000"), 1);
	pair_close(&pair);
}

/* ------------------------------------------------------------------ take-over */

static int64_t takeovers(sttcp_server *server)
{
	sttcp_stats stats;

	return sttcp_server_stats(server, &stats, sizeof(stats)) == 0 ? stats.takeovers : -1;
}

/* Stays until its loop was taken over, or was not for long: it may have been in the pool. */
static bool block(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	sttcp_server *server = sttcp_conn_server(conn);
	int64_t before = takeovers(server);

	(void)probe;
	(void)data;
	(void)size;
	for (int64_t until = now_ms() + 1000; takeovers(server) == before && now_ms() < until;)
		nap_ms(2);
	return true;
}

static void handler_that_blocks_is_told(void **state)
{
	struct pair pair = {.probe = probe_new()};
	char line[256];

	(void)state;
	pair.probe->data = block;
	pair_open(&pair, NULL);
	snprintf(line, sizeof(line), "%s #%llu: blocked and taken over",
		 sttcp_conn_address(pair.conn), (unsigned long long)sttcp_conn_id(pair.conn));
	for (size_t said = 1; !lines_with(4, line) && said < 20; said++) {
		assert_true(peer_say(pair.peer, "x"));
		assert_true(probe_wait_bytes(pair.probe, said));
	}
	EVENTUALLY(lines_with(4, line) > 0);
	pair_close(&pair);
}

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
		cmocka_unit_test_setup_teardown(life_is_told_from_accept_to_end, open_book,
						close_book),
		cmocka_unit_test_setup_teardown(start_that_succeeds_is_no_error, open_book,
						close_book),
		cmocka_unit_test_setup_teardown(life_on_a_unix_socket_is_told, open_book,
						close_book),
		cmocka_unit_test_setup_teardown(declined_connection_never_opens, open_book,
						close_book),
		cmocka_unit_test_setup_teardown(failed_attempt_says_why, open_book, close_book),
		cmocka_unit_test_setup_teardown(attempt_that_took_too_long_names_its_limit,
						open_book, close_book),
		cmocka_unit_test_setup_teardown(pause_and_resume_tell_who_asked, open_book,
						close_book),
		cmocka_unit_test_setup_teardown(reader_that_is_held_tells_the_mark, open_book,
						close_book),
		cmocka_unit_test_setup_teardown(reader_that_is_held_by_the_cap_of_all_tells_that,
						open_book, close_book),
		cmocka_unit_test_setup_teardown(handler_that_blocks_is_told, open_book, close_book),
		cmocka_unit_test_setup_teardown(level_three_tells_what_the_library_decided,
						open_book, close_book),
		cmocka_unit_test_setup_teardown(refused_message_and_slow_peer_are_told, open_book,
						close_book),
		cmocka_unit_test_setup_teardown(refused_connections_are_told, open_book,
						close_book),
		cmocka_unit_test_setup_teardown(forced_stop_names_its_limit, open_book, close_book),
		cmocka_unit_test_setup_teardown(idle_connection_that_a_stop_ends_names_its_option,
						open_book, close_book),
		cmocka_unit_test(signal_tells_for_how_many_it_waits),
		cmocka_unit_test(nothing_is_printed_by_default),
	};

	if (argc > 1)
		return child_main(children, argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
