/* SPDX-License-Identifier: MIT */
/*
 * The type of connections: what socket.socket has where that makes sense, and what the library has
 * beyond it.
 *
 * The library's connection holds a reference to its object while handlers may run (its data), and
 * the object one to the connection, for ever. conn_untie ends the first, so that the circle opens.
 * Both are looked at and changed under the GIL only.
 */
#include "conn_methods.h"
#include "dialogue.h"

#include <errno.h>
#include <structmember.h>
#include <sys/socket.h>

PyObject *conn_make_address(sttcp_conn *conn, PyObject **host)
{
	const char *text = sttcp_conn_host(conn);

	if (!text)
		text = "";
	if (!*host || PyUnicode_CompareWithASCIIString(*host, text) != 0) {
		PyObject *made = PyUnicode_DecodeFSDefault(text);

		if (!made)
			return NULL;
		Py_XSETREF(*host, made);
	}

	PyObject *kept = *host;

	/* Memory is asked for: others may replace it meanwhile, see conn_wrap. */
	Py_INCREF(kept);
	return Py_BuildValue("(Ni)", kept, sttcp_conn_port(conn));
}

PyObject *conn_peek(sttcp_conn *conn)
{
	return sttcp_conn_data(conn);
}

PyObject *conn_peek_ref(sttcp_conn *conn)
{
	PyObject *known = conn_peek(conn);

	Py_XINCREF(known);
	return known;
}

PyObject *conn_wrap(sttcp_conn *conn, PyObject *owner, PyObject **host)
{
	PyObject *known = conn_peek(conn);

	if (known) {
		Py_INCREF(known);
		return known;
	}

	PyTypeObject *type = (PyTypeObject *)lent.connection_type;
	conn_object *self = (conn_object *)type->tp_alloc(type, 0);

	if (!self)
		return NULL;
	self->timeout_ms = -1;
	self->conn = sttcp_conn_ref(conn);
	self->owner = owner;
	Py_INCREF(owner);
	self->address = conn_make_address(conn, host);
	if (!self->address) {
		Py_DECREF(self);
		return NULL;
	}
	/* Memory was asked for, and so garbage may have been collected, of which a part lets the
	 * GIL go: another thread may have been here. */
	known = conn_peek(conn);
	if (known) {
		Py_INCREF(known);
		Py_DECREF(self);
		return known;
	}
	Py_INCREF(self);
	sttcp_conn_set_data(conn, self, NULL);
	/* One that has ended may have had its last handler, which takes no GIL where there is
	 * nothing for it to do: it would stay tied for good. One that is open has it before it. */
	if (!sttcp_conn_is_open(conn))
		conn_untie(conn);
	return (PyObject *)self;
}

PyObject *conn_make_dialled(sttcp_conn *conn, PyObject *frame)
{
	PyTypeObject *type = (PyTypeObject *)lent.connection_type;
	conn_object *self = (conn_object *)type->tp_alloc(type, 0);
	PyObject *host = NULL;

	if (!self) {
		sttcp_conn_unref(conn);
		return NULL;
	}
	self->timeout_ms = -1;
	self->conn = conn;
	self->dialled = true;
	if (frame != Py_None) {
		Py_INCREF(frame);
		self->frame = frame;
	}
	self->address = conn_make_address(conn, &host);
	Py_XDECREF(host);
	if (!self->address) {
		Py_DECREF(self);
		return NULL;
	}
	/* Whoever asks for it, a read or a task, has a reference to the object. */
	sttcp_conn_set_data(conn, self, NULL);
	return (PyObject *)self;
}

PyObject *conn_make_far(sttcp_conn *conn, PyObject *owner)
{
	PyObject *made = conn_make_dialled(sttcp_conn_ref(conn), Py_None);
	conn_object *self = (conn_object *)made;

	if (!made)
		return NULL;
	Py_INCREF(owner);
	self->owner = owner;
	self->far = true;
	self->paused = true;
	return made;
}

void conn_untie(sttcp_conn *conn)
{
	PyObject *known = conn_peek(conn);

	if (!known)
		return;
	sttcp_conn_set_data(conn, NULL, NULL);
	Py_CLEAR(((conn_object *)known)->own);
	dialogue_drop((conn_object *)known);
	Py_DECREF(known);
}

