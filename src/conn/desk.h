/* SPDX-License-Identifier: MIT */
/*
 * A desk: the context of a worker while it works on a connection. The engine
 * allocates one for each of its worker threads, and knows only the first
 * member.
 */
#ifndef STT_CONN_DESK_H
#define STT_CONN_DESK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/list.h"
#include "codec/refusal.h"
#include "conn/call.h"
#include "conn/input.h"
#include "conn/service.h"
#include "conn/spares.h"
#include "engine/engine.h"
#include "engine/worker.h"

struct sttcp_conn;

struct stt_desk {
	struct stt_worker worker;

	/* Only its own thread. */
	char *buffer;	      /* STT_READ_SIZE bytes that this worker reads into */
	struct stt_call call; /* the call of user code that it runs */
	struct stt_input input;
	sttcp_frame frame; /* of the message at input.at if that was looked at: its frame_fn's */
	int waker; /* an eventfd that wakes it out of a wait for input; -1 while not needed yet */
	char refusal[STT_REFUSAL_TEXT]; /* what is wrong with the last message refused */
	unsigned char watch;		/* see watch.h */
	bool in_job;			/* it runs a timer's function, or a piece of work */
	unsigned stays;			/* calls that do not leave their stack: stt_desk_stay */
	int64_t judged_ms;		/* before a look for input: deadlines are judged by it */
	int64_t turn_began_us;		/* pool only: when it took the connection off the queue */
	int64_t call_began_us;		/* pool only */
	long call_switches;		/* likewise: see dispatch.c */
	struct stt_spares spares;

	/* Written by its own thread, read by any, relaxed: only stats use them, so their order does
	 * not matter. They describe the call that `worker.calls` counts. */
	_Atomic(const void *) call_service;
	_Atomic uint64_t call_conn_id;
	atomic_bool call_has_stack; /* of its own: strand.h */
};

static inline struct stt_desk *stt_desk_of(struct stt_worker *worker)
{
	return stt_container_of(worker, struct stt_desk, worker);
}

/* The desk of the calling thread, which must be one of the library's. */
static inline struct stt_desk *stt_desk_self(void)
{
	return stt_desk_of(stt_self);
}

/* The connection whose handler the calling thread runs, or NULL. */
static inline struct sttcp_conn *stt_desk_conn(void)
{
	return stt_self ? stt_desk_self()->call.conn : NULL;
}

/* Around a callback that is no handler, but may run inside one: it waits with its thread, as
 * everywhere else, even if a handler with a stack of its own is below it. So both are on the same
 * thread, but for a child that was forked in between, which has no desk. */
static inline void stt_desk_stay(void)
{
	if (stt_self)
		stt_desk_self()->stays++;
}

static inline void stt_desk_stay_no_more(void)
{
	if (stt_self)
		stt_desk_self()->stays--;
}

enum {
	/* The time of a turn in the pool while others wait for its thread. */
	STT_SHARE_US = 1000
};

/* In the pool: whether other connections wait for a thread, and this one has had its share of time.
 */
static inline bool stt_desk_is_to_yield(const struct stt_desk *desk)
{
	return !desk->worker.loop && stt_pool_is_short(&desk->worker.engine->pool) &&
	       stt_now_us() - desk->turn_began_us > STT_SHARE_US;
}

/* For struct stt_engine_user: around the thread of a record. */
bool stt_desk_open(struct stt_worker *worker);
void stt_desk_close(struct stt_worker *worker);

/* A buffer for a desk, NULL when out of memory; and one that is no desk's any more. */
char *stt_desk_new_buffer(void);
void stt_desk_free_buffer(char *buffer); /* NULL is fine */

/* Not 64 KiB: an echoing peer sends such a read back as a full segment and a tail of 53 bytes, and
 * a large stream ran at 0.55 of the speed (`bulk-1` of the benchmark). */
enum {
	STT_READ_SIZE = 60 * 1024
};

#endif
