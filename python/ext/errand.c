/* SPDX-License-Identifier: MIT */
/* Errands: what is wanted of a connection that a coroutine has dialled, run on that connection's
 * own turn, as a coroutine that awaits one thing and tells what that has come to (far.c says to
 * whom). */
#include "errand.h"
#include "dialogue.h"
#include "far.h"

#include <errno.h>
#include <unistd.h>

static bool is_wanted(const errand_object *self)
{
	return self->outer || self->fd >= 0;
}

/* What nobody wants any more stays to be read. Takes the reference. */
static void put_back(errand_object *self, PyObject *value)
{
	if (value && PyBytes_Check(value) && sttcp_conn_is_open(self->conn->conn))
		dialogue_put_back(self->conn, value);
	else
		Py_XDECREF(value);
}

/* It has come to that, or, if `value` is NULL, the exception is set. Takes the reference. */
static void finish(errand_object *self, PyObject *value)
{
	PyObject *exception = value ? NULL : take_exception();
	wait_object *outer = self->outer;
	uint64_t one = 1;

	self->over = true;
	self->outer = NULL;
	if (outer) {
		/* Whose coroutine may have come to its end by the time that it is woken. */
		Py_INCREF(outer);
		if (value)
			wait_give(outer, value);
		else
			wait_raise(outer, exception);
		far_wake(outer);
		Py_DECREF(outer);
	} else if (self->fd >= 0) {
		self->value = value;
		self->exception = exception;
		/* A count that is full is one that tells. */
		if (write(self->fd, &one, sizeof(one)) < 0)
			return;
	} else {
		put_back(self, value);
		Py_XDECREF(exception);
	}
}

static enum outcome step(errand_object *self, PyObject **value)
{
	if (wait_step(self->inner, value) == YIELDS)
		return YIELDS;
	finish(self, *value);
	Py_INCREF(Py_None);
	*value = Py_None;
	return RETURNS;
}

#if PY_VERSION_HEX >= 0x030a0000
static PySendResult send_to(errand_object *self, PyObject *unused, PyObject **value)
{
	(void)unused;
	return step(self, value) == YIELDS ? PYGEN_NEXT : PYGEN_RETURN;
}
#endif

/* As that of a coroutine. */
static PyObject *send_method(errand_object *self, PyObject *unused)
{
	PyObject *value;

	(void)unused;
	if (step(self, &value) == YIELDS)
		return value;
	Py_DECREF(value);
	PyErr_SetNone(PyExc_StopIteration);
	return NULL;
}

static PyObject *close_method(errand_object *self, PyObject *unused)
{
	(void)unused;
	if (!self->over) {
		conn_raise(self->conn->conn, STTCP_ECLOSED);
		finish(self, NULL);
	}
	Py_RETURN_NONE;
}

static void errand_dealloc(errand_object *self)
{
	wait_spend(self->inner);
	Py_DECREF(self->inner);
	Py_DECREF(self->conn);
	Py_XDECREF(self->value);
	Py_XDECREF(self->exception);
	PyObject_Free(self);
}

static PyMethodDef errand_methods[] = {
	{"send", (PyCFunction)send_method, METH_O, NULL},
	{"close", (PyCFunction)close_method, METH_NOARGS, NULL},
	{NULL, NULL, 0, NULL},
};

static PyAsyncMethods errand_async = {
	.am_await = PyObject_SelfIter,
#if PY_VERSION_HEX >= 0x030a0000
	.am_send = (sendfunc)send_to,
#endif
};

PyTypeObject errand_type = {
	PyVarObject_HEAD_INIT(NULL, 0).tp_name = "sttcp._sttcp.Errand",
	.tp_basicsize = sizeof(errand_object),
	.tp_dealloc = (destructor)errand_dealloc,
	.tp_flags = Py_TPFLAGS_DEFAULT,
	.tp_doc = "What a coroutine, or a thread, waits for on a connection that it has dialled.",
	.tp_as_async = &errand_async,
	.tp_methods = errand_methods,
};

errand_object *errand_make(conn_object *conn, enum wait_kind kind, Py_ssize_t size, int timeout_ms)
{
	PyObject *inner = wait_make(conn, kind, size, timeout_ms);
	errand_object *self = inner ? PyObject_New(errand_object, &errand_type) : NULL;

	if (!self) {
		Py_XDECREF(inner);
		return NULL;
	}
	Py_INCREF(conn);
	self->conn = conn;
	self->inner = (wait_object *)inner;
	self->outer = NULL;
	self->fd = -1;
	self->begun = false;
	self->over = false;
	self->value = NULL;
	self->exception = NULL;
	return self;
}

/* What is to be called. */
void errand_pass_value(errand_object *self, PyObject *value)
{
	Py_XINCREF(value);
	self->inner->value = value;
}

/* ---------------------------------------------------------------- on the connection's turn */

/* One that nobody wants may wait still: errand_recall. */
static void end_recalled(conn_object *conn)
{
	PyObject *waits = dialogue_waits(conn) ? conn->dialogue->coroutine : NULL;

	if (waits && Py_TYPE(waits) == &errand_type && !is_wanted((errand_object *)waits))
		dialogue_interrupt(conn, waits);
}

static void run_errand(errand_object *self)
{
	self->begun = true;
	if (!is_wanted(self))
		return;
	end_recalled(self->conn);
	if (dialogue_waits(self->conn)) {
		raise_code(-EBUSY, "another one reads this connection");
		finish(self, NULL);
		return;
	}
	Py_INCREF(self);

	enum verdict verdict = dialogue_begin(self->conn, (PyObject *)self, NULL, true);

	/* It could not be parked. */
	if (verdict == FAILED && !self->over)
		finish(self, NULL);
	if (verdict == FAILED)
		PyErr_Clear();
	if (verdict != PARKED)
		dialogue_settle(self->conn);
}

static void on_errand(sttcp_conn *conn, void *argument)
{
	(void)conn;
	if (!gil_enter())
		return;
	run_errand(argument);
	leave_python();
}

/* Of one that has run, too. */
static void on_errand_gone(void *argument)
{
	errand_object *self = argument;

	/* When the interpreter is on its way out it stays. */
	if (!gil_enter())
		return;
	/* The connection has ended before it. */
	if (!self->begun && is_wanted(self)) {
		int reason = sttcp_conn_reason(self->conn->conn);

		conn_raise(self->conn->conn, reason ? reason : STTCP_ECLOSED);
		finish(self, NULL);
	}
	Py_DECREF(self);
	leave_python();
}

static void on_cancel(sttcp_conn *conn, void *argument)
{
	errand_object *self = argument;

	(void)conn;
	if (!gil_enter())
		return;
	dialogue_interrupt(self->conn, argument);
	leave_python();
}

/* As sttcp_conn_run. It never waits, and so it may be called with the GIL. */
static int give(errand_object *self, sttcp_task task)
{
	Py_INCREF(self);

	int result = sttcp_conn_run(self->conn->conn, task, self, on_errand_gone);

	if (result < 0)
		Py_DECREF(self);
	return result;
}

int errand_send(errand_object *self)
{
	return give(self, on_errand);
}

/* Nobody wants it any more. */
void errand_recall(errand_object *self)
{
	self->outer = NULL;
	self->fd = -1;
	/* Where that cannot be given the connection has ended, and so ends its errand; or it has
	 * too many tasks, and then the next errand ends this one. */
	if (!self->over)
		(void)give(self, on_cancel);
}

int errands_init(void)
{
	return PyType_Ready(&errand_type);
}