PyObject *conn_make_reason(sttcp_conn *conn, int code, PyObject *known)
{
	PyObject *raised = known ? ((conn_object *)known)->exception : NULL;

	if (code == STTCP_EHANDLER && raised) {
		Py_INCREF(raised);
		return raised;
	}

	const char *text = sttcp_conn_fail_text(conn);

	return PyObject_CallFunction(lent.make_reason, "iN", code, text_make(text ? text : ""));
}

static int traverse(conn_object *self, visitproc visit, void *arg)
{
	Py_VISIT(self->owner);
	Py_VISIT(self->data);
	Py_VISIT(self->exception);
	Py_VISIT(self->frame);
	Py_VISIT(self->own);
	return dialogue_traverse(self, visit, arg);
}

static int clear(conn_object *self)
{
	dialogue_clear(self);
	Py_CLEAR(self->owner);
	Py_CLEAR(self->data);
	Py_CLEAR(self->exception);
	Py_CLEAR(self->frame);
	Py_CLEAR(self->own);
	return 0;
}

static void dealloc(conn_object *self)
{
	sttcp_conn *conn = self->conn;

	PyObject_GC_UnTrack(self);
	if (self->dialled)
		sttcp_conn_set_data(conn, NULL, NULL);
	/* The library's last reference is its client's. */
	if (self->far)
		sttcp_conn_close(conn);
	if (self->weakrefs)
		PyObject_ClearWeakRefs((PyObject *)self);
	clear(self);
	Py_CLEAR(self->address);
	Py_TYPE(self)->tp_free((PyObject *)self);
	/* No data and so no code of others: it does not wait. A dialled one is closed by that. */
	sttcp_conn_unref(conn);
}

PyObject *conn_raise(sttcp_conn *conn, int code)
{
	const char *text = code == sttcp_conn_reason(conn) ? sttcp_conn_fail_text(conn) : NULL;

	if (!text || !*text)
		return raise_code(code, NULL);

	PyObject *made = text_make(text);
	const char *utf8 = made ? PyUnicode_AsUTF8(made) : NULL;

	if (utf8)
		raise_code(code, utf8);
	Py_XDECREF(made);
	return NULL;
}

/* ---------------------------------------------------------------- other calls */

/* Those that take nothing but the connection. None of them waits, but output takes a lock. `note`
 * is told before. */
#define SIMPLE_CALL(name, note)                                                                    \
	static PyObject *conn_##name(conn_object *self, PyObject *unused)                          \
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

static PyObject *conn_pause(conn_object *self, PyObject *unused)
{
	(void)unused;
	return PyLong_FromLong(dialogue_pause(self));
}

static PyObject *conn_resume(conn_object *self, PyObject *unused)
{
	(void)unused;
	return PyLong_FromLong(dialogue_resume(self));
}

/* One of whose handlers waits has one that runs. */
static PyObject *conn_detach_idle(conn_object *self, PyObject *unused)
{
	if (dialogue_waits(self) && dialogue_now() != self->dialogue &&
	    sttcp_conn_is_open(self->conn))
		return PyLong_FromLong(-EBUSY);
	return conn_detach(self, unused);
}

/* Those that take the name of a room, as bytes. */
#define ROOM_CALL(name)                                                                            \
	static PyObject *conn_##name(conn_object *self, PyObject *room)                            \
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

/* With the GIL, so that the last handler, which may come at once, finds the exception there. */
int conn_fail_with(sttcp_conn *conn, conn_object *known, PyObject *exception, const char *text,
		   bool now)
{
	int result;

	if (now)
		result = sttcp_conn_fail_now(conn, STTCP_EHANDLER, "%.200s", text);
	else
		result = sttcp_conn_fail(conn, STTCP_EHANDLER, "%.200s", text);
	if (result < 0)
		return result;
	/* Not before: another thread may end it first, and then a refusal has no last handler. */
	handlers_note_failure(conn);
	if (known && exception) {
		Py_INCREF(exception);
		Py_XSETREF(known->exception, exception);
	}
	return result;
}

static PyObject *conn_fail(conn_object *self, PyObject *args)
{
	PyObject *exception;
	const char *text;
	int now;

	if (!PyArg_ParseTuple(args, "Osp:_fail", &exception, &text, &now))
		return NULL;
	return PyLong_FromLong(conn_fail_with(self->conn, self,
					      exception == Py_None ? NULL : exception, text, now));
}

/* Whether it, or its server or client, was given a function that is the framing. */
static bool has_frame(const conn_object *self)
{
	PyObject *frame = self->owner ? ((group_object *)self->owner)->frame : NULL;

	return self->frame || (frame && frame != Py_None);
}

