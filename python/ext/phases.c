/* SPDX-License-Identifier: MIT */
/*
 * The phases of a connection: in each the universal handler comes first, then the specific one,
 * then the plain one of the first versions, whose result is ignored. None is no verdict: what comes
 * before counts, and in the end the connection goes on.
 */
#include "dialogue.h"

PyObject *phase_event_type(const group_object *group, sttcp_event event)
{
	PyObject *types = lent.event_types[group->binding->is_client];

	return PyTuple_GET_ITEM(types, (Py_ssize_t)event);
}

/* A handler may set another one meanwhile. */
static PyObject *take_handler(group_object *group, enum slot slot)
{
	Py_XINCREF(group->handlers[slot]);
	return group->handlers[slot];
}

enum verdict phase_call_slot(group_object *group, enum slot slot, PyObject *const *args,
			     size_t nargs, conn_object *conn, enum ability ability)
{
	PyObject *handler = take_handler(group, slot);
	enum verdict verdict = handler ? call_python(handler, args, nargs, conn, ability) : NOTHING;

	Py_XDECREF(handler);
	return verdict;
}

/* The calls of a phase in which the connection is there, in their order. */
enum stage {
	UNIVERSAL,
	OWN, /* in place of the other two */
	SPECIFIC,
	PLAIN,
	OVER
};

static enum verdict call_universal(group_object *group, conn_object *conn, struct phase *phase)
{
	PyObject *const args[] = {phase_event_type(group, phase->event), conn->address,
				  (PyObject *)conn, phase->data ? phase->data : Py_None};

	return phase_call_slot(group, SLOT_UNIVERSAL, args, 4, conn, PARKS_AND_READS);
}

static enum verdict call_stage(group_object *group, conn_object *conn, struct phase *phase)
{
	PyObject *const args[] = {conn->address, (PyObject *)conn,
				  phase->data ? phase->data : Py_None};

	switch (phase->stage) {
	case UNIVERSAL:
		if (!group->handlers[SLOT_UNIVERSAL])
			return NOTHING;
		return call_universal(group, conn, phase);
	case OWN:
		return call_python(phase->own, args, 3, conn, PARKS_AND_READS);
	case SPECIFIC:
		phase->called = group->handlers[phase->slot];
		if (!phase->called)
			return NOTHING;
		return phase_call_slot(group, phase->slot, args, phase->data ? 3 : 2, conn,
				       PARKS_AND_READS);
	default:
		if (!group->handlers[SLOT_PLAIN] || (!phase->data && !group->binding->is_client))
			return NOTHING;
		return phase_call_slot(group, SLOT_PLAIN, args, 3, conn, PARKS_AND_READS);
	}
}

/* What a call has said, and which one is next. */
static void note_stage(struct phase *phase, enum verdict verdict)
{
	switch (phase->stage) {
	case UNIVERSAL:
		phase->universal = (signed char)verdict;
		phase->stage = phase->own ? OWN : SPECIFIC;
		break;
	case OWN:
		/* It lets the connection go on, whatever it returns. */
		phase->specific = YES;
		phase->stage = OVER;
		break;
	case SPECIFIC:
		/* So does a server's receive handler. */
		phase->specific =
			(signed char)(phase->called && phase->event == STTCP_RECEIVE ? YES
										     : verdict);
		phase->stage = PLAIN;
		break;
	default:
		phase->stage = OVER;
	}
}

/* From its stage on: its verdict. */
static enum verdict run_phase(group_object *group, conn_object *conn, struct phase *phase)
{
	while (phase->stage != OVER) {
		enum verdict verdict = call_stage(group, conn, phase);

		if (verdict == PARKED) {
			conn->dialogue->phase = *phase;
			Py_XINCREF(phase->data);
			Py_XINCREF(phase->own);
			return PARKED;
		}
		if (verdict == FAILED)
			return FAILED;
		note_stage(phase, verdict);
	}
	return (enum verdict)(phase->specific == NOTHING ? phase->universal : phase->specific);
}

enum verdict phase_begin(group_object *group, conn_object *conn, sttcp_event event, enum slot slot,
			 PyObject *data)
{
	/* First: what the universal handler sets is for the next message. */
	PyObject *own = slot == SLOT_DATA ? conn->own : NULL;
	struct phase phase = {.event = event, .slot = slot, .data = data, .own = own};

	Py_XINCREF(own);

	enum verdict verdict = run_phase(group, conn, &phase);

	Py_XDECREF(own);
	return verdict;
}

enum verdict phase_go_on(group_object *group, conn_object *conn, struct phase *phase,
			 enum verdict verdict)
{
	if (verdict == FAILED)
		return FAILED;
	if (!phase->event)
		return NOTHING;
	note_stage(phase, verdict);
	return run_phase(group, conn, phase);
}

enum verdict phase_begin_data(group_object *group, conn_object *conn, PyObject *data)
{
	sttcp_event event = group->binding->is_client ? STTCP_RESPONSE : STTCP_RECEIVE;
	enum verdict verdict = phase_begin(group, conn, event, SLOT_DATA, data);

	Py_DECREF(data);
	return verdict;
}

enum verdict phase_notify(group_object *group, conn_object *conn, enum slot slot)
{
	PyObject *const args[] = {conn->address, (PyObject *)conn};
	enum verdict verdict = phase_call_slot(group, slot, args, 2, conn, PARKS);

	return verdict == PARKED || verdict == FAILED ? verdict : NOTHING;
}

void phase_conclude(group_object *group, sttcp_conn *conn, enum verdict verdict)
{
	if (verdict == FAILED)
		fail_raised(group, conn, true);
	else if (verdict == NO)
		sttcp_conn_close(conn);
}
