/* SPDX-License-Identifier: MIT */
/*
 * The type that Python's Server and Client derive from: the calls, as they are. What they mean in
 * Python - exceptions, seconds, waiting that Ctrl+C can interrupt, staying alive while started - is
 * Python's.
 */
#include "handlers.h"

#include <errno.h>

static int group_init(group_object *self, PyObject *args, PyObject *kwargs)
{
	int is_client;
	PyObject *host;
	int port;
	PyObject *dictionary;
	PyObject *frame;
	sttcp_options options;

	(void)kwargs;
	/* The name of a socket's file may be any bytes. */
	if (!PyArg_ParseTuple(args, "pO&iO!O:GroupBase", &is_client, PyUnicode_FSConverter, &host,
			      &port, &PyDict_Type, &dictionary, &frame))
		return -1;
	if (self->binding) {
		PyErr_SetString(PyExc_RuntimeError, "it is made already");
		goto failed;
	}
	if (options_read(dictionary, &options) < 0)
		goto failed;
	self->reconnects = options.reconnect_ms > 0;
	self->max_message = options.max_message;
	self->framed = options.framing != STTCP_FRAMING_RAW;
	options.frame_fn = frame == Py_None ? NULL : frames_ask;
	Py_INCREF(frame);
	Py_XSETREF(self->frame, frame);
	self->disconnection_args = 2;
	self->unconnected_args = 2;
	self->binding = PyMem_RawCalloc(1, sizeof(*self->binding));
	if (!self->binding)
		goto no_memory;
	pthread_mutex_init(&self->binding->lock, NULL);
	self->binding->group = self;
	self->binding->is_client = is_client;
	self->binding->half_close = options.half_close;
	if (is_client)
		self->client = sttcp_client_new(PyBytes_AS_STRING(host), port, &options);
	else
		self->server = sttcp_server_new(PyBytes_AS_STRING(host), port, &options);
	if (!self->client && !self->server)
		goto no_memory;
	handlers_set(self);
	Py_DECREF(host);
	return 0;

no_memory:
	PyMem_RawFree(self->binding);
	self->binding = NULL;
	PyErr_NoMemory();
failed:
	Py_DECREF(host);
	return -1;
}

static int traverse(group_object *self, visitproc visit, void *arg)
{
	for (int i = 0; i < SLOT_COUNT; i++)
		Py_VISIT(self->handlers[i]);
	Py_VISIT(self->frame);
	return 0;
}

static int clear(group_object *self)
{
	for (int i = 0; i < SLOT_COUNT; i++)
		Py_CLEAR(self->handlers[i]);
	Py_CLEAR(self->frame);
	Py_CLEAR(self->last_host);
	return 0;
}

/* A handler that was held up until now finds the binding without its object. */
static void dealloc(group_object *self)
{
	sttcp_server *server = self->server;
	sttcp_client *client = self->client;

	PyObject_GC_UnTrack(self);
	if (self->weakrefs)
		PyObject_ClearWeakRefs((PyObject *)self);
	if (self->binding)
		self->binding->group = NULL;
	clear(self);
	Py_TYPE(self)->tp_free((PyObject *)self);
	if (!server && !client)
		return;
	Py_BEGIN_ALLOW_THREADS
	sttcp_server_free(server);
	sttcp_client_free(client);
	Py_END_ALLOW_THREADS
}

static int check(const group_object *self)
{
	if (self->binding)
		return 0;
	PyErr_SetString(PyExc_RuntimeError, "__init__() was not called");
	return -1;
}

static int check_server(const group_object *self)
{
	if (check(self) < 0)
		return -1;
	if (self->server)
		return 0;
	PyErr_SetString(PyExc_TypeError, "a client has no such method");
	return -1;
}

static int check_client(const group_object *self)
{
	if (check(self) < 0)
		return -1;
	if (self->client)
		return 0;
	PyErr_SetString(PyExc_TypeError, "a server has no such method");
	return -1;
}

