/* SPDX-License-Identifier: MIT */
/*
 * The load generator in its parts: what the command line says (bench.c),
 * connections (bench_load.c), the clock of an open loop (bench_pace.c), and what
 * comes out (bench_report.c).
 */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include "cli.h"
#include "histogram.h"

struct plan {
	const char *target; /* as it was given */
	int nconns;
	int depth;   /* requests in flight on a connection, in a closed loop */
	double rate; /* requests a second in all, in an open loop; 0: a closed one */
	int duration_ms;
	char *request; /* one */
	size_t request_size;
	size_t reply_size; /* without a framing */
	const sttcp_options *options;
};

/* What has happened up to now. */
struct tally {
	struct histogram *latencies;
	uint64_t requests; /* that were answered */
	uint64_t bytes_in, bytes_out;
	uint64_t due;  /* open loop: requests whose time has come */
	int lost;      /* connections */
	char why[200]; /* the first of them was lost */
};

/* Opens all connections; false: one could not be, and it was told. */
bool load_open(const struct plan *plan, const char *host, int port);
/* From here on requests are sent, and counted. Returns false without a thread. */
bool load_begin(void);
/* Ends it: nothing counts any more. */
void load_end(void);
/* Adds up; `tally->latencies` has to be empty. Any time. */
void load_tally(struct tally *tally);
double load_seconds(void); /* between begin and end, or now */
void load_free(void);

/* For the clock: sends what is due on connection `i` at `now_ns`. */
void load_catch_up(int i, int64_t now_ns);
bool load_runs(void);

/* Sets the clock, before load_runs() is true; then starts the thread that calls load_catch_up when
 * requests are due. */
void pace_set(const struct plan *plan, int64_t begin_ns);
bool pace_start(void);
void pace_join(void);
/* When request `n` of connection `i` was due. */
int64_t pace_due_ns(int i, int64_t n);
uint64_t pace_due_by(int64_t now_ns); /* how many, in all */

void report_text(const struct plan *plan, const struct tally *tally, double seconds);
void report_json(const struct plan *plan, const struct tally *tally, double seconds);
/* A plot by gnuplot: its file is opened before the load begins. Both return an exit status. */
int report_open_plot(const char *name);
int report_plot(const struct plan *plan, const struct tally *tally);
void report_close_plot(bool is_drawn);
bool report_has_gnuplot(void);

#endif
