/* SPDX-License-Identifier: MIT */
/* Rooms as users see them: who is in them and when (G2), also of connections that have ended (G9).
 * What is sent to them is in test_room_sends.c, walks are in test_room_walks.c. */
#include "support/house.h"

static char longest[256]; /* 255 bytes */
static char too_long[257];

/* -------------------------------------------------------------------- who is in it */

struct finding {
	uint64_t id;
	sttcp_conn *conn;
};

static void find_id(sttcp_conn *conn, void *argument)
{
	struct finding *finding = argument;

	if (sttcp_conn_id(conn) == finding->id)
		finding->conn = sttcp_conn_ref(conn);
}

static void members_are_counted_and_visited(void **state)
{
	(void)state;
	open_house(NULL, NULL);
	fill_house(3);
	fill_red(2);
	assert_int_equal(sttcp_conn_join(house->conns[2], "blue"), 0);
	assert_int_equal(count_in("red"), 2);
	assert_int_equal(count_in("blue"), 1);
	assert_int_equal(count_in("green"), 0);

	int calls = 0;

	assert_int_equal(sttcp_server_each_in(house->server, "red", count_call, &calls), 2);
	assert_int_equal(calls, 2);
	assert_int_equal(sttcp_server_each_in(house->server, "green", count_call, &calls), 0);
	assert_int_equal(calls, 2);

	struct finding finding = {.id = sttcp_conn_id(house->conns[2])};

	sttcp_server_each_in(house->server, "blue", find_id, &finding);
	assert_ptr_equal(finding.conn, house->conns[2]);
	sttcp_conn_unref(finding.conn);
	close_house();
}

static void joining_and_leaving_twice_changes_nothing(void **state)
{
	(void)state;
	open_house(NULL, NULL);
	sttcp_conn *conn = come_in();

	assert_int_equal(sttcp_conn_leave(conn, "red"), 0);
	assert_int_equal(sttcp_conn_join(conn, "red"), 0);
	assert_int_equal(sttcp_conn_join(conn, "red"), 0);
	assert_int_equal(count_in("red"), 1);
	assert_int_equal(sttcp_conn_leave(conn, "blue"), 0);
	assert_int_equal(count_in("red"), 1);
	assert_int_equal(sttcp_conn_leave(conn, "red"), 0);
	assert_int_equal(count_in("red"), 0);
	assert_int_equal(sttcp_conn_leave(conn, "red"), 0);
	assert_int_equal(sttcp_conn_join(conn, "red"), 0);
	assert_int_equal(count_in("red"), 1);
	close_house();
}

static void names_are_compared_as_bytes(void **state)
{
	static const char *const names[] = {"a", "A", "a ", "aa", "\xc3\xa9", "\xe9", "/", "\x01"};
	const int count = (int)(sizeof(names) / sizeof(names[0]));
	char copy[8];

	(void)state;
	open_house(NULL, NULL);
	sttcp_conn *conn = come_in();

	for (int i = 0; i < count; i++) {
		assert_int_equal(count_in(names[i]), 0);
		/* The name is copied: what is behind the pointer may change. */
		snprintf(copy, sizeof(copy), "%s", names[i]);
		assert_int_equal(sttcp_conn_join(conn, copy), 0);
		memset(copy, 'x', sizeof(copy) - 1);
		assert_int_equal(count_in(names[i]), 1);
	}
	assert_int_equal(sttcp_conn_join(conn, longest), 0);
	assert_int_equal(count_in(longest), 1);
	assert_int_equal(count_in(longest + 1), 0);
	assert_int_equal(sttcp_conn_leave(conn, longest), 0);
	assert_int_equal(count_in(longest), 0);
	close_house();
}

