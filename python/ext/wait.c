/* SPDX-License-Identifier: MIT */
/*
 * What a coroutine awaits: one object for each wait, made by the method that in a plain handler
 * would block.
 *
 *	state	who			does					then
 *	NEW	the coroutine, in await	finds that there is no need to wait	SPENT
 *	NEW	the coroutine, in await	yields it: dialogue.c parks them	PARKED
 *	PARKED	the dialogue		gives it what it has waited for		GIVEN
 *	GIVEN	the coroutine		goes on with that			SPENT
 *
 * In a coroutine of one connection what another one is to do is begun in far.c.
 *
 * Sending begins in the method itself, so that what is not awaited has been sent nevertheless, but
 * at the cap.
 */
#include "dialogue.h"
#include "far.h"

#include <errno.h>
#include <string.h>
#include <time.h>

enum state {
	NEW,
	PARKED_NOW,
	GIVEN,
	FAILED_WITH, /* its code */
	RAISES,	     /* its value */
	NO_CONN,     /* its value: whom to tell, a code, a text */
	INPUT_ENDED, /* the peer's FIN */
	CONN_ENDED,
	SPENT
};

enum {
	/* What sttcp_conn_recv_exactly takes of a connection without messages. */
	MOST_EXACTLY = 1 << 20
};

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

static PyObject *wait_for_room(conn_object *self, PyObject *data, enum way way)
{
	/* It may change meanwhile. */
	PyObject *bytes = PyBytes_FromObject(data);
	PyObject *made = bytes ? wait_make(self, WAIT_ROOM, 0, -1) : NULL;

	if (!made) {
		Py_XDECREF(bytes);
		return NULL;
	}
	((wait_object *)made)->value = bytes;
	((wait_object *)made)->way = (unsigned char)way;
	return made;
}

PyObject *wait_send(conn_object *self, PyObject *data, enum way way)
{
	const conn_object *own = dialogue_now()->conn;
	int result = own && (own == self || self->far) ? io_try(self, data, way) : -EMSGSIZE;

	if (result == -EAGAIN)
		return wait_for_room(self, data, way);
	/* Too large for the queue: no part of it may be parted from the others. On another
	 * connection nobody here would hear of the room. */
	if (result == -EMSGSIZE) {
		PyObject *none = io_send(self, data, way);

		if (!none)
			return NULL;
		Py_DECREF(none);
		return wait_done(Py_None);
	}
	if (result == 0)
		return wait_done(Py_None);
	return result > 0 ? NULL : conn_raise(self->conn, result);
}

/* On another connection both sides may try: who waits, and who hears of the room. */
static int try_alone(wait_object *self)
{
	int result;

	self->tries = true;
	do {
		self->tries_again = false;
		result = io_try(self->conn, self->value, (enum way)self->way);
	} while (result == -EAGAIN && self->tries_again);
	self->tries = false;
	return result;
}

bool wait_send_again(wait_object *self)
{
	int result;

	if (self->tries) {
		self->tries_again = true;
		return false;
	}
	if (wait_is_over(self))
		return true;
	/* The coroutine may be gone meanwhile. */
	Py_INCREF(self);
	result = try_alone(self);
	if (result == -EAGAIN || self->state != PARKED_NOW) {
		bool is_over = self->state != PARKED_NOW;

		if (result > 0)
			PyErr_Clear();
		Py_DECREF(self);
		return is_over;
	}
	Py_DECREF(self);
	if (result > 0) {
		PyErr_Clear();
		result = -ENOMEM;
	}
	if (result < 0) {
		wait_fail(self, result);
	} else {
		Py_INCREF(Py_None);
		wait_give(self, Py_None);
	}
	return true;
}

void wait_give(wait_object *self, PyObject *value)
{
	Py_XSETREF(self->value, value);
	self->state = GIVEN;
}

void wait_fail(wait_object *self, int code)
{
	self->code = code;
	self->state = FAILED_WITH;
}

void wait_raise(wait_object *self, PyObject *exception)
{
	Py_XSETREF(self->value, exception);
	self->state = RAISES;
}

