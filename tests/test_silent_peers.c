/* SPDX-License-Identifier: MIT */
/* G8: at max_threads, handlers that wait for peers who say nothing do not take the server away from
 * those who speak. */
#include "support/hall.h"

#include <sys/resource.h>

#include "engine/worker.h"

enum {
	THREADS = 4,
	SILENT = 16,
	CROWD_THREADS = 300,
	CROWD = 8192,
	/* Over TLS each peer has a handshake and a thread of its own; and a sanitizer is slow. */
	SMALL_CROWD_THREADS = 20,
	SMALL_CROWD = 200
};

static const sttcp_options lines = {.size = sizeof(sttcp_options), .framing = STTCP_FRAMING_LINE};

static struct event asked = EVENT_INIT;
static struct event ends = EVENT_INIT;
static struct event limited = EVENT_INIT;
static atomic_int nlimited;
static atomic_int nwrong;
static struct event text_is_there = EVENT_INIT;
static char text[256]; /* of the first that was limited */
static atomic_int how;

/* ------------------------------------------------------------------ dialogues */

static ssize_t wait_for_peer(sttcp_conn *conn, char *line, size_t size)
{
	switch (atomic_load(&how)) {
	case 1:
		return sttcp_conn_recv(conn, line, 3, -1);
	case 2:
		return sttcp_conn_recv_exactly(conn, line, 3, -1);
	case 3: {
		ssize_t next = sttcp_conn_next_size(conn, -1);

		return next < 0 ? next : sttcp_conn_recv_message(conn, line, size, 0);
	}
	default:
		return sttcp_conn_recv_message(conn, line, size, -1);
	}
}

static void note_result(const sttcp_conn *conn, ssize_t size)
{
	if (size != STTCP_ELIMIT || atomic_fetch_add(&nlimited, 1))
		return;
	snprintf(text, sizeof(text), "%s", sttcp_conn_fail_text(conn));
	event_raise(&text_is_there);
}

/* Lets in who says so. */
static bool let_in(sttcp_conn *conn, void *context)
{
	char line[16];

	(void)context;
	event_raise(&asked);
	ssize_t size = wait_for_peer(conn, line, sizeof(line));

	note_result(conn, size);
	if (size >= 0 && (size != 3 || memcmp(line, "joe", 3) != 0))
		atomic_fetch_add(&nwrong, 1);
	return size == 3 && sttcp_conn_send_message(conn, "welcome", 7) == 0;
}

static void echo_line(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	char line[16];

	(void)context;
	if (size == 4 && memcmp(data, "wait", 4) == 0) {
		event_raise(&asked);
		note_result(conn, sttcp_conn_recv_message(conn, line, sizeof(line), -1));
	} else {
		sttcp_conn_send_message(conn, data, size);
	}
}

static void note_end(sttcp_conn *conn, int reason, void *context)
{
	(void)conn;
	(void)context;
	if (reason == STTCP_ELIMIT)
		event_raise(&limited);
	event_raise(&ends);
}

static sttcp_server *start(int threads)
{
	CHECK(sttcp_engine_configure(1, threads, 0) == 0);
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, &lines);

	CHECK(sttcp_server_on_connection(server, let_in) == 0);
	CHECK(sttcp_server_on_receive(server, echo_line) == 0);
	CHECK(sttcp_server_on_disconnection(server, note_end) == 0);
	CHECK(sttcp_server_start(server) == 0);
	return server;
}

/* Comes, says the word, and is served. */
static bool is_served(const sttcp_server *server)
{
	bool is_line = atomic_load(&how) == 0 || atomic_load(&how) == 3;
	int peer = peer_connect(sttcp_server_port(server));

	CHECK(peer >= 0);
	bool served = peer_say(peer, is_line ? "joe\n" : "joe") && peer_expect(peer, "welcome\n") &&
		      peer_say(peer, "hello\n") && peer_expect(peer, "hello\n");

	peer_close(peer);
	return served;
}

/* On a busy machine its own words may be late, and the others are still coming: then it is one of
 * those who lose their threads, and comes again. */
static void visit(const sttcp_server *server)
{
	int64_t until = now_ms() + 3 * (int64_t)DEADLINE_MS;

	while (!is_served(server))
		CHECK(now_ms() < until);
}

/* Each has begun to wait a moment after the one before, as long as there are threads. */
static int speak_behind_a_few(void)
{
	sttcp_server *server = start(THREADS);
	int peers[SILENT];

	for (int i = 0; i < SILENT; i++) {
		peers[i] = peer_connect(sttcp_server_port(server));
		CHECK(peers[i] >= 0);
		CHECK(i >= THREADS || event_wait(&asked, i + 1));
		nap_ms(2);
	}
	visit(server);
	CHECK(event_wait(&text_is_there, 1));
	CHECK(atomic_load(&nwrong) == 0);
	CHECK(strstr(text, "max_threads was reached (4)"));
	CHECK(peer_end(peers[0]) == 0);
	sttcp_server_free(server);
	for (int i = 0; i < SILENT; i++)
		peer_close(peers[i]);
	return 0;
}

static int recv_behind_a_few(void)
{
	atomic_store(&how, 1);
	return speak_behind_a_few();
}

static int recv_exactly_behind_a_few(void)
{
	atomic_store(&how, 2);
	return speak_behind_a_few();
}

static int next_size_behind_a_few(void)
{
	atomic_store(&how, 3);
	return speak_behind_a_few();
}

