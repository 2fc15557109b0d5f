/* SPDX-License-Identifier: MIT */
/* G14: each limit on time ends a connection in its own reason, not before its time, and rests while
 * a handler runs or the connection is paused. Lower bounds are exact. */
#include "support/support.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum {
	LIMIT = 200,
	/* A machine at work on other things may be late by as much. */
	LATE = DEADLINE_MS
};

/* It ends for this reason, `limit` after `begin`. */
static void expect_end(struct pair *pair, int reason, int64_t begin, int limit)
{
	assert_true(probe_wait(pair->probe, STTCP_DISCONNECTION, 1));
	int64_t took = now_ms() - begin;
	assert_int_equal(probe_reason(pair->probe), reason);
	assert_true(took >= limit);
	assert_true(took < limit + LATE);
}

static void expect_open(struct pair *pair)
{
	assert_int_equal(probe_count(pair->probe, STTCP_DISCONNECTION), 0);
	assert_true(sttcp_conn_is_open(pair->conn));
}

/* ------------------------------------------------------------- each limit */

static bool say_hello(struct probe *probe, sttcp_conn *conn)
{
	if (sttcp_conn_send(conn, "hello", 5) < 0)
		probe_violate(probe, "nothing can be sent");
	return true;
}

static void g14_first_byte_ends_who_never_speaks(void **state)
{
	struct pair pair = {.probe = probe_new()};
	int64_t begin = now_ms();

	(void)state;
	/* What goes out does not count. */
	pair.probe->connection = say_hello;
	pair_open(&pair, STTCP_OPTIONS(.first_byte_timeout_ms = LIMIT));
	expect_end(&pair, STTCP_ETIME_FIRST_BYTE, begin, LIMIT);
	assert_true(peer_expect(pair.peer, "hello"));
	assert_int_equal(peer_end(pair.peer), 0); /* an orderly close */
	pair_close(&pair);
}

static void g14_first_byte_is_enough(void **state)
{
	struct pair pair = {.probe = probe_new()};

	(void)state;
	pair.probe->connection = start_paused;
	pair_open(&pair, STTCP_OPTIONS(.first_byte_timeout_ms = LIMIT));
	assert_true(peer_say(pair.peer, "x"));
	sttcp_conn_resume(pair.conn);
	assert_true(peer_quiet(pair.peer, 3 * LIMIT));
	expect_open(&pair);
	pair_close(&pair);
}

static void g14_idle_ends_who_is_silent(void **state)
{
	struct pair pair = {0};
	int64_t begin = now_ms();

	(void)state;
	pair_open(&pair, STTCP_OPTIONS(.idle_timeout_ms = LIMIT));
	expect_end(&pair, STTCP_ETIME_IDLE, begin, LIMIT);
	assert_int_equal(peer_end(pair.peer), 0);
	pair_close(&pair);
}

/* Half a message is no sign of life: each look at the limit finds it held, and ends all the same.
 */
static void g14_idle_ends_who_stops_in_a_message(void **state)
{
	const sttcp_options framings[] = {
		*STTCP_OPTIONS(.idle_timeout_ms = LIMIT, .framing = STTCP_FRAMING_LINE),
		*STTCP_OPTIONS(.idle_timeout_ms = LIMIT, .framing = STTCP_FRAMING_LENGTH),
		*STTCP_OPTIONS(.idle_timeout_ms = LIMIT, .framing = STTCP_FRAMING_LINE,
			       .message_timeout_ms = 60000),
	};

	(void)state;
	for (size_t i = 0; i < sizeof(framings) / sizeof(framings[0]); i++) {
		struct pair pair = {.probe = probe_new()};

		pair.probe->connection = start_paused;
		pair_open(&pair, &framings[i]);
		assert_true(peer_send(pair.peer, "\0\0\0\4ha", 6));
		int64_t begin = now_ms();
		sttcp_conn_resume(pair.conn);
		expect_end(&pair, STTCP_ETIME_IDLE, begin, LIMIT);
		assert_int_equal(probe_count(pair.probe, STTCP_RECEIVE), 0);
		assert_int_equal(peer_end(pair.peer), 0);
		pair_close(&pair);
	}
}

