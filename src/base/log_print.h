/* SPDX-License-Identifier: MIT */
/* Lines on standard error, for log.c. */
#ifndef STT_BASE_LOG_PRINT_H
#define STT_BASE_LOG_PRINT_H

#include "base/log.h"

/* Writes one line, with time and level, in one call of write(2), so that lines of several threads
 * and processes do not mix. Any thread. */
void stt_log_print(enum stt_log_level level, const char *text);

#endif
