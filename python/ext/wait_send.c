/* SPDX-License-Identifier: MIT */
/* Sending in a coroutine: it begins at once, and waits for room where the queue is full. */
#include "dialogue.h"

#include <errno.h>

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
