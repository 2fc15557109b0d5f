/* SPDX-License-Identifier: MIT */
/* The roster: a walk over it while connections come and go (G12), its members, and the references
 * that it takes. These connections have no descriptor, and no thread of the library knows them. */
#include "group/roster.h"

#include "conn/conn.h"
#include "conn/life.h"
#include "support/support.h"
#include "support/visits.h"

enum {
	CONNS = 300, /* several of a walk's chunks */
	ROUNDS = 200
};

/* What a case knows of a connection without asking the roster. */
struct known {
	struct sttcp_conn conn;
	bool on;
	bool member;
	bool gone; /* it has left, and comes no second time: no connection does */
	struct visits visits;
};

/* One walk, and what happens meanwhile. */
struct scene {
	struct stt_roster roster;
	struct known known[CONNS];
	uint32_t random;
	bool all;
	bool changes;
	uint64_t last_place;
};

static struct known *known_of(struct sttcp_conn *conn)
{
	return stt_container_of(conn, struct known, conn);
}

static struct scene *new_scene(uint32_t random)
{
	struct scene *scene = calloc(1, sizeof(*scene));

	assert_non_null(scene);
	scene->random = random;
	stt_roster_init(&scene->roster);
	for (int i = 0; i < CONNS; i++) {
		struct sttcp_conn *conn = &scene->known[i].conn;

		conn->id = 1 + (uint64_t)i * 8;
		/* One of the case's own, so that nothing frees it. */
		atomic_init(&conn->refs, 1);
		stt_list_init(&conn->in_roster);
	}
	return scene;
}

/* Whoever was lent a reference has given it back. */
static void free_scene(struct scene *scene)
{
	for (int i = 0; i < CONNS; i++)
		assert_int_equal(atomic_load(&scene->known[i].conn.refs), 1);
	stt_roster_fini(&scene->roster);
	free(scene);
}

static void add(struct scene *scene, struct known *known)
{
	stt_roster_add(&scene->roster, &known->conn);
	known->on = true;
}

static void join(struct scene *scene, struct known *known)
{
	stt_roster_join(&scene->roster, &known->conn);
	known->member = true;
}

static void leave(struct scene *scene, struct known *known)
{
	stt_roster_leave(&scene->roster, &known->conn);
	known->member = false;
}

static void take_off(struct scene *scene, struct known *known)
{
	if (known->member)
		leave(scene, known);
	stt_roster_remove(&scene->roster, &known->conn);
	known->on = false;
	known->gone = true;
}

static void change_one(struct scene *scene)
{
	struct known *known = &scene->known[next_random(&scene->random) % CONNS];

	if (known->gone)
		return;
	if (!known->on)
		add(scene, known);
	else if (!known->member && next_random(&scene->random) % 2)
		join(scene, known);
	else if (known->member && next_random(&scene->random) % 2)
		leave(scene, known);
	else
		take_off(scene, known);
	/* What was not there all the time may be seen or not. */
	known->visits.due = false;
}

/* From now on it is another connection. */
static void forget_those_gone(struct scene *scene)
{
	for (int i = 0; i < CONNS; i++)
		scene->known[i].gone = false;
}

static int count_members(const struct scene *scene)
{
	int count = 0;

	for (int i = 0; i < CONNS; i++)
		count += scene->known[i].member;
	return count;
}

/* ------------------------------------------------------------------- members */

static void only_members_are_found_and_counted(void **state)
{
	struct scene *scene = new_scene(test_seed());

	(void)state;
	for (int step = 0; step < 50 * CONNS; step++) {
		struct known *known = &scene->known[next_random(&scene->random) % CONNS];

		change_one(scene);
		forget_those_gone(scene);
		struct sttcp_conn *found = stt_roster_find(&scene->roster, known->conn.id);

		assert_ptr_equal(found, known->member ? &known->conn : NULL);
		if (found) {
			assert_int_equal(atomic_load(&found->refs), 2);
			stt_conn_unref(found);
		}
		assert_int_equal(stt_roster_count(&scene->roster), count_members(scene));
	}
	assert_null(stt_roster_find(&scene->roster, 0));
	assert_null(stt_roster_find(&scene->roster, 2));
	free_scene(scene);
}

static void leaving_twice_or_unjoined_does_nothing(void **state)
{
	struct scene *scene = new_scene(1);

	(void)state;
	add(scene, &scene->known[0]);
	add(scene, &scene->known[1]);
	leave(scene, &scene->known[0]);
	join(scene, &scene->known[1]);
	leave(scene, &scene->known[1]);
	leave(scene, &scene->known[1]);
	assert_int_equal(stt_roster_count(&scene->roster), 0);
	/* It is still on the roster. */
	assert_false(stt_list_empty(&scene->known[1].conn.in_roster));
	free_scene(scene);
}

/* ---------------------------------------------------------------------- walks */

static void visit(struct sttcp_conn *conn, void *argument)
{
	struct scene *scene = argument;
	struct known *known = known_of(conn);

	known->visits.seen++;
	/* In the order of their coming, over references of the walk's own. */
	assert_true(conn->place > scene->last_place);
	assert_true(atomic_load(&conn->refs) > 1);
	scene->last_place = conn->place;
	for (unsigned i = 0; scene->changes && i < next_random(&scene->random) % 4; i++)
		change_one(scene);
}

