/* SPDX-License-Identifier: MIT */
/* Connections that a coroutine has dialled, as others use them. */
#ifndef STTCP_PYTHON_FAR_H
#define STTCP_PYTHON_FAR_H

#include "wait.h"

/* Begins what a coroutine of another connection awaits: YIELDS, or RETURNS with a value. */
enum outcome far_begin_dial(wait_object *self, PyObject **value);
enum outcome far_begin(wait_object *self, PyObject **value);

/* Nobody waits in it any more. */
void far_give_up(wait_object *self);

/* Whether this thread runs the connection's own handlers or its frame function: another read would
 * wait for this thread. */
bool far_is_here(const conn_object *self);

/* A read of one that is far by a thread that waits: what it comes to. */
PyObject *far_read(conn_object *self, enum wait_kind kind, Py_ssize_t size, int timeout_ms);

/* _dial_waiting(host, port, options, frame, timeout_ms, complain): what is to be awaited. */
PyObject *far_dial(PyObject *module, PyObject *args);

/* Between its files: has the waiter of `outer` go on, where it waits by now; takes a send out of
 * those that wait for room. */
void far_wake(wait_object *outer);
void far_take_sender(wait_object *self);

#endif
