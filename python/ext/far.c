/* SPDX-License-Identifier: MIT */
/*
 * Connections that a coroutine has dialled, and what other connections' coroutines await of them.
 *
 * To the library such a connection is that of a client, which nobody sees: so it tells by handlers
 * what comes about, and no thread waits for that. Its object is as that of any dialled one: the
 * last reference to it closes it.
 *
 * Whoever wants something of it sends an errand, on which the connection's own turn goes: a
 * coroutine of the connection that awaits one thing (dialogue.c), and tells what that has come to
 * to a coroutine of another connection, or to a thread that waits. Between two errands the library
 * does not read. A send that finds no room needs no errand: the drained handler tries again.
 */
#include "far.h"
#include "dialogue.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ---------------------------------------------------------------- errands */

typedef struct errand {
	PyObject_HEAD
	conn_object *conn;  /* a reference */
	wait_object *inner; /* what it awaits there, a reference */
	wait_object *outer; /* who wants it, borrowed; NULL: */
	int fd;		    /* a thread does, and waits for this one; or -1 */
	bool begun;	    /* its turn has come */
	bool over;
	PyObject *value;     /* for the thread: what it has come to, */
	PyObject *exception; /* or what was raised */
} errand_object;

static PyTypeObject errand_type;

static bool is_wanted(const errand_object *self)
{
	return self->outer || self->fd >= 0;
}