/* They have been let in, and their receive handlers wait. */
static int speak_behind_receivers(void)
{
	sttcp_server *server = start(THREADS);
	int peers[SILENT];

	for (int i = 0; i < SILENT; i++) {
		peers[i] = peer_connect(sttcp_server_port(server));
		CHECK(peer_say(peers[i], "joe\n"));
		CHECK(peer_expect(peers[i], "welcome\n"));
	}
	for (int i = 0; i < SILENT; i++)
		CHECK(peer_say(peers[i], "wait\n"));
	CHECK(event_wait(&asked, SILENT + THREADS));
	visit(server);
	CHECK(event_wait(&limited, 1));
	CHECK(event_wait(&text_is_there, 1));
	CHECK(strstr(text, "max_threads was reached (4)"));
	CHECK(atomic_load(&nwrong) == 0);
	sttcp_server_free(server);
	for (int i = 0; i < SILENT; i++)
		peer_close(peers[i]);
	return 0;
}

static void silent_peers_make_room_for_those_who_speak(void **state)
{
	(void)state;
	assert_int_equal(process_run("speak_behind_a_few"), 0);
	assert_int_equal(process_run("recv_behind_a_few"), 0);
	assert_int_equal(process_run("recv_exactly_behind_a_few"), 0);
	assert_int_equal(process_run("next_size_behind_a_few"), 0);
	assert_int_equal(process_run("speak_behind_receivers"), 0);
}

/* ------------------------------------------------------------------ the crowd */

static int speak_behind_a_crowd(void)
{
	bool small = over_tls() || UNDER_ASAN || UNDER_TSAN;
	int nsilent = small ? SMALL_CROWD : CROWD;
	struct rlimit limit;

	CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	limit.rlim_cur = limit.rlim_max;
	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	/* Both ends are here. */
	if (limit.rlim_cur < 2u * (rlim_t)nsilent + 1000)
		nsilent = (int)(limit.rlim_cur / 2 - 400);

	sttcp_server *server = start(small ? SMALL_CROWD_THREADS : CROWD_THREADS);
	int *peers = calloc((size_t)nsilent, sizeof(*peers));

	CHECK(peers);
	for (int i = 0; i < nsilent; i++) {
		peers[i] = peer_connect(sttcp_server_port(server));
		CHECK(peers[i] >= 0);
	}
	sttcp_stats stats = {0};

	COMES(sttcp_server_stats(server, &stats, sizeof(stats)) == 0 && stats.total >= nsilent);
	for (int i = 0; i < 3; i++) {
		int64_t began = now_ms();

		visit(server);
		tell("served in %d ms", (int)(now_ms() - began));
	}
	/* Those who came may all have been served before the first 100 ms were over. */
	COMES(atomic_load(&nlimited) >= 1);
	CHECK(atomic_load(&nwrong) == 0);
	sttcp_server_free(server);
	for (int i = 0; i < nsilent; i++)
		peer_close(peers[i]);
	free(peers);
	return 0;
}

static void new_peer_is_served_in_spite_of_thousands_who_are_silent(void **state)
{
	(void)state;
	assert_int_equal(process_run("speak_behind_a_crowd"), 0);
}

/* ---------------------------------------------------------- who speaks stays */

static atomic_int answers;

/* As if the monitor had come to this wait just when it ends for another reason. */
static void recv_unwanted(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	struct stt_wait *wait = &stt_self->wait;
	char more[16];

	(void)data;
	(void)size;
	(void)context;
	atomic_store(&wait->unwanted, atomic_load(&wait->number) + 1);
	if (sttcp_conn_recv_message(conn, more, sizeof(more), 1) == -ETIMEDOUT)
		atomic_fetch_add(&answers, 1);
	atomic_store(&wait->unwanted, atomic_load(&wait->number) + 1);
	event_raise(&asked);
	if (sttcp_conn_recv_message(conn, more, sizeof(more), -1) == 4)
		atomic_fetch_add(&answers, 1);
	sttcp_conn_send_message(conn, more, 4);
}

static int speak_in_time(void)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, &lines);

	CHECK(sttcp_server_on_receive(server, recv_unwanted) == 0);
	CHECK(sttcp_server_on_disconnection(server, note_end) == 0);
	CHECK(sttcp_server_start(server) == 0);
	int peer = peer_connect(sttcp_server_port(server));

	CHECK(peer_say(peer, "one\n"));
	CHECK(event_wait(&asked, 1));
	CHECK(peer_say(peer, "four\n"));
	CHECK(peer_expect(peer, "four\n"));
	CHECK(atomic_load(&answers) == 2);
	CHECK(event_count(&ends) == 0);
	peer_close(peer);
	sttcp_server_free(server);
	return 0;
}

static void peer_that_speaks_at_that_moment_stays(void **state)
{
	(void)state;
	assert_int_equal(process_run("speak_in_time"), 0);
}

static const struct child children[] = {
	{"speak_behind_a_few", speak_behind_a_few},
	{"recv_behind_a_few", recv_behind_a_few},
	{"recv_exactly_behind_a_few", recv_exactly_behind_a_few},
	{"next_size_behind_a_few", next_size_behind_a_few},
	{"speak_behind_receivers", speak_behind_receivers},
	{"speak_behind_a_crowd", speak_behind_a_crowd},
	{"speak_in_time", speak_in_time},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(silent_peers_make_room_for_those_who_speak),
		cmocka_unit_test(new_peer_is_served_in_spite_of_thousands_who_are_silent),
		cmocka_unit_test(peer_that_speaks_at_that_moment_stays),
	};

	if (argc == 2)
		return child_main(children, argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
