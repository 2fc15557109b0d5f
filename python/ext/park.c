/* SPDX-License-Identifier: MIT */
/* What a wait asks of the library: a timer, a pause, and how many bytes it takes. By the owner of
 * the connection. */
#include "dialogue.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <time.h>

enum {
	/* More than the library reads from a socket at a time. */
	CUT_BELOW = 65536
};

/* ---------------------------------------------------------------- time */

static int64_t clock_ns(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

/* Rounded up, but for no time at all. */
static int64_t deadline_ms(int after_ms)
{
	return (clock_ns() + (after_ms ? 999999 : 0)) / 1000000 + after_ms;
}

/* The timer that this thread cancels frees its reference later. */
static _Thread_local bool cancelling;

void park_free(void *argument)
{
	if (cancelling) {
		Py_DECREF((PyObject *)argument);
		return;
	}
	/* When the interpreter is on its way out it stays. */
	if (!gil_enter())
		return;
	Py_DECREF((PyObject *)argument);
	log_drain();
	gil_leave();
}

/* With the GIL, which park_free needs. */
void park_cancel_timer(struct dialogue *d)
{
	if (!d->timer_id)
		return;
	cancelling = true;
	sttcp_conn_cancel(d->conn->conn, d->timer_id);
	cancelling = false;
	d->timer_id = 0;
}

int park_set_timer(struct dialogue *d)
{
	int64_t left_ms;
	int64_t id;

	if (d->timer_id && d->timer_ms <= d->until_ms)
		return 0;
	park_cancel_timer(d);
	left_ms = d->until_ms - clock_ns() / 1000000;
	Py_INCREF(d->conn);
	id = sttcp_conn_after(d->conn->conn, left_ms < 0 ? 0 : (int)left_ms, dialogue_ring, d->conn,
			      park_free);
	if (id < 0) {
		Py_DECREF(d->conn);
		return (int)id;
	}
	d->timer_id = id;
	d->timer_ms = d->until_ms;
	return 0;
}

bool park_time_has_come(const struct dialogue *d)
{
	return clock_ns() / 1000000 >= d->until_ms;
}

/* ---------------------------------------------------------------- a place */

static void hold_place(sttcp_conn *conn, void *unused)
{
	(void)conn;
	(void)unused;
}

/* Whoever wakes it cannot be told that there are too many tasks already. */
int park_keep_place(struct dialogue *d)
{
	int64_t id = d->place_id;

	if (!id)
		id = sttcp_conn_every(d->conn->conn, INT_MAX, hold_place, NULL, NULL);
	if (id < 0)
		return (int)id;
	d->place_id = id;
	return 0;
}

void park_give_place(struct dialogue *d)
{
	if (d->place_id)
		sttcp_conn_cancel(d->conn->conn, d->place_id);
	d->place_id = 0;
}

/* ---------------------------------------------------------------- parking */

void park_hold(struct dialogue *d, bool held)
{
	if (d->holds == held)
		return;
	d->holds = held;
	if (held)
		sttcp_conn_pause(d->conn->conn);
	else
		sttcp_conn_resume(d->conn->conn);
}

void park_outlive_fin(struct dialogue *d, bool on)
{
	const group_object *group = (const group_object *)d->conn->owner;

	if (d->outlives_fin == on || (on && (!group || group->binding->half_close)))
		return;
	/* Where the collector takes it apart there is no handler, and on_end does it. */
	if (sttcp_conn_set_half_close(d->conn->conn, on) >= 0)
		d->outlives_fin = on;
}

/* As much as the coroutine takes. What it leaves stays with the library, which finds messages in it
 * if the framing is changed then. Without the GIL; the object is there as long as its handlers. */
static int cut(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame, void *context)
{
	conn_object *self = sttcp_conn_data(conn);
	size_t want = self ? atomic_load(&self->want) : 0;

	(void)data;
	(void)context;
	frame->size = want && want < size ? want : size;
	frame->total = frame->size;
	return 1;
}

void park_cut(struct dialogue *d, bool cuts)
{
	sttcp_options options;

	if (d->cuts == cuts)
		return;
	sttcp_options_init(&options, sizeof(options));
	options.framing = cuts ? STTCP_FRAMING_CUSTOM : STTCP_FRAMING_RAW;
	options.max_message = cuts ? -1 : 0;
	options.frame_fn = cuts ? cut : NULL;
	/* Without it the rest stays here. */
	if (sttcp_conn_set_framing(d->conn->conn, &options) >= 0)
		d->cuts = cuts;
}

void dialogue_note_framing(conn_object *self)
{
	if (self->dialogue)
		self->dialogue->cuts = false;
}

void park_want(struct dialogue *d)
{
	bool of_bytes = d->wait->kind == WAIT_RECV || d->wait->kind == WAIT_EXACTLY;
	Py_ssize_t size = of_bytes ? d->wait->size - d->part_size : 0;

	if (conn_is_framed(d->conn))
		return;
	/* It reads less than that at a time: cutting would only cost. */
	if (size && size < CUT_BELOW)
		park_cut(d, true);
	if (d->cuts)
		atomic_store(&d->conn->want, (size_t)size);
}

/* Makes room for what it waits for, and takes what is there. False if there is no memory. */
static bool begin_part(struct dialogue *d)
{
	d->part = PyBytes_FromStringAndSize(NULL, d->wait->size);
	d->part_size = 0;
	if (!d->part) {
		PyErr_Clear();
		return false;
	}
	if (!d->rest) {
		d->of_message = conn_is_framed(d->conn);
	} else {
		d->part_size = PyBytes_GET_SIZE(d->rest) - d->rest_at;
		memcpy(PyBytes_AS_STRING(d->part), PyBytes_AS_STRING(d->rest) + d->rest_at,
		       (size_t)d->part_size);
		Py_CLEAR(d->rest);
		d->rest_at = 0;
	}
	return true;
}

void park_end_part(struct dialogue *d)
{
	if (!d->part)
		return;
	if (d->part_size) {
		d->rest = PyBytes_FromStringAndSize(PyBytes_AS_STRING(d->part), d->part_size);
		if (!d->rest)
			dialogue_lose(d);
	}
	Py_CLEAR(d->part);
	d->part_size = 0;
}

bool park_begin(struct dialogue *d)
{
	wait_object *wait = d->wait;
	bool is_first = !d->conn->dialogue;

	if (is_first)
		d->holds = d->conn->paused;
	d->until_ms = -1;
	/* What another connection does may be over by now. */
	if (wait_is_over(wait))
		return false;
	if (wait->kind == WAIT_EXACTLY && !begin_part(d)) {
		wait_fail(wait, -ENOMEM);
		return false;
	}
	/* First, so that it is told when there is room. */
	if (wait->kind == WAIT_ROOM && wait_send_again(wait))
		return false;
	if (wait->timeout_ms >= 0) {
		d->until_ms = deadline_ms(wait->timeout_ms);

		int result = park_set_timer(d);

		if (result < 0) {
			park_end_part(d);
			wait_fail(wait, result);
			return false;
		}
	}
	/* One for another connection has kept it as it began. */
	if (wait->kind == WAIT_ROOM) {
		int result = park_keep_place(d);

		if (result < 0) {
			wait_fail(wait, result);
			return false;
		}
	}
	if (is_first)
		park_outlive_fin(d, true);
	if (wait->kind < WAIT_ROOM)
		park_want(d);
	park_hold(d, wait->kind >= WAIT_ROOM);
	return true;
}
