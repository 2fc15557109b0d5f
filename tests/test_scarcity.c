/* SPDX-License-Identifier: MIT */
/* G18: a lack of memory or of threads is a code, not a crash, and everything works again later.
 * malloc and pthread_create are this program's own, in front of the C library's. */
#include "support/faults.h"
#include "support/memory_faults.h"
#include "support/support.h"

#include <poll.h>
#include <signal.h>

/* -------------------------------------------------------------------- memory */

static void ignore_data(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)data;
	(void)context;
	sttcp_conn_send(conn, "answer", size < 6 ? size : 6);
}

static bool ignore_response(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)conn;
	(void)data;
	(void)size;
	(void)context;
	return true;
}

/* The first start makes the engine: in a fresh process for every n. */
static int start_short_of_memory(void)
{
	long count = atol(getenv("STTCP_TEST_COUNT"));

	deny_after(count, false);
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);
	int result = server ? sttcp_server_start(server) : -ENOMEM;
	if (server && result < 0)
		CHECK(sttcp_server_error(server));
	bool failed = allow_again();
	/* -EAGAIN: a thread could not be made for want of memory, see pthread_create(3). */
	CHECK(result == 0 || result == -ENOMEM || result == -EAGAIN);
	CHECK(result == 0 || failed);
	if (!server)
		server = sttcp_server_new("127.0.0.1", 0, NULL);
	CHECK(server);
	if (result != 0)
		CHECK(sttcp_server_start(server) == 0); /* with memory it works */
	int peer = peer_connect(sttcp_server_port(server));
	CHECK(peer >= 0);
	peer_close(peer);
	CHECK(sttcp_server_stop(server) == 0);
	sttcp_server_free(server);
	return failed ? 1 : 0;
}

static void first_start_survives_every_failing_allocation(void **state)
{
	int status = 1;

	(void)state;
	if (!memory_can_be_short())
		skip();
	for (int count = 0; status == 1; count++) {
		char text[16];

		assert_true(count < 2000);
		snprintf(text, sizeof(text), "%d", count);
		setenv("STTCP_TEST_COUNT", text, 1);
		status = process_run("start_short_of_memory");
		if (status != 0 && status != 1)
			fail_msg("allocation %d failed, and the process ended with %d", count,
				 status);
	}
}

/* One whole life of a server, with the n-th allocation failing, for every n. Hosts are numbers
 * here: glibc's resolver itself crashes when it finds no memory. */
static void server_survives_every_failing_allocation(void **state)
{
	bool failed = true;

	(void)state;
	if (!memory_can_be_short())
		skip();
	sttcp_server *other = sttcp_server_new("127.0.0.1", 0, NULL); /* the engine is there */
	assert_int_equal(sttcp_server_start(other), 0);
	int fds = count_fds();
	for (long count = 0; failed; count++) {
		assert_true(count < 2000);
		deny_after(count, false);
		sttcp_server *server =
			sttcp_server_new("127.0.0.1", 0, STTCP_OPTIONS(.backlog = 5));
		int result = -ENOMEM;
		if (server) {
			assert_int_equal(sttcp_server_on_receive(server, ignore_data), 0);
			result = sttcp_server_start(server);
		}
		int peer = -1;
		if (result == 0) {
			peer = peer_connect(sttcp_server_port(server));
			peer_say(peer, "x"); /* it may be turned away, for want of memory */
			peer_shutdown(peer);
			peer_end(peer);
			sttcp_server_stop_within(server, 0, NULL);
		}
		peer_close(peer);
		sttcp_server_free(server);
		failed = allow_again();
		assert_true(result == 0 || result == -ENOMEM);
	}
	EVENTUALLY(count_fds() <= fds);
	sttcp_server_free(other);
}

static void client_survives_every_failing_allocation(void **state)
{
	bool failed = true;

	(void)state;
	if (!memory_can_be_short())
		skip();
	struct probe *probe = probe_new();
	probe->data = echo_data;
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.backlog = 100));
	for (long count = 0; failed; count++) {
		assert_true(count < 2000);
		deny_after(count, false);
		sttcp_client *client =
			sttcp_client_new("127.0.0.1", sttcp_server_port(server), NULL);
		int result = -ENOMEM;
		if (client) {
			assert_int_equal(sttcp_client_on_response(client, ignore_response), 0);
			result = sttcp_client_start(client);
		}
		if (result == 0) {
			sttcp_conn *conn = sttcp_client_conn(client);

			if (conn)
				sttcp_conn_sendf(conn, "%s", "hello");
			sttcp_conn_unref(conn);
			sttcp_client_close(client);
		}
		sttcp_client_free(client);
		failed = allow_again();
		assert_true(result == 0 || result == -ENOMEM);
	}
	sttcp_server_free(server);
	probe_free(probe);
}

