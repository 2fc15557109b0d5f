/* SPDX-License-Identifier: MIT */
/* Framing by a Python function: where messages end. */
#include "calls.h"

/* Whose function this thread runs. */
static _Thread_local const PyObject *now;

/* What one has raised that is to end the program, or this thread, until the read raises it. */
static _Thread_local PyObject *ending;

bool frames_run(const PyObject *conn)
{
	return now == conn;
}

bool frames_raise(void)
{
	PyObject *exception = ending;

	if (!exception)
		return false;
	ending = NULL;
	PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
	Py_DECREF(exception);
	return true;
}

/* What a Python function told of a message: 1, 0 or, with or without an exception, -1. */
static int read_frame(PyObject *told, sttcp_frame *frame)
{
	Py_ssize_t numbers[3];

	if (told == Py_None)
		return 0;
	/* A bool is an int, but means that somebody takes this for a test of the bytes. */
	if (PyLong_Check(told) && !PyBool_Check(told)) {
		/* Where no size is so large it becomes the largest there is. */
		numbers[0] = PyNumber_AsSsize_t(told, NULL);
		if (numbers[0] < 0)
			return -1;
		frame->total = (size_t)numbers[0];
		return 0;
	}
	if (!PyTuple_Check(told) || PyTuple_GET_SIZE(told) != 3) {
		PyErr_Format(PyExc_TypeError,
			     "frame must return (skip, size, total), an integer or None, not %R",
			     told);
		return -1;
	}
	for (int i = 0; i < 3; i++) {
		numbers[i] = PyNumber_AsSsize_t(PyTuple_GET_ITEM(told, i), NULL);
		if (numbers[i] == -1 && PyErr_Occurred())
			return -1;
		if (numbers[i] < 0) {
			PyErr_Format(PyExc_ValueError, "frame may not return what is below 0: %R",
				     told);
			return -1;
		}
	}
	*frame = (sttcp_frame){.skip = (size_t)numbers[0],
			       .size = (size_t)numbers[1],
			       .total = (size_t)numbers[2]};
	/* It is over every limit, and not a sum that comes out wrong. */
	if (numbers[1] == PY_SSIZE_T_MAX || numbers[2] == PY_SSIZE_T_MAX)
		*frame = (sttcp_frame){.size = SIZE_MAX, .total = SIZE_MAX};
	return 1;
}

/* Whether Python has called the read, on this thread. */
static bool python_reads(const conn_object *conn)
{
	return conn->dialled && !conn->far;
}

static int ask_frame(struct binding *binding, sttcp_conn *conn, const void *data, size_t size,
		     sttcp_frame *frame)
{
	/* A dialled connection has none. */
	group_object *group = binding ? take_group(binding) : NULL;
	PyObject *known = group	    ? conn_wrap(conn, (PyObject *)group, &group->last_host)
			  : binding ? NULL
				    : conn_peek_ref(conn);
	PyObject *bytes = known ? PyBytes_FromStringAndSize(data, (Py_ssize_t)size) : NULL;
	PyObject *told = NULL;
	int answer = -1;

	if (bytes) {
		PyObject *own = ((conn_object *)known)->frame;
		PyObject *function = own ? own : group->frame;
		const PyObject *outer = now;

		/* It may be replaced while it runs. */
		Py_INCREF(function);
		now = known;
		told = call_apart(function, (PyObject *[]){known, bytes}, 2);
		now = outer;
		Py_DECREF(function);
	}
	if (told)
		answer = read_frame(told, frame);
	if (PyErr_Occurred() && known && python_reads((conn_object *)known) &&
	    !PyErr_ExceptionMatches(PyExc_Exception))
		Py_XSETREF(ending, take_exception());
	if (PyErr_Occurred())
		report_raised();
	Py_XDECREF(told);
	Py_XDECREF(bytes);
	Py_XDECREF(known);
	Py_XDECREF(group);
	return answer;
}

int frames_ask(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame, void *context)
{
	if (!gil_enter())
		return -1;

	int answer = ask_frame(context, conn, data, size, frame);

	gil_leave();
	return answer;
}