bool conn_is_framed(const conn_object *self)
{
	if (self->framing != FRAMING_OF_GROUP)
		return self->framing == FRAMING_MESSAGES;
	return self->owner && ((group_object *)self->owner)->framed;
}

static PyObject *conn_set_framing(conn_object *self, PyObject *args)
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
	self->framing = options.framing == STTCP_FRAMING_RAW ? FRAMING_RAW : FRAMING_MESSAGES;
	dialogue_note_framing(self);
	/* Nobody has asked it yet: that takes the GIL. */
	if (frame != Py_None) {
		Py_INCREF(frame);
		Py_XSETREF(self->frame, frame);
	}
	return PyLong_FromLong(result);
}

static PyObject *conn_on_message(conn_object *self, PyObject *function)
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

/* (function, takes_connection, ms, repeats): 0 or an id, or a code; ms below 0 as soon as possible.
 */
static PyObject *conn_give(conn_object *self, PyObject *args)
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

static PyObject *conn_cancel(conn_object *self, PyObject *args)
{
	long long id;

	if (!PyArg_ParseTuple(args, "L:_cancel", &id))
		return NULL;

	int result = tasks_cancel(self->conn, id);

	/* It has come, but waits for a coroutine. */
	if (id > 0 && dialogue_cancel(self, id))
		result = 0;
	return PyLong_FromLong(result);
}

static PyObject *conn_stats(conn_object *self, PyObject *unused)
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

static PyObject *conn_fileno(conn_object *self, PyObject *unused)
{
	(void)unused;
	return PyLong_FromLong(sttcp_conn_fd(self->conn));
}

static PyObject *conn_setsockopt(conn_object *self, PyObject *args)
{
	int level;
	int option;
	int number;
	int result;
	PyObject *value;

	if (!PyArg_ParseTuple(args, "iiO:setsockopt", &level, &option, &value))
		return NULL;
	if (PyLong_Check(value)) {
		number = (int)PyLong_AsLong(value);
		if (number == -1 && PyErr_Occurred())
			return NULL;
		result = setsockopt(sttcp_conn_fd(self->conn), level, option, &number,
				    sizeof(number));
	} else {
		Py_buffer bytes;

		if (PyObject_GetBuffer(value, &bytes, PyBUF_SIMPLE) < 0)
			return NULL;
		result = setsockopt(sttcp_conn_fd(self->conn), level, option, bytes.buf,
				    (socklen_t)bytes.len);
		PyBuffer_Release(&bytes);
	}
	if (result < 0)
		return PyErr_SetFromErrno(PyExc_OSError);
	Py_RETURN_NONE;
}

static PyObject *conn_getsockopt(conn_object *self, PyObject *args)
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
		return PyErr_SetFromErrno(PyExc_OSError);
	return room ? PyBytes_FromStringAndSize(bytes, size) : PyLong_FromLong(number);
}

static PyObject *conn_enter(PyObject *self, PyObject *unused)
{
	(void)unused;
	Py_INCREF(self);
	return self;
}

static PyObject *conn_exit(conn_object *self, PyObject *args)
{
	PyObject *result = conn_close(self, args);

	if (!result)
		return NULL;
	Py_DECREF(result);
	Py_RETURN_NONE;
}

static PyObject *conn_aenter(PyObject *self, PyObject *unused)
{
	(void)unused;
	return wait_done(self);
}

static PyObject *conn_aexit(conn_object *self, PyObject *args)
{
	PyObject *result = conn_exit(self, args);

	if (!result)
		return NULL;
	Py_DECREF(result);
	return wait_done(Py_None);
}

static PyObject *conn_anext(conn_object *self)
{
	return wait_make(self, WAIT_NEXT, 0, self->timeout_ms);
}

/* ---------------------------------------------------------------- attributes */

static PyObject *get_owner(conn_object *self, void *unused)
{
	PyObject *owner = self->owner && !self->dialled ? self->owner : Py_None;

	(void)unused;
	Py_INCREF(owner);
	return owner;
}

static PyObject *get_id(conn_object *self, void *unused)
{
	(void)unused;
	return PyLong_FromUnsignedLongLong(sttcp_conn_id(self->conn));
}

static PyObject *get_is_open(conn_object *self, void *unused)
{
	(void)unused;
	return PyBool_FromLong(sttcp_conn_is_open(self->conn));
}

