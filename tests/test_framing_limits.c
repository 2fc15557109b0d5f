/* SPDX-License-Identifier: MIT */
/*
 * A message that is not whole: what its frame function says is weighed, how often its bytes are
 * looked at, when its size is told; and what the limit counts.
 */
#include "support/samples.h"

/* Gives what its context says. */
struct words {
	int answer;
	sttcp_frame frame;
};

static int say_words(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
		     void *context)
{
	const struct words *words = context;

	(void)conn;
	(void)data;
	(void)size;
	*frame = words->frame;
	return words->answer;
}

static void words_of_a_frame_function_are_weighed(void **state)
{
	/* With a limit of 10, where 8 bytes are there; `total` is what is wanted after 0. */
	static const struct {
		struct words words;
		int answer;
		size_t total;
	} cases[] = {
		{{1, {.size = 5, .total = 5}}, 1, 5},
		{{1, {.skip = 3, .size = 5, .total = 8}}, 1, 8},
		{{1, {.skip = 3, .size = 5, .total = 9}}, 1, 9},
		{{1, {.skip = 100, .size = 10, .total = 110}}, 1, 110},
		{{1, {.skip = 1, .size = 10, .total = 65546}}, 1, 65546},
		{{1, {.skip = 8, .total = 8}}, 1, 8},
		{{1, {.total = 10}}, 1, 10},
		{{7, {.size = 5, .total = 5}}, 1, 5},
		/* It contradicts itself. */
		{{1, {.size = 0}}, STTCP_EFRAME, 0},
		{{1, {.size = 5}}, STTCP_EFRAME, 0},
		{{1, {.size = 6, .total = 5}}, STTCP_EFRAME, 0},
		{{1, {.skip = 1, .size = 5, .total = 5}}, STTCP_EFRAME, 0},
		{{1, {.skip = 6, .total = 5}}, STTCP_EFRAME, 0},
		{{1, {.skip = SIZE_MAX, .size = 2, .total = 5}}, STTCP_EFRAME, 0},
		{{1, {.skip = 2, .size = SIZE_MAX, .total = 5}}, STTCP_EFRAME, 0},
		{{-1, {.size = 5, .total = 5}}, STTCP_EFRAME, 0},
		{{INT32_MIN, {.size = 50, .total = 50}}, STTCP_EFRAME, 0},
		/* Over the limit, whether it is the end or not. */
		{{1, {.size = 11, .total = 11}}, STTCP_ELIMIT, 0},
		{{1, {.total = 11}}, STTCP_ELIMIT, 0},
		{{1, {.size = SIZE_MAX, .total = SIZE_MAX}}, STTCP_ELIMIT, 0},
		{{1, {.size = 1, .total = SIZE_MAX}}, STTCP_ELIMIT, 0},
		{{0, {.size = 11}}, STTCP_ELIMIT, 0},
		{{0, {.total = 11}}, STTCP_ELIMIT, 0},
		{{0, {.size = 11, .total = 5}}, STTCP_ELIMIT, 0},
		{{0, {.size = 1, .total = SIZE_MAX}}, STTCP_ELIMIT, 0},
		/* So are the bytes that nobody gets: they are held, too. */
		{{1, {.skip = 65537, .size = 10, .total = 65547}}, STTCP_ELIMIT, 0},
		{{1, {.size = 10, .total = 65547}}, STTCP_ELIMIT, 0},
		{{1, {.size = 1, .total = PTRDIFF_MAX}}, STTCP_ELIMIT, 0},
		{{0, {.size = 10, .total = 65547}}, STTCP_ELIMIT, 0},
		/* More is needed. */
		{{0, {.size = 0}}, 0, 0},
		{{0, {.total = 8}}, 0, 0},
		{{0, {.total = 9}}, 0, 9},
		{{0, {.size = 10, .total = 20}}, 0, 20},
		{{0, {.skip = SIZE_MAX, .size = 10, .total = 20}}, 0, 20},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct stt_framing framing = {.kind = STTCP_FRAMING_CUSTOM,
					      .frame_fn = say_words,
					      .context = (void *)(uintptr_t)&cases[i].words,
					      .max_message = 10};
		const sttcp_frame *told = &cases[i].words.frame;
		sttcp_frame memory = {0};
		struct stt_frame frame;

		if (ask(&framing, "12345678", 8, &memory, &frame) != cases[i].answer)
			fail_msg("case %zu", i);
		if (cases[i].answer >= 0)
			assert_int_equal(frame.total, cases[i].total);
		if (cases[i].answer == 1) {
			assert_int_equal(frame.skip, told->skip);
			assert_int_equal(frame.size, told->size);
		}
	}
}

/* What it does not tell counts as payload: a peer cannot have memory that nobody has asked for. */
static void bytes_of_which_nothing_is_told_are_limited(void **state)
{
	static const struct {
		sttcp_frame told;
		size_t most; /* bytes that may be there */
	} cases[] = {
		{{.size = 0}, 10},
		{{.size = 4}, 14},
		{{.size = 10}, 20},
		{{.skip = 30, .size = 4}, 14},
		/* A total that has come, and was not the end, is none. */
		{{.size = 4, .total = 5}, 14},
		{{.total = 5}, 10},
	};
	static const char bytes[31];

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct words words = {0, cases[i].told};
		struct stt_framing framing = {.kind = STTCP_FRAMING_CUSTOM,
					      .frame_fn = say_words,
					      .context = &words,
					      .max_message = 10};

		for (size_t size = 1; size < sizeof(bytes); size++) {
			sttcp_frame memory = {0};
			struct stt_frame frame;

			assert_int_equal(ask(&framing, bytes, size, &memory, &frame),
					 size <= cases[i].most ? 0 : STTCP_ELIMIT);
		}
	}
}

