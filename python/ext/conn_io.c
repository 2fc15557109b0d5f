/* SPDX-License-Identifier: MIT */
/* Sending and receiving: methods of a connection that may wait, and so let the GIL go. */
#include "ext.h"

#include <errno.h>
#include <sys/uio.h>

/* ---------------------------------------------------------------- sending */

enum way {
	SEND,
	SEND_MESSAGE
};

static int send_bytes(conn_object *self, PyObject *data, enum way way, Py_ssize_t *size)
{
	sttcp_conn *conn = self->conn;
	Py_buffer bytes;
	int result;

	if (PyObject_GetBuffer(data, &bytes, PyBUF_SIMPLE) < 0)
		return -1;
	Py_BEGIN_ALLOW_THREADS
	result = way == SEND ? sttcp_conn_send(conn, bytes.buf, (size_t)bytes.len)
			     : sttcp_conn_send_message(conn, bytes.buf, (size_t)bytes.len);
	Py_END_ALLOW_THREADS
	*size = bytes.len;
	PyBuffer_Release(&bytes);
	if (result >= 0)
		return 0;
	conn_raise(self->conn, result);
	return -1;
}

static PyObject *first_of(PyObject *const *args, Py_ssize_t nargs, const char *name)
{
	/* socket.socket takes flags behind the data; there is none that would matter here. */
	if (nargs == 1 || nargs == 2)
		return args[0];
	PyErr_Format(PyExc_TypeError, "%s() takes 1 or 2 arguments (%zd given)", name, nargs);
	return NULL;
}

PyObject *conn_sendall(conn_object *self, PyObject *const *args, Py_ssize_t nargs)
{
	PyObject *data = first_of(args, nargs, "sendall");
	Py_ssize_t size;

	if (!data || send_bytes(self, data, SEND, &size) < 0)
		return NULL;
	Py_RETURN_NONE;
}

PyObject *conn_send(conn_object *self, PyObject *const *args, Py_ssize_t nargs)
{
	PyObject *data = first_of(args, nargs, "send");
	Py_ssize_t size;

	if (!data || send_bytes(self, data, SEND, &size) < 0)
		return NULL;
	return PyLong_FromSsize_t(size);
}

PyObject *conn_send_message(conn_object *self, PyObject *data)
{
	Py_ssize_t size;

	if (send_bytes(self, data, SEND_MESSAGE, &size) < 0)
		return NULL;
	Py_RETURN_NONE;
}

/* What a send that may not wait has come to. */
static PyObject *make_tried(conn_object *self, int result)
{
	if (result == -EAGAIN)
		Py_RETURN_FALSE;
	if (result < 0)
		return conn_raise(self->conn, result);
	Py_RETURN_TRUE;
}

static PyObject *try_bytes(conn_object *self, PyObject *data, enum way way)
{
	sttcp_conn *conn = self->conn;
	Py_buffer bytes;
	int result;

	if (PyObject_GetBuffer(data, &bytes, PyBUF_SIMPLE) < 0)
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	result = way == SEND ? sttcp_conn_try_send(conn, bytes.buf, (size_t)bytes.len)
			     : sttcp_conn_try_send_message(conn, bytes.buf, (size_t)bytes.len);
	Py_END_ALLOW_THREADS
	PyBuffer_Release(&bytes);
	return make_tried(self, result);
}

PyObject *conn_try_send(conn_object *self, PyObject *data)
{
	return try_bytes(self, data, SEND);
}

PyObject *conn_try_send_message(conn_object *self, PyObject *data)
{
	return try_bytes(self, data, SEND_MESSAGE);
}

enum {
	MOST_PARTS = 1024
};

/* One of the library's calls for several parts. */
struct parts_call {
	const char *name;
	int (*send)(sttcp_conn *conn, const struct iovec *parts, int count);
};

