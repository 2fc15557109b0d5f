/* SPDX-License-Identifier: MIT */
/* G8: where no further thread can be created, those of the start serve every connection, and stops
 * and the loops go on. pthread_create is this program's own, in front of the C library's. */
#include "support/faults.h"
#include "support/support.h"

static atomic_int denied_lines;
static atomic_int cap_lines;

static void note_lines(int level, const char *text, void *context)
{
	(void)level;
	(void)context;
	if (strstr(text, "no thread could be created (Resource temporarily unavailable)"))
		atomic_fetch_add(&denied_lines, 1);
	if (strstr(text, "all threads are inside handlers"))
		atomic_fetch_add(&cap_lines, 1);
}

static struct event inside = EVENT_INIT;
static struct event gate = EVENT_INIT;
static struct event ends = EVENT_INIT;
static struct event relieved = EVENT_INIT;

/* 's' sleeps, and so does not wait in the library's sense: it needs a thread, with a stack of its
 * own too. 'g' does so until the gate is open. 'r' reads what does not
 * come. */
static void act(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	const char *text = data;

	(void)context;
	if (text[0] == 's')
		nap_ms(20);
	if (text[0] == 'r')
		ignore(sttcp_conn_recv(conn, (char[1]){0}, 1, 3 * DEADLINE_MS));
	if (text[0] == 'g') {
		event_raise(&inside);
		event_wait(&gate, 1);
	}
	sttcp_conn_send(conn, data, size);
}

static void note_end(sttcp_conn *conn, int reason, void *context)
{
	(void)context;
	if (reason == STTCP_ELIMIT && strstr(sttcp_conn_fail_text(conn), "no further one could"))
		event_raise(&relieved);
	event_raise(&ends);
}

/* From the end of its start on there are no more threads. */
static sttcp_server *start_denied(int loops)
{
	CHECK(sttcp_engine_configure(loops, 0, 0) == 0);
	sttcp_set_log(note_lines, NULL);
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);
	CHECK(sttcp_server_on_receive(server, act) == 0);
	CHECK(sttcp_server_on_disconnection(server, note_end) == 0);
	CHECK(sttcp_server_start(server) == 0);
	fault_instead(SYS_clone, EAGAIN, -1);
	return server;
}

static void ask(int peer, const char *text)
{
	CHECK(peer_say(peer, text));
	CHECK(peer_expect(peer, text));
}

/* A connection whose handler has blocked needs a thread of the pool for the next call. */
static void block_until_denied(int peer)
{
	for (int64_t until = now_ms() + DEADLINE_MS; !atomic_load(&denied_lines);) {
		CHECK(now_ms() < until);
		ask(peer, "s");
	}
}

static void serve_blocking(int loops)
{
	enum {
		PEERS = 6,
		MESSAGES = 40
	};
	int peers[PEERS];
	sttcp_stop_report report;
	sttcp_server *server = start_denied(loops);

	for (int i = 0; i < PEERS; i++)
		peers[i] = peer_connect(sttcp_server_port(server));
	block_until_denied(peers[0]);
	for (int i = 0; i < PEERS; i++)
		CHECK(peer_say(peers[i], "s"));
	for (int i = 0; i < PEERS; i++)
		CHECK(peer_expect(peers[i], "s"));
	for (int message = 0; message < MESSAGES; message++) {
		for (int i = 0; i < PEERS; i++)
			CHECK(peer_say(peers[i], message % 10 ? "q" : "s"));
		for (int i = 0; i < PEERS; i++)
			CHECK(peer_expect(peers[i], message % 10 ? "q" : "s"));
	}
	/* Told once, and as what it is. */
	CHECK(atomic_load(&denied_lines) == 1);
	CHECK(atomic_load(&cap_lines) == 0);
	for (int i = 0; i < PEERS / 2; i++)
		peer_close(peers[i]);
	CHECK(event_wait(&ends, PEERS / 2));
	/* The others are slow when they are stopped. */
	CHECK(sttcp_server_stop_within(server, DEADLINE_MS / 2, &report) == 0);
	CHECK(report.running == 0);
	CHECK(event_count(&ends) == PEERS);
	sttcp_server_free(server);
	for (int i = PEERS / 2; i < PEERS; i++)
		peer_close(peers[i]);
	CHECK(sttcp_engine_shutdown() == 0);
}

