/* SPDX-License-Identifier: MIT */
/*
 * The load generator's parts: figures about the server's process, statistics,
 * and the closed loop that most modes are made of. One thread, one epoll; not
 * linked with the library, so that a fault of the library cannot flatter it.
 */
#ifndef STTCP_BENCH_LOAD_H
#define STTCP_BENCH_LOAD_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

enum {
	LOAD_MAX_CONNS = 19000, /* below the limit of 20 000 descriptors */
	LOAD_MAX_SIZE = 65536,	/* bytes of a message */
	LOAD_MAX_SECONDS = 60,
	LOAD_MAX_SLICES = 10 * LOAD_MAX_SECONDS + 16,
	LOAD_SLICE_MS = 100,
	LOAD_SOURCES = 64 /* addresses 127.0.0.1 ... that connections come from, in turn */
};

struct load_options {
	int port;
	pid_t pid;	 /* of the server; 0 when it is not to be looked at */
	int conns;	 /* quick connections */
	int slow;	 /* connections whose requests ask the handler to sleep; deaf ones; those
			    outside of the room */
	long sleep_us;	 /* that sleep */
	long period_us;	 /* paced: one message per this time */
	size_t size;	 /* bytes of a message */
	uint64_t bytes;	 /* bulk: ends after these; 0 for no such end */
	uint64_t window; /* bulk: bytes under way on one connection; 0 for what the kernel takes */
	int waves;	 /* waves: how many */
	int target;	 /* relay: the descriptor that listens where it connects to */
	bool tls;	 /* connections speak TLS */
	bool resume;	 /* and resume a session: the latest one that any of them was given */
	double seconds;	 /* of a cell's measured part */
	double warm;	 /* seconds before that */
};

/* ------------------------------------------------------ load_proc.c: the server's process */

/* Nanoseconds of the monotonic clock. */
uint64_t load_now(void);

/* CPU time of process `pid` in nanoseconds, threads that have ended included; 0 for pid 0. */
uint64_t load_proc_cpu_ns(pid_t pid);

/* Resident memory of process `pid` in bytes; 0 when it cannot be read. */
uint64_t load_proc_rss(pid_t pid);

/* The most that it ever was. */
uint64_t load_proc_peak_rss(pid_t pid);

/* The threads of a process and how often each was switched, sorted by thread id. */
struct load_tasks {
	struct load_task {
		int tid;
		uint64_t switches;
	} * list;
	size_t count;
};

/* Reads them; the caller owns the list and ends it with load_tasks_fini. */
void load_tasks_read(struct load_tasks *tasks, pid_t pid);
void load_tasks_fini(struct load_tasks *tasks);

/* Context switches, voluntary or not, between two readings. Those of threads that have ended
 * between are not seen. */
uint64_t load_tasks_switches(const struct load_tasks *before, const struct load_tasks *after);

/* ------------------------------------------------------------- load_stats.c: statistics */

/* Latencies in nanoseconds, with 64 steps per factor of two (1.6%), up to 2^40. */
enum {
	LOAD_HIST_STEPS = 64,
	LOAD_HIST_BUCKETS = 36 * LOAD_HIST_STEPS
};

struct load_hist {
	uint64_t total;
	uint64_t max;
	uint64_t buckets[LOAD_HIST_BUCKETS];
};

void load_hist_add(struct load_hist *hist, uint64_t ns);
/* The latency, in microseconds, that the fraction `part` of all stays within; 0 of none. */
double load_hist_us(const struct load_hist *hist, double part);

/* A cell's time in slices of 0.1 s: what was done in each, and the server's CPU time for it. */
struct load_slices {
	pid_t pid;
	int count;
	uint64_t next_ns;
	uint64_t last_ns, last_cpu_ns, last_work[2];
	struct load_slice {
		uint64_t ns, cpu_ns, work[2];
	} list[LOAD_MAX_SLICES];
};

