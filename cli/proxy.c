/* SPDX-License-Identifier: MIT */
/*
 * sttcp proxy: passes connections on, with a line for each on standard output.
 */
#include "clock.h"
#include "cli.h"
#include "json.h"
#include "options.h"
#include "output.h"
#include "relay.h"
#include "say.h"
#include "targets.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	KEY_RETRY = KEY_OWN
};

static bool by_fewest;
static int rest_ms = 10000;
static bool as_json;

static void print_json(const struct link *link, const sttcp_conn_counts *counts, int code,
		       const char *why)
{
	struct json json;

	json_begin(&json, "connection");
	json_text(&json, "client", sttcp_conn_address(link->near));
	json_text(&json, "target", link->target >= 0 ? targets_text(link->target) : "");
	json_int(&json, "bytes_in", counts->bytes_in);
	json_int(&json, "bytes_out", counts->bytes_out);
	json_real(&json, "seconds", (double)(now_ns() - link->began_ns) / 1e9);
	json_text(&json, "code", sttcp_error_name(code));
	json_text(&json, "reason", why);
	json_end(&json);
}

static void print_line(const struct link *link, const sttcp_conn_counts *counts, const char *why)
{
	char in[24], out[24], took[24], clock[16], *text = NULL;
	size_t size = 0;
	FILE *stream = open_memstream(&text, &size);
	time_t now = time(NULL);
	struct tm tm;

	if (!stream)
		return;
	strftime(clock, sizeof(clock), "%H:%M:%S", localtime_r(&now, &tm));
	fprintf(stream, "%s %s -> %s, %s in, %s out, %s, ", clock, sttcp_conn_address(link->near),
		link->target >= 0 ? targets_text(link->target) : "-",
		human_size(in, sizeof(in), (double)counts->bytes_in),
		human_size(out, sizeof(out), (double)counts->bytes_out),
		human_time(took, sizeof(took), (double)(now_ns() - link->began_ns) / 1e9));
	print_escaped(stream, why, strlen(why), ESCAPE_NEWLINES);
	fputc('\n', stream);
	fclose(stream);
	output_write(text, size);
	free(text);
}

static void ended(struct link *link, int code, const char *why)
{
	sttcp_conn_counts counts = {0};

	sttcp_conn_stats(link->near, &counts, sizeof(counts));
	if (as_json)
		print_json(link, &counts, code, why);
	else
		print_line(link, &counts, why);
}

static error_t set(int key, char *value, struct argp_state *state)
{
	switch (key) {
	case 'b':
		by_fewest = !strcmp(value, "fewest");
		if (!by_fewest && strcmp(value, "turn") != 0)
			argp_error(state, "--balance is turn or fewest, not '%s'", value);
		return 0;
	case KEY_RETRY:
		rest_ms = read_time_ms(state, "--retry", value);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int run(struct common *common, char **words, int nwords)
{
	static const struct relay_hooks hooks = {.ended = ended};

	as_json = common->json;
	targets_set(words + 1, nwords - 1, by_fewest, rest_ms);
	return relay_run(common, words[0], &hooks);
}

static const struct argp_option options[] = {
	{"balance", 'b', "WAY", 0,
	 "Which target: each in turn (turn, the default), or the one with the fewest connections "
	 "(fewest)",
	 0},
	{"retry", KEY_RETRY, "SECONDS", 0,
	 "How long a target that cannot be reached is passed over; 10 by default", 0},
	{0},
};

const struct verb verb_proxy = {
	.name = "proxy",
	.words = "[HOST:]PORT TARGET...",
	.least = 2,
	.most = MAX_TARGETS + 1,
	.about = "pass connections on to targets",
	.more = "A target is HOST:PORT, [::1]:PORT or unix:/path. For each connection a line goes "
		"to "
		"standard output: bytes in and out, how long it took, and why it ended. With --tls "
		"clients speak TLS to the proxy, with --target-tls the proxy to its targets.",
	.takes = TAKES_TLS | TAKES_TARGET_TLS | TAKES_IDLE | TAKES_LIMITS | TAKES_DRAIN |
		 TAKES_STATS | TAKES_JSON | TAKES_CONNECT,
	.options = options,
	.set = set,
	.run = run,
};
