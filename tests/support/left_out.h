/* SPDX-License-Identifier: MIT */
/* Lists of cases that a run of the suite leaves out: a program, or program:case, and the reason. */
#ifndef STT_TEST_LEFT_OUT_H
#define STT_TEST_LEFT_OUT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#ifndef CMOCKA_H /* tests/small, which runs all of them */
/* Runs those that are in none of the lists (a path may be NULL), and tells of the others. Fails
 * when a list names cases that are not there. */
int left_out_run_tests(const char *const *lists, size_t nlists, const char *group,
		       const struct CMUnitTest *tests, size_t count, CMFixtureFunction setup,
		       CMFixtureFunction teardown);
#endif

#endif
