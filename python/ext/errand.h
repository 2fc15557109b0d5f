/* SPDX-License-Identifier: MIT */
/* What is wanted of a connection that a coroutine has dialled: between errand.c and far.c. */
#ifndef STTCP_PYTHON_ERRAND_H
#define STTCP_PYTHON_ERRAND_H

#include "wait.h"

typedef struct errand {
	PyObject_HEAD
	conn_object *conn;  /* a reference */
	wait_object *inner; /* what it awaits there, a reference */
	wait_object *outer; /* who wants it, borrowed; NULL: */
	int fd;		    /* a thread does, and waits for this one; or -1 */
	bool begun;	    /* its turn has come */
	bool over;
	PyObject *value;     /* for the thread: what it has come to, */
	PyObject *exception; /* or what was raised */
} errand_object;

extern PyTypeObject errand_type;

/* One that nobody waits for so far; NULL with an exception set. */
errand_object *errand_make(conn_object *conn, enum wait_kind kind, Py_ssize_t size, int timeout_ms);

/* What is to be called. */
void errand_pass_value(errand_object *self, PyObject *value);

/* Gives it to its connection, as sttcp_conn_run. It never waits, and so it may be called with the
 * GIL.
 */
int errand_send(errand_object *self);

/* Nobody wants it any more. */
void errand_recall(errand_object *self);

/* -1 with an exception set. */
int errands_init(void);

#endif
