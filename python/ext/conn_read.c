/* SPDX-License-Identifier: MIT */
/* Reading: methods of a connection, and what they do outside coroutines. They may wait, and so let
 * the GIL go. */
#include "conn_methods.h"
#include "dialogue.h"
#include "far.h"

#include <errno.h>
#include <string.h>
#include <time.h>

enum {
	/* A handler of a signal has raised, or a frame function to end the program; no code of the
	 * library's. */
	PYTHON_RAISED = -1000000
};

/* Raises what a read ended in; -EDEADLK gets a sentence of its own, as it is an easy mistake. */
PyObject *io_raise(conn_object *self, int code, int timeout_ms)
{
	if (code == PYTHON_RAISED)
		return NULL;
	if (code == -EBUSY)
		return raise_code(code, "another call reads this connection");
	if (code == -ETIMEDOUT && timeout_ms == 0)
		code = -EAGAIN;
	if (code != -EDEADLK)
		return conn_raise(self->conn, code);
	return raise_code(code, "recv works inside this connection's connection, receive and "
				"response handlers only");
}

/* One of the library's calls that read into a buffer. */
typedef ssize_t read_fn(sttcp_conn *conn, void *buffer, size_t room, int timeout_ms);

static int64_t clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static ssize_t read_once(conn_object *self, read_fn *read, void *memory, size_t room,
			 int timeout_ms)
{
	ssize_t result;

	Py_BEGIN_ALLOW_THREADS
	result = read(self->conn, memory, room, timeout_ms);
	Py_END_ALLOW_THREADS
	return frames_raise() ? PYTHON_RAISED : result;
}

/* What the call returns, or PYTHON_RAISED. A dialled connection may be read on the main thread,
 * which runs the handlers of signals meanwhile; what has come of a message stays for the next part.
 */
static ssize_t read_waiting(conn_object *self, read_fn *read, void *memory, size_t room,
			    int timeout_ms)
{
	int64_t until = clock_ms() + timeout_ms + 1;
	bool looks = self->dialled && !self->far;
	ssize_t result = read_once(self, read, memory, room, looks ? 0 : timeout_ms);

	if (!looks || result != -ETIMEDOUT || timeout_ms == 0)
		return result;
	if (!signals_come_here())
		return read_once(self, read, memory, room, timeout_ms);
	for (;;) {
		int64_t left = timeout_ms < 0 ? SIGNALS_MS : until - clock_ms();

		if (PyErr_CheckSignals() < 0)
			return PYTHON_RAISED;
		if (left <= 0)
			return -ETIMEDOUT;
		result = read_once(self, read, memory, room,
				   (int)(left < SIGNALS_MS ? left : SIGNALS_MS));
		if (result != -ETIMEDOUT)
			return result;
	}
}

/* Bytes of a size up to `room`, and `code` 0; NULL where one is not: the library's, or 0 with an
 * exception set. */
static PyObject *read_bytes(conn_object *self, read_fn *read, Py_ssize_t room, int timeout_ms,
			    int *code)
{
	PyObject *bytes = PyBytes_FromStringAndSize(NULL, room);
	*code = 0;
	if (!bytes)
		return NULL;

	ssize_t result =
		read_waiting(self, read, PyBytes_AS_STRING(bytes), (size_t)room, timeout_ms);

	if (result >= 0) {
		_PyBytes_Resize(&bytes, result);
		return bytes;
	}
	Py_DECREF(bytes);
	*code = (int)result;
	return NULL;
}

/* What comes before the library: that of a connection that is far is read on its turn, and what a
 * coroutine has left comes first. NULL with nothing set: it is to be read. */
static PyObject *ask_first(conn_object *self, enum wait_kind kind, Py_ssize_t size, int timeout_ms)
{
	if (self->far && !far_is_here(self))
		return far_read(self, kind, size, timeout_ms);
	return self->dialogue ? wait_take_rest(self, kind, size, timeout_ms) : NULL;
}

