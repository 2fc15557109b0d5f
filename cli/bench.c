/* SPDX-License-Identifier: MIT */
/*
 * sttcp bench: the command line of the load generator, and its course.
 */
#include "bench.h"

#include "clock.h"
#include "files.h"
#include "options.h"
#include "output.h"
#include "say.h"
#include "tls_name.h"
#include "wait.h"

#include <stdlib.h>
#include <string.h>

enum {
	KEY_REQUEST = KEY_OWN,
	KEY_REPLY_SIZE,
	KEY_PLOT
};

static struct plan plan = {.nconns = 64, .duration_ms = 10000};
static const char *plot_file;
static bool as_json;
static size_t size; /* --size; 0: not given */

/* The bytes of a request that nobody has written down: letters, which are no line's end. */
static void make_request(void)
{
	plan.request_size = size ? size : 64;
	plan.request = malloc(plan.request_size);
	if (!plan.request)
		exit(fail(STATUS_START, "out of memory"));
	memset(plan.request, 'x', plan.request_size);
}

static void fill_plan(const struct common *common)
{
	const char *why;

	plan.options = &common->client;
	if (plan.request && size)
		exit(fail(STATUS_USAGE, "--request has a size already, and --size another one"));
	if (plan.rate > 0 && plan.depth > 0)
		exit(fail(STATUS_USAGE,
			  "--depth is for a closed loop, and --rate makes an open one"));
	if (plan.reply_size && common->client.framing)
		exit(fail(STATUS_USAGE, "--reply-size is for answers without a --framing"));
	if (!plan.depth)
		plan.depth = 1;
	if (!plan.request)
		make_request();
	if (!plan.reply_size)
		plan.reply_size = plan.request_size;
	why = why_no_message(plan.options, plan.request, plan.request_size);
	if (why)
		exit(fail(STATUS_USAGE,
			  "the request of %zu bytes is no message of this --framing: %s",
			  plan.request_size, why));
}

static void show(void)
{
	struct tally tally = {.latencies = histogram_new()};
	char text[200];
	double seconds = load_seconds();

	if (!tally.latencies)
		return;
	load_tally(&tally);
	snprintf(text, sizeof(text),
		 "%.0f of %.0f s, %.0f requests/s, 50%% %.1f us, 99%% %.1f us%s", seconds,
		 plan.duration_ms / 1e3, (double)tally.requests / seconds,
		 (double)histogram_at(tally.latencies, 0.5) / 1e3,
		 (double)histogram_at(tally.latencies, 0.99) / 1e3,
		 tally.lost ? ", connections were lost" : "");
	say_status(text);
	free(tally.latencies);
}

/* Returns false when it was interrupted a second time. */
static void measure(void)
{
	int64_t end = now_ns() + (int64_t)plan.duration_ms * 1000000;
	bool shows = say_has_status();

	for (;;) {
		int64_t left_ms = (end - now_ns() + 999999) / 1000000;

		if (left_ms <= 0)
			break;
		if (wait_for(shows && left_ms > 1000 ? 1000 : (int)left_ms) != WOKEN_BY_TIME)
			break; /* what was measured so far counts */
		if (shows)
			show();
	}
	load_end();
	if (shows)
		say_status("");
}

static int report(void)
{
	struct tally tally = {.latencies = histogram_new()};
	double seconds = load_seconds();
	int status = 0;

	if (!tally.latencies)
		return fail(STATUS_FAILED, "out of memory");
	load_tally(&tally);
	(as_json ? report_json : report_text)(&plan, &tally, seconds);
	if (tally.lost > 0)
		status = fail(STATUS_FAILED, "%d of %d connections were lost; the first one: %s",
			      tally.lost, plan.nconns, tally.why);
	else if (tally.requests == 0)
		status =
			fail(STATUS_FAILED, "no request was answered%s",
			     plan.options->framing ? "; is it the right --framing?"
						   : "; does the server answer with as many bytes, "
						     "or with --reply-size?");
	if (plot_file && status == 0)
		status = report_plot(&plan, &tally);
	free(tally.latencies);
	return status;
}

static int run(struct common *common, char **words, int nwords)
{
	struct address address = read_address(words[0], false);
	int status = STATUS_START;

	(void)nwords;
	if (!tls_name_fits(&common->client, words[0], "--tls", "--tls-name"))
		return STATUS_START;
	plan.target = words[0];
	as_json = common->json;
	fill_plan(common);
	if (plot_file && !report_has_gnuplot())
		return fail(STATUS_START, "--plot needs gnuplot: 'apt-get install gnuplot-nox'");
	if (!files_allow(plan.nconns, 1) || (plot_file && report_open_plot(plot_file)))
		return STATUS_START;
	if (load_open(&plan, address.host, address.port)) {
		if (load_begin()) {
			measure();
			status = report();
		} else {
			fail(STATUS_START, "there is no thread to be had");
		}
	}
	load_free();
	report_close_plot(status == 0);
	free(plan.request);
	return status;
}

static error_t set(int key, char *value, struct argp_state *state)
{
	switch (key) {
	case 'c':
		plan.nconns = (int)read_number(state, "--connections", value, 1, 1000000);
		return 0;
	case 's':
		size = (size_t)read_size(state, "--size", value, 1, 1 << 24);
		return 0;
	case 'd':
		plan.depth = (int)read_number(state, "--depth", value, 1, 100000);
		return 0;
	case 'r':
		plan.rate = (double)read_number(state, "--rate", value, 1, 100000000);
		return 0;
	case 't':
		plan.duration_ms = read_time_ms(state, "--duration", value);
		return 0;
	case KEY_REQUEST:
		plan.request_size = read_escapes(state, "--request", value);
		if (plan.request_size == 0)
			argp_error(state, "--request has at least one byte");
		free(plan.request);
		plan.request = malloc(plan.request_size);
		if (!plan.request)
			argp_failure(state, STATUS_START, 0, "out of memory");
		memcpy(plan.request, value, plan.request_size);
		return 0;
	case KEY_REPLY_SIZE:
		plan.reply_size = (size_t)read_size(state, "--reply-size", value, 1, 1 << 30);
		return 0;
	case KEY_PLOT:
		plot_file = value;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option options[] = {
	{"connections", 'c', "N", 0, "How many connections; 64 by default", 0},
	{"size", 's', "BYTES", 0, "The size of a request, if not --request; 64 by default", 0},
	{"depth", 'd', "N", 0, "Requests in flight on each connection; 1 by default", 0},
	{"rate", 'r', "N", 0,
	 "Send N requests a second in all, whether or not the others are answered; a latency "
	 "counts "
	 "from when its request was due",
	 0},
	{"duration", 't', "SECONDS", 0, "How long; 10 by default", 0},
	{"request", KEY_REQUEST, "TEXT", 0, "Send this, in which \\n, \\r, \\xNN and so on count",
	 0},
	{"reply-size", KEY_REPLY_SIZE, "BYTES", 0,
	 "The size of an answer without --framing; that of the request by default", 0},
	{"plot", KEY_PLOT, "FILE", 0, "Draw the percentiles into FILE (SVG) by gnuplot", 0},
	{0},
};

const struct verb verb_bench = {
	.name = "bench",
	.words = "HOST:PORT",
	.least = 1,
	.most = 1,
	.about = "measure a server that answers each request",
	.more = "A closed loop, unless --rate is given: each connection sends its next request "
		"when "
		"one was answered. Ctrl+C ends it early, with what was measured.",
	.takes = TAKES_DIAL_TLS | TAKES_FRAMING | TAKES_CONNECT | TAKES_JSON,
	.options = options,
	.set = set,
	.run = run,
};
