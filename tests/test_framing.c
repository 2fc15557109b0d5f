/* SPDX-License-Identifier: MIT */
/*
 * Where messages end, from tables: every table is read whole, in two parts cut at
 * each place, and byte by byte; and which framings are refused.
 */
#include "support/samples.h"

static int semicolon_end(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
			 void *context)
{
	const char *text = data;
	const char *end = memchr(text + frame->state, ';', size - (size_t)frame->state);

	(void)conn;
	(void)context;
	frame->state = size;
	if (end)
		frame->size = frame->total = (size_t)(end - text) + 1;
	return end ? 1 : 0;
}

/* "<digit><payload>." with as many bytes of payload; tells at first how long its header is, and
 * then what it is before the "." is there. */
static int digit_and_period(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame,
			    void *context)
{
	const unsigned char *bytes = data;

	(void)conn;
	(void)context;
	if (frame->state++ == 0 && (frame->skip || frame->size || frame->total))
		return -1;
	frame->total = 2;
	if (size < 2)
		return 0;
	frame->skip = 1;
	frame->size = (size_t)(bytes[0] - '0');
	frame->total = frame->size + 2;
	return 1;
}

/* ---------------------------------------------------------------- the tables */

static const struct sample line_samples[] = {
	{"lines", LINE, B("one\ntwo\n"), WHOLE, {B("one"), B("two")}},
	{"crlf", LINE, B("one\r\ntwo\r\n"), WHOLE, {B("one"), B("two")}},
	{"mixed ends", LINE, B("one\ntwo\r\n"), WHOLE, {B("one"), B("two")}},
	{"empty lines", LINE, B("\n\r\n\n"), WHOLE, {B(""), B(""), B("")}},
	{"only one \\r goes", LINE, B("one\r\r\n"), WHOLE, {B("one\r")}},
	{"\\r within", LINE, B("o\rne\n"), WHOLE, {B("o\rne")}},
	{"\\n before \\r", LINE, B("one\n\r"), RESTS, {B("one"), B("\r")}},
	{"NUL within", LINE, B("o\0ne\n\0\n"), WHOLE, {B("o\0ne"), B("\0")}},
	{"rest", LINE, B("one\ntwo"), RESTS, {B("one"), B("two")}},
	{"rest with \\r", LINE, B("two\r"), RESTS, {B("two\r")}},
	{"limit met", LINE_OF(3), B("one\ntwo\r\n"), WHOLE, {B("one"), B("two")}},
	{"limit passed", LINE_OF(3), B("one\nfour\n"), STTCP_ELIMIT, {B("one")}},
	{"limit passed, no end", LINE_OF(3), B("one\nfour"), STTCP_ELIMIT, {B("one")}},
	{"limit passed by \\r", LINE_OF(3), B("one\r\r\n"), STTCP_ELIMIT, {{0}}},
	{"limit met by \\r", LINE_OF(3), B("on\r\r\n"), WHOLE, {B("on\r")}},
	{"limit of 0", LINE_OF(0), B("\r\n\na"), STTCP_ELIMIT, {B(""), B("")}},
};

static const struct sample delimiter_samples[] = {
	{"one byte", DELIMITED(";"), B("a;;b;"), WHOLE, {B("a"), B(""), B("b")}},
	{"NUL", DELIMITED("\0"), B("a\0b\0"), WHOLE, {B("a"), B("b")}},
	{"two bytes", DELIMITED("\r\n"), B("a\r\n\r\n"), WHOLE, {B("a"), B("")}},
	{"half in front", DELIMITED("\r\n"), B("a\r\r\n\n\r\n"), WHOLE, {B("a\r"), B("\n")}},
	{"first of two ends", DELIMITED("aa"), B("xaaaaa"), RESTS, {B("x"), B(""), B("a")}},
	{"false start", DELIMITED("aab"), B("aaaabaab"), WHOLE, {B("aa"), B("")}},
	{"period", DELIMITED("abab"), B("ababab"), RESTS, {B(""), B("ab")}},
	{"sixteen bytes",
	 DELIMITED("0123456789abcdef"),
	 B("x0123456789abcde0123456789abcdefy0123456789abcdef"),
	 WHOLE,
	 {B("x0123456789abcde"), B("y")}},
	{"rest", DELIMITED("--"), B("a--b-"), RESTS, {B("a"), B("b-")}},
	{"rest shorter than it", DELIMITED("abcd"), B("ab"), RESTS, {B("ab")}},
	{"limit met", DELIMITED_OF("--", 2), B("ab--a---"), RESTS, {B("ab"), B("a"), B("-")}},
	{"limit passed", DELIMITED_OF("--", 2), B("ab--abc--"), STTCP_ELIMIT, {B("ab")}},
	{"limit passed, no end", DELIMITED_OF("--", 2), B("ab-c"), STTCP_ELIMIT, {{0}}},
};

