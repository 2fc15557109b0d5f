/* SPDX-License-Identifier: MIT */
/*
 * The library's handlers, which call Python's: what each event of a connection comes to. All of
 * these are called on threads of the library, without the GIL.
 */
#include "dialogue.h"

#include <assert.h>

/* What the connection handler that runs on this thread has done to its connection. The library
 * takes closing it there for a refusal, and then no last handler comes, whatever the verdict; after
 * a failure one comes in any case. What others do to the connection at that time decides nothing.
 */
static _Thread_local struct {
	sttcp_conn *conn;
	bool closed;
	bool failed;
} opening;

void handlers_note_close(sttcp_conn *conn)
{
	if (opening.conn == conn && sttcp_conn_is_open(conn))
		opening.closed = true;
}

void handlers_note_failure(sttcp_conn *conn)
{
	if (opening.conn == conn)
		opening.failed = true;
}

static bool is_set(struct binding *binding, unsigned slots)
{
	return atomic_load_explicit(&binding->slots, memory_order_relaxed) & slots;
}

/* A phase, from outside Python. */
static bool serve(struct binding *binding, sttcp_conn *conn, sttcp_event event, enum slot slot,
		  const void *data, size_t size)
{
	if (!gil_enter())
		return false;

	group_object *group = take_group(binding);
	PyObject *bytes = NULL;
	conn_object *known = NULL;
	enum verdict verdict = NO;

	if (!group)
		goto leave;
	if (event == STTCP_CONNECTION && !binding->is_client) {
		opening.conn = conn;
		opening.closed = opening.failed = false;
	}
	verdict = FAILED;
	if (event != STTCP_CONNECTION) {
		bytes = PyBytes_FromStringAndSize(data, (Py_ssize_t)size);
		if (!bytes)
			goto failed;
	}
	known = (conn_object *)conn_wrap(conn, (PyObject *)group, &group->last_host);
	if (known && bytes && dialogue_waits(known)) {
		dialogue_take_data(known, bytes);
		verdict = YES;
	} else if (known) {
		verdict = phase_begin(group, known, event, slot, bytes);
	}
failed:
	if (verdict == FAILED)
		fail_raised(group, conn, false);
	if (opening.conn && !opening.failed && (verdict == NO || opening.closed)) {
		/* No other handler comes, in which a coroutine would find out. */
		if (known)
			dialogue_finish(known);
		conn_untie(conn);
	}
	opening.conn = NULL;
leave:
	Py_XDECREF(known);
	Py_XDECREF(bytes);
	Py_XDECREF(group);
	leave_python();
	return verdict != NO;
}

/* What a client's is_connected and sock_name tell. */
static void note_current(struct binding *binding, sttcp_conn *conn)
{
	pthread_mutex_lock(&binding->lock);
	snprintf(binding->local, sizeof(binding->local), "%s", sttcp_conn_local_address(conn));
	binding->is_connected = true;
	pthread_mutex_unlock(&binding->lock);
}

static void note_end(struct binding *binding)
{
	pthread_mutex_lock(&binding->lock);
	binding->is_connected = false;
	pthread_mutex_unlock(&binding->lock);
}

static bool on_connection(sttcp_conn *conn, void *context)
{
	struct binding *binding = context;
	unsigned slots = 1U << SLOT_CONNECTION | 1U << SLOT_UNIVERSAL;

	if (binding->is_client) {
		slots |= 1U << SLOT_PLAIN;
		note_current(binding, conn);
	}
	return !is_set(binding, slots) ||
	       serve(binding, conn, STTCP_CONNECTION, SLOT_CONNECTION, NULL, 0);
}

static const unsigned data_slots =
	1U << SLOT_DATA | 1U << SLOT_UNIVERSAL | 1U << SLOT_PLAIN | 1U << SLOT_DIALOGUE;

