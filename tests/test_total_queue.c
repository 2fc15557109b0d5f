/* SPDX-License-Identifier: MIT */
/* G13 for all connections together: the cap that they share, members that miss a broadcast,
 * handlers that wait for each other, and what all of it is for: a server's memory. */
#include "support/support.h"

#include <signal.h>
#include <sys/socket.h>

static int64_t queued_of_all(sttcp_server *server)
{
	sttcp_stats stats;

	return sttcp_server_stats(server, &stats, sizeof(stats)) == 0 ? stats.queued : -1;
}

/* ------------------------------------------------------------ all together */

enum {
	CROWD = 12,
	TOTAL = 1024 * 1024,
	CAP_OF_ONE = 512 * 1024,
	LONG = 768 * 1024
};

struct talker {
	sttcp_conn *conn;
	int peer;
	int result;
	pthread_t thread;
};

static unsigned char long_text[LONG];

static void *talk(void *argument)
{
	struct talker *talker = argument;

	talker->result = sttcp_conn_send(talker->conn, long_text, sizeof(long_text));
	return NULL;
}

static void talker_open(struct talker *talker, struct probe *probe, sttcp_server *server)
{
	int before = sttcp_server_count(server);

	talker->result = 1;
	talker->peer = peer_connect_narrow(sttcp_server_port(server));
	assert_true(talker->peer >= 0);
	EVENTUALLY(sttcp_server_count(server) == before + 1);
	talker->conn = sttcp_server_find(server, probe_last_id(probe));
	assert_non_null(talker->conn);
}

static void talker_close(struct talker *talker)
{
	sttcp_conn_unref(talker->conn);
	peer_close(talker->peer);
}

/* The others hold the whole budget: who has nothing queued can still send what the kernel takes. */
static void lone_talker_can_speak(struct probe *probe, sttcp_server *server)
{
	struct talker lone;
	char part[4096];
	unsigned taken = 0;

	talker_open(&lone, probe, server);
	assert_int_equal(sttcp_conn_send(lone.conn, "send ", 5), 0);
	assert_int_equal(sttcp_conn_try_send(lone.conn, "try ", 4), 0);
	assert_true(peer_expect(lone.peer, "send try "));
	int result = 0;
	while (result == 0 && taken < 10000) {
		memset(part, (int)(taken % 251), sizeof(part));
		result = sttcp_conn_try_send(lone.conn, part, sizeof(part));
		taken += result == 0;
	}
	assert_int_equal(result, -EAGAIN);
	assert_true(queued_of_all(server) <= TOTAL + (int64_t)sizeof(part));
	for (unsigned i = 0; i < taken; i++) {
		assert_true(peer_recv(lone.peer, part, sizeof(part)));
		assert_int_equal((unsigned char)part[0], i % 251);
		assert_int_equal((unsigned char)part[sizeof(part) - 1], i % 251);
	}
	assert_true(peer_quiet(lone.peer, 20)); /* -EAGAIN took nothing */
	/* A long send, while its peer reads. */
	assert_int_equal(pthread_create(&lone.thread, NULL, talk, &lone), 0);
	for (size_t at = 0; at < LONG; at += sizeof(part)) {
		assert_true(peer_recv(lone.peer, part, sizeof(part)));
		assert_memory_equal(part, long_text + at, sizeof(part));
	}
	pthread_join(lone.thread, NULL);
	assert_int_equal(lone.result, 0);
	talker_close(&lone);
}

static void total_holds_for_all_together(void **state)
{
	struct probe *probe = probe_new();
	struct talker talkers[CROWD];
	static unsigned char got[LONG];

	(void)state;
	probe->connection = narrow;
	sttcp_server *server = probe_listen(
		probe, STTCP_OPTIONS(.send_queue_max = CAP_OF_ONE, .total_queue_max = TOTAL));
	fill_pattern(long_text, sizeof(long_text), 3);
	for (int i = 0; i < CROWD; i++)
		talker_open(&talkers[i], probe, server);
	for (int i = 0; i < CROWD; i++)
		assert_int_equal(pthread_create(&talkers[i].thread, NULL, talk, &talkers[i]), 0);
	EVENTUALLY(queued_of_all(server) == TOTAL);
	for (int i = 0; i < 30; i++) {
		assert_true(queued_of_all(server) <= TOTAL);
		nap_ms(2);
	}
	for (int i = 0; i < CROWD; i++) {
		EVENTUALLY(sttcp_conn_try_send(talkers[i].conn, "x", 1) == -EAGAIN);
		assert_true(conn_queued(talkers[i].conn) <= CAP_OF_ONE);
	}
	lone_talker_can_speak(probe, server);
	for (int i = 0; i < CROWD; i++) {
		assert_true(peer_recv(talkers[i].peer, got, sizeof(got)));
		assert_memory_equal(got, long_text, sizeof(got));
		pthread_join(talkers[i].thread, NULL);
		assert_int_equal(talkers[i].result, 0);
	}
	EVENTUALLY(queued_of_all(server) == 0);
	/* Nothing of the budget got lost: once more. */
	assert_int_equal(sttcp_conn_try_send(talkers[0].conn, long_text, CAP_OF_ONE), 0);
	assert_int_equal(sttcp_conn_abort(talkers[0].conn), 0);
	EVENTUALLY(queued_of_all(server) == 0);
	assert_int_equal(sttcp_conn_try_send(talkers[1].conn, long_text, CAP_OF_ONE), 0);
	for (int i = 0; i < CROWD; i++)
		talker_close(&talkers[i]);
	sttcp_server_free(server);
	probe_free(probe);
}

