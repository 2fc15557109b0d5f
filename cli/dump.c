/* SPDX-License-Identifier: MIT */
/*
 * sttcp dump: a proxy that prints what passes. Printing waits where standard
 * output is slow, and so does what passes.
 */
#include "cli.h"
#include "json.h"
#include "options.h"
#include "output.h"
#include "relay.h"
#include "say.h"
#include "splitter.h"
#include "targets.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	HEX_COLUMNS = 16
};

static bool as_hex, as_json, has_colours;
static size_t most_bytes = SIZE_MAX; /* of each message are printed */
static const sttcp_options *framing;

/* Of a link: what of each direction has not come to its end. */
struct sides {
	struct splitter of[2];
};

static bool begun(struct link *link)
{
	struct sides *sides = calloc(1, sizeof(*sides));

	if (!sides)
		return false;
	sides->of[0].framing = sides->of[1].framing = framing;
	link->data = sides;
	return true;
}

static void freed(struct link *link)
{
	struct sides *sides = link->data;

	splitter_free(&sides->of[0]);
	splitter_free(&sides->of[1]);
	free(sides);
}

/* ------------------------------------------------------------------- printing */

static void format_clock(char *text, size_t cap)
{
	struct timespec now;
	struct tm tm;
	size_t used;

	clock_gettime(CLOCK_REALTIME, &now);
	used = strftime(text, cap, "%H:%M:%S", localtime_r(&now.tv_sec, &tm));
	snprintf(text + used, cap - used, ".%06ld", now.tv_nsec / 1000);
}

/* "12:00:00.123456 #1 > ": towards the target, or "<" back. */
static void print_head(FILE *out, const struct link *link, int from)
{
	static const char *const colours[] = {"\033[36m", "\033[33m"};
	char clock[32];

	format_clock(clock, sizeof(clock));
	fprintf(out, "%s%s #%llu %s%s", has_colours && from >= 0 ? colours[from] : "", clock,
		(unsigned long long)sttcp_conn_id(link->near),
		from == FROM_CLIENT   ? "> "
		: from == FROM_TARGET ? "< "
				      : "",
		has_colours && from >= 0 ? "\033[0m" : "");
}

static void print_hex_row(FILE *out, const unsigned char *data, size_t at, size_t size)
{
	fprintf(out, "    %06zx ", at);
	for (size_t i = 0; i < HEX_COLUMNS; i++) {
		if (i < size)
			fprintf(out, "%s%02x", i % 8 ? " " : "  ", data[i]);
		else
			fputs(i % 8 ? "   " : "    ", out);
	}
	fputs("  |", out);
	for (size_t i = 0; i < size; i++)
		fputc(data[i] >= 0x20 && data[i] < 0x7f ? data[i] : '.', out);
	fputs("|\n", out);
}

static void print_hex(FILE *out, const struct link *link, int from, const void *data, size_t size,
		      const char *note)
{
	const unsigned char *bytes = data;
	size_t shown = size < most_bytes ? size : most_bytes;

	print_head(out, link, from);
	fprintf(out, "%zu byte%s%s%s%s\n", size, size == 1 ? "" : "s", note ? " (" : "",
		note ? note : "", note ? ")" : "");
	for (size_t at = 0; at < shown; at += HEX_COLUMNS) {
		size_t left = shown - at;

		print_hex_row(out, bytes + at, at, left < HEX_COLUMNS ? left : HEX_COLUMNS);
	}
	if (shown < size)
		fprintf(out, "    (and %zu bytes more)\n", size - shown);
}

/* A row for each line of it; a message that is framed is one row. */
static void print_text(FILE *out, const struct link *link, int from, const void *data, size_t size,
		       const char *note)
{
	const char *text = data;
	size_t shown = whole_size(data, size, size < most_bytes ? size : most_bytes), at = 0;

	do {
		const char *end = framing->framing ? NULL : memchr(text + at, '\n', shown - at);
		size_t length = end ? (size_t)(end - (text + at)) + 1 : shown - at;

		print_head(out, link, from);
		print_escaped(out, text + at, length, ESCAPE_ALL);
		at += length;
		if (at >= shown && shown < size)
			fprintf(out, " (and %zu bytes more)", size - shown);
		if (at >= shown && note)
			fprintf(out, " (%s)", note);
		fputc('\n', out);
	} while (at < shown);
}

static char *hex_of(const void *data, size_t size)
{
	const unsigned char *bytes = data;
	char *text = malloc(2 * size + 1);

	for (size_t i = 0; text && i < size; i++)
		sprintf(text + 2 * i, "%02x", bytes[i]);
	if (text)
		text[2 * size] = '\0';
	return text;
}

static void begin_object(struct json *json, const char *event, const struct link *link, int from)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	json_begin(json, event);
	json_text(json, "client", sttcp_conn_address(link->near));
	json_int(json, "id", (int64_t)sttcp_conn_id(link->near));
	json_int(json, "time_us", (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000);
	if (from >= 0)
		json_text(json, "from", from == FROM_CLIENT ? "client" : "target");
}

