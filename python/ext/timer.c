/* SPDX-License-Identifier: MIT */
/*
 * The type that Python's Timer derives from, and pieces of work.
 *
 * A timer that is set holds its object, as a thread would: `kept`. A call that the library has
 *begun may still be on its way into Python when the object goes, so the library's timer has a line
 *as its context, which outlives the object if need be:
 *
 *	state		who			does			state then
 *	IDLE		the call, first		is there		INSIDE
 *	INSIDE		the call, last		has left		IDLE
 *	INSIDE		the object, at its end	leaves the line to it	LEFT
 *	LEFT		the call, last		frees timer and line
 *
 * An object that ends while the state is IDLE frees both itself, once the library says that no call
 * is on its way.
 *
 * Whoever must not wait for a call halts the timer: a call that runs in Python stops it at its end,
 * and one that has not come so far does nothing.
 */
#include "calls.h"
#include "module.h"

#include <errno.h>
#include <sched.h>
#include <time.h>

enum state {
	IDLE,
	INSIDE,
	LEFT
};

struct line {
	sttcp_timer *timer;
	struct timer *object; /* borrowed, under the GIL; NULL once it is gone */
	atomic_int state;
	atomic_ulong starts; /* and stops: what was set has been replaced */
};

typedef struct timer {
	PyObject_HEAD
	struct line *line;
	bool kept; /* by a reference of its own */
	bool once;
	bool runs; /* in Python */
	bool halted;
	int64_t first_ms; /* a point in time: what was set last calls no earlier */
} timer_object;

/* Timers that are set or run, of this process. */
static int nkept;

static void keep(timer_object *self)
{
	if (self->kept)
		return;
	Py_INCREF(self);
	self->kept = true;
	nkept++;
}

static void let_go(timer_object *self)
{
	if (!self->kept)
		return;
	self->kept = false;
	nkept--;
	Py_DECREF(self);
}

static void call_method(timer_object *self, const char *name)
{
	PyObject *method = PyObject_GetAttrString((PyObject *)self, name);
	PyObject *result = method ? call_apart(method, NULL, 0) : NULL;

	if (!result)
		report_raised();
	Py_XDECREF(result);
	Py_XDECREF(method);
}

/* As the library counts. */
static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void call_object(timer_object *self, unsigned long starts, int64_t begun_ms)
{
	if (self->halted)
		return;
	self->runs = true;
	call_method(self, "_call");
	self->runs = false;
	if (self->halted) {
		/* Inside its own function that does not wait, and nobody sets it meanwhile. */
		sttcp_timer_stop(self->line->timer);
		call_method(self, "_has_returned");
	}
	/* Nothing was set since. What was set while this call was on its way may have counted
	 * already when the call looked, but has its time behind the beginning of this one. */
	if (self->once && starts == atomic_load(&self->line->starts) && begun_ms >= self->first_ms)
		let_go(self);
}

static void free_line(struct line *line)
{
	sttcp_timer_free(line->timer);
	PyMem_RawFree(line);
}

/* On a thread of the library, without the GIL. */
static void ring(sttcp_timer *timer, void *context)
{
	struct line *line = context;
	int64_t begun_ms = now_ms();
	unsigned long starts = atomic_load(&line->starts);
	int inside = INSIDE;

	(void)timer;
	atomic_store(&line->state, INSIDE);
	if (gil_enter()) {
		timer_object *self = line->object;

		/* It may be about to go, see take_group. */
		if (self && Py_REFCNT(self) > 0) {
			Py_INCREF(self);
			call_object(self, starts, begun_ms);
			Py_DECREF(self);
		}
		leave_python();
	}
	if (!atomic_compare_exchange_strong(&line->state, &inside, IDLE))
		free_line(line);
}

/* Without the GIL. The object is gone. */
static void end_line(struct line *line)
{
	int result;

	/* On a thread of the library this does not wait. Then a call is about to begin, or has just
	 * ended, unless it is inside. */
	while ((result = sttcp_timer_stop(line->timer)) == -EBUSY) {
		int inside = INSIDE;

		if (atomic_compare_exchange_strong(&line->state, &inside, LEFT))
			return;
		sched_yield();
	}
	/* In a forked child it is the parent's, and a call that forked may still want it. */
	if (result != STTCP_EFORK)
		free_line(line);
}

static void dealloc(timer_object *self)
{
	struct line *line = self->line;

	if (line)
		line->object = NULL;
	Py_TYPE(self)->tp_free((PyObject *)self);
	if (!line)
		return;
	Py_BEGIN_ALLOW_THREADS
	end_line(line);
	Py_END_ALLOW_THREADS
}

static int timer_init(timer_object *self, PyObject *args, PyObject *kwargs)
{
	struct line *line;

	(void)kwargs;
	if (!PyArg_ParseTuple(args, ":TimerBase"))
		return -1;
	if (self->line) {
		PyErr_SetString(PyExc_RuntimeError, "it is made already");
		return -1;
	}
	line = PyMem_RawCalloc(1, sizeof(*line));
	if (line)
		line->timer = sttcp_timer_new(ring, line);
	if (!line || !line->timer) {
		PyMem_RawFree(line);
		PyErr_NoMemory();
		return -1;
	}
	line->object = self;
	self->line = line;
	return 0;
}