/* Has its waiter go on, where it waits by now. */
static void wake(wait_object *outer)
{
	if (outer->waiter)
		dialogue_wake(outer->waiter, outer);
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
		if (value)
			wait_give(outer, value);
		else
			wait_raise(outer, exception);
		wake(outer);
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

static PyTypeObject errand_type = {
	PyVarObject_HEAD_INIT(NULL, 0).tp_name = "sttcp._sttcp.Errand",
	.tp_basicsize = sizeof(errand_object),
	.tp_dealloc = (destructor)errand_dealloc,
	.tp_flags = Py_TPFLAGS_DEFAULT,
	.tp_doc = "What a coroutine, or a thread, waits for on a connection that it has dialled.",
	.tp_as_async = &errand_async,
	.tp_methods = errand_methods,
};

static errand_object *make_errand(conn_object *conn, enum wait_kind kind, Py_ssize_t size,
				  int timeout_ms)
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
static void pass_value(errand_object *self, PyObject *value)
{
	Py_XINCREF(value);
	self->inner->value = value;
}

/* ---------------------------------------------------------------- on the connection's turn */

static void run_errand(errand_object *self)
{
	self->begun = true;
	if (!is_wanted(self))
		return;
	if (dialogue_waits(self->conn)) {
		raise_code(-EBUSY, "another one reads this connection");
		finish(self, NULL);
		return;
	}
	Py_INCREF(self);

	enum verdict verdict = dialogue_begin(self->conn, (PyObject *)self, true);

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

/* Nobody wants it any more. */
static void recall(errand_object *self)
{
	self->outer = NULL;
	self->fd = -1;
	/* Where that cannot be given the connection has ended, and so ends its errand. */
	if (!self->over)
		(void)give(self, on_cancel);
}

/* ---------------------------------------------------------------- for a coroutine */

static void add_sender(wait_object *self)
{
	self->behind = self->conn->senders;
	self->conn->senders = self;
	self->listed = true;
}

static void take_sender(wait_object *self)
{
	wait_object **at = &self->conn->senders;

	while (*at && *at != self)
		at = &(*at)->behind;
	if (*at)
		*at = self->behind;
	self->listed = false;
}

enum outcome far_begin(wait_object *self, PyObject **value)
{
	*value = NULL;
	if (self->kind == WAIT_ROOM) {
		/* park_begin tries once more. */
		add_sender(self);
		return YIELDS;
	}

	errand_object *errand =
		make_errand(self->conn, (enum wait_kind)self->kind, self->size, self->timeout_ms);

	if (!errand) {
		wait_spend(self);
		return RETURNS;
	}
	pass_value(errand, self->value);
	errand->outer = self;
	Py_XSETREF(self->far, (PyObject *)errand);
	self->kind = WAIT_FAR;
	self->timeout_ms = -1;

	int result = give(errand, on_errand);

	if (result < 0) {
		errand->outer = NULL;
		wait_spend(self);
		conn_raise(self->conn->conn, result);
		return RETURNS;
	}
	return YIELDS;
}

static void give_up_dial(wait_object *self)
{
	group_object *group = (group_object *)self->far;

	if (group->dial != self)
		return;
	group->dial = NULL;
	/* The last handler wants the GIL. */
	Py_INCREF(group);
	Py_BEGIN_ALLOW_THREADS
	sttcp_client_close(group->client);
	Py_END_ALLOW_THREADS
	Py_DECREF(group);
}

void far_give_up(wait_object *self)
{
	if (self->listed)
		take_sender(self);
	if (!self->far)
		return;
	if (Py_TYPE(self->far) == &errand_type && ((errand_object *)self->far)->outer == self)
		recall((errand_object *)self->far);
	else if (Py_TYPE(self->far) == &group_type)
		give_up_dial(self);
}

/* ---------------------------------------------------------------- for a thread */

bool far_is_here(const conn_object *self)
{
	const struct dialogue *now = dialogue_now();

	return (now && now->conn == self) || tasks_runs(self);
}

/* Until it is over: 0, -1 with an exception set, or a code: the handler that waits is not to go
 * on. On the main thread the handlers of signals run meanwhile. */
static int wait_for(const errand_object *errand)
{
	int limit_ms = io_on_main_thread() ? IO_SIGNAL_MS : -1;

	while (!errand->over) {
		int result;

		Py_BEGIN_ALLOW_THREADS
		result = sttcp_poll(errand->fd, POLLIN, limit_ms);
		Py_END_ALLOW_THREADS
		if (limit_ms > 0 && PyErr_CheckSignals() < 0)
			return -1;
		if (result < 0 && result != -ETIMEDOUT)
			return result;
	}
	return 0;
}

static PyObject *take_outcome(errand_object *errand)
{
	PyObject *value = errand->value;

	errand->value = NULL;
	if (!value)
		PyErr_SetObject((PyObject *)Py_TYPE(errand->exception), errand->exception);
	return value;
}

static PyObject *run_for_thread(errand_object *errand)
{
	int result = give(errand, on_errand);

	if (result < 0)
		return conn_raise(errand->conn->conn, result);
	result = wait_for(errand);
	if (errand->over && result >= 0)
		return take_outcome(errand);
	recall(errand);
	return result == -1 ? NULL : raise_code(result, NULL);
}

/* Takes the reference. */
static PyObject *send_for_thread(errand_object *errand)
{
	PyObject *value = NULL;

	if (!errand)
		return NULL;

	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	errand->fd = fd;
	if (fd >= 0)
		value = run_for_thread(errand);
	else
		PyErr_SetFromErrno(PyExc_OSError);
	errand->fd = -1;
	if (fd >= 0)
		close(fd);
	Py_DECREF(errand);
	return value;
}

PyObject *far_read(conn_object *self, enum wait_kind kind, Py_ssize_t size, int timeout_ms)
{
	return send_for_thread(make_errand(self, kind, size, timeout_ms));
}

PyObject *conn_on_turn(conn_object *self, PyObject *function)
{
	if (!self->far || far_is_here(self))
		Py_RETURN_NONE;
	if (dialogue_now() && dialogue_now()->conn) {
		wait_object *wait = (wait_object *)wait_make(self, WAIT_CALL, 0, -1);

		if (wait) {
			Py_INCREF(function);
			wait->value = function;
		}
		return (PyObject *)wait;
	}

	errand_object *errand = make_errand(self, WAIT_CALL, 0, -1);

	if (errand)
		pass_value(errand, function);

	PyObject *none = send_for_thread(errand);

	if (!none)
		return NULL;
	Py_DECREF(none);
	if (dialogue_now())
		return wait_done(Py_None);
	Py_RETURN_TRUE;
}

/* ---------------------------------------------------------------- handlers of its client */

/* The connection is open: who has dialled it gets it. */
static bool give_connection(group_object *group, sttcp_conn *conn)
{
	wait_object *wait = group->dial;

	if (!wait)
		return false;
	group->dial = NULL;

	PyObject *made = conn_make_far(conn, (PyObject *)group);

	if (made) {
		((conn_object *)made)->timeout_ms = (int)wait->size;
		sttcp_conn_pause(conn);
		wait_give(wait, made);
	} else {
		wait_raise(wait, take_exception());
	}
	wake(wait);
	return made;
}

static bool on_connection(sttcp_conn *conn, void *context)
{
	if (!gil_enter())
		return false;

	group_object *group = take_group(context);
	bool verdict = group && give_connection(group, conn);

	Py_XDECREF(group);
	leave_python();
	return verdict;
}

/* Around what its object is told. */
static conn_object *enter(sttcp_conn *conn)
{
	if (!gil_enter())
		return NULL;

	conn_object *self = (conn_object *)conn_peek_ref(conn);

	if (!self)
		leave_python();
	return self;
}

static void leave(conn_object *self)
{
	Py_DECREF(self);
	leave_python();
}

static bool on_response(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	conn_object *self = enter(conn);

	(void)context;
	if (!self)
		return true;

	PyObject *bytes = PyBytes_FromStringAndSize(data, (Py_ssize_t)size);

	if (!bytes)
		fail_raised(NULL, conn, false);
	else if (dialogue_waits(self))
		dialogue_take_data(self, bytes);
	else
		dialogue_stash(self, bytes);
	Py_XDECREF(bytes);
	leave(self);
	return true;
}

static void on_end(sttcp_conn *conn, void *context)
{
	conn_object *self = enter(conn);

	(void)context;
	if (!self)
		return;
	self->fin = true;
	if (dialogue_waits(self))
		dialogue_take_end(self);
	leave(self);
}

/* Has all that wait for room try again. */
static void try_senders(conn_object *self)
{
	wait_object *wait = self->senders;

	while (wait) {
		Py_INCREF(wait);
		if (wait_send_again(wait)) {
			if (wait->listed)
				take_sender(wait);
			wake(wait);
			Py_DECREF(wait);
			wait = self->senders;
			continue;
		}

		wait_object *next = wait->listed ? wait->behind : NULL;

		Py_DECREF(wait);
		wait = next;
	}
}

static void on_drained(sttcp_conn *conn, void *context)
{
	conn_object *self = enter(conn);

	(void)context;
	if (!self)
		return;
	try_senders(self);
	leave(self);
}

static void on_disconnection(sttcp_conn *conn, int reason, void *context)
{
	if (!gil_enter())
		return;

	group_object *group = take_group(context);
	conn_object *self = (conn_object *)conn_peek_ref(conn);

	(void)reason;
	if (self) {
		/* They find that it has ended. */
		try_senders(self);
		dialogue_finish(self);
		dialogue_drop(self);
		Py_DECREF(self);
	}
	/* That of far_begin_dial. */
	if (group)
		Py_DECREF(group);
	Py_XDECREF(group);
	leave_python();
}

static void on_unconnected(sttcp_conn *conn, int reason, void *context)
{
	if (!gil_enter())
		return;

	group_object *group = take_group(context);
	wait_object *wait = group ? group->dial : NULL;
	const char *text = sttcp_conn_fail_text(conn);

	if (wait) {
		group->dial = NULL;
		wait_fail_dial(wait, reason, text_make(text ? text : ""));
		wake(wait);
	}
	if (group)
		Py_DECREF(group);
	Py_XDECREF(group);
	leave_python();
}

/* In place of those of handlers.c; before its first start. */
static int set_handlers(const group_object *group)
{
	sttcp_client *client = group->client;

	return sttcp_client_on_connection(client, on_connection) |
	       sttcp_client_on_response(client, on_response) | sttcp_client_on_end(client, on_end) |
	       sttcp_client_on_disconnection(client, on_disconnection) |
	       sttcp_client_on_unconnected(client, on_unconnected) |
	       sttcp_client_on_drained(client, on_drained);
}

/* ---------------------------------------------------------------- dialling */

enum outcome far_begin_dial(wait_object *self, PyObject **value)
{
	group_object *group = (group_object *)self->far;
	int result;

	/* Until its last handler. */
	Py_INCREF(group);
	group->dial = self;
	/* It never waits: the GIL is kept, for which a thousand handlers at once would line up. */
	result = sttcp_client_start(group->client);
	if (result < 0) {
		group->dial = NULL;
		Py_DECREF(group);
		wait_fail_dial(self, result, text_make(sttcp_client_error(group->client)));
	}
	if (wait_is_over(self))
		return wait_step(self, value);
	return YIELDS;
}

PyObject *far_dial(PyObject *module, PyObject *args)
{
	const char *host;
	int port;
	PyObject *dictionary;
	PyObject *frame;
	PyObject *complain;
	int timeout_ms;

	(void)module;
	if (!PyArg_ParseTuple(args, "siO!OiO:_dial_waiting", &host, &port, &PyDict_Type,
			      &dictionary, &frame, &timeout_ms, &complain))
		return NULL;

	PyObject *group = PyObject_CallFunction((PyObject *)&group_type, "OsiOO", Py_True, host,
						port, dictionary, frame);

	if (!group)
		return NULL;
	if (set_handlers((group_object *)group) < 0) {
		Py_DECREF(group);
		return PyErr_NoMemory();
	}

	/* Its size is what settimeout is called with. */
	wait_object *wait = (wait_object *)wait_make(NULL, WAIT_DIAL, timeout_ms, -1);

	if (!wait) {
		Py_DECREF(group);
		return NULL;
	}
	wait->far = group;
	Py_INCREF(complain);
	wait->value = complain;
	return (PyObject *)wait;
}

int far_init(void)
{
	return PyType_Ready(&errand_type);
}
