/* SPDX-License-Identifier: MIT */
/* What comes about on a connection one of whose coroutines waits, and whether that goes on by it.
 * By the owner of the connection, as all of dialogue.c. */
#include "dialogue.h"

#include <errno.h>
#include <string.h>

/* As one of its handlers, without the GIL. */
void dialogue_ring(sttcp_conn *conn, void *argument)
{
	conn_object *self = argument;

	(void)conn;
	if (!gil_enter())
		return;

	struct dialogue *d = self->dialogue;

	if (d) {
		wait_object *wait = d->wait;

		d->timer_id = 0;
		if (wait && d->until_ms >= 0 && !park_time_has_come(d)) {
			int result = park_set_timer(d);

			if (result < 0) {
				wait_fail(wait, result);
				dialogue_go_on(d);
			}
		} else if (wait && d->until_ms >= 0) {
			park_end_part(d);
			if (wait->kind == WAIT_TIME) {
				Py_INCREF(Py_None);
				wait_give(wait, Py_None);
			} else if (!wait_is_over(wait)) {
				wait_fail(wait, -ETIMEDOUT);
			}
			dialogue_go_on(d);
		}
	}
	log_drain();
	gil_leave();
}

static void go_on_asked(sttcp_conn *conn, void *argument)
{
	conn_object *self = argument;

	(void)conn;
	if (!gil_enter())
		return;

	struct dialogue *d = self->dialogue;

	if (d) {
		d->asked = false;
		/* Where the place was needed: this task has left one. Else the next wait says so.
		 */
		if (d->coroutine && !d->place_id)
			(void)park_keep_place(d);
		if (!d->coroutine ||
		    (d->wait && (wait_is_over(d->wait) ||
				 (d->wait->kind == WAIT_ROOM && wait_send_again(d->wait)))))
			dialogue_go_on(d);
	}
	log_drain();
	gil_leave();
}

/* Goes on as a task: what is allowed in one is not where this is called. 0, or why there is none.
 */
static int ask(struct dialogue *d)
{
	int result;

	if (d->asked)
		return 0;
	Py_INCREF(d->conn);
	result = sttcp_conn_run(d->conn->conn, go_on_asked, d->conn, park_free);
	if (result < 0 && d->place_id) {
		park_give_place(d);
		result = sttcp_conn_run(d->conn->conn, go_on_asked, d->conn, park_free);
	}
	d->asked = result >= 0;
	if (result < 0)
		Py_DECREF(d->conn);
	return result;
}

/* The same for a coroutine. Another thread may have taken the place in that moment: then its
 * connection ends, with which it goes on, too, rather than wait for ever. */
static void wake(struct dialogue *d)
{
	int result = ask(d);

	if (result < 0)
		sttcp_conn_fail_now(d->conn->conn, result,
				    "what its handler waits for cannot be told: %s",
				    sttcp_strerror(result));
}

void dialogue_wake(conn_object *self, const wait_object *wait)
{
	/* Where it is not parked so far, park_begin finds out. */
	if (self->dialogue && self->dialogue->coroutine && self->dialogue->wait == wait)
		wake(self->dialogue);
}

/* They are the first that nobody has read, from there on. Takes the reference. */
static void set_rest(struct dialogue *d, PyObject *data, Py_ssize_t at)
{
	d->rest = data;
	d->rest_at = at;
	d->of_message = conn_is_framed(d->conn);
}

/* Puts bytes behind what nobody has read: false if there is no memory. Takes the reference. */
static bool add_rest(struct dialogue *d, PyObject *data)
{
	if (!d->rest) {
		set_rest(d, data, 0);
		return true;
	}
	PyBytes_ConcatAndDel(&d->rest, data);
	if (!d->rest)
		dialogue_lose(d);
	return d->rest;
}

/* Fills the part from the data; true when all of it is there. */
static bool fill_part(struct dialogue *d, PyObject *data)
{
	Py_ssize_t missing = d->wait->size - d->part_size;
	Py_ssize_t size = PyBytes_GET_SIZE(data);
	Py_ssize_t taken = size < missing ? size : missing;

	memcpy(PyBytes_AS_STRING(d->part) + d->part_size, PyBytes_AS_STRING(data), (size_t)taken);
	d->part_size += taken;
	if (taken < size) {
		Py_INCREF(data);
		set_rest(d, data, taken);
	}
	return taken == missing;
}

void dialogue_take_data(conn_object *self, PyObject *data)
{
	struct dialogue *d = self->dialogue;
	wait_object *wait = d->wait;
	Py_ssize_t size = PyBytes_GET_SIZE(data);

	Py_INCREF(data);
	switch (wait->kind) {
	case WAIT_RECV:
		if (size > wait->size) {
			PyObject *whole = data;

			data = PyBytes_FromStringAndSize(PyBytes_AS_STRING(whole), wait->size);
			set_rest(d, whole, data ? wait->size : 0);
		}
		break;
	case WAIT_EXACTLY:
		if (!fill_part(d, data)) {
			park_want(d);
			Py_DECREF(data);
			return;
		}
		Py_DECREF(data);
		data = d->part;
		d->part = NULL;
		d->part_size = 0;
		break;
	case WAIT_SIZE:
		/* Its end is told at that of the connection. */
		if (!add_rest(d, data))
			return;
		data = PyLong_FromSsize_t(size);
		break;
	case WAIT_MESSAGE:
	case WAIT_NEXT:
		break;
	default:
		/* It is paused: this is what had been read. */
		add_rest(d, data);
		return;
	}
	if (data) {
		wait_give(wait, data);
	} else {
		PyErr_Clear();
		wait_fail(wait, -ENOMEM);
	}
	dialogue_go_on(d);
}

