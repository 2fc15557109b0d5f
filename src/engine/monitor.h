/* SPDX-License-Identifier: MIT */
/*
 * The monitor: one thread that looks at every loop each millisecond while there
 * is work, takes loops over from workers that are stuck in a handler, and sleeps
 * without a timeout while there is none.
 */
#ifndef STT_ENGINE_MONITOR_H
#define STT_ENGINE_MONITOR_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/semaphore.h"

struct stt_engine;

struct stt_monitor {
	pthread_t thread;
	/* Set by the monitor before it looks a last time and waits; whoever clears it posts. */
	atomic_bool asleep;
	struct stt_semaphore wake;
};

/* 0 or -errno. */
int stt_monitor_start(struct stt_engine *engine);

/*
 * Wakes the monitor if it sleeps: a load when it does not. Whoever calls this
 * must have stored what the monitor shall see before, sequentially consistent:
 * either the monitor's last look finds it, or this load finds `asleep`.
 */
static inline void stt_monitor_wake(struct stt_monitor *monitor)
{
	if (atomic_load(&monitor->asleep) && atomic_exchange(&monitor->asleep, false))
		stt_semaphore_post(&monitor->wake);
}

#endif
