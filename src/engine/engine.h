/* SPDX-License-Identifier: MIT */
/*
 * The engine: the loops, the pool and the monitor that serve all servers and
 * clients of the process. It begins with the first start and stays, unless the
 * program ends it while nothing is started; then the next start makes a new one.
 */
#ifndef STT_ENGINE_ENGINE_H
#define STT_ENGINE_ENGINE_H

#include "base/semaphore.h"
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

/* The engine of this process, started at the first call: 0, -errno, -EDEADLK on a thread that the
 * end of the engine waits for. It does not end before stt_engine_release. Any thread. */
int stt_engine_get(struct stt_engine **engine);

/* The same if there is one and it is not about to end, else NULL. */
struct stt_engine *stt_engine_peek(void);

/* After get or peek: no later than the caller waits for anything. */
void stt_engine_release(void);

/* Ends the engine: its threads have gone and its descriptors are closed. 0, also when there is
 * none; -EBUSY while anything is started. Outside handlers. */
int stt_engine_end(void);

/* -EBUSY once it has started. */
int stt_engine_set(int loops, int max_threads, size_t stack_size);

/* The loop with the fewest connections. */
struct stt_loop *stt_engine_pick_loop(struct stt_engine *engine);

/* How often this process was forked off, counted from its oldest ancestor that used the library:
 * objects that were made at another count belong to an ancestor. */
extern atomic_uint stt_forks;

static inline unsigned stt_fork_count(void)
{
	return atomic_load_explicit(&stt_forks, memory_order_relaxed);
}

/* Must have been called before the fork, by whoever made the first object. */
void stt_fork_watch(void);

#endif
