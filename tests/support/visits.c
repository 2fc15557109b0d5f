/* SPDX-License-Identifier: MIT */
/* Visits of a walk. */
#include "support/visits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

int visits_check(const struct visits *visits)
{
	assert_in_range(visits->seen, 0, 1);
	if (visits->due)
		assert_int_equal(visits->seen, 1);
	if (visits->late)
		assert_int_equal(visits->seen, 0);
	return visits->seen;
}
