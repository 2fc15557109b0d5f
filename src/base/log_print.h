/* SPDX-License-Identifier: MIT */
/* Lines on standard error, for log.c. */
#ifndef STT_BASE_LOG_PRINT_H
#define STT_BASE_LOG_PRINT_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/log.h"

/* Which file standard error is. */
struct stt_log_file {
	bool open;
	dev_t device;
	ino_t number;
};

struct stt_log_file stt_log_file_now(void);

/* Writes one line, with time and level, in one call of write(2), so that lines of several threads
 * and processes do not mix; none if standard error has become what may be a connection's, or
 * another file of the program's. Any thread. */
void stt_log_print(const struct stt_log_file *file, enum stt_log_level level, const char *text);

#endif
