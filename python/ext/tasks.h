/* SPDX-License-Identifier: MIT */
/* Tasks of a connection. */
#ifndef STTCP_PYTHON_TASKS_H
#define STTCP_PYTHON_TASKS_H

#include "calls.h"

/* A task of a connection: references, which go with it. */
struct task {
	conn_object *conn;
	PyObject *function;
	bool takes_connection;
	bool deferred; /* until a coroutine has returned: it stands in the dialogue */
	int refs;
	int64_t id; /* once that is known */
	struct task *next;
	struct task *behind; /* deferred */
};

/* Calls its function. */
enum verdict tasks_call(struct task *task);

/* Whether this thread runs a plain one of the connection. */
bool tasks_runs(const conn_object *conn);

/* sttcp_task, and its free_fn; any thread, without the GIL. */
void tasks_run(sttcp_conn *conn, void *argument);
void tasks_free(void *argument);

/* One that the library has not taken. */
void tasks_drop(struct task *task);

/* As sttcp_conn_cancel. */
int tasks_cancel(sttcp_conn *conn, int64_t id);

#endif