/* ---------------------------------------------------------------- broadcasts */

enum {
	ROUNDS = 300,
	CHUNK = 16 * 1024
};

/* The fast member gets all, the slow one whole messages in order, and stays. */
static void check_skipping(const sttcp_options *options)
{
	struct probe *probe = probe_new();
	static uint32_t chunk[CHUNK / 4];
	static uint32_t got[CHUNK / 4];
	struct talker fast;
	struct talker slow;
	int taken = 0;

	probe->connection = narrow;
	sttcp_server *server = probe_listen(probe, options);
	talker_open(&fast, probe, server);
	talker_open(&slow, probe, server);
	for (uint32_t i = 0; i < ROUNDS; i++) {
		for (size_t at = 0; at < CHUNK / 4; at++)
			chunk[at] = i;
		int reached = sttcp_server_broadcast(server, chunk, sizeof(chunk));
		assert_true(reached == 1 || reached == 2);
		taken += reached == 2;
		assert_true(peer_recv(fast.peer, got, sizeof(got)));
		assert_memory_equal(got, chunk, sizeof(got));
	}
	assert_true(taken > 0 && taken < ROUNDS);
	for (int64_t last = -1; taken > 0; taken--) {
		assert_true(peer_recv(slow.peer, got, sizeof(got)));
		assert_true((int64_t)got[0] > last && got[0] < ROUNDS);
		last = got[0];
		for (size_t at = 0; at < CHUNK / 4; at++)
			assert_int_equal(got[at], got[0]);
	}
	EVENTUALLY(conn_queued(slow.conn) == 0);
	assert_int_equal(sttcp_server_broadcast(server, "end", 3), 2);
	assert_true(peer_expect(slow.peer, "end"));
	assert_true(peer_expect(fast.peer, "end"));
	assert_int_equal(probe_count(probe, STTCP_DISCONNECTION), 0);
	talker_close(&fast);
	talker_close(&slow);
	sttcp_server_free(server);
	probe_free(probe);
}

static void slow_member_misses_messages_and_stays(void **state)
{
	(void)state;
	check_skipping(STTCP_OPTIONS(.send_queue_max = 64 * 1024, .broadcast_skips = true));
}

/* A budget with no room for one message: still no member gets half of one. */
static void slow_member_misses_whole_messages_only(void **state)
{
	(void)state;
	check_skipping(STTCP_OPTIONS(.total_queue_max = 1024, .broadcast_skips = true));
}

/* What can never be queued is missed by all, rather than sent in part. */
static void message_over_the_cap_is_missed_by_all(void **state)
{
	struct pair pair = {0};
	static char large[64 * 1024 + 1];

	(void)state;
	pair_open(&pair, STTCP_OPTIONS(.send_queue_max = 64 * 1024, .broadcast_skips = true));
	assert_int_equal(sttcp_server_broadcast(pair.server, large, sizeof(large)), 0);
	assert_int_equal(sttcp_server_broadcast(pair.server, "x", 1), 1);
	assert_true(peer_expect(pair.peer, "x"));
	pair_close(&pair);
}

/* ------------------------------------------------------- two that wait for each other */

struct cross {
	sttcp_conn *conns[2];
	atomic_int results[2];
	struct event inside;
};

/* Sends into the other one's connection, more than goes in. */
static bool send_across(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	static char large[4 << 20];
	struct cross *cross = probe->extra;
	int other = conn == cross->conns[0];

	(void)data;
	(void)size;
	/* Together: of one whose queue is full nothing is read, and no handler would run. */
	event_raise(&cross->inside);
	event_wait(&cross->inside, 2);
	atomic_store(&cross->results[other],
		     sttcp_conn_send(cross->conns[other], large, sizeof(large)));
	return true;
}

