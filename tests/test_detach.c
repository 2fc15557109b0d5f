/* SPDX-License-Identifier: MIT */
/* detach: the descriptor is the caller's, and when it is refused. */
#include "support/support.h"

#include <fcntl.h>

static bool detach_at_data(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	atomic_int *fd = probe->extra;

	(void)data;
	(void)size;
	sttcp_conn_send(conn, "switching", 9);
	atomic_store(fd, sttcp_conn_detach(conn));
	return true;
}

static void detach_gives_the_blocking_descriptor_away(void **state)
{
	(void)state;
	for (int inside = 0; inside < 2; inside++) {
		struct pair pair = {.probe = probe_new()};
		atomic_int fd;
		char got[8];

		atomic_init(&fd, -1);
		pair.probe->extra = &fd;
		pair.probe->data = inside ? detach_at_data : NULL;
		pair_open(&pair, NULL);
		assert_true(peer_say(pair.peer, "x"));
		assert_true(probe_wait(pair.probe, STTCP_RECEIVE, 1));
		if (inside) {
			assert_true(peer_expect(pair.peer, "switching"));
		} else {
			int result;
			EVENTUALLY((result = sttcp_conn_detach(pair.conn)) != -EBUSY);
			atomic_store(&fd, result);
		}
		assert_true(atomic_load(&fd) >= 0);
		assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
		assert_int_equal(probe_reason(pair.probe), STTCP_ECLOSED);
		assert_int_equal(sttcp_conn_send(pair.conn, "x", 1), STTCP_ECLOSED);
		assert_int_equal(sttcp_conn_fd(pair.conn), -1);
		sttcp_server_free(pair.server);
		pair.server = NULL;
		assert_int_equal(fcntl(atomic_load(&fd), F_GETFL) & O_NONBLOCK, 0);
		assert_true(peer_send(atomic_load(&fd), "mine now", 8));
		assert_true(peer_expect(pair.peer, "mine now"));
		assert_true(peer_say(pair.peer, "yours"));
		assert_true(peer_recv(atomic_load(&fd), got, 5));
		assert_memory_equal(got, "yours", 5);
		close(atomic_load(&fd));
		assert_int_equal(peer_end(pair.peer), 0);
		pair_close(&pair);
	}
}

static struct event detach_gate = EVENT_INIT;

static bool block_at_data(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)conn;
	(void)data;
	(void)size;
	event_raise(probe->extra);
	event_wait(&detach_gate, 1);
	return true;
}

static void detach_is_busy_while_another_thread_handles(void **state)
{
	struct pair pair = {.probe = probe_new()};
	struct event inside = EVENT_INIT;

	(void)state;
	pair.probe->extra = &inside;
	pair.probe->data = block_at_data;
	pair_open(&pair, NULL);
	assert_true(peer_say(pair.peer, "x"));
	assert_true(event_wait(&inside, 1));
	assert_int_equal(sttcp_conn_detach(pair.conn), -EBUSY);
	assert_true(sttcp_conn_is_open(pair.conn));
	event_raise(&detach_gate);
	pair_close(&pair);
}

static void detach_wants_an_empty_queue(void **state)
{
	static char part[64 * 1024];
	struct pair pair = {.probe = probe_new()};

	(void)state;
	pair_open(&pair, NULL);
	while (sttcp_conn_try_send(pair.conn, part, sizeof(part)) == 0)
		;
	int result = 0;
	EVENTUALLY((result = sttcp_conn_detach(pair.conn)) != -EBUSY);
	assert_int_equal(result, -EAGAIN);
	assert_true(sttcp_conn_is_open(pair.conn));
	sttcp_conn_abort(pair.conn);
	pair_close(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(detach_gives_the_blocking_descriptor_away),
		cmocka_unit_test(detach_is_busy_while_another_thread_handles),
		cmocka_unit_test(detach_wants_an_empty_queue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
