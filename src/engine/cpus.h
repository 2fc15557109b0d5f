/* SPDX-License-Identifier: MIT */
#ifndef STT_ENGINE_CPUS_H
#define STT_ENGINE_CPUS_H

/* How many CPUs the process may use, at least 1: its affinity (sched_setaffinity(2)) and the CPU
 * quota of its control groups, rounded up. */
int stt_cpus_usable(void);

#endif
