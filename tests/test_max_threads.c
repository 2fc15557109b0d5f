/* SPDX-License-Identifier: MIT */
/* G8, G14: max_threads is a cap at which handlers alone wait; the threads that there are go round
 * fairly, and time limits on peers that say nothing need no thread at all. */
#include "support/hall.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

enum {
	SHARERS = 8,
	CALLS = 50, /* of each, when all have the same */
	LEAST_LIMIT_MS = 400,
	MOST_LIMIT_MS = 6400,
	/* exit statuses */
	TOO_SLOW = 10,
	UNFAIR
};

static const sttcp_options lines = {.size = sizeof(sttcp_options), .framing = STTCP_FRAMING_LINE};

/* ------------------------------------------------------------------ at the cap */

static atomic_int cap_lines;

static void count_cap_lines(int level, const char *text, void *context)
{
	(void)context;
	if (level > 2 || !strstr(text, "thread"))
		return;
	atomic_fetch_add(&cap_lines, 1);
}

static struct hall cap_hall;

static void block_cap(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)context;
	hall_stay(&cap_hall);
	sttcp_conn_send(conn, data, size);
}

/* With every thread blocked only handlers wait: accept, output and stop go on. */
static int reach_the_cap(void)
{
	enum {
		PEERS = 32
	};
	int peers[PEERS];

	hall_init(&cap_hall);
	sttcp_set_log(count_cap_lines, NULL);
	CHECK(sttcp_engine_configure(1, 4, 0) == 0);
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);
	CHECK(sttcp_server_on_receive(server, block_cap) == 0);
	CHECK(sttcp_server_start(server) == 0);
	int listener = peer_connect(sttcp_server_port(server)); /* says nothing, hears all */
	for (int i = 0; i < PEERS; i++) {
		peers[i] = peer_connect(sttcp_server_port(server));
		CHECK(peers[i] >= 0);
		CHECK(peer_say(peers[i], "b"));
	}
	CHECK(event_wait(&cap_hall.inside, 4));
	sttcp_stats stats;
	int64_t until = now_ms() + DEADLINE_MS;
	do {
		nap_ms(2);
		CHECK(sttcp_server_stats(server, &stats, sizeof(stats)) == 0);
	} while (now_ms() < until && (stats.total < PEERS + 1 || atomic_load(&cap_lines) == 0));
	CHECK(stats.total == PEERS + 1); /* accepting went on */
	CHECK(atomic_load(&cap_lines) == 1);
	CHECK(stats.thread_cap_hits > 0);
	CHECK(event_count(&cap_hall.inside) < 12); /* 4, and what owners and heirs may add */
	CHECK(count_threads() <= 12);
	CHECK(sttcp_server_broadcast(server, "hear", 4) > 0); /* output goes on */
	CHECK(peer_expect(listener, "hear"));
	event_raise(&cap_hall.gate);
	for (int i = 0; i < PEERS; i++) {
		char got[5];

		CHECK(peer_recv(peers[i], got, 1)); /* broadcast or answer, in any order */
		peer_close(peers[i]);
	}
	peer_close(listener);
	CHECK(sttcp_server_stop(server) == 0);
	CHECK(atomic_load(&cap_lines) == 1); /* logged once */
	sttcp_server_free(server);
	return 0;
}

static int stop_at_the_cap(void)
{
	int peers[16];
	sttcp_stop_report report;

	hall_init(&cap_hall);
	CHECK(sttcp_engine_configure(1, 2, 0) == 0);
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);
	CHECK(sttcp_server_on_receive(server, block_cap) == 0);
	CHECK(sttcp_server_start(server) == 0);
	for (int i = 0; i < 16; i++) {
		peers[i] = peer_connect(sttcp_server_port(server));
		CHECK(peer_say(peers[i], "b"));
	}
	CHECK(event_wait(&cap_hall.inside, 2));
	int64_t until = now_ms() + DEADLINE_MS;
	sttcp_stats stats;
	do {
		nap_ms(2);
		CHECK(sttcp_server_stats(server, &stats, sizeof(stats)) == 0);
	} while (now_ms() < until && stats.total < 16);
	CHECK(sttcp_server_stop_within(server, 0, &report) == 0);
	CHECK(report.running >= 2);
	CHECK(report.ended == 0);
	event_raise(&cap_hall.gate);
	sttcp_server_free(server);
	for (int i = 0; i < 16; i++)
		peer_close(peers[i]);
	return 0;
}

/* G8: max_threads is a cap; reaching it is logged once, not a crash. */
static void reaching_max_threads_makes_handlers_wait_alone(void **state)
{
	(void)state;
	assert_int_equal(process_run("reach_the_cap"), 0);
}

