/* SPDX-License-Identifier: MIT */
/* The connections of a server or client, all of them or those in a room: one send to many, each,
 * find, counts. */
#include "conn.h"
#include "group_methods.h"

/* The name of a room, which is the object's; NULL for None, which is all connections. */
static int read_room(PyObject *room, const char **name)
{
	char *bytes = NULL;

	if (room != Py_None && PyBytes_AsStringAndSize(room, &bytes, NULL) < 0)
		return -1;
	*name = bytes;
	return 0;
}

static int broadcast(sttcp_server *server, const char *room, sttcp_conn *except,
		     const Py_buffer *bytes, bool framed)
{
	const void *data = bytes->buf;
	size_t size = (size_t)bytes->len;

	if (room && framed)
		return sttcp_server_send_room_message(server, room, except, data, size);
	if (room)
		return sttcp_server_send_room(server, room, except, data, size);
	if (framed)
		return sttcp_server_broadcast_message(server, except, data, size);
	return sttcp_server_broadcast_except(server, except, data, size);
}

PyObject *group_broadcast(group_object *self, PyObject *args)
{
	Py_buffer bytes;
	PyObject *except;
	PyObject *room = Py_None;
	const char *name;
	int framed;
	int result;

	if (!PyArg_ParseTuple(args, "y*Op|O:_broadcast", &bytes, &except, &framed, &room))
		return NULL;

	sttcp_conn *excepted = NULL;

	if (!group_is_server(self) || read_room(room, &name) < 0) {
		PyBuffer_Release(&bytes);
		return NULL;
	}
	if (except != Py_None) {
		if (!PyObject_TypeCheck(except, &conn_type)) {
			PyBuffer_Release(&bytes);
			PyErr_SetString(PyExc_TypeError, "exclude must be a Connection");
			return NULL;
		}
		excepted = ((conn_object *)except)->conn;
	}
	Py_BEGIN_ALLOW_THREADS
	result = broadcast(self->server, name, excepted, &bytes, framed);
	Py_END_ALLOW_THREADS
	PyBuffer_Release(&bytes);
	return result < 0 ? raise_code(result, NULL) : PyLong_FromLong(result);
}

struct members {
	sttcp_conn **conns;
	size_t count;
	size_t room;
	bool failed;
};

/* Without the GIL. */
static void keep_member(sttcp_conn *conn, void *argument)
{
	struct members *members = argument;

	if (members->count == members->room) {
		size_t room = members->room * 2 + 16;
		sttcp_conn **more = PyMem_RawRealloc(members->conns, room * sizeof(sttcp_conn *));

		if (!more) {
			members->failed = true;
			return;
		}
		members->conns = more;
		members->room = room;
	}
	members->conns[members->count++] = sttcp_conn_ref(conn);
}

/* One that has ended meanwhile, and whose object went with its last handler, is none any more: it
 * would get a second one, which knows nothing of the first. */
static int append_member(PyObject *list, group_object *self, sttcp_conn *conn)
{
	if (!conn_peek(conn) && !sttcp_conn_is_open(conn))
		return 0;

	PyObject *wrapped = conn_wrap(conn, (PyObject *)self, &self->last_host);
	int result = wrapped ? PyList_Append(list, wrapped) : -1;

	Py_XDECREF(wrapped);
	return result;
}

PyObject *group_connections(group_object *self, PyObject *args)
{
	struct members members = {0};
	PyObject *room = Py_None;
	const char *name;

	if (!PyArg_ParseTuple(args, "|O:_connections", &room) || !group_is_server(self) ||
	    read_room(room, &name) < 0)
		return NULL;

	int result;

	Py_BEGIN_ALLOW_THREADS
	if (name)
		result = sttcp_server_each_in(self->server, name, keep_member, &members);
	else
		result = sttcp_server_each(self->server, keep_member, &members);
	Py_END_ALLOW_THREADS
	if (result < 0)
		return raise_code(result, NULL);

	PyObject *list = members.failed ? PyErr_NoMemory() : PyList_New(0);

	for (size_t i = 0; list && i < members.count; i++)
		if (append_member(list, self, members.conns[i]) < 0)
			Py_CLEAR(list);
	for (size_t i = 0; i < members.count; i++)
		sttcp_conn_unref(members.conns[i]);
	PyMem_RawFree(members.conns);
	return list;
}

/* Wraps a reference that is ours. */
static PyObject *wrap_taken(group_object *self, sttcp_conn *conn)
{
	if (!conn)
		Py_RETURN_NONE;

	PyObject *wrapped = conn_wrap(conn, (PyObject *)self, &self->last_host);

	sttcp_conn_unref(conn);
	return wrapped;
}

PyObject *group_find(group_object *self, PyObject *number)
{
	unsigned long long id = PyLong_AsUnsignedLongLong(number);

	if ((id == (unsigned long long)-1 && PyErr_Occurred()) || !group_is_server(self))
		return NULL;
	return wrap_taken(self, sttcp_server_find(self->server, id));
}

PyObject *group_connection(group_object *self, PyObject *unused)
{
	(void)unused;
	if (!group_is_client(self))
		return NULL;
	return wrap_taken(self, sttcp_client_conn(self->client));
}

PyObject *group_count(group_object *self, PyObject *unused)
{
	(void)unused;
	if (!group_is_server(self))
		return NULL;

	int count = sttcp_server_count(self->server);

	return count < 0 ? raise_code(count, NULL) : PyLong_FromLong(count);
}

PyObject *group_count_in(group_object *self, PyObject *room)
{
	const char *name = PyBytes_AsString(room);

	if (!name || !group_is_server(self))
		return NULL;

	int count = sttcp_server_count_in(self->server, name);

	return count < 0 ? raise_code(count, NULL) : PyLong_FromLong(count);
}

PyObject *group_stats(group_object *self, PyObject *unused)
{
	sttcp_stats stats = {0};
	int result;

	(void)unused;
	if (!group_is_server(self))
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	result = sttcp_server_stats(self->server, &stats, sizeof(stats));
	Py_END_ALLOW_THREADS
	if (result < 0)
		return raise_code(result, NULL);

#define COUNTER(name) #name, (long long)stats.name
	return Py_BuildValue("{sLsLsLsLsLsLsLsLsLsLsLsLsLsLsLsLsLsLsLsLsLsL}", COUNTER(connections),
			     COUNTER(total), COUNTER(declined), COUNTER(failed), COUNTER(bytes_in),
			     COUNTER(bytes_out), COUNTER(messages_in), COUNTER(messages_out),
			     COUNTER(queued), COUNTER(threads), COUNTER(threads_blocked),
			     COUNTER(takeovers), COUNTER(longest_ms), COUNTER(longest_id),
			     COUNTER(accept_pauses), COUNTER(over_connections),
			     COUNTER(over_per_ip), COUNTER(over_rate), COUNTER(thread_cap_hits),
			     COUNTER(tls_failed), COUNTER(fibers), COUNTER(fibers_waiting));
#undef COUNTER
}