static void one_connection_may_be_in_many_rooms(void **state)
{
	enum {
		ROOMS = 10000
	};
	char name[16];

	(void)state;
	open_house(NULL, NULL);
	sttcp_conn *conn = come_in();

	for (int i = 0; i < ROOMS; i++) {
		snprintf(name, sizeof(name), "room %d", i);
		assert_int_equal(sttcp_conn_join(conn, name), 0);
	}
	for (int i = 0; i < ROOMS; i += 2) {
		snprintf(name, sizeof(name), "room %d", i);
		assert_int_equal(sttcp_conn_leave(conn, name), 0);
	}
	for (int i = 0; i < ROOMS; i++) {
		snprintf(name, sizeof(name), "room %d", i);
		assert_int_equal(count_in(name), i % 2);
	}
	sttcp_conn_close(conn);
	EVENTUALLY(count_in("room 9999") == 0 && sttcp_server_count(house->server) == 0);
	for (int i = 0; i < ROOMS; i++) {
		snprintf(name, sizeof(name), "room %d", i);
		assert_int_equal(count_in(name), 0);
	}
	close_house();
}

static void bad_arguments_are_refused(void **state)
{
	static const char *const bad[] = {NULL, "", too_long};

	(void)state;
	open_house(NULL, NULL);
	sttcp_server *server = house->server;
	sttcp_conn *conn = come_in();

	for (int i = 0; i < 3; i++) {
		assert_int_equal(sttcp_conn_join(conn, bad[i]), -EINVAL);
		assert_int_equal(sttcp_conn_leave(conn, bad[i]), -EINVAL);
		assert_int_equal(sttcp_server_send_room(server, bad[i], NULL, "x", 1), -EINVAL);
		assert_int_equal(sttcp_server_send_room_message(server, bad[i], NULL, "x", 1),
				 -EINVAL);
		assert_int_equal(sttcp_server_each_in(server, bad[i], count_call, NULL), -EINVAL);
		assert_int_equal(sttcp_server_count_in(server, bad[i]), -EINVAL);
	}
	assert_int_equal(sttcp_conn_join(NULL, "red"), -EINVAL);
	assert_int_equal(sttcp_conn_leave(NULL, "red"), -EINVAL);
	assert_int_equal(sttcp_server_send_room(NULL, "red", NULL, "x", 1), -EINVAL);
	assert_int_equal(sttcp_server_send_room_message(NULL, "red", NULL, "x", 1), -EINVAL);
	assert_int_equal(sttcp_server_send_room(server, "red", NULL, NULL, 1), -EINVAL);
	assert_int_equal(sttcp_server_send_room_message(server, "red", NULL, NULL, 1), -EINVAL);
	assert_int_equal(sttcp_server_each_in(NULL, "red", count_call, NULL), -EINVAL);
	assert_int_equal(sttcp_server_each_in(server, "red", NULL, NULL), -EINVAL);
	assert_int_equal(sttcp_server_count_in(NULL, "red"), -EINVAL);
	close_house();
}

static void a_clients_connection_is_in_no_room(void **state)
{
	(void)state;
	open_house(NULL, NULL);
	struct probe *probe = probe_new();
	sttcp_client *client = probe_dial(probe, sttcp_server_port(house->server), NULL);
	sttcp_conn *conn = client_conn(client);

	assert_int_equal(sttcp_conn_join(conn, "red"), -EINVAL);
	assert_int_equal(sttcp_conn_leave(conn, "red"), -EINVAL);
	sttcp_client_free(client);
	assert_int_equal(sttcp_conn_join(conn, "red"), -EINVAL);
	sttcp_conn_unref(conn);
	probe_free(probe);
	close_house();
}

static void a_server_that_never_started_has_empty_rooms(void **state)
{
	int calls = 0;

	(void)state;
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);

	assert_non_null(server);
	assert_int_equal(sttcp_server_count_in(server, "red"), 0);
	assert_int_equal(sttcp_server_send_room(server, "red", NULL, "x", 1), 0);
	assert_int_equal(sttcp_server_send_room_message(server, "red", NULL, "x", 1), 0);
	assert_int_equal(sttcp_server_each_in(server, "red", count_call, &calls), 0);
	sttcp_server_free(server);
}

