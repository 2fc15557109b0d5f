/* SPDX-License-Identifier: MIT */
/* Rooms while everything happens at once (G9): connections come, join, are sent to and end on many
 * threads, and the server stops and starts. STTCP_TEST_SEED repeats a run as far as threads let. */
#include "support/support.h"

#include <sched.h>
#include <sys/socket.h>

enum {
	PEERS = 24,
	MEMBERS_MAX = 4 * PEERS,
	THREADS = 4,
	STEPS = UNDER_TSAN ? 600 : 2000, /* of each thread */
	ROOMS = 6,
	STOPS = 5,
	ENDS = 150
};

/* Even connections go to the rooms of one colour, odd ones to those of the other, and a message is
 * its colour: no peer may see both. */
static const char *const rooms[2][ROOMS] = {
	{"a1", "a2", "a3", "a4", "a5", "a6"},
	{"b1", "b2", "b3", "b4", "b5", "b6"},
};

static sttcp_server *server;
static uint32_t seed;
static atomic_int violations;
static atomic_long records;
static atomic_int running;

static void violate(const char *what)
{
	if (atomic_fetch_add(&violations, 1) < 20)
		fprintf(stderr, "violated: %s\n", what);
}

static int colour_of(const sttcp_conn *conn)
{
	return (int)(sttcp_conn_id(conn) % 2);
}

static void forget(void *record)
{
	(void)record;
	atomic_fetch_sub(&records, 1);
}

/* -------------------------------------------------------------------- what is done */

/* Those that a walk has seen, of whom a room may have any number: who has gone is a member until
 * the server has noticed. */
struct walk {
	int colour;
	int count;
	int room_for;
	uint64_t *ids;
	uint32_t *random;
};

static void note_member(struct walk *walk, uint64_t id)
{
	if (walk->count == walk->room_for) {
		walk->room_for += 64;
		walk->ids = realloc(walk->ids, (size_t)walk->room_for * sizeof(*walk->ids));
		if (!walk->ids)
			abort();
	}
	for (int i = 0; i < walk->count; i++)
		if (walk->ids[i] == id)
			violate("a walk has come to one twice");
	walk->ids[walk->count++] = id;
}

static void do_in_walk(sttcp_conn *conn, void *argument)
{
	struct walk *walk = argument;
	const char *room = rooms[walk->colour][next_random(walk->random) % ROOMS];

	if (colour_of(conn) != walk->colour)
		violate("a connection in a room that it has never joined");
	note_member(walk, sttcp_conn_id(conn));
	switch (next_random(walk->random) % 16) {
	case 0:
		sttcp_conn_leave(conn, room);
		break;
	case 1:
		sttcp_conn_join(conn, room);
		break;
	case 2:
		if (next_random(walk->random) % 4 == 0)
			sttcp_conn_close(conn);
		break;
	case 3:
		sttcp_server_send_room(server, room, conn, &"ab"[walk->colour], 1);
		break;
	default:
		break;
	}
}

/* On any thread, on a connection that may have ended. */
static void do_something(sttcp_conn *conn, uint32_t *random)
{
	int colour = colour_of(conn);
	const char *room = rooms[colour][next_random(random) % ROOMS];
	struct walk walk = {.colour = colour, .random = random};
	int result = 0;

	switch (next_random(random) % 8) {
	case 0:
	case 1:
	case 2:
		result = sttcp_conn_join(conn, room);
		break;
	case 3:
		result = sttcp_conn_leave(conn, room);
		break;
	case 4:
		sttcp_server_send_room(server, room, conn, &"ab"[colour], 1);
		break;
	case 5:
		sttcp_server_send_room_message(server, room, NULL, &"ab"[colour], 1);
		break;
	case 6:
		if (sttcp_server_each_in(server, room, do_in_walk, &walk) != walk.count)
			violate("a walk has told another number of calls");
		free(walk.ids);
		break;
	case 7:
		if (sttcp_server_count_in(server, room) < 0)
			violate("a count below 0");
		break;
	}
	if (result == 0)
		return;
	if (sttcp_conn_is_open(conn))
		violate("a code on a connection that is open");
}

static bool on_connection(sttcp_conn *conn, void *context)
{
	uint32_t random = (uint32_t)sttcp_conn_id(conn) * 2654435761u ^ seed;

	(void)context;
	atomic_fetch_add(&records, 1);
	sttcp_conn_set_data(conn, &records, forget);
	for (int i = 0; i < 4; i++)
		sttcp_conn_join(conn, rooms[colour_of(conn)][next_random(&random) % ROOMS]);
	if (next_random(&random) % 16 == 0)
		sttcp_conn_fail(conn, STTCP_EHANDLER, "at random");
	return next_random(&random) % 16 != 0;
}

