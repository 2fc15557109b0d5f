/* SPDX-License-Identifier: MIT */
/* Sending: methods of a connection, and what they do outside coroutines. They let the GIL go where
 * they may wait; the main thread never waits in them. */
#include "conn_methods.h"
#include "dialogue.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* What a call has come to: from its result, and how many bytes it was given. */
typedef PyObject *answer_fn(conn_object *self, int result, Py_ssize_t size);

static PyObject *answer_none(conn_object *self, int result, Py_ssize_t size)
{
	(void)size;
	if (result < 0)
		return conn_raise(self->conn, result);
	Py_RETURN_NONE;
}

static PyObject *answer_size(conn_object *self, int result, Py_ssize_t size)
{
	return result < 0 ? conn_raise(self->conn, result) : PyLong_FromSsize_t(size);
}

/* Of a send that may not wait. */
static PyObject *answer_tried(conn_object *self, int result, Py_ssize_t size)
{
	(void)size;
	if (result == -EAGAIN)
		Py_RETURN_FALSE;
	if (result < 0)
		return conn_raise(self->conn, result);
	Py_RETURN_TRUE;
}

/* The library's calls for bytes in one piece, by enum way. */
typedef int send_fn(sttcp_conn *conn, const void *data, size_t size);

static send_fn *const waiting[] = {sttcp_conn_send, sttcp_conn_send_message};
static send_fn *const trying[] = {sttcp_conn_try_send, sttcp_conn_try_send_message};

enum {
	/* So little is sent in microseconds, and keeps the GIL: an answer takes 300 instructions
	 * less of 3000, and a thread that computes in Python does not get 5 ms for it. */
	KEPT_BYTES = 4096,
	/* Sends that are not tried first behind one that found no room. */
	UNTRIED = 64,
	/* No code: it has to wait, but not on this thread. */
	WAITS_APART = 2
};

/* Without waiting. */
static int try_bytes(conn_object *self, const Py_buffer *bytes, enum way way)
{
	int result;

	if (bytes->len <= KEPT_BYTES)
		return trying[way](self->conn, bytes->buf, (size_t)bytes->len);
	Py_BEGIN_ALLOW_THREADS
	result = trying[way](self->conn, bytes->buf, (size_t)bytes->len);
	Py_END_ALLOW_THREADS
	return result;
}

static bool has_no_room(int result)
{
	return result == -EAGAIN || result == -EMSGSIZE;
}

/* Waits where there is no room. */
static int wait_bytes(conn_object *self, const Py_buffer *bytes, enum way way)
{
	int result;

	Py_BEGIN_ALLOW_THREADS
	result = waiting[way](self->conn, bytes->buf, (size_t)bytes->len);
	Py_END_ALLOW_THREADS
	return result;
}

/* The main thread, which has to hear signals, always tries first, and never waits. */
static int send_bytes(conn_object *self, const Py_buffer *bytes, enum way way)
{
	bool is_tried = bytes->len <= KEPT_BYTES && !self->untried;

	if (is_tried) {
		int result = try_bytes(self, bytes, way);

		if (!has_no_room(result))
			return result;
		self->untried = UNTRIED;
	} else if (self->untried) {
		self->untried--;
	}
	if (!signals_come_here())
		return wait_bytes(self, bytes, way);

	int result = is_tried ? -EAGAIN : try_bytes(self, bytes, way);

	return has_no_room(result) ? WAITS_APART : result;
}

typedef int bytes_fn(conn_object *self, const Py_buffer *bytes, enum way way);

/* The code, or WAITS_APART, and the size; or 1 with an exception set. */
static int with_bytes(conn_object *self, PyObject *data, bytes_fn *send, enum way way,
		      Py_ssize_t *size)
{
	Py_buffer bytes;
	int result;

	if (PyObject_GetBuffer(data, &bytes, PyBUF_SIMPLE) < 0)
		return 1;
	*size = bytes.len;
	result = send(self, &bytes, way);
	PyBuffer_Release(&bytes);
	return result;
}

/* Waits for another thread that sends it, and for signals. That goes on if a handler of one raises,
 * with bytes that nobody changes. */
static PyObject *send_apart(conn_object *self, PyObject *data, enum way way, answer_fn *answer)
{
	PyObject *bytes = PyBytes_FromObject(data);
	PyObject *none =
		bytes ? PyObject_CallMethod((PyObject *)self, "_send_apart", "Oi", bytes, (int)way)
		      : NULL;
	PyObject *answered = none ? answer(self, 0, PyBytes_GET_SIZE(bytes)) : NULL;

	Py_XDECREF(none);
	Py_XDECREF(bytes);
	return answered;
}

