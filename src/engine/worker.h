/* SPDX-License-Identifier: MIT */
/*
 * A worker is a thread of the library that may run handlers. At any time it is
 * one of: the owner of a loop, an heir parked behind a loop, busy with the
 * pool's queue, or parked. Its record outlives the thread: records live as long
 * as the engine, since the monitor may look at one at any time.
 */
#ifndef STT_ENGINE_WORKER_H
#define STT_ENGINE_WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "base/semaphore.h"
#include "codec/refusal.h"
#include "engine/actor.h"
#include "engine/input.h"

struct sttcp_conn;
struct stt_engine;
struct stt_loop;

enum stt_role {
	STT_OWNER, /* runs the loop in `assigned` */
	STT_HEIR,  /* waits to own the loop in `assigned` */
	STT_POOL   /* takes actors off the pool's queue */
};

struct stt_worker {
	/* Set before the thread starts. */
	struct stt_engine *engine;
	struct stt_worker *next_record;
	char *buffer; /* STT_READ_SIZE bytes that this worker reads into */

	/* Set by the thread itself before anybody can find it. */
	pid_t tid;
	clockid_t cpu_clock;

	/* Only its own thread. */
	struct stt_loop *loop;	 /* the loop that it owns, NULL for the pool and after a loss */
	struct sttcp_conn *conn; /* the connection whose handler it runs */
	int event;		 /* that it is about */
	struct stt_input input;
	int waker; /* an eventfd that wakes it out of a wait for input; -1 while not needed yet */
	char refusal[STT_REFUSAL_TEXT]; /* what is wrong with the last message refused */
	unsigned char watch;		/* see watch.h */
	bool ended_conn;		/* that handler has closed or aborted `conn` */
	bool failed_conn;		/* that handler has failed `conn` */
	int64_t judged_ms;		/* before a look for input: limits are judged by it */
	int64_t turn_began_us;		/* pool only: when it took the connection off the queue */
	int64_t call_began_us;		/* pool only */
	long call_switches;		/* likewise: see dispatch.c */

	/* Written by its own thread, read by any, relaxed: figures to look at, nothing hangs on
	 * their order. `calls` is odd while a handler runs. */
	_Atomic uint64_t calls;
	_Atomic(const void *) call_group;
	_Atomic uint64_t call_conn_id;

	/* When the call with the number `since_calls` was first seen: by the monitor on a loop, by
	 * the worker itself in the pool. Relaxed, as above. */
	_Atomic uint64_t since_calls;
	_Atomic int64_t since_ms;

	/* What it has a turn of in the pool, and whom the monitor asks to look at it: see lend.c.
	 */
	_Atomic(struct stt_actor *) lends;
	struct stt_loop *lends_to; /* written by its own thread while `lends` is NULL */
	struct stt_actor *lent;	   /* written by the monitor, read by that loop */
	struct stt_actor lender;
	uint64_t lent_calls; /* only the monitor: `calls` at its last look */

	/* Under the pool's lock. */
	struct stt_worker *next_parked;
	bool parked;
	enum stt_role role;	   /* what to be after parking; its own thread's while not parked */
	struct stt_loop *assigned; /* for owners and heirs */

	/* Set before an heir is woken, read by it after: STT_OWNER or STT_POOL. Not `role`, which
	 * it may still have to read to learn that it is an heir at all. */
	enum stt_role after_heir;

	struct stt_semaphore wake;
};

/* The worker that the calling thread is; NULL for threads that are not the library's. */
extern _Thread_local struct stt_worker *stt_self;

/* Whether the calling thread is the library's and runs no handler: user code that it calls
 * meanwhile comes back into the library. */
static inline bool stt_worker_is_ours(void)
{
	return stt_self && !stt_self->conn;
}

/* After user code, with what was so before: a child that was forked there goes no further, for
 * everything here is the parent's. */
static inline void stt_worker_stop_child(bool was_ours)
{
	while (was_ours && !stt_self)
		pause();
}

/* Not 64 KiB: a peer that echoes sends such a read back as a full segment and a tail of 53 bytes,
 * and a large stream ran at 0.55 of the speed. */
enum {
	STT_READ_SIZE = 60 * 1024
};

#endif
