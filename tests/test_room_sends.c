/* SPDX-License-Identifier: MIT */
/* What is sent to a room: whom it reaches, and what becomes of members that do not read. */
#include "support/house.h"

static void a_message_reaches_the_room_but_for_one(void **state)
{
	(void)state;
	open_house(NULL, NULL);
	sttcp_server *server = house->server;

	fill_house(4);
	fill_red(3);
	assert_int_equal(sttcp_server_send_room(server, "red", NULL, "all;", 4), 3);
	assert_int_equal(sttcp_server_send_room(server, "red", house->conns[1], "two;", 4), 2);
	assert_int_equal(sttcp_server_send_room(server, "red", house->conns[3], "all;", 4), 3);
	assert_int_equal(sttcp_server_send_room(server, "red", NULL, NULL, 0), 3);
	assert_int_equal(sttcp_server_broadcast(server, "end", 3), 4);
	assert_true(peer_expect(house->peers[0], "all;two;all;end"));
	assert_true(peer_expect(house->peers[1], "all;all;end"));
	assert_true(peer_expect(house->peers[2], "all;two;all;end"));
	assert_true(peer_expect(house->peers[3], "end"));
	close_house();
}

static void a_message_is_framed_for_each_member(void **state)
{
	(void)state;
	open_house(NULL, STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE));
	sttcp_server *server = house->server;

	fill_house(3);
	fill_red(2);
	assert_int_equal(
		sttcp_conn_set_framing(house->conns[1],
				       STTCP_OPTIONS(.framing = STTCP_FRAMING_DELIMITER,
						     .delimiter = ";", .delimiter_size = 1)),
		0);
	assert_int_equal(sttcp_server_send_room_message(server, "red", NULL, "a", 1), 2);
	assert_int_equal(sttcp_server_send_room_message(server, "red", house->conns[0], "b", 1), 1);
	/* A line cannot carry it. */
	assert_int_equal(sttcp_server_send_room_message(server, "red", NULL, "c\nc", 3), 1);
	assert_int_equal(sttcp_server_send_room(server, "red", NULL, "d", 1), 2);
	assert_true(peer_expect(house->peers[0], "a\nd"));
	assert_true(peer_expect(house->peers[1], "a;b;c\nc;d"));
	close_house();
}

/* As a broadcast does: a member over its cap is dropped, or misses the message. */
static void check_full_member(bool skips)
{
	enum {
		PART = 4096
	};
	static char part[PART];
	int sent = 2;

	struct probe *probe = probe_new();

	probe->connection = narrow;
	open_house(probe, STTCP_OPTIONS(.send_queue_max = 3 * PART, .high_water = -1,
					.broadcast_skips = skips));
	sttcp_conn *deaf = come_in();
	sttcp_conn *reader = come_in();

	assert_int_equal(sttcp_conn_join(deaf, "red"), 0);
	assert_int_equal(sttcp_conn_join(reader, "red"), 0);
	for (int64_t until = now_ms() + DEADLINE_MS; sent == 2 && now_ms() < until;) {
		sent = sttcp_server_send_room(house->server, "red", NULL, part, PART);
		assert_true(peer_recv(house->peers[1], part, PART));
	}
	assert_int_equal(sent, 1);
	if (skips) {
		assert_true(sttcp_conn_is_open(deaf));
		assert_int_equal(count_in("red"), 2);
	} else {
		assert_int_equal(sttcp_conn_reason(deaf), STTCP_ESLOW);
		EVENTUALLY(count_in("red") == 1);
	}
	assert_true(sttcp_conn_is_open(reader));
	close_house();
}

static void a_full_member_is_dropped(void **state)
{
	(void)state;
	check_full_member(false);
}

static void a_full_member_misses_the_message_where_that_is_wanted(void **state)
{
	(void)state;
	check_full_member(true);
}

static bool tell_room(struct probe *probe, sttcp_conn *conn, const void *data, size_t size)
{
	(void)probe;
	sttcp_server_send_room(sttcp_conn_server(conn), "red", conn, data, size);
	return true;
}

static void handlers_of_members_send_to_their_room(void **state)
{
	(void)state;
	struct probe *probe = probe_new();

	probe->data = tell_room;
	open_house(probe, NULL);
	fill_house(3);
	fill_red(3);
	for (int i = 0; i < 3; i++) {
		assert_true(peer_say(house->peers[i], "hello"));
		assert_true(peer_expect(house->peers[(i + 1) % 3], "hello"));
		assert_true(peer_expect(house->peers[(i + 2) % 3], "hello"));
	}
	close_house();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_reaches_the_room_but_for_one),
		cmocka_unit_test(a_message_is_framed_for_each_member),
		cmocka_unit_test(a_full_member_is_dropped),
		cmocka_unit_test(a_full_member_misses_the_message_where_that_is_wanted),
		cmocka_unit_test(handlers_of_members_send_to_their_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