static const struct sample length_samples[] = {
	{"one byte", COUNTED(WIDTH(1)), B("\1a\0\2bc"), WHOLE, {B("a"), B(""), B("bc")}},
	{"two bytes", COUNTED(WIDTH(2)), B("\0\1a\0\0\0\2bc"), WHOLE, {B("a"), B(""), B("bc")}},
	{"two bytes, little endian",
	 COUNTED(WIDTH(2), LITTLE),
	 B("\1\0a\2\0bc"),
	 WHOLE,
	 {B("a"), B("bc")}},
	{"four bytes", COUNTED(WIDTH(4)), B("\0\0\0\1a"), WHOLE, {B("a")}},
	{"eight bytes", COUNTED(WIDTH(8)), B("\0\0\0\0\0\0\0\1a"), WHOLE, {B("a")}},
	{"eight bytes, little endian",
	 COUNTED(WIDTH(8), LITTLE),
	 B("\1\0\0\0\0\0\0\0a"),
	 WHOLE,
	 {B("a")}},
	{"prefix in parts", COUNTED(WIDTH(4)), B("\0\0\0"), WAITS, {{0}}},
	{"payload in parts", COUNTED(WIDTH(1)), B("\1a\3bc"), WAITS, {B("a")}},
	{"itself included", COUNTED(WIDTH(2), SELF), B("\0\3a\0\2"), WHOLE, {B("a"), B("")}},
	{"less than itself", COUNTED(WIDTH(2), SELF), B("\0\3a\0\1"), STTCP_EFRAME, {B("a")}},
	{"limit met", COUNTED_OF(2, WIDTH(1)), B("\2ab"), WHOLE, {B("ab")}},
	{"limit passed", COUNTED_OF(2, WIDTH(1)), B("\2ab\3"), STTCP_ELIMIT, {B("ab")}},
	{"limit met by the payload", COUNTED_OF(2, WIDTH(1), SELF), B("\3ab"), WHOLE, {B("ab")}},
	{"limit passed by the payload",
	 COUNTED_OF(2, WIDTH(1), SELF),
	 B("\4"),
	 STTCP_ELIMIT,
	 {{0}}},
	{"64 bits", COUNTED(WIDTH(8)), B("\xff\xff\xff\xff\xff\xff\xff\xff"), STTCP_ELIMIT, {{0}}},
	{"64 bits, itself included",
	 COUNTED(WIDTH(8), SELF),
	 B("\x80\0\0\0\0\0\0\0"),
	 STTCP_ELIMIT,
	 {{0}}},
	{"63 bits", COUNTED(WIDTH(8)), B("\x7f\xff\xff\xff\xff\xff\xff\xff"), STTCP_ELIMIT, {{0}}},
	{"63 bits, the most that memory could hold",
	 COUNTED(WIDTH(8)),
	 B("\x7f\xff\xff\xff\xff\xff\xff\xf7"),
	 WAITS_WHERE_64_BITS,
	 {{0}}},
	{"63 bits, itself included",
	 COUNTED(WIDTH(8), SELF),
	 B("\x7f\xff\xff\xff\xff\xff\xff\xff"),
	 WAITS_WHERE_64_BITS,
	 {{0}}},
};

