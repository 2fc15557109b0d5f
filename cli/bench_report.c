/* SPDX-License-Identifier: MIT */
/*
 * What the load generator has found: for people, for programs, and drawn.
 */
#include "bench.h"

#include "json.h"
#include "output.h"
#include "say.h"
#include "wait.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static const struct {
	double part;
	const char *text, *key;
} percentiles[] = {{0.5, "50%", "p50"},	 {0.75, "75%", "p75"},	    {0.9, "90%", "p90"},
		   {0.99, "99%", "p99"}, {0.999, "99.9%", "p99_9"}, {0.9999, "99.99%", "p99_99"},
		   {1, "100%", "max"}};
enum {
	NPERCENTILES = sizeof(percentiles) / sizeof(*percentiles),
	MAX_ROWS = 64
};

static const char *human_ns(char *text, size_t cap, double ns)
{
	if (ns < 1e6)
		snprintf(text, cap, "%.1f us", ns / 1e3);
	else if (ns < 1e9)
		snprintf(text, cap, "%.2f ms", ns / 1e6);
	else
		snprintf(text, cap, "%.2f s", ns / 1e9);
	return text;
}

/* Rows of the drawn histogram: 1, 2, 5, 10, ... microseconds. */
struct row {
	uint64_t from, to;
	uint64_t count;
};

static int make_rows(const struct histogram *latencies, struct row rows[MAX_ROWS])
{
	static const uint64_t steps[] = {1, 2, 5};
	uint64_t left = latencies->total, scale = 1000, from = 0;
	int count = 0;

	/* Counted down, and not up to the longest time: the limit of a row may lie within a bucket,
	 * and what is in that belongs to the next row. */
	for (int i = 0; i < MAX_ROWS && left > 0; i++) {
		uint64_t to = steps[i % 3] * scale;

		rows[count] = (struct row){from, to, histogram_between(latencies, from, to)};
		left -= rows[count].count;
		/* Empty ones in front and behind are left out. */
		if (rows[count].count > 0 || count > 0)
			count++;
		from = to;
		if (i % 3 == 2)
			scale *= 10;
	}
	while (count > 0 && rows[count - 1].count == 0)
		count--;
	return count;
}

static void print_rows(FILE *out, const struct histogram *latencies, int width)
{
	struct row rows[MAX_ROWS];
	int count = make_rows(latencies, rows);
	uint64_t most = 1;

	for (int i = 0; i < count; i++)
		if (rows[i].count > most)
			most = rows[i].count;
	for (int i = 0; i < count; i++) {
		char to[24];
		double part = (double)rows[i].count / (double)latencies->total;
		int bar = (int)((double)rows[i].count / (double)most * (width - 26) + 0.5);

		fprintf(out, "  < %9s %6.2f%% ", human_ns(to, sizeof(to), (double)rows[i].to),
			part * 100);
		for (int j = 0; j < bar || (j == 0 && rows[i].count > 0); j++)
			fputc('#', out);
		fputc('\n', out);
	}
}

void report_text(const struct plan *plan, const struct tally *tally, double seconds)
{
	const struct histogram *latencies = tally->latencies;
	char *text = NULL, in[24], outward[24], mean[24], deviation[24];
	size_t size = 0;
	int width = say_width();
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return;
	fprintf(out,
		"%llu requests in %.2f s on %d connection%s: %.0f a second, %s/s out, %s/s in\n",
		(unsigned long long)tally->requests, seconds, plan->nconns,
		plan->nconns == 1 ? "" : "s", (double)tally->requests / seconds,
		human_size(outward, sizeof(outward), (double)tally->bytes_out / seconds),
		human_size(in, sizeof(in), (double)tally->bytes_in / seconds));
	if (plan->rate > 0)
		fprintf(out, "%.0f a second were due; %llu had no answer by the end\n", plan->rate,
			(unsigned long long)(tally->due - tally->requests));
	if (tally->requests > 0) {
		fprintf(out, "latency%s: mean %s, deviation %s\n",
			plan->rate > 0 ? " from when it was due" : "",
			human_ns(mean, sizeof(mean), histogram_mean(latencies)),
			human_ns(deviation, sizeof(deviation), histogram_deviation(latencies)));
		for (int i = 0; i < NPERCENTILES; i++) {
			char value[24];

			fprintf(out, "  %6s %10s\n", percentiles[i].text,
				human_ns(value, sizeof(value),
					 (double)histogram_at(latencies, percentiles[i].part)));
		}
		print_rows(out, latencies, width < 40 ? 40 : width > 100 ? 100 : width);
	}
	fclose(out);
	output_write(text, size);
	free(text);
}

