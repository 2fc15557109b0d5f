/* SPDX-License-Identifier: MIT */
/* A process that the program has started, the leader of a group: signals for it, its end, and the
 * list of all that live. Any thread, but where it says otherwise. */
#ifndef STTCP_CLI_CHILD_H
#define STTCP_CLI_CHILD_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

struct child {
	pthread_mutex_t lock;
	pthread_cond_t ended; /* `pid` is 0 */
	/* Under the lock. */
	pid_t pid;    /* 0 once it was waited for; set before others can find it */
	bool is_told; /* to end, by SIGTERM */

	struct child *next, **at; /* in the list, under its lock */
};

void child_init(struct child *child);
void child_fini(struct child *child);

/* In the list: from its start until its end was told. */
void child_add(struct child *child);
void child_remove(struct child *child);
int child_count(void);

/* SIGTERM for its group. Once: to some a second one means haste. */
void child_terminate(struct child *child);

/* Waits for its end, which one thread does: the status of waitpid(2). */
int child_wait(struct child *child);

/* Waits until that has come about. One that was to end, and does not, is killed. */
void child_await_end(struct child *child, bool is_to_end);

/* The program ends. All are to end, and have a moment to do so, and for that to be told; those that
 * live on are told of. */
void child_abandon_all(void);

#endif
