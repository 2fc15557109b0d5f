/* SPDX-License-Identifier: MIT */
/* A counter with one writer at a time: nothing is lost, and a reader never sees half of a number.
 */
#include "base/counter.h"

#include "support/support.h"

enum {
	TIMES = 200000
};

/* Both halves of it change with each step. */
static const int64_t step = INT64_C(0x100000001);

static struct stt_counter counter;
static atomic_bool over;

static void *write_it(void *unused)
{
	for (int i = 0; i < TIMES; i++)
		stt_counter_add(&counter, step);
	atomic_store(&over, true);
	return unused;
}

static void reader_sees_whole_numbers_that_grow(void **state)
{
	pthread_t thread;
	int64_t last = 0;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, write_it, NULL), 0);
	while (!atomic_load(&over)) {
		int64_t now = stt_counter_get(&counter);

		assert_true(now >= last);
		assert_int_equal(now % step, 0);
		last = now;
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(stt_counter_get(&counter) == TIMES * step);
	stt_counter_add(&counter, -TIMES * step);
	assert_int_equal(stt_counter_get(&counter), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reader_sees_whole_numbers_that_grow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
