/* SPDX-License-Identifier: MIT */
/* Dialling in a coroutine: a client that nobody sees, and its handlers, by which the library tells
 * of the connection and what comes about on it. */
#include "dialogue.h"
#include "far.h"

/* The connection is open: who has dialled it gets it. */
static bool give_connection(group_object *group, sttcp_conn *conn)
{
	wait_object *wait = group->dial;

	if (!wait)
		return false;
	group->dial = NULL;
	/* Whose coroutine may have come to its end by the time that it is woken. */
	Py_INCREF(wait);

	PyObject *made = conn_make_far(conn, (PyObject *)group);

	if (made) {
		((conn_object *)made)->timeout_ms = (int)wait->size;
		sttcp_conn_pause(conn);
		wait_give(wait, made);
	} else {
		wait_raise(wait, take_exception());
	}
	far_wake(wait);
	Py_DECREF(wait);
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
				far_take_sender(wait);
			far_wake(wait);
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
		/* As give_connection. */
		Py_INCREF(wait);
		wait_fail_dial(wait, reason, text_make(text ? text : ""));
		far_wake(wait);
		Py_DECREF(wait);
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

/* It waits for nothing but the files of a TLS object, which the first start reads that uses it:
 * else the GIL is kept, for which a thousand handlers at once would line up. */
static int start(const group_object *group)
{
	int result;

	if (!group->secure)
		return sttcp_client_start(group->client);
	Py_BEGIN_ALLOW_THREADS
	result = sttcp_client_start(group->client);
	Py_END_ALLOW_THREADS
	return result;
}

enum outcome far_begin_dial(wait_object *self, PyObject **value)
{
	group_object *group = (group_object *)self->far;

	/* Until its last handler. */
	Py_INCREF(group);
	group->dial = self;

	int result = start(group);

	if (result < 0) {
		group->dial = NULL;
		Py_DECREF(group);
		wait_fail_dial(self, result, text_make(sttcp_client_error(group->client)));
	}
	/* Its last handler may have been here already. */
	if (wait_is_over(self))
		return wait_step(self, value);
	return YIELDS;
}

PyObject *far_dial(PyObject *module, PyObject *args)
{
	PyObject *host;
	int port;
	PyObject *dictionary;
	PyObject *frame;
	PyObject *complain;
	int timeout_ms;

	(void)module;
	if (!PyArg_ParseTuple(args, "OiO!OiO:_dial_waiting", &host, &port, &PyDict_Type,
			      &dictionary, &frame, &timeout_ms, &complain))
		return NULL;

	PyObject *group = PyObject_CallFunction((PyObject *)&group_type, "OOiOO", Py_True, host,
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