static PyObject *group_set_handler(group_object *self, PyObject *args)
{
	int slot;
	int nargs;
	PyObject *handler;

	if (!PyArg_ParseTuple(args, "iOi:_set_handler", &slot, &handler, &nargs) || check(self) < 0)
		return NULL;
	if (slot < 0 || slot >= SLOT_COUNT) {
		PyErr_SetString(PyExc_ValueError, "no such handler");
		return NULL;
	}
	if (slot == SLOT_DISCONNECTION)
		self->disconnection_args = nargs;
	if (slot == SLOT_UNCONNECTED)
		self->unconnected_args = nargs;
	if (handler == Py_None) {
		atomic_fetch_and(&self->binding->slots, ~(1U << slot));
		Py_CLEAR(self->handlers[slot]);
	} else {
		Py_INCREF(handler);
		Py_XSETREF(self->handlers[slot], handler);
		atomic_fetch_or(&self->binding->slots, 1U << slot);
	}
	Py_RETURN_NONE;
}

static PyObject *group_get_handler(group_object *self, PyObject *number)
{
	long slot = PyLong_AsLong(number);

	if (slot < 0 || slot >= SLOT_COUNT) {
		if (!PyErr_Occurred())
			PyErr_SetString(PyExc_ValueError, "no such handler");
		return NULL;
	}

	PyObject *handler = self->handlers[slot] ? self->handlers[slot] : Py_None;

	Py_INCREF(handler);
	return handler;
}

/* 1 for a start inside the client's own last handler: the run goes on. */
static PyObject *group_start(group_object *self, PyObject *unused)
{
	int result;

	(void)unused;
	if (check(self) < 0)
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	result = self->client ? sttcp_client_start(self->client) : sttcp_server_start(self->server);
	Py_END_ALLOW_THREADS
	if (result < 0 || self->last_thread != PyThread_get_thread_ident())
		return PyLong_FromLong(result);
	self->restarted = true;
	return PyLong_FromLong(1);
}

static PyObject *group_stop(group_object *self, PyObject *args)
{
	sttcp_stop_report report = {0};
	int timeout_ms;
	int result;

	if (!PyArg_ParseTuple(args, "i:_stop", &timeout_ms) || check(self) < 0)
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	result = self->client ? sttcp_client_close(self->client)
			      : sttcp_server_stop_within(self->server, timeout_ms, &report);
	Py_END_ALLOW_THREADS
	return Py_BuildValue("(iLLL)", result, (long long)report.ended, (long long)report.forced,
			     (long long)report.running);
}

static PyObject *group_request_stop(group_object *self, PyObject *unused)
{
	(void)unused;
	if (check_server(self) < 0)
		return NULL;
	return PyLong_FromLong(sttcp_server_request_stop(self->server));
}

static PyObject *group_wait(group_object *self, PyObject *args)
{
	int timeout_ms;
	int result;

	if (!PyArg_ParseTuple(args, "i:_wait", &timeout_ms) || check(self) < 0)
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	result = self->client ? sttcp_client_wait(self->client, timeout_ms)
			      : sttcp_server_wait(self->server, timeout_ms);
	Py_END_ALLOW_THREADS
	return PyLong_FromLong(result);
}

static PyObject *group_wait_open(group_object *self, PyObject *args)
{
	int timeout_ms;
	int result;

	if (!PyArg_ParseTuple(args, "i:_wait_open", &timeout_ms) || check_client(self) < 0)
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	result = sttcp_client_wait_open(self->client, timeout_ms);
	Py_END_ALLOW_THREADS
	return PyLong_FromLong(result);
}

/* On the open connection: the code, and -ETIMEDOUT when there is none. */
static PyObject *group_send(group_object *self, PyObject *args)
{
	Py_buffer bytes;
	int framed;
	int result;

	if (!PyArg_ParseTuple(args, "y*p:_send", &bytes, &framed))
		return NULL;
	if (check_client(self) < 0) {
		PyBuffer_Release(&bytes);
		return NULL;
	}
	Py_BEGIN_ALLOW_THREADS
	result = framed ? sttcp_client_send_message(self->client, bytes.buf, (size_t)bytes.len, 0)
			: sttcp_client_send(self->client, bytes.buf, (size_t)bytes.len, 0);
	Py_END_ALLOW_THREADS
	PyBuffer_Release(&bytes);
	return PyLong_FromLong(result);
}

