/* SPDX-License-Identifier: MIT */
/* G8, G14: a loop that always finds as many events as it can take at a time keeps time all the
 * same. */
#include "support/support.h"

#include <sys/resource.h>
#include <sys/socket.h>

enum {
	TALKERS = 1000, /* more than a loop takes at a time, and each always has an event */
	LIMIT_MS = 300
};

static int talkers[TALKERS];
static atomic_bool over;
static atomic_long answers;

static void spin_and_echo(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	struct timespec from, now;

	(void)context;
	clock_gettime(CLOCK_MONOTONIC, &from);
	do {
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - from.tv_sec) * 1000000000 + now.tv_nsec - from.tv_nsec < 20000);
	sttcp_conn_send(conn, data, size);
}

/* Speaks again on each as soon as its answer is there. */
static void *keep_talking(void *unused)
{
	for (int i = 0; i < TALKERS; i++)
		if (!peer_say(talkers[i], "x"))
			return unused;
	while (!atomic_load(&over)) {
		for (int i = 0; i < TALKERS; i++) {
			char byte;

			if (recv(talkers[i], &byte, 1, MSG_DONTWAIT) != 1)
				continue;
			atomic_fetch_add(&answers, 1);
			if (!peer_say(talkers[i], "x"))
				return unused;
		}
	}
	return unused;
}

static atomic_long answers_at_end;

static void note_answers(sttcp_conn *conn, int reason, void *context)
{
	(void)conn;
	(void)reason;
	(void)context;
	atomic_store(&answers_at_end, atomic_load(&answers));
}

static int keep_time(void)
{
	struct rlimit files;
	pthread_t thread;

	CHECK(getrlimit(RLIMIT_NOFILE, &files) == 0);
	files.rlim_cur = files.rlim_max;
	CHECK(setrlimit(RLIMIT_NOFILE, &files) == 0);
	CHECK(files.rlim_cur > 2 * TALKERS + 64);
	CHECK(sttcp_engine_configure(1, 0, 0) == 0);
	sttcp_server *busy = sttcp_server_new("127.0.0.1", 0, NULL);
	sttcp_server *other =
		sttcp_server_new("127.0.0.1", 0, STTCP_OPTIONS(.idle_timeout_ms = LIMIT_MS));

	CHECK(sttcp_server_on_receive(busy, spin_and_echo) == 0);
	CHECK(sttcp_server_on_disconnection(other, note_answers) == 0);
	CHECK(sttcp_server_start(busy) == 0);
	CHECK(sttcp_server_start(other) == 0);
	for (int i = 0; i < TALKERS; i++) {
		talkers[i] = peer_connect(sttcp_server_port(busy));
		CHECK(talkers[i] >= 0);
	}
	CHECK(pthread_create(&thread, NULL, keep_talking, NULL) == 0);
	/* As long as it goes on at all. */
	for (long seen = -1; seen < 10 * TALKERS; seen = atomic_load(&answers))
		COMES(atomic_load(&answers) > seen);
	/* Its limit passes, and a stop's does. Not seconds later, when the talkers were held up for
	 * once and a batch was not full: without care for this it was five seconds and more. What
	 * the loop answers after the limit is counted, not time: the loop of a busy machine gets
	 * little of it. */
	int silent = peer_connect(sttcp_server_port(other));

	nap_ms(LIMIT_MS);
	long before = atomic_load(&answers);

	CHECK(peer_end(silent) == 0);
	COMES(atomic_load(&answers_at_end) > 0);
	CHECK(atomic_load(&answers_at_end) - before < 20 * TALKERS);
	silent = peer_connect(sttcp_server_port(busy));
	sttcp_stop_report report;

	CHECK(sttcp_server_stop_within(busy, LIMIT_MS, &report) == 0);
	CHECK(report.forced + report.running + report.ended > TALKERS);
	_exit(0);
}

static void loop_that_is_never_idle_keeps_time(void **state)
{
	(void)state;
	assert_int_equal(process_run("keep_time"), 0);
}

static const struct child children[] = {
	{"keep_time", keep_time},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loop_that_is_never_idle_keeps_time),
	};

	if (argc == 2)
		return child_main(children, argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
