/* SPDX-License-Identifier: MIT */
/*
 * Handlers that are coroutines. One runs as any handler does, on the thread that runs the handlers
 * of its connection, until it waits: then its call returns to the library, and what is left of the
 * event stands in the connection's dialogue. The library knows nothing of it. What wakes the
 * coroutine are the calls that it makes in any case:
 *
 *	waits for	the connection is	goes on in
 *	input		read from		its handler of messages; at the peer's FIN a task
 *	room		paused			a task, given by the drained handler
 *	a time		paused			a task
 *	whatever	at its end		the disconnection handler, before that of the user
 *
 * The connection may have as many tasks as it can by then: so a wait for room, and one for another
 * connection, keeps a place among them, or fails as it begins.
 *
 * A dialogue belongs to the connection's owner, as its handlers do: what other threads do to it
 * (pause, resume, cancel) they do under the GIL. While a coroutine waits no other handler runs;
 * what would run is noted, and follows when the coroutine has returned: tasks, the drained handler,
 * the handler of messages for bytes that were not read, the end handler.
 *
 * Each step of a coroutine runs in the context (contextvars) in which it began, as one of a task
 * of asyncio does: it goes on on any thread.
 *
 * Where nothing can be parked, in the last handlers and in malformed ones, a coroutine has a
 * dialogue of no connection and waits on the spot.
 */
#include "dialogue.h"

#include <errno.h>
#include <string.h>

static _Thread_local struct dialogue *now;

struct dialogue *dialogue_now(void)
{
	return now;
}

/* Of a child that was forked in a coroutine. */
static struct dialogue of_child;

static void leave_parent(void)
{
	if (now)
		now = &of_child;
}

int dialogues_init(void)
{
	if (pthread_atfork(NULL, NULL, leave_parent)) {
		PyErr_NoMemory();
		return -1;
	}
	return 0;
}

struct dialogue *dialogue_swap(struct dialogue *other)
{
	struct dialogue *before = now;

	now = other;
	return before;
}

/* ---------------------------------------------------------------- running it */

/* Runs it until it waits, or is over: then it is gone. */
static enum verdict drive(struct dialogue *d)
{
	struct dialogue *outer = dialogue_swap(d);
	PyObject *result = NULL;
	enum came came = coroutine_send(d->coroutine, &result);

	while (came == YIELDED) {
		if (result != (PyObject *)d->wait) {
			Py_CLEAR(d->wait);
			came = coroutine_refuse(d->coroutine, result, &result);
			continue;
		}
		Py_DECREF(result);
		if (park_begin(d)) {
			dialogue_swap(outer);
			return PARKED;
		}
		came = coroutine_send(d->coroutine, &result);
	}
	if (came == RAISED)
		coroutine_explain();
	dialogue_swap(outer);

	/* Its end may run code of the user's. */
	PyObject *type;
	PyObject *value;
	PyObject *traceback;

	PyErr_Fetch(&type, &value, &traceback);
	Py_CLEAR(d->wait);
	Py_CLEAR(d->coroutine);
	Py_CLEAR(d->context);
	PyErr_Restore(type, value, traceback);
	if (came == RAISED)
		return FAILED;

	int truth = result == Py_None ? (int)NOTHING : PyObject_IsTrue(result);

	Py_DECREF(result);
	return truth < 0 ? FAILED : (enum verdict)truth;
}

/* A coroutine has been parked for the first time: the connection has a dialogue now. */
struct dialogue *dialogue_keep(conn_object *conn, const struct dialogue *first)
{
	struct dialogue *d = PyMem_Malloc(sizeof(*d));
	struct binding *binding = ((group_object *)conn->owner)->binding;

	if (!d)
		return NULL;
	*d = *first;
	conn->dialogue = d;
	if (binding->ndialogues++ == 0)
		atomic_fetch_or(&binding->slots, 1U << SLOT_DIALOGUE);
	return d;
}

/* Around what goes on with it: into its context, a reference for the time, or NULL; and back. It is
 * in no other thread's hands, so that neither fails. */
static PyObject *enter_again(const struct dialogue *d)
{
	PyObject *context = d->context;

	if (context && PyContext_Enter(context) < 0) {
		PyErr_WriteUnraisable(context);
		return NULL;
	}
	Py_XINCREF(context);
	return context;
}

static void leave_again(PyObject *context)
{
	if (context && PyContext_Exit(context) < 0)
		PyErr_WriteUnraisable(context);
	Py_XDECREF(context);
}

enum verdict dialogue_begin(conn_object *conn, PyObject *coroutine, PyObject *context,
			    bool may_read)
{
	struct dialogue first = {.conn = conn};
	struct dialogue *d = conn && conn->dialogue ? conn->dialogue : &first;

	d->coroutine = coroutine;
	Py_XINCREF(context);
	d->context = context;
	d->may_not_read = !may_read;
	/* The collector has taken it apart. */
	if (conn && !conn->owner)
		d->conn = NULL;

	enum verdict verdict = drive(d);

	if (verdict != PARKED && d == &first)
		park_give_place(d);
	if (verdict == PARKED && d == &first && !dialogue_keep(conn, d)) {
		park_cancel_timer(d);
		park_give_place(d);
		park_cut(d, false);
		park_hold(d, conn->paused);
		park_outlive_fin(d, false);
		Py_CLEAR(d->wait);
		Py_CLEAR(d->part);
		Py_CLEAR(d->coroutine);
		Py_CLEAR(d->context);
		PyErr_NoMemory();
		return FAILED;
	}
	return verdict;
}

/* ---------------------------------------------------------------- its end */