/* The same, if that need not wait for room: whether it was sent. */
static PyObject *group_try_send(group_object *self, PyObject *args)
{
	Py_buffer bytes;
	int framed;
	int result = -ENOTCONN;

	if (!PyArg_ParseTuple(args, "y*p:_try_send", &bytes, &framed))
		return NULL;
	if (check_client(self) < 0) {
		PyBuffer_Release(&bytes);
		return NULL;
	}
	Py_BEGIN_ALLOW_THREADS
	sttcp_conn *conn = sttcp_client_conn(self->client);

	if (conn)
		result = framed ? sttcp_conn_try_send_message(conn, bytes.buf, (size_t)bytes.len)
				: sttcp_conn_try_send(conn, bytes.buf, (size_t)bytes.len);
	sttcp_conn_unref(conn);
	Py_END_ALLOW_THREADS
	PyBuffer_Release(&bytes);
	return PyBool_FromLong(result == 0);
}

/* (is_connected, this end's address), of a client. */
static PyObject *group_current(group_object *self, PyObject *unused)
{
	char local[sizeof(self->binding->local)];
	bool is_connected;

	(void)unused;
	if (check_client(self) < 0)
		return NULL;
	pthread_mutex_lock(&self->binding->lock);
	memcpy(local, self->binding->local, sizeof(local));
	is_connected = self->binding->is_connected;
	pthread_mutex_unlock(&self->binding->lock);
	return Py_BuildValue("(Ns)", PyBool_FromLong(is_connected), local);
}

static PyObject *group_error(group_object *self, PyObject *unused)
{
	const char *text;

	(void)unused;
	if (check(self) < 0)
		return NULL;
	text = self->client ? sttcp_client_error(self->client) : sttcp_server_error(self->server);
	return PyUnicode_DecodeFSDefault(text ? text : "");
}

static PyObject *group_port(group_object *self, PyObject *unused)
{
	(void)unused;
	if (check_server(self) < 0)
		return NULL;
	return PyLong_FromLong(sttcp_server_port(self->server));
}

static PyObject *group_add_address(group_object *self, PyObject *args)
{
	PyObject *host = NULL;
	int port;
	int result;

	if (!PyArg_ParseTuple(args, "O&i:_add_address", PyUnicode_FSConverter, &host, &port))
		return NULL;
	if (check_server(self) < 0) {
		Py_DECREF(host);
		return NULL;
	}
	Py_BEGIN_ALLOW_THREADS
	result = sttcp_server_add_address(self->server, PyBytes_AS_STRING(host), port);
	Py_END_ALLOW_THREADS
	Py_DECREF(host);
	return PyLong_FromLong(result);
}

static PyObject *group_add_listener(group_object *self, PyObject *args)
{
	int fd;
	int result;

	if (!PyArg_ParseTuple(args, "i:_add_listener", &fd) || check_server(self) < 0)
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	result = sttcp_server_add_listener(self->server, fd);
	Py_END_ALLOW_THREADS
	return PyLong_FromLong(result);
}

static PyObject *group_addresses(group_object *self, PyObject *unused)
{
	(void)unused;
	if (check_server(self) < 0)
		return NULL;

	PyObject *list = PyList_New(0);
	const char *text;

	for (int i = 0; list && (text = sttcp_server_address(self->server, i)); i++) {
		PyObject *address = PyUnicode_DecodeFSDefault(text);

		if (!address || PyList_Append(list, address) < 0)
			Py_CLEAR(list);
		Py_XDECREF(address);
	}
	return list;
}

/* ---------------------------------------------------------------- members */

/* The name of a room, which is the object's; NULL for None, which is all connections. */
static int read_room(PyObject *room, const char **name)
{
	char *bytes = NULL;

	if (room != Py_None && PyBytes_AsStringAndSize(room, &bytes, NULL) < 0)
		return -1;
	*name = bytes;
	return 0;
}

static int broadcast(sttcp_server *server, const char *room, sttcp_conn *except,
		     const Py_buffer *bytes, bool framed)
{
	const void *data = bytes->buf;
	size_t size = (size_t)bytes->len;

	if (room && framed)
		return sttcp_server_send_room_message(server, room, except, data, size);
	if (room)
		return sttcp_server_send_room(server, room, except, data, size);
	if (framed)
		return sttcp_server_broadcast_message(server, except, data, size);
	return sttcp_server_broadcast_except(server, except, data, size);
}

