/* SPDX-License-Identifier: MIT */
/* The rooms alone, beside a plain model: who is in which, walks while connections come and go, and
 * allocations that fail. These connections have no descriptor, and no thread of the library knows
 * them. */
#include "group/rooms.h"

#include "conn/conn.h"
#include "support/memory_faults.h"
#include "support/support.h"
#include "support/visits.h"

enum {
	CONNS = 300, /* several of a walk's chunks */
	NAMES = 5,
	ROUNDS = 200
};

/* What a case knows of a connection without asking the rooms. */
struct known {
	struct sttcp_conn conn;
	bool in[NAMES];
	struct visits visits;
};

struct scene {
	struct stt_rooms *rooms;
	struct stt_room_key keys[NAMES];
	struct known known[CONNS];
	uint32_t random;
	int walked; /* the room of the walk that is going on */
};

static struct scene *new_scene(uint32_t random)
{
	static const char *const names[NAMES] = {"a", "b", "c", "d", "e"};
	struct scene *scene = calloc(1, sizeof(*scene));

	assert_non_null(scene);
	scene->random = random;
	scene->rooms = stt_rooms_new();
	assert_non_null(scene->rooms);
	for (int i = 0; i < NAMES; i++)
		assert_int_equal(stt_room_key_make(&scene->keys[i], names[i]), 0);
	for (int i = 0; i < CONNS; i++) {
		scene->known[i].conn.id = 1 + (uint64_t)i * 8;
		/* One of the case's own, so that nothing frees it. */
		atomic_init(&scene->known[i].conn.refs, 1);
	}
	return scene;
}

/* Whoever was lent a reference has given it back. */
static void free_scene(struct scene *scene)
{
	for (int i = 0; i < CONNS; i++) {
		stt_rooms_leave_all(scene->rooms, &scene->known[i].conn);
		assert_int_equal(atomic_load(&scene->known[i].conn.refs), 1);
	}
	for (int i = 0; i < NAMES; i++)
		assert_int_equal(stt_rooms_count(scene->rooms, &scene->keys[i]), 0);
	stt_rooms_free(scene->rooms);
	free(scene);
}

static bool counts(const struct known *known, int name)
{
	return known->in[name] && known->conn.room_phase == STT_ROOMS_NOW;
}

static void begin_anew(struct known *known)
{
	known->conn.room_phase = STT_ROOMS_LATER;
	known->conn.id += (uint64_t)8 * CONNS;
}

/* Something that a connection does, or that happens to it. */
static void change_one(struct scene *scene)
{
	struct known *known = &scene->known[next_random(&scene->random) % CONNS];
	int name = (int)(next_random(&scene->random) % NAMES);
	const struct stt_room_key *key = &scene->keys[name];
	uint32_t choice = next_random(&scene->random) % 16;

	if (choice == 0) {
		stt_rooms_leave_all(scene->rooms, &known->conn);
		memset(known->in, 0, sizeof(known->in));
		known->visits.due = false;
		assert_int_equal(stt_rooms_join(scene->rooms, &known->conn, key), STTCP_ECLOSED);
		stt_rooms_leave(scene->rooms, &known->conn, key);
		begin_anew(known);
	} else if (choice < 4) {
		if (known->conn.room_phase == STT_ROOMS_LATER)
			stt_rooms_admit(scene->rooms, &known->conn);
	} else if (choice < 10) {
		assert_int_equal(stt_rooms_join(scene->rooms, &known->conn, key), 0);
		known->in[name] = true;
	} else {
		stt_rooms_leave(scene->rooms, &known->conn, key);
		known->in[name] = false;
		known->visits.due &= name != scene->walked;
	}
}

static int count_members(const struct scene *scene, int name)
{
	int count = 0;

	for (int i = 0; i < CONNS; i++)
		count += counts(&scene->known[i], name);
	return count;
}

/* -------------------------------------------------------------------- walks */

static void visit(struct sttcp_conn *conn, void *argument)
{
	struct scene *scene = argument;

	stt_container_of(conn, struct known, conn)->visits.seen++;
	assert_true(atomic_load(&conn->refs) > 1);
	for (unsigned i = 0; i < next_random(&scene->random) % 6; i++)
		change_one(scene);
}

static void walk_and_check(struct scene *scene)
{
	int total = 0;

	for (int i = 0; i < CONNS; i++) {
		struct known *known = &scene->known[i];

		known->visits.seen = 0;
		known->visits.due = counts(known, scene->walked);
		known->visits.late = !known->visits.due;
	}
	int count = stt_rooms_each(scene->rooms, &scene->keys[scene->walked], visit, scene);

	for (int i = 0; i < CONNS; i++)
		total += visits_check(&scene->known[i].visits);
	assert_int_equal(count, total);
}

