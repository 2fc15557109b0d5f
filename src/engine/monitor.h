/* SPDX-License-Identifier: MIT */
/*
 * The monitor: one thread that looks at every loop each millisecond while there
 * is work (each fourth while nothing blocks), takes loops over from workers that
 * are stuck in a handler, and sleeps without a timeout while there is none.
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
	/* Set once, at the end of the engine. */
	atomic_bool ending;
	/* Before this look. Only the monitor. */
	int slept_ms;
	struct stt_semaphore wake;
};

/* 0 or -errno. */
int stt_monitor_start(struct stt_engine *engine);

/* Returns when its thread has gone. Nothing may need a take-over any more. */
void stt_monitor_end(struct stt_engine *engine);
void stt_monitor_fini(struct stt_monitor *monitor);

/*
 * Wakes the monitor if it sleeps; a load if it does not. The caller must have
 * stored before, sequentially consistent, what the monitor is to see: either
 * the monitor's last look finds it, or this load finds `asleep`.
 */
static inline void stt_monitor_wake(struct stt_monitor *monitor)
{
	if (atomic_load(&monitor->asleep) && atomic_exchange(&monitor->asleep, false))
		stt_semaphore_post(&monitor->wake);
}

#endif