/* Makes the call: 0, its `result` and the size of all parts; or -1 with an exception set. */
static int call_with(conn_object *self, PyObject *parts, const struct parts_call *call, int *result,
		     Py_ssize_t *size)
{
	Py_ssize_t count = PySequence_Fast_GET_SIZE(parts);
	Py_buffer *buffers = PyMem_Calloc((size_t)count + 1, sizeof(*buffers));
	struct iovec *vector = PyMem_Calloc((size_t)count + 1, sizeof(*vector));
	Py_ssize_t held = 0;
	int answer = -1;

	*size = 0;
	if (!buffers || !vector) {
		PyErr_NoMemory();
		goto done;
	}
	for (; held < count; held++) {
		PyObject *part = PySequence_Fast_GET_ITEM(parts, held);

		if (PyObject_GetBuffer(part, &buffers[held], PyBUF_SIMPLE) < 0)
			goto done;
		vector[held].iov_base = buffers[held].buf;
		vector[held].iov_len = (size_t)buffers[held].len;
		*size += buffers[held].len;
	}
	answer = 0;
	Py_BEGIN_ALLOW_THREADS
	*result = call->send(self->conn, vector, (int)count);
	Py_END_ALLOW_THREADS
done:
	while (held > 0)
		PyBuffer_Release(&buffers[--held]);
	PyMem_Free(vector);
	PyMem_Free(buffers);
	return answer;
}

static int send_parts(conn_object *self, PyObject *buffers, const struct parts_call *call,
		      int *result, Py_ssize_t *size)
{
	PyObject *parts = PySequence_Fast(buffers, "the parts must be a sequence of bytes");
	int answer = -1;

	if (!parts)
		return -1;
	if (PySequence_Fast_GET_SIZE(parts) > MOST_PARTS)
		PyErr_Format(PyExc_ValueError, "%s() takes at most %d parts", call->name,
			     MOST_PARTS);
	else
		answer = call_with(self, parts, call, result, size);
	Py_DECREF(parts);
	return answer;
}

PyObject *conn_sendmsg(conn_object *self, PyObject *buffers)
{
	static const struct parts_call call = {"sendmsg", sttcp_conn_sendv};
	Py_ssize_t size;
	int result;

	if (send_parts(self, buffers, &call, &result, &size) < 0)
		return NULL;
	return result < 0 ? conn_raise(self->conn, result) : PyLong_FromSsize_t(size);
}

PyObject *conn_try_sendv(conn_object *self, PyObject *buffers)
{
	static const struct parts_call call = {"try_sendv", sttcp_conn_try_sendv};
	Py_ssize_t size;
	int result;

	if (send_parts(self, buffers, &call, &result, &size) < 0)
		return NULL;
	return make_tried(self, result);
}

PyObject *conn_sendv_message(conn_object *self, PyObject *buffers)
{
	static const struct parts_call call = {"sendv_message", sttcp_conn_sendv_message};
	Py_ssize_t size;
	int result;

	if (send_parts(self, buffers, &call, &result, &size) < 0)
		return NULL;
	if (result < 0)
		return conn_raise(self->conn, result);
	Py_RETURN_NONE;
}

/* ---------------------------------------------------------------- receiving */

/* Raises what a read ended in; -EDEADLK gets a sentence of its own, as it is an easy mistake. */
static PyObject *raise_read(conn_object *self, int code, int timeout_ms)
{
	if (code == -ETIMEDOUT && timeout_ms == 0)
		code = -EAGAIN;
	if (code != -EDEADLK)
		return conn_raise(self->conn, code);
	return raise_code(code, "recv works inside this connection's connection, receive and "
				"response handlers only");
}