void wait_fail_dial(wait_object *self, int code, PyObject *text)
{
	PyObject *told = Py_BuildValue("(OiN)", self->value, code, text);

	if (told) {
		Py_XSETREF(self->value, told);
		self->state = NO_CONN;
	} else {
		wait_raise(self, take_exception());
	}
}

bool wait_is_over(const wait_object *self)
{
	return self->state > PARKED_NOW && self->state < SPENT;
}

void wait_spend(wait_object *self)
{
	self->state = SPENT;
}

void wait_end_of_input(wait_object *self)
{
	self->state = INPUT_ENDED;
}

void wait_end_of_connection(wait_object *self)
{
	/* What another connection has done is told first. */
	if (self->state != PARKED_NOW)
		return;
	self->state = CONN_ENDED;
	far_give_up(self);
}

/* ---------------------------------------------------------------- awaiting it */

static bool reads(const wait_object *self)
{
	return self->kind < WAIT_ROOM;
}

/* What a read comes to when the peer sends no more. */
static PyObject *end_of_input(const wait_object *self)
{
	if (self->kind == WAIT_RECV)
		return PyBytes_FromStringAndSize(NULL, 0);
	if (self->kind == WAIT_NEXT) {
		PyErr_SetNone(PyExc_StopAsyncIteration);
		return NULL;
	}
	Py_RETURN_NONE;
}

/* The same when the connection has ended. */
static PyObject *end_of_connection(const wait_object *self, sttcp_conn *conn)
{
	int reason = sttcp_conn_reason(conn);

	if (reads(self) && reason == 0)
		return end_of_input(self);
	return conn_raise(conn, reason ? reason : STTCP_ECLOSED);
}

static PyObject *message_or_end(const wait_object *self, PyObject *message)
{
	if (message != Py_None || self->kind != WAIT_NEXT)
		return message;
	Py_XDECREF(message);
	return end_of_input(self);
}

static void sleep_ms(int ms)
{
	struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

	Py_BEGIN_ALLOW_THREADS
	while (nanosleep(&left, &left) < 0 && errno == EINTR) {
	}
	Py_END_ALLOW_THREADS
}

/* As a plain handler: on this thread. */
static PyObject *wait_here(const wait_object *self, int timeout_ms)
{
	switch (self->kind) {
	case WAIT_RECV:
		return io_recv(self->conn, self->size, timeout_ms);
	case WAIT_EXACTLY:
		return io_recv_exactly(self->conn, self->size, timeout_ms);
	case WAIT_MESSAGE:
	case WAIT_NEXT:
		return message_or_end(self, io_recv_message(self->conn, timeout_ms));
	case WAIT_SIZE:
		return io_next_size(self->conn, timeout_ms);
	case WAIT_ROOM:
		return io_send(self->conn, self->value, (enum way)self->way);
	default:
		sleep_ms(timeout_ms);
		Py_RETURN_NONE;
	}
}

/* ---------------------------------------------------------------- what nobody has read so far */

static Py_ssize_t rest_size(const struct dialogue *d)
{
	return d->rest ? PyBytes_GET_SIZE(d->rest) - d->rest_at : 0;
}

static PyObject *take_rest(struct dialogue *d, Py_ssize_t size)
{
	PyObject *taken;

	if (d->rest_at == 0 && size == PyBytes_GET_SIZE(d->rest)) {
		taken = d->rest;
		d->rest = NULL;
		return taken;
	}
	taken = PyBytes_FromStringAndSize(PyBytes_AS_STRING(d->rest) + d->rest_at, size);
	if (!taken)
		return NULL;
	d->rest_at += size;
	if (d->rest_at == PyBytes_GET_SIZE(d->rest)) {
		Py_CLEAR(d->rest);
		d->rest_at = 0;
	}
	return taken;
}

