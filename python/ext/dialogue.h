/* SPDX-License-Identifier: MIT */
/* Handlers that are coroutines: one step of one, how it is parked, and what wakes it. */
#ifndef STTCP_PYTHON_DIALOGUE_H
#define STTCP_PYTHON_DIALOGUE_H

#include "handlers.h"
#include "tasks.h"
#include "wait.h"

/* ---------------------------------------------------------------- coroutine.c */

enum came {
	YIELDED,
	RETURNED,
	RAISED
};

/* Runs it until it yields; `result` is what it has yielded or returned, a new reference. */
enum came coroutine_send(PyObject *coroutine, PyObject **result);

/* It has yielded what nobody here can wait for, and gets a TypeError. Takes the reference. */
enum came coroutine_refuse(PyObject *coroutine, PyObject *yielded, PyObject **result);

/* Puts the exception that is set in words of this package if asyncio was meant. */
void coroutine_explain(void);

/* ---------------------------------------------------------------- park.c */

struct dialogue;

/* It waits from now on; false if it need not, or cannot: then the wait tells. */
bool park_begin(struct dialogue *d);

/* What has come of a read that comes to nothing stays to be read. */
void park_end_part(struct dialogue *d);

/* Tells the library how many bytes the wait takes. */
void park_want(struct dialogue *d);

/* Whether it cuts the stream so. */
void park_cut(struct dialogue *d, bool cuts);

/* Whether the peer's FIN leaves the connection open, where the option half_close does not. */
void park_outlive_fin(struct dialogue *d, bool on);

/* Whether it has paused the connection. */
void park_hold(struct dialogue *d, bool held);

/* For the time of the wait; one that rings earlier finds out that it is too early: a dialogue whose
 * every read has a limit does not set a timer for each. 0, or why there is none. */
int park_set_timer(struct dialogue *d);
void park_cancel_timer(struct dialogue *d);
bool park_time_has_come(const struct dialogue *d);

/* A place among the tasks of the connection, for the one that goes on with a wait; and gives it
 * back. 0, or why there is none. */
int park_keep_place(struct dialogue *d);
void park_give_place(struct dialogue *d);

/* free_fn of tasks whose argument is a connection. */
void park_free(void *argument);

/* ---------------------------------------------------------------- dialogue.c */

/* A connection one of whose handlers is a coroutine that waits, and what has come about meanwhile.
 */
struct dialogue {
	conn_object *conn;   /* whose it is; NULL: of none, and then nothing is parked */
	PyObject *coroutine; /* NULL: none waits, but there is a rest */
	PyObject *context;   /* in which each of its steps runs; NULL: any */
	wait_object *wait;   /* what it waits in */
	struct phase phase;  /* what the coroutine is a part of */
	PyObject *rest;	     /* bytes that nobody has read so far, or NULL */
	Py_ssize_t rest_at;  /* where they begin */
	bool of_message;     /* it is, and the part: what a framing has found */
	PyObject *part;	     /* of WAIT_EXACTLY: what has come */
	Py_ssize_t part_size;
	struct task *tasks; /* deferred */
	int64_t until_ms;   /* of the wait, -1: without a limit */
	int64_t timer_id;   /* 0: there is none */
	int64_t timer_ms;   /* when it rings */
	int64_t place_id;   /* 0: none is kept */
	bool holds;	    /* the library has paused it */
	bool cuts;	    /* the library cuts the bytes as its waits want them */
	bool may_not_read;
	bool ended;
	bool outlives_fin; /* that is so only as long as it waits */
	bool asked;	   /* to go on, by a task */
	bool end_due;
	bool drained_due;
};

/* That of the coroutine that this thread runs, or NULL. */
struct dialogue *dialogue_now(void);

/* sttcp_task of its timer: the argument is its connection. */
void dialogue_ring(sttcp_conn *conn, void *argument);

/* In a forked child nobody goes on with a coroutine: it waits on the spot. */
int dialogues_init(void);

/* Makes it another one; returns the one before. */
struct dialogue *dialogue_swap(struct dialogue *other);

/* Whether what a method of the connection does is to be awaited. */
static inline bool dialogue_has(const conn_object *self)
{
	const struct dialogue *now = dialogue_now();

	return now && (now->conn == self || !now->conn || self->dialled);
}

/* Whether a coroutine waits: no other handler may run. */
static inline bool dialogue_waits(const conn_object *self)
{
	return self->dialogue && self->dialogue->coroutine;
}

/* Runs a coroutine until it waits for something, or returns: as a handler. Takes the reference.
 * `conn` is NULL where it cannot be parked: then it waits on the spot. The thread is in `context`,
 * and is again whenever it goes on; NULL if it does not matter. */
enum verdict dialogue_begin(conn_object *conn, PyObject *coroutine, PyObject *context,
			    bool may_read);

/* Events of a connection in which a coroutine waits. */
void dialogue_take_data(conn_object *self, PyObject *data);
void dialogue_take_end(conn_object *self);
void dialogue_take_drained(conn_object *self);
void dialogue_defer(conn_object *self, struct task *task);

/* The connection has ended: the coroutine finds out, and runs to its end. */
void dialogue_finish(conn_object *self);

/* Drops what there is: the coroutine is closed. */
void dialogue_drop(conn_object *self);

/* pause() and resume(), as the library. */
int dialogue_pause(conn_object *self);
int dialogue_resume(conn_object *self);

/* Goes on with the coroutine as a task, if it waits in that. */
void dialogue_wake(conn_object *self, const wait_object *wait);

/* By the owner of a connection that is far: a coroutine's wait comes to nothing; what it has come
 * to and nobody wants (takes the reference), or what has come for nobody, stays to be read; nothing
 * waits any more. */
void dialogue_interrupt(conn_object *self, const PyObject *coroutine);
void dialogue_put_back(conn_object *self, PyObject *bytes);
void dialogue_stash(conn_object *self, PyObject *bytes);
void dialogue_settle(conn_object *self);

/* Whether bytes lie here as they came. */
static inline bool dialogue_has_bytes(const struct dialogue *d)
{
	return d->rest && !d->of_message;
}

/* They go back to the library, and whoever reads next finds them: 0, or a code. Where the
 * connection may be read, -EDEADLK elsewhere; if there is no memory for it, the connection ends. */
int dialogue_give_back(struct dialogue *d);

/* What has come is lost, for there is no memory: what comes next may not stand in its place. */
void dialogue_lose(struct dialogue *d);

/* What the coroutine that this thread runs has left: copies up to so many bytes of it. */
Py_ssize_t dialogue_read_rest(void *memory, Py_ssize_t size);

/* The connection has another framing from now on. */
void dialogue_note_framing(conn_object *self);

/* Takes back what was deferred; whether there was such a task. */
bool dialogue_cancel(conn_object *self, int64_t id);

/* For the collector of garbage. */
int dialogue_traverse(conn_object *self, visitproc visit, void *arg);
void dialogue_clear(conn_object *self);

/* Between its files: makes the first wait's dialogue that of the connection, NULL without an
 * exception if there is no memory; takes it away; goes on, with the coroutine and with what follows
 * it. */
struct dialogue *dialogue_keep(conn_object *conn, const struct dialogue *first);
void dialogue_over(struct dialogue *d);
void dialogue_go_on(struct dialogue *d);

#endif