static int check(const timer_object *self)
{
	if (self->line)
		return 0;
	PyErr_SetString(PyExc_RuntimeError, "__init__() was not called");
	return -1;
}

/* Never waits for a call that runs in Python. */
static void halt(timer_object *self)
{
	self->halted = true;
	if (!self->runs) {
		Py_BEGIN_ALLOW_THREADS
		sttcp_timer_stop(self->line->timer);
		Py_END_ALLOW_THREADS
	}
}

static PyObject *timer_start(timer_object *self, PyObject *args)
{
	int first_ms;
	int every_ms;
	int result;

	if (!PyArg_ParseTuple(args, "ii:_start", &first_ms, &every_ms) || check(self) < 0)
		return NULL;

	bool once = self->once;
	bool kept = self->kept;
	int64_t before_ms = self->first_ms;
	int64_t at_ms = now_ms() + first_ms;
	unsigned long starts = atomic_fetch_add(&self->line->starts, 1) + 1;

	/* First: it may be over before the start has returned. */
	keep(self);
	self->once = every_ms == 0;
	self->first_ms = at_ms;
	self->halted = false;
	Py_BEGIN_ALLOW_THREADS
	result = sttcp_timer_start(self->line->timer, first_ms, every_ms);
	Py_END_ALLOW_THREADS
	if (starts != atomic_load(&self->line->starts)) {
		/* A stop that came later counts, whichever was first in the library. Of two starts
		 * either may be what is set now. */
		if (!self->kept)
			halt(self);
		else if (at_ms < self->first_ms)
			self->first_ms = at_ms;
	} else if (result < 0) {
		self->once = once;
		self->first_ms = before_ms;
		/* Inside its own function, and a stop has come meanwhile. */
		if (!kept || result == -ECANCELED)
			let_go(self);
	}
	return PyLong_FromLong(result);
}

static PyObject *timer_stop(timer_object *self, PyObject *unused)
{
	int result;

	(void)unused;
	if (check(self) < 0)
		return NULL;

	unsigned long starts = atomic_fetch_add(&self->line->starts, 1) + 1;

	Py_BEGIN_ALLOW_THREADS
	result = sttcp_timer_stop(self->line->timer);
	Py_END_ALLOW_THREADS
	/* In a forked child what was set is the parent's. */
	if (result != STTCP_EFORK && starts == atomic_load(&self->line->starts))
		let_go(self);
	return PyLong_FromLong(result);
}

static PyObject *timer_halt(timer_object *self, PyObject *unused)
{
	(void)unused;
	if (check(self) < 0)
		return NULL;
	atomic_fetch_add(&self->line->starts, 1);
	halt(self);
	let_go(self);
	Py_RETURN_NONE;
}

static PyObject *timer_runs(timer_object *self, void *unused)
{
	(void)unused;
	return PyBool_FromLong(self->runs);
}

static PyMethodDef methods[] = {
	{"_start", (PyCFunction)timer_start, METH_VARARGS, NULL},
	{"_stop", (PyCFunction)timer_stop, METH_NOARGS, NULL},
	{"_halt", (PyCFunction)timer_halt, METH_NOARGS, NULL},
	{NULL, NULL, 0, NULL},
};

static PyGetSetDef getters[] = {
	{"_runs", (getter)timer_runs, NULL, NULL, NULL},
	{NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject timer_type = {
	PyVarObject_HEAD_INIT(NULL, 0).tp_name = "sttcp._sttcp.TimerBase",
	.tp_basicsize = sizeof(timer_object),
	.tp_dealloc = (destructor)dealloc,
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
	.tp_doc =
		"A timer that calls its method _call, and _has_returned after one that was halted.",
	.tp_methods = methods,
	.tp_getset = getters,
	.tp_init = (initproc)timer_init,
	.tp_new = PyType_GenericNew,
};

/* ---------------------------------------------------------------- work */

/* On a thread of the library, without the GIL. */
static void work(void *argument)
{
	PyObject *function = argument;

	if (!gil_enter())
		return;

	PyObject *result = call_apart(function, NULL, 0);

	if (!result)
		report_raised();
	Py_XDECREF(result);
	Py_DECREF(function);
	leave_python();
}

static PyObject *run(PyObject *module, PyObject *function)
{
	int result;

	(void)module;
	Py_INCREF(function);
	Py_BEGIN_ALLOW_THREADS
	result = sttcp_run(work, function);
	Py_END_ALLOW_THREADS
	if (result < 0)
		Py_DECREF(function);
	return PyLong_FromLong(result);
}

static PyObject *timers_set(PyObject *module, PyObject *unused)
{
	(void)module;
	(void)unused;
	return PyLong_FromLong(nkept);
}

static PyMethodDef functions[] = {
	{"_run", run, METH_O, NULL},
	{"_timers_set", timers_set, METH_NOARGS, NULL},
	{NULL, NULL, 0, NULL},
};

/* In a forked child none of them is set. */
static void forget_timers(void)
{
	nkept = 0;
}

int timers_init(PyObject *module)
{
	if (pthread_atfork(NULL, NULL, forget_timers)) {
		PyErr_NoMemory();
		return -1;
	}
	return PyModule_AddFunctions(module, functions);
}
