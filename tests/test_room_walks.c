/* SPDX-License-Identifier: MIT */
/* Walks over the members of a room: no lock is held in them (G10). */
#include "support/house.h"

static int inner_calls;

/* What a function that is called for each does to somebody else. */
enum deed {
	LEAVES,
	LEAVES_AND_JOINS,
	CLOSES,
	OTHERS_LEAVE,
	OTHERS_JOIN
};

struct walk {
	enum deed deed;
	int calls;
	int seen[MANY];
};

static void act(sttcp_conn *conn, void *argument)
{
	struct walk *walk = argument;
	int who = -1;

	for (int i = 0; i < house->npeers; i++)
		if (house->conns[i] == conn)
			who = i;
	if (who < 0)
		return;
	walk->calls++;
	walk->seen[who]++;
	switch (walk->deed) {
	case LEAVES:
		sttcp_conn_leave(conn, "red");
		break;
	case LEAVES_AND_JOINS:
		sttcp_conn_leave(conn, "red");
		sttcp_conn_join(conn, "red");
		break;
	case CLOSES:
		sttcp_conn_close(conn);
		break;
	case OTHERS_LEAVE:
		for (int i = 0; i < house->npeers; i++)
			if (i != who && !walk->seen[i])
				sttcp_conn_leave(house->conns[i], "red");
		break;
	case OTHERS_JOIN:
		for (int i = 0; i < house->npeers; i++)
			sttcp_conn_join(house->conns[i], "red");
		break;
	}
}

static struct walk walk_over(int members, enum deed deed)
{
	struct walk walk = {.deed = deed};

	fill_red(members);

	int total = sttcp_server_each_in(house->server, "red", act, &walk);

	assert_int_equal(total, walk.calls);
	for (int i = 0; i < house->npeers; i++)
		assert_true(walk.seen[i] <= 1);
	return walk;
}

static void a_walk_may_change_the_room(void **state)
{
	(void)state;
	open_house(NULL, NULL);
	fill_house(MANY);
	assert_int_equal(walk_over(MANY, LEAVES).calls, MANY);
	assert_int_equal(count_in("red"), 0);
	assert_int_equal(walk_over(MANY, LEAVES_AND_JOINS).calls, MANY);
	assert_int_equal(count_in("red"), MANY);
	/* Those that were taken with the first are visited, and no more. */
	assert_true(walk_over(MANY, OTHERS_LEAVE).calls < MANY / 2);
	assert_true(count_in("red") < MANY / 2);
	for (int i = 0; i < MANY; i++)
		assert_int_equal(sttcp_conn_leave(house->conns[i], "red"), 0);
	/* Who comes meanwhile is left out. */
	assert_int_equal(walk_over(MANY / 2, OTHERS_JOIN).calls, MANY / 2);
	assert_int_equal(count_in("red"), MANY);
	assert_int_equal(walk_over(MANY, CLOSES).calls, MANY);
	EVENTUALLY(count_in("red") == 0);
	close_house();
}

static void walk_inside(sttcp_conn *conn, void *argument)
{
	int *calls = argument;

	sttcp_conn_leave(conn, "red");
	*calls += sttcp_server_each_in(house->server, "red", count_call, &inner_calls);
}

static void walks_may_stand_inside_each_other(void **state)
{
	int calls = 0;

	(void)state;
	open_house(NULL, NULL);
	fill_house(MANY);
	fill_red(MANY);
	assert_int_equal(sttcp_server_each_in(house->server, "red", walk_inside, &calls), MANY);
	assert_int_equal(calls, MANY * (MANY - 1) / 2);
	assert_int_equal(count_in("red"), 0);
	close_house();
}

/* Outside handlers free waits for the connections, and they are members no more. */
static void free_server(sttcp_conn *conn, void *argument)
{
	++*(int *)argument;
	sttcp_server_free(house->server);
	house->server = NULL;
	assert_int_equal(sttcp_conn_leave(conn, "red"), STTCP_ESTOPPED);
}

static void a_walk_may_free_the_server(void **state)
{
	int calls = 0;

	(void)state;
	open_house(NULL, NULL);
	fill_house(MANY);
	fill_red(MANY);

	int total = sttcp_server_each_in(house->server, "red", free_server, &calls);

	/* Those that were taken with the first. */
	assert_int_equal(total, calls);
	assert_true(total < MANY);
	close_house();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_walk_may_change_the_room),
		cmocka_unit_test(walks_may_stand_inside_each_other),
		cmocka_unit_test(a_walk_may_free_the_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
