/* SPDX-License-Identifier: MIT */
/*
 * The parts of the sttcp command that can be tested alone: checksum, histogram,
 * escapes.
 */
#include "escape.h"
#include "histogram.h"
#include "sha256.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* -------------------------------------------------------------------- SHA-256 */

/* FIPS 180-4's examples, and one that crosses a block at its end. */
static const struct {
	const char *text;
	size_t times;
	const char *digest;
} digests[] = {
	{"", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
	{"abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
	{"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
	 "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
	{"a", 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
};

static void sha256_is_that_of_the_standard(void **state)
{
	char text[SHA256_HEX];

	(void)state;
	for (size_t i = 0; i < sizeof(digests) / sizeof(*digests); i++) {
		struct sha256 *hash = sha256_new();

		assert_non_null(hash);
		for (size_t j = 0; j < digests[i].times; j++)
			sha256_add(hash, digests[i].text, strlen(digests[i].text));
		sha256_text(hash, text);
		assert_string_equal(text, digests[i].digest);
		sha256_free(hash);
	}
}

/* However the bytes are cut; looking at a digest in between changes nothing; reset begins anew. */
static void sha256_does_not_depend_on_parts(void **state)
{
	static unsigned char data[1000];
	char whole[SHA256_HEX], parts[SHA256_HEX];
	struct sha256 *hash = sha256_new();

	(void)state;
	assert_non_null(hash);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (unsigned char)(i * 7);
	sha256_add(hash, data, sizeof(data));
	sha256_text(hash, whole);
	for (size_t step = 1; step < 200; step++) {
		sha256_reset(hash);
		for (size_t at = 0; at < sizeof(data); at += step) {
			size_t left = sizeof(data) - at;

			sha256_add(hash, data + at, left < step ? left : step);
			if (at % 3 == 0)
				sha256_text(hash, parts);
		}
		sha256_text(hash, parts);
		assert_string_equal(parts, whole);
	}
	sha256_free(hash);
}

/* ------------------------------------------------------------------ histogram */

static int compare(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return left < right ? -1 : left > right;
}

/* Against the sorted times themselves: never less, and by no more than a thousandth above. */
static void histogram_has_three_digits(void **state)
{
	enum {
		COUNT = 20000
	};
	static const double parts[] = {0, 0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 1};
	uint64_t *times = calloc(COUNT, sizeof(*times)), seed = 42;
	struct histogram *histogram = histogram_new();

	(void)state;
	assert_non_null(times);
	assert_non_null(histogram);
	for (int i = 0; i < COUNT; i++) {
		seed = seed * UINT64_C(6364136223846793005) + 1;
		times[i] = (seed >> 30) % (UINT64_C(1) << (i % 40));
		histogram_add(histogram, times[i]);
	}
	qsort(times, COUNT, sizeof(*times), compare);
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		size_t rank = (size_t)(parts[i] * COUNT);
		uint64_t exact = times[rank > 0 ? rank - 1 : 0];
		uint64_t given = histogram_at(histogram, parts[i]);

		assert_true(given >= exact);
		assert_true(given <= exact + exact / 1000);
	}
	assert_true(histogram_between(histogram, 0, UINT64_C(1) << 41) == COUNT);
	free(histogram);
	free(times);
}

static void histogram_of_nothing_is_zero(void **state)
{
	struct histogram *histogram = histogram_new();

	(void)state;
	assert_non_null(histogram);
	assert_true(histogram_at(histogram, 0.5) == 0);
	assert_true(histogram_mean(histogram) < 1);
	free(histogram);
}

static void histogram_merges(void **state)
{
	struct histogram *one = histogram_new(), *two = histogram_new();

	(void)state;
	assert_non_null(one);
	assert_non_null(two);
	histogram_add(one, 100);
	histogram_add(two, 300);
	histogram_add(two, UINT64_MAX); /* longer than it can tell */
	histogram_merge(one, two);
	assert_true(one->total == 3);
	assert_true(one->least == 100);
	assert_true(histogram_at(one, 0.3) == 100);
	assert_true(histogram_at(one, 0.6) == 300);
	assert_true(histogram_at(one, 1) > 1000000000);
	free(one);
	free(two);
}

/* -------------------------------------------------------------------- escapes */

static const struct {
	const char *text;
	size_t size; /* 0: up to the end of the string */
	int which;
	const char *printed;
} escapes[] = {
	{"plain text", 0, ESCAPE_ALL, "plain text"},
	{"a\nb\tc\\", 0, 0, "a\nb\tc\\"},
	{"a\nb\tc\\", 0, ESCAPE_ALL, "a\\nb\\tc\\\\"},
	{"\x1b[2J\x07\x7f\r", 0, 0, "\\x1b[2J\\x07\\x7f\\r"},
	{"\0", 1, 0, "\\x00"},
	{"\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80", 0, 0, "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80"},
	{"\xc2\x9b", 0, 0, "\\xc2\\x9b"},	   /* a control sequence in one character */
	{"\xe2\x80\xae", 0, 0, "\\xe2\\x80\\xae"}, /* turns the direction */
	{"\xc0\x8a", 0, 0, "\\xc0\\x8a"},	   /* too long for a newline */
	{"\xe0\x80\x8a", 0, 0, "\\xe0\\x80\\x8a"},
	{"\xed\xa0\x80", 0, 0, "\\xed\\xa0\\x80"},	    /* half of a pair */
	{"\xf4\x90\x80\x80", 0, 0, "\\xf4\\x90\\x80\\x80"}, /* beyond the last one */
	{"\xe2\x82", 0, 0, "\\xe2\\x82"},		    /* cut */
	{"\xff\xfe", 0, 0, "\\xff\\xfe"},
	{"\xe2\x82\xc3\xa4\xf0\x9fx\xf0", 0, 0, "\\xe2\\x82\xc3\xa4\\xf0\\x9fx\\xf0"},
};

static void escapes_leave_nothing_that_a_terminal_obeys(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(escapes) / sizeof(*escapes); i++) {
		size_t size = escapes[i].size ? escapes[i].size : strlen(escapes[i].text), length;
		char *text = NULL;
		FILE *out = open_memstream(&text, &length);

		assert_non_null(out);
		print_escaped(out, escapes[i].text, size, escapes[i].which);
		fclose(out);
		assert_string_equal(text, escapes[i].printed);
		free(text);
	}
}

/* However it is cut, what is printed is the same, and no more waits than a character's beginning.
 */
static void escapes_do_not_depend_on_parts(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(escapes) / sizeof(*escapes); i++) {
		size_t size = escapes[i].size ? escapes[i].size : strlen(escapes[i].text);

		for (size_t step = 1; step <= size; step++) {
			struct begun begun = {.size = 0};
			char *text = NULL;
			size_t length;
			FILE *out = open_memstream(&text, &length);

			assert_non_null(out);
			for (size_t at = 0; at < size; at += step) {
				print_escaped_part(out, &begun, escapes[i].text + at,
						   size - at < step ? size - at : step,
						   escapes[i].which);
				assert_true(begun.size < 4);
			}
			print_escaped_rest(out, &begun, escapes[i].which);
			fclose(out);
			assert_string_equal(text, escapes[i].printed);
			free(text);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sha256_is_that_of_the_standard),
		cmocka_unit_test(sha256_does_not_depend_on_parts),
		cmocka_unit_test(histogram_has_three_digits),
		cmocka_unit_test(histogram_of_nothing_is_zero),
		cmocka_unit_test(histogram_merges),
		cmocka_unit_test(escapes_leave_nothing_that_a_terminal_obeys),
		cmocka_unit_test(escapes_do_not_depend_on_parts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