/* Rooms of one name on two servers have nothing to do with each other. */
static void rooms_belong_to_their_server(void **state)
{
	(void)state;
	open_house(NULL, NULL);
	struct probe *probe = probe_new();
	sttcp_server *other = probe_listen(probe, NULL);

	assert_int_equal(sttcp_conn_join(come_in(), "red"), 0);
	assert_int_equal(count_in("red"), 1);
	assert_int_equal(sttcp_server_count_in(other, "red"), 0);
	assert_int_equal(sttcp_server_send_room(other, "red", NULL, "x", 1), 0);
	sttcp_server_free(other);
	probe_free(probe);
	close_house();
}

/* -------------------------------------------------------------------- from when to when */

static struct event joined;
static struct event go_on;
static atomic_int code;
static bool verdict;

static bool join_and_wait(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	atomic_store(&code, sttcp_conn_join(conn, "red"));
	atomic_fetch_add(&code, sttcp_conn_join(conn, "left"));
	atomic_fetch_add(&code, sttcp_conn_leave(conn, "left"));
	event_raise(&joined);
	event_wait(&go_on, 1);
	return verdict;
}

static struct probe *waiting_probe(bool result)
{
	struct probe *probe = probe_new();

	joined.count = go_on.count = 0;
	atomic_store(&code, -1);
	verdict = result;
	probe->connection = join_and_wait;
	return probe;
}

static void a_join_in_the_connection_handler_counts_from_its_true(void **state)
{
	int calls = 0;

	(void)state;
	open_house(waiting_probe(true), NULL);
	int peer = peer_connect(sttcp_server_port(house->server));

	assert_true(event_wait(&joined, 1));
	assert_int_equal(atomic_load(&code), 0);
	assert_int_equal(count_in("red"), 0);
	assert_int_equal(sttcp_server_send_room(house->server, "red", NULL, "early", 5), 0);
	assert_int_equal(sttcp_server_each_in(house->server, "red", count_call, &calls), 0);
	event_raise(&go_on);
	EVENTUALLY(count_in("red") == 1);
	assert_int_equal(count_in("left"), 0);
	assert_int_equal(sttcp_server_send_room(house->server, "red", NULL, "late", 4), 1);
	assert_true(peer_expect(peer, "late"));
	peer_close(peer);
	close_house();
}

static void a_join_never_counts_after_false(void **state)
{
	(void)state;
	open_house(waiting_probe(false), NULL);
	int peer = peer_connect(sttcp_server_port(house->server));

	assert_true(event_wait(&joined, 1));
	event_raise(&go_on);
	assert_int_equal(peer_end(peer), 0);
	assert_int_equal(count_in("red"), 0);
	peer_close(peer);
	close_house();
}

static bool join_and_decline(struct probe *probe, sttcp_conn *conn)
{
	static const char much[512 * 1024];

	narrow(probe, conn);
	sttcp_conn_join(conn, "red");
	sttcp_conn_send(conn, much, sizeof(much));
	house->conns[0] = sttcp_conn_ref(conn);
	event_raise(&joined);
	return false;
}

/* Nor while its output is flushed, which takes as long as the peer likes. */
static void a_declined_connection_that_is_flushed_is_no_member(void **state)
{
	(void)state;
	struct probe *probe = probe_new();
	size_t bytes;

	joined.count = 0;
	probe->connection = join_and_decline;
	open_house(probe, NULL);
	int peer = peer_connect_narrow(sttcp_server_port(house->server));

	assert_true(event_wait(&joined, 1));
	sttcp_conn *conn = house->conns[0];

	EVENTUALLY(sttcp_conn_leave(conn, "none") < 0);
	for (int64_t until = now_ms() + 50; now_ms() < until; nap_ms(1)) {
		assert_int_equal(count_in("red"), 0);
		assert_int_equal(sttcp_server_count(house->server), 0);
		assert_int_equal(sttcp_server_send_room(house->server, "red", NULL, "x", 1), 0);
	}
	assert_int_equal(peer_drain(peer, &bytes), 0);
	assert_int_equal(bytes, 512 * 1024);
	sttcp_conn_unref(conn);
	peer_close(peer);
	close_house();
}

