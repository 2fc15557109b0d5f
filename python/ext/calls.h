/* SPDX-License-Identifier: MIT */
/* Calls of Python's functions, and what becomes of what they say and raise. */
#ifndef STTCP_PYTHON_CALLS_H
#define STTCP_PYTHON_CALLS_H

#include "conn.h"
#include "group.h"

/* What a handler said. */
enum verdict {
	FAILED = -1,
	NO,
	YES,
	NOTHING,
	PARKED /* it is a coroutine and waits: its connection has a dialogue now */
};

/* Whether a handler may be a coroutine that waits without its thread, and then whether it may read.
 */
enum ability {
	WAITS_HERE,
	PARKS,
	PARKS_AND_READS
};

/* Calls the handler; FAILED: with an exception set. `conn` may be NULL if it waits here. */
enum verdict call_python(PyObject *handler, PyObject *const *args, size_t nargs, conn_object *conn,
			 enum ability ability);

/* Calls what is no handler, in a context (contextvars) of its own; a new reference, or NULL. */
PyObject *call_apart(PyObject *function, PyObject *const *args, size_t nargs);

/* Ends what gil_enter began, and passes on what was logged meanwhile. */
void leave_python(void);

/* Reports the exception that is set, which nothing is left to be ended with. */
void report_raised(void);

/* The exception that is set, as an object with its traceback, a new reference. */
PyObject *take_exception(void);

/* Ends the connection with what the handler raised; `group` is NULL for a dialled one. What a call
 * on a connection that has ended raised is no news: its reason is told, and stays. A coroutine that
 * was parked learns of the peer's FIN when that has ended the connection. */
void fail_raised(group_object *group, sttcp_conn *conn, bool was_parked);

/* The object that a call belongs to, a new reference; NULL when it is gone, or is about to go: code
 * of a user that runs at its end, such as a weak reference's, lets others have the GIL. */
group_object *take_group(struct binding *binding);

#endif