/* Its verdict can only be the universal handler's, which a receive handler cannot return. */
static void on_receive(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	if (is_set(context, data_slots) &&
	    !serve(context, conn, STTCP_RECEIVE, SLOT_DATA, data, size))
		sttcp_conn_close(conn);
}

static bool on_response(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	return !is_set(context, data_slots) ||
	       serve(context, conn, STTCP_RESPONSE, SLOT_DATA, data, size);
}

/* The connection goes on, unless nobody can handle the message any more, or this handler was taken
 * back meanwhile and another one has ended it. */
void handlers_own(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	struct binding *binding = context;
	sttcp_event event = binding->is_client ? STTCP_RESPONSE : STTCP_RECEIVE;

	if (!serve(binding, conn, event, SLOT_DATA, data, size))
		sttcp_conn_close(conn);
}

/* The handlers of what is no phase: they get the connection. */
static void notify(struct binding *binding, sttcp_conn *conn, enum slot slot,
		   void (*tell_dialogue)(conn_object *self))
{
	if (!is_set(binding, 1U << slot | 1U << SLOT_DIALOGUE) || !gil_enter())
		return;

	group_object *group = take_group(binding);
	conn_object *known =
		group ? (conn_object *)conn_wrap(conn, (PyObject *)group, &group->last_host) : NULL;

	/* Coroutines that begin later learn of it, too. */
	if (known && slot == SLOT_END)
		known->fin = true;
	if (known && dialogue_waits(known))
		tell_dialogue(known);
	else if (slot == SLOT_END && !binding->half_close)
		sttcp_conn_set_half_close(conn, false);
	else if (group && (!known || phase_notify(group, known, slot) == FAILED))
		fail_raised(group, conn, false);
	Py_XDECREF(known);
	Py_XDECREF(group);
	leave_python();
}

static void on_end(sttcp_conn *conn, void *context)
{
	struct binding *binding = context;

	/* A coroutine has let it go on without the option, and may be gone. */
	if (!binding->half_close && !is_set(binding, 1U << SLOT_DIALOGUE)) {
		sttcp_conn_set_half_close(conn, false);
		return;
	}
	notify(context, conn, SLOT_END, dialogue_take_end);
}

static void on_drained(sttcp_conn *conn, void *context)
{
	notify(context, conn, SLOT_DRAINED, dialogue_take_drained);
}

static enum verdict run_malformed(group_object *group, conn_object *known, PyObject *error)
{
	PyObject *const args[] = {known->address, (PyObject *)known, error};
	/* Inside of a coroutine that waits here, it is none. */
	struct dialogue *outer = dialogue_swap(NULL);
	enum verdict verdict = phase_call_slot(group, SLOT_MALFORMED, args, 3, NULL, WAITS_HERE);

	dialogue_swap(outer);
	return verdict;
}

/* While a handler waits in recv_message, inside of that; a coroutine, too. The connection ends when
 * it returns. */
static void on_malformed(sttcp_conn *conn, int code, void *context)
{
	struct binding *binding = context;

	if (!is_set(binding, 1U << SLOT_MALFORMED) || !gil_enter())
		return;

	group_object *group = take_group(binding);
	PyObject *known = group ? conn_wrap(conn, (PyObject *)group, &group->last_host) : NULL;
	PyObject *error = known ? conn_make_reason(conn, code, NULL) : NULL;

	if (group && (!error || run_malformed(group, (conn_object *)known, error) == FAILED))
		fail_raised(group, conn, false);
	Py_XDECREF(error);
	Py_XDECREF(known);
	Py_XDECREF(group);
	leave_python();
}

