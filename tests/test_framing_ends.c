/* SPDX-License-Identifier: MIT */
/*
 * Ends, both ways: what the functions do with delimiters and limits is compared
 * with the plainest search for all short texts, and what stt_frame_ends puts around
 * a payload is read again.
 */
#include "support/frames.h"

/* ------------------------------------------------------- the plainest search */

/* The text with this number among those of `size` letters. */
static void spell(char *text, size_t size, size_t number, const char *letters, size_t nletters)
{
	for (size_t i = 0; i < size; i++, number /= nletters)
		text[i] = letters[number % nletters];
}

static size_t count_texts(size_t size, size_t nletters)
{
	size_t count = 1;

	while (size-- > 0)
		count *= nletters;
	return count;
}

/* Where the payload ends, or -1. */
static int search_plainly(const struct stt_framing *framing, const char *text, size_t size)
{
	bool line = framing->kind == STTCP_FRAMING_LINE;
	const void *end = line ? "\n" : (const void *)framing->delimiter;
	size_t end_size = line ? 1 : framing->delimiter_size;

	for (size_t at = 0; at + end_size <= size; at++) {
		if (memcmp(text + at, end, end_size) == 0)
			return line && at > 0 && text[at - 1] == '\r' ? (int)at - 1 : (int)at;
	}
	return -1;
}

/* The shortest payload that may yet come of a text: the best of all that could follow it. */
static int shortest_payload(const struct stt_framing *framing, const char *text, size_t size,
			    const char *letters, size_t nletters)
{
	size_t more = framing->kind == STTCP_FRAMING_LINE ? 1 : framing->delimiter_size;
	int best = INT32_MAX;
	char longer[32];

	memcpy(longer, text, size);
	for (size_t i = 0; i < count_texts(more, nletters); i++) {
		spell(longer + size, more, i, letters, nletters);
		int end = search_plainly(framing, longer, size + more);

		if (end >= 0 && end < best)
			best = end;
	}
	return best;
}

/* The answer for one text, for limits from nothing to more than it. */
static void compare_limits(struct stt_framing framing, const char *text, size_t size,
			   const char *letters, size_t nletters)
{
	int end = search_plainly(&framing, text, size);
	int shortest = shortest_payload(&framing, text, size, letters, nletters);

	for (int max = 0; max <= (int)size + 1; max++) {
		struct stt_frame frame;

		framing.max_message = max;
		int answer = look(&framing, text, size, 0, &frame);

		if (end >= 0) {
			assert_int_equal(answer, end <= max ? 1 : STTCP_ELIMIT);
			if (answer == 1)
				assert_int_equal(frame.size, end);
		} else {
			assert_int_equal(answer, shortest <= max ? 0 : STTCP_ELIMIT);
		}
	}
}

/* A payload is refused for sending exactly when the reader would not give it back. */
static void compare_ends(struct stt_framing framing, const char *text, size_t size)
{
	bool line = framing.kind == STTCP_FRAMING_LINE;
	const void *tail = line ? "\n" : (const void *)framing.delimiter;
	size_t tail_size = line ? 1 : framing.delimiter_size;
	struct stt_frame_ends ends;
	char wire[32];

	memcpy(wire, text, size);
	memcpy(wire + size, tail, tail_size);
	bool comes_back = search_plainly(&framing, wire, size + tail_size) == (int)size;

	assert_int_equal(look_ends(&framing, text, size, &ends), comes_back ? 0 : -EINVAL);
	if (comes_back) {
		assert_int_equal(ends.head_size, 0);
		assert_int_equal(ends.tail_size, tail_size);
		assert_memory_equal(ends.tail, tail, tail_size);
	}
}

static void compare_texts(struct stt_framing framing, size_t longest, const char *letters)
{
	size_t nletters = strlen(letters);
	char text[16];

	for (size_t size = 0; size <= longest; size++) {
		for (size_t i = 0; i < count_texts(size, nletters); i++) {
			spell(text, size, i, letters, nletters);
			if (size > 0)
				compare_limits(framing, text, size, letters, nletters);
			compare_ends(framing, text, size);
		}
	}
}

static void every_short_line_is_read_as_the_plainest_search_would(void **state)
{
	(void)state;
	compare_texts(line_framing(INT64_MAX), 6, "a\r\n");
}

