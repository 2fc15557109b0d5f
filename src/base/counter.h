/* SPDX-License-Identifier: MIT */
/*
 * A counter that one thread at a time writes - the owner of what it stands in, or
 * whoever has a lock - and any thread reads. An atomic addition would lock a
 * cache line for a second writer that there is not; a load and a store cost what
 * a plain addition costs. Nothing hangs on the order of what is read: relaxed.
 */
#ifndef STT_BASE_COUNTER_H
#define STT_BASE_COUNTER_H

#include <stdatomic.h>
#include <stdint.h>

struct stt_counter {
	_Atomic int64_t value;
};

static inline int64_t stt_counter_get(const struct stt_counter *counter)
{
	return atomic_load_explicit(&counter->value, memory_order_relaxed);
}

/* Returns what it is now. */
static inline int64_t stt_counter_add(struct stt_counter *counter, int64_t number)
{
	int64_t sum = stt_counter_get(counter) + number;

	atomic_store_explicit(&counter->value, sum, memory_order_relaxed);
	return sum;
}

#endif
