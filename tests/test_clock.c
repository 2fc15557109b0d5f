/* SPDX-License-Identifier: MIT */
/* Times and limits in the library's units. clock_gettime is this program's own, in front of the C
 * library's, so that a case says what time it is. */
#include "base/clock.h"

#include "support/support.h"

#include <sys/syscall.h>

static _Thread_local struct timespec said;
static _Thread_local bool says;

int clock_gettime(clockid_t clock, struct timespec *now)
{
	if (!says)
		return (int)syscall(SYS_clock_gettime, clock, now);
	*now = said;
	return 0;
}

/* Nobody but the case asks for the time meanwhile. */
static int64_t deadline_at(time_t seconds, long ns, int64_t ms)
{
	said = (struct timespec){.tv_sec = seconds, .tv_nsec = ns};
	says = true;
	int64_t at = stt_deadline_ms(ms);

	says = false;
	return at;
}

static void time_is_cut_off_and_not_rounded(void **state)
{
	(void)state;
	said = (struct timespec){.tv_sec = 3, .tv_nsec = 999999999};
	says = true;
	int64_t us = stt_now_us();
	int64_t ms = stt_now_ms();

	says = false;
	assert_int_equal(us, 3999999);
	assert_int_equal(ms, 3999);
}

/* 49 days in milliseconds are more than 32 bits, and so are 36 minutes in microseconds. */
static void time_is_64_bits_wide(void **state)
{
	(void)state;
	said = (struct timespec){.tv_sec = 100 * 24 * 3600, .tv_nsec = 1000000};
	says = true;
	int64_t us = stt_now_us();
	int64_t ms = stt_now_ms();

	says = false;
	assert_int_equal(us, INT64_C(8640000001000));
	assert_int_equal(ms, INT64_C(8640000001));
}

static void limit_is_never_early(void **state)
{
	static const long nss[] = {0, 1, 999999, 1000000, 1000001, 999999999};

	(void)state;
	for (size_t i = 0; i < sizeof(nss) / sizeof(nss[0]); i++) {
		for (int64_t ms = 1; ms < 5; ms++) {
			int64_t at_ns = deadline_at(10, nss[i], ms) * 1000000;
			int64_t wanted_ns = INT64_C(10000000000) + nss[i] + ms * 1000000;

			assert_true(at_ns >= wanted_ns);
			/* And late by no more than what a millisecond hides. */
			assert_true(at_ns <= wanted_ns + 1000000);
		}
	}
}

static void limit_of_0_is_over_at_once(void **state)
{
	(void)state;
	assert_int_equal(deadline_at(10, 0, 0), 10000);
	assert_int_equal(deadline_at(10, 999999999, 0), 10999);
}

static void limit_below_0_is_never(void **state)
{
	(void)state;
	assert_true(deadline_at(10, 0, -1) == STT_NEVER);
	assert_true(deadline_at(10, 0, INT64_MIN) == STT_NEVER);
}

static void timespec_has_its_nanoseconds_below_a_second(void **state)
{
	static const struct {
		int64_t ms;
		time_t seconds;
		long ns;
	} cases[] = {
		{0, 0, 0},    {1, 0, 1000000},	  {999, 0, 999000000},
		{1000, 1, 0}, {1001, 1, 1000000}, {INT64_C(2147483647999), 2147483647, 999000000},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct timespec at = stt_timespec(cases[i].ms);

		assert_int_equal(at.tv_sec, cases[i].seconds);
		assert_int_equal(at.tv_nsec, cases[i].ns);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(time_is_cut_off_and_not_rounded),
		cmocka_unit_test(time_is_64_bits_wide),
		cmocka_unit_test(limit_is_never_early),
		cmocka_unit_test(limit_of_0_is_over_at_once),
		cmocka_unit_test(limit_below_0_is_never),
		cmocka_unit_test(timespec_has_its_nanoseconds_below_a_second),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
