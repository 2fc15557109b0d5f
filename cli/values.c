/* SPDX-License-Identifier: MIT */
/*
 * Numbers, sizes, times and texts of the command line.
 */
#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int64_t read_number(struct argp_state *state, const char *what, const char *text, int64_t least,
		    int64_t most)
{
	char *end;
	long long value;

	errno = 0;
	value = strtoll(text, &end, 10);
	if (end == text || *end || errno || value < least || value > most)
		argp_error(state, "%s is a number from %lld to %lld, not '%s'", what,
			   (long long)least, (long long)most, text);
	return value;
}

int64_t read_size(struct argp_state *state, const char *what, const char *text, int64_t least,
		  int64_t most)
{
	static const char units[] = "kmgt";
	char *end;
	long long value;
	const char *unit;

	errno = 0;
	value = strtoll(text, &end, 10);
	unit = *end ? strchr(units, tolower((unsigned char)*end)) : NULL;
	if (unit && !end[1]) {
		int shift = 10 * (int)(unit - units + 1);

		if (value > most >> shift)
			errno = ERANGE;
		else
			value *= 1LL << shift;
		end++;
	}
	if (end == text || *end || errno || value < least || value > most)
		argp_error(state,
			   "%s is a number of bytes from %lld to %lld, such as 4096, 64k or 1M, "
			   "not '%s'",
			   what, (long long)least, (long long)most, text);
	return value;
}

static int read_ms(struct argp_state *state, const char *what, const char *text, bool may_be_0)
{
	static const struct {
		const char *name;
		double ms;
	} units[] = {{"", 1e3}, {"s", 1e3}, {"ms", 1}, {"m", 60e3}, {"h", 3600e3}};
	char *end;
	double value = strtod(text, &end), ms = -1;

	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++)
		if (end != text && !strcmp(end, units[i].name))
			ms = value * units[i].ms;
	if (!isfinite(ms) || (ms < 1 && !(may_be_0 && fpclassify(ms) == FP_ZERO)) || ms > 1e9)
		argp_error(state, "%s is a time in seconds%s, or such as 200ms, 5m or 1h, not '%s'",
			   what, may_be_0 ? "" : " above 0", text);
	return (int)ms;
}

int read_time_ms(struct argp_state *state, const char *what, const char *text)
{
	return read_ms(state, what, text, false);
}

int read_wait_ms(struct argp_state *state, const char *what, const char *text)
{
	return read_ms(state, what, text, true);
}

static int digit(char c)
{
	return isdigit((unsigned char)c)    ? c - '0'
	       : isxdigit((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10
					    : -1;
}

/* The byte of the escape at `text`, and how long that is; -1: it is none. */
static int read_escape(const char *text, size_t *length)
{
	static const char names[] = "n\nr\rt\t0\0\\\\";

	*length = 2;
	for (size_t i = 0; i + 1 < sizeof(names); i += 2)
		if (text[1] == names[i])
			return (unsigned char)names[i + 1];
	if (text[1] != 'x' || digit(text[2]) < 0 || digit(text[3]) < 0)
		return -1;
	*length = 4;
	return digit(text[2]) * 16 + digit(text[3]);
}

size_t read_escapes(struct argp_state *state, const char *what, char *text)
{
	char *to = text;

	for (const char *from = text; *from;) {
		size_t length = 1;
		int byte = *from == '\\' ? read_escape(from, &length) : (unsigned char)*from;

		if (byte < 0)
			argp_error(state,
				   "%s: '%s' does not begin with \\n, \\r, \\t, \\0, \\\\ or "
				   "\\xNN",
				   what, from);
		*to++ = (char)byte;
		from += length;
	}
	*to = '\0';
	return (size_t)(to - text);
}
