/* SPDX-License-Identifier: MIT */
/* Sending and receiving: methods of a connection that may wait, and so let the GIL go. */
#include "conn_methods.h"
#include "dialogue.h"
#include "far.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

/* ---------------------------------------------------------------- sending */

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
	if (!io_on_main_thread())
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

static bool are_flags_kept(int flags, int kept, const char *name)
{
	if (!(flags & ~kept))
		return true;
	PyErr_Format(PyExc_ValueError,
		     kept ? "%s() takes no flags but MSG_NOSIGNAL and MSG_MORE, not %d: try_send() "
			    "does not wait"
			  : "%s() takes no flags, not %d: settimeout(0) does not wait, "
			    "recv_exactly() waits for all, next_size() takes nothing",
		     name, flags);
	return false;
}

/* socket.socket takes flags behind the data or size. */
static PyObject *first_of(PyObject *const *args, Py_ssize_t nargs, int kept, const char *name)
{
	if (nargs == 2) {
		PyObject *given = PyNumber_Index(args[1]);
		long flags = given ? PyLong_AsLong(given) : -1;

		Py_XDECREF(given);
		if (flags == -1 && PyErr_Occurred())
			return NULL;
		if (flags != (int)flags) {
			PyErr_SetString(PyExc_OverflowError, "flags are too large");
			return NULL;
		}
		return are_flags_kept((int)flags, kept, name) ? args[0] : NULL;
	}
	if (nargs == 1)
		return args[0];
	PyErr_Format(PyExc_TypeError, "%s() takes 1 or 2 arguments (%zd given)", name, nargs);
	return NULL;
}

PyObject *conn_sendall(conn_object *self, PyObject *const *args, Py_ssize_t nargs)
{
	PyObject *data = first_of(args, nargs, kept_flags, "sendall");

	if (data && dialogue_now())
		return wait_send(self, data, SEND);
	return data ? io_send(self, data, SEND) : NULL;
}

PyObject *conn_send(conn_object *self, PyObject *const *args, Py_ssize_t nargs)
{
	PyObject *data = first_of(args, nargs, kept_flags, "send");

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
	else if (call->waits && io_on_main_thread())
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

/* ---------------------------------------------------------------- receiving */

enum {
	/* A handler of a signal has raised; no code of the library's. */
	SIGNAL_RAISED = -1000000
};

/* Raises what a read ended in; -EDEADLK gets a sentence of its own, as it is an easy mistake. */
PyObject *io_raise(conn_object *self, int code, int timeout_ms)
{
	if (code == SIGNAL_RAISED)
		return NULL;
	if (code == -EBUSY)
		return raise_code(code, "another thread reads this connection");
	if (code == -ETIMEDOUT && timeout_ms == 0)
		code = -EAGAIN;
	if (code != -EDEADLK)
		return conn_raise(self->conn, code);
	return raise_code(code, "recv works inside this connection's connection, receive and "
				"response handlers only");
}

/* One of the library's calls that read into a buffer. */
typedef ssize_t read_fn(sttcp_conn *conn, void *buffer, size_t room, int timeout_ms);

bool io_on_main_thread(void)
{
	PyObject *threading = PyImport_ImportModule("threading");
	PyObject *main = threading ? PyObject_CallMethod(threading, "main_thread", NULL) : NULL;
	PyObject *ident = main ? PyObject_GetAttrString(main, "ident") : NULL;
	bool is_main = ident && PyLong_AsUnsignedLong(ident) == PyThread_get_thread_ident();

	PyErr_Clear();
	Py_XDECREF(ident);
	Py_XDECREF(main);
	Py_XDECREF(threading);
	return is_main;
}

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
	return result;
}

/* What the call returns, or SIGNAL_RAISED. A dialled connection may be read on the main thread,
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
	if (!io_on_main_thread())
		return read_once(self, read, memory, room, timeout_ms);
	for (;;) {
		int64_t left = timeout_ms < 0 ? IO_SIGNAL_MS : until - clock_ms();

		if (PyErr_CheckSignals() < 0)
			return SIGNAL_RAISED;
		if (left <= 0)
			return -ETIMEDOUT;
		result = read_once(self, read, memory, room,
				   (int)(left < IO_SIGNAL_MS ? left : IO_SIGNAL_MS));
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

/* What a connection that is far has to say first. NULL with nothing set: it is to be read. */
static PyObject *ask_far(conn_object *self, enum wait_kind kind, Py_ssize_t size, int timeout_ms)
{
	if (!self->far)
		return NULL;
	return far_is_here(self) ? wait_take_rest(self, kind, size, timeout_ms)
				 : far_read(self, kind, size, timeout_ms);
}

/* No read gives more than the library holds, and so room for more is not asked for. */
enum {
	MOST_ROOM = 64 << 20
};

PyObject *io_recv(conn_object *self, Py_ssize_t size, int timeout_ms)
{
	if (size > MOST_ROOM)
		size = MOST_ROOM;

	PyObject *here = ask_far(self, WAIT_RECV, size, timeout_ms);
	int code;

	if (here || PyErr_Occurred())
		return here;

	PyObject *bytes = read_bytes(self, sttcp_conn_recv, size, timeout_ms, &code);

	return code ? io_raise(self, code, timeout_ms) : bytes;
}

PyObject *conn_recv(conn_object *self, PyObject *const *args, Py_ssize_t nargs)
{
	PyObject *given = first_of(args, nargs, 0, "recv");
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
	ssize_t result;

	if (!PyArg_ParseTuple(args, "w*|ni:recv_into", &into, &size, &flags))
		return NULL;
	if (!are_flags_kept(flags, 0, "recv_into")) {
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
	if (self->far) {
		PyObject *read = io_recv(self, size, self->timeout_ms);

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
	PyObject *here = ask_far(self, WAIT_MESSAGE, 0, timeout_ms);

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
	PyObject *here = ask_far(self, WAIT_EXACTLY, size, timeout_ms);
	int code;

	if (here || PyErr_Occurred())
		return here;

	PyObject *bytes = read_bytes(self, sttcp_conn_recv_exactly, size, timeout_ms, &code);

	/* There is no memory for what the library would have refused. */
	if (!bytes && !code && size > most_exactly(self) &&
	    PyErr_ExceptionMatches(PyExc_MemoryError)) {
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
	PyObject *here = ask_far(self, WAIT_SIZE, 0, timeout_ms);
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
