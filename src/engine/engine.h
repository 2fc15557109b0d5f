/* SPDX-License-Identifier: MIT */
/*
 * The engine: the loops, the pool and the monitor that serve all servers and
 * clients of the process. The first start creates it, and it stays unless the
 * program ends it while nothing is started; then the next start creates a new
 * one.
 */
#ifndef STT_ENGINE_ENGINE_H
#define STT_ENGINE_ENGINE_H

#include "base/semaphore.h"
#include "engine/fork.h"
#include "engine/loop.h"
#include "engine/monitor.h"
#include "engine/pool.h"

struct stt_engine {
	int nloops;
	struct stt_loop *loops;
	struct stt_pool pool;
	struct stt_monitor monitor;
	struct stt_semaphore loops_ended; /* posted by each loop */
	_Atomic int64_t takeovers;
	atomic_uint next_loop; /* for spreading */
};

/* The user of the engine: calls by which the engine asks and notifies it, without knowing what it
 * is. */
struct stt_engine_user {
	/* Its loops are there, but nothing runs on them yet: 0 or -errno. */
	int (*begin)(struct stt_engine *engine);
	/* Nothing runs on them any more; also after `begin`, if there is no start. */
	void (*end)(void);
	/* Whether something is started that needs an engine. */
	bool (*is_busy)(void);
	/* Nothing is busy, and the loops are to end: ends at once whatever still lingers on them.
	 */
	void (*end_lingering)(void);
	/* In the child of a fork, on its only thread. */
	void (*after_fork)(void);
	/* The size of a worker's record, whose first member is a struct stt_worker; the rest of a
	 * new one is 0. */
	size_t record_size;
	/* A thread for the record is about to be created: false without memory. */
	bool (*open_record)(struct stt_worker *worker);
	/* The thread ends, or could not be created; also when it could not be opened. */
	void (*close_record)(struct stt_worker *worker);
};

/* There is one user in a process. To be called before the first fork and the first start that it
 * matters for, any number of times, with the same. Any thread. */
void stt_engine_serve(const struct stt_engine_user *user);

/* The engine of this process, started at the first call: 0, -errno, -EDEADLK on a thread that the
 * end of the engine waits for. It does not end before stt_engine_release. Any thread. */
int stt_engine_get(struct stt_engine **engine);

/* The same if there is one and it is not about to end, else NULL. It waits for nobody but a thread
 * that is finding out whether it may end. */
struct stt_engine *stt_engine_peek(void);

/* After get or peek: no later than the caller waits for anything. */
void stt_engine_release(void);

/* Ends the engine: its threads have gone and its descriptors are closed. 0, also when there is
 * none; -EBUSY while anything is started. Outside handlers. */
int stt_engine_end(void);

/* -EBUSY once it has started. */
int stt_engine_set(int loops, int max_threads, size_t stack_size);

/* The loop with the fewest residents. */
struct stt_loop *stt_engine_pick_loop(struct stt_engine *engine);

#endif
