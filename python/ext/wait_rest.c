/* SPDX-License-Identifier: MIT */
/* What has come, and no coroutine has read so far: a wait takes of that first. By the owner of the
 * connection. */
#include "dialogue.h"

#include <api/unread.h>
#include <errno.h>
#include <string.h>

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

int dialogue_give_back(struct dialogue *d)
{
	int result = stt_conn_unread(d->conn->conn, PyBytes_AS_STRING(d->rest) + d->rest_at,
				     (size_t)rest_size(d));

	if (result == 0) {
		Py_CLEAR(d->rest);
		d->rest_at = 0;
	} else if (result == -ENOMEM) {
		dialogue_lose(d);
	}
	return result;
}

void dialogue_lose(struct dialogue *d)
{
	PyErr_Clear();
	sttcp_conn_fail_now(d->conn->conn, -ENOMEM, "no memory for what has come");
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
	} else {
		dialogue_lose(d);
		PyErr_NoMemory();
	}
	Py_DECREF(more);
	return all;
}

/* Of what is there. */
PyObject *wait_take_exactly(struct dialogue *d, const wait_object *self)
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

/* A read of what has come, if it need not wait for more. */
enum outcome wait_begin_with_rest(wait_object *self, struct dialogue *d, PyObject **value)
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

/* Whether a plain read may be made here, as the library says. */
static bool may_read(const conn_object *conn)
{
	return sttcp_conn_recv(conn->conn, NULL, 0, 0) == 0;
}

PyObject *wait_take_rest(conn_object *conn, enum wait_kind kind, Py_ssize_t size, int timeout_ms)
{
	struct dialogue *d = conn->dialogue;
	wait_object *wait;
	PyObject *value = NULL;

	if (!d || !d->rest || (dialogue_now() && dialogue_now()->conn == conn) ||
	    ((kind == WAIT_RECV || kind == WAIT_EXACTLY) && size == 0))
		return NULL;
	/* Elsewhere the library refuses the read itself. */
	if (!d->of_message)
		return dialogue_give_back(d) == -ENOMEM ? PyErr_NoMemory() : NULL;
	if (!may_read(conn))
		return NULL;
	wait = (wait_object *)wait_make(conn, kind, size, timeout_ms);
	if (!wait)
		return NULL;
	wait_spend(wait);
	if (wait_begin_with_rest(wait, d, &value) == YIELDS) {
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