static void every_short_delimiter_is_found_as_the_plainest_search_would(void **state)
{
	char delimiter[STT_DELIMITER_MAX];

	(void)state;
	for (size_t size = 1; size <= 4; size++) {
		for (size_t i = 0; i < count_texts(size, 2); i++) {
			spell(delimiter, size, i, "ab", 2);
			compare_texts(delimiter_framing(delimiter, size, INT64_MAX), 7, "ab");
		}
	}
}

/* ------------------------------------------------------------- there and back */

/* Puts ends around a payload, reads that with bytes of another message behind it, and gives what
 * stt_frame_ends said. */
static int send_and_read(const struct stt_framing *framing, const char *payload, size_t size)
{
	static char wire[4096];
	struct stt_frame frame;
	ssize_t answer = frame_payload(framing, payload, size, wire, sizeof(wire) - 1);

	if (answer < 0)
		return (int)answer;
	size_t total = (size_t)answer;

	wire[total] = '\n';
	for (size_t part = 1; part < total; part++)
		assert_int_equal(look(framing, wire, part, 0, &frame), 0);
	for (size_t more = 0; more <= 1; more++) {
		assert_int_equal(look(framing, wire, total + more, 0, &frame), 1);
		assert_int_equal(frame.size, size);
		assert_int_equal(frame.total, total);
		assert_memory_equal(payload_of(framing, wire, &frame), payload, size);
	}
	return 0;
}

static void payloads_of_every_length_come_back(void **state)
{
	static const struct stt_framing framings[] = {
		{.kind = STTCP_FRAMING_LINE, UNLIMITED},
		{.kind = STTCP_FRAMING_DELIMITER,
		 .delimiter = "\r\n",
		 .delimiter_size = 2,
		 UNLIMITED},
		{.kind = STTCP_FRAMING_LENGTH, WIDTH(2), UNLIMITED},
		{.kind = STTCP_FRAMING_LENGTH, WIDTH(4), LITTLE, UNLIMITED},
		{.kind = STTCP_FRAMING_LENGTH, WIDTH(8), SELF, UNLIMITED},
		{.kind = STTCP_FRAMING_LENGTH, VARINT, UNLIMITED},
		{.kind = STTCP_FRAMING_LENGTH, VARINT, SELF, UNLIMITED},
		{.kind = STTCP_FRAMING_LENGTH, WIDTH(3), UNLIMITED},
		{.kind = STTCP_FRAMING_LENGTH, WIDTH(3), LITTLE, ADJUST(1), UNLIMITED},
		{.kind = STTCP_FRAMING_LENGTH, WIDTH(4), OFFSET(1), SELF, UNLIMITED},
		{.kind = STTCP_FRAMING_LENGTH, WIDTH(2), OFFSET(2), ADJUST(-4), UNLIMITED},
		{.kind = STTCP_FRAMING_LENGTH, VARINT, OFFSET(1), UNLIMITED},
		{.kind = STTCP_FRAMING_LENGTH, VARINT, OFFSET(9), ADJUST(-1), SELF, UNLIMITED},
	};
	char payload[300];

	(void)state;
	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = (char)('0' + i % 64);
	for (size_t i = 0; i < COUNT(framings); i++) {
		size_t least =
			(size_t)framings[i].prefix_offset +
			(framings[i].prefix_adjust > 0 ? (size_t)framings[i].prefix_adjust : 0);

		for (size_t size = 0; size <= sizeof(payload); size++)
			assert_int_equal(send_and_read(&framings[i], payload, size),
					 size < least ? -EINVAL : 0);
	}
}

static void fixed_size_is_sent_as_it_is(void **state)
{
	const struct stt_framing framing = {
		.kind = STTCP_FRAMING_FIXED, .fixed_size = 3, .max_message = 8};

	(void)state;
	assert_int_equal(send_and_read(&framing, "\n\0a", 3), 0);
	assert_int_equal(send_and_read(&framing, "ab", 2), -EINVAL);
	assert_int_equal(send_and_read(&framing, "abcd", 4), -EINVAL);
	assert_int_equal(send_and_read(&framing, "", 0), -EINVAL);
}

