/* SPDX-License-Identifier: MIT */
/* The waits of a client that connects again, as numbers: their bounds, their spread, and when they
 * begin anew. */
#include "group/backoff.h"

#include "support/support.h"

static struct stt_backoff backoff_of(int first_ms, int most_ms, int most_tries, uint64_t state)
{
	struct stt_backoff backoff = {
		.first_ms = first_ms, .most_ms = most_ms, .most_tries = most_tries, .state = state};

	stt_backoff_begin(&backoff);
	return backoff;
}

static void bound_doubles_up_to_the_largest(void **state)
{
	static const int bounds[] = {100, 200, 400, 800, 1000, 1000, 1000};
	enum {
		N = sizeof(bounds) / sizeof(bounds[0]),
		CLIENTS = 2000
	};
	int longest[N] = {0};

	(void)state;
	for (uint64_t client = 0; client < CLIENTS; client++) {
		struct stt_backoff backoff = backoff_of(100, 1000, -1, client);

		for (int i = 0; i < N; i++) {
			int wait_ms = stt_backoff_wait(&backoff);

			assert_in_range(wait_ms, 0, bounds[i]);
			if (wait_ms > longest[i])
				longest[i] = wait_ms;
		}
	}
	/* The bound itself, and not something smaller. */
	for (int i = 0; i < N; i++)
		assert_in_range(longest[i], bounds[i] * 98 / 100, bounds[i]);
}

/* Seeds that stand next to each other are not alike. 10 000 waits in 20 drawers: 500 each, with a
 * standard deviation of 22. */
static void waits_are_spread_evenly(void **state)
{
	enum {
		CLIENTS = 10000,
		DRAWERS = 20
	};
	int counts[DRAWERS] = {0};
	uint64_t seed = test_seed();

	(void)state;
	for (uint64_t client = 0; client < CLIENTS; client++) {
		struct stt_backoff backoff = backoff_of(1999, 30000, -1, seed + client);

		counts[stt_backoff_wait(&backoff) / 100]++;
	}
	for (int i = 0; i < DRAWERS; i++)
		assert_in_range(counts[i], 500 - 6 * 22, 500 + 6 * 22);
}

static void waits_of_two_clients_differ(void **state)
{
	struct stt_backoff one = backoff_of(1000000, -1, -1, 1);
	struct stt_backoff other = backoff_of(1000000, -1, -1, 2);
	int alike = 0;

	(void)state;
	for (int i = 0; i < 12; i++)
		alike += stt_backoff_wait(&one) == stt_backoff_wait(&other);
	assert_in_range(alike, 0, 1);
}

static void tries_are_counted_since_it_was_open(void **state)
{
	struct stt_backoff backoff = backoff_of(10, 100, 3, 1);

	(void)state;
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 3; i++)
			assert_true(stt_backoff_try(&backoff));
		assert_false(stt_backoff_try(&backoff));
		assert_false(stt_backoff_try(&backoff));
		stt_backoff_note_lost(&backoff, 0);
	}
	stt_backoff_begin(&backoff);
	assert_true(stt_backoff_try(&backoff));
}

static void no_tries_are_allowed_when_it_is_off(void **state)
{
	struct stt_backoff backoff = backoff_of(-1, 30000, -1, 1);

	(void)state;
	assert_false(stt_backoff_try(&backoff));
}

static void bound_begins_anew_after_a_connection_that_lasted(void **state)
{
	struct stt_backoff backoff = backoff_of(10, 1000, -1, 1);

	(void)state;
	for (int i = 0; i < 4; i++)
		stt_backoff_wait(&backoff);
	assert_int_equal(backoff.bound_ms, 160);
	/* Not long enough: a server that ends each connection at once. */
	stt_backoff_note_lost(&backoff, 999);
	assert_int_equal(backoff.bound_ms, 160);
	stt_backoff_note_lost(&backoff, 1000);
	assert_int_equal(backoff.bound_ms, 10);
}

static void bound_without_a_largest_begins_anew_after_its_own_length(void **state)
{
	struct stt_backoff backoff = backoff_of(10, -1, -1, 1);

	(void)state;
	for (int i = 0; i < 4; i++)
		stt_backoff_wait(&backoff);
	stt_backoff_note_lost(&backoff, 159);
	assert_int_equal(backoff.bound_ms, 160);
	stt_backoff_note_lost(&backoff, 160);
	assert_int_equal(backoff.bound_ms, 10);
}

static void largest_numbers_do_not_overflow(void **state)
{
	static const struct {
		int first_ms, most_ms;
	} cases[] = {{1, -1},
		     {1, INT32_MAX},
		     {INT32_MAX, -1},
		     {INT32_MAX, INT32_MAX},
		     {INT32_MAX / 2 + 1, INT32_MAX}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct stt_backoff backoff =
			backoff_of(cases[i].first_ms, cases[i].most_ms, INT32_MAX, i);

		for (int tries = 0; tries < 100; tries++) {
			assert_true(stt_backoff_try(&backoff));
			assert_true(stt_backoff_wait(&backoff) >= 0);
		}
		assert_int_equal(backoff.bound_ms, INT32_MAX);
		stt_backoff_note_lost(&backoff, INT64_MAX);
		assert_int_equal(backoff.bound_ms, cases[i].first_ms);
	}
}

/* A try of a millisecond each, and nobody there for a year. */
static void year_without_a_server_costs_a_try_in_half_the_bound(void **state)
{
	const int64_t year_ms = INT64_C(365) * 24 * 3600 * 1000;
	struct stt_backoff backoff = backoff_of(1000, 30000, -1, test_seed());
	int64_t now_ms = 0;
	int64_t tries = 0;

	(void)state;
	for (; now_ms < year_ms; tries++) {
		assert_true(stt_backoff_try(&backoff));
		now_ms += stt_backoff_wait(&backoff) + 1;
	}
	/* 15 s on average; the deviation of the mean of two million is far below a percent. */
	assert_true(tries > year_ms / 15000 * 99 / 100);
	assert_true(tries < year_ms / 15000 * 101 / 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bound_doubles_up_to_the_largest),
		cmocka_unit_test(waits_are_spread_evenly),
		cmocka_unit_test(waits_of_two_clients_differ),
		cmocka_unit_test(tries_are_counted_since_it_was_open),
		cmocka_unit_test(no_tries_are_allowed_when_it_is_off),
		cmocka_unit_test(bound_begins_anew_after_a_connection_that_lasted),
		cmocka_unit_test(bound_without_a_largest_begins_anew_after_its_own_length),
		cmocka_unit_test(largest_numbers_do_not_overflow),
		cmocka_unit_test(year_without_a_server_costs_a_try_in_half_the_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
