/* SPDX-License-Identifier: MIT */
/* What the library has to say, to the user's hook if there is one. Never call it with a lock held:
 * the hook is user code. Any thread. */
#ifndef STT_BASE_LOG_H
#define STT_BASE_LOG_H

#include "sttcp.h"

enum stt_log_level {
	STT_LOG_ERROR = 1,
	STT_LOG_WARNING,
	STT_LOG_INFO
};

void stt_log(enum stt_log_level level, const char *format, ...) STTCP_PRINTF(2, 3);

/* In the child of a fork, where another thread may have held the lock: makes it new. */
void stt_log_after_fork(void);

#endif
