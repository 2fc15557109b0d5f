/* SPDX-License-Identifier: MIT */
/*
 * Timers and pieces of work of the user's that belong to no connection. Both run
 * on threads of the pool, so they may block.
 */
#ifndef STT_GROUP_TIMER_H
#define STT_GROUP_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mutex.h"
#include "engine/actor.h"
#include "sttcp.h"

struct stt_loop;
struct stt_worker;

struct sttcp_timer {
	/* Set before anybody can find it. */
	void (*fn)(sttcp_timer *timer, void *context);
	void *context;
	unsigned fork_count;

	/* Atomic: the user's handle, until it is freed; the alarm, while it may ring; the pool; and
	 * calls that wait hold one each. */
	atomic_int refs;

	struct stt_mutex lock;
	struct stt_cond changed; /* `fn` has returned */
	/* Under the lock: see the table in timer.c. */
	bool set;
	bool due;
	bool runs;
	bool queued;
	bool rings;   /* the alarm is set, or about to be set again */
	bool anew;    /* set anew since `fn` was called last */
	bool stopped; /* since then, outside of it: it does not set the timer again */
	bool freed;   /* the user's handle is gone */
	bool counted; /* among those that keep the engine: set, due or running */
	uint64_t ncalls;
	const struct stt_worker *caller; /* of `fn`, while that runs */
	int64_t next_ms;		 /* counts while `set` */
	int every_ms;			 /* 0: once */
	/* The one on which it rings; another one may be chosen while it does not ring. */
	struct stt_loop *loop;

	struct stt_alarm alarm;
	struct stt_actor runner;
};

/* NULL for want of memory. */
sttcp_timer *stt_timer_new(void (*fn)(sttcp_timer *timer, void *context), void *context);

/* 0; -EINVAL after its free; -ECANCELED in `fn` when it was stopped meanwhile; or as
 * stt_engine_get. */
int stt_timer_start(sttcp_timer *timer, int first_ms, int every_ms);

enum stt_timer_wait {
	STT_STOP_NOW,
	STT_STOP_WAITS /* until `fn` does not run */
};

/* `fn` is not called any more. 0; -EBUSY while it runs. */
int stt_timer_stop(sttcp_timer *timer, enum stt_timer_wait wait);

/* The same, and the user's handle is gone. */
void stt_timer_free(sttcp_timer *timer, enum stt_timer_wait wait);

/* Calls `fn` on a thread of the pool: 0, -ENOMEM, or as stt_engine_get. */
int stt_work_run(void (*fn)(void *argument), void *argument);

/* Whether a timer is set or runs, or such work waits or runs: the engine has to be there for it. */
bool stt_timer_any_busy(void);

/* In the child of a fork: those of the parent do not count. */
void stt_timer_after_fork(void);

#endif