static PyObject *call_bytes(conn_object *self, PyObject *data, bytes_fn *send, enum way way,
			    answer_fn *answer)
{
	Py_ssize_t size;
	int result = with_bytes(self, data, send, way, &size);

	if (result == WAITS_APART)
		return send_apart(self, data, way, answer);
	return result > 0 ? NULL : answer(self, result, size);
}

PyObject *io_send(conn_object *self, PyObject *data, enum way way)
{
	return call_bytes(self, data, send_bytes, way, answer_none);
}

int io_try(conn_object *self, PyObject *data, enum way way)
{
	Py_ssize_t size;

	return with_bytes(self, data, try_bytes, way, &size);
}

PyObject *conn_send_waiting(conn_object *self, PyObject *args)
{
	PyObject *data;
	int way;

	if (!PyArg_ParseTuple(args, "Oi:_send_waiting", &data, &way))
		return NULL;
	return call_bytes(self, data, wait_bytes, way == SEND ? SEND : SEND_MESSAGE, answer_none);
}

/* Those of a send that are kept anyway, or only say how it is done best. */
static const int kept_flags = MSG_NOSIGNAL | MSG_MORE;

PyObject *conn_sendall(conn_object *self, PyObject *const *args, Py_ssize_t nargs)
{
	PyObject *data = flags_first_of(args, nargs, kept_flags, "sendall");

	if (data && dialogue_now())
		return wait_send(self, data, SEND);
	return data ? io_send(self, data, SEND) : NULL;
}

PyObject *conn_send(conn_object *self, PyObject *const *args, Py_ssize_t nargs)
{
	PyObject *data = flags_first_of(args, nargs, kept_flags, "send");

	return data ? call_bytes(self, data, send_bytes, SEND, answer_size) : NULL;
}

PyObject *conn_send_message(conn_object *self, PyObject *data)
{
	if (dialogue_now())
		return wait_send(self, data, SEND_MESSAGE);
	return io_send(self, data, SEND_MESSAGE);
}

PyObject *conn_try_send(conn_object *self, PyObject *data)
{
	return call_bytes(self, data, try_bytes, SEND, answer_tried);
}

PyObject *conn_try_send_message(conn_object *self, PyObject *data)
{
	return call_bytes(self, data, try_bytes, SEND_MESSAGE, answer_tried);
}

enum {
	MOST_PARTS = 1024
};

/* One of the library's calls for several parts. */
struct parts_call {
	const char *name;
	int (*send)(sttcp_conn *conn, const struct iovec *parts, int count);
	bool waits;
	enum way way; /* of all of them in one piece */
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

/* In one piece, which may be sent apart. */
static PyObject *send_joined(conn_object *self, PyObject *parts, enum way way, answer_fn *answer)
{
	PyObject *nothing = PyBytes_FromStringAndSize(NULL, 0);
	PyObject *joined = nothing ? PyObject_CallMethod(nothing, "join", "(O)", parts) : NULL;
	PyObject *answered = joined ? call_bytes(self, joined, send_bytes, way, answer) : NULL;

	Py_XDECREF(joined);
	Py_XDECREF(nothing);
	return answered;
}

static PyObject *send_parts(conn_object *self, PyObject *buffers, const struct parts_call *call,
			    answer_fn *answer)
{
	PyObject *parts = PySequence_Fast(buffers, "the parts must be a sequence of bytes");
	PyObject *answered = NULL;
	Py_ssize_t size;
	int result;

	if (!parts)
		return NULL;
	if (PySequence_Fast_GET_SIZE(parts) > MOST_PARTS)
		PyErr_Format(PyExc_ValueError, "%s() takes at most %d parts", call->name,
			     MOST_PARTS);
	else if (call->waits && signals_come_here())
		answered = send_joined(self, parts, call->way, answer);
	else if (call_with(self, parts, call, &result, &size) == 0)
		answered = answer(self, result, size);
	Py_DECREF(parts);
	return answered;
}

PyObject *conn_sendmsg(conn_object *self, PyObject *buffers)
{
	static const struct parts_call call = {"sendmsg", sttcp_conn_sendv, true, SEND};

	return send_parts(self, buffers, &call, answer_size);
}

PyObject *conn_try_sendv(conn_object *self, PyObject *buffers)
{
	static const struct parts_call call = {"try_sendv", sttcp_conn_try_sendv, false, SEND};

	return send_parts(self, buffers, &call, answer_tried);
}

PyObject *conn_sendv_message(conn_object *self, PyObject *buffers)
{
	static const struct parts_call call = {"sendv_message", sttcp_conn_sendv_message, true,
					       SEND_MESSAGE};

	return send_parts(self, buffers, &call, answer_none);
}
