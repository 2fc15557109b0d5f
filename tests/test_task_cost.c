/* SPDX-License-Identifier: MIT */
/* What tasks for later cost: setting and cancelling walks over nothing, and nothing wakes up but
 * for what is due (G15). Counted in CPU time of the caller alone, and in context switches. */
#include "support/support.h"

#include <sys/resource.h>
#include <time.h>

enum {
	HOUR_MS = 3600000,
	MOST = 16384,
	/* Of each member of a crowd. */
	MANY = 100,
	PERIOD_MS = 500,
	PERIODS = 4
};

static atomic_long ncalls;
static atomic_long nfreed;

static void count_call(sttcp_conn *conn, void *argument)
{
	(void)conn;
	(void)argument;
	atomic_fetch_add(&ncalls, 1);
}

static void count_freed(void *argument)
{
	(void)argument;
	atomic_fetch_add(&nfreed, 1);
}

static int64_t cpu_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int64_t set_and_cancel(sttcp_conn *conn, int count, int ms)
{
	int64_t begin = cpu_us();

	for (int i = 0; i < count; i++) {
		int64_t id = sttcp_conn_after(conn, ms + i % 100, count_call, NULL, NULL);

		assert_true(id > 0);
		assert_int_equal(sttcp_conn_cancel(conn, id), 0);
	}
	return cpu_us() - begin;
}

/* A million, beside as many others as there may be: a walk over these would take a thousand times
 * as long. */
static void million_set_and_cancelled_walk_over_no_list(void **state)
{
	enum {
		COUNT = UNDER_TSAN || UNDER_ASAN ? 100000 : 1000000
	};
	struct pair pair = {0};

	(void)state;
	pair_open(&pair, NULL);
	set_and_cancel(pair.conn, COUNT / 10, HOUR_MS);
	int64_t alone_us = set_and_cancel(pair.conn, COUNT / 2, HOUR_MS);

	for (int i = 0; i < MOST - 1; i++)
		assert_true(sttcp_conn_every(pair.conn, HOUR_MS + i * 7919 % 1000, count_call, NULL,
					     NULL) > 0);
	int64_t beside_us = set_and_cancel(pair.conn, COUNT / 2, HOUR_MS);

	print_message("%d set and cancelled: %lld us alone, %lld us beside %d others\n", COUNT / 2,
		      (long long)alone_us, (long long)beside_us, MOST - 1);
	assert_true(beside_us < 20 * alone_us + 100000);
	pair_close(&pair);
}

enum {
	CROWD = 64
};

struct crowd {
	struct probe *probe;
	sttcp_server *server;
	int peers[CROWD];
};

static void crowd_open(struct crowd *crowd)
{
	crowd->probe = probe_new();
	crowd->server = probe_listen(crowd->probe, NULL);
	for (int i = 0; i < CROWD; i++) {
		crowd->peers[i] = peer_connect(sttcp_server_port(crowd->server));
		assert_true(crowd->peers[i] >= 0);
	}
	EVENTUALLY(sttcp_server_count(crowd->server) == CROWD);
}

static void crowd_close(struct crowd *crowd)
{
	for (int i = 0; i < CROWD; i++)
		peer_close(crowd->peers[i]);
	sttcp_server_free(crowd->server);
	probe_free(crowd->probe);
}

static void give_many(sttcp_conn *conn, void *argument)
{
	(void)argument;
	for (int i = 0; i < MANY; i++) {
		int64_t id = sttcp_conn_after(conn, 300 + i, count_call, NULL, count_freed);

		ignore((ssize_t)sttcp_conn_every(conn, HOUR_MS + i, count_call, NULL, count_freed));
		ignore((ssize_t)sttcp_conn_after(conn, HOUR_MS - i, count_call, NULL, count_freed));
		ignore(sttcp_conn_cancel(conn, id));
	}
}

static void g15_tasks_that_wait_are_silent(void **state)
{
	struct crowd crowd;

	(void)state;
	if (UNDER_TSAN)
		skip();
	atomic_store(&ncalls, 0);
	atomic_store(&nfreed, 0);
	crowd_open(&crowd);
	assert_int_equal(sttcp_server_each(crowd.server, give_many, NULL), CROWD);
	expect_silence();
	crowd_close(&crowd);
	assert_int_equal(atomic_load(&ncalls), 0);
	assert_int_equal(atomic_load(&nfreed), 3 * CROWD * MANY);
}

static void begin_every(sttcp_conn *conn, void *argument)
{
	(void)argument;
	ignore((ssize_t)sttcp_conn_every(conn, PERIOD_MS, count_call, NULL, NULL));
}

/* Spread over the period, so that no two are due together. */
static void begin_later(sttcp_conn *conn, void *argument)
{
	int *number = argument;

	ignore((ssize_t)sttcp_conn_after(conn, 1 + PERIOD_MS * *number / CROWD, begin_every, NULL,
					 NULL));
	++*number;
}

/* Times that a thread other than this one has gone to sleep. */
static long sleeps_of_others(void)
{
	struct rusage all;
	struct rusage own;

	getrusage(RUSAGE_SELF, &all);
	getrusage(RUSAGE_THREAD, &own);
	return all.ru_nvcsw - own.ru_nvcsw;
}

/* Whether in a while each of the crowd was called, and few have slept. */
static bool sleeps_are_few(void)
{
	long calls = atomic_load(&ncalls);
	long sleeps = sleeps_of_others();

	nap_ms(PERIODS * PERIOD_MS);
	sleeps = sleeps_of_others() - sleeps;
	calls = atomic_load(&ncalls) - calls;
	print_message("%ld calls, %ld times asleep\n", calls, sleeps);
	return calls >= CROWD && sleeps < 8 * calls + 200;
}

/* A loop sleeps once for each of them, and the monitor has a look. A look at all connections each
 * millisecond, or at all that wait, would be many more, and not only while this machine stands
 * still. */
static void g15_wake_ups_are_those_of_what_is_due(void **state)
{
	struct crowd crowd;
	int number = 0;

	(void)state;
	if (UNDER_TSAN)
		skip();
	crowd_open(&crowd);
	sttcp_server_each(crowd.server, give_many, NULL);
	assert_int_equal(sttcp_server_each(crowd.server, begin_later, &number), CROWD);
	nap_ms(2 * PERIOD_MS);
	bool few = false;

	for (int tries = 0; tries < 5 && !few; tries++)
		few = sleeps_are_few();
	assert_true(few);
	crowd_close(&crowd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(million_set_and_cancelled_walk_over_no_list),
		cmocka_unit_test(g15_tasks_that_wait_are_silent),
		cmocka_unit_test(g15_wake_ups_are_those_of_what_is_due),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