static int serve_on_one_loop(void)
{
	serve_blocking(1);
	return 0;
}

static int serve_on_two_loops(void)
{
	serve_blocking(2);
	return 0;
}

static void connections_that_block_are_served_on_one_loop(void **state)
{
	(void)state;
	assert_int_equal(process_run("serve_on_one_loop"), 0);
}

static void connections_that_block_are_served_on_two_loops(void **state)
{
	(void)state;
	assert_int_equal(process_run("serve_on_two_loops"), 0);
}

/* The last thread is inside a handler: only handlers wait. */
static int block_the_last_thread(void)
{
	sttcp_stats stats;
	sttcp_server *server = start_denied(1);
	int hearer = peer_connect(sttcp_server_port(server));
	int slow = peer_connect(sttcp_server_port(server));

	ask(hearer, "q");
	block_until_denied(slow);
	CHECK(peer_say(slow, "g"));
	CHECK(event_wait(&inside, 1));
	int fresh = peer_connect(sttcp_server_port(server));

	CHECK(fresh >= 0);
	CHECK(peer_say(fresh, "q"));
	for (int64_t until = now_ms() + DEADLINE_MS;; nap_ms(2)) {
		CHECK(now_ms() < until);
		CHECK(sttcp_server_stats(server, &stats, sizeof(stats)) == 0);
		if (stats.total == 3)
			break;
	}
	CHECK(sttcp_server_broadcast(server, "hear", 4) > 0);
	CHECK(peer_expect(hearer, "hear"));
	event_raise(&gate);
	CHECK(peer_expect(slow, "hearg"));
	CHECK(peer_recv(fresh, (char[1]){0}, 1));
	peer_close(hearer);
	peer_close(slow);
	peer_close(fresh);
	CHECK(sttcp_server_stop(server) == 0);
	sttcp_server_free(server);
	return 0;
}

static void loop_goes_on_beside_the_last_thread(void **state)
{
	(void)state;
	assert_int_equal(process_run("block_the_last_thread"), 0);
}

/* Their waits end as those at max_threads do. */
static int wait_for_silent_peers(void)
{
	enum {
		PEERS = 6
	};
	int peers[PEERS];
	sttcp_server *server = start_denied(2);

	for (int i = 0; i < PEERS; i++) {
		peers[i] = peer_connect(sttcp_server_port(server));
		CHECK(peer_say(peers[i], "r"));
	}
	int speaker = peer_connect(sttcp_server_port(server));

	for (int i = 0; i < 5; i++)
		ask(speaker, "q");
	/* A handler that has a stack of its own keeps no thread while it reads. */
	if (!getenv("STTCP_TEST_FIBERS"))
		CHECK(event_wait(&relieved, 1));
	peer_close(speaker);
	for (int i = 0; i < PEERS; i++)
		peer_close(peers[i]);
	CHECK(sttcp_server_stop(server) == 0);
	sttcp_server_free(server);
	return 0;
}

static void silent_peers_do_not_take_the_last_threads(void **state)
{
	(void)state;
	assert_int_equal(process_run("wait_for_silent_peers"), 0);
}

/* --------------------------------------------------------------- timers and work */

static void raise_it(void *argument)
{
	event_raise(argument);
}

static void raise_in_timer(sttcp_timer *timer, void *context)
{
	(void)timer;
	event_raise(context);
}

static int run_work_denied(void)
{
	struct event calls = EVENT_INIT;
	struct event rings = EVENT_INIT;
	sttcp_server *server = start_denied(1);
	sttcp_timer *timer = sttcp_timer_new(raise_in_timer, &rings);

	CHECK(sttcp_timer_start(timer, 0, 1) == 0);
	for (int i = 1; i <= 50; i++) {
		CHECK(sttcp_run(raise_it, &calls) == 0);
		CHECK(event_wait(&calls, i));
	}
	CHECK(event_wait(&rings, 10));
	CHECK(sttcp_timer_stop(timer) == 0);
	sttcp_timer_free(timer);
	sttcp_server_free(server);
	return 0;
}

