/* SPDX-License-Identifier: MIT */
#include <cmocka.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum outcome {
	RUNNING, /* what setjmp gives the first time */
	FAILED,
	SKIPPED
};

static jmp_buf way_out;

void print_message(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	fflush(stdout);
}

void small_fail(const char *file, int line, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fprintf(stderr, "%s:%d: ", file, line);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	longjmp(way_out, FAILED);
}

void small_skip(const char *file, int line)
{
	print_message("%s:%d: skipped\n", file, line);
	longjmp(way_out, SKIPPED);
}

void small_equal(uintmax_t a, uintmax_t b, const char *text, const char *file, int line)
{
	if (a != b)
		small_fail(file, line, "%s: %jd (%#jx), %jd (%#jx)", text, (intmax_t)a, a,
			   (intmax_t)b, b);
}

void small_in_range(uintmax_t value, uintmax_t least, uintmax_t most, const char *text,
		    const char *file, int line)
{
	if (value < least || value > most)
		small_fail(file, line, "%s is %ju, and not from %ju to %ju", text, value, least,
			   most);
}

void small_same_text(const char *a, const char *b, int wanted, const char *text, const char *file,
		     int line)
{
	if ((strcmp(a, b) == 0) != wanted)
		small_fail(file, line, "%s: \"%s\", \"%s\"", text, a, b);
}

void small_same_bytes(const void *a, const void *b, size_t size, const char *text, const char *file,
		      int line)
{
	const unsigned char *left = a;
	const unsigned char *right = b;

	for (size_t i = 0; i < size; i++) {
		if (left[i] != right[i])
			small_fail(file, line, "%s: from byte %zu on they differ", text, i);
	}
}

/* The volatile ones are read again after the jump. */
static enum outcome run_test(const struct CMUnitTest *test, void *state)
{
	void *volatile own = state;
	volatile enum outcome outcome = RUNNING;

	switch (setjmp(way_out)) {
	case RUNNING: {
		void *given = own;

		if (test->setup && test->setup(&given) != 0)
			return FAILED;
		own = given;
		test->run(&given);
		own = given;
		break;
	}
	case SKIPPED:
		outcome = SKIPPED;
		break;
	default:
		outcome = FAILED;
	}
	if (test->teardown && setjmp(way_out) == RUNNING) {
		void *given = own;

		if (test->teardown(&given) != 0)
			outcome = FAILED;
	}
	return outcome;
}

int small_run_tests(const struct CMUnitTest *tests, size_t count, int (*setup)(void **state),
		    int (*teardown)(void **state))
{
	static const char *const words[] = {"      OK", " FAILED ", "SKIPPED "};
	int counts[] = {0, 0, 0};
	void *state = NULL;

	if (setup && setup(&state) != 0)
		return (int)count;
	for (size_t i = 0; i < count; i++) {
		print_message("[ RUN      ] %s\n", tests[i].name);

		enum outcome outcome = run_test(&tests[i], state);

		counts[outcome]++;
		print_message("[ %s ] %s\n", words[outcome], tests[i].name);
	}
	if (teardown && teardown(&state) != 0)
		counts[FAILED]++;
	print_message("%d passed, %d failed, %d skipped\n", counts[RUNNING], counts[FAILED],
		      counts[SKIPPED]);
	return counts[FAILED];
}
