/* SPDX-License-Identifier: MIT */
/*
 * The type that Python's Server and Client derive from: made and freed, its handlers, the table of
 * its calls. These are the library's as they are. What they mean in Python - exceptions, seconds,
 * waiting that Ctrl+C can interrupt, staying alive while started - is Python's.
 */
#include "group_methods.h"
#include "handlers.h"

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
	self->secure = options.tls != NULL;
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

bool group_is_made(const group_object *self)
{
	if (self->binding)
		return true;
	PyErr_SetString(PyExc_RuntimeError, "__init__() was not called");
	return false;
}

bool group_is_server(const group_object *self)
{
	if (!group_is_made(self))
		return false;
	if (self->server)
		return true;
	PyErr_SetString(PyExc_TypeError, "a client has no such method");
	return false;
}

bool group_is_client(const group_object *self)
{
	if (!group_is_made(self))
		return false;
	if (self->client)
		return true;
	PyErr_SetString(PyExc_TypeError, "a server has no such method");
	return false;
}

static PyObject *group_set_handler(group_object *self, PyObject *args)
{
	int slot;
	int nargs;
	PyObject *handler;

	if (!PyArg_ParseTuple(args, "iOi:_set_handler", &slot, &handler, &nargs) ||
	    !group_is_made(self))
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