/* What lies here, and behind it what has come now: so many bytes. Takes the reference. */
static PyObject *join_rest(struct dialogue *d, PyObject *more, Py_ssize_t size)
{
	Py_ssize_t here = rest_size(d);
	PyObject *all = PyBytes_FromStringAndSize(NULL, size);

	if (all) {
		memcpy(PyBytes_AS_STRING(all), PyBytes_AS_STRING(d->rest) + d->rest_at,
		       (size_t)here);
		memcpy(PyBytes_AS_STRING(all) + here, PyBytes_AS_STRING(more),
		       (size_t)(size - here));
		Py_CLEAR(d->rest);
		d->rest_at = 0;
	}
	Py_DECREF(more);
	return all;
}

/* Of what is there. */
static PyObject *take_exactly(struct dialogue *d, const wait_object *self)
{
	Py_ssize_t here = rest_size(d);
	PyObject *more;

	if (here >= self->size)
		return take_rest(d, self->size);
	more = io_recv_exactly(self->conn, self->size - here, 0);
	if (!here || !more || more == Py_None)
		return more;
	return join_rest(d, more, self->size);
}

/* ---------------------------------------------------------------- beginning to wait */

/* A read of what has come, if it need not wait for more. */
static enum outcome begin_with_rest(wait_object *self, struct dialogue *d, PyObject **value)
{
	Py_ssize_t here = rest_size(d);

	switch (self->kind) {
	case WAIT_RECV:
		*value = take_rest(d, here < self->size ? here : self->size);
		return RETURNS;
	case WAIT_SIZE:
		*value = PyLong_FromSsize_t(here);
		return RETURNS;
	case WAIT_EXACTLY:
		if (here < self->size)
			return YIELDS;
		*value = take_rest(d, self->size);
		return RETURNS;
	default:
		*value = take_rest(d, here);
		return RETURNS;
	}
}

PyObject *wait_take_rest(conn_object *conn, enum wait_kind kind, Py_ssize_t size, int timeout_ms)
{
	struct dialogue *d = conn->dialogue;
	wait_object *wait;
	PyObject *value = NULL;

	if (!d || !d->rest || (dialogue_now() && dialogue_now()->conn == conn) ||
	    ((kind == WAIT_RECV || kind == WAIT_EXACTLY) && size == 0))
		return NULL;
	wait = (wait_object *)wait_make(conn, kind, size, timeout_ms);
	if (!wait)
		return NULL;
	wait_spend(wait);
	if (begin_with_rest(wait, d, &value) == YIELDS) {
		PyObject *kept = d->rest;
		Py_ssize_t at = d->rest_at;

		/* The rest is not looked for again. */
		d->rest = NULL;
		value = io_recv_exactly(conn, size - (PyBytes_GET_SIZE(kept) - at), timeout_ms);
		d->rest = kept;
		d->rest_at = at;
		if (value && value != Py_None)
			value = join_rest(d, value, size);
	}
	Py_DECREF(wait);
	return value;
}

static enum outcome begin_read(wait_object *self, struct dialogue *d, PyObject **value)
{
	bool of_bytes = self->kind == WAIT_RECV || self->kind == WAIT_EXACTLY;
	bool framed = conn_is_framed(self->conn);

	if (d->may_not_read) {
		*value = io_raise(self->conn, -EDEADLK, -1);
		return RETURNS;
	}
	if (of_bytes && self->size == 0) {
		*value = PyBytes_FromStringAndSize(NULL, 0);
		return RETURNS;
	}
	if (self->kind == WAIT_EXACTLY && !framed && self->size > MOST_EXACTLY) {
		*value = io_raise(self->conn, -EMSGSIZE, -1);
		return RETURNS;
	}
	if (d->rest && begin_with_rest(self, d, value) == RETURNS)
		return RETURNS;
	if (d->fin || self->conn->fin) {
		*value = end_of_input(self);
		return RETURNS;
	}
	/* Where there are messages nobody tells that a part of one has come. */
	if (of_bytes && framed && !d->rest) {
		*value = wait_here(self, self->timeout_ms);
		return RETURNS;
	}
	if (self->timeout_ms == 0) {
		*value = self->kind == WAIT_EXACTLY ? take_exactly(d, self) : wait_here(self, 0);
		return RETURNS;
	}
	return YIELDS;
}

