/* SPDX-License-Identifier: MIT */
/* Which worker a thread is: for files that may call neither the pool nor the engine. */
#include "engine/worker.h"

_Thread_local struct stt_worker *stt_self;