static bool join_and_fail(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	sttcp_conn_join(conn, "red");
	sttcp_conn_fail(conn, STTCP_EHANDLER, "no");
	return true;
}

/* Its disconnection handler runs, but it was never a member. */
static void a_join_never_counts_after_a_failure(void **state)
{
	(void)state;
	struct probe *probe = probe_new();

	probe->connection = join_and_fail;
	open_house(probe, NULL);
	int peer = peer_connect(sttcp_server_port(house->server));

	assert_true(probe_wait(probe, STTCP_DISCONNECTION, 1));
	assert_int_equal(count_in("red"), 0);
	peer_close(peer);
	close_house();
}

struct last_words {
	int count;
	int sent;
	int joined;
	int left;
};

static struct last_words last_words;

static void say_goodbye(struct probe *probe, sttcp_conn *conn, int reason)
{
	sttcp_server *server = sttcp_conn_server(conn);

	(void)probe;
	(void)reason;
	if (conn != house->conns[0])
		return;
	last_words = (struct last_words){
		.count = sttcp_server_count_in(server, "red"),
		.sent = sttcp_server_send_room(server, "red", conn, "bye", 3),
		.joined = sttcp_conn_join(conn, "red"),
		.left = sttcp_conn_leave(conn, "red"),
	};
	event_raise(&joined);
}

static void the_disconnection_handler_tells_those_who_stay(void **state)
{
	(void)state;
	struct probe *probe = probe_new();

	joined.count = 0;
	probe->ended = say_goodbye;
	open_house(probe, NULL);
	fill_house(3);
	fill_red(3);
	assert_int_equal(sttcp_conn_fail(house->conns[0], STTCP_EHANDLER, "enough"), 0);
	assert_true(event_wait(&joined, 1));
	assert_int_equal(last_words.count, 2);
	assert_int_equal(last_words.sent, 2);
	assert_int_equal(last_words.joined, STTCP_EHANDLER);
	assert_int_equal(last_words.left, STTCP_EHANDLER);
	assert_true(peer_expect(house->peers[1], "bye"));
	assert_true(peer_expect(house->peers[2], "bye"));
	assert_int_equal(count_in("red"), 2);
	assert_int_equal(sttcp_conn_join(house->conns[0], "red"), STTCP_EHANDLER);
	assert_int_equal(sttcp_conn_leave(house->conns[0], "red"), STTCP_EHANDLER);
	close_house();
}

/* Between the end and the disconnection handler, which waits for the one that runs. */
static bool close_join_and_wait(struct probe *probe, sttcp_conn *conn, const void *data,
				size_t size)
{
	(void)probe;
	(void)data;
	(void)size;
	sttcp_conn_close(conn);
	atomic_store(&code, sttcp_conn_join(conn, "blue"));
	event_raise(&joined);
	event_wait(&go_on, 1);
	return true;
}

static void an_ended_connection_joins_no_more_but_can_leave(void **state)
{
	(void)state;
	struct probe *probe = probe_new();

	joined.count = go_on.count = 0;
	probe->data = close_join_and_wait;
	open_house(probe, NULL);
	sttcp_conn *conn = come_in();

	assert_int_equal(sttcp_conn_join(conn, "red"), 0);
	assert_int_equal(sttcp_conn_join(conn, "green"), 0);
	assert_true(peer_say(house->peers[0], "x"));
	assert_true(event_wait(&joined, 1));
	assert_int_equal(atomic_load(&code), STTCP_ECLOSED);
	assert_int_equal(count_in("blue"), 0);
	/* It is a member of the server, too, until its disconnection handler. */
	assert_int_equal(count_in("red"), 1);
	assert_int_equal(sttcp_server_send_room(house->server, "red", NULL, "x", 1), 0);
	assert_int_equal(sttcp_conn_leave(conn, "red"), STTCP_ECLOSED);
	assert_int_equal(count_in("red"), 0);
	event_raise(&go_on);
	EVENTUALLY(count_in("green") == 0);
	close_house();
}

