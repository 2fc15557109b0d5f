/* SPDX-License-Identifier: MIT */
/* Methods of a connection that do not wait: its end, its flow, rooms, framing, tasks, counters, and
 * what a socket has. */
#include "conn_methods.h"
#include "dialogue.h"

#include <errno.h>
#include <limits.h>
#include <sys/socket.h>

/* Those that take nothing but the connection. None of them waits, but output takes a lock. `note`
 * is told before. */
#define SIMPLE_CALL(name, note)                                                                    \
	PyObject *conn_##name(conn_object *self, PyObject *unused)                                 \
	{                                                                                          \
		int result;                                                                        \
                                                                                                   \
		(void)unused;                                                                      \
		note(self->conn);                                                                  \
		Py_BEGIN_ALLOW_THREADS                                                             \
		result = sttcp_conn_##name(self->conn);                                            \
		Py_END_ALLOW_THREADS                                                               \
		return PyLong_FromLong(result);                                                    \
	}

SIMPLE_CALL(close, handlers_note_close)
SIMPLE_CALL(abort, handlers_note_close)
SIMPLE_CALL(shutdown, (void))
SIMPLE_CALL(flush, (void))
SIMPLE_CALL(detach, (void))

PyObject *conn_pause(conn_object *self, PyObject *unused)
{
	(void)unused;
	return PyLong_FromLong(dialogue_pause(self));
}

PyObject *conn_resume(conn_object *self, PyObject *unused)
{
	(void)unused;
	return PyLong_FromLong(dialogue_resume(self));
}

/* One of whose handlers waits has one that runs. */
PyObject *conn_detach_idle(conn_object *self, PyObject *unused)
{
	if (dialogue_waits(self) && dialogue_now() != self->dialogue &&
	    sttcp_conn_is_open(self->conn))
		return PyLong_FromLong(-EBUSY);
	return conn_detach(self, unused);
}

/* Those that take the name of a room, as bytes. */
#define ROOM_CALL(name)                                                                            \
	PyObject *conn_##name(conn_object *self, PyObject *room)                                   \
	{                                                                                          \
		char *bytes;                                                                       \
		int result;                                                                        \
                                                                                                   \
		if (PyBytes_AsStringAndSize(room, &bytes, NULL) < 0)                               \
			return NULL;                                                               \
		Py_BEGIN_ALLOW_THREADS                                                             \
		result = sttcp_conn_##name(self->conn, bytes);                                     \
		Py_END_ALLOW_THREADS                                                               \
		return PyLong_FromLong(result);                                                    \
	}

ROOM_CALL(join)
ROOM_CALL(leave)

PyObject *conn_fail(conn_object *self, PyObject *args)
{
	PyObject *exception;
	PyObject *text;
	int now;

	if (!PyArg_ParseTuple(args, "OUp:_fail", &exception, &text, &now))
		return NULL;

	PyObject *bytes = text_encode(text);

	if (!bytes)
		return NULL;

	int result = conn_fail_with(self->conn, self, exception == Py_None ? NULL : exception,
				    PyBytes_AS_STRING(bytes), now);

	Py_DECREF(bytes);
	return PyLong_FromLong(result);
}

/* Whether it, or its server or client, was given a function that is the framing. */
static bool has_frame(const conn_object *self)
{
	PyObject *frame = self->owner ? ((group_object *)self->owner)->frame : NULL;

	return self->frame || (frame && frame != Py_None);
}

PyObject *conn_set_framing(conn_object *self, PyObject *args)
{
	PyObject *dictionary;
	PyObject *frame;
	sttcp_options options;

	if (!PyArg_ParseTuple(args, "O!O:_set_framing", &PyDict_Type, &dictionary, &frame))
		return NULL;
	if (options_read(dictionary, &options) < 0)
		return NULL;
	if (frame != Py_None || (options.framing == STTCP_FRAMING_CUSTOM && has_frame(self)))
		options.frame_fn = frames_ask;

	int result = sttcp_conn_set_framing(self->conn, &options);

	if (result < 0)
		return raise_code(result, NULL);
	self->max_message = options.max_message;
	self->framing = options.framing == STTCP_FRAMING_RAW ? FRAMING_RAW : FRAMING_MESSAGES;
	dialogue_note_framing(self);
	/* Nobody has asked it yet: that takes the GIL. */
	if (frame != Py_None) {
		Py_INCREF(frame);
		Py_XSETREF(self->frame, frame);
	}
	return PyLong_FromLong(result);
}

PyObject *conn_on_message(conn_object *self, PyObject *function)
{
	struct binding *binding = self->owner ? ((group_object *)self->owner)->binding : NULL;

	if (self->dialled)
		return raise_code(-EINVAL, "a dialled connection has no handlers");
	if (!binding)
		return raise_code(STTCP_ECLOSED, NULL);

	int result = sttcp_conn_on_message(self->conn, function == Py_None ? NULL : handlers_own,
					   binding);

	if (result < 0)
		return conn_raise(self->conn, result);
	/* No handler has been called yet: that takes the GIL. */
	PyObject *old = self->own;

	self->own = function == Py_None ? NULL : function;
	Py_XINCREF(self->own);
	Py_XDECREF(old);
	Py_RETURN_NONE;
}

/* ---------------------------------------------------------------- tasks and counters */