static void on_receive(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	uint32_t random = (uint32_t)sttcp_conn_id(conn) ^ *(const unsigned char *)data ^ seed;

	(void)context;
	for (size_t i = 0; i < size && i < 8; i++)
		do_something(conn, &random);
}

static void on_disconnection(sttcp_conn *conn, int reason, void *context)
{
	const char *room = rooms[colour_of(conn)][0];

	(void)reason;
	(void)context;
	sttcp_server_send_room(server, room, conn, &"ab"[colour_of(conn)], 1);
	if (sttcp_conn_join(conn, room) == 0)
		violate("a join in the disconnection handler");
}

/* -------------------------------------------------------------------- who does it */

struct finding {
	uint32_t skip;
	sttcp_conn *conn;
};

static void find(sttcp_conn *conn, void *argument)
{
	struct finding *finding = argument;

	if (finding->skip-- == 0)
		finding->conn = sttcp_conn_ref(conn);
}

static void *meddle(void *argument)
{
	uint32_t random = seed + (uint32_t)(uintptr_t)argument * 7919;

	for (int step = 0; step < STEPS; step++) {
		struct finding finding = {.skip = next_random(&random) % PEERS};

		sttcp_server_each(server, find, &finding);
		for (int i = 0; finding.conn && i < 8; i++)
			do_something(finding.conn, &random);
		if (finding.conn)
			sttcp_conn_unref(finding.conn);
		else
			sched_yield();
	}
	atomic_fetch_sub(&running, 1);
	return NULL;
}

/* Takes what has come; whether it was of one colour. */
static bool read_colour(int fd, char *colour)
{
	char bytes[512];
	ssize_t size = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	for (ssize_t i = 0; i < size; i++) {
		if (!*colour)
			*colour = bytes[i];
		if (bytes[i] != *colour)
			return false;
	}
	return true;
}

static void *come_and_go(void *unused)
{
	uint32_t random = seed ^ 0x5bd1e995u;
	char colours[PEERS] = {0};
	int fds[PEERS];

	(void)unused;
	memset(fds, -1, sizeof(fds));
	while (atomic_load(&running)) {
		uint32_t i = next_random(&random) % PEERS;

		if (fds[i] < 0) {
			/* Who has gone is a member until the server has noticed, and what a walk
			 * costs grows with the square of those. */
			if (sttcp_server_count(server) > MEMBERS_MAX) {
				nap_ms(1);
				continue;
			}
			colours[i] = 0;
			/* While the server is stopped nobody listens. */
			fds[i] = peer_connect(sttcp_server_port(server));
			continue;
		}
		if (!read_colour(fds[i], &colours[i]))
			violate("a message of a room that it has never joined");
		if (next_random(&random) % 2)
			ignore(send(fds[i], "some words", next_random(&random) % 8,
				    MSG_NOSIGNAL | MSG_DONTWAIT));
		if (next_random(&random) % 8)
			continue;
		if (next_random(&random) % 2)
			peer_reset(fds[i]);
		else
			peer_close(fds[i]);
		fds[i] = -1;
	}
	for (int i = 0; i < PEERS; i++)
		if (fds[i] >= 0)
			peer_close(fds[i]);
	return NULL;
}

static void start_server(const sttcp_options *options)
{
	server = sttcp_server_new("127.0.0.1", 0, options);
	assert_non_null(server);
	assert_int_equal(sttcp_server_on_connection(server, on_connection), 0);
	assert_int_equal(sttcp_server_on_receive(server, on_receive), 0);
	assert_int_equal(sttcp_server_on_disconnection(server, on_disconnection), 0);
	assert_int_equal(sttcp_server_start(server), 0);
}

static void expect_empty_rooms(void)
{
	for (int colour = 0; colour < 2; colour++)
		for (int i = 0; i < ROOMS; i++)
			EVENTUALLY(sttcp_server_count_in(server, rooms[colour][i]) == 0);
}