/* Bytes in one direction are enough, whichever it is. */
static void g14_idle_counts_bytes_of_both_directions(void **state)
{
	enum {
		IDLE = 800
	};

	(void)state;
	for (int out = 0; out < 2;) {
		struct pair pair = {0};

		pair_open(&pair, STTCP_OPTIONS(.idle_timeout_ms = IDLE));

		int64_t begin = now_ms(), last = begin, longest = 0;
		bool said = true;

		while (said && now_ms() - begin < 2 * IDLE) {
			nap_ms(50);
			longest = now_ms() - last > longest ? now_ms() - last : longest;
			last = now_ms();
			said = out ? sttcp_conn_send(pair.conn, "x", 1) == 0
				   : peer_say(pair.peer, "x");
		}
		/* Not where this process had no CPU for so long that a byte was late. */
		if (longest <= IDLE / 2 && now_ms() - last <= IDLE / 2) {
			assert_true(said);
			expect_open(&pair);
			expect_end(&pair, STTCP_ETIME_IDLE, last, IDLE);
			out++;
		}
		pair_close(&pair);
	}
}

static void g14_idle_ends_a_client_too(void **state)
{
	int port;
	int listener = peer_listen(&port, 1);
	struct probe *probe = probe_new();
	int64_t begin = now_ms();
	sttcp_client *client = probe_dial(probe, port, STTCP_OPTIONS(.idle_timeout_ms = LIMIT));
	int peer = peer_accept(listener);

	(void)state;
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	assert_true(now_ms() - begin >= LIMIT);
	assert_int_equal(probe_reason(probe), STTCP_ETIME_IDLE);
	assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), STTCP_ETIME_IDLE);
	assert_int_equal(peer_end(peer), 0);
	peer_close(peer);
	peer_close(listener);
	sttcp_client_free(client);
	probe_free(probe);
}

/* One byte after the other is no message. */
static void g14_message_ends_who_drips(void **state)
{
	struct pair pair = {0};

	(void)state;
	pair_open(&pair, STTCP_OPTIONS(.message_timeout_ms = LIMIT, .framing = STTCP_FRAMING_LINE));
	assert_true(peer_say(pair.peer, "whole\n"));
	assert_true(peer_quiet(pair.peer, 2 * LIMIT)); /* between messages there is no limit */
	expect_open(&pair);
	int64_t begin = now_ms();
	while (probe_count(pair.probe, STTCP_DISCONNECTION) == 0 && now_ms() - begin < LATE) {
		peer_say(pair.peer, "x");
		nap_ms(10);
	}
	expect_end(&pair, STTCP_ETIME_MESSAGE, begin, LIMIT);
	pair_close(&pair);
}

static void wait_shortly(sttcp_conn *conn, void *context)
{
	(void)conn;
	(void)context;
	sttcp_sleep(5);
}

/* A heartbeat, one that waits, too, is no progress of the message. */
static void g14_message_ends_beside_tasks_that_wait(void **state)
{
	struct pair pair = {0};

	(void)state;
	pair_open(&pair,
		  STTCP_OPTIONS(.message_timeout_ms = 2 * LIMIT, .framing = STTCP_FRAMING_LINE));
	assert_true(sttcp_conn_every(pair.conn, LIMIT / 4, wait_shortly, NULL, NULL) > 0);
	int64_t begin = now_ms();
	assert_true(peer_say(pair.peer, "begun"));
	expect_end(&pair, STTCP_ETIME_MESSAGE, begin, 2 * LIMIT);
	pair_close(&pair);
}

enum {
	MESSAGE = 800
};

/* Says many messages, and leaves none open, each within a part of the limit: how many, or -1 where
 * this process had no CPU for so long that one of them was late. */
static long say_quick_messages(struct pair *pair)
{
	int64_t begin = now_ms(), last = begin, longest = 0;
	bool said = peer_say(pair->peer, "a");
	long messages = 0;

	for (bool more = true; said && more; messages += 2) {
		nap_ms(50);
		more = now_ms() - begin < 3 * MESSAGE;
		said = peer_say(pair->peer, more ? "bc\nd\na" : "bc\nlast\n");
		longest = now_ms() - last > longest ? now_ms() - last : longest;
		last = now_ms();
	}
	if (longest > MESSAGE / 2)
		return -1;
	assert_true(said);
	return messages;
}