static void drop_tasks(struct dialogue *d)
{
	while (d->tasks) {
		struct task *task = d->tasks;

		d->tasks = task->behind;
		tasks_drop(task);
	}
}

static void drop_phase(struct phase *phase)
{
	Py_CLEAR(phase->data);
	Py_CLEAR(phase->own);
}

/* The connection has no dialogue any more. */
void dialogue_over(struct dialogue *d)
{
	conn_object *conn = d->conn;
	group_object *owner = (group_object *)conn->owner;

	park_cancel_timer(d);
	park_give_place(d);
	park_cut(d, false);
	conn->dialogue = NULL;
	if (owner && --owner->binding->ndialogues == 0)
		atomic_fetch_and(&owner->binding->slots, ~(1U << SLOT_DIALOGUE));
	park_hold(d, conn->paused);
	park_outlive_fin(d, false);
	drop_tasks(d);
	drop_phase(&d->phase);
	Py_CLEAR(d->wait);
	Py_CLEAR(d->part);
	Py_CLEAR(d->rest);
	Py_CLEAR(d->coroutine);
	Py_CLEAR(d->context);
	PyMem_Free(d);
}

void dialogue_drop(conn_object *self)
{
	struct dialogue *d = self->dialogue;

	if (!d)
		return;

	PyObject *coroutine = d->coroutine;
	PyObject *context = enter_again(d);

	d->coroutine = NULL;
	dialogue_over(d);
	if (!coroutine)
		goto leave;

	PyObject *closed = PyObject_CallMethod(coroutine, "close", NULL);

	if (!closed)
		report_raised();
	Py_XDECREF(closed);
	Py_DECREF(coroutine);
leave:
	leave_again(context);
}

void dialogue_clear(conn_object *self)
{
	if (self->dialogue)
		dialogue_over(self->dialogue);
}

int dialogue_traverse(conn_object *self, visitproc visit, void *arg)
{
	struct dialogue *d = self->dialogue;

	if (!d)
		return 0;
	Py_VISIT(d->coroutine);
	Py_VISIT(d->context);
	Py_VISIT(d->wait);
	Py_VISIT(d->phase.own);
	for (struct task *task = d->tasks; task; task = task->behind)
		if (task->refs == 1) {
			Py_VISIT(task->conn);
			Py_VISIT(task->function);
		}
	return 0;
}

/* ---------------------------------------------------------------- what follows */

static enum verdict run_deferred(struct dialogue *d)
{
	struct task *task = d->tasks;

	d->tasks = task->behind;
	task->deferred = false;

	enum verdict verdict = tasks_call(task);

	tasks_drop(task);
	return verdict;
}

static enum verdict run_rest(group_object *group, struct dialogue *d)
{
	PyObject *rest = d->rest;

	/* In what it was called with before a framing was set the library looks for messages. */
	if (dialogue_has_bytes(d) && conn_is_framed(d->conn)) {
		int result = dialogue_give_back(d);

		/* Without memory the connection has ended. */
		if (result == 0 || result == -ENOMEM)
			return NOTHING;
	}
	d->rest = NULL;
	if (d->rest_at) {
		PyObject *whole = rest;

		rest = PyBytes_FromStringAndSize(PyBytes_AS_STRING(whole) + d->rest_at,
						 PyBytes_GET_SIZE(whole) - d->rest_at);
		Py_DECREF(whole);
		d->rest_at = 0;
		if (!rest)
			return FAILED;
	}
	return phase_begin_data(group, d->conn, rest);
}

/* Runs the next of what was noted; false if there is none. */
static bool run_noted(group_object *group, struct dialogue *d, enum verdict *verdict)
{
	if (!sttcp_conn_is_open(d->conn->conn))
		return false;
	if (d->tasks) {
		*verdict = run_deferred(d);
	} else if (d->drained_due) {
		d->drained_due = false;
		*verdict = phase_notify(group, d->conn, SLOT_DRAINED);
	} else if (d->rest && !d->conn->paused) {
		*verdict = run_rest(group, d);
	} else if (d->end_due && !d->rest) {
		d->end_due = false;
		*verdict = phase_notify(group, d->conn, SLOT_END);
	} else {
		return false;
	}
	return true;
}

/* Nothing waits and nothing is left to be done, unless a rest waits for resume(). */
static void settle(struct dialogue *d)
{
	if (d->rest && d->conn->paused && sttcp_conn_is_open(d->conn->conn))
		park_hold(d, true);
	else
		dialogue_over(d);
}

void dialogue_settle(conn_object *self)
{
	struct dialogue *d = self->dialogue;

	if (d && !d->coroutine)
		settle(d);
}

/* Goes on: with the coroutine, and with what follows it. */
void dialogue_go_on(struct dialogue *d)
{
	conn_object *conn = d->conn;
	group_object *group = (group_object *)conn->owner;
	enum verdict verdict = NOTHING;

	if (!group)
		return;
	Py_INCREF(conn);
	Py_INCREF(group);
	if (d->coroutine) {
		PyObject *context = enter_again(d);

		verdict = drive(d);
		leave_again(context);
		if (verdict != PARKED) {
			struct phase phase = d->phase;

			memset(&d->phase, 0, sizeof(d->phase));
			verdict = phase_go_on(group, conn, &phase, verdict);
			drop_phase(&phase);
		}
		phase_conclude(group, conn->conn, verdict);
	}
	while (verdict != PARKED && run_noted(group, d, &verdict))
		phase_conclude(group, conn->conn, verdict);
	if (verdict != PARKED)
		settle(d);
	Py_DECREF(group);
	Py_DECREF(conn);
}
