/* SPDX-License-Identifier: MIT */
/* The methods of a connection, from the files that have them to the table in conn_type.c; and what
 * those of them that may wait do, for coroutines (wait.h), too. */
#ifndef STTCP_PYTHON_CONN_METHODS_H
#define STTCP_PYTHON_CONN_METHODS_H

#include "conn.h"

/* ---------------------------------------------------------------- conn_flags.c */

/* Whether there are none but those that are `kept`; false: with an exception set. */
bool flags_are_kept(int flags, int kept, const char *name);

/* The data or size, behind which flags may stand; borrowed, or NULL. */
PyObject *flags_first_of(PyObject *const *args, Py_ssize_t nargs, int kept, const char *name);

/* ---------------------------------------------------------------- conn_send.c */

enum way {
	SEND,
	SEND_MESSAGE
};

/* What the methods do outside coroutines: it may wait. None, or NULL. */
PyObject *io_send(conn_object *self, PyObject *data, enum way way);

/* Without waiting: the library's code; or 1 with an exception set. */
int io_try(conn_object *self, PyObject *data, enum way way);

/* Methods of a connection. */
PyObject *conn_sendall(conn_object *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *conn_send(conn_object *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *conn_send_waiting(conn_object *self, PyObject *args);
PyObject *conn_send_message(conn_object *self, PyObject *data);
PyObject *conn_try_send(conn_object *self, PyObject *data);
PyObject *conn_try_send_message(conn_object *self, PyObject *data);
PyObject *conn_sendmsg(conn_object *self, PyObject *buffers);
PyObject *conn_try_sendv(conn_object *self, PyObject *buffers);
PyObject *conn_sendv_message(conn_object *self, PyObject *buffers);

/* ---------------------------------------------------------------- conn_read.c */

/* What the methods do outside coroutines: they may wait. */
PyObject *io_recv(conn_object *self, Py_ssize_t size, int timeout_ms);
PyObject *io_recv_message(conn_object *self, int timeout_ms);
PyObject *io_recv_exactly(conn_object *self, Py_ssize_t size, int timeout_ms);
PyObject *io_next_size(conn_object *self, int timeout_ms);

/* Raises what a read ended in; returns NULL. */
PyObject *io_raise(conn_object *self, int code, int timeout_ms);

/* Methods of a connection. */
PyObject *conn_recv(conn_object *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *conn_recv_into(conn_object *self, PyObject *args);
PyObject *conn_recv_message(conn_object *self, PyObject *unused);
PyObject *conn_recv_exactly(conn_object *self, PyObject *args);
PyObject *conn_next_size(conn_object *self, PyObject *args);

/* ---------------------------------------------------------------- conn_calls.c */

PyObject *conn_close(conn_object *self, PyObject *unused);
PyObject *conn_abort(conn_object *self, PyObject *unused);
PyObject *conn_shutdown(conn_object *self, PyObject *unused);
PyObject *conn_flush(conn_object *self, PyObject *unused);
PyObject *conn_pause(conn_object *self, PyObject *unused);
PyObject *conn_resume(conn_object *self, PyObject *unused);
PyObject *conn_detach_idle(conn_object *self, PyObject *unused);
PyObject *conn_join(conn_object *self, PyObject *room);
PyObject *conn_leave(conn_object *self, PyObject *room);
PyObject *conn_fail(conn_object *self, PyObject *args);
PyObject *conn_set_framing(conn_object *self, PyObject *args);
PyObject *conn_give(conn_object *self, PyObject *args);
PyObject *conn_cancel(conn_object *self, PyObject *args);
PyObject *conn_setsockopt(conn_object *self, PyObject *args);
PyObject *conn_getsockopt(conn_object *self, PyObject *args);
PyObject *conn_on_message(conn_object *self, PyObject *function);
PyObject *conn_stats(conn_object *self, PyObject *unused);
PyObject *conn_fileno(conn_object *self, PyObject *unused);

/* ---------------------------------------------------------------- far.c */

/* Method of a connection, _on_turn(function): None where it is to be called right here; True when
 * it was called elsewhere; in a coroutine what is to be awaited. */
PyObject *conn_on_turn(conn_object *self, PyObject *function);

/* ---------------------------------------------------------------- tls.c */

/* A method and an attribute of a connection. */
PyObject *conn_start_tls(conn_object *self, PyObject *args);
PyObject *conn_tls(conn_object *self, void *unused);

#endif