static void stopping_at_max_threads_returns(void **state)
{
	(void)state;
	assert_int_equal(process_run("stop_at_the_cap"), 0);
}

/* -------------------------------------------------------------------- fairness */

static atomic_int calls[SHARERS];
static atomic_int all_calls;
static atomic_int nopened;
static atomic_bool over;
static sttcp_server *sharing;
static struct event shared_out = EVENT_INIT; /* each has something to do */

static bool take_a_counter(sttcp_conn *conn, void *context)
{
	(void)context;
	sttcp_conn_set_data(conn, &calls[atomic_fetch_add(&nopened, 1)], NULL);
	return true;
}

static void nap_and_count(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)data;
	(void)size;
	(void)context;
	event_wait(&shared_out, 1);
	nap_ms(2);
	atomic_fetch_add((atomic_int *)sttcp_conn_data(conn), 1);
	atomic_fetch_add(&all_calls, 1);
}

/* With TCP_NODELAY: the others' small writes would wait for the delayed acknowledgement of the last
 * one, up to 40 ms. */
static int connect_at_once(int port)
{
	const int on = 1;
	int fd = peer_connect(port);

	CHECK(fd >= 0 && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0);
	return fd;
}

static void share(const sttcp_options *options, int peers[SHARERS])
{
	CHECK(sttcp_engine_configure(1, 2, 0) == 0);
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, options);

	sharing = server;
	CHECK(sttcp_server_on_connection(server, take_a_counter) == 0);
	CHECK(sttcp_server_on_receive(server, nap_and_count) == 0);
	CHECK(sttcp_server_start(server) == 0);
	for (int i = 0; i < SHARERS; i++)
		peers[i] = connect_at_once(sttcp_server_port(server));
	/* Over TLS they count before they are open, and who is open first would have a start. */
	for (int64_t until = now_ms() + DEADLINE_MS; atomic_load(&nopened) < SHARERS; nap_ms(1))
		CHECK(now_ms() < until);
}

/* When all together have had their calls: nobody less than half of what each would have. The exit
 * status. */
static int judge_shares(void)
{
	int status = 0;

	for (int64_t until = now_ms() + DEADLINE_MS; atomic_load(&all_calls) < SHARERS * CALLS;) {
		CHECK(now_ms() < until);
		nap_ms(1);
	}
	for (int i = 0; i < SHARERS; i++) {
		tell("%d", atomic_load(&calls[i]));
		if (atomic_load(&calls[i]) < CALLS / 2)
			status = UNFAIR;
	}
	return status;
}

/* Once it is, where the machine gave one of the two threads no CPU for long. */
static void expect_fair_shares(const char *name)
{
	int status = UNFAIR;

	for (int i = 0; i < 3 && status == UNFAIR; i++)
		status = process_run(name);
	assert_int_equal(status, 0);
}

/* Each has sent more messages than fit into one turn. */
static int share_messages(void)
{
	int peers[SHARERS];
	char text[2 * SHARERS * CALLS];

	share(&lines, peers);
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = i % 2 ? '\n' : 'x';
	for (int i = 0; i < SHARERS; i++)
		CHECK(peer_send(peers[i], text, sizeof(text)));
	event_raise(&shared_out);
	_exit(judge_shares());
}

static void *keep_talking(void *argument)
{
	const int *peers = argument;

	while (!atomic_load(&over)) {
		for (int i = 0; i < SHARERS; i++)
			CHECK(peer_say(peers[i], "x"));
		event_raise(&shared_out);
		nap_ms(1);
	}
	return NULL;
}

/* Each time a handler returns there is more to read. */
static int share_wishes(void)
{
	int peers[SHARERS];
	pthread_t thread;

	share(NULL, peers);
	CHECK(pthread_create(&thread, NULL, keep_talking, peers) == 0);
	int status = judge_shares();

	atomic_store(&over, true);
	pthread_join(thread, NULL);
	_exit(status);
}

static void nap_and_count_task(sttcp_conn *conn, void *argument)
{
	nap_and_count(conn, NULL, 0, argument);
}

static void give_tasks(sttcp_conn *conn, void *argument)
{
	for (int i = 0; i < SHARERS * CALLS; i++)
		CHECK(sttcp_conn_run(conn, nap_and_count_task, argument, NULL) == 0);
}

/* Each has more tasks than it runs in one turn. */
static int share_tasks(void)
{
	int peers[SHARERS];

	share(NULL, peers);
	CHECK(sttcp_server_each(sharing, give_tasks, NULL) == SHARERS);
	event_raise(&shared_out);
	_exit(judge_shares());
}

static void threads_go_round_among_connections_with_many_messages(void **state)
{
	(void)state;
	expect_fair_shares("share_messages");
}