static const struct sample varint_samples[] = {
	{"short", COUNTED(VARINT), B("\1a\0\2bc"), WHOLE, {B("a"), B(""), B("bc")}},
	{"not minimal", COUNTED(VARINT), B("\x82\x80\0bc\x80\0"), WHOLE, {B("bc"), B("")}},
	{"not minimal, ten bytes",
	 COUNTED(VARINT),
	 B("\x81\x80\x80\x80\x80\x80\x80\x80\x80\0a"),
	 WHOLE,
	 {B("a")}},
	{"in parts", COUNTED(VARINT), B("\1a\x80\x80"), WAITS, {B("a")}},
	{"eleven bytes",
	 COUNTED(VARINT),
	 B("\x81\x80\x80\x80\x80\x80\x80\x80\x80\x80\0a"),
	 STTCP_EFRAME,
	 {{0}}},
	{"65 bits",
	 COUNTED(VARINT),
	 B("\x81\x80\x80\x80\x80\x80\x80\x80\x80\2"),
	 STTCP_EFRAME,
	 {{0}}},
	{"64 bits",
	 COUNTED(VARINT),
	 B("\xff\xff\xff\xff\xff\xff\xff\xff\xff\1"),
	 STTCP_ELIMIT,
	 {{0}}},
	{"63 bits",
	 COUNTED(VARINT),
	 B("\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
	 STTCP_ELIMIT,
	 {{0}}},
	{"itself included", COUNTED(VARINT, SELF), B("\1\2a"), WHOLE, {B(""), B("a")}},
	{"itself included as long as it came",
	 COUNTED(VARINT, SELF),
	 B("\x83\0a\x82\0"),
	 WHOLE,
	 {B("a"), B("")}},
	{"less than itself", COUNTED(VARINT, SELF), B("\x81\0a"), STTCP_EFRAME, {{0}}},
	{"nothing, itself included", COUNTED(VARINT, SELF), B("\0"), STTCP_EFRAME, {{0}}},
	{"limit passed", COUNTED_OF(128, VARINT), B("\x81\1"), STTCP_ELIMIT, {{0}}},
	{"limit met", COUNTED_OF(128, VARINT), B("\x80\1"), WAITS, {{0}}},
};

/* Where the length stands, and what it counts. */
static const struct sample placed_samples[] = {
	{"three bytes",
	 COUNTED(WIDTH(3)),
	 B("\0\0\1a\0\0\0\0\0\2bc"),
	 WHOLE,
	 {B("a"), B(""), B("bc")}},
	{"three bytes, little endian", COUNTED(WIDTH(3), LITTLE), B("\1\0\0a"), WHOLE, {B("a")}},
	{"three bytes, the most", COUNTED(WIDTH(3)), B("\xff\xff\xff"), WAITS, {{0}}},
	{"behind a byte",
	 COUNTED(WIDTH(2), OFFSET(1)),
	 B("A\0\2bcD\0\0"),
	 WHOLE,
	 {B("Abc"), B("D")}},
	{"behind more bytes than follow",
	 COUNTED(WIDTH(1), OFFSET(5)),
	 B("hello\1!there\0"),
	 WHOLE,
	 {B("hello!"), B("there")}},
	{"behind a byte, itself included",
	 COUNTED(WIDTH(4), OFFSET(1), SELF),
	 B("Q\0\0\0\5x"),
	 WHOLE,
	 {B("Qx")}},
	{"behind a byte, less than itself",
	 COUNTED(WIDTH(4), OFFSET(1), SELF),
	 B("Q\0\0\0\3x"),
	 STTCP_EFRAME,
	 {{0}}},
	{"behind a byte, varint",
	 COUNTED(VARINT, OFFSET(1)),
	 B("\x30\2ab\xc0\0\xe0\x80\0"),
	 WHOLE,
	 {B("\x30"
	    "ab"),
	  B("\xc0"), B("\xe0")}},
	{"behind a byte, no varint",
	 COUNTED(VARINT, OFFSET(1)),
	 B("\x30\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
	 STTCP_EFRAME,
	 {{0}}},
	{"in front alone", COUNTED(WIDTH(2), OFFSET(3)), B("abc"), WAITS, {{0}}},
	{"in front in parts", COUNTED(WIDTH(2), OFFSET(3)), B("ab"), WAITS, {{0}}},
	{"payload in parts", COUNTED(WIDTH(2), OFFSET(3)), B("abc\0\2d"), WAITS, {{0}}},
	{"limit met by the front",
	 COUNTED_OF(3, WIDTH(1), OFFSET(2)),
	 B("ab\1c"),
	 WHOLE,
	 {B("abc")}},
	{"limit passed by the front",
	 COUNTED_OF(3, WIDTH(1), OFFSET(2)),
	 B("ab\1cab\2"),
	 STTCP_ELIMIT,
	 {B("abc")}},
	{"limit met by the front alone",
	 COUNTED_OF(3, WIDTH(1), OFFSET(3)),
	 B("abc\0"),
	 WHOLE,
	 {B("abc")}},
	{"more follows", COUNTED(WIDTH(1), ADJUST(2)), B("\0ab\1abc"), WHOLE, {B("ab"), B("abc")}},
	{"less follows", COUNTED(WIDTH(1), ADJUST(-2)), B("\2\4ab"), WHOLE, {B(""), B("ab")}},
	{"less by one follows",
	 COUNTED(WIDTH(1), ADJUST(-1)),
	 B("\1\3ab"),
	 WHOLE,
	 {B(""), B("ab")}},
	{"less than nothing follows",
	 COUNTED(WIDTH(1), ADJUST(-2)),
	 B("\2\1a"),
	 STTCP_EFRAME,
	 {B("")}},
	{"the length counts what is in front",
	 COUNTED(WIDTH(2), OFFSET(2), ADJUST(-4)),
	 B("\3\0\0\6ab\3\0\0\4"),
	 WHOLE,
	 {B("\3\0ab"), B("\3\0")}},
	{"the length counts less than what is in front",
	 COUNTED(WIDTH(2), OFFSET(2), ADJUST(-4)),
	 B("\3\0\0\3"),
	 STTCP_EFRAME,
	 {{0}}},
	{"itself and more", COUNTED(WIDTH(1), SELF, ADJUST(1)), B("\0\1a"), WHOLE, {B(""), B("a")}},
	{"itself and less",
	 COUNTED(WIDTH(1), SELF, ADJUST(-1)),
	 B("\2\3a\1"),
	 STTCP_EFRAME,
	 {B(""), B("a")}},
	{"varint, itself and more",
	 COUNTED(VARINT, SELF, ADJUST(1)),
	 B("\0\x81\0"),
	 WHOLE,
	 {B(""), B("")}},
	{"the least adjustment",
	 COUNTED(WIDTH(4), ADJUST(INT32_MIN)),
	 B("\x80\0\0\1a\x7f\xff\xff\xff"),
	 STTCP_EFRAME,
	 {B("a")}},
	{"the largest adjustment",
	 COUNTED_OF(INT32_MAX, WIDTH(1), ADJUST(INT32_MAX)),
	 B("\1"),
	 STTCP_ELIMIT,
	 {{0}}},
	{"64 bits and more",
	 COUNTED(WIDTH(8), OFFSET(1), ADJUST(INT32_MAX)),
	 B("a\xff\xff\xff\xff\xff\xff\xff\xff"),
	 STTCP_ELIMIT,
	 {{0}}},
	{"63 bits and more",
	 COUNTED(WIDTH(8), OFFSET(1), ADJUST(INT32_MAX)),
	 B("a\x7f\xff\xff\xff\xff\xff\xff\xff"),
	 STTCP_ELIMIT,
	 {{0}}},
	{"64 bits and less",
	 COUNTED(WIDTH(8), ADJUST(INT32_MIN)),
	 B("\xff\xff\xff\xff\xff\xff\xff\xff"),
	 STTCP_ELIMIT,
	 {{0}}},
};

static const struct sample fixed_samples[] = {
	{"one byte", FIXED(1), B("ab"), WHOLE, {B("a"), B("b")}},
	{"three bytes", FIXED(3), B("abc\0\n\r"), WHOLE, {B("abc"), B("\0\n\r")}},
	{"a part", FIXED(3), B("abcde"), WAITS, {B("abc")}},
	{"a size over memory", FIXED(PTRDIFF_MAX), B("abc"), WAITS, {{0}}},
};

static const struct sample custom_samples[] = {
	{"as told",
	 CUSTOM(netstring_end, INT64_MAX),
	 B("1:a0:2:bc"),
	 WHOLE,
	 {B("1:a"), B("0:"), B("2:bc")}},
	{"malformed", CUSTOM(netstring_end, INT64_MAX), B("1:a2bc"), STTCP_EFRAME, {B("1:a")}},
	{"in parts", CUSTOM(netstring_end, INT64_MAX), B("1:a3:bc"), WAITS, {B("1:a")}},
	{"limit met", CUSTOM(netstring_end, 4), B("2:ab"), WHOLE, {B("2:ab")}},
	{"limit passed", CUSTOM(netstring_end, 4), B("2:ab3:"), STTCP_ELIMIT, {B("2:ab")}},
	{"payload alone",
	 CUSTOM(digit_and_period, INT64_MAX),
	 B("1a.0.2bc."),
	 WHOLE,
	 {B("a"), B(""), B("bc")}},
	{"payload alone, in parts", CUSTOM(digit_and_period, INT64_MAX), B("0.2b"), WAITS, {B("")}},
	{"header in parts", CUSTOM(digit_and_period, INT64_MAX), B("0.2"), WAITS, {B("")}},
	{"limit met by the payload", CUSTOM(digit_and_period, 4), B("4abcd."), WHOLE, {B("abcd")}},
	{"limit passed by the payload",
	 CUSTOM(digit_and_period, 4),
	 B("0.5a"),
	 STTCP_ELIMIT,
	 {B("")}},
	{"limit met without an end", CUSTOM(semicolon_end, 4), B("a;bcde"), WAITS, {B("a;")}},
	{"limit passed without an end",
	 CUSTOM(semicolon_end, 4),
	 B("a;bcdef"),
	 STTCP_ELIMIT,
	 {B("a;")}},
};

static void lines_are_found_however_they_are_cut(void **state)
{
	(void)state;
	read_samples(line_samples, COUNT(line_samples));
}

static void delimiters_are_found_however_they_are_cut(void **state)
{
	(void)state;
	read_samples(delimiter_samples, COUNT(delimiter_samples));
}

static void lengths_are_read_however_they_are_cut(void **state)
{
	(void)state;
	read_samples(length_samples, COUNT(length_samples));
}

static void varints_are_read_however_they_are_cut(void **state)
{
	(void)state;
	read_samples(varint_samples, COUNT(varint_samples));
}

static void lengths_are_placed_and_adjusted_however_they_are_cut(void **state)
{
	(void)state;
	read_samples(placed_samples, COUNT(placed_samples));
}

static void fixed_sizes_are_counted_however_they_are_cut(void **state)
{
	(void)state;
	read_samples(fixed_samples, COUNT(fixed_samples));
}

static void custom_framing_is_asked_however_it_is_cut(void **state)
{
	(void)state;
	read_samples(custom_samples, COUNT(custom_samples));
}

static void raw_gives_what_is_there_beyond_any_limit(void **state)
{
	const struct stt_framing framing = {.kind = STTCP_FRAMING_RAW, .max_message = 1};
	struct stt_frame frame;

	(void)state;
	assert_int_equal(look(&framing, "a\nb", 3, 0, &frame), 1);
	assert_int_equal(frame.skip, 0);
	assert_int_equal(frame.size, 3);
	assert_int_equal(frame.total, 3);
}

static void nothing_is_no_message(void **state)
{
	const struct stt_framing framings[] = {
		{.kind = STTCP_FRAMING_RAW, UNLIMITED},
		{.kind = STTCP_FRAMING_LINE, UNLIMITED},
		{.kind = STTCP_FRAMING_DELIMITER, .delimiter_size = 2, UNLIMITED},
		{.kind = STTCP_FRAMING_LENGTH, WIDTH(1), UNLIMITED},
		{.kind = STTCP_FRAMING_LENGTH, VARINT, UNLIMITED},
		{.kind = STTCP_FRAMING_FIXED, .fixed_size = 1, UNLIMITED},
		{.kind = STTCP_FRAMING_CUSTOM, .frame_fn = netstring_end, UNLIMITED},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(framings); i++) {
		struct stt_frame frame;

		assert_int_equal(look(&framings[i], "", 0, 0, &frame), 0);
		assert_int_equal(frame.scanned, 0);
	}
}

/* --------------------------------------------------------------------- check */

static void framing_that_makes_no_sense_is_refused(void **state)
{
	static const struct {
		struct stt_framing framing;
		int answer;
	} cases[] = {
		{{.kind = STTCP_FRAMING_RAW, UNLIMITED}, 0},
		{{.kind = STTCP_FRAMING_RAW, .max_message = -1}, -EINVAL},
		{{.kind = STTCP_FRAMING_LINE, .max_message = 0}, 0},
		{{.kind = STTCP_FRAMING_LINE, .max_message = -1}, -EINVAL},
		{{.kind = STTCP_FRAMING_DELIMITER, .delimiter_size = 0, UNLIMITED}, -EINVAL},
		{{.kind = STTCP_FRAMING_DELIMITER, .delimiter_size = 1, UNLIMITED}, 0},
		{{.kind = STTCP_FRAMING_DELIMITER, .delimiter_size = 16, UNLIMITED}, 0},
		{{.kind = STTCP_FRAMING_DELIMITER, .delimiter_size = 17, UNLIMITED}, -EINVAL},
		{{.kind = STTCP_FRAMING_LENGTH, VARINT, UNLIMITED}, 0},
		{{.kind = STTCP_FRAMING_LENGTH, VARINT, OFFSET(8), .max_message = 8}, 0},
		{{.kind = STTCP_FRAMING_LENGTH, VARINT, OFFSET(9), .max_message = 8}, -EINVAL},
		{{.kind = STTCP_FRAMING_LENGTH, WIDTH(3), OFFSET(-1), UNLIMITED}, -EINVAL},
		{{.kind = STTCP_FRAMING_LENGTH, WIDTH(3), OFFSET(INT32_MAX), UNLIMITED}, 0},
		{{.kind = STTCP_FRAMING_LENGTH, WIDTH(3), ADJUST(INT32_MIN), UNLIMITED}, 0},
		{{.kind = STTCP_FRAMING_LENGTH, WIDTH(3), ADJUST(INT32_MAX), UNLIMITED}, 0},
		{{.kind = STTCP_FRAMING_FIXED, .fixed_size = 0, UNLIMITED}, -EINVAL},
		{{.kind = STTCP_FRAMING_FIXED, .fixed_size = -1, UNLIMITED}, -EINVAL},
		{{.kind = STTCP_FRAMING_FIXED, .fixed_size = 8, .max_message = 8}, 0},
		{{.kind = STTCP_FRAMING_FIXED, .fixed_size = 9, .max_message = 8}, -EINVAL},
		{{.kind = STTCP_FRAMING_FIXED, .fixed_size = PTRDIFF_MAX, UNLIMITED}, 0},
		{{.kind = STTCP_FRAMING_FIXED, .fixed_size = INT64_C(1) << 32, UNLIMITED},
		 sizeof(size_t) > 4 ? 0 : -EINVAL},
		{{.kind = STTCP_FRAMING_CUSTOM, UNLIMITED}, -EINVAL},
		{{.kind = STTCP_FRAMING_CUSTOM, .frame_fn = netstring_end, UNLIMITED}, 0},
		{{.kind = STTCP_FRAMING_CUSTOM + 1, UNLIMITED}, -EINVAL},
		{{.kind = UINT8_MAX, UNLIMITED}, -EINVAL},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_int_equal(stt_framing_check(&cases[i].framing), cases[i].answer);
	for (int size = 0; size <= UINT8_MAX; size++) {
		const struct stt_framing framing = {
			.kind = STTCP_FRAMING_LENGTH, .prefix_size = (uint8_t)size, UNLIMITED};
		bool fine = (size >= 1 && size <= 4) || size == 8;

		assert_int_equal(stt_framing_check(&framing), fine ? 0 : -EINVAL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_are_found_however_they_are_cut),
		cmocka_unit_test(delimiters_are_found_however_they_are_cut),
		cmocka_unit_test(lengths_are_read_however_they_are_cut),
		cmocka_unit_test(varints_are_read_however_they_are_cut),
		cmocka_unit_test(lengths_are_placed_and_adjusted_however_they_are_cut),
		cmocka_unit_test(fixed_sizes_are_counted_however_they_are_cut),
		cmocka_unit_test(custom_framing_is_asked_however_it_is_cut),
		cmocka_unit_test(raw_gives_what_is_there_beyond_any_limit),
		cmocka_unit_test(nothing_is_no_message),
		cmocka_unit_test(framing_that_makes_no_sense_is_refused),
	};

	return cmocka_run_group_tests(tests, map_guarded, unmap_guarded);
}