/* `work` are the two counts, quick and slow, that go up from now on. */
void load_slices_begin(struct load_slices *slices, pid_t pid, uint64_t now_ns,
		       const uint64_t work[2]);
/* Closes the running slice if its time is over. */
void load_slices_tick(struct load_slices *slices, uint64_t now_ns, const uint64_t work[2]);

/* Prints, for count `which`, NAME (of all slices), NAME_rate (a second, mean), NAME_p90 (a second,
 * of the slice at the 90th percentile) and NAME_cpu (per second of server CPU, best slices). */
void load_slices_print(const struct load_slices *slices, int which, const char *name);

/* ------------------------------------------------------- load_loop.c: the closed loop */

/* Connections that do the same. Each has one message in flight. */
struct load_group {
	int count;
	bool churn;	    /* a new connection for each message */
	bool last;	    /* no further message after the next answer */
	uint64_t period_ns; /* a message per period; 0: when the answer is there */
	uint64_t spread_ns; /* first messages are spread over this time */
	size_t size;
	char message[LOAD_MAX_SIZE];

	uint64_t done; /* answers */
	struct load_hist hist;
};

struct load_conn {
	struct load_group *group;
	int fd;		      /* -1: not connected */
	struct load_tls *tls; /* NULL: in the clear */
	uint32_t unsent;      /* bytes of the message that the kernel has not taken yet */
	uint32_t missing;     /* bytes of the answer that are not here yet; 0: not in flight */
	uint64_t sent_ns;     /* when the message (for churn: the connect) began */
	uint64_t due_ns;      /* waits to begin at this time; 0: does not wait */
};

struct load_loop {
	int epoll;
	int port;
	bool tls;
	struct load_group groups[2]; /* quick, slow */
	struct load_conn *conns;     /* the quick ones first */
	int nconns;
	int in_flight;
	int waiting; /* connections with a due time */
	uint64_t next_due_ns;
	uint64_t errors;
};

/* Groups of `quick` and `slow` connections, messages as in `options`. -1 for want of memory. */
int load_loop_init(struct load_loop *loop, const struct load_options *options, int quick, int slow);
void load_loop_fini(struct load_loop *loop);

/* Sets the group's message: one that asks to sleep, or with `sleep_us` < 0 one that does not. */
void load_group_set_message(struct load_group *group, size_t size, long sleep_us);

/* Begins on connections `first` ... `first + count - 1`. */
void load_loop_start(struct load_loop *loop, int first, int count);

/* Goes round until `deadline_ns`, or until nothing is in flight or waits. `slices` may be NULL. */
void load_loop_run(struct load_loop *loop, uint64_t deadline_ns, struct load_slices *slices);

/* A non-blocking socket of 127.0.0.x that connects to 127.0.0.1, `turn` choosing x; or -1. */
int load_connect(int port, unsigned turn);

/* Lets the calls on a socket of load_connect wait, once it is connected; whether it is. */
bool load_set_blocking(int fd);

/* ------------------------------------------------------------------ modes: 0, or -1 */

int load_mode_loop(const char *mode, const struct load_options *options);   /* load_loop_modes.c */
int load_mode_burst(const char *mode, const struct load_options *options);  /* load_loop_modes.c */
int load_mode_idle(const char *mode, const struct load_options *options);   /* load_loop_modes.c */
int load_mode_bulk(const char *mode, const struct load_options *options);   /* load_bulk.c */
int load_mode_oneway(const char *mode, const struct load_options *options); /* load_oneway.c */
int load_mode_deaf(const char *mode, const struct load_options *options);   /* load_deaf.c */
int load_mode_waves(const char *mode, const struct load_options *options);  /* load_waves.c */
int load_mode_relay(const char *mode, const struct load_options *options);  /* load_relay.c */
int load_mode_broadcast(const char *mode,
			const struct load_options *options); /* load_broadcast.c */

#endif