/* Where `d` may wait for it, in its own place or another. */
static bool may_be_awaited(const wait_object *self, const struct dialogue *d)
{
	if (!d || (self->kind == WAIT_DIAL && !d->conn))
		return false;
	return !self->conn || !d->conn || self->conn == d->conn || self->conn->dialled;
}

static enum outcome begin(wait_object *self, PyObject **value)
{
	struct dialogue *d = dialogue_now();
	bool is_far = self->kind == WAIT_DIAL || (self->conn && d && self->conn != d->conn);

	if (!may_be_awaited(self, d)) {
		PyErr_SetString(PyExc_TypeError, "it can be awaited in a coroutine that is a "
						 "handler of this connection only");
		*value = NULL;
		return RETURNS;
	}
	self->state = SPENT;
	if (!d->conn || (is_far && self->conn && !self->conn->far)) {
		*value = wait_here(self, self->timeout_ms);
		return RETURNS;
	}
	if (d->ended || !sttcp_conn_is_open(d->conn->conn)) {
		/* The peer's FIN stands behind what has come. */
		if (is_far || !reads(self) || !d->rest || sttcp_conn_reason(d->conn->conn) < 0 ||
		    begin_with_rest(self, d, value) == YIELDS)
			*value = end_of_connection(self, d->conn->conn);
		return RETURNS;
	}
	if (!is_far && self->kind == WAIT_CALL) {
		*value = PyObject_CallNoArgs(self->value);
		if (*value) {
			Py_INCREF(Py_None);
			Py_SETREF(*value, Py_None);
		}
		return RETURNS;
	}
	if (!is_far && reads(self) && begin_read(self, d, value) == RETURNS)
		return RETURNS;
	self->state = PARKED_NOW;
	if (is_far) {
		Py_INCREF(d->conn);
		Py_XSETREF(self->waiter, d->conn);
		if ((self->kind == WAIT_DIAL ? far_begin_dial : far_begin)(self, value) == RETURNS)
			return RETURNS;
	}
	Py_INCREF(self);
	Py_XSETREF(d->wait, self);
	Py_INCREF(self);
	*value = (PyObject *)self;
	return YIELDS;
}

/* NULL gives a code, too: it is stepped by hand, where nothing runs. */
static sttcp_conn *conn_of(const wait_object *self)
{
	const struct dialogue *d = dialogue_now();

	if (d && d->conn)
		return d->conn->conn;
	return self->conn ? self->conn->conn : NULL;
}

static PyObject *raise_no_conn(PyObject *told)
{
	PyObject *result =
		PyObject_CallFunctionObjArgs(PyTuple_GET_ITEM(told, 0), PyTuple_GET_ITEM(told, 1),
					     PyTuple_GET_ITEM(told, 2), NULL);

	/* It raises. */
	Py_XDECREF(result);
	return NULL;
}

enum outcome wait_step(wait_object *self, PyObject **value)
{
	unsigned char state = self->state;

	if (self->kind == WAIT_NOT) {
		*value = self->value;
		Py_INCREF(*value);
		return RETURNS;
	}
	if (state == NEW)
		return begin(self, value);
	self->state = SPENT;
	switch (state) {
	case GIVEN:
		*value = self->value;
		self->value = NULL;
		if (self->entered) {
			Py_INCREF(*value);
			Py_XSETREF(self->far, *value);
		}
		break;
	case RAISES:
		PyErr_SetObject((PyObject *)Py_TYPE(self->value), self->value);
		*value = NULL;
		break;
	case NO_CONN:
		*value = raise_no_conn(self->value);
		break;
	case FAILED_WITH:
		if (reads(self))
			*value = io_raise(self->conn, self->code, self->timeout_ms);
		else
			*value = self->conn ? conn_raise(self->conn->conn, self->code)
					    : raise_code(self->code, NULL);
		break;
	case INPUT_ENDED:
		*value = end_of_input(self);
		break;
	case CONN_ENDED:
		*value = end_of_connection(self, conn_of(self));
		break;
	default:
		PyErr_SetString(PyExc_RuntimeError, "it was awaited already");
		*value = NULL;
	}
	if (self->listed)
		far_give_up(self);
	return RETURNS;
}

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

/* ---------------------------------------------------------------- the type */

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