static void rooms_hold_while_all_happens_at_once(void **state)
{
	pthread_t threads[THREADS];
	pthread_t peers;

	(void)state;
	seed = test_seed();
	start_server(NULL);
	atomic_store(&running, THREADS);
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, meddle, (void *)i), 0);
	assert_int_equal(pthread_create(&peers, NULL, come_and_go, NULL), 0);
	for (int i = 0; i < STOPS && atomic_load(&running); i++) {
		int64_t total = 0;

		/* Once more have come, unless the threads are done. */
		for (int64_t before = -1; atomic_load(&running) && total < before + PEERS;) {
			sttcp_stats stats;

			assert_int_equal(sttcp_server_stats(server, &stats, sizeof(stats)), 0);
			total = stats.total;
			if (before < 0)
				before = total;
			nap_ms(1);
		}
		assert_int_equal(sttcp_server_stop_within(server, 0, NULL), 0);
		/* A handler that was running then may have its last one yet to come. */
		expect_empty_rooms();
		EVENTUALLY(sttcp_server_start(server) == 0);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	pthread_join(peers, NULL);
	EVENTUALLY(sttcp_server_count(server) == 0);
	expect_empty_rooms();
	sttcp_server_free(server);
	EVENTUALLY(atomic_load(&records) == 0);
	assert_int_equal(atomic_load(&violations), 0);
}

/* -------------------------------------------------------------------- one join beside an end */

static struct event ended;

static void note_end(sttcp_conn *conn, int reason, void *context)
{
	(void)reason;
	(void)context;
	if (sttcp_server_count_in(sttcp_conn_server(conn), "red") != 0)
		violate("it is in its room when it is told of its end");
	event_raise(&ended);
}

static void *join_until_refused(void *argument)
{
	sttcp_conn *conn = argument;
	int result;

	while ((result = sttcp_conn_join(conn, "red")) == 0)
		if (sttcp_conn_id(conn) % 2)
			sttcp_conn_leave(conn, "red");
	if (sttcp_conn_is_open(conn))
		violate("a join is refused on a connection that is open");
	return NULL;
}

static void a_join_beside_the_end_leaves_nothing(void **state)
{
	(void)state;
	server = sttcp_server_new("127.0.0.1", 0, NULL);
	assert_non_null(server);
	assert_int_equal(sttcp_server_on_disconnection(server, note_end), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	ended.count = 0;
	for (int i = 0; i < ENDS; i++) {
		struct finding finding = {0};
		pthread_t thread;
		int peer = peer_connect(sttcp_server_port(server));

		assert_true(peer >= 0);
		EVENTUALLY(sttcp_server_each(server, find, &finding) == 1);
		assert_non_null(finding.conn);
		assert_int_equal(pthread_create(&thread, NULL, join_until_refused, finding.conn),
				 0);
		EVENTUALLY(i % 2 || sttcp_server_count_in(server, "red") == 1 ||
			   sttcp_conn_id(finding.conn) % 2);
		if (i % 3)
			peer_close(peer);
		else
			sttcp_conn_abort(finding.conn);
		assert_true(event_wait(&ended, i + 1));
		assert_int_equal(sttcp_server_count_in(server, "red"), 0);
		pthread_join(thread, NULL);
		assert_int_equal(sttcp_server_count_in(server, "red"), 0);
		sttcp_conn_unref(finding.conn);
		if (i % 3 == 0)
			peer_close(peer);
		EVENTUALLY(sttcp_server_count(server) == 0);
	}
	sttcp_server_free(server);
	assert_int_equal(atomic_load(&violations), 0);
}

enum {
	MANY_ROOMS = 200,
	NEWCOMERS = 50
};

static bool join_many(struct probe *probe, sttcp_conn *conn)
{
	char name[16];

	(void)probe;
	for (int i = 0; i < MANY_ROOMS; i++) {
		snprintf(name, sizeof(name), "%d", i);
		if (sttcp_conn_join(conn, name) < 0)
			violate("a join has failed");
	}
	return true;
}

/* Whoever is seen as a member is in the rooms that its handler has joined: what is sent to them
 * then reaches it. */
static void a_member_is_in_its_rooms_at_once(void **state)
{
	struct probe *probe = probe_new();
	int peers[NEWCOMERS];
	char last[16];

	(void)state;
	snprintf(last, sizeof(last), "%d", MANY_ROOMS - 1);
	probe->connection = join_many;
	sttcp_server *many = probe_listen(probe, NULL);

	for (int i = 0; i < NEWCOMERS; i++) {
		peers[i] = peer_connect(sttcp_server_port(many));
		assert_true(peers[i] >= 0);
		for (int64_t until = now_ms() + DEADLINE_MS; sttcp_server_count(many) <= i;)
			assert_true(now_ms() < until);
		assert_int_equal(sttcp_server_count_in(many, "0"), i + 1);
		assert_int_equal(sttcp_server_count_in(many, last), i + 1);
	}
	for (int i = 0; i < NEWCOMERS; i++)
		peer_close(peers[i]);
	sttcp_server_free(many);
	probe_free(probe);
	assert_int_equal(atomic_load(&violations), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rooms_hold_while_all_happens_at_once),
		cmocka_unit_test(a_join_beside_the_end_leaves_nothing),
		cmocka_unit_test(a_member_is_in_its_rooms_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