/* No read gives more than the library holds, and so room for more is not asked for. */
enum {
	MOST_ROOM = 64 << 20
};

PyObject *io_recv(conn_object *self, Py_ssize_t size, int timeout_ms)
{
	if (size > MOST_ROOM)
		size = MOST_ROOM;

	PyObject *here = ask_first(self, WAIT_RECV, size, timeout_ms);
	int code;

	if (here || PyErr_Occurred())
		return here;

	PyObject *bytes = read_bytes(self, sttcp_conn_recv, size, timeout_ms, &code);

	return code ? io_raise(self, code, timeout_ms) : bytes;
}

PyObject *conn_recv(conn_object *self, PyObject *const *args, Py_ssize_t nargs)
{
	PyObject *given = flags_first_of(args, nargs, 0, "recv");
	Py_ssize_t size = given ? PyNumber_AsSsize_t(given, PyExc_OverflowError) : -1;

	if (size == -1 && PyErr_Occurred())
		return NULL;
	if (size < 0) {
		PyErr_SetString(PyExc_ValueError, "negative buffersize in recv");
		return NULL;
	}
	if (dialogue_has(self))
		return wait_make(self, WAIT_RECV, size, self->timeout_ms);
	return io_recv(self, size, self->timeout_ms);
}

PyObject *conn_recv_into(conn_object *self, PyObject *args)
{
	Py_buffer into;
	Py_ssize_t size = 0;
	int flags = 0;
	PyObject *here;
	ssize_t result;

	if (!PyArg_ParseTuple(args, "w*|ni:recv_into", &into, &size, &flags))
		return NULL;
	if (!flags_are_kept(flags, 0, "recv_into")) {
		PyBuffer_Release(&into);
		return NULL;
	}
	if (size < 0 || size > into.len) {
		PyBuffer_Release(&into);
		PyErr_SetString(PyExc_ValueError, "buffer too small for requested bytes");
		return NULL;
	}
	if (size == 0)
		size = into.len;
	/* Bytes that lie here have gone back by then. */
	here = self->far ? NULL : ask_first(self, WAIT_RECV, size, self->timeout_ms);
	if (self->far || here || PyErr_Occurred()) {
		PyObject *read = self->far ? io_recv(self, size, self->timeout_ms) : here;

		result = read ? PyBytes_GET_SIZE(read) : -1;
		if (read)
			memcpy(into.buf, PyBytes_AS_STRING(read), (size_t)result);
		Py_XDECREF(read);
		PyBuffer_Release(&into);
		return read ? PyLong_FromSsize_t(result) : NULL;
	}
	result = dialogue_now() && dialogue_now()->conn == self ? dialogue_read_rest(into.buf, size)
								: 0;
	if (result == 0)
		result = read_waiting(self, sttcp_conn_recv, into.buf, (size_t)size,
				      self->timeout_ms);
	PyBuffer_Release(&into);
	return result < 0 ? io_raise(self, (int)result, self->timeout_ms)
			  : PyLong_FromSsize_t(result);
}

static ssize_t next_size(sttcp_conn *conn, void *buffer, size_t room, int timeout_ms)
{
	(void)buffer;
	(void)room;
	return sttcp_conn_next_size(conn, timeout_ms);
}

/* Without messages: what next_size tells of, or, if somebody else has taken that, what comes next.
 */
static PyObject *recv_what_is_there(conn_object *self, int timeout_ms)
{
	for (;;) {
		ssize_t size = read_waiting(self, next_size, NULL, 0, timeout_ms);
		int code = (int)size;

		if (size == -ENODATA)
			Py_RETURN_NONE;
		if (size < 0)
			return io_raise(self, code, timeout_ms);

		PyObject *bytes = read_bytes(self, sttcp_conn_recv_message, size, 0, &code);

		if (code != -ETIMEDOUT && code != -EMSGSIZE && code != -ENODATA)
			return code ? io_raise(self, code, timeout_ms) : bytes;
	}
}

