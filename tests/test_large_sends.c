/* SPDX-License-Identifier: MIT */
/* G8, G11, G14: a large send is written in visits: everybody else on its loop has their turn in
 * between, nothing is left behind, and the flush of a connection that ends has an end. All on one
 * loop. */
#include "support/support.h"

#include <sys/socket.h>

enum {
	MIB = 1024 * 1024
};

/* A peer that drops what comes as fast as it can: MSG_TRUNC copies nothing (tcp(7)). */
struct sink {
	int fd;
	size_t bytes;
	struct event ended;
	pthread_t thread;
};

static void *swallow(void *argument)
{
	struct sink *sink = argument;
	ssize_t got;

	while ((got = recv(sink->fd, NULL, MIB, MSG_TRUNC)) > 0)
		sink->bytes += (size_t)got;
	event_raise(&sink->ended);
	return NULL;
}

static void sink_begin(struct sink *sink, int fd)
{
	*sink = (struct sink){.fd = fd, .ended = EVENT_INIT};
	assert_int_equal(pthread_create(&sink->thread, NULL, swallow, sink), 0);
}

static void sink_end(struct sink *sink, size_t bytes)
{
	assert_true(event_wait(&sink->ended, 1));
	pthread_join(sink->thread, NULL);
	assert_int_equal(sink->bytes, bytes);
}

/* ------------------------------------------------------------------ fairness */

enum {
	LARGE = 256 * MIB,
	/* A visit is 512 KiB: the echo has some 500 chances. In one go it had one or two, and so it
	 * may once where the thread that counts them has no CPU. */
	ROUNDS = 20,
	TRIES = 10
};

static char *large;

static bool send_large_or_echo(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	if (*(const char *)data != 'A')
		return echo_data(probe, conn, data, size);
	sttcp_conn_send(conn, large, LARGE);
	sttcp_conn_close(conn);
	return true;
}

static void *send_large_by_main(void *argument)
{
	sttcp_conn *conn = argument;

	sttcp_conn_send(conn, large, LARGE);
	sttcp_conn_close(conn);
	return NULL;
}

static int rounds_beside_a_large_send(bool by_main)
{
	struct pair pair = {.probe = probe_new()};
	struct sink sink;
	pthread_t thread;
	int rounds = 0;

	large = calloc(1, LARGE);
	assert_non_null(large);
	pair.probe->data = send_large_or_echo;
	pair_open(&pair, NULL);
	int other = peer_connect(sttcp_server_port(pair.server));

	assert_true(peer_say(other, "x") && peer_expect(other, "x"));
	sink_begin(&sink, pair.peer);
	if (by_main)
		assert_int_equal(pthread_create(&thread, NULL, send_large_by_main, pair.conn), 0);
	else
		assert_true(peer_say(pair.peer, "A"));
	for (; !event_count(&sink.ended); rounds++)
		assert_true(peer_say(other, "x") && peer_expect(other, "x"));
	if (by_main)
		pthread_join(thread, NULL);
	sink_end(&sink, LARGE);
	peer_close(other);
	pair_close(&pair);
	free(large);
	return rounds;
}

static void check_others_go_on(bool by_main)
{
	int most = 0;

	for (int i = 0; i < TRIES && most < ROUNDS; i++) {
		int rounds = rounds_beside_a_large_send(by_main);

		most = rounds > most ? rounds : most;
	}
	if (most < ROUNDS)
		fail_msg("%d round trips beside a large send", most);
}

static void others_go_on_beside_a_large_send(void **state)
{
	(void)state;
	check_others_go_on(false);
	check_others_go_on(true);
}

/* --------------------------------------------------------------------- whole */