/* Each message has the time anew, also one that begins in the same read as the last one ended. */
static void g14_message_is_quick_enough_many_times(void **state)
{
	long messages = -1;

	(void)state;
	for (int tries = 0; messages < 0; tries++) {
		struct pair pair = {0};

		assert_true(tries < 20);
		pair_open(&pair, STTCP_OPTIONS(.message_timeout_ms = MESSAGE,
					       .framing = STTCP_FRAMING_LINE));
		messages = say_quick_messages(&pair);
		if (messages >= 0) {
			assert_true(probe_wait(pair.probe, STTCP_RECEIVE, messages));
			assert_true(peer_quiet(pair.peer, 2 * MESSAGE));
			expect_open(&pair);
		}
		pair_close(&pair);
	}
}

static void g14_write_ends_who_does_not_read(void **state)
{
	struct pair pair = {0};
	static char part[64 * 1024];

	(void)state;
	pair_open(&pair, STTCP_OPTIONS(.write_timeout_ms = LIMIT));
	int64_t begin = now_ms();
	while (sttcp_conn_try_send(pair.conn, part, sizeof(part)) == 0)
		;
	expect_end(&pair, STTCP_ETIME_WRITE, begin, LIMIT);
	assert_int_equal(peer_end(pair.peer), -ECONNRESET);
	pair_close(&pair);
}

static void g14_connect_ends_the_attempt(void **state)
{
	struct blackhole hole;
	struct probe *probe = probe_new();

	(void)state;
	assert_true(blackhole_open(&hole));
	int64_t begin = now_ms();
	sttcp_client *client =
		probe_dial(probe, hole.port, STTCP_OPTIONS(.connect_timeout_ms = LIMIT));
	assert_true(probe_wait(probe, STTCP_UNCONNECTED, 1));
	assert_true(now_ms() - begin >= LIMIT);
	assert_true(now_ms() - begin < LIMIT + LATE);
	assert_int_equal(probe_reason(probe), STTCP_ETIME_CONNECT);
	sttcp_client_free(client);
	blackhole_close(&hole);
	probe_free(probe);
}

/* ------------------------------------------------------------------ lifetime */

enum {
	LIVES = 24,
	LIFE = 300,
	JITTER = 300
};

struct lives {
	atomic_int count;
	int64_t opened[LIVES * 2]; /* by id, which grow by one each */
	atomic_llong shortest;
	atomic_llong longest;
	atomic_int others; /* ends for another reason */
};

static bool note_birth(struct probe *probe, sttcp_conn *conn)
{
	struct lives *lives = probe->extra;

	lives->opened[sttcp_conn_id(conn) % (LIVES * 2)] = now_ms();
	return true;
}

static void note_death(struct probe *probe, sttcp_conn *conn, int reason)
{
	struct lives *lives = probe->extra;
	long long age = now_ms() - lives->opened[sttcp_conn_id(conn) % (LIVES * 2)];
	long long seen = atomic_load(&lives->shortest);

	if (reason != STTCP_ETIME_LIFETIME)
		atomic_fetch_add(&lives->others, 1);
	while (age < seen && !atomic_compare_exchange_weak(&lives->shortest, &seen, age))
		;
	seen = atomic_load(&lives->longest);
	while (age > seen && !atomic_compare_exchange_weak(&lives->longest, &seen, age))
		;
}

/* How far apart the shortest and the longest life were. */
static long long end_lives(void)
{
	struct probe *probe = probe_new();
	struct lives lives = {.shortest = INT64_MAX};
	int peers[LIVES];

	probe->connection = note_birth;
	probe->data = echo_data;
	probe->ended = note_death;
	probe->extra = &lives;
	sttcp_server *server = probe_listen(
		probe, STTCP_OPTIONS(.lifetime_ms = LIFE, .lifetime_jitter_ms = JITTER));
	for (int i = 0; i < LIVES; i++)
		peers[i] = peer_connect(sttcp_server_port(server));
	int64_t begin = now_ms();
	while (probe_count(probe, STTCP_DISCONNECTION) < LIVES && now_ms() - begin < DEADLINE_MS) {
		for (int i = 0; i < LIVES; i += 2)
			peer_say(peers[i], "busy");
		nap_ms(5);
	}
	assert_true(probe_wait(probe, STTCP_DISCONNECTION, LIVES));
	assert_int_equal(atomic_load(&lives.others), 0);
	assert_true(atomic_load(&lives.shortest) >= LIFE);
	assert_true(atomic_load(&lives.longest) < LIFE + JITTER + LATE);
	for (int i = 0; i < LIVES; i++) {
		/* Those that went on sending may have had the error already. */
		int end = peer_end(peers[i]);
		assert_true(end == -ECONNRESET || (i % 2 == 0 && end == 0));
		peer_close(peers[i]);
	}
	sttcp_server_free(server);
	probe_free(probe);
	return atomic_load(&lives.longest) - atomic_load(&lives.shortest);
}

