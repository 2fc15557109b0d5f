/* SPDX-License-Identifier: MIT */
/* The limit on open files (RLIMIT_NOFILE), which shells set low for the sake of select(2). */
#ifndef CLI_FILES_H
#define CLI_FILES_H

#include <stdbool.h>

/* Raises the limit as far as it may be. */
void files_raise_limit(void);

/* The same; tells it where so many connections are more than that. */
bool files_allow(int nconns);

#endif