/* Sizes around what goes at a time; all of it arrives, and FIN behind it. */
static void nothing_is_left_behind(void **state)
{
	static const size_t sizes[] = {MIB / 2, MIB - 1, MIB, MIB + 1, 3 * MIB / 2 + 1, 9 * MIB};
	char *bytes = calloc(1, 9 * MIB);

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (int way = 0; way < 4; way++) {
			struct pair pair = {0};
			struct sink sink;
			size_t half = sizes[i] / 2;
			const struct iovec parts[] = {{bytes, half},
						      {bytes + half, sizes[i] - half}};

			pair_open(&pair, STTCP_OPTIONS(.send_queue_max = 16 * MIB));
			sink_begin(&sink, pair.peer);
			if (way == 0)
				assert_int_equal(sttcp_conn_send(pair.conn, bytes, sizes[i]), 0);
			else if (way == 1)
				assert_int_equal(sttcp_conn_try_send(pair.conn, bytes, sizes[i]),
						 0);
			else if (way == 2)
				assert_int_equal(sttcp_conn_sendv(pair.conn, parts, 2), 0);
			else
				assert_int_equal(
					sttcp_server_broadcast(pair.server, bytes, sizes[i]), 1);
			sttcp_conn_close(pair.conn);
			sink_end(&sink, sizes[i]);
			pair_close(&pair);
		}
	}
	free(bytes);
}

enum {
	SENDERS = 4,
	SENDS = 3,
	RUN = 3 * MIB
};

struct sender {
	sttcp_conn *conn;
	char *bytes;
	pthread_t thread;
	int result;
};

static void *send_runs(void *argument)
{
	struct sender *sender = argument;

	for (int i = 0; i < SENDS && !sender->result; i++)
		sender->result = sttcp_conn_send(sender->conn, sender->bytes, RUN);
	return NULL;
}

/* While one of them has let go of the lock, nobody slips in. */
static void large_sends_stay_one_run_each(void **state)
{
	struct pair pair = {0};
	struct sender senders[SENDERS];
	static char got[RUN];

	(void)state;
	pair_open(&pair, NULL);
	for (int i = 0; i < SENDERS; i++) {
		senders[i] = (struct sender){.conn = pair.conn, .bytes = malloc(RUN)};
		memset(senders[i].bytes, 'a' + i, RUN);
		assert_int_equal(pthread_create(&senders[i].thread, NULL, send_runs, &senders[i]),
				 0);
	}
	for (int i = 0; i < SENDERS * SENDS; i++) {
		assert_true(peer_recv(pair.peer, got, RUN));
		for (size_t at = 0; at < RUN; at++)
			if (got[at] != got[0])
				fail_msg("run %d: another one at %zu", i, at);
	}
	for (int i = 0; i < SENDERS; i++) {
		pthread_join(senders[i].thread, NULL);
		assert_int_equal(senders[i].result, 0);
		free(senders[i].bytes);
	}
	pair_close(&pair);
}

/* A queue without a cap takes all of it, in pieces, from a peer that reads nothing, too. */
static void send_without_a_cap_waits_for_nobody(void **state)
{
	struct pair pair = {0};
	size_t size = 24 * MIB;
	char *bytes = calloc(1, size);
	struct sink sink;

	(void)state;
	pair_open(&pair, STTCP_OPTIONS(.send_queue_max = -1));
	assert_int_equal(sttcp_conn_send(pair.conn, bytes, size), 0);
	free(bytes);
	sttcp_conn_close(pair.conn);
	sink_begin(&sink, pair.peer);
	sink_end(&sink, size);
	pair_close(&pair);
}

/* -------------------------------------------------------------- the flush's end */

enum {
	WRITE_MS = 300,
	QUEUED = 16 * MIB,
	STEP = 4096,
	STEP_MS = 10 /* at this pace it takes 40 s */
};

struct slow {
	int fd;
	atomic_bool stops;
	int64_t longest_ms; /* between two reads; once it has ended */
	pthread_t thread;
};

static void *read_slowly(void *argument)
{
	struct slow *slow = argument;
	char bytes[STEP];
	int64_t last = 0;

	while (!atomic_load(&slow->stops) && recv(slow->fd, bytes, STEP, 0) > 0) {
		int64_t now = now_ms();

		if (last && now - last > slow->longest_ms)
			slow->longest_ms = now - last;
		last = now;
		nap_ms(STEP_MS);
	}
	return NULL;
}

