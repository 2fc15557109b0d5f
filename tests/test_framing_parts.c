/* SPDX-License-Identifier: MIT */
/* A payload in parts gets the ends of the payload in one: each one is cut at every place, and into
 * every part of few bytes, and is refused exactly if the joined one is. */
#include "codec/framing.h"
#include "support/support.h"

#include <limits.h>

#define DELIMITED(text)                                                                            \
	{                                                                                          \
		.kind = STTCP_FRAMING_DELIMITER, .delimiter = text,                                \
		.delimiter_size = sizeof(text) - 1, .max_message = 1000                            \
	}

static const struct stt_framing framings[] = {
	{.kind = STTCP_FRAMING_RAW, .max_message = 4},
	{.kind = STTCP_FRAMING_LINE, .max_message = 1000},
	{.kind = STTCP_FRAMING_LINE, .max_message = 5},
	DELIMITED("a"),
	DELIMITED("ab"),
	DELIMITED("aa"),
	DELIMITED("aba"),
	DELIMITED("\r\n"),
	DELIMITED("aaaaaaaaaaaaaaab"),
	DELIMITED("abababababababab"),
	{.kind = STTCP_FRAMING_LENGTH, .prefix_size = 2, .max_message = 6},
	{.kind = STTCP_FRAMING_LENGTH,
	 .prefix_varint = true,
	 .prefix_includes_itself = true,
	 .max_message = 1000},
	{.kind = STTCP_FRAMING_LENGTH, .prefix_size = 1, .prefix_offset = 3, .max_message = 1000},
	{.kind = STTCP_FRAMING_LENGTH, .prefix_size = 4, .prefix_adjust = 5, .max_message = 1000},
	{.kind = STTCP_FRAMING_FIXED, .fixed_size = 7, .max_message = 1000},
	{.kind = STTCP_FRAMING_CUSTOM, .max_message = 4},
};

enum {
	NFRAMINGS = sizeof(framings) / sizeof(framings[0]),
	LONGEST = 64
};

/* The parts must give what the joined bytes give. */
static void expect_same(const struct stt_framing *framing, const struct iovec *parts, int count,
			const void *joined, size_t size)
{
	struct stt_frame_ends whole = {0};
	struct stt_frame_ends ends = {0};
	int answer = stt_frame_ends(framing, joined, size, &whole);

	assert_int_equal(stt_frame_ends_of_parts(framing, parts, count, &ends), answer);
	if (answer < 0)
		return;
	assert_int_equal(ends.head_size, whole.head_size);
	assert_memory_equal(ends.head, whole.head, whole.head_size);
	assert_int_equal(ends.tail_size, whole.tail_size);
	assert_true(!whole.tail_size || !memcmp(ends.tail, whole.tail, whole.tail_size));
}

/* Cut at each gap between two bytes that has its bit in `cuts`, with an empty part in each of them.
 * Each part is a copy, so that a look beyond its end is one beyond allocated memory. */
static void expect_same_cut(const struct stt_framing *framing, const char *text, size_t size,
			    uint64_t cuts)
{
	struct iovec parts[2 * LONGEST + 2] = {{NULL, 0}};
	char *copies[LONGEST + 1];
	int ncopies = 0;
	int count = 0;

	for (size_t at = 0; at < size;) {
		size_t len = 1;

		while (at + len < size && !(cuts & (uint64_t)1 << (at + len - 1)))
			len++;
		copies[ncopies] = malloc(len);
		assert_non_null(copies[ncopies]);
		memcpy(copies[ncopies], text + at, len);
		parts[count++] = (struct iovec){copies[ncopies++], len};
		parts[count++] = (struct iovec){NULL, 0};
		at += len;
	}
	expect_same(framing, parts, count, text, size);
	while (ncopies > 0)
		free(copies[--ncopies]);
}

/* All texts of a few bytes from a few, cut in all ways. */
static void short_texts_in_parts_are_judged_as_one(void **state)
{
	static const char letters[] = "ab\r\n";

	(void)state;
	for (size_t size = 0; size <= 5; size++) {
		for (unsigned number = 0; number < 1U << (2 * size); number++) {
			char text[8] = "";

			for (size_t i = 0; i < size; i++)
				text[i] = letters[number >> (2 * i) & 3];
			for (uint64_t cuts = 0; cuts < (uint64_t)1 << (size ? size - 1 : 0); cuts++)
				for (int i = 0; i < NFRAMINGS; i++)
					expect_same_cut(&framings[i], text, size, cuts);
		}
	}
}

/* Longer ones, made of pieces of the delimiter, at random. */
static void long_texts_in_parts_are_judged_as_one(void **state)
{
	uint32_t random = test_seed();
	int refused = 0;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		const struct stt_framing *framing = &framings[next_random(&random) % NFRAMINGS];
		size_t wanted = next_random(&random) % LONGEST;
		char text[LONGEST];
		size_t size = 0;
		uint64_t cuts = next_random(&random);

		while (size < wanted) {
			size_t len = framing->delimiter_size
					     ? next_random(&random) % framing->delimiter_size + 1U
					     : 1;

			if (len > wanted - size)
				len = wanted - size;
			if (framing->delimiter_size)
				memcpy(text + size, framing->delimiter, len);
			else
				text[size] = "ab\rx"[next_random(&random) % 4];
			size += len;
		}
		cuts |= (uint64_t)next_random(&random) << 32;
		if (next_random(&random) % 2)
			cuts &= (uint64_t)next_random(&random) << 32 | next_random(&random);

		struct stt_frame_ends ends;

		refused += stt_frame_ends(framing, text, size, &ends) < 0;
		expect_same_cut(framing, text, size, cuts);
	}
	assert_true(refused > 1000 && refused < 19000);
}

/* A delimiter in single bytes, over more parts than it has bytes, is found at the end. */
static void delimiter_across_many_parts_is_found(void **state)
{
	static const struct stt_framing framing = DELIMITED("0123456789abcdef");
	static const char text[] = "0123456789abcde0123456789abcdef";

	(void)state;
	for (size_t from = 0; from < 16; from++) {
		struct stt_frame_ends ends;
		struct iovec parts[2 * sizeof(text)];
		int count = 0;

		for (size_t i = from; i < sizeof(text) - 1; i++) {
			parts[count++] = (struct iovec){(void *)(uintptr_t)(text + i), 1};
			parts[count++] = (struct iovec){(void *)(uintptr_t)text, 0};
		}
		assert_int_equal(stt_frame_ends_of_parts(&framing, parts, count, &ends), -EINVAL);
		/* Without its last byte there is none, but the delimiter behind it ends it. */
		assert_int_equal(stt_frame_ends_of_parts(&framing, parts, count - 2, &ends), 0);
	}
}

/* No parts are an empty payload. */
static void no_parts_are_an_empty_payload(void **state)
{
	(void)state;
	for (int i = 0; i < NFRAMINGS; i++)
		expect_same(&framings[i], NULL, 0, "", 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(short_texts_in_parts_are_judged_as_one),
		cmocka_unit_test(long_texts_in_parts_are_judged_as_one),
		cmocka_unit_test(delimiter_across_many_parts_is_found),
		cmocka_unit_test(no_parts_are_an_empty_payload),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