/* Whatever they do; each at its own time in between; by a reset. That 24 of them fall into one
 * fifth of the jitter: once in 10^15 times, but for a machine that stands still meanwhile, and ends
 * all of them then. */
static void g14_lifetime_ends_all_not_at_once(void **state)
{
	int tries = 1;

	(void)state;
	while (end_lives() < JITTER / 5)
		assert_true(tries++ < 10);
}

static void g14_lifetime_without_jitter_is_exact(void **state)
{
	struct pair pair = {0};
	int64_t begin = now_ms();

	(void)state;
	pair_open(&pair, STTCP_OPTIONS(.lifetime_ms = LIMIT, .idle_timeout_ms = 60000));
	expect_end(&pair, STTCP_ETIME_LIFETIME, begin, LIMIT);
	pair_close(&pair);
}

enum {
	ANSWER = 300 * 1024, /* the kernel takes it */
	AGE = 1500	     /* after all of that, also where the machine is busy */
};

static char answer[ANSWER];

static bool answer_and_close(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	(void)data;
	(void)size;
	return sttcp_conn_send(conn, answer, ANSWER) == 0 && sttcp_conn_close(conn) == 0;
}

/* What was closed in order before, and has given its answer to the kernel, is not reset: the peer
 * could not read the answer any more. */
static void g14_lifetime_leaves_the_last_answer_alone(void **state)
{
	static char got[ANSWER];
	struct pair pair = {.probe = probe_new()};

	(void)state;
	fill_pattern(answer, ANSWER, 3);
	pair.probe->data = answer_and_close;
	pair_open(&pair, STTCP_OPTIONS(.lifetime_ms = AGE, .linger_timeout_ms = DEADLINE_MS));
	int64_t begin = now_ms();

	assert_true(peer_say(pair.peer, "x"));
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(probe_reason(pair.probe), STTCP_ECLOSED);
	while (now_ms() < begin + AGE + LIMIT)
		nap_ms(10);
	assert_true(peer_recv(pair.peer, got, ANSWER));
	assert_memory_equal(got, answer, ANSWER);
	assert_int_equal(peer_end(pair.peer), 0);
	pair_close(&pair);
}

/* ----------------------------------------------------------------------- off */

static void g14_limits_are_off_by_default(void **state)
{
	(void)state;
	for (int off = -1; off <= 0; off++) {
		struct pair pair = {0};

		pair_open(&pair, STTCP_OPTIONS(.first_byte_timeout_ms = off, .idle_timeout_ms = off,
					       .message_timeout_ms = off, .lifetime_ms = off,
					       .lifetime_jitter_ms = off, .write_timeout_ms = off,
					       .framing = STTCP_FRAMING_LINE));
		assert_true(peer_say(pair.peer, "half"));
		assert_true(peer_quiet(pair.peer, 300));
		expect_open(&pair);
		pair_close(&pair);
	}
}

static void g14_limits_below_off_are_refused(void **state)
{
	const sttcp_options *wrong[] = {
		STTCP_OPTIONS(.first_byte_timeout_ms = -2), STTCP_OPTIONS(.idle_timeout_ms = -2),
		STTCP_OPTIONS(.message_timeout_ms = -2),    STTCP_OPTIONS(.lifetime_ms = -2),
		STTCP_OPTIONS(.lifetime_jitter_ms = -2),    STTCP_OPTIONS(.write_timeout_ms = -2),
		STTCP_OPTIONS(.dead_peer_timeout_ms = -2),
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		sttcp_server *server = sttcp_server_new("127.0.0.1", 0, wrong[i]);

		assert_int_equal(sttcp_server_start(server), -EINVAL);
		sttcp_server_free(server);
	}
}

/* ----------------------------------------------------------------- dead peer */

