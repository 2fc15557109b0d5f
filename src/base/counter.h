/* SPDX-License-Identifier: MIT */
/*
 * A counter that one thread at a time writes (the owner of what it is part of,
 * or the holder of a lock) and any thread reads. An atomic addition would lock
 * a cache line against a second writer that does not exist; a load and a store
 * cost no more than a plain addition. Relaxed: readers do not depend on the
 * order.
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