static void begin(struct scene *scene)
{
	scene->last_place = 0;
	for (int i = 0; i < CONNS; i++) {
		struct known *known = &scene->known[i];

		known->visits.seen = 0;
		known->visits.late = !known->on;
		known->visits.due = scene->all ? known->on : known->member;
	}
}

static int check_seen(const struct scene *scene)
{
	int total = 0;

	for (int i = 0; i < CONNS; i++)
		total += visits_check(&scene->known[i].visits);
	return total;
}

static void walk_sees_each_that_stays_and_none_twice(void **state)
{
	struct scene *scene = new_scene(test_seed());

	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		scene->all = round % 2;
		/* Each fourth time everything stands still. */
		scene->changes = round % 4 < 3;
		begin(scene);
		int count = stt_roster_each(&scene->roster, scene->all ? STT_ALL : STT_MEMBERS,
					    visit, scene);

		assert_int_equal(count, check_seen(scene));
		for (int i = 0; !scene->changes && i < CONNS; i++)
			assert_int_equal(scene->known[i].visits.seen, scene->known[i].visits.due);
		forget_those_gone(scene);
		for (int i = 0; i < CONNS; i++)
			change_one(scene);
		forget_those_gone(scene);
	}
	free_scene(scene);
}

/* Comes in the middle of a walk. */
static void add_next(struct sttcp_conn *conn, void *argument)
{
	struct scene *scene = argument;
	struct known *known = known_of(conn);

	known->visits.seen++;
	if (known + 1 < scene->known + CONNS && !known[1].on)
		add(scene, known + 1);
}

/* Else each newcomer could keep it going for ever. */
static void walk_ends_before_what_came_after_its_beginning(void **state)
{
	struct scene *scene = new_scene(1);

	(void)state;
	add(scene, &scene->known[0]);
	for (int expected = 1; expected <= 3; expected++)
		assert_int_equal(stt_roster_each(&scene->roster, STT_ALL, add_next, scene),
				 expected);
	free_scene(scene);
}

static void take_off_all(struct sttcp_conn *conn, void *argument)
{
	struct scene *scene = argument;

	known_of(conn)->visits.seen++;
	for (int i = 0; i < CONNS; i++)
		if (scene->known[i].on)
			take_off(scene, &scene->known[i]);
}

/* The last of a chunk has left when the walk goes on from it, and so has all behind it. */
static void walk_survives_that_everybody_leaves(void **state)
{
	struct scene *scene = new_scene(1);

	(void)state;
	for (int i = 0; i < CONNS; i++)
		add(scene, &scene->known[i]);
	int count = stt_roster_each(&scene->roster, STT_ALL, take_off_all, scene);

	/* Those of the chunk that had been taken. */
	assert_in_range(count, 1, CONNS - 1);
	for (int i = 0; i < CONNS; i++)
		assert_int_equal(scene->known[i].visits.seen, i < count);
	free_scene(scene);
}

static void take_off_own(struct sttcp_conn *conn, void *argument)
{
	known_of(conn)->visits.seen++;
	take_off(argument, known_of(conn));
}

/* As a forced stop's: its place goes from under the walk with each. */
static void walk_sees_all_although_each_leaves(void **state)
{
	struct scene *scene = new_scene(1);

	(void)state;
	for (int i = 0; i < CONNS; i++)
		add(scene, &scene->known[i]);
	assert_int_equal(stt_roster_each(&scene->roster, STT_ALL, take_off_own, scene), CONNS);
	for (int i = 0; i < CONNS; i++)
		assert_int_equal(scene->known[i].visits.seen, 1);
	free_scene(scene);
}

/* A chunk at a time, so that a loop can do something else in between. */
static void walk_comes_in_chunks_and_then_to_its_end(void **state)
{
	struct scene *scene = new_scene(1);
	struct stt_walk walk;
	int total = 0;
	int chunks = 0;
	int count;

	(void)state;
	for (int i = 0; i < CONNS; i++)
		add(scene, &scene->known[i]);
	begin(scene);
	stt_roster_walk_begin(&scene->roster, &walk, STT_ALL);
	while ((count = stt_roster_walk(&scene->roster, &walk, visit, scene)) > 0) {
		total += count;
		chunks++;
		/* What it goes on from stays alive. */
		assert_int_equal(atomic_load(&walk.last->refs), 2);
	}
	assert_int_equal(total, CONNS);
	assert_in_range(chunks, 2, CONNS / 2);
	assert_null(walk.last);
	free_scene(scene);
}

static void walk_over_nobody_calls_nobody(void **state)
{
	struct scene *scene = new_scene(1);

	(void)state;
	assert_int_equal(stt_roster_each(&scene->roster, STT_ALL, visit, scene), 0);
	add(scene, &scene->known[0]);
	assert_int_equal(stt_roster_each(&scene->roster, STT_MEMBERS, visit, scene), 0);
	free_scene(scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_members_are_found_and_counted),
		cmocka_unit_test(leaving_twice_or_unjoined_does_nothing),
		cmocka_unit_test(walk_sees_each_that_stays_and_none_twice),
		cmocka_unit_test(walk_ends_before_what_came_after_its_beginning),
		cmocka_unit_test(walk_survives_that_everybody_leaves),
		cmocka_unit_test(walk_sees_all_although_each_leaves),
		cmocka_unit_test(walk_comes_in_chunks_and_then_to_its_end),
		cmocka_unit_test(walk_over_nobody_calls_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