/* No memory at all for a while: who is there stays, who comes may be turned away, a send that
 * cannot be queued says so; then everything is as before. */
/* With one connection of an address allowed: whether the one that came while the allocation number
 * `number` failed was let in without being counted, so that another one has come in beside it. */
static bool lets_in_uncounted(long number)
{
	struct probe *probe = probe_new();

	probe->data = echo_data;
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.max_connections_per_ip = 1));
	int port = sttcp_server_port(server);

	deny_after(number, false);
	int uncounted = peer_connect(port);
	bool both = uncounted >= 0 && peer_say(uncounted, "x") && peer_expect(uncounted, "x");

	allow_again();
	int counted = both ? peer_connect(port) : -1;

	both = counted >= 0 && peer_say(counted, "x") && peer_expect(counted, "x");
	peer_close(uncounted);
	if (both) {
		EVENTUALLY(sttcp_server_count(server) == 1);
		/* Its descriptor goes a moment after that. */
		for (int i = 0; i < 20; i++) {
			assert_false(peer_is_answered(peer_connect(port)));
			nap_ms(1);
		}
	}
	peer_close(counted);
	sttcp_server_free(server);
	probe_free(probe);
	return both;
}

static void uncounted_connection_takes_no_other_off_the_count(void **state)
{
	bool found = false;

	(void)state;
	if (!memory_can_be_short())
		skip();
	for (long number = 0; !found; number++) {
		assert_true(number < 100);
		found = lets_in_uncounted(number);
	}
}

static void server_heals_after_a_time_without_memory(void **state)
{
	static char lot[900 * 1024];
	struct pair pair = {0};

	(void)state;
	if (!memory_can_be_short())
		skip();
	pair.probe = probe_new();
	pair.probe->data = echo_data;
	pair_open(&pair, NULL);
	deny_after(0, true);
	assert_true(peer_say(pair.peer, "x"));
	int result = 0;
	for (int i = 0; i < 20 && result == 0; i++)
		result = sttcp_conn_try_send(pair.conn, lot, sizeof(lot));
	int peers[5];
	for (int i = 0; i < 5; i++)
		peers[i] = peer_connect(sttcp_server_port(pair.server));
	nap_ms(30);
	allow_again();
	assert_true(result < 0);
	assert_true(result == -ENOMEM || result == -EAGAIN || result == -ECONNRESET);
	for (int i = 0; i < 5; i++)
		peer_close(peers[i]);
	int fresh = peer_connect(sttcp_server_port(pair.server));
	assert_true(peer_say(fresh, "y"));
	assert_true(peer_expect(fresh, "y"));
	peer_close(fresh);
	sttcp_conn_abort(pair.conn);
	pair_close(&pair);
}

/* ------------------------------------------------------------------- threads */

/* Without threads the engine does not start: a code; later it does. */
static int start_short_of_threads(void)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);
	sttcp_client *client = sttcp_client_new("127.0.0.1", 9, NULL);

	fault_instead(SYS_clone, EAGAIN, -1);
	CHECK(sttcp_server_start(server) == -EAGAIN);
	CHECK(strlen(sttcp_server_error(server)) > 0);
	CHECK(sttcp_client_start(client) == -EAGAIN);
	CHECK(fault_calls() > 0);
	CHECK(count_threads() <= 1 + UNDER_TSAN);
	fault_clear();
	CHECK(sttcp_server_on_receive(server, ignore_data) == 0);
	CHECK(sttcp_server_start(server) == 0);
	int peer = peer_connect(sttcp_server_port(server));
	CHECK(peer_say(peer, "x"));
	CHECK(peer_expect(peer, "a"));
	peer_close(peer);
	sttcp_client_free(client);
	sttcp_server_free(server);
	return 0;
}

static void first_start_without_threads_says_so(void **state)
{
	(void)state;
	assert_int_equal(process_run("start_short_of_threads"), 0);
}

static struct event inside = EVENT_INIT;
static struct event gate = EVENT_INIT;

static void block(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)context;
	event_raise(&inside);
	event_wait(&gate, 1);
	sttcp_conn_send(conn, data, size);
}

/* A thread that cannot be created counts as the cap reached: handlers wait, accept and stop do
 * not. When threads are to be had again, they go on. */