static int option_of(int fd, int level, int name)
{
	int value = -1;
	socklen_t size = sizeof(value);

	assert_int_equal(getsockopt(fd, level, name, &value, &size), 0);
	return value;
}

static void expect_watch(sttcp_conn *conn, int timeout_ms)
{
	int fd = sttcp_conn_fd(conn);
	int third_s = timeout_ms / 3000 > 1 ? timeout_ms / 3000 : 1;

	if (timeout_ms < 0) {
		assert_int_equal(option_of(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
		assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
		return;
	}
	assert_int_equal(option_of(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
	assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_KEEPIDLE), third_s);
	assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_KEEPINTVL), third_s);
	assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_KEEPCNT), 2);
	/* It would also end a peer that answers with a closed window. */
	assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
}

/* While nothing is under way the kernel does it: its options are set on both kinds of connections;
 * test_dead_peer.c has the rest. */
static void g14_dead_peer_is_the_kernels_to_find(void **state)
{
	const int given[] = {0, 30000, 1000, -1};

	(void)state;
	for (size_t i = 0; i < sizeof(given) / sizeof(given[0]); i++) {
		const sttcp_options *options = STTCP_OPTIONS(.dead_peer_timeout_ms = given[i]);
		struct pair pair = {0};
		struct probe *probe = probe_new();

		pair_open(&pair, options);
		sttcp_client *client = probe_dial(probe, sttcp_server_port(pair.server), options);
		sttcp_conn *conn = client_conn(client);
		expect_watch(pair.conn, given[i] == 0 ? 60000 : given[i]);
		expect_watch(conn, given[i] == 0 ? 60000 : given[i]);
		sttcp_conn_unref(conn);
		sttcp_client_free(client);
		probe_free(probe);
		pair_close(&pair);
	}
}

/* ---------------------------------------------------------------------- cost */

/* G15 holds with limits that are far away. */
static void g14_limits_cost_an_idle_server_nothing(void **state)
{
	enum {
		IDLE = 1000
	};
	struct rlimit files;
	static int peers[IDLE];
	struct probe *probe = probe_new();

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	files.rlim_cur = files.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	int count = files.rlim_max > 2 * IDLE + 100 ? IDLE : IDLE / 4;
	probe->data = echo_data;
	sttcp_server *server = probe_listen(
		probe, STTCP_OPTIONS(.idle_timeout_ms = 300000, .first_byte_timeout_ms = 600000,
				     .message_timeout_ms = 200000, .lifetime_ms = 900000,
				     .lifetime_jitter_ms = 60000));
	for (int i = 0; i < count; i++) {
		peers[i] = peer_connect(sttcp_server_port(server));
		assert_true(peers[i] >= 0);
		if (i % 2)
			assert_true(peer_say(peers[i], "x") && peer_expect(peers[i], "x"));
	}
	EVENTUALLY(sttcp_server_count(server) == count);
	if (!UNDER_TSAN)
		expect_silence();
	for (int i = 0; i < count; i++)
		peer_close(peers[i]);
	sttcp_server_free(server);
	probe_free(probe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(g14_first_byte_ends_who_never_speaks),
		cmocka_unit_test(g14_first_byte_is_enough),
		cmocka_unit_test(g14_idle_ends_who_is_silent),
		cmocka_unit_test(g14_idle_ends_who_stops_in_a_message),
		cmocka_unit_test(g14_idle_counts_bytes_of_both_directions),
		cmocka_unit_test(g14_idle_ends_a_client_too),
		cmocka_unit_test(g14_message_ends_who_drips),
		cmocka_unit_test(g14_message_ends_beside_tasks_that_wait),
		cmocka_unit_test(g14_message_is_quick_enough_many_times),
		cmocka_unit_test(g14_write_ends_who_does_not_read),
		cmocka_unit_test(g14_connect_ends_the_attempt),
		cmocka_unit_test(g14_lifetime_ends_all_not_at_once),
		cmocka_unit_test(g14_lifetime_without_jitter_is_exact),
		cmocka_unit_test(g14_lifetime_leaves_the_last_answer_alone),
		cmocka_unit_test(g14_limits_are_off_by_default),
		cmocka_unit_test(g14_limits_below_off_are_refused),
		cmocka_unit_test(g14_dead_peer_is_the_kernels_to_find),
		cmocka_unit_test(g14_limits_cost_an_idle_server_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
