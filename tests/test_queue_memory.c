/* SPDX-License-Identifier: MIT */
/* G13: the cap of a queue is one on memory: what a slow peer takes is close to what is queued for
 * it, in however small parts it was sent. */
#include "support/support.h"

#include <sys/socket.h>

enum {
	CAP = 1024 * 1024,
	/* Beside 8/7 of what is queued: the head and the tail of the queue (base/bytes.h), and what
	 * the library and the test have of their own. */
	CONSTANT = 64 * 1024,
	/* TLS: records that the socket did not take, and OpenSSL's buffers. */
	RECORDS = 4 * 17 * 1024 + 2 * 17 * 1024
};

/* One step of filling a queue, by main; whether it was taken. */
typedef bool step_fn(struct pair *pair, int step);

static const char bytes[8192] = "12345678";

static bool broadcast_tiny(struct pair *pair, int step)
{
	return sttcp_server_broadcast(pair->server, bytes, 1 + (size_t)step % 8) == 1;
}

static bool broadcast_messages(struct pair *pair, int step)
{
	return sttcp_server_broadcast_message(pair->server, NULL, bytes, 1 + (size_t)step % 8) == 1;
}

static bool broadcast_mixed(struct pair *pair, int step)
{
	size_t size = step % 2 ? 4096 : 1;

	return sttcp_server_broadcast(pair->server, bytes, size) == 1;
}

static bool try_tiny(struct pair *pair, int step)
{
	return sttcp_conn_try_send(pair->conn, bytes, 1 + (size_t)step % 8) == 0;
}

/* It may not come to the cap: there sendv waits. */
static bool send_tiny_parts(struct pair *pair, int step)
{
	struct iovec parts[1000];
	sttcp_conn_counts counts;

	(void)step;
	for (int i = 0; i < 1000; i++)
		parts[i] = (struct iovec){(void *)(uintptr_t)(bytes + i), 1};
	return sttcp_conn_stats(pair->conn, &counts, sizeof(counts)) == 0 &&
	       counts.queued < CAP - 1000 && sttcp_conn_sendv(pair->conn, parts, 1000) == 0;
}

static void fill(step_fn *step, const char *name)
{
	struct pair pair = {.probe = probe_new()};
	sttcp_conn_counts counts = {0};

	pair.probe->connection = narrow;
	pair.server = probe_listen(pair.probe,
				   STTCP_OPTIONS(.write_timeout_ms = -1, .broadcast_skips = true));
	pair.peer = peer_connect_narrow(sttcp_server_port(pair.server));
	EVENTUALLY(sttcp_server_count(pair.server) == 1);
	pair.conn = sttcp_server_find(pair.server, probe_last_id(pair.probe));

	size_t constant = CONSTANT + (over_tls() ? RECORDS : 0);
	size_t before = bytes_in_use();

	for (int i = 0; step(&pair, i); i++) {
		if (i % 1021)
			continue;
		assert_int_equal(sttcp_conn_stats(pair.conn, &counts, sizeof(counts)), 0);
		/* The peer's TLS may still let go of what its handshake took. */
		int64_t used = (int64_t)bytes_in_use() - (int64_t)before;

		if (used > counts.queued * 8 / 7 + (int64_t)constant)
			fail_msg("%s: %lld bytes of memory for %lld", name, (long long)used,
				 (long long)counts.queued);
	}
	assert_int_equal(sttcp_conn_stats(pair.conn, &counts, sizeof(counts)), 0);
	assert_true(counts.queued > CAP * 9 / 10 && counts.queued <= CAP);
	pair_close(&pair);
}

static void a_slow_peer_takes_little_more_than_is_queued(void **state)
{
	(void)state;
	if (!memory_is_measured())
		skip();
	fill(broadcast_tiny, "broadcasts of 1 to 8 bytes");
	fill(broadcast_messages, "messages of 1 to 8 bytes");
	fill(broadcast_mixed, "broadcasts, small and large");
	fill(try_tiny, "sends of 1 to 8 bytes");
	fill(send_tiny_parts, "parts of a byte");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_slow_peer_takes_little_more_than_is_queued),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