/* (function, takes_connection, ms, repeats): 0 or an id, or a code; ms below 0 as soon as possible.
 */
PyObject *conn_give(conn_object *self, PyObject *args)
{
	PyObject *function;
	int takes_connection;
	int ms;
	int repeats;
	int64_t result;

	if (!PyArg_ParseTuple(args, "Opip:_give", &function, &takes_connection, &ms, &repeats))
		return NULL;

	struct task *task = PyMem_RawCalloc(1, sizeof(*task));

	if (!task)
		return PyErr_NoMemory();
	Py_INCREF(self);
	Py_INCREF(function);
	task->conn = self;
	task->function = function;
	task->takes_connection = takes_connection;
	/* The library's, and that of this call. */
	task->refs = 2;
	Py_BEGIN_ALLOW_THREADS
	if (ms < 0)
		result = sttcp_conn_run(self->conn, tasks_run, task, tasks_free);
	else if (repeats)
		result = sttcp_conn_every(self->conn, ms, tasks_run, task, tasks_free);
	else
		result = sttcp_conn_after(self->conn, ms, tasks_run, task, tasks_free);
	Py_END_ALLOW_THREADS
	task->id = result;
	if (result < 0)
		tasks_drop(task);
	tasks_drop(task);
	return PyLong_FromLongLong(result);
}

PyObject *conn_cancel(conn_object *self, PyObject *args)
{
	long long id;

	if (!PyArg_ParseTuple(args, "L:_cancel", &id))
		return NULL;
	/* Those of a coroutine's waits, which nobody was given. */
	if (id > 0 && self->dialogue &&
	    (id == self->dialogue->timer_id || id == self->dialogue->place_id))
		return PyLong_FromLong(-ENOENT);

	int result = tasks_cancel(self->conn, id);

	/* It has come, but waits for a coroutine. */
	if (id > 0 && dialogue_cancel(self, id))
		result = 0;
	return PyLong_FromLong(result);
}

PyObject *conn_stats(conn_object *self, PyObject *unused)
{
	sttcp_conn_counts counts = {0};

	(void)unused;

	int result = sttcp_conn_stats(self->conn, &counts, sizeof(counts));

	if (result < 0)
		return raise_code(result, NULL);
	return Py_BuildValue("(LLLLLL)", (long long)counts.bytes_in, (long long)counts.bytes_out,
			     (long long)counts.messages_in, (long long)counts.messages_out,
			     (long long)counts.queued, (long long)counts.age_ms);
}

/* ---------------------------------------------------------------- as a socket */

PyObject *conn_fileno(conn_object *self, PyObject *unused)
{
	int fd = sttcp_conn_fd(self->conn);

	(void)unused;
	/* In a forked child it is a code. */
	return PyLong_FromLong(fd < 0 ? -1 : fd);
}

/* Raises what the system has said to a call for an option. */
static PyObject *raise_option(const conn_object *self)
{
	int error = errno;

	if (sttcp_conn_fd(self->conn) == STTCP_EFORK)
		return conn_raise(self->conn, STTCP_EFORK);
	errno = error;
	return PyErr_SetFromErrno(PyExc_OSError);
}

PyObject *conn_setsockopt(conn_object *self, PyObject *args)
{
	int level;
	int option;
	int number;
	int result;
	PyObject *value;

	if (!PyArg_ParseTuple(args, "iiO:setsockopt", &level, &option, &value))
		return NULL;
	if (PyLong_Check(value)) {
		long given = PyLong_AsLong(value);

		if (given == -1 && PyErr_Occurred())
			return NULL;
		number = (int)given;
		if (number != given) {
			PyErr_Format(PyExc_OverflowError,
				     "the value of an option must be from %d to %d, not %ld",
				     INT_MIN, INT_MAX, given);
			return NULL;
		}
		result = setsockopt(sttcp_conn_fd(self->conn), level, option, &number,
				    sizeof(number));
	} else {
		Py_buffer bytes;

		if (PyObject_GetBuffer(value, &bytes, PyBUF_SIMPLE) < 0)
			return NULL;
		if (bytes.len > INT_MAX) {
			PyBuffer_Release(&bytes);
			PyErr_SetString(PyExc_OverflowError, "the value of an option is too long");
			return NULL;
		}
		result = setsockopt(sttcp_conn_fd(self->conn), level, option, bytes.buf,
				    (socklen_t)bytes.len);
		PyBuffer_Release(&bytes);
	}
	if (result < 0)
		return raise_option(self);
	Py_RETURN_NONE;
}

PyObject *conn_getsockopt(conn_object *self, PyObject *args)
{
	int level;
	int option;
	int room = 0;
	char bytes[1024];

	if (!PyArg_ParseTuple(args, "ii|i:getsockopt", &level, &option, &room))
		return NULL;
	if (room < 0 || room > (int)sizeof(bytes)) {
		PyErr_SetString(PyExc_ValueError, "getsockopt buflen out of range");
		return NULL;
	}

	int number = 0;
	socklen_t size = room ? (socklen_t)room : (socklen_t)sizeof(number);

	if (getsockopt(sttcp_conn_fd(self->conn), level, option, room ? bytes : (void *)&number,
		       &size) < 0)
		return raise_option(self);
	return room ? PyBytes_FromStringAndSize(bytes, size) : PyLong_FromLong(number);
}
