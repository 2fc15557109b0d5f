/* SPDX-License-Identifier: MIT */
/* One function for pthread_atfork(3), which cannot be undone. */
#include "engine/fork.h"

#include <pthread.h>

atomic_uint stt_forks;

static void (*forget_all)(void);
static bool watched;

static void count_fork(void)
{
	forget_all();
	atomic_fetch_add(&stt_forks, 1);
}

bool stt_fork_watch(void (*forget)(void))
{
	if (watched)
		return true;
	/* First: another thread may fork right after the call. */
	forget_all = forget;
	watched = pthread_atfork(NULL, NULL, count_fork) == 0;
	return watched;
}
