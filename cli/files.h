/* SPDX-License-Identifier: MIT */
/* The limit on open files (RLIMIT_NOFILE), which shells set low for the sake of select(2). */
#ifndef CLI_FILES_H
#define CLI_FILES_H

#include <stdbool.h>

/* Raises the limit as far as it may be. */
void files_raise_limit(void);

/* The same; tells it where so many connections, with so many files each, are more than that. */
bool files_allow(int nconns, int each);

/* In a child: the limit from before, for the program may know select(2) alone. Async-signal-safe.
 */
void files_restore_limit(void);

#endif