static void print_json(const struct link *link, int from, const void *data, size_t size,
		       const char *note)
{
	size_t shown = size < most_bytes ? size : most_bytes;
	size_t whole = whole_size(data, size, shown);
	struct json json;

	begin_object(&json, "data", link, from);
	json_int(&json, "size", (int64_t)size);
	if (!as_hex && is_utf8(data, whole)) {
		json_bytes(&json, "text", data, whole);
	} else {
		char *hex = hex_of(data, shown);

		json_text(&json, "hex", hex ? hex : "");
		free(hex);
	}
	if (note)
		json_text(&json, "note", note);
	json_end(&json);
}

struct from_where {
	const struct link *link;
	int from;
};

static void show(const void *data, size_t size, const char *note, void *argument)
{
	const struct from_where *where = argument;
	char *text = NULL;
	size_t length = 0;
	FILE *out;

	if (as_json) {
		print_json(where->link, where->from, data, size, note);
		return;
	}
	out = open_memstream(&text, &length);
	if (!out)
		return;
	(as_hex ? print_hex : print_text)(out, where->link, where->from, data, size, note);
	fclose(out);
	output_write(text, length);
	free(text);
}

static void show_event(const struct link *link, int from, const char *event, const char *before,
		       const char *text)
{
	char *line = NULL;
	size_t length = 0;
	FILE *out;
	struct json json;

	if (as_json) {
		begin_object(&json, event, link, from);
		if (text)
			json_text(&json, from < 0 && event[0] == 'o' ? "target" : "reason", text);
		json_end(&json);
		return;
	}
	out = open_memstream(&line, &length);
	if (!out)
		return;
	print_head(out, link, from);
	fputs(before, out);
	if (text)
		print_escaped(out, text, strlen(text), ESCAPE_NEWLINES);
	fputc('\n', out);
	fclose(out);
	output_write(line, length);
	free(line);
}

/* ---------------------------------------------------------------------- hooks */

static void opened(struct link *link)
{
	char *before = NULL;

	if (asprintf(&before, "%s -> ", sttcp_conn_address(link->near)) < 0)
		return;
	show_event(link, -1, "open", before, targets_text(link->target));
	free(before);
}

static void passed(struct link *link, int from, const void *data, size_t size)
{
	struct sides *sides = link->data;

	splitter_feed(&sides->of[from], data, size, show, &(struct from_where){link, from});
}

static void ended_input(struct link *link, int from)
{
	struct sides *sides = link->data;

	splitter_end(&sides->of[from], show, &(struct from_where){link, from});
	show_event(link, from, "fin", "(FIN)", NULL);
}

static void lost(struct link *link, int from)
{
	struct sides *sides = link->data;

	splitter_end(&sides->of[from], show, &(struct from_where){link, from});
}

static void ended(struct link *link, int code, const char *why)
{
	(void)code;
	show_event(link, -1, "closed", "", why);
}

/* ----------------------------------------------------------------------- verb */

static error_t set(int key, char *value, struct argp_state *state)
{
	switch (key) {
	case 'x':
		as_hex = true;
		return 0;
	case 'b':
		most_bytes = (size_t)read_size(state, "--bytes", value, 1, INT64_C(1) << 30);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int run(struct common *common, char **words, int nwords)
{
	static const struct relay_hooks hooks = {begun, opened, passed, ended_input,
						 lost,	ended,	freed};
	static sttcp_options copy;

	copy = common->server;
	framing = &copy;
	/* The relay passes bytes, and it is their copy that is split. */
	drop_framing(&common->server);
	drop_framing(&common->client);
	as_json = common->json;
	has_colours = say_has_colours(stdout);
	targets_set(words + 1, nwords - 1, false, 10000);
	return relay_run(common, words[0], &hooks);
}

static const struct argp_option options[] = {
	{"hex", 'x', NULL, 0, "Print bytes in hexadecimal", 0},
	{"bytes", 'b', "BYTES", 0, "Print so many bytes of each message at most", 0},
	{0},
};

const struct verb verb_dump = {
	.name = "dump",
	.words = "[HOST:]PORT TARGET",
	.least = 2,
	.most = 2,
	.about = "a proxy that prints what passes",
	.more = "Each message (with --framing; else what comes at a time, line by line) is printed "
		"with the time, the number of its connection, and > towards the target or < back. "
		"With --tls and --target-tls it sees what is encrypted on both sides.",
	.takes = TAKES_TLS | TAKES_TARGET_TLS | TAKES_FRAMING | TAKES_IDLE | TAKES_LIMITS |
		 TAKES_DRAIN | TAKES_STATS | TAKES_JSON | TAKES_CONNECT,
	.options = options,
	.set = set,
	.run = run,
};
