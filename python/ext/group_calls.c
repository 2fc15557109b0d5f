/* SPDX-License-Identifier: MIT */
/* Calls of a server or client: its life, what it listens on, and what it sends. Each is one call of
 * the library, whose code Python judges. */
#include "group_methods.h"

#include <errno.h>
#include <string.h>

/* 1 for a start inside the client's own last handler: the run goes on. */
PyObject *group_start(group_object *self, PyObject *unused)
{
	int result;

	(void)unused;
	if (!group_is_made(self))
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	result = self->client ? sttcp_client_start(self->client) : sttcp_server_start(self->server);
	Py_END_ALLOW_THREADS
	if (result < 0 || self->last_thread != PyThread_get_thread_ident())
		return PyLong_FromLong(result);
	self->restarted = true;
	return PyLong_FromLong(1);
}

PyObject *group_stop(group_object *self, PyObject *args)
{
	sttcp_stop_report report = {0};
	int timeout_ms;
	int result;

	if (!PyArg_ParseTuple(args, "i:_stop", &timeout_ms) || !group_is_made(self))
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	result = self->client ? sttcp_client_close(self->client)
			      : sttcp_server_stop_within(self->server, timeout_ms, &report);
	Py_END_ALLOW_THREADS
	return Py_BuildValue("(iLLL)", result, (long long)report.ended, (long long)report.forced,
			     (long long)report.running);
}

PyObject *group_request_stop(group_object *self, PyObject *unused)
{
	(void)unused;
	if (!group_is_server(self))
		return NULL;
	return PyLong_FromLong(sttcp_server_request_stop(self->server));
}

PyObject *group_wait(group_object *self, PyObject *args)
{
	int timeout_ms;
	int result;

	if (!PyArg_ParseTuple(args, "i:_wait", &timeout_ms) || !group_is_made(self))
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	result = self->client ? sttcp_client_wait(self->client, timeout_ms)
			      : sttcp_server_wait(self->server, timeout_ms);
	Py_END_ALLOW_THREADS
	return PyLong_FromLong(result);
}

PyObject *group_wait_open(group_object *self, PyObject *args)
{
	int timeout_ms;
	int result;

	if (!PyArg_ParseTuple(args, "i:_wait_open", &timeout_ms) || !group_is_client(self))
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	result = sttcp_client_wait_open(self->client, timeout_ms);
	Py_END_ALLOW_THREADS
	return PyLong_FromLong(result);
}

/* On the open connection: the code, and -ETIMEDOUT when there is none. */
PyObject *group_send(group_object *self, PyObject *args)
{
	Py_buffer bytes;
	int framed;
	int result;

	if (!PyArg_ParseTuple(args, "y*p:_send", &bytes, &framed))
		return NULL;
	if (!group_is_client(self)) {
		PyBuffer_Release(&bytes);
		return NULL;
	}
	Py_BEGIN_ALLOW_THREADS
	result = framed ? sttcp_client_send_message(self->client, bytes.buf, (size_t)bytes.len, 0)
			: sttcp_client_send(self->client, bytes.buf, (size_t)bytes.len, 0);
	Py_END_ALLOW_THREADS
	PyBuffer_Release(&bytes);
	return PyLong_FromLong(result);
}

/* The same, if that need not wait for room: whether it was sent. */
PyObject *group_try_send(group_object *self, PyObject *args)
{
	Py_buffer bytes;
	int framed;
	int result = -ENOTCONN;

	if (!PyArg_ParseTuple(args, "y*p:_try_send", &bytes, &framed))
		return NULL;
	if (!group_is_client(self)) {
		PyBuffer_Release(&bytes);
		return NULL;
	}
	Py_BEGIN_ALLOW_THREADS
	sttcp_conn *conn = sttcp_client_conn(self->client);

	if (conn)
		result = framed ? sttcp_conn_try_send_message(conn, bytes.buf, (size_t)bytes.len)
				: sttcp_conn_try_send(conn, bytes.buf, (size_t)bytes.len);
	sttcp_conn_unref(conn);
	Py_END_ALLOW_THREADS
	PyBuffer_Release(&bytes);
	return PyBool_FromLong(result == 0);
}

/* (is_connected, this end's address), of a client. */
PyObject *group_current(group_object *self, PyObject *unused)
{
	char local[sizeof(self->binding->local)];
	bool is_connected;

	(void)unused;
	if (!group_is_client(self))
		return NULL;
	pthread_mutex_lock(&self->binding->lock);
	memcpy(local, self->binding->local, sizeof(local));
	is_connected = self->binding->is_connected;
	pthread_mutex_unlock(&self->binding->lock);
	return Py_BuildValue("(Ns)", PyBool_FromLong(is_connected), local);
}

PyObject *group_error(group_object *self, PyObject *unused)
{
	const char *text;

	(void)unused;
	if (!group_is_made(self))
		return NULL;
	text = self->client ? sttcp_client_error(self->client) : sttcp_server_error(self->server);
	return PyUnicode_DecodeFSDefault(text ? text : "");
}

PyObject *group_port(group_object *self, PyObject *unused)
{
	(void)unused;
	if (!group_is_server(self))
		return NULL;
	return PyLong_FromLong(sttcp_server_port(self->server));
}

PyObject *group_add_address(group_object *self, PyObject *args)
{
	PyObject *host = NULL;
	int port;
	int result;

	if (!PyArg_ParseTuple(args, "O&i:_add_address", PyUnicode_FSConverter, &host, &port))
		return NULL;
	if (!group_is_server(self)) {
		Py_DECREF(host);
		return NULL;
	}
	Py_BEGIN_ALLOW_THREADS
	result = sttcp_server_add_address(self->server, PyBytes_AS_STRING(host), port);
	Py_END_ALLOW_THREADS
	Py_DECREF(host);
	return PyLong_FromLong(result);
}

PyObject *group_add_listener(group_object *self, PyObject *args)
{
	int fd;
	int result;

	if (!PyArg_ParseTuple(args, "i:_add_listener", &fd) || !group_is_server(self))
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	result = sttcp_server_add_listener(self->server, fd);
	Py_END_ALLOW_THREADS
	return PyLong_FromLong(result);
}

PyObject *group_addresses(group_object *self, PyObject *unused)
{
	(void)unused;
	if (!group_is_server(self))
		return NULL;

	PyObject *list = PyList_New(0);
	const char *text;

	for (int i = 0; list && (text = sttcp_server_address(self->server, i)); i++) {
		PyObject *address = PyUnicode_DecodeFSDefault(text);

		if (!address || PyList_Append(list, address) < 0)
			Py_CLEAR(list);
		Py_XDECREF(address);
	}
	return list;
}