/* The last handler, of either kind. Whatever one raises, the other runs. */
static void run_last(group_object *group, sttcp_conn *conn, sttcp_event event, enum slot slot,
		     int code, int nargs)
{
	bool opened = event == STTCP_DISCONNECTION;
	PyObject *address = opened ? conn_make_address(conn, &group->last_host)
				   : PyObject_GetAttrString((PyObject *)group, "_given");
	PyObject *reason = conn_make_reason(conn, code, conn_peek(conn));
	PyObject *known = Py_None;

	if (!address || !reason)
		goto failed;
	if (opened) {
		known = conn_wrap(conn, (PyObject *)group, &group->last_host);
		if (!known)
			goto failed;
	} else {
		Py_INCREF(known);
	}

	PyObject *const universal[] = {phase_event_type(group, event), address, Py_None, Py_None};
	PyObject *const specific[] = {address, reason, known};

	if (phase_call_slot(group, SLOT_UNIVERSAL, universal, 4, NULL, WAITS_HERE) == FAILED)
		report_raised();
	if (phase_call_slot(group, slot, specific, (size_t)nargs, NULL, WAITS_HERE) == FAILED)
		report_raised();
	Py_DECREF(known);
failed:
	if (PyErr_Occurred())
		report_raised();
	Py_XDECREF(address);
	Py_XDECREF(reason);
}

/* Tells a client that it has ended, unless its handler has started it again. */
static void tell_ended(group_object *group)
{
	PyObject *result = PyObject_CallMethod((PyObject *)group, "_ended", NULL);

	if (!result)
		report_raised();
	Py_XDECREF(result);
}

static void serve_last(struct binding *binding, sttcp_conn *conn, sttcp_event event, enum slot slot,
		       int code)
{
	bool wanted = is_set(binding, 1U << slot | 1U << SLOT_UNIVERSAL);

	if (binding->is_client)
		note_end(binding);
	if (!wanted && !binding->is_client && !conn_peek(conn))
		return;
	if (!gil_enter())
		return;

	group_object *group = take_group(binding);

	if (group) {
		if (conn_peek(conn))
			dialogue_finish((conn_object *)conn_peek(conn));
		group->last_thread = PyThread_get_thread_ident();
		group->restarted = false;
		if (wanted)
			run_last(group, conn, event, slot, code,
				 event == STTCP_DISCONNECTION ? group->disconnection_args
							      : group->unconnected_args);
		group->last_thread = 0;
		if (binding->is_client && !group->restarted && !group->reconnects)
			tell_ended(group);
	}
	conn_untie(conn);
	Py_XDECREF(group);
	leave_python();
}

static void on_disconnection(sttcp_conn *conn, int reason, void *context)
{
	serve_last(context, conn, STTCP_DISCONNECTION, SLOT_DISCONNECTION, reason);
}

static void on_unconnected(sttcp_conn *conn, int reason, void *context)
{
	serve_last(context, conn, STTCP_UNCONNECTED, SLOT_UNCONNECTED, reason);
}

static void release(void *context)
{
	struct binding *binding = context;

	pthread_mutex_destroy(&binding->lock);
	PyMem_RawFree(binding);
}

/* They are refused only while the object is started, which this one never was. */
void handlers_set(group_object *group)
{
	int result;

	if (group->client)
		result = sttcp_client_set_context(group->client, group->binding) |
			 sttcp_client_on_connection(group->client, on_connection) |
			 sttcp_client_on_response(group->client, on_response) |
			 sttcp_client_on_end(group->client, on_end) |
			 sttcp_client_on_disconnection(group->client, on_disconnection) |
			 sttcp_client_on_unconnected(group->client, on_unconnected) |
			 sttcp_client_on_drained(group->client, on_drained) |
			 sttcp_client_on_malformed(group->client, on_malformed) |
			 sttcp_client_on_release(group->client, release);
	else
		result = sttcp_server_set_context(group->server, group->binding) |
			 sttcp_server_on_connection(group->server, on_connection) |
			 sttcp_server_on_receive(group->server, on_receive) |
			 sttcp_server_on_end(group->server, on_end) |
			 sttcp_server_on_disconnection(group->server, on_disconnection) |
			 sttcp_server_on_drained(group->server, on_drained) |
			 sttcp_server_on_malformed(group->server, on_malformed) |
			 sttcp_server_on_release(group->server, release);
	assert(result == 0);
	(void)result;
}
