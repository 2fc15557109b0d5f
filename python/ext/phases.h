/* SPDX-License-Identifier: MIT */
/* The phases of calls that each event brings about. With the GIL held. */
#ifndef STTCP_PYTHON_PHASES_H
#define STTCP_PYTHON_PHASES_H

#include "calls.h"

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

/* The member of HandlerType, borrowed. */
PyObject *phase_event_type(const group_object *group, sttcp_event event);

/* One call, of the handler that is set in that slot. */
enum verdict phase_call_slot(group_object *group, enum slot slot, PyObject *const *args,
			     size_t nargs, conn_object *conn, enum ability ability);

/* The calls of an event; `data` may be NULL. */
enum verdict phase_begin(group_object *group, conn_object *conn, sttcp_event event, enum slot slot,
			 PyObject *data);

/* Goes on behind a call that was parked and has said `verdict`. PARKED: another one is, and stands
 * in the dialogue. */
enum verdict phase_go_on(group_object *group, conn_object *conn, struct phase *phase,
			 enum verdict verdict);

/* The calls for bytes that have come before. Takes the reference. */
enum verdict phase_begin_data(group_object *group, conn_object *conn, PyObject *data);

/* The call of the handler in that slot, which gets the connection alone. */
enum verdict phase_notify(group_object *group, conn_object *conn, enum slot slot);

/* What follows when all calls are over, and the library has gone on meanwhile. */
void phase_conclude(group_object *group, sttcp_conn *conn, enum verdict verdict);

#endif
