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
#include <time.h>

enum {
	/* What sttcp_conn_recv_exactly takes of a connection without messages. */
	MOST_EXACTLY = 1 << 20
};

/* The state first: what the old value held may run Python as it goes, and let in who asks. */
static void put_value(wait_object *self, PyObject *value, enum wait_state state)
{
	PyObject *old = self->value;

	self->value = value;
	self->state = (unsigned char)state;
	Py_XDECREF(old);
}

void wait_give(wait_object *self, PyObject *value)
{
	put_value(self, value, GIVEN);
}

void wait_fail(wait_object *self, int code)
{
	self->code = code;
	self->state = FAILED_WITH;
}

void wait_raise(wait_object *self, PyObject *exception)
{
	put_value(self, exception, RAISES);
}

void wait_fail_dial(wait_object *self, int code, PyObject *text)
{
	PyObject *told = Py_BuildValue("(OiN)", self->value, code, text);

	if (told) {
		put_value(self, told, NO_CONN);
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

/* ---------------------------------------------------------------- where it comes to that */

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

/* -1 with an exception set: a signal's, on the main thread. */
static int sleep_ms(int ms)
{
	struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
	bool interrupted;

	do {
		Py_BEGIN_ALLOW_THREADS
		interrupted = nanosleep(&left, &left) < 0 && errno == EINTR;
		Py_END_ALLOW_THREADS
		if (interrupted && PyErr_CheckSignals() < 0)
			return -1;
	} while (interrupted);
	return 0;
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
		if (sleep_ms(timeout_ms) < 0)
			return NULL;
		Py_RETURN_NONE;
	}
}

/* ---------------------------------------------------------------- beginning to wait */

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
	/* It was set since they came, and finds messages in them. */
	if (framed && dialogue_has_bytes(d) && dialogue_give_back(d) == -ENOMEM) {
		*value = PyErr_NoMemory();
		return RETURNS;
	}
	if (d->rest && wait_begin_with_rest(self, d, value) == RETURNS)
		return RETURNS;
	/* Whatever comes: what the last read took at most is none of theirs. */
	if (!of_bytes)
		atomic_store(&self->conn->want, 0);
	/* The library may have been given back what came before it, and tells of it no more. */
	if (self->conn->fin) {
		*value = self->kind == WAIT_EXACTLY ? wait_take_exactly(d, self)
						    : wait_here(self, 0);
		return RETURNS;
	}
	/* Where there are messages nobody tells that a part of one has come. */
	if (of_bytes && framed && !d->rest) {
		*value = wait_here(self, self->timeout_ms);
		return RETURNS;
	}
	if (self->timeout_ms == 0) {
		*value = self->kind == WAIT_EXACTLY ? wait_take_exactly(d, self)
						    : wait_here(self, 0);
		return RETURNS;
	}
	return YIELDS;
}

static PyObject *raise_of(const wait_object *self, int code)
{
	return self->conn ? conn_raise(self->conn->conn, code) : raise_code(code, NULL);
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
		if (is_far || !reads(self) || !d->rest ||
		    (dialogue_has_bytes(d) && conn_is_framed(self->conn)) ||
		    sttcp_conn_reason(d->conn->conn) < 0 ||
		    wait_begin_with_rest(self, d, value) == YIELDS)
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

	int result = is_far ? park_keep_place(d) : 0;

	if (result < 0) {
		*value = sttcp_conn_is_open(d->conn->conn) ? raise_of(self, result)
							   : end_of_connection(self, d->conn->conn);
		return RETURNS;
	}
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

/* ---------------------------------------------------------------- one step */

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
			*value = raise_of(self, self->code);
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