static int block_short_of_threads(void)
{
	enum {
		PEERS = 16
	};
	int peers[PEERS];
	sttcp_stats stats;

	CHECK(sttcp_engine_configure(1, 0, 0) == 0);
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);
	CHECK(sttcp_server_on_receive(server, block) == 0);
	CHECK(sttcp_server_start(server) == 0);
	fault_instead(SYS_clone, EAGAIN, -1);
	for (int i = 0; i < PEERS; i++) {
		peers[i] = peer_connect(sttcp_server_port(server));
		CHECK(peer_say(peers[i], "x"));
	}
	int64_t until = now_ms() + DEADLINE_MS;
	do {
		CHECK(now_ms() < until);
		nap_ms(2);
		CHECK(sttcp_server_stats(server, &stats, sizeof(stats)) == 0);
	} while (stats.total < PEERS || fault_calls() == 0);
	CHECK(event_count(&inside) < PEERS);
	fault_clear();
	CHECK(event_wait(&inside, PEERS)); /* the monitor tries again */
	event_raise(&gate);
	for (int i = 0; i < PEERS; i++) {
		CHECK(peer_expect(peers[i], "x"));
		peer_close(peers[i]);
	}
	CHECK(sttcp_server_stop(server) == 0);
	sttcp_server_free(server);
	return 0;
}

static void handlers_without_threads_wait_and_go_on(void **state)
{
	(void)state;
	assert_int_equal(process_run("block_short_of_threads"), 0);
}

/* ------------------------------------------------------------------ timers */

static void raise_it(void *argument)
{
	event_raise(argument);
}

static void raise_in_timer(sttcp_timer *timer, void *context)
{
	(void)timer;
	event_raise(context);
}

/* What is refused is not called, and is done later. */
static void timers_and_work_survive_every_failing_allocation(void **state)
{
	struct event calls = EVENT_INIT;
	long wanted = 0;
	bool failed = true;

	(void)state;
	if (!memory_can_be_short())
		skip();
	for (long count = 0; failed; count++) {
		assert_true(count < 2000);
		deny_after(count, false);
		sttcp_timer *timer = sttcp_timer_new(raise_in_timer, &calls);
		int started = timer ? sttcp_timer_start(timer, 0, 0) : -ENOMEM;
		int ran = sttcp_run(raise_it, &calls);

		failed = allow_again();
		assert_true(started == 0 || started == -ENOMEM || started == -EAGAIN);
		assert_true(ran == 0 || ran == -ENOMEM || ran == -EAGAIN);
		wanted += (started == 0) + (ran == 0);
		assert_true(event_wait(&calls, wanted));
		assert_int_equal(sttcp_timer_stop(timer), timer ? 0 : -EINVAL);
		sttcp_timer_free(timer);
		EVENTUALLY(sttcp_engine_shutdown() == 0);
		assert_int_equal(event_count(&calls), wanted);
	}
}

static int start_timers_short_of_threads(void)
{
	struct event calls = EVENT_INIT;
	sttcp_timer *timer = sttcp_timer_new(raise_in_timer, &calls);

	CHECK(timer);
	fault_instead(SYS_clone, EAGAIN, -1);
	CHECK(sttcp_timer_start(timer, 0, 1) == -EAGAIN);
	CHECK(sttcp_run(raise_it, &calls) == -EAGAIN);
	CHECK(sttcp_timer_stop(timer) == 0);
	CHECK(sttcp_engine_shutdown() == 0);
	fault_clear();
	CHECK(event_count(&calls) == 0);
	CHECK(sttcp_timer_start(timer, 0, 1) == 0);
	CHECK(sttcp_run(raise_it, &calls) == 0);
	CHECK(event_wait(&calls, 5));
	sttcp_timer_free(timer);
	return 0;
}

static void timers_and_work_without_threads_say_so(void **state)
{
	(void)state;
	assert_int_equal(process_run("start_timers_short_of_threads"), 0);
}

/* G17: what hears of that may fork, and its child return from there. */
static pid_t parent;
static atomic_int forked;
static int strangers[2]; /* a byte for each call of a handler in the child */

static int deny_the_monitor(pthread_t *restrict thread, const pthread_attr_t *restrict attr,
			    void *(*run)(void *), void *restrict argument)
{
	char name[16] = "";

	pthread_getname_np(pthread_self(), name, sizeof(name));
	if (getpid() == parent && strcmp(name, "sttcp-monitor") == 0)
		return EAGAIN;
	return real_pthread_create(thread, attr, run, argument);
}

static void fork_at_the_denial(int level, const char *text, void *context)
{
	(void)level;
	(void)context;
	if (!strstr(text, "no thread could be created (Resource temporarily unavailable)"))
		return;
	pid_t pid = process_fork();

	if (pid == 0) {
		close(STDOUT_FILENO);
		return;
	}
	atomic_store(&forked, pid);
}

