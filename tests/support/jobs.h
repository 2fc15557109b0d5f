/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the pool share: an engine that has nothing but a pool, and
 * jobs in place of connections. One pool at a time.
 */
#ifndef STT_TEST_JOBS_H
#define STT_TEST_JOBS_H

#include <signal.h>

#include "base/list.h"
#include "engine/engine.h"
#include "engine/loop.h"
#include "engine/pool.h"
#include "support/support.h"

enum {
	JOBS = 16
};

struct job {
	struct stt_actor actor;
	struct event *until; /* it ends when this has been raised; NULL: at once */
	struct event ended;
	atomic_int runs;
	_Atomic(struct stt_worker *) worker;
	sigset_t mask;
};

extern struct stt_engine engine;
extern struct stt_loop loop;
extern struct stt_pool *const pool;

extern struct job jobs[JOBS];
extern struct event begun;   /* jobs, of all */
extern char order[JOBS + 1]; /* a letter for each of `jobs` that has begun */

/* What stands behind a worker's record is the user's: opened before a thread, closed after it. */
extern atomic_int nopen;
extern atomic_bool cannot_open;

void open_pool(int max_threads);

/* Waits until everybody has gone; what was counted has come out even. */
void close_pool(void);

void init_job(struct job *job, struct event *until);

/* Pushes one of `jobs`, which ends with `until`. */
struct job *push(int number, struct event *until);

/* What the pool counts, read under its lock. */
#define COUNT_OF(field) count_of(&pool->field)
int count_of(const int *field);
int count_records(void);

#endif