static void threads_go_round_among_connections_that_never_stop(void **state)
{
	(void)state;
	expect_fair_shares("share_wishes");
}

static void threads_go_round_among_connections_with_many_tasks(void **state)
{
	(void)state;
	expect_fair_shares("share_tasks");
}

/* ---------------------------------------------------------------------- limits */

/* All have to come before a limit ends the first of them, and a busy machine may be slow. So the
 * limit is chosen by whoever runs the child, which says when it was too short. */
static const char limit_name[] = "STTCP_TEST_LIMIT_MS";

static int limit_ms(void)
{
	const char *text = getenv(limit_name);

	return text ? (int)strtol(text, NULL, 10) : LEAST_LIMIT_MS;
}

static int run_with_limits(const char *name)
{
	int result = TOO_SLOW;
	char text[16];

	for (int ms = LEAST_LIMIT_MS; ms <= MOST_LIMIT_MS && result == TOO_SLOW; ms *= 4) {
		snprintf(text, sizeof(text), "%d", ms);
		setenv(limit_name, text, 1);
		result = process_run(name);
	}
	return result;
}

static struct event inside = EVENT_INIT;
static struct event gate = EVENT_INIT;
static struct event left = EVENT_INIT;
static struct event opened = EVENT_INIT;
static struct event ends = EVENT_INIT;
static atomic_int reasons[3];

static bool open_it(sttcp_conn *conn, void *context)
{
	(void)conn;
	(void)context;
	event_raise(&opened);
	return true;
}

static void stay_or_answer(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)context;
	if (size == 4 && memcmp(data, "stay", 4) == 0) {
		event_raise(&inside);
		event_wait(&gate, 1);
		event_raise(&left);
	}
	sttcp_conn_send_message(conn, data, size);
}

static void note_reason(sttcp_conn *conn, int reason, void *context)
{
	(void)conn;
	(void)context;
	if (reason == STTCP_ETIME_FIRST_BYTE)
		atomic_fetch_add(&reasons[0], 1);
	if (reason == STTCP_ETIME_IDLE)
		atomic_fetch_add(&reasons[1], 1);
	if (reason == STTCP_ETIME_MESSAGE)
		atomic_fetch_add(&reasons[2], 1);
	event_raise(&ends);
}

static int join(sttcp_server *server, long count)
{
	int peer = peer_connect(sttcp_server_port(server));

	CHECK(peer >= 0);
	CHECK(event_wait(&opened, count));
	return peer;
}

/* All threads are in handlers, the loop's own, too, which does not count for max_threads; and more
 * messages wait for one. Soon after take-overs all goes to the pool at once, so others come until
 * the loop's thread is taken. Returns how many that were. Ends the process where the limit, of
 * those who have come since `began_ms`, was not long enough for this. */
static int take_all_threads(sttcp_server *server, const int peers[8], int64_t began_ms)
{
	for (int i = 0; i < 8; i++)
		peer_say(peers[i], "stay\n");
	if (now_ms() - began_ms > limit_ms() / 2)
		_exit(TOO_SLOW);
	CHECK(event_wait(&inside, 2));

	int others = 0;

	for (int64_t until = now_ms() + DEADLINE_MS; !event_wait_ms(&inside, 3, 20); others++) {
		CHECK(now_ms() < until);
		CHECK(peer_say(peer_connect(sttcp_server_port(server)), "stay\n"));
	}
	return others;
}

static sttcp_server *start_at_the_cap(const sttcp_options *options)
{
	CHECK(sttcp_engine_configure(1, 2, 0) == 0);
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, options);

	CHECK(sttcp_server_on_connection(server, open_it) == 0);
	CHECK(sttcp_server_on_receive(server, stay_or_answer) == 0);
	CHECK(sttcp_server_on_disconnection(server, note_reason) == 0);
	CHECK(sttcp_server_start(server) == 0);
	return server;
}

/* What was said and not read when the threads are taken waits for one of them. */
static void wait_for_bytes(sttcp_server *server, size_t size)
{
	sttcp_stats stats = {0};

	for (int64_t until = now_ms() + DEADLINE_MS; stats.bytes_in < (int64_t)size; nap_ms(1)) {
		CHECK(now_ms() < until);
		CHECK(sttcp_server_stats(server, &stats, sizeof(stats)) == 0);
	}
}

