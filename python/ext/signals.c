/* SPDX-License-Identifier: MIT */
/* The main thread, where handlers of signals run: who waits there has to look after them. It is
 * known here, as whoever asks Python for it runs what a signal is pending for, and would have to
 * pass on what that raises. */
#include "ext.h"

#include <pthread.h>

/* As PyThread_get_thread_ident; set at the import, and in a forked child, where one thread is. */
static unsigned long main_ident;

bool signals_come_here(void)
{
	return PyThread_get_thread_ident() == main_ident;
}

/* ---------------------------------------------------------------- Python's descriptor for them */

/* Of the module _signal: its own, which nobody has patched. */
static PyObject *set_wakeup_fd;

static PyObject *set_fd(PyObject *fd)
{
	PyObject *args = PyTuple_Pack(1, fd);
	PyObject *names = Py_BuildValue("{sO}", "warn_on_full_buffer", Py_False);
	PyObject *before = args && names ? PyObject_Call(set_wakeup_fd, args, names) : NULL;

	Py_XDECREF(names);
	Py_XDECREF(args);
	return before;
}

/* What the program has closed meanwhile gets no more. */
static void set_back(PyObject *fd)
{
	PyObject *ours = set_fd(fd);

	if (!ours) {
		PyErr_Clear();

		PyObject *none = PyLong_FromLong(-1);

		ours = none ? set_fd(none) : NULL;
		Py_XDECREF(none);
	}
	Py_XDECREF(ours);
}

PyObject *signals_into(PyObject *module, PyObject *args)
{
	PyObject *before;
	PyObject *fd;

	(void)module;
	if (!PyArg_ParseTuple(args, "O!O:_signals_into", &PyList_Type, &before, &fd))
		return NULL;

	PyObject *outer = set_fd(fd);

	if (!outer)
		return NULL;

	int result = PyList_Append(before, outer);

	if (result < 0)
		set_back(outer);
	Py_DECREF(outer);
	if (result < 0)
		return NULL;
	Py_RETURN_NONE;
}

PyObject *signals_back(PyObject *module, PyObject *args)
{
	PyObject *before;
	Py_ssize_t depth;

	(void)module;
	if (!PyArg_ParseTuple(args, "O!n:_signals_back", &PyList_Type, &before, &depth))
		return NULL;
	if (depth < PyList_GET_SIZE(before)) {
		set_back(PyList_GET_ITEM(before, depth));
		if (PyList_SetSlice(before, depth, PyList_GET_SIZE(before), NULL) < 0)
			return NULL;
	}
	Py_RETURN_NONE;
}

/* ---------------------------------------------------------------- at the import */

static void take_over(void)
{
	main_ident = PyThread_get_thread_ident();
}

int signals_init(void)
{
	PyObject *threading = PyImport_ImportModule("threading");
	PyObject *main = threading ? PyObject_CallMethod(threading, "main_thread", NULL) : NULL;
	PyObject *ident = main ? PyObject_GetAttrString(main, "ident") : NULL;

	if (ident)
		main_ident = PyLong_AsUnsignedLong(ident);
	Py_XDECREF(ident);
	Py_XDECREF(main);
	Py_XDECREF(threading);
	if (PyErr_Occurred())
		return -1;

	PyObject *signal = PyImport_ImportModule("_signal");

	Py_XSETREF(set_wakeup_fd, signal ? PyObject_GetAttrString(signal, "set_wakeup_fd") : NULL);
	Py_XDECREF(signal);
	if (!set_wakeup_fd)
		return -1;
	if (pthread_atfork(NULL, NULL, take_over)) {
		PyErr_NoMemory();
		return -1;
	}
	return 0;
}