static void timers_and_work_are_run(void **state)
{
	(void)state;
	assert_int_equal(process_run("run_work_denied"), 0);
}

/* -------------------------------------------------------------------------- start */

static atomic_int ncreated;

/* The first thread of a loop is its owner, the second its heir. */
static int deny_heirs(pthread_t *restrict thread, const pthread_attr_t *restrict attr,
		      void *(*run)(void *), void *restrict argument)
{
	if (atomic_fetch_add(&ncreated, 1) % 2)
		return EAGAIN;
	return real_pthread_create(thread, attr, run, argument);
}

/* One heir is enough for all loops, and without any no handler could ever run. */
static int start_without_heirs(void)
{
	struct event calls = EVENT_INIT;

	CHECK(sttcp_engine_configure(1, 0, 0) == 0);
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);
	CHECK(sttcp_server_on_receive(server, act) == 0);
	atomic_store(&stand_in_pthread_create, deny_heirs);
	CHECK(sttcp_server_start(server) == -EAGAIN);
	CHECK(strlen(sttcp_server_error(server)) > 0);
	atomic_store(&stand_in_pthread_create, NULL);
	CHECK(count_threads() <= 1 + UNDER_TSAN);
	CHECK(sttcp_server_start(server) == 0);
	fault_instead(SYS_clone, EAGAIN, -1);
	CHECK(sttcp_run(raise_it, &calls) == 0);
	CHECK(event_wait(&calls, 1));
	sttcp_server_free(server);
	return 0;
}

static void start_without_any_heir_says_so(void **state)
{
	(void)state;
	assert_int_equal(process_run("start_without_heirs"), 0);
}

/* The first loop has an heir, the second none. */
static int deny_the_second_heir(pthread_t *restrict thread, const pthread_attr_t *restrict attr,
				void *(*run)(void *), void *restrict argument)
{
	if (atomic_fetch_add(&ncreated, 1) == 3)
		return EAGAIN;
	return real_pthread_create(thread, attr, run, argument);
}

static int start_with_one_heir(void)
{
	enum {
		PEERS = 8
	};
	int peers[PEERS];

	CHECK(sttcp_engine_configure(2, 0, 0) == 0);
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);
	CHECK(sttcp_server_on_receive(server, act) == 0);
	atomic_store(&stand_in_pthread_create, deny_the_second_heir);
	CHECK(sttcp_server_start(server) == 0);
	fault_instead(SYS_clone, EAGAIN, -1);
	for (int i = 0; i < PEERS; i++)
		peers[i] = peer_connect(sttcp_server_port(server));
	for (int message = 0; message < 5; message++)
		for (int i = 0; i < PEERS; i++)
			ask(peers[i], message % 2 ? "q" : "s");
	for (int i = 0; i < PEERS; i++)
		peer_close(peers[i]);
	CHECK(sttcp_server_stop(server) == 0);
	sttcp_server_free(server);
	return 0;
}

static void one_heir_serves_two_loops(void **state)
{
	(void)state;
	assert_int_equal(process_run("start_with_one_heir"), 0);
}

static const struct child children[] = {
	{"serve_on_one_loop", serve_on_one_loop},
	{"serve_on_two_loops", serve_on_two_loops},
	{"block_the_last_thread", block_the_last_thread},
	{"wait_for_silent_peers", wait_for_silent_peers},
	{"run_work_denied", run_work_denied},
	{"start_without_heirs", start_without_heirs},
	{"start_with_one_heir", start_with_one_heir},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(connections_that_block_are_served_on_one_loop),
		cmocka_unit_test(connections_that_block_are_served_on_two_loops),
		cmocka_unit_test(loop_goes_on_beside_the_last_thread),
		cmocka_unit_test(silent_peers_do_not_take_the_last_threads),
		cmocka_unit_test(timers_and_work_are_run),
		cmocka_unit_test(start_without_any_heir_says_so),
		cmocka_unit_test(one_heir_serves_two_loops),
	};

	if (argc == 2)
		return child_main(children, argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