void report_json(const struct plan *plan, const struct tally *tally, double seconds)
{
	const struct histogram *latencies = tally->latencies;
	struct row rows[MAX_ROWS];
	struct json json;
	int count = make_rows(latencies, rows);

	json_begin(&json, "bench");
	json_text(&json, "target", plan->target);
	json_int(&json, "connections", plan->nconns);
	json_int(&json, "depth", plan->rate > 0 ? 0 : plan->depth);
	json_int(&json, "request_size", (int64_t)plan->request_size);
	json_real(&json, "rate", plan->rate);
	json_real(&json, "seconds", seconds);
	json_int(&json, "requests", (int64_t)tally->requests);
	json_real(&json, "requests_per_s", (double)tally->requests / seconds);
	json_real(&json, "bytes_in_per_s", (double)tally->bytes_in / seconds);
	json_real(&json, "bytes_out_per_s", (double)tally->bytes_out / seconds);
	if (plan->rate > 0)
		json_int(&json, "unanswered", (int64_t)(tally->due - tally->requests));
	json_int(&json, "lost_connections", tally->lost);
	json_open(&json, "latency_us", '{');
	json_real(&json, "min", tally->requests ? (double)latencies->least / 1e3 : 0);
	json_real(&json, "mean", histogram_mean(latencies) / 1e3);
	json_real(&json, "stddev", histogram_deviation(latencies) / 1e3);
	for (int i = 0; i < NPERCENTILES; i++)
		json_real(&json, percentiles[i].key,
			  (double)histogram_at(latencies, percentiles[i].part) / 1e3);
	json_close(&json, '}');
	json_open(&json, "histogram", '[');
	for (int i = 0; i < count; i++) {
		json_open(&json, NULL, '{');
		json_real(&json, "below_us", (double)rows[i].to / 1e3);
		json_int(&json, "count", (int64_t)rows[i].count);
		json_close(&json, '}');
	}
	json_close(&json, ']');
	json_end(&json);
}

/* ----------------------------------------------------------------------- plot */

bool report_has_gnuplot(void)
{
	return system("command -v gnuplot >/dev/null 2>&1") == 0;
}

/* In single quotes a quote is written twice, and nothing else means anything. */
static void print_quoted(FILE *out, const char *text)
{
	fputc('\'', out);
	for (; *text; text++)
		fputs(*text == '\'' ? "''" : (char[]){*text, '\0'}, out);
	fputc('\'', out);
}

/* Latency over percentile, each nine of which takes as much room as the one before. */
static void print_script(FILE *out, const struct plan *plan, const struct tally *tally)
{
	double beyond = (double)tally->requests;

	fputs("set terminal svg size 800,500 background 'white'\nset title ", out);
	print_quoted(out, plan->target);
	fputs(" noenhanced\nset xlabel 'percentile'\nset ylabel 'latency in us'\nset logscale xy\n"
	      "set grid\nunset key\n"
	      "set xtics ('0%%' 1, '90%%' 10, '99%%' 100, '99.9%%' 1000, '99.99%%' 10000, "
	      "'99.999%%' 100000, '99.9999%%' 1000000)\n"
	      "plot '-' with lines linewidth 2\n",
	      out);
	for (double x = 1; x <= beyond; x *= 1.15)
		fprintf(out, "%.6g %.6g\n", x,
			((double)histogram_at(tally->latencies, 1 - 1 / x) + 1) / 1e3);
	fputs("e\n", out);
}

/* The file of the plot. */
static struct {
	const char *name;
	int fd;
	bool is_new;
} plot = {.fd = -1};

/* What it holds stays until it is drawn. */
int report_open_plot(const char *name)
{
	plot.name = name;
	plot.fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	plot.is_new = plot.fd >= 0;
	if (plot.fd < 0 && errno == EEXIST) {
		wait_unguard(); /* a pipe without a reader is waited for */
		plot.fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
		wait_guard();
	}
	return plot.fd < 0 ? fail(STATUS_START, "%s: %s", name, strerror(errno)) : 0;
}

void report_close_plot(bool is_drawn)
{
	if (plot.fd < 0)
		return;
	close(plot.fd);
	if (!is_drawn && plot.is_new)
		unlink(plot.name);
}

/* gnuplot reads what is written to *in, and draws into the file, which is its standard output: one
 * that it opened itself, and could not, would leave it with ours. Returns 0 or an errno. */
static int start_gnuplot(FILE **in, pid_t *pid)
{
	char *const words[] = {"gnuplot", NULL};
	posix_spawn_file_actions_t files;
	int ends[2], error;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return errno;
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_adddup2(&files, ends[0], STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&files, plot.fd, STDOUT_FILENO);
	error = posix_spawnp(pid, "gnuplot", &files, NULL, words, environ);
	posix_spawn_file_actions_destroy(&files);
	close(ends[0]);
	*in = error ? NULL : fdopen(ends[1], "w");
	if (!*in)
		close(ends[1]);
	return error;
}

int report_plot(const struct plan *plan, const struct tally *tally)
{
	FILE *in = NULL;
	pid_t pid;
	int status = -1, error;

	if (tally->requests == 0)
		return fail(STATUS_FAILED, "without an answer there is nothing to plot");
	if (ftruncate(plot.fd, 0) < 0 && errno != EINVAL) /* a pipe has no size */
		return fail(STATUS_FAILED, "%s: %s", plot.name, strerror(errno));
	error = start_gnuplot(&in, &pid);
	if (error)
		return fail(STATUS_FAILED, "gnuplot: %s", strerror(error));
	if (in) {
		print_script(in, plan, tally);
		fclose(in);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (status != 0 || !in)
		return fail(STATUS_FAILED, "gnuplot could not draw %s", plot.name);
	say("drawn: %s", plot.name);
	return 0;
}