/* One that does not fit stays to be read, into more room. */
PyObject *io_recv_message(conn_object *self, int timeout_ms)
{
	PyObject *here = ask_first(self, WAIT_MESSAGE, 0, timeout_ms);

	if (here || PyErr_Occurred())
		return here;
	if (!conn_is_framed(self))
		return recv_what_is_there(self, timeout_ms);
	for (Py_ssize_t room = 4096;; room *= 4) {
		int code;
		PyObject *bytes =
			read_bytes(self, sttcp_conn_recv_message, room, timeout_ms, &code);

		if (!code)
			return bytes;
		if (code == -ENODATA)
			Py_RETURN_NONE;
		if (code != -EMSGSIZE || room > PY_SSIZE_T_MAX / 4)
			return io_raise(self, code, timeout_ms);
	}
}

PyObject *conn_recv_message(conn_object *self, PyObject *unused)
{
	(void)unused;
	if (dialogue_has(self))
		return wait_make(self, WAIT_MESSAGE, 0, self->timeout_ms);
	return io_recv_message(self, self->timeout_ms);
}

/* What the library takes at most. */
static int64_t most_exactly(const conn_object *self)
{
	int64_t most = 0;

	if (conn_is_framed(self))
		most = self->framing == FRAMING_OF_GROUP
			       ? ((const group_object *)self->owner)->max_message
			       : self->max_message;
	return most < 0 ? INT64_MAX : most ? most : 1 << 20;
}

PyObject *io_recv_exactly(conn_object *self, Py_ssize_t size, int timeout_ms)
{
	PyObject *here = ask_first(self, WAIT_EXACTLY, size, timeout_ms);
	int code;

	if (here || PyErr_Occurred())
		return here;

	PyObject *bytes = read_bytes(self, sttcp_conn_recv_exactly, size, timeout_ms, &code);

	/* There is no memory for what the library would have refused. */
	if (!bytes && !code && size > most_exactly(self) &&
	    (PyErr_ExceptionMatches(PyExc_MemoryError) ||
	     PyErr_ExceptionMatches(PyExc_OverflowError))) {
		PyErr_Clear();
		code = -EMSGSIZE;
	}
	if (code == -ENODATA)
		Py_RETURN_NONE;
	return code ? io_raise(self, code, timeout_ms) : bytes;
}

PyObject *conn_recv_exactly(conn_object *self, PyObject *args)
{
	Py_ssize_t size;
	int timeout_ms;

	if (!PyArg_ParseTuple(args, "ni:_recv_exactly", &size, &timeout_ms))
		return NULL;
	if (size < 0) {
		PyErr_SetString(PyExc_ValueError, "negative size in recv_exactly");
		return NULL;
	}
	if (dialogue_has(self))
		return wait_make(self, WAIT_EXACTLY, size, timeout_ms);
	return io_recv_exactly(self, size, timeout_ms);
}

PyObject *io_next_size(conn_object *self, int timeout_ms)
{
	PyObject *here = ask_first(self, WAIT_SIZE, 0, timeout_ms);
	ssize_t result;

	if (here || PyErr_Occurred())
		return here;
	result = read_waiting(self, next_size, NULL, 0, timeout_ms);
	if (result == -ENODATA)
		Py_RETURN_NONE;
	return result < 0 ? io_raise(self, (int)result, timeout_ms) : PyLong_FromSsize_t(result);
}

PyObject *conn_next_size(conn_object *self, PyObject *args)
{
	int timeout_ms;

	if (!PyArg_ParseTuple(args, "i:_next_size", &timeout_ms))
		return NULL;
	if (dialogue_has(self))
		return wait_make(self, WAIT_SIZE, 0, timeout_ms);
	return io_next_size(self, timeout_ms);
}
