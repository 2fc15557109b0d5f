/* SPDX-License-Identifier: MIT */
/*
 * What the main thread does while handlers work: it waits for a signal, or for
 * somebody who says that the program is done.
 */
#ifndef CLI_WAIT_H
#define CLI_WAIT_H

#include <stdbool.h>
#include <signal.h>

/* Before any thread is there: SIGINT, SIGTERM and SIGHUP come to wait_for from now on, but for
 * those that are ignored, as with nohup. SIGPIPE becomes an error of write(2), and children can be
 * waited for, whoever has ignored SIGCHLD before. */
void wait_prepare(void);

/* Around what may take for ever in the main thread, such as opening a pipe: between the two a
 * signal ends the program at once, with STATUS_INTERRUPTED. No thread may be started in between,
 * which would take the signals for good. */
void wait_unguard(void);
void wait_guard(void);

/* From now on wait_for and wait_for_signal take the statuses of the main thread's own children,
 * those of others that the kernel has given to it. Before any thread is there. */
void wait_reap(void);

/* The mask and the ignored signals from before, for children. */
const sigset_t *wait_old_mask(void);

/* The program is done, with this exit status. The first call counts. Any thread. */
void finish(int status);
bool is_finished(void);
int finish_status(void); /* 0 without a call */

enum {
	WOKEN_BY_TIME = 0,
	WOKEN_BY_FINISH = -1
};

/* A signal's number, WOKEN_BY_FINISH (as often as asked after finish), or, after `timeout_ms`,
 * WOKEN_BY_TIME. -1: waits without limit. */
int wait_for(int timeout_ms);

/* The same, but only for signals. */
int wait_for_signal(int timeout_ms);

#endif