static PyObject *group_broadcast(group_object *self, PyObject *args)
{
	Py_buffer bytes;
	PyObject *except;
	PyObject *room = Py_None;
	const char *name;
	int framed;
	int result;

	if (!PyArg_ParseTuple(args, "y*Op|O:_broadcast", &bytes, &except, &framed, &room))
		return NULL;

	sttcp_conn *excepted = NULL;

	if (check_server(self) < 0 || read_room(room, &name) < 0) {
		PyBuffer_Release(&bytes);
		return NULL;
	}
	if (except != Py_None) {
		if (!PyObject_TypeCheck(except, &conn_type)) {
			PyBuffer_Release(&bytes);
			PyErr_SetString(PyExc_TypeError, "exclude must be a Connection");
			return NULL;
		}
		excepted = ((conn_object *)except)->conn;
	}
	Py_BEGIN_ALLOW_THREADS
	result = broadcast(self->server, name, excepted, &bytes, framed);
	Py_END_ALLOW_THREADS
	PyBuffer_Release(&bytes);
	return result < 0 ? raise_code(result, NULL) : PyLong_FromLong(result);
}

struct members {
	sttcp_conn **conns;
	size_t count;
	size_t room;
	bool failed;
};

/* Without the GIL. */
static void keep_member(sttcp_conn *conn, void *argument)
{
	struct members *members = argument;

	if (members->count == members->room) {
		size_t room = members->room * 2 + 16;
		sttcp_conn **more = PyMem_RawRealloc(members->conns, room * sizeof(sttcp_conn *));

		if (!more) {
			members->failed = true;
			return;
		}
		members->conns = more;
		members->room = room;
	}
	members->conns[members->count++] = sttcp_conn_ref(conn);
}

static PyObject *group_connections(group_object *self, PyObject *args)
{
	struct members members = {0};
	PyObject *room = Py_None;
	const char *name;

	if (!PyArg_ParseTuple(args, "|O:_connections", &room) || check_server(self) < 0 ||
	    read_room(room, &name) < 0)
		return NULL;

	int result;

	Py_BEGIN_ALLOW_THREADS
	if (name)
		result = sttcp_server_each_in(self->server, name, keep_member, &members);
	else
		result = sttcp_server_each(self->server, keep_member, &members);
	Py_END_ALLOW_THREADS
	if (result < 0)
		return raise_code(result, NULL);

	PyObject *list = members.failed ? PyErr_NoMemory() : PyList_New((Py_ssize_t)members.count);

	for (size_t i = 0; list && i < members.count; i++) {
		PyObject *wrapped = conn_wrap(members.conns[i], (PyObject *)self, &self->last_host);

		if (wrapped)
			PyList_SET_ITEM(list, (Py_ssize_t)i, wrapped);
		else
			Py_CLEAR(list);
	}
	for (size_t i = 0; i < members.count; i++)
		sttcp_conn_unref(members.conns[i]);
	PyMem_RawFree(members.conns);
	return list;
}

/* Wraps a reference that is ours. */
static PyObject *wrap_taken(group_object *self, sttcp_conn *conn)
{
	if (!conn)
		Py_RETURN_NONE;

	PyObject *wrapped = conn_wrap(conn, (PyObject *)self, &self->last_host);

	sttcp_conn_unref(conn);
	return wrapped;
}

static PyObject *group_find(group_object *self, PyObject *number)
{
	unsigned long long id = PyLong_AsUnsignedLongLong(number);

	if ((id == (unsigned long long)-1 && PyErr_Occurred()) || check_server(self) < 0)
		return NULL;
	return wrap_taken(self, sttcp_server_find(self->server, id));
}

static PyObject *group_connection(group_object *self, PyObject *unused)
{
	(void)unused;
	if (check_client(self) < 0)
		return NULL;
	return wrap_taken(self, sttcp_client_conn(self->client));
}

static PyObject *group_count(group_object *self, PyObject *unused)
{
	(void)unused;
	if (check_server(self) < 0)
		return NULL;

	int count = sttcp_server_count(self->server);

	return count < 0 ? raise_code(count, NULL) : PyLong_FromLong(count);
}

