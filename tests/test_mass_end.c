/* SPDX-License-Identifier: MIT */
/* G8: what ends thousands of connections at a time does it a few at a time, and the others on the
 * same loop (there is one here) have their turns in between. Told by counting, not by a clock: how
 * many have ended between two calls of somebody else's handler. */
#include "support/support.h"

#include <sys/resource.h>

enum {
	CONNS = 1500,
	/* Ended between two turns of the others at most; a chunk is 64, and each comes twice. */
	MOST = 256,
	/* The close of each is an event of its own, and 256 of them come with each look. */
	MOST_AFTER_CLOSE = 640,
	MESSAGES = 300 * 1000,
	/* Where the loop is taken over, on a busy machine, the pool ends them all. */
	TRIES = 10
};

/* A server with many connections that do nothing. */
struct crowd {
	sttcp_server *server;
	int peers[CONNS];
	atomic_int gone;
};

static void note_end(sttcp_conn *conn, int reason, void *context)
{
	struct crowd *crowd = context;

	(void)conn;
	(void)reason;
	atomic_fetch_add(&crowd->gone, 1);
}

static struct crowd *crowd_open(bool ends_idle)
{
	struct crowd *crowd = calloc(1, sizeof(*crowd));

	assert_non_null(crowd);
	crowd->server =
		sttcp_server_new("127.0.0.1", 0, STTCP_OPTIONS(.end_idle_at_stop = ends_idle));
	assert_non_null(crowd->server);
	assert_int_equal(sttcp_server_set_context(crowd->server, crowd), 0);
	assert_int_equal(sttcp_server_on_disconnection(crowd->server, note_end), 0);
	assert_int_equal(sttcp_server_start(crowd->server), 0);
	for (int i = 0; i < CONNS; i++) {
		crowd->peers[i] = peer_connect(sttcp_server_port(crowd->server));
		assert_true(crowd->peers[i] >= 0);
	}
	EVENTUALLY(sttcp_server_count(crowd->server) == CONNS);
	return crowd;
}

static void crowd_close(struct crowd *crowd)
{
	for (int i = 0; i < CONNS; i++)
		peer_close(crowd->peers[i]);
	sttcp_server_free(crowd->server);
	free(crowd);
}

/* Somebody who has so much to read that he has a turn whenever the loop gives him one. */
struct reader {
	struct crowd *crowd;
	int timeout_ms; /* of the stop that he begins */
	long messages;
	int seen;
	int most;
	struct event done;
};

static bool read_and_look(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	struct reader *reader = probe->extra;
	int gone = atomic_load(&reader->crowd->gone);

	(void)conn;
	(void)data;
	(void)size;
	if (++reader->messages == 1000)
		sttcp_server_stop_within(reader->crowd->server, reader->timeout_ms, NULL);
	if (gone - reader->seen > reader->most)
		reader->most = gone - reader->seen;
	reader->seen = gone;
	if (reader->messages == MESSAGES)
		event_raise(&reader->done);
	return true;
}

/* The most that ended between two of the reader's messages. */
static int most_at_a_time(int timeout_ms)
{
	static char lines[2 * MESSAGES];
	struct crowd *crowd = crowd_open(timeout_ms < 0);
	struct probe *probe = probe_new();
	struct reader reader = {.crowd = crowd, .timeout_ms = timeout_ms, .done = EVENT_INIT};
	struct pair pair = {.probe = probe};

	for (int i = 0; i < MESSAGES; i++)
		memcpy(&lines[2 * i], "x\n", 2);
	probe->without = NO_UNIVERSAL;
	probe->data = read_and_look;
	probe->extra = &reader;
	pair_open(&pair, STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE));
	/* All of it is here before he reads. */
	assert_int_equal(sttcp_conn_pause(pair.conn), 0);
	assert_true(peer_send(pair.peer, lines, sizeof(lines)));
	assert_int_equal(sttcp_conn_resume(pair.conn), 0);
	assert_true(event_wait(&reader.done, 1));
	EVENTUALLY(atomic_load(&crowd->gone) == CONNS);
	pair_close(&pair);
	crowd_close(crowd);
	return reader.most;
}

/* By force in a call inside a handler (0), and at the deadline of a stop (1), which rings on the
 * loop; and by a graceful stop (-1) of one that ends who is idle. */
static void stop_lets_others_have_their_turns(void **state)
{
	(void)state;
	for (int timeout_ms = -1; timeout_ms <= 1; timeout_ms++) {
		int best = CONNS;

		for (int i = 0; i < TRIES && best > MOST; i++) {
			int most = most_at_a_time(timeout_ms);

			print_message("within %d ms: %d at a time\n", timeout_ms, most);
			best = most < best ? most : best;
		}
		assert_true(best <= MOST);
	}
}

/* One who closes all of them in a handler, and an event of somebody else waits meanwhile. */
struct closer {
	struct crowd *crowd;
	int other; /* the peer of somebody else */
	atomic_int seen;
};

static void close_it(sttcp_conn *conn, void *argument)
{
	(void)argument;
	sttcp_conn_close(conn);
}

static bool close_all(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	struct closer *closer = probe->extra;

	(void)conn;
	(void)data;
	(void)size;
	/* First, so that it makes no difference how long the handler takes: taken for one that
	 * blocks, it would close them all while the loop goes on. */
	if (!peer_say(closer->other, "x"))
		probe_violate(probe, "nothing can be said");
	sttcp_server_each(closer->crowd->server, close_it, NULL);
	return true;
}

static bool look(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	struct closer *closer = probe->extra;

	(void)conn;
	(void)data;
	(void)size;
	atomic_store(&closer->seen, atomic_load(&closer->crowd->gone));
	return true;
}

static int gone_before_the_next_event(void)
{
	struct crowd *crowd = crowd_open(false);
	struct closer closer = {.crowd = crowd};
	struct pair other = {.probe = probe_new()};
	struct pair pair = {.probe = probe_new()};

	other.probe->data = look;
	other.probe->extra = pair.probe->extra = &closer;
	pair.probe->data = close_all;
	pair_open(&other, NULL);
	closer.other = other.peer;
	pair_open(&pair, NULL);
	assert_true(peer_say(pair.peer, "x"));
	assert_true(probe_wait(other.probe, STTCP_RECEIVE, 1));
	EVENTUALLY(atomic_load(&crowd->gone) == CONNS);
	pair_close(&pair);
	pair_close(&other);
	crowd_close(crowd);
	return atomic_load(&closer.seen);
}

static void events_are_looked_at_while_many_are_closed(void **state)
{
	int best = CONNS;

	(void)state;
	for (int i = 0; i < TRIES && best > MOST_AFTER_CLOSE; i++) {
		int gone = gone_before_the_next_event();

		print_message("%d before the next event\n", gone);
		best = gone < best ? gone : best;
	}
	assert_true(best <= MOST_AFTER_CLOSE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stop_lets_others_have_their_turns),
		cmocka_unit_test(events_are_looked_at_while_many_are_closed),
	};
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur < 3 * CONNS) {
		printf("skipped: there may be only %lu open files\n",
		       (unsigned long)limit.rlim_cur);
		return 77;
	}
	if (sttcp_engine_configure(1, 0, 0) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
