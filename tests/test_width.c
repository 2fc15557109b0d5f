/* SPDX-License-Identifier: MIT */
/* How many handlers that are not known to block the pool works on at a time. */
#include "engine/width.h"

#include "engine/actor.h"
#include "support/support.h"

enum {
	FREE_LOOKS = 64
};

static struct stt_actor quick;
static struct stt_actor blocking = {.blocks = true};

static void take(struct stt_width *width, int count)
{
	while (count-- > 0)
		assert_true(stt_width_take(width, &quick));
}

static void give_back(struct stt_width *width, int count)
{
	while (count-- > 0)
		stt_width_give_back(width, true);
}

static void look_freely(struct stt_width *width, int count)
{
	while (count-- > 0)
		assert_false(stt_width_look(width, false));
}

static void unknown_ones_wait_at_the_width(void **state)
{
	static const struct {
		int nloops;
		int least;
	} cases[] = {{1, 4}, {2, 4}, {3, 6}, {64, 128}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct stt_width width;

		stt_width_init(&width, cases[i].nloops);
		for (int k = 0; k < cases[i].least; k++) {
			assert_false(stt_width_holds(&width, &quick));
			take(&width, 1);
		}
		assert_true(stt_width_holds(&width, &quick));
		give_back(&width, 1);
		assert_false(stt_width_holds(&width, &quick));
	}
}

static void those_that_block_neither_wait_nor_count(void **state)
{
	struct stt_width width;

	(void)state;
	stt_width_init(&width, 1);
	for (int i = 0; i < 100; i++) {
		assert_false(stt_width_take(&width, &blocking));
		assert_false(stt_width_holds(&width, &quick));
	}
	take(&width, 4);
	assert_true(stt_width_holds(&width, &quick));
	assert_false(stt_width_holds(&width, &blocking));
	/* What did not count when it was taken does not count when it ends. */
	stt_width_give_back(&width, false);
	assert_true(stt_width_holds(&width, &quick));
}

static void only_a_held_queue_that_stands_still_is_stuck(void **state)
{
	struct stt_width width;

	(void)state;
	stt_width_init(&width, 1);
	take(&width, 4);
	assert_false(stt_width_look(&width, true)); /* four were taken */
	assert_true(stt_width_look(&width, true));
	assert_true(stt_width_look(&width, true));
	assert_false(stt_width_look(&width, false));
	stt_width_take(&width, &blocking);
	assert_false(stt_width_look(&width, true));
	assert_true(stt_width_look(&width, true));
}

static void widening_stops_at_the_cap(void **state)
{
	struct stt_width width;

	(void)state;
	stt_width_init(&width, 1);
	assert_false(stt_width_is_wide(&width));
	stt_width_widen(&width, 100);
	assert_true(stt_width_is_wide(&width));
	take(&width, 32);
	assert_true(stt_width_holds(&width, &quick));
	stt_width_widen(&width, 100);
	take(&width, 68);
	assert_true(stt_width_holds(&width, &quick));
	stt_width_widen(&width, 100);
	assert_true(stt_width_holds(&width, &quick));
	/* Nor does a cap below the least one take away. */
	stt_width_init(&width, 1);
	stt_width_widen(&width, 1);
	take(&width, 3);
	assert_false(stt_width_holds(&width, &quick));
}

static void what_is_not_used_goes(void **state)
{
	struct stt_width width;

	(void)state;
	stt_width_init(&width, 1);
	stt_width_widen(&width, 1000); /* 32 */
	take(&width, 17);
	look_freely(&width, FREE_LOOKS);
	give_back(&width, 17);
	/* 17 were at work within this time, and in a part of the next. */
	look_freely(&width, FREE_LOOKS);
	assert_int_equal(width.most, 32);
	look_freely(&width, FREE_LOOKS - 1);
	assert_int_equal(width.most, 32);
	look_freely(&width, 1);
	assert_int_equal(width.most, 16);
	look_freely(&width, 10 * FREE_LOOKS);
	assert_int_equal(width.most, 4);
	assert_false(stt_width_is_wide(&width));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unknown_ones_wait_at_the_width),
		cmocka_unit_test(those_that_block_neither_wait_nor_count),
		cmocka_unit_test(only_a_held_queue_that_stands_still_is_stuck),
		cmocka_unit_test(widening_stops_at_the_cap),
		cmocka_unit_test(what_is_not_used_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
