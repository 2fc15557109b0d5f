/* SPDX-License-Identifier: MIT */
/*
 * The object of a connection: made, tied to it, untied and freed; and why it ended.
 *
 * The library's connection holds a reference to its object while handlers may run (its data), and
 * the object one to the connection, for ever. conn_untie ends the first, so that the circle opens.
 * Both are looked at and changed under the GIL only.
 */
#include "conn.h"
#include "dialogue.h"

#include <errno.h>

PyObject *conn_make_address(sttcp_conn *conn, PyObject **host)
{
	const char *text = sttcp_conn_host(conn);

	if (!text)
		text = "";
	if (!*host || PyUnicode_CompareWithASCIIString(*host, text) != 0) {
		PyObject *made = PyUnicode_DecodeFSDefault(text);

		if (!made)
			return NULL;
		Py_XSETREF(*host, made);
	}

	PyObject *kept = *host;

	/* Memory is asked for: others may replace it meanwhile, see conn_wrap. */
	Py_INCREF(kept);
	return Py_BuildValue("(Ni)", kept, sttcp_conn_port(conn));
}

PyObject *conn_peek(sttcp_conn *conn)
{
	return sttcp_conn_data(conn);
}

PyObject *conn_peek_ref(sttcp_conn *conn)
{
	PyObject *known = conn_peek(conn);

	Py_XINCREF(known);
	return known;
}

PyObject *conn_wrap(sttcp_conn *conn, PyObject *owner, PyObject **host)
{
	PyObject *known = conn_peek(conn);

	if (known) {
		Py_INCREF(known);
		return known;
	}

	PyTypeObject *type = (PyTypeObject *)lent.connection_type;
	conn_object *self = (conn_object *)type->tp_alloc(type, 0);

	if (!self)
		return NULL;
	self->timeout_ms = -1;
	self->conn = sttcp_conn_ref(conn);
	self->id = sttcp_conn_id(conn);
	self->owner = owner;
	Py_INCREF(owner);
	self->address = conn_make_address(conn, host);
	if (!self->address) {
		Py_DECREF(self);
		return NULL;
	}
	/* Memory was asked for, and so garbage may have been collected, of which a part lets the
	 * GIL go: another thread may have been here. */
	known = conn_peek(conn);
	if (known) {
		Py_INCREF(known);
		Py_DECREF(self);
		return known;
	}
	Py_INCREF(self);
	sttcp_conn_set_data(conn, self, NULL);
	/* One that has ended may have had its last handler, which takes no GIL where there is
	 * nothing for it to do: it would stay tied for good. One that is open has it before it. */
	if (!sttcp_conn_is_open(conn))
		conn_untie(conn);
	return (PyObject *)self;
}

PyObject *conn_make_dialled(sttcp_conn *conn, PyObject *frame)
{
	PyTypeObject *type = (PyTypeObject *)lent.connection_type;
	conn_object *self = (conn_object *)type->tp_alloc(type, 0);
	PyObject *host = NULL;

	if (!self) {
		sttcp_conn_unref(conn);
		return NULL;
	}
	self->timeout_ms = -1;
	self->conn = conn;
	self->id = sttcp_conn_id(conn);
	self->dialled = true;
	if (frame != Py_None) {
		Py_INCREF(frame);
		self->frame = frame;
	}
	self->address = conn_make_address(conn, &host);
	Py_XDECREF(host);
	if (!self->address) {
		Py_DECREF(self);
		return NULL;
	}
	/* Whoever asks for it, a read or a task, has a reference to the object. */
	sttcp_conn_set_data(conn, self, NULL);
	return (PyObject *)self;
}

PyObject *conn_make_far(sttcp_conn *conn, PyObject *owner)
{
	PyObject *made = conn_make_dialled(sttcp_conn_ref(conn), Py_None);
	conn_object *self = (conn_object *)made;

	if (!made)
		return NULL;
	Py_INCREF(owner);
	self->owner = owner;
	self->far = true;
	self->paused = true;
	return made;
}

void conn_untie(sttcp_conn *conn)
{
	PyObject *known = conn_peek(conn);

	if (!known)
		return;
	sttcp_conn_set_data(conn, NULL, NULL);
	Py_CLEAR(((conn_object *)known)->own);
	dialogue_drop((conn_object *)known);
	Py_DECREF(known);
}

PyObject *conn_make_reason(sttcp_conn *conn, int code, PyObject *known)
{
	PyObject *raised = known ? ((conn_object *)known)->exception : NULL;

	if (code == STTCP_EHANDLER && raised) {
		Py_INCREF(raised);
		return raised;
	}

	const char *text = sttcp_conn_fail_text(conn);

	return PyObject_CallFunction(lent.make_reason, "iN", code, text_make(text ? text : ""));
}

PyObject *conn_raise(sttcp_conn *conn, int code)
{
	const char *text = code == sttcp_conn_reason(conn) ? sttcp_conn_fail_text(conn) : NULL;

	if (!text || !*text)
		return raise_code(code, NULL);

	PyObject *made = text_make(text);
	const char *utf8 = made ? PyUnicode_AsUTF8(made) : NULL;

	if (utf8)
		raise_code(code, utf8);
	Py_XDECREF(made);
	return NULL;
}

/* With the GIL, so that the last handler, which may come at once, finds the exception there. */
int conn_fail_with(sttcp_conn *conn, conn_object *known, PyObject *exception, const char *text,
		   bool now)
{
	int result;

	if (now)
		result = sttcp_conn_fail_now(conn, STTCP_EHANDLER, "%.200s", text);
	else
		result = sttcp_conn_fail(conn, STTCP_EHANDLER, "%.200s", text);
	if (result < 0)
		return result;
	/* Not before: another thread may end it first, and then a refusal has no last handler. */
	handlers_note_failure(conn);
	if (known && exception) {
		Py_INCREF(exception);
		Py_XSETREF(known->exception, exception);
	}
	return result;
}

bool conn_is_framed(const conn_object *self)
{
	if (self->framing != FRAMING_OF_GROUP)
		return self->framing == FRAMING_MESSAGES;
	return self->owner && ((group_object *)self->owner)->framed;
}

/* ---------------------------------------------------------------- its memory */

int conn_traverse(conn_object *self, visitproc visit, void *arg)
{
	Py_VISIT(self->owner);
	Py_VISIT(self->data);
	Py_VISIT(self->exception);
	Py_VISIT(self->frame);
	Py_VISIT(self->own);
	return dialogue_traverse(self, visit, arg);
}

int conn_clear(conn_object *self)
{
	dialogue_clear(self);
	Py_CLEAR(self->owner);
	Py_CLEAR(self->data);
	Py_CLEAR(self->exception);
	Py_CLEAR(self->frame);
	Py_CLEAR(self->own);
	return 0;
}

void conn_dealloc(conn_object *self)
{
	sttcp_conn *conn = self->conn;

	PyObject_GC_UnTrack(self);
	if (self->dialled)
		sttcp_conn_set_data(conn, NULL, NULL);
	/* The library's last reference is its client's. */
	if (self->far)
		sttcp_conn_close(conn);
	if (self->weakrefs)
		PyObject_ClearWeakRefs((PyObject *)self);
	conn_clear(self);
	Py_CLEAR(self->address);
	Py_TYPE(self)->tp_free((PyObject *)self);
	/* No data and so no code of others: it does not wait. A dialled one is closed by that. */
	sttcp_conn_unref(conn);
}
