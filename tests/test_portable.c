/* SPDX-License-Identifier: MIT */
/* What stands in for functions that not every C library has, on every one of them: the semaphore,
 * and the names and sentences of errno's values. */
#include "base/portable.h"

#undef STT_HAVE_SEM_CLOCKWAIT
#define STT_HAVE_SEM_CLOCKWAIT 0

#include "base/errno_table.h"
#include "support/semaphore_cases.h"

/* ------------------------------------------------------------- errno's values */

static void errno_has_its_name_and_sentence(void **state)
{
	(void)state;
	assert_string_equal(stt_find_errno(ECONNRESET)->name, "ECONNRESET");
	assert_string_equal(stt_find_errno(ECONNRESET)->text, "Connection reset by peer");
	assert_null(stt_find_errno(0));
	assert_null(stt_find_errno(-1));
	assert_null(stt_find_errno(41));
	assert_null(stt_find_errno(4095));
}

/* The same words on every C library. */
static void errno_is_called_as_the_c_library_calls_it(void **state)
{
	(void)state;
#if STT_HAVE_STRERRORNAME_NP
	for (int number = 1; number < 4096; number++) {
		const struct stt_errno *found = stt_find_errno(number);
		const char *name = strerrorname_np(number);

		if (!name) {
			assert_null(found);
			continue;
		}
		assert_non_null(found);
		assert_string_equal(found->name, name);
		assert_string_equal(found->text, strerrordesc_np(number));
	}
#else
	skip(); /* there is nobody to compare with */
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SEMAPHORE_CASES,
		cmocka_unit_test(errno_has_its_name_and_sentence),
		cmocka_unit_test(errno_is_called_as_the_c_library_calls_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
