/* SPDX-License-Identifier: MIT */
/*
 * The clock of an open loop: requests are due at fixed times, whatever the server
 * does, one connection after the other. A latency counts from when a request was
 * due, so that a server that stalls is charged for all who would have come
 * meanwhile (what is called coordinated omission leaves them out).
 */
#include "bench.h"

#include "clock.h"

#include <math.h>
#include <pthread.h>
#include <sys/prctl.h>

static const struct plan *plan;
static int64_t begin_ns;
static double interval_ns; /* between two requests, of whichever connections */
static pthread_t thread;

int64_t pace_due_ns(int i, int64_t n)
{
	double number = (double)i + (double)n * (double)plan->nconns;

	return begin_ns + (int64_t)(number * interval_ns);
}

uint64_t pace_due_by(int64_t now)
{
	return now < begin_ns ? 0 : (uint64_t)((double)(now - begin_ns) / interval_ns) + 1;
}

static void sleep_until(int64_t ns)
{
	struct timespec until = {.tv_sec = (time_t)(ns / 1000000000),
				 .tv_nsec = (long)(ns % 1000000000)};

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

/* A connection that cannot send just now is asked again when its next request is due. */
static void *run(void *unused)
{
	int64_t next = 0; /* the number of the next request */

	(void)unused;
	prctl(PR_SET_TIMERSLACK, 1000UL); /* of sleeping, in nanoseconds */
	while (load_runs()) {
		int64_t now = now_ns();

		for (; load_runs(); next++) {
			int i = (int)(next % plan->nconns);

			if (pace_due_ns(i, next / plan->nconns) > now)
				break;
			load_catch_up(i, now);
		}
		/* Not for longer than the end may take to be noticed. */
		now += 100000000;
		if (pace_due_ns((int)(next % plan->nconns), next / plan->nconns) < now)
			now = pace_due_ns((int)(next % plan->nconns), next / plan->nconns);
		if (load_runs())
			sleep_until(now);
	}
	return NULL;
}

void pace_set(const struct plan *given, int64_t from_ns)
{
	plan = given;
	begin_ns = from_ns;
	interval_ns = 1e9 / plan->rate;
}

bool pace_start(void)
{
	return pthread_create(&thread, NULL, run, NULL) == 0;
}

void pace_join(void)
{
	pthread_join(thread, NULL);
}
