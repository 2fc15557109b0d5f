/* SPDX-License-Identifier: MIT */
/*
 * Processes for sttcp exec. All are children of one thread, so that those of others that come to
 * this process are told from them, and reaped.
 */
#ifndef CLI_SPAWN_H
#define CLI_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>

struct spawning {
	char **command;
	char **environment;
	int in, out;	  /* its standard input and output */
	bool with_stderr; /* `out` is its standard error, too */
};

/* Before the library has a thread. False: there is no thread for this. */
bool spawn_begin(void);

/* A process in a group of its own. Its end is waited for by its number. Returns 0 or an errno. Any
 * thread. */
int spawn(const struct spawning *what, pid_t *pid);

#endif
