/* SPDX-License-Identifier: MIT */
/* sttcp_engine_shutdown beside starts, stops, forks and another one of its kind, in a process of
 * its own. */
#include "support/stock.h"

static atomic_bool going = true;
static atomic_long ends; /* shutdowns that found nothing started */

static void *shut_down(void *unused)
{
	while (atomic_load(&going)) {
		int code = sttcp_engine_shutdown();

		CHECK(code == 0 || code == -EBUSY);
		if (code == 0)
			atomic_fetch_add(&ends, 1);
	}
	return unused;
}

static void *start_and_stop(void *server)
{
	uint32_t random = (uint32_t)(uintptr_t)server;

	while (atomic_load(&going)) {
		CHECK(sttcp_server_start(server) == 0);
		int peer = echoing_peer(server);
		CHECK(sttcp_server_stop_within(server, next_random(&random) % 2 ? 0 : 1, NULL) ==
		      0);
		peer_close(peer);
		/* By force, a handler may still be on its way out. */
		COMES(sttcp_server_stop(server) == 0 && sttcp_server_count(server) == 0);
	}
	return NULL;
}

static void *run_clients(void *unused)
{
	int port;
	int listener = peer_listen(&port, 16);

	while (atomic_load(&going)) {
		sttcp_client *client = sttcp_client_new("127.0.0.1", port, NULL);

		CHECK(sttcp_client_start(client) == 0);
		int peer = peer_accept(listener);
		sttcp_client_free(client);
		peer_close(peer);
	}
	peer_close(listener);
	return unused;
}

static void no_op(sttcp_conn *conn, void *argument)
{
	(void)conn;
	(void)argument;
}

static void *look_on(void *server)
{
	sttcp_stats stats;

	while (atomic_load(&going)) {
		CHECK(sttcp_server_stats(server, &stats, sizeof(stats)) == 0);
		CHECK(sttcp_server_each(server, no_op, NULL) >= 0);
		CHECK(sttcp_server_request_stop(server) == 0);
		sttcp_conn_unref(sttcp_server_find(server, 1));
	}
	return NULL;
}

/* The sanitizers' allocators do not survive a fork while other threads allocate: their locks stay
 * held in the child, and the first malloc there never comes back. */
enum {
	CAN_FORK = !UNDER_ASAN && !UNDER_TSAN
};

static int do_all_at_once(void)
{
	struct stock before = take_stock();
	sttcp_server *servers[2] = {server_with(echo, NULL), server_with(echo, NULL)};
	sttcp_server *own = NULL;
	pthread_t threads[7];

	CHECK(pthread_create(&threads[0], NULL, shut_down, NULL) == 0);
	CHECK(pthread_create(&threads[1], NULL, shut_down, NULL) == 0);
	CHECK(pthread_create(&threads[2], NULL, start_and_stop, servers[0]) == 0);
	CHECK(pthread_create(&threads[3], NULL, run_clients, NULL) == 0);
	CHECK(pthread_create(&threads[4], NULL, look_on, servers[1]) == 0);
	/* OpenSSL's locks may stay held in the child, too. */
	bool forks = CAN_FORK && !over_tls();
	if (!forks)
		fprintf(stderr, "forks left out: a lock of %s may be held there for ever\n",
			CAN_FORK ? "OpenSSL's" : "the sanitizer's allocator");
	for (int round = 0; round < 40 && forks; round++) {
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (pid == 0) {
			own = echo_server(NULL);
			peer_close(echoing_peer(own));
			CHECK(sttcp_server_stop_within(own, 0, NULL) == 0);
			COMES(sttcp_engine_shutdown() == 0);
			_exit(0);
		}
		CHECK(process_wait_pid(pid) == 0);
	}
	COMES(atomic_load(&ends) > 20);
	atomic_store(&going, false);
	for (int i = 0; i < 5; i++)
		pthread_join(threads[i], NULL);
	CHECK(sttcp_engine_shutdown() == 0);
	check_stock(before);
	sttcp_server_free(servers[0]);
	sttcp_server_free(servers[1]);
	return 0;
}

static void shutdown_beside_starts_forks_and_another_one(void **state)
{
	(void)state;
	assert_int_equal(process_run("do_all_at_once"), 0);
}

static const struct child children[] = {
	{"do_all_at_once", do_all_at_once},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shutdown_beside_starts_forks_and_another_one),
	};

	if (argc == 2)
		return child_main(children, argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
