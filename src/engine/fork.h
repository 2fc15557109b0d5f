/* SPDX-License-Identifier: MIT */
/* Forks of the process: a child has none of the parent's threads, and its memory as they left it.
 */
#ifndef STT_ENGINE_FORK_H
#define STT_ENGINE_FORK_H

#include <stdatomic.h>
#include <stdbool.h>

/* How many forks are between this process and its oldest ancestor that used the library. Objects
 * that were created at another count belong to an ancestor. */
extern atomic_uint stt_forks;

static inline unsigned stt_fork_count(void)
{
	return atomic_load_explicit(&stt_forks, memory_order_relaxed);
}

/* Whether this process was forked after that count was taken: what was made or begun then is a
 * parent's, and not to be touched any more. */
static inline bool stt_forked_since(unsigned count)
{
	return stt_fork_count() != count;
}

/* Makes each fork from now on call `forget` in the child, on its only thread, before the fork
 * counts; always the same function. False when out of memory: then it is to be tried again. One
 * thread at a time. */
bool stt_fork_watch(void (*forget)(void));

#endif