static PyObject *get_stopping(conn_object *self, void *unused)
{
	(void)unused;
	return PyBool_FromLong(sttcp_conn_stopping(self->conn));
}

static PyObject *get_local(conn_object *self, void *unused)
{
	const char *text = sttcp_conn_local_address(self->conn);

	(void)unused;
	return PyUnicode_DecodeFSDefault(text ? text : "");
}

static PyObject *get_reason(conn_object *self, void *unused)
{
	(void)unused;
	return conn_make_reason(self->conn, sttcp_conn_reason(self->conn), (PyObject *)self);
}

static PyObject *get_fail_text(conn_object *self, void *unused)
{
	const char *text = sttcp_conn_fail_text(self->conn);

	(void)unused;
	return text_make(text ? text : "");
}

static PyObject *get_reason_code(conn_object *self, void *unused)
{
	(void)unused;
	return PyLong_FromLong(sttcp_conn_reason(self->conn));
}

static PyGetSetDef getset[] = {
	{"owner", (getter)get_owner, NULL, "Its Server or Client; None for a dialled one.", NULL},
	{"id", (getter)get_id, NULL,
	 "A number, 1 or more, that is unique among all connections of the process.", NULL},
	{"is_open", (getter)get_is_open, NULL, "Whether it has opened, and not ended.", NULL},
	{"stopping", (getter)get_stopping, NULL,
	 "Whether its server is stopping: a good moment to say goodbye.", NULL},
	{"reason", (getter)get_reason, NULL,
	 "The reason of the end, an exception; None while it is open, and after an orderly close.",
	 NULL},
	{"fail_text", (getter)get_fail_text, NULL,
	 "A text that adds to the reason: that of fail(), or which option ended it and its value,\n"
	 "or what was malformed; '' when there is none.",
	 NULL},
	{"tls", (getter)conn_tls, NULL,
	 "What the two sides have agreed on, a TLSInfo; None without TLS, and before its "
	 "handshake\n"
	 "is over.",
	 NULL},
	{"_code", (getter)get_reason_code, NULL, NULL, NULL},
	{"_local_address", (getter)get_local, NULL, NULL, NULL},
	{NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef members[] = {
	{"address", T_OBJECT_EX, offsetof(conn_object, address), READONLY,
	 "The peer: (host, port); a Unix socket has port 0."},
	{"data", T_OBJECT, offsetof(conn_object, data), 0, "Anything of yours; None at first."},
	{"_timeout_ms", T_INT, offsetof(conn_object, timeout_ms), 0, NULL},
	{NULL, 0, 0, 0, NULL},
};

#define NEVER_BLOCKS ", but never blocks: False when the queue has no room"

static PyMethodDef methods[] = {
	{"sendall", (PyCFunction)(void (*)(void))conn_sendall, METH_FASTCALL,
	 "sendall($self, data, flags=0, /)\n--\n\nSends all of the data as one contiguous run of "
	 "bytes, whoever else sends.\n"
	 "Bytes that the kernel does not accept at once are queued; at the cap (send_queue_max)\n"
	 "it blocks."},
	{"send", (PyCFunction)(void (*)(void))conn_send, METH_FASTCALL,
	 "send($self, data, flags=0, /)\n--\n\nAs sendall; returns the number of bytes, which is "
	 "all of them."},
	{"send_message", (PyCFunction)conn_send_message, METH_O,
	 "send_message($self, data, /)\n--\n\nSends one message, framed the way this connection's "
	 "input is."},
	{"try_send", (PyCFunction)conn_try_send, METH_O,
	 "try_send($self, data, /)\n--\n\nAs sendall" NEVER_BLOCKS ",\nand nothing was sent."},
	{"try_send_message", (PyCFunction)conn_try_send_message, METH_O,
	 "try_send_message($self, data, /)\n--\n\nAs send_message" NEVER_BLOCKS
	 ",\nand nothing was sent."},
	{"sendmsg", (PyCFunction)conn_sendmsg, METH_O,
	 "sendmsg($self, buffers, /)\n--\n\nSends several parts as one contiguous run of bytes."},
	{"try_sendv", (PyCFunction)conn_try_sendv, METH_O,
	 "try_sendv($self, buffers, /)\n--\n\nAs sendmsg" NEVER_BLOCKS
	 "\nfor all parts, and nothing was sent."},
	{"sendv_message", (PyCFunction)conn_sendv_message, METH_O,
	 "sendv_message($self, buffers, /)\n--\n\nAs send_message, for one message that stands in "
	 "several parts."},
	{"recv", (PyCFunction)(void (*)(void))conn_recv, METH_FASTCALL,
	 "recv($self, size, flags=0, /)\n--\n\nReads the next bytes, inside a handler of this "
	 "connection,\n"
	 "or anywhere if it was dialled: b'' at the peer's FIN. Queued output is written first. "
	 "settimeout() limits the wait."},
	{"recv_into", (PyCFunction)conn_recv_into, METH_VARARGS,
	 "recv_into($self, buffer, size=0, flags=0, /)\n--\n\nAs recv, into a buffer."},
	{"recv_message", (PyCFunction)conn_recv_message, METH_NOARGS,
	 "recv_message($self, /)\n--\n\nReads one whole message, as recv does; None\n"
	 "at the peer's FIN."},
	{"_recv_exactly", (PyCFunction)conn_recv_exactly, METH_VARARGS, NULL},
	{"_next_size", (PyCFunction)conn_next_size, METH_VARARGS, NULL},
	{"_on_message", (PyCFunction)conn_on_message, METH_O, NULL},
	{"_close", (PyCFunction)conn_close, METH_NOARGS, NULL},
	{"_abort", (PyCFunction)conn_abort, METH_NOARGS, NULL},
	{"_shutdown", (PyCFunction)conn_shutdown, METH_NOARGS, NULL},
	{"_flush", (PyCFunction)conn_flush, METH_NOARGS, NULL},
	{"_pause", (PyCFunction)conn_pause, METH_NOARGS, NULL},
	{"_resume", (PyCFunction)conn_resume, METH_NOARGS, NULL},
	{"_detach", (PyCFunction)conn_detach_idle, METH_NOARGS, NULL},
	{"_join", (PyCFunction)conn_join, METH_O, NULL},
	{"_leave", (PyCFunction)conn_leave, METH_O, NULL},
	{"_fail", (PyCFunction)conn_fail, METH_VARARGS, NULL},
	{"_set_framing", (PyCFunction)conn_set_framing, METH_VARARGS, NULL},
	{"_give", (PyCFunction)conn_give, METH_VARARGS, NULL},
	{"_cancel", (PyCFunction)conn_cancel, METH_VARARGS, NULL},
	{"_start_tls", (PyCFunction)conn_start_tls, METH_VARARGS, NULL},
	{"_on_turn", (PyCFunction)conn_on_turn, METH_O, NULL},
	{"_stats", (PyCFunction)conn_stats, METH_NOARGS, NULL},
	{"fileno", (PyCFunction)conn_fileno, METH_NOARGS,
	 "fileno($self, /)\n--\n\nThe descriptor, to look at; -1 once it is closed. Do not read or "
	 "write it."},
	{"setsockopt", (PyCFunction)conn_setsockopt, METH_VARARGS,
	 "setsockopt($self, level, option, value, /)\n--\n\nAs socket.socket.setsockopt."},
	{"getsockopt", (PyCFunction)conn_getsockopt, METH_VARARGS,
	 "getsockopt(level, option[, size])\n\nAs socket.socket.getsockopt."},
	{"__aenter__", (PyCFunction)conn_aenter, METH_NOARGS, NULL},
	{"__aexit__", (PyCFunction)conn_aexit, METH_VARARGS, NULL},
	{"__enter__", (PyCFunction)conn_enter, METH_NOARGS, NULL},
	{"__exit__", (PyCFunction)conn_exit, METH_VARARGS, NULL},
	{NULL, NULL, 0, NULL},
};

static PyAsyncMethods as_async = {
	.am_aiter = PyObject_SelfIter,
	.am_anext = (unaryfunc)conn_anext,
};

PyTypeObject conn_type = {
	PyVarObject_HEAD_INIT(NULL, 0).tp_name = "sttcp._sttcp.ConnectionBase",
	.tp_basicsize = sizeof(conn_object),
	.tp_dealloc = (destructor)dealloc,
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
	.tp_doc = "A connection; created by a server or a client only.",
	.tp_traverse = (traverseproc)traverse,
	.tp_clear = (inquiry)clear,
	.tp_as_async = &as_async,
	.tp_weaklistoffset = offsetof(conn_object, weakrefs),
	.tp_methods = methods,
	.tp_members = members,
	.tp_getset = getset,
};