static void block_in_the_parent(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	if (getpid() != parent)
		CHECK(write(strangers[1], "x", 1) == 1);
	block(conn, data, size, context);
}

enum {
	BURST = 16
};

static atomic_bool held; /* the loop, with what it has to do */
static struct event holds = EVENT_INIT;

static int wait_while_held(int poller, struct epoll_event *events, int max, int timeout)
{
	int count = real_epoll_wait(poller, events, max, timeout);

	if (atomic_load(&held))
		event_raise(&holds);
	while (atomic_load(&held))
		nap_ms(1);
	return count;
}

/* They are open before the first of them says something, and the loop finds what the others say
 * all at once. */
static void block_a_burst(sttcp_server *server, int peers[BURST])
{
	int before = sttcp_server_count(server);

	for (int i = 0; i < BURST; i++)
		peers[i] = peer_connect(sttcp_server_port(server));
	for (int64_t until = now_ms() + DEADLINE_MS; sttcp_server_count(server) < before + BURST;
	     nap_ms(1))
		CHECK(now_ms() < until);
	long before_held = event_count(&holds);

	atomic_store(&held, true);
	CHECK(peer_say(peers[0], "x"));
	CHECK(event_wait(&holds, before_held + 1));
	for (int i = 1; i < BURST; i++)
		CHECK(peer_say(peers[i], "x"));
	atomic_store(&held, false);
}

/* The monitor finds that the handlers that run are asleep, and that no thread can be had for those
 * that wait. Those of a burst that is slow find threads one after the other without it, and so may
 * one whose handlers are slow to block. */
static int fork_in_the_monitor(void)
{
	enum {
		BURSTS = 16
	};
	struct pollfd stranger;
	int peers[BURSTS * BURST], npeers = 0;

	parent = getpid();
	CHECK(pipe(strangers) == 0);
	stranger = (struct pollfd){.fd = strangers[0], .events = POLLIN};
	CHECK(sttcp_engine_configure(1, 0, 0) == 0);
	sttcp_set_log(fork_at_the_denial, NULL);
	atomic_store(&stand_in_epoll_wait, wait_while_held);
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);
	CHECK(sttcp_server_on_receive(server, block_in_the_parent) == 0);
	CHECK(sttcp_server_start(server) == 0);
	atomic_store(&stand_in_pthread_create, deny_the_monitor);
	while (!atomic_load(&forked)) {
		CHECK(npeers < BURSTS * BURST);
		block_a_burst(server, peers + npeers);
		npeers += BURST;
		for (int64_t until = now_ms() + DEADLINE_MS;
		     !atomic_load(&forked) && event_count(&inside) < npeers; nap_ms(1))
			CHECK(now_ms() < until);
	}
	atomic_store(&stand_in_pthread_create, NULL);
	CHECK(event_wait(&inside, npeers));
	event_raise(&gate);
	for (int i = 0; i < npeers; i++) {
		CHECK(peer_expect(peers[i], "x"));
		peer_close(peers[i]);
	}
	CHECK(poll(&stranger, 1, 0) == 0);
	/* It has the peers' sockets, too. */
	CHECK(kill(atomic_load(&forked), SIGKILL) == 0);
	CHECK(process_wait_pid(atomic_load(&forked)) == 128 + SIGKILL);
	CHECK(sttcp_server_stop(server) == 0);
	sttcp_server_free(server);
	return 0;
}

static void child_forked_in_the_monitor_goes_no_further(void **state)
{
	(void)state;
	assert_int_equal(process_run("fork_in_the_monitor"), 0);
}

static const struct child children[] = {
	{"start_short_of_memory", start_short_of_memory},
	{"start_short_of_threads", start_short_of_threads},
	{"block_short_of_threads", block_short_of_threads},
	{"start_timers_short_of_threads", start_timers_short_of_threads},
	{"fork_in_the_monitor", fork_in_the_monitor},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_start_survives_every_failing_allocation),
		cmocka_unit_test(server_survives_every_failing_allocation),
		cmocka_unit_test(client_survives_every_failing_allocation),
		cmocka_unit_test(uncounted_connection_takes_no_other_off_the_count),
		cmocka_unit_test(server_heals_after_a_time_without_memory),
		cmocka_unit_test(first_start_without_threads_says_so),
		cmocka_unit_test(handlers_without_threads_wait_and_go_on),
		cmocka_unit_test(timers_and_work_survive_every_failing_allocation),
		cmocka_unit_test(timers_and_work_without_threads_say_so),
		cmocka_unit_test(child_forked_in_the_monitor_goes_no_further),
	};

	if (argc == 2)
		return child_main(children, argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
