/* SPDX-License-Identifier: MIT */
/* The type of connections: what socket.socket has where that makes sense, and what the library has
 * beyond it. Its attributes, its blocks of `with`, and the table of its methods. */
#include "conn_methods.h"
#include "dialogue.h"

#include <structmember.h>

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

/* Whether its methods are, where this is called. */
static PyObject *conn_is_awaited(const conn_object *self, PyObject *unused)
{
	(void)unused;
	return PyBool_FromLong(dialogue_has(self));
}

/* ---------------------------------------------------------------- attributes */

static PyObject *get_owner(conn_object *self, void *unused)
{
	PyObject *owner = self->owner && !self->dialled ? self->owner : Py_None;

	(void)unused;
	Py_INCREF(owner);
	return owner;
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
	return text ? PyUnicode_DecodeFSDefault(text) : conn_raise(self->conn, STTCP_EFORK);
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
	{"id", T_ULONGLONG, offsetof(conn_object, id), READONLY,
	 "A number, 1 or more, that is unique among all connections of the process."},
	{"data", T_OBJECT, offsetof(conn_object, data), 0, "Anything of yours; None at first."},
	{"_timeout_ms", T_INT, offsetof(conn_object, timeout_ms), 0, NULL},
	{NULL, 0, 0, 0, NULL},
};

/* ---------------------------------------------------------------- the table */

#define NEVER_BLOCKS ", but never blocks: False when the queue has no room"

static PyMethodDef methods[] = {
	{"sendall", (PyCFunction)(void (*)(void))conn_sendall, METH_FASTCALL,
	 "sendall($self, data, flags=0, /)\n--\n\nSends all of the data as one contiguous run of "
	 "bytes, whoever else sends.\n"
	 "Bytes that the kernel does not accept at once are queued; at the cap (send_queue_max)\n"
	 "it blocks. flags: MSG_NOSIGNAL and MSG_MORE change nothing, others are refused."},
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
	 "settimeout() limits the wait.\n"
	 "There are no flags: others than 0 are refused."},
	{"recv_into", (PyCFunction)conn_recv_into, METH_VARARGS,
	 "recv_into($self, buffer, size=0, flags=0, /)\n--\n\nAs recv, into a buffer."},
	{"recv_message", (PyCFunction)conn_recv_message, METH_NOARGS,
	 "recv_message($self, /)\n--\n\nReads one whole message, as recv does; None\n"
	 "at the peer's FIN. With framing 'raw': all bytes that are there, which is what\n"
	 "next_size() tells."},
	{"_recv_exactly", (PyCFunction)conn_recv_exactly, METH_VARARGS, NULL},
	{"_next_size", (PyCFunction)conn_next_size, METH_VARARGS, NULL},
	{"_send_waiting", (PyCFunction)conn_send_waiting, METH_VARARGS, NULL},
	{"_is_awaited", (PyCFunction)conn_is_awaited, METH_NOARGS, NULL},
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
	.tp_dealloc = (destructor)conn_dealloc,
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
	.tp_doc = "A connection; created by a server or a client only.",
	.tp_traverse = (traverseproc)conn_traverse,
	.tp_clear = (inquiry)conn_clear,
	.tp_as_async = &as_async,
	.tp_weaklistoffset = offsetof(conn_object, weakrefs),
	.tp_methods = methods,
	.tp_members = members,
	.tp_getset = getset,
};