static void handlers_that_wait_for_each_other_end_by_the_write_timeout(void **state)
{
	struct probe *probe = probe_new();
	struct cross cross = {.results = {1, 1}, .inside = EVENT_INIT};
	struct talker talkers[2];

	(void)state;
	probe->connection = narrow;
	probe->data = send_across;
	probe->extra = &cross;
	sttcp_server *server = probe_listen(probe, STTCP_OPTIONS(.write_timeout_ms = 300));
	for (int i = 0; i < 2; i++) {
		talker_open(&talkers[i], probe, server);
		cross.conns[i] = talkers[i].conn;
	}
	int64_t begin = now_ms();
	for (int i = 0; i < 2; i++)
		assert_true(peer_say(talkers[i].peer, "x"));
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 2));
	assert_true(now_ms() - begin >= 300);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(atomic_load(&cross.results[i]), STTCP_ETIME_WRITE);
		assert_int_equal(sttcp_conn_reason(talkers[i].conn), STTCP_ETIME_WRITE);
		talker_close(&talkers[i]);
	}
	sttcp_server_free(server);
	probe_free(probe);
}

/* -------------------------------------------------------------------- memory */

enum {
	FLOODERS = 200,
	FLOOD_TOTAL = 4 * 1024 * 1024,
	/* Beside the budget: each of them may hold up a thread, with its stack and 60 KiB to read
	 * into. */
	PER_FLOODER = 100 * 1024,
	/* TLS: OpenSSL's buffers for a record read and one written, and what the socket did not
	 * take of a record. */
	RECORDS = 3 * 17 * 1024,
	FLOOD_MS = 3000,
	PINGS = 10
};

static void echo(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)context;
	sttcp_conn_send(conn, data, size);
}

static int run_echo_server(void)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0,
						STTCP_OPTIONS(.send_queue_max = 64 * 1024,
							      .total_queue_max = FLOOD_TOTAL,
							      .drain_timeout_ms = 100));

	CHECK(sttcp_server_on_receive(server, echo) == 0);
	CHECK(sttcp_server_start(server) == 0);
	tell("port %d", sttcp_server_port(server));
	CHECK(sttcp_server_keep_alive(server) == 0);
	sttcp_server_free(server);
	return 0;
}

static int64_t resident(pid_t pid)
{
	char path[64];
	long pages = 0;

	snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	FILE *file = fopen(path, "re");
	assert_non_null(file);
	assert_int_equal(fscanf(file, "%*d %ld", &pages), 1);
	fclose(file);
	return (int64_t)pages * sysconf(_SC_PAGESIZE);
}

/* 200 peers that send for three seconds, or as long as ten answers take, and never read: the memory
 * stays within its bounds, and others are served. */
static void flood_is_bounded(void **state)
{
	static char block[64 * 1024];
	struct process server;
	int flooders[FLOODERS];
	int64_t bound = PER_FLOODER + (over_tls() ? RECORDS : 0);
	int64_t most = 0;
	long pings = 0;

	(void)state;
	assert_true(process_start(&server, "echo_server"));
	int port = process_number(&server, "port ");
	assert_true(port > 0);
	int other = peer_connect(port);
	for (int i = 0; i < FLOODERS; i++) {
		flooders[i] = peer_connect(port);
		assert_true(flooders[i] >= 0);
	}
	/* A handshake takes more than a flooder ever does. */
	for (int i = 0; i < FLOODERS; i++)
		assert_true(over_tls_settle(flooders[i], now_ms() + DEADLINE_MS));
	assert_true(peer_say(other, "x") && peer_expect(other, "x"));
	int64_t before = resident(server.pid);
	for (int64_t begin = now_ms(); now_ms() - begin < FLOOD_MS || pings < PINGS;) {
		for (int i = 0; i < FLOODERS; i++)
			send(flooders[i], block, sizeof(block), MSG_DONTWAIT | MSG_NOSIGNAL);
		assert_true(peer_say(other, "ping") && peer_expect(other, "ping"));
		pings++;
		int64_t grown = resident(server.pid) - before;
		most = grown > most ? grown : most;
	}
	print_message("grown by %lld KiB, %ld pings\n", (long long)most / 1024, pings);
	if (!UNDER_ASAN && !UNDER_TSAN)
		assert_true(most <= FLOOD_TOTAL + FLOODERS * bound);
	for (int i = 0; i < FLOODERS; i++)
		peer_close(flooders[i]);
	assert_true(peer_say(other, "after") && peer_expect(other, "after"));
	peer_close(other);
	kill(server.pid, SIGTERM);
	assert_int_equal(process_wait(&server), 0);
}

static const struct child children[] = {{"echo_server", run_echo_server}, {NULL, NULL}};

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(total_holds_for_all_together),
		cmocka_unit_test(slow_member_misses_messages_and_stays),
		cmocka_unit_test(slow_member_misses_whole_messages_only),
		cmocka_unit_test(message_over_the_cap_is_missed_by_all),
		cmocka_unit_test(handlers_that_wait_for_each_other_end_by_the_write_timeout),
		cmocka_unit_test(flood_is_bounded),
	};

	if (argc > 1)
		return child_main(children, argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