static void a_detached_connection_leaves_its_rooms(void **state)
{
	(void)state;
	open_house(NULL, NULL);
	sttcp_conn *conn = come_in();

	assert_int_equal(sttcp_conn_join(conn, "red"), 0);

	int fd = -EBUSY;

	EVENTUALLY((fd = sttcp_conn_detach(conn)) != -EBUSY);
	assert_true(fd >= 0);
	EVENTUALLY(count_in("red") == 0);
	close(fd);
	close_house();
}

static void rooms_are_empty_after_a_stop_and_serve_again(void **state)
{
	(void)state;
	open_house(NULL, NULL);
	fill_house(2);
	for (int run = 0; run < 2; run++) {
		sttcp_conn *conn = house->conns[house->npeers - 1];

		assert_int_equal(sttcp_conn_join(conn, "red"), 0);
		assert_int_equal(count_in("red"), 1);
		assert_int_equal(sttcp_server_stop_within(house->server, 0, NULL), 0);
		EVENTUALLY(count_in("red") == 0);
		assert_int_equal(sttcp_conn_join(conn, "red"), STTCP_ESTOPPED);
		EVENTUALLY(sttcp_server_start(house->server) == 0);
		come_in();
	}
	close_house();
}

/* -------------------------------------------------------------------- memory */

static void rooms_that_were_left_take_no_memory(void **state)
{
	enum {
		ROOMS = 2000,
		ROUNDS = 5
	};
	char name[32];
	size_t before = 0;

	(void)state;
	if (!memory_is_measured())
		return;
	open_house(NULL, NULL);
	fill_house(10);
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < ROOMS * 10; i++) {
			snprintf(name, sizeof(name), "room %d of %d", i / 10, round);
			assert_int_equal(sttcp_conn_join(house->conns[i % 10], name), 0);
		}
		for (int i = 0; i < ROOMS * 10; i++) {
			snprintf(name, sizeof(name), "room %d of %d", i / 10, round);
			assert_int_equal(sttcp_conn_leave(house->conns[i % 10], name), 0);
		}
		if (!round)
			before = bytes_in_use();
	}
	/* A round that leaked its rooms alone would be above 200 KB; malloc keeps a little. */
	assert_true(bytes_in_use() < before + 64 * 1024);
	close_house();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(members_are_counted_and_visited),
		cmocka_unit_test(joining_and_leaving_twice_changes_nothing),
		cmocka_unit_test(names_are_compared_as_bytes),
		cmocka_unit_test(one_connection_may_be_in_many_rooms),
		cmocka_unit_test(bad_arguments_are_refused),
		cmocka_unit_test(a_clients_connection_is_in_no_room),
		cmocka_unit_test(a_server_that_never_started_has_empty_rooms),
		cmocka_unit_test(rooms_belong_to_their_server),
		cmocka_unit_test(a_join_in_the_connection_handler_counts_from_its_true),
		cmocka_unit_test(a_join_never_counts_after_false),
		cmocka_unit_test(a_declined_connection_that_is_flushed_is_no_member),
		cmocka_unit_test(a_join_never_counts_after_a_failure),
		cmocka_unit_test(the_disconnection_handler_tells_those_who_stay),
		cmocka_unit_test(an_ended_connection_joins_no_more_but_can_leave),
		cmocka_unit_test(a_detached_connection_leaves_its_rooms),
		cmocka_unit_test(rooms_are_empty_after_a_stop_and_serve_again),
		cmocka_unit_test(rooms_that_were_left_take_no_memory),
	};

	memset(longest, 'x', sizeof(longest) - 1);
	memset(too_long, 'x', sizeof(too_long) - 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
