/* SPDX-License-Identifier: MIT */
/* Tasks of a connection: who calls them, and who lets them go. */
#include "dialogue.h"

/* The tasks that the call of cancel on this thread has freed. The thread is Python's, and gets its
 * GIL back when the call returns: until then they wait here. */
static _Thread_local struct {
	bool runs;
	struct task *first;
} cancelling;

/* Whose plain task this thread runs. */
static _Thread_local const conn_object *now;

bool tasks_runs(const conn_object *conn)
{
	return now == conn;
}

enum verdict tasks_call(struct task *task)
{
	PyObject *args[] = {(PyObject *)task->conn};
	const conn_object *outer = now;

	now = task->conn;

	enum verdict verdict = call_python(task->function, args, task->takes_connection, task->conn,
					   PARKS_AND_READS);

	now = outer;
	return verdict == PARKED || verdict == FAILED ? verdict : NOTHING;
}

static void run_task(struct task *task, sttcp_conn *conn)
{
	PyObject *owner = task->conn->owner;

	/* The collector has taken them apart. */
	if (!owner && !task->conn->dialled)
		return;
	Py_XINCREF(owner);
	if (dialogue_waits(task->conn))
		dialogue_defer(task->conn, task);
	else if (tasks_call(task) == FAILED)
		fail_raised((group_object *)owner, conn, false);
	Py_XDECREF(owner);
}

void tasks_run(sttcp_conn *conn, void *argument)
{
	if (!gil_enter())
		return;
	run_task(argument, conn);
	leave_python();
}

void tasks_drop(struct task *task)
{
	if (--task->refs)
		return;
	Py_DECREF(task->conn);
	Py_DECREF(task->function);
	PyMem_RawFree(task);
}

void tasks_free(void *argument)
{
	struct task *task = argument;

	if (cancelling.runs) {
		task->next = cancelling.first;
		cancelling.first = task;
		return;
	}
	/* When the interpreter is on its way out they stay as they are. */
	if (!gil_enter())
		return;
	tasks_drop(task);
	leave_python();
}

int tasks_cancel(sttcp_conn *conn, int64_t id)
{
	int result;

	Py_BEGIN_ALLOW_THREADS
	cancelling.runs = true;
	result = sttcp_conn_cancel(conn, id);
	cancelling.runs = false;
	Py_END_ALLOW_THREADS
	/* One that goes may cancel others. */
	while (cancelling.first) {
		struct task *task = cancelling.first;

		cancelling.first = task->next;
		tasks_drop(task);
	}
	return result;
}