static void rooms_are_as_a_model_at_random(void **state)
{
	struct scene *scene = new_scene(test_seed());

	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		uint32_t steps = next_random(&scene->random) % (4 * CONNS);

		for (uint32_t i = 0; i < steps; i++)
			change_one(scene);
		for (int i = 0; i < NAMES; i++)
			assert_int_equal(stt_rooms_count(scene->rooms, &scene->keys[i]),
					 count_members(scene, i));
		scene->walked = round % NAMES;
		walk_and_check(scene);
	}
	free_scene(scene);
}

static void empty_the_room(struct sttcp_conn *conn, void *argument)
{
	struct scene *scene = argument;

	(void)conn;
	for (int i = 0; i < CONNS; i++)
		stt_rooms_leave(scene->rooms, &scene->known[i].conn, &scene->keys[0]);
}

/* The walk goes on from a number: in a room made anew numbers would begin again. */
static void refill_the_room(struct sttcp_conn *conn, void *argument)
{
	struct scene *scene = argument;

	stt_container_of(conn, struct known, conn)->visits.seen++;
	empty_the_room(conn, argument);
	for (int i = 0; i < CONNS; i++)
		stt_rooms_join(scene->rooms, &scene->known[i].conn, &scene->keys[0]);
}

static void fill(struct scene *scene)
{
	for (int i = 0; i < CONNS; i++) {
		stt_rooms_join(scene->rooms, &scene->known[i].conn, &scene->keys[0]);
		if (scene->known[i].conn.room_phase == STT_ROOMS_LATER)
			stt_rooms_admit(scene->rooms, &scene->known[i].conn);
	}
}

static void walk_survives_that_its_room_is_emptied_and_filled(void **state)
{
	struct scene *scene = new_scene(1);

	(void)state;
	fill(scene);
	int count = stt_rooms_each(scene->rooms, &scene->keys[0], empty_the_room, scene);

	assert_true(count > 0 && count < CONNS);
	assert_int_equal(stt_rooms_count(scene->rooms, &scene->keys[0]), 0);
	fill(scene);
	stt_rooms_each(scene->rooms, &scene->keys[0], refill_the_room, scene);
	for (int i = 0; i < CONNS; i++)
		assert_in_range(scene->known[i].visits.seen, 0, 1);
	assert_int_equal(stt_rooms_count(scene->rooms, &scene->keys[0]), CONNS);
	free_scene(scene);
}

/* -------------------------------------------------------------------- scarcity */

/* A join that is refused changes nothing, and one that has been taken counts in the end. */
static void join_without_memory_changes_nothing(void **state)
{
	(void)state;
	if (!memory_can_be_short())
		return;
	struct scene *scene = new_scene(1);

	for (int i = 0; i < CONNS; i++) {
		struct known *known = &scene->known[i];
		const struct stt_room_key *key = &scene->keys[i % NAMES];
		int result = -ENOMEM;

		if (i % 2)
			stt_rooms_admit(scene->rooms, &known->conn);
		for (int failures = 0; result == -ENOMEM; failures++) {
			int before = stt_rooms_count(scene->rooms, key);

			assert_in_range(failures, 0, 20);
			deny_after(failures, false);
			result = stt_rooms_join(scene->rooms, &known->conn, key);
			allow_again();
			if (result == -ENOMEM)
				assert_int_equal(stt_rooms_count(scene->rooms, key), before);
		}
		assert_int_equal(result, 0);
		known->in[i % NAMES] = true;
		deny_after(0, true);
		if (!(i % 2))
			stt_rooms_admit(scene->rooms, &known->conn);
		if (i % 3 == 0)
			stt_rooms_leave_all(scene->rooms, &known->conn);
		allow_again();
		for (int name = 0; name < NAMES; name++)
			assert_int_equal(stt_rooms_count(scene->rooms, &scene->keys[name]),
					 count_members(scene, name));
	}
	free_scene(scene);
}

static void names_have_1_to_255_bytes(void **state)
{
	char name[300];
	struct stt_room_key key;

	(void)state;
	memset(name, 'x', sizeof(name));
	for (size_t len = 0; len < sizeof(name); len++) {
		name[len] = 0;
		assert_int_equal(stt_room_key_make(&key, name), len > 0 && len < 256 ? 0 : -EINVAL);
		name[len] = 'x';
	}
	/* No more is read than is needed to refuse it. */
	assert_int_equal(stt_room_key_make(&key, name), -EINVAL);
	assert_int_equal(stt_room_key_make(&key, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rooms_are_as_a_model_at_random),
		cmocka_unit_test(walk_survives_that_its_room_is_emptied_and_filled),
		cmocka_unit_test(join_without_memory_changes_nothing),
		cmocka_unit_test(names_have_1_to_255_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