PyObject *conn_recv(conn_object *self, PyObject *args)
{
	Py_ssize_t size;
	int flags = 0;
	ssize_t result;

	if (!PyArg_ParseTuple(args, "n|i:recv", &size, &flags))
		return NULL;
	if (size < 0) {
		PyErr_SetString(PyExc_ValueError, "negative buffersize in recv");
		return NULL;
	}

	PyObject *bytes = PyBytes_FromStringAndSize(NULL, size);

	if (!bytes)
		return NULL;

	char *memory = PyBytes_AS_STRING(bytes);

	Py_BEGIN_ALLOW_THREADS
	result = sttcp_conn_recv(self->conn, memory, (size_t)size, self->timeout_ms);
	Py_END_ALLOW_THREADS
	if (result < 0) {
		Py_DECREF(bytes);
		return raise_read(self, (int)result, self->timeout_ms);
	}
	_PyBytes_Resize(&bytes, result);
	return bytes;
}

PyObject *conn_recv_into(conn_object *self, PyObject *args)
{
	Py_buffer into;
	Py_ssize_t size = 0;
	int flags = 0;
	ssize_t result;

	if (!PyArg_ParseTuple(args, "w*|ni:recv_into", &into, &size, &flags))
		return NULL;
	if (size < 0 || size > into.len) {
		PyBuffer_Release(&into);
		PyErr_SetString(PyExc_ValueError, "buffer too small for requested bytes");
		return NULL;
	}
	Py_BEGIN_ALLOW_THREADS
	result = sttcp_conn_recv(self->conn, into.buf, (size_t)(size ? size : into.len),
				 self->timeout_ms);
	Py_END_ALLOW_THREADS
	PyBuffer_Release(&into);
	return result < 0 ? raise_read(self, (int)result, self->timeout_ms)
			  : PyLong_FromSsize_t(result);
}

/* One that does not fit stays to be read, into more room. */
PyObject *conn_recv_message(conn_object *self, PyObject *unused)
{
	Py_ssize_t room = 4096;

	(void)unused;
	for (;;) {
		PyObject *bytes = PyBytes_FromStringAndSize(NULL, room);
		ssize_t result;

		if (!bytes)
			return NULL;

		char *memory = PyBytes_AS_STRING(bytes);

		Py_BEGIN_ALLOW_THREADS
		result =
			sttcp_conn_recv_message(self->conn, memory, (size_t)room, self->timeout_ms);
		Py_END_ALLOW_THREADS
		if (result >= 0) {
			_PyBytes_Resize(&bytes, result);
			return bytes;
		}
		Py_DECREF(bytes);
		if (result == -ENODATA)
			Py_RETURN_NONE;
		if (result != -EMSGSIZE || room > PY_SSIZE_T_MAX / 4)
			return raise_read(self, (int)result, self->timeout_ms);
		room *= 4;
	}
}

PyObject *conn_recv_exactly(conn_object *self, PyObject *args)
{
	Py_ssize_t size;
	int timeout_ms;
	ssize_t result;

	if (!PyArg_ParseTuple(args, "ni:_recv_exactly", &size, &timeout_ms))
		return NULL;
	if (size < 0) {
		PyErr_SetString(PyExc_ValueError, "negative size in recv_exactly");
		return NULL;
	}

	PyObject *bytes = PyBytes_FromStringAndSize(NULL, size);

	if (!bytes)
		return NULL;

	char *memory = PyBytes_AS_STRING(bytes);

	Py_BEGIN_ALLOW_THREADS
	result = sttcp_conn_recv_exactly(self->conn, memory, (size_t)size, timeout_ms);
	Py_END_ALLOW_THREADS
	if (result >= 0)
		return bytes;
	Py_DECREF(bytes);
	if (result == -ENODATA)
		Py_RETURN_NONE;
	return raise_read(self, (int)result, timeout_ms);
}

PyObject *conn_next_size(conn_object *self, PyObject *args)
{
	int timeout_ms;
	ssize_t result;

	if (!PyArg_ParseTuple(args, "i:_next_size", &timeout_ms))
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	result = sttcp_conn_next_size(self->conn, timeout_ms);
	Py_END_ALLOW_THREADS
	if (result == -ENODATA)
		Py_RETURN_NONE;
	return result < 0 ? raise_read(self, (int)result, timeout_ms) : PyLong_FromSsize_t(result);
}