static void prefix_tells_no_more_than_it_has_room_for(void **state)
{
	static const struct {
		uint8_t prefix_size;
		uint64_t most;
	} cases[] = {{1, UINT8_MAX}, {2, UINT16_MAX}, {4, UINT32_MAX}};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		for (int includes_itself = 0; includes_itself <= 1; includes_itself++) {
			const struct stt_framing framing = {.kind = STTCP_FRAMING_LENGTH,
							    .prefix_size = cases[i].prefix_size,
							    .prefix_includes_itself =
								    includes_itself == 1,
							    UNLIMITED};
			uint64_t most =
				cases[i].most - (includes_itself == 1 ? cases[i].prefix_size : 0);
			struct stt_frame_ends ends;

			/* A prefix is made of the size alone: there need be no bytes. */
			assert_int_equal(look_ends(&framing, NULL, (size_t)most, &ends), 0);
			assert_int_equal(ends.head_size, cases[i].prefix_size);
			for (size_t at = 0; at < ends.head_size; at++)
				assert_int_equal(ends.head[at], 0xff);
			if (most == SIZE_MAX)
				continue; /* no size is larger */
			assert_int_equal(look_ends(&framing, NULL, (size_t)most + 1, &ends),
					 -EMSGSIZE);
		}
	}
}

/* At each length of the prefix: the last size that still fits in, and the first that does not. */
static void varint_that_counts_itself_is_a_fixed_point(void **state)
{
	const struct stt_framing framing = {.kind = STTCP_FRAMING_LENGTH, VARINT, SELF, UNLIMITED};

	(void)state;
	for (unsigned width = 1; width <= 8 && 7 * width < sizeof(size_t) * 8; width++) {
		size_t most = ((size_t)1 << (7 * width)) - 1 - width;

		for (unsigned over = 0; over <= 2; over++) {
			struct stt_frame_ends ends;
			struct stt_frame frame;
			size_t size = most + over;

			assert_int_equal(look_ends(&framing, NULL, size, &ends), 0);
			assert_int_equal(ends.head_size, over == 0 ? width : width + 1);
			assert_int_equal(look(&framing, ends.head, ends.head_size, 0, &frame), 0);
			assert_true(frame.total == ends.head_size + size);
		}
	}
}

/* What the reader would take for another message is refused. */
static void lengths_below_nothing_are_not_sent(void **state)
{
	/* With 32 bits a length can tell every size, and so it does. */
	enum {
		ANSWER_OF_MOST = sizeof(size_t) > 4 ? -EMSGSIZE : 0
	};

	static const struct {
		struct stt_framing framing;
		size_t size;
		int answer;
	} cases[] = {
		{{.kind = STTCP_FRAMING_LENGTH, WIDTH(2), OFFSET(3), UNLIMITED}, 2, -EINVAL},
		{{.kind = STTCP_FRAMING_LENGTH, WIDTH(2), OFFSET(3), UNLIMITED}, 3, 0},
		{{.kind = STTCP_FRAMING_LENGTH, WIDTH(2), ADJUST(4), UNLIMITED}, 3, -EINVAL},
		{{.kind = STTCP_FRAMING_LENGTH, WIDTH(2), ADJUST(4), UNLIMITED}, 4, 0},
		{{.kind = STTCP_FRAMING_LENGTH, VARINT, ADJUST(4), UNLIMITED}, 3, -EINVAL},
		{{.kind = STTCP_FRAMING_LENGTH, VARINT, ADJUST(4), UNLIMITED}, 4, 0},
		{{.kind = STTCP_FRAMING_LENGTH, VARINT, ADJUST(11), SELF, UNLIMITED}, 0, -EINVAL},
		{{.kind = STTCP_FRAMING_LENGTH, VARINT, ADJUST(1), SELF, UNLIMITED}, 0, 0},
		{{.kind = STTCP_FRAMING_LENGTH, WIDTH(2), SELF, ADJUST(4), UNLIMITED}, 1, -EINVAL},
		{{.kind = STTCP_FRAMING_LENGTH, WIDTH(2), SELF, ADJUST(4), UNLIMITED}, 2, 0},
		{{.kind = STTCP_FRAMING_LENGTH, WIDTH(1), ADJUST(-1), UNLIMITED}, 254, 0},
		{{.kind = STTCP_FRAMING_LENGTH, WIDTH(1), ADJUST(-1), UNLIMITED}, 255, -EMSGSIZE},
		{{.kind = STTCP_FRAMING_LENGTH, WIDTH(1), OFFSET(9), UNLIMITED}, 264, 0},
		{{.kind = STTCP_FRAMING_LENGTH, WIDTH(1), OFFSET(9), UNLIMITED}, 265, -EMSGSIZE},
		{{.kind = STTCP_FRAMING_LENGTH, WIDTH(1), ADJUST(INT32_MAX), UNLIMITED},
		 9,
		 -EINVAL},
		{{.kind = STTCP_FRAMING_LENGTH, WIDTH(4), ADJUST(INT32_MIN), UNLIMITED}, 9, 0},
		{{.kind = STTCP_FRAMING_LENGTH, WIDTH(8), ADJUST(INT32_MIN), UNLIMITED},
		 SIZE_MAX,
		 ANSWER_OF_MOST},
		{{.kind = STTCP_FRAMING_LENGTH, VARINT, OFFSET(1), UNLIMITED},
		 SIZE_MAX,
		 ANSWER_OF_MOST},
		{{.kind = STTCP_FRAMING_LENGTH, WIDTH(4), OFFSET(1), .max_message = 8},
		 9,
		 -EMSGSIZE},
	};
	static const char payload[300];

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct stt_frame_ends ends;

		assert_int_equal(stt_framing_check(&cases[i].framing), 0);
		/* A prefix is made of the size alone. */
		assert_int_equal(look_ends(&cases[i].framing, NULL, cases[i].size, &ends),
				 cases[i].answer);
		if (cases[i].answer == 0 && cases[i].size <= sizeof(payload))
			assert_int_equal(send_and_read(&cases[i].framing, payload, cases[i].size),
					 0);
	}
}