static void open_slow(struct pair *pair, struct slow *slow, const sttcp_options *options)
{
	pair_open_narrow(pair, options);
	*slow = (struct slow){.fd = pair->peer};
	assert_int_equal(pthread_create(&slow->thread, NULL, read_slowly, slow), 0);
}

/* Whether the peer read all the while. If it had no CPU for so long, it is ended by the write
 * timeout alone. */
static bool close_slow(struct pair *pair, struct slow *slow)
{
	atomic_store(&slow->stops, true);
	shutdown(slow->fd, SHUT_RDWR);
	pthread_join(slow->thread, NULL);
	pair_close(pair);
	return slow->longest_ms < WRITE_MS / 2;
}

static bool flush_what_was_queued(void)
{
	struct pair pair = {0};
	struct slow slow;
	char *bytes = calloc(1, QUEUED);

	open_slow(&pair, &slow, STTCP_OPTIONS(.write_timeout_ms = WRITE_MS, .send_queue_max = -1));
	assert_int_equal(sttcp_conn_send(pair.conn, bytes, QUEUED), 0);
	int64_t began = now_ms();

	sttcp_conn_close(pair.conn);
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	int64_t took_ms = now_ms() - began;
	int reason = probe_reason(pair.probe);

	free(bytes);
	if (!close_slow(&pair, &slow))
		return false;
	assert_int_equal(reason, STTCP_ECLOSED);
	assert_true(took_ms >= WRITE_MS); /* it had its time */
	return true;
}

static void flush_of_what_was_queued_has_an_end(void **state)
{
	int64_t until = now_ms() + 3 * DEADLINE_MS;

	(void)state;
	while (!flush_what_was_queued())
		assert_true(now_ms() < until);
}

/* The handler of the connection itself is in a send when somebody closes: nobody owns it then but
 * that handler. */
static bool send_much(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	char *bytes = calloc(1, QUEUED);

	(void)data;
	(void)size;
	*(int *)probe->extra = sttcp_conn_send(conn, bytes, QUEUED);
	free(bytes);
	return true;
}

static bool flush_a_handler_s_send(void)
{
	struct pair pair = {.probe = probe_new()};
	struct slow slow;
	sttcp_conn_counts counts;
	int result = 1;

	pair.probe->data = send_much;
	pair.probe->extra = &result;
	open_slow(&pair, &slow, STTCP_OPTIONS(.write_timeout_ms = WRITE_MS));
	assert_true(peer_say(pair.peer, "go"));
	EVENTUALLY(
		(sttcp_conn_stats(pair.conn, &counts, sizeof(counts)) == 0 && counts.queued > 0) ||
		probe_count(pair.probe, STTCP_DISCONNECTION));
	sttcp_conn_close(pair.conn);
	assert_true(probe_wait(pair.probe, STTCP_DISCONNECTION, 1));
	int reason = probe_reason(pair.probe);

	if (!close_slow(&pair, &slow))
		return false;
	assert_int_equal(reason, STTCP_ECLOSED);
	assert_int_equal(result, STTCP_ECLOSED);
	return true;
}

static void flush_of_a_handler_s_send_has_an_end(void **state)
{
	int64_t until = now_ms() + 3 * DEADLINE_MS;

	(void)state;
	while (!flush_a_handler_s_send())
		assert_true(now_ms() < until);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(others_go_on_beside_a_large_send),
		cmocka_unit_test(nothing_is_left_behind),
		cmocka_unit_test(large_sends_stay_one_run_each),
		cmocka_unit_test(send_without_a_cap_waits_for_nobody),
		cmocka_unit_test(flush_of_what_was_queued_has_an_end),
		cmocka_unit_test(flush_of_a_handler_s_send_has_an_end),
	};

	/* So that who holds it up holds everybody up. */
	if (sttcp_engine_configure(1, 0, 0) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