static int limit_at_the_cap(const sttcp_options *options, const char *said, int which)
{
	sttcp_server *server = start_at_the_cap(options);
	int64_t began_ms = now_ms();
	int peers[8];
	int silent[4];

	for (int i = 0; i < 8; i++)
		peers[i] = join(server, i + 1);
	for (int i = 0; i < 4; i++) {
		silent[i] = join(server, i + 9);
		if (*said)
			CHECK(peer_say(silent[i], said));
		if (strchr(said, '\n'))
			CHECK(peer_expect(silent[i], said));
	}
	wait_for_bytes(server, 4 * strlen(said));
	take_all_threads(server, peers, began_ms);
	for (int i = 0; i < 4; i++)
		CHECK(peer_end(silent[i]) == 0);
	CHECK(event_count(&left) == 0);
	event_raise(&gate);
	for (int i = 0; i < 8; i++)
		CHECK(peer_expect(peers[i], "stay\n"));
	CHECK(event_wait(&ends, 4));
	CHECK(atomic_load(&reasons[which]) >= 4);
	_exit(0);
}

static int first_byte_at_the_cap(void)
{
	return limit_at_the_cap(
		STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE, .first_byte_timeout_ms = limit_ms()),
		"", 0);
}

static int idle_at_the_cap(void)
{
	return limit_at_the_cap(
		STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE, .idle_timeout_ms = limit_ms()),
		"hello\n", 1);
}

static int message_at_the_cap(void)
{
	return limit_at_the_cap(
		STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE, .message_timeout_ms = limit_ms()),
		"hel", 2);
}

static void wait_for_total(sttcp_server *server, int64_t total)
{
	sttcp_stats stats = {0};

	for (int64_t until = now_ms() + DEADLINE_MS; stats.total < total; nap_ms(1)) {
		CHECK(now_ms() < until);
		CHECK(sttcp_server_stats(server, &stats, sizeof(stats)) == 0);
	}
}

/* Who comes while no thread is to be had does not stay either, and gives its descriptor back; who
 * has spoken waits for its thread. */
static int newcomers_at_the_cap(void)
{
	sttcp_server *server = start_at_the_cap(
		STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE, .first_byte_timeout_ms = limit_ms()));
	int64_t began_ms = now_ms();
	int peers[8];
	int silent[4];

	for (int i = 0; i < 8; i++)
		peers[i] = join(server, i + 1);
	int total = 9 + take_all_threads(server, peers, began_ms);
	long before = event_count(&opened);
	int speaks = peer_connect(sttcp_server_port(server));

	CHECK(peer_say(speaks, "hello\n"));
	wait_for_total(server, total);
	/* Then the take-overs are long past, too. */
	CHECK(peer_quiet(speaks, limit_ms()));
	int fds = count_fds();

	for (int i = 0; i < 4; i++)
		silent[i] = peer_connect(sttcp_server_port(server));
	for (int i = 0; i < 4; i++) {
		CHECK(peer_end(silent[i]) == 0);
		peer_close(silent[i]);
	}
	wait_for_total(server, total + 4);
	for (int64_t until = now_ms() + DEADLINE_MS; count_fds() > fds; nap_ms(1))
		CHECK(now_ms() < until);
	CHECK(event_count(&opened) == before);
	CHECK(event_count(&left) == 0);
	CHECK(peer_quiet(speaks, 2 * limit_ms()));
	event_raise(&gate);
	CHECK(peer_expect(speaks, "hello\n"));
	CHECK(atomic_load(&reasons[0]) == 0);
	_exit(0);
}

static void silent_peers_are_ended_at_the_cap(void **state)
{
	(void)state;
	assert_int_equal(run_with_limits("first_byte_at_the_cap"), 0);
	assert_int_equal(run_with_limits("idle_at_the_cap"), 0);
	assert_int_equal(run_with_limits("message_at_the_cap"), 0);
}

static void silent_newcomers_are_ended_at_the_cap(void **state)
{
	(void)state;
	assert_int_equal(run_with_limits("newcomers_at_the_cap"), 0);
}

static const struct child children[] = {
	{"reach_the_cap", reach_the_cap},
	{"stop_at_the_cap", stop_at_the_cap},
	{"share_tasks", share_tasks},
	{"share_messages", share_messages},
	{"share_wishes", share_wishes},
	{"first_byte_at_the_cap", first_byte_at_the_cap},
	{"idle_at_the_cap", idle_at_the_cap},
	{"message_at_the_cap", message_at_the_cap},
	{"newcomers_at_the_cap", newcomers_at_the_cap},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reaching_max_threads_makes_handlers_wait_alone),
		cmocka_unit_test(stopping_at_max_threads_returns),
		cmocka_unit_test(threads_go_round_among_connections_with_many_messages),
		cmocka_unit_test(threads_go_round_among_connections_that_never_stop),
		cmocka_unit_test(threads_go_round_among_connections_with_many_tasks),
		cmocka_unit_test(silent_peers_are_ended_at_the_cap),
		cmocka_unit_test(silent_newcomers_are_ended_at_the_cap),
	};

	if (argc == 2)
		return child_main(children, argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
