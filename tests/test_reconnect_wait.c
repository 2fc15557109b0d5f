/* SPDX-License-Identifier: MIT */
/* A client between two attempts to connect: it is busy, nothing moves (G15), and it can be closed
 * (G3), freed (G12) and inherited by a child (G17). */
#include "support/support.h"

#include <sys/socket.h>

enum {
	NEVER_MS = 1000 * 1000 * 1000 /* a wait below it is hardly ever a short one */
};

struct waiting {
	struct probe *probe;
	sttcp_client *client;
	int refusing;
};

/* A client that has failed once, and is not going to try again for days. */
static void waiting_open(struct waiting *waiting)
{
	int port;

	waiting->probe = probe_new();
	waiting->refusing = peer_refuse(&port);
	waiting->client =
		probe_dial(waiting->probe, port,
			   STTCP_OPTIONS(.reconnect_ms = NEVER_MS, .reconnect_max_ms = INT32_MAX));
	assert_true(probe_wait(waiting->probe, STTCP_UNCONNECTED, 1));
}

static void waiting_close(struct waiting *waiting)
{
	sttcp_client_free(waiting->client);
	peer_close(waiting->refusing);
	assert_string_equal(probe_order(waiting->probe), "uU");
	assert_int_equal(waiting->probe->releases, 1);
	probe_free(waiting->probe);
}

static void *wait_for_end(void *client)
{
	return (void *)(intptr_t)sttcp_client_wait(client, -1);
}

static void *wait_for_open(void *client)
{
	return (void *)(intptr_t)sttcp_client_wait_open(client, -1);
}

static void close_between_attempts_runs_no_handler(void **state)
{
	struct waiting waiting;
	pthread_t threads[2];

	(void)state;
	for (int i = 0; i < 20; i++) {
		waiting_open(&waiting);
		assert_int_equal(pthread_create(&threads[0], NULL, wait_for_end, waiting.client),
				 0);
		assert_int_equal(pthread_create(&threads[1], NULL, wait_for_open, waiting.client),
				 0);
		if (i % 2)
			nap_ms(1);
		assert_int_equal(sttcp_client_close(waiting.client), 0);
		for (int j = 0; j < 2; j++) {
			void *result;

			assert_int_equal(pthread_join(threads[j], &result), 0);
			assert_int_equal((intptr_t)result, STTCP_EDESTROYED);
		}
		assert_int_equal(sttcp_client_wait(waiting.client, 0), STTCP_EDESTROYED);
		assert_int_equal(sttcp_client_wait_open(waiting.client, 0), STTCP_EDESTROYED);
		waiting_close(&waiting);
	}
}

static void client_can_be_started_after_that(void **state)
{
	struct waiting waiting;

	(void)state;
	waiting_open(&waiting);
	sttcp_client_close(waiting.client);
	assert_int_equal(sttcp_client_start(waiting.client), 0);
	assert_true(probe_wait(waiting.probe, STTCP_UNCONNECTED, 2));
	sttcp_client_close(waiting.client);
	assert_int_equal(sttcp_client_wait(waiting.client, 0), STTCP_EDESTROYED);
	sttcp_client_free(waiting.client);
	peer_close(waiting.refusing);
	probe_free(waiting.probe);
}

static bool say_no(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	(void)conn;
	return false;
}

/* The attempt that was due then is forgotten: it does not keep the next run from its end. */
static void run_after_that_ends_by_itself(void **state)
{
	struct waiting waiting;

	(void)state;
	waiting_open(&waiting);
	assert_int_equal(sttcp_client_close(waiting.client), 0);
	assert_int_equal(listen(waiting.refusing, 8), 0);
	over_tls_listen(waiting.refusing);
	waiting.probe->connection = say_no;
	assert_int_equal(sttcp_client_start(waiting.client), 0);
	assert_int_equal(sttcp_client_wait(waiting.client, DEADLINE_MS), 0);
	assert_string_equal(probe_order(waiting.probe), "uUcCdD");
	sttcp_client_free(waiting.client);
	peer_close(waiting.refusing);
	probe_free(waiting.probe);
}

static void free_between_attempts_releases(void **state)
{
	struct waiting waiting;

	(void)state;
	for (int i = 0; i < 50; i++) {
		waiting_open(&waiting);
		waiting_close(&waiting);
	}
}

/* It is as busy as one that is connected. */
static void client_between_attempts_is_started(void **state)
{
	struct waiting waiting;

	(void)state;
	waiting_open(&waiting);
	assert_int_equal(sttcp_client_wait(waiting.client, 20), -ETIMEDOUT);
	assert_int_equal(sttcp_client_wait_open(waiting.client, 20), -ETIMEDOUT);
	assert_null(sttcp_client_conn(waiting.client));
	assert_int_equal(sttcp_engine_shutdown(), -EBUSY);
	assert_int_equal(sttcp_client_start(waiting.client), -EBUSY);
	assert_int_equal(sttcp_client_set_context(waiting.client, NULL), -EBUSY);
	assert_int_equal(sttcp_client_close(waiting.client), 0);
	/* Not at once: the last handler's thread may still be on its way out. */
	int result = -EBUSY;
	EVENTUALLY((result = sttcp_engine_shutdown()) != -EBUSY);
	assert_int_equal(result, 0);
	waiting_close(&waiting);
}

/* G15: nothing wakes up between two attempts. */
static void nothing_moves_between_attempts(void **state)
{
	struct waiting waiting;

	(void)state;
	waiting_open(&waiting);
	if (UNDER_TSAN)
		print_message("the thread sanitizer's own thread never sleeps: not measured\n");
	else
		expect_silence();
	waiting_close(&waiting);
}

/* G17: in the child it is the parent's; and clients of the child's own do the same. */
static void forked_child_has_clients_of_its_own(void **state)
{
	struct waiting waiting;

	(void)state;
	waiting_open(&waiting);
	pid_t pid = process_fork();
	if (pid == 0) {
		CHECK(sttcp_client_wait_open(waiting.client, -1) == STTCP_EFORK);
		CHECK(sttcp_client_send(waiting.client, "x", 1, -1) == STTCP_EFORK);
		CHECK(sttcp_client_send_message(waiting.client, "x", 1, -1) == STTCP_EFORK);
		CHECK(sttcp_client_wait(waiting.client, -1) == STTCP_EFORK);
		sttcp_client_free(waiting.client);

		sttcp_client *own =
			sttcp_client_new("unix:/nowhere/at/all", 0,
					 STTCP_OPTIONS(.reconnect_ms = 1, .reconnect_max_ms = 20,
						       .reconnect_tries = 3));
		CHECK(sttcp_client_start(own) == 0);
		CHECK(sttcp_client_wait(own, DEADLINE_MS) == -ENOENT);
		sttcp_client_free(own);
		_exit(0);
	}
	assert_int_equal(process_wait_pid(pid), 0);
	assert_int_equal(sttcp_client_wait(waiting.client, 0), -ETIMEDOUT);
	waiting_close(&waiting);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(close_between_attempts_runs_no_handler),
		cmocka_unit_test(client_can_be_started_after_that),
		cmocka_unit_test(run_after_that_ends_by_itself),
		cmocka_unit_test(free_between_attempts_releases),
		cmocka_unit_test(client_between_attempts_is_started),
		cmocka_unit_test(nothing_moves_between_attempts),
		cmocka_unit_test(forked_child_has_clients_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
