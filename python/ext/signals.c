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
	if (pthread_atfork(NULL, NULL, take_over)) {
		PyErr_NoMemory();
		return -1;
	}
	return 0;
}