void dialogue_take_end(conn_object *self)
{
	struct dialogue *d = self->dialogue;

	self->fin = true;
	d->end_due = !d->outlives_fin;
	if (d->wait->kind >= WAIT_ROOM)
		return;
	park_end_part(d);
	wait_end_of_input(d->wait);
	/* In this handler nothing can be read, nor given back. */
	ask(d);
	if (!d->asked)
		dialogue_go_on(d);
}

void dialogue_take_drained(conn_object *self)
{
	struct dialogue *d = self->dialogue;

	d->drained_due = true;
	if (d->wait->kind == WAIT_ROOM)
		wake(d);
}

void dialogue_defer(conn_object *self, struct task *task)
{
	struct task **last = &self->dialogue->tasks;

	/* One that comes again and again waits once. */
	if (task->deferred)
		return;
	while (*last)
		last = &(*last)->behind;
	task->deferred = true;
	task->refs++;
	task->behind = NULL;
	*last = task;
}

bool dialogue_cancel(conn_object *self, int64_t id)
{
	struct task **at = self->dialogue ? &self->dialogue->tasks : NULL;

	while (at && *at) {
		struct task *task = *at;

		if (task->id == id) {
			*at = task->behind;
			task->deferred = false;
			tasks_drop(task);
			return true;
		}
		at = &task->behind;
	}
	return false;
}

void dialogue_finish(conn_object *self)
{
	struct dialogue *d = self->dialogue;

	if (!d)
		return;
	d->ended = true;
	park_end_part(d);
	if (d->coroutine) {
		if (d->wait)
			wait_end_of_connection(d->wait);
		dialogue_go_on(d);
	} else {
		dialogue_over(d);
	}
}

/* Of one that is far pausing is in force whenever nobody reads it. */
int dialogue_pause(conn_object *self)
{
	if (self->far && sttcp_conn_is_open(self->conn))
		return 0;
	self->paused = true;
	/* In force when the coroutine has returned. */
	if (self->dialogue && sttcp_conn_is_open(self->conn))
		return 0;
	return sttcp_conn_pause(self->conn);
}

int dialogue_resume(conn_object *self)
{
	struct dialogue *d = self->dialogue;

	if (self->far && sttcp_conn_is_open(self->conn))
		return 0;
	if (!d || !sttcp_conn_is_open(self->conn)) {
		self->paused = false;
		return sttcp_conn_resume(self->conn);
	}
	/* What has come and nobody has read is given to its handler. */
	if (!d->coroutine) {
		int result = ask(d);

		if (result < 0 && sttcp_conn_is_open(self->conn))
			return result;
	}
	self->paused = false;
	return 0;
}

/* ---------------------------------------------------------------- of one that is far */

void dialogue_interrupt(conn_object *self, const PyObject *coroutine)
{
	struct dialogue *d = self->dialogue;

	if (!d || !d->coroutine || d->coroutine != coroutine)
		return;
	park_end_part(d);
	wait_fail(d->wait, -ECANCELED);
	dialogue_go_on(d);
}

void dialogue_put_back(conn_object *self, PyObject *bytes)
{
	struct dialogue *d = self->dialogue;
	PyObject *rest = d ? d->rest : NULL;
	Py_ssize_t at = d ? d->rest_at : 0;

	if (!d) {
		dialogue_stash(self, bytes);
		Py_DECREF(bytes);
		return;
	}
	set_rest(d, bytes, 0);
	if (!rest)
		return;

	PyObject *behind = at ? PyBytes_FromStringAndSize(PyBytes_AS_STRING(rest) + at,
							  PyBytes_GET_SIZE(rest) - at)
			      : rest;

	if (at)
		Py_DECREF(rest);
	if (behind)
		add_rest(d, behind);
	else
		dialogue_lose(d);
}

void dialogue_stash(conn_object *self, PyObject *bytes)
{
	struct dialogue first = {.conn = self, .until_ms = -1, .holds = true};

	if (!self->dialogue && !dialogue_keep(self, &first)) {
		dialogue_lose(&first);
		return;
	}
	Py_INCREF(bytes);
	add_rest(self->dialogue, bytes);
}

Py_ssize_t dialogue_read_rest(void *memory, Py_ssize_t size)
{
	struct dialogue *d = dialogue_now();
	Py_ssize_t here = d->rest ? PyBytes_GET_SIZE(d->rest) - d->rest_at : 0;

	if (size > here)
		size = here;
	if (!size)
		return 0;
	memcpy(memory, PyBytes_AS_STRING(d->rest) + d->rest_at, (size_t)size);
	d->rest_at += size;
	if (size == here) {
		Py_CLEAR(d->rest);
		d->rest_at = 0;
	}
	return size;
}
