/* SPDX-License-Identifier: MIT */
/*
 * What the library logs, among the lines of the command.
 */
#ifndef CLI_LOG_H
#define CLI_LOG_H

#include <stdbool.h>

/* A level, by its number or name; -1: it is none. */
int log_read_level(const char *text);

/* 0 to 4, as sttcp_log_level. */
void log_set_level(int level);

/* From here on; without a level, STTCP_LOG in the environment decides, else warnings. */
void log_start(void);

/* Before a start, and `false` behind it: what the log says of its failure is left out, for who
 * starts something tells that in the same words. Of this thread alone. */
void log_leave_start(bool now);

#endif
