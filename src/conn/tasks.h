/* SPDX-License-Identifier: MIT */
/*
 * The tasks of a connection: what is to run on its turn, now or later. Any
 * thread gives and cancels them; its owner runs them (run_tasks.h). All of it is
 * under the output lock, under which a connection ends, too: so nothing is taken
 * any more once its owner can see the end.
 *
 *	a task is	since			until
 *	queued		it is given, or due	the owner takes it: runs
 *	timed		it is given, or has	it is due, which the alarm of the connection tells
 *			run (every)
 *	running		the owner took it	it returns: timed again (every), or over
 *	over		it has returned, was	its free_fn has returned
 *			cancelled, or the
 *			connection has ended
 *
 * Whoever makes the queue more than empty wishes for STT_WISH_TASKS, and so does an
 * owner that leaves some in it: with a queue there is a wish or an owner at it.
 */
#ifndef STT_CONN_TASKS_H
#define STT_CONN_TASKS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/heap.h"
#include "base/list.h"
#include "base/mutex.h"
#include "base/table.h"
#include "sttcp.h"

enum {
	/* That wait on one connection. */
	STT_MOST_TASKS = 16384
};

struct stt_task {
	/* Set before anybody can find it. */
	sttcp_task fn;
	void *argument;
	void (*free_fn)(void *argument); /* or NULL */
	int every_ms;			 /* below 0: once */

	/* Under the output lock. */
	int64_t due_ms;		/* exactly; the heap has it rounded up */
	struct stt_link in_ids; /* if it has an id, until it is over */
	bool has_id;
	bool is_timed; /* and not queued, while it waits */
	bool cancelled;
	union {
		struct stt_node in_queue;
		struct stt_heap_node in_heap;
	};
};

/* Made with a connection's first task. */
struct stt_tasks {
	/* Under the output lock. */
	struct stt_node queue;	  /* first in front */
	struct stt_heap timed;	  /* by time and then as they were given: see key_of */
	struct stt_table ids;	  /* of those that can be cancelled */
	struct stt_task *running; /* or NULL */
	int64_t last_id;
	unsigned ntimed; /* so far */
	unsigned nwaiting;
	unsigned nqueued;
	unsigned nfree_fns; /* of those that wait */
	unsigned nfreeing;  /* calls of cancel that free what they have cancelled */
	bool fin_came;
	unsigned before_fin; /* are to run before it is told */
};

/* What is given: `delay_ms` below 0 as soon as possible, without an id. */
struct stt_order {
	sttcp_task fn;
	void *argument;
	void (*free_fn)(void *argument);
	int delay_ms;
	bool repeats;
};

/* As sttcp_conn_run, _after and _every: 0 or an id; or a code, and nothing was taken. */
int64_t stt_tasks_give(sttcp_conn *conn, const struct stt_order *order);

/* As sttcp_conn_cancel. Frees what has not begun, and so calls user code: the caller holds a
 * reference that this code cannot drop. */
int stt_tasks_cancel(sttcp_conn *conn, int64_t id);

/* When the first that is timed is due, in ms, or STT_NEVER. Any thread. */
int64_t stt_tasks_due_ms(sttcp_conn *conn);

/* Whether some are due now. Any thread. */
bool stt_tasks_are_due(sttcp_conn *conn);

/* Whether there is a free_fn to be called for one that waits. Any thread. */
bool stt_tasks_have_free_fn(sttcp_conn *conn);

/* The peer's FIN has been found: whether tasks that were queued by then are still to run. By the
 * owner, again and again until they have. */
bool stt_tasks_precede_fin(sttcp_conn *conn);

/* For the owner: the next task to be run by `now_ms`, which is running from now on; or NULL. */
struct stt_task *stt_tasks_take(sttcp_conn *conn, int64_t now_ms);

/* It has returned. True if it is over: then the caller frees it. */
bool stt_tasks_finish(sttcp_conn *conn, struct stt_task *task);

/* The owner stops taking, outside turns: true if more are due. Otherwise the alarm is set for the
 * next one. */
bool stt_tasks_settle(sttcp_conn *conn, int64_t now_ms);

/* Of a connection that has ended: any one that waits, which is over; or NULL. By the owner. */
struct stt_task *stt_tasks_drop(sttcp_conn *conn);

/* Whether a call of cancel frees one right now. When it is done, and the connection has ended, its
 * owner gets a close wish. */
bool stt_tasks_are_being_freed(sttcp_conn *conn);

/* With the connection's memory. None waits any more: its end has freed them. */
void stt_tasks_discard(sttcp_conn *conn);

/* Calls free_fn, and frees the task. */
void stt_task_free(struct stt_task *task);

#endif
