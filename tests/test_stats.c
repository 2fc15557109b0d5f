/* SPDX-License-Identifier: MIT */
/* What a server's counters tell while connections come and go. */
#include "support/support.h"

enum {
	/* A look at all of them takes long enough for others to end meanwhile. */
	IDLE = 400,
	BYTES = 20000,
	LOOKS = 2000
};

static atomic_bool enough;

static void *come_and_go(void *argument)
{
	static char bytes[BYTES];
	int port = *(int *)argument;

	while (!atomic_load(&enough)) {
		int peer = peer_connect(port);

		if (peer < 0)
			continue;
		ignore(peer_send(peer, bytes, BYTES));
		peer_shutdown(peer);
		ignore(peer_end(peer));
		peer_close(peer);
	}
	return NULL;
}

static void counters_never_go_back(void **state)
{
	struct probe *probe = probe_new();
	sttcp_server *server = probe_listen(probe, NULL);
	int port = sttcp_server_port(server);
	sttcp_stats last, now;
	pthread_t threads[2];
	int peers[IDLE];

	(void)state;
	for (int i = 0; i < IDLE; i++)
		peers[i] = peer_connect(port);
	EVENTUALLY(sttcp_server_count(server) == IDLE);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, &port), 0);
	assert_int_equal(sttcp_server_stats(server, &last, sizeof(last)), 0);
	for (int i = 0; i < LOOKS; i++) {
		assert_int_equal(sttcp_server_stats(server, &now, sizeof(now)), 0);
		assert_true(now.bytes_in >= last.bytes_in);
		assert_true(now.messages_in >= last.messages_in);
		assert_true(now.total >= last.total);
		last = now;
	}
	atomic_store(&enough, true);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < IDLE; i++)
		peer_close(peers[i]);
	sttcp_server_free(server);
	probe_free(probe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counters_never_go_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
