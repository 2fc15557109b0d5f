/* SPDX-License-Identifier: MIT */
/*
 * The engine: the loops, the pool and the monitor that serve all servers and
 * clients of the process. It begins with the first start and stays: tearing it
 * down would buy only races.
 */
#ifndef STT_ENGINE_ENGINE_H
#define STT_ENGINE_ENGINE_H

#include "engine/loop.h"
#include "engine/monitor.h"
#include "engine/pool.h"

struct stt_engine {
	int nloops;
	struct stt_loop *loops;
	struct stt_pool pool;
	struct stt_monitor monitor;
	_Atomic int64_t takeovers;
	atomic_uint next_loop; /* for spreading */
};

/* The engine of this process, started at the first call; 0 or -errno. Any thread. */
int stt_engine_get(struct stt_engine **engine);

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
