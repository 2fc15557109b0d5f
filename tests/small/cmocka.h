/* SPDX-License-Identifier: MIT */
/*
 * As much of cmocka(3) as the tests here use, for C libraries that have no cmocka of their own:
 * -DCMOCKA_INCLUDE=tests/small and -DCMOCKA_LIBRARY= a library of cmocka.c. An assertion that fails
 * leaves its test with longjmp(3), and the program goes on with the next one.
 */
#ifndef CMOCKA_H
#define CMOCKA_H

#include <stddef.h>
#include <stdint.h>

struct CMUnitTest {
	const char *name;
	void (*run)(void **state);
	int (*setup)(void **state);
	int (*teardown)(void **state);
};

#define cmocka_unit_test(test) cmocka_unit_test_setup_teardown(test, NULL, NULL)
#define cmocka_unit_test_setup(test, setup) cmocka_unit_test_setup_teardown(test, setup, NULL)
#define cmocka_unit_test_teardown(test, teardown)                                                  \
	cmocka_unit_test_setup_teardown(test, NULL, teardown)
#define cmocka_unit_test_setup_teardown(test, setup, teardown)                                     \
	{                                                                                          \
#test, test, setup, teardown                                                       \
	}
#define cmocka_run_group_tests(tests, setup, teardown)                                             \
	small_run_tests(tests, sizeof(tests) / sizeof((tests)[0]), setup, teardown)

/* How many failed. */
int small_run_tests(const struct CMUnitTest *tests, size_t count, int (*setup)(void **state),
		    int (*teardown)(void **state));

void print_message(const char *format, ...) __attribute__((__format__(__printf__, 1, 2)));
_Noreturn void small_fail(const char *file, int line, const char *format, ...)
	__attribute__((__format__(__printf__, 3, 4)));
_Noreturn void small_skip(const char *file, int line);
void small_equal(uintmax_t a, uintmax_t b, const char *text, const char *file, int line);
void small_same_text(const char *a, const char *b, int wanted, const char *text, const char *file,
		     int line);
void small_same_bytes(const void *a, const void *b, size_t size, const char *text, const char *file,
		      int line);
void small_in_range(uintmax_t value, uintmax_t least, uintmax_t most, const char *text,
		    const char *file, int line);

#define skip() small_skip(__FILE__, __LINE__)
#define fail() small_fail(__FILE__, __LINE__, "fail()")
#define fail_msg(...) small_fail(__FILE__, __LINE__, __VA_ARGS__)

#define small_true(condition, text)                                                                \
	((condition) ? (void)0 : small_fail(__FILE__, __LINE__, "%s", text))
#define assert_true(condition) small_true(condition, #condition)
#define assert_false(condition) small_true(!(condition), "not " #condition)
#define assert_null(pointer) small_true((pointer) == NULL, #pointer " is NULL")
#define assert_non_null(pointer) small_true((pointer) != NULL, #pointer " is not NULL")
#define assert_ptr_equal(a, b) small_true((const void *)(a) == (const void *)(b), #a " is " #b)

#define assert_int_equal(a, b)                                                                     \
	small_equal((uintmax_t)(a), (uintmax_t)(b), #a " is " #b, __FILE__, __LINE__)
#define assert_in_range(value, least, most)                                                        \
	small_in_range((uintmax_t)(value), (uintmax_t)(least), (uintmax_t)(most), #value,          \
		       __FILE__, __LINE__)
#define assert_string_equal(a, b) small_same_text(a, b, 1, #a " is " #b, __FILE__, __LINE__)
#define assert_string_not_equal(a, b) small_same_text(a, b, 0, #a " is not " #b, __FILE__, __LINE__)
#define assert_memory_equal(a, b, size)                                                            \
	small_same_bytes(a, b, size, #a " is " #b, __FILE__, __LINE__)

#endif