static void raw_and_custom_are_sent_without_ends_or_checks(void **state)
{
	const struct stt_framing framings[] = {
		{.kind = STTCP_FRAMING_RAW, .max_message = 1},
		{.kind = STTCP_FRAMING_CUSTOM, .frame_fn = netstring_end, .max_message = 1},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(framings); i++) {
		struct stt_frame_ends ends;

		memset(&ends, 0xff, sizeof(ends));
		assert_int_equal(look_ends(&framings[i], "a\nb\r", 4, &ends), 0);
		assert_int_equal(ends.head_size, 0);
		assert_int_equal(ends.tail_size, 0);
		assert_null(ends.tail);
	}
}

static void payload_that_holds_its_end_is_refused(void **state)
{
	static const struct {
		struct stt_framing framing;
		struct bytes payload;
		int answer;
	} cases[] = {
		{LINE, B(""), 0},
		{LINE, B("a\rb"), 0},
		{LINE, B("\ra"), 0},
		{LINE, B("\n"), -EINVAL},
		{LINE, B("a\nb"), -EINVAL},
		{LINE, B("a\r"), -EINVAL},
		{LINE, B("\r"), -EINVAL},
		{DELIMITED("aa"), B(""), 0},
		{DELIMITED("aa"), B("ax"), 0},
		{DELIMITED("aa"), B("xa"), -EINVAL},
		{DELIMITED("aa"), B("xaax"), -EINVAL},
		{DELIMITED("ab"), B("xa"), 0},
		{DELIMITED("aba"), B("xa"), 0},
		{DELIMITED("aba"), B("xab"), -EINVAL},
		{DELIMITED("abab"), B("xab"), -EINVAL},
		{DELIMITED("abab"), B("ab"), -EINVAL},
		{DELIMITED("\r\n"), B("a\r"), 0},
		{DELIMITED("\r\n"), B("a\n"), 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_int_equal(send_and_read(&cases[i].framing, cases[i].payload.data,
					       cases[i].payload.size),
				 cases[i].answer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_short_line_is_read_as_the_plainest_search_would),
		cmocka_unit_test(every_short_delimiter_is_found_as_the_plainest_search_would),
		cmocka_unit_test(payloads_of_every_length_come_back),
		cmocka_unit_test(fixed_size_is_sent_as_it_is),
		cmocka_unit_test(prefix_tells_no_more_than_it_has_room_for),
		cmocka_unit_test(varint_that_counts_itself_is_a_fixed_point),
		cmocka_unit_test(lengths_below_nothing_are_not_sent),
		cmocka_unit_test(raw_and_custom_are_sent_without_ends_or_checks),
		cmocka_unit_test(payload_that_holds_its_end_is_refused),
	};

	return cmocka_run_group_tests(tests, map_guarded, unmap_guarded);
}