/* --------------------------------------------------------------- many looks */

/* How often a byte of 1000 is looked at when they come one by one. */
static size_t count_looks(const struct stt_framing *framing)
{
	struct stt_frame frame = {0};
	char text[1000];
	size_t looks = 0;

	memset(text, 'a', sizeof(text));
	for (size_t size = 1; size <= sizeof(text); size++) {
		looks += size - frame.scanned;
		assert_int_equal(look(framing, text, size, frame.scanned, &frame), 0);
	}
	return looks;
}

static void line_byte_by_byte_is_looked_at_once(void **state)
{
	const struct stt_framing framing = line_framing(INT64_MAX);

	(void)state;
	assert_int_equal(count_looks(&framing), 1000);
}

static void delimiter_byte_by_byte_is_looked_at_as_often_as_it_is_long(void **state)
{
	const struct stt_framing framing = delimiter_framing("aaaaaaaaab", 10, INT64_MAX);

	(void)state;
	assert_in_range(count_looks(&framing), 1000, 10 * 1000);
}

static void whole_size_is_told_as_soon_as_it_is_known(void **state)
{
	static const struct {
		struct stt_framing framing;
		struct bytes input;
		size_t total;
	} cases[] = {
		{COUNTED(WIDTH(2)), B("\1"), 0},
		{COUNTED(WIDTH(2)), B("\1\2"), 2 + 0x102},
		{COUNTED(WIDTH(2)), B("\1\2a"), 2 + 0x102},
		{COUNTED(WIDTH(2), SELF), B("\1\2"), 0x102},
		{COUNTED(VARINT), B("\x81"), 0},
		{COUNTED(VARINT), B("\x81\1"), 2 + 129},
		{COUNTED(WIDTH(3), OFFSET(2)), B("ab\1\2"), 0},
		{COUNTED(WIDTH(3), OFFSET(2), ADJUST(-5)), B("ab\1\2\3"), 0x10203},
		{FIXED(10), B("a"), 10},
		{CUSTOM(netstring_end, INT64_MAX), B("10"), 0},
		{CUSTOM(netstring_end, INT64_MAX), B("10:"), 13},
		{LINE, B("a"), 0},
		{DELIMITED("--"), B("a-"), 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct stt_frame frame;

		assert_int_equal(look(&cases[i].framing, cases[i].input.data, cases[i].input.size,
				      0, &frame),
				 0);
		assert_int_equal(frame.total, cases[i].total);
	}
}

/* -------------------------------------------------------------- at the limit */

static void rest_over_the_limit_is_told_at_the_end(void **state)
{
	struct stt_framing line = line_framing(3);
	struct stt_framing delimited = delimiter_framing("--", 2, 3);
	struct stt_frame frame;

	(void)state;
	line.rest_at_end = delimited.rest_at_end = true;
	assert_int_equal(look(&line, "one\r", 4, 0, &frame), 0);
	assert_int_equal(look_last(&line, "one\r", 4, &frame), STTCP_ELIMIT);
	assert_int_equal(look_last(&line, "on\r", 3, &frame), 1);
	assert_int_equal(look(&delimited, "one-", 4, 0, &frame), 0);
	assert_int_equal(look_last(&delimited, "one-", 4, &frame), STTCP_ELIMIT);
	assert_int_equal(look_last(&delimited, "on-", 3, &frame), 1);
}

/* What the limit is compared with has to be the payload in every framing, both ways. */
static void limit_counts_the_payload_alone(void **state)
{
	static const struct {
		struct stt_framing framing;
		struct bytes wire; /* of "12345" */
	} cases[] = {
		{LINE, B("12345\n")},
		{LINE, B("12345\r\n")},
		{DELIMITED(";"), B("12345;")},
		{DELIMITED("--"), B("12345--")},
		{COUNTED(WIDTH(1)), B("\00512345")},
		{COUNTED(WIDTH(4), SELF), B("\0\0\0\01112345")},
		{COUNTED(VARINT), B("\00512345")},
		{COUNTED(VARINT, SELF), B("\00612345")},
		{COUNTED(WIDTH(1), OFFSET(2)), B("12\003345")},
		{COUNTED(WIDTH(3), OFFSET(2), ADJUST(-2)), B("12\0\0\005345")},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		for (int max = 4; max <= 6; max++) {
			struct stt_framing framing = cases[i].framing;
			struct stt_frame frame;
			struct stt_frame_ends ends;

			framing.max_message = max;
			int answer =
				look(&framing, cases[i].wire.data, cases[i].wire.size, 0, &frame);

			assert_int_equal(answer, max < 5 ? STTCP_ELIMIT : 1);
			assert_int_equal(look_ends(&framing, "12345", 5, &ends),
					 max < 5 ? -EMSGSIZE : 0);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_of_a_frame_function_are_weighed),
		cmocka_unit_test(bytes_of_which_nothing_is_told_are_limited),
		cmocka_unit_test(line_byte_by_byte_is_looked_at_once),
		cmocka_unit_test(delimiter_byte_by_byte_is_looked_at_as_often_as_it_is_long),
		cmocka_unit_test(whole_size_is_told_as_soon_as_it_is_known),
		cmocka_unit_test(rest_over_the_limit_is_told_at_the_end),
		cmocka_unit_test(limit_counts_the_payload_alone),
	};

	return cmocka_run_group_tests(tests, map_guarded, unmap_guarded);
}
