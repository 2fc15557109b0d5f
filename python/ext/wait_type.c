/* SPDX-License-Identifier: MIT */
/* The type of what is awaited: how it is made, stepped by Python and freed; and the functions of
 * the module that make one. */
#include "dialogue.h"
#include "far.h"

/* Of every send that is over: it has no state. */
static PyObject *done;

PyObject *wait_make(conn_object *conn, enum wait_kind kind, Py_ssize_t size, int timeout_ms)
{
	wait_object *self = PyObject_GC_New(wait_object, &wait_type);

	if (!self)
		return NULL;
	Py_XINCREF(conn);
	self->conn = conn;
	self->value = NULL;
	self->size = size;
	self->timeout_ms = timeout_ms;
	self->code = 0;
	self->kind = (unsigned char)kind;
	self->state = NEW;
	self->way = SEND;
	self->entered = false;
	self->tries = false;
	self->tries_again = false;
	self->listed = false;
	self->waiter = NULL;
	self->far = NULL;
	self->behind = NULL;
	PyObject_GC_Track(self);
	return (PyObject *)self;
}

PyObject *wait_done(PyObject *value)
{
	if (value == Py_None) {
		Py_INCREF(done);
		return done;
	}

	PyObject *made = wait_make(NULL, WAIT_NOT, 0, -1);

	if (made) {
		Py_INCREF(value);
		((wait_object *)made)->value = value;
	}
	return made;
}

/* ---------------------------------------------------------------- the type */

static PyObject *next(wait_object *self)
{
	PyObject *value;

	if (wait_step(self, &value) == YIELDS || !value)
		return value;
	/* None needs no exception. */
	if (value != Py_None)
		PyErr_SetObject(PyExc_StopIteration, value);
	Py_DECREF(value);
	return NULL;
}

#if PY_VERSION_HEX >= 0x030a0000
static PySendResult send_to(wait_object *self, PyObject *unused, PyObject **value)
{
	(void)unused;
	if (wait_step(self, value) == YIELDS)
		return PYGEN_NEXT;
	return *value ? PYGEN_RETURN : PYGEN_ERROR;
}
#endif

static int traverse(wait_object *self, visitproc visit, void *arg)
{
	Py_VISIT(self->conn);
	Py_VISIT(self->value);
	Py_VISIT(self->waiter);
	Py_VISIT(self->far);
	return 0;
}

static int clear(wait_object *self)
{
	far_give_up(self);
	Py_CLEAR(self->conn);
	Py_CLEAR(self->value);
	Py_CLEAR(self->waiter);
	Py_CLEAR(self->far);
	return 0;
}

static void warn(wait_object *self)
{
	static const char *const names[] = {
		[WAIT_RECV] = "recv",
		[WAIT_EXACTLY] = "recv_exactly",
		[WAIT_MESSAGE] = "recv_message",
		[WAIT_NEXT] = "__anext__",
		[WAIT_SIZE] = "next_size",
		[WAIT_ROOM] = "a send at the cap",
		[WAIT_TIME] = "sleep",
		[WAIT_CALL] = "start_tls",
		[WAIT_DIAL] = "dial",
	};
	PyObject *type;
	PyObject *value;
	PyObject *traceback;

	PyErr_Fetch(&type, &value, &traceback);
	if (PyErr_WarnFormat(PyExc_RuntimeWarning, 1, "%s was never awaited", names[self->kind]) <
	    0)
		PyErr_WriteUnraisable((PyObject *)&wait_type);
	PyErr_Restore(type, value, traceback);
}

static void dealloc(wait_object *self)
{
	PyObject_GC_UnTrack(self);
	if (self->state == NEW && self->kind != WAIT_NOT)
		warn(self);
	clear(self);
	PyObject_GC_Del(self);
}

/* async with sttcp.dial(...) as connection: it is awaited, and closed in the end. */
static PyObject *enter(wait_object *self, PyObject *unused)
{
	bool of_dial = self->kind == WAIT_DIAL ||
		       (self->kind == WAIT_NOT && PyObject_TypeCheck(self->value, &conn_type));

	(void)unused;
	if (!of_dial) {
		PyErr_SetString(PyExc_TypeError, "it is to be awaited");
		return NULL;
	}
	self->entered = true;
	Py_INCREF(self);
	return (PyObject *)self;
}

static PyObject *leave(wait_object *self, PyObject *args)
{
	PyObject *made = self->kind == WAIT_NOT ? self->value : self->far;

	(void)args;
	if (made && PyObject_TypeCheck(made, &conn_type)) {
		PyObject *closed = PyObject_CallMethod(made, "close", NULL);

		if (!closed)
			return NULL;
		Py_DECREF(closed);
	}
	return wait_done(Py_None);
}

static PyMethodDef methods[] = {
	{"__aenter__", (PyCFunction)enter, METH_NOARGS, NULL},
	{"__aexit__", (PyCFunction)leave, METH_VARARGS, NULL},
	{NULL, NULL, 0, NULL},
};

static PyAsyncMethods as_async = {
	.am_await = PyObject_SelfIter,
#if PY_VERSION_HEX >= 0x030a0000
	.am_send = (sendfunc)send_to,
#endif
};

PyTypeObject wait_type = {
	PyVarObject_HEAD_INIT(NULL, 0).tp_name = "sttcp._sttcp.Wait",
	.tp_basicsize = sizeof(wait_object),
	.tp_dealloc = (destructor)dealloc,
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
	.tp_doc = "What a method of a connection returns in a coroutine: to be awaited.",
	.tp_as_async = &as_async,
	.tp_traverse = (traverseproc)traverse,
	.tp_clear = (inquiry)clear,
	.tp_iter = PyObject_SelfIter,
	.tp_iternext = (iternextfunc)next,
	.tp_methods = methods,
};

/* ---------------------------------------------------------------- functions */

/* None outside coroutines. */
static PyObject *sleep_function(PyObject *module, PyObject *number)
{
	long ms = PyLong_AsLong(number);

	(void)module;
	if (ms == -1 && PyErr_Occurred())
		return NULL;
	if (!dialogue_now())
		Py_RETURN_NONE;
	return wait_make(NULL, WAIT_TIME, 0, (int)ms);
}

static PyObject *slept(PyObject *module, PyObject *unused)
{
	(void)module;
	(void)unused;
	return wait_done(Py_None);
}

/* None outside coroutines; whether one can be parked here. */
static PyObject *awaits(PyObject *module, PyObject *unused)
{
	(void)module;
	(void)unused;
	if (!dialogue_now())
		Py_RETURN_NONE;
	return PyBool_FromLong(dialogue_now()->conn != NULL);
}

static PyObject *done_with(PyObject *module, PyObject *value)
{
	(void)module;
	return wait_done(value);
}

static PyMethodDef functions[] = {
	{"_awaits", awaits, METH_NOARGS, NULL},
	{"_done", done_with, METH_O, NULL},
	{"_sleep", sleep_function, METH_O, NULL},
	{"_slept", slept, METH_NOARGS, NULL},
	{NULL, NULL, 0, NULL},
};

int waits_init(PyObject *module)
{
	if (PyType_Ready(&wait_type) < 0)
		return -1;
	done = wait_make(NULL, WAIT_NOT, 0, -1);
	if (!done)
		return -1;
	Py_INCREF(Py_None);
	((wait_object *)done)->value = Py_None;
	return PyModule_AddFunctions(module, functions);
}
