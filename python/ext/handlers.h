/* SPDX-License-Identifier: MIT */
/* The library's handlers, and the phases of calls that each event brings about. */
#ifndef STTCP_PYTHON_HANDLERS_H
#define STTCP_PYTHON_HANDLERS_H

#include "calls.h"

/* Sets the library's handlers of an object that was just made; handlers.c. */
void handlers_set(group_object *group);

/* To be called before a connection is closed or aborted, and when it has been failed and that
 * counts: whether its last handler will come depends on who ends it. */
void handlers_note_close(sttcp_conn *conn);
void handlers_note_failure(sttcp_conn *conn);

/* For sttcp_conn_on_message, with the binding as its context; any thread, without the GIL. */
void handlers_own(sttcp_conn *conn, const void *data, size_t size, void *context);

/* ---------------------------------------------------------------- phases */

/* The calls that one event brings about, as far as they have got. */
struct phase {
	sttcp_event event; /* 0: one call only, without a verdict */
	enum slot slot;
	PyObject *data; /* or NULL */
	PyObject *own;	/* its own handler of messages, or NULL */
	unsigned char stage;
	signed char universal;
	signed char specific;
	bool called; /* the specific one */
};

/* Goes on behind a call that was parked and has said `verdict`. PARKED: another one is, and stands
 * in the dialogue. */
enum verdict handlers_go_on(group_object *group, conn_object *conn, struct phase *phase,
			    enum verdict verdict);

/* The calls for bytes that have come before. Takes the reference. */
enum verdict handlers_data(group_object *group, conn_object *conn, PyObject *data);

/* The call of the handler in that slot, which gets the connection alone. */
enum verdict handlers_notify(group_object *group, conn_object *conn, enum slot slot);

/* What follows when all calls are over, and the library has gone on meanwhile. */
void handlers_conclude(group_object *group, sttcp_conn *conn, enum verdict verdict);

#endif
