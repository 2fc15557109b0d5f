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
#include "errand.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Has its waiter go on, where it waits by now. */
void far_wake(wait_object *outer)
{
	if (outer->waiter)
		dialogue_wake(outer->waiter, outer);
}

/* ---------------------------------------------------------------- for a coroutine */

static void add_sender(wait_object *self)
{
	self->behind = self->conn->senders;
	self->conn->senders = self;
	self->listed = true;
}

void far_take_sender(wait_object *self)
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
		errand_make(self->conn, (enum wait_kind)self->kind, self->size, self->timeout_ms);

	if (!errand) {
		wait_spend(self);
		return RETURNS;
	}
	errand_pass_value(errand, self->value);
	errand->outer = self;
	Py_XSETREF(self->far, (PyObject *)errand);
	self->kind = WAIT_FAR;
	self->timeout_ms = -1;

	int result = errand_send(errand);

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
		far_take_sender(self);
	if (!self->far)
		return;
	if (Py_TYPE(self->far) == &errand_type && ((errand_object *)self->far)->outer == self)
		errand_recall((errand_object *)self->far);
	else if (Py_TYPE(self->far) == &group_type)
		give_up_dial(self);
}

/* ---------------------------------------------------------------- for a thread */

bool far_is_here(const conn_object *self)
{
	const struct dialogue *now = dialogue_now();

	return (now && now->conn == self) || tasks_runs(self) || frames_run((const PyObject *)self);
}

/* Until it is over: 0, -1 with an exception set, or a code: the handler that waits is not to go
 * on. On the main thread the handlers of signals run meanwhile. */
static int wait_for(const errand_object *errand)
{
	int limit_ms = signals_come_here() ? SIGNALS_MS : -1;

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
	int result = errand_send(errand);

	if (result < 0)
		return conn_raise(errand->conn->conn, result);
	result = wait_for(errand);
	if (errand->over && result >= 0)
		return take_outcome(errand);
	errand_recall(errand);
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
	return send_for_thread(errand_make(self, kind, size, timeout_ms));
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

	errand_object *errand = errand_make(self, WAIT_CALL, 0, -1);

	if (errand)
		errand_pass_value(errand, function);

	PyObject *none = send_for_thread(errand);

	if (!none)
		return NULL;
	Py_DECREF(none);
	if (dialogue_now())
		return wait_done(Py_None);
	Py_RETURN_TRUE;
}