static PyObject *group_count_in(group_object *self, PyObject *room)
{
	const char *name = PyBytes_AsString(room);

	if (!name || check_server(self) < 0)
		return NULL;

	int count = sttcp_server_count_in(self->server, name);

	return count < 0 ? raise_code(count, NULL) : PyLong_FromLong(count);
}

static PyObject *group_stats(group_object *self, PyObject *unused)
{
	sttcp_stats stats = {0};
	int result;

	(void)unused;
	if (check_server(self) < 0)
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	result = sttcp_server_stats(self->server, &stats, sizeof(stats));
	Py_END_ALLOW_THREADS
	if (result < 0)
		return raise_code(result, NULL);

#define COUNTER(name) #name, (long long)stats.name
	return Py_BuildValue("{sLsLsLsLsLsLsLsLsLsLsLsLsLsLsLsLsLsLsLsLsLsL}", COUNTER(connections),
			     COUNTER(total), COUNTER(declined), COUNTER(failed), COUNTER(bytes_in),
			     COUNTER(bytes_out), COUNTER(messages_in), COUNTER(messages_out),
			     COUNTER(queued), COUNTER(threads), COUNTER(threads_blocked),
			     COUNTER(takeovers), COUNTER(longest_ms), COUNTER(longest_id),
			     COUNTER(accept_pauses), COUNTER(over_connections),
			     COUNTER(over_per_ip), COUNTER(over_rate), COUNTER(thread_cap_hits),
			     COUNTER(tls_failed), COUNTER(fibers), COUNTER(fibers_waiting));
#undef COUNTER
}

static PyMethodDef methods[] = {
	{"_set_handler", (PyCFunction)group_set_handler, METH_VARARGS, NULL},
	{"_get_handler", (PyCFunction)group_get_handler, METH_O, NULL},
	{"_start", (PyCFunction)group_start, METH_NOARGS, NULL},
	{"_stop", (PyCFunction)group_stop, METH_VARARGS, NULL},
	{"_request_stop", (PyCFunction)group_request_stop, METH_NOARGS, NULL},
	{"_wait", (PyCFunction)group_wait, METH_VARARGS, NULL},
	{"_wait_open", (PyCFunction)group_wait_open, METH_VARARGS, NULL},
	{"_send", (PyCFunction)group_send, METH_VARARGS, NULL},
	{"_try_send", (PyCFunction)group_try_send, METH_VARARGS, NULL},
	{"_current", (PyCFunction)group_current, METH_NOARGS, NULL},
	{"_error", (PyCFunction)group_error, METH_NOARGS, NULL},
	{"_port", (PyCFunction)group_port, METH_NOARGS, NULL},
	{"_add_address", (PyCFunction)group_add_address, METH_VARARGS, NULL},
	{"_add_listener", (PyCFunction)group_add_listener, METH_VARARGS, NULL},
	{"_addresses", (PyCFunction)group_addresses, METH_NOARGS, NULL},
	{"_broadcast", (PyCFunction)group_broadcast, METH_VARARGS, NULL},
	{"_connections", (PyCFunction)group_connections, METH_VARARGS, NULL},
	{"_connection", (PyCFunction)group_connection, METH_NOARGS, NULL},
	{"_count", (PyCFunction)group_count, METH_NOARGS, NULL},
	{"_count_in", (PyCFunction)group_count_in, METH_O, NULL},
	{"_find", (PyCFunction)group_find, METH_O, NULL},
	{"_stats", (PyCFunction)group_stats, METH_NOARGS, NULL},
	{NULL, NULL, 0, NULL},
};

PyTypeObject group_type = {
	PyVarObject_HEAD_INIT(NULL, 0).tp_name = "sttcp._sttcp.GroupBase",
	.tp_basicsize = sizeof(group_object),
	.tp_dealloc = (destructor)dealloc,
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
	.tp_doc = "What Server and Client have in common.",
	.tp_traverse = (traverseproc)traverse,
	.tp_clear = (inquiry)clear,
	.tp_weaklistoffset = offsetof(group_object, weakrefs),
	.tp_methods = methods,
	.tp_init = (initproc)group_init,
	.tp_new = PyType_GenericNew,
};
