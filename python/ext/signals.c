/* SPDX-License-Identifier: MIT */
/* The main thread, where handlers of signals run: who waits there has to look after them. */
#include "ext.h"

bool signals_come_here(void)
{
	PyObject *threading = PyImport_ImportModule("threading");
	PyObject *main = threading ? PyObject_CallMethod(threading, "main_thread", NULL) : NULL;
	PyObject *ident = main ? PyObject_GetAttrString(main, "ident") : NULL;
	bool is_main = ident && PyLong_AsUnsignedLong(ident) == PyThread_get_thread_ident();

	PyErr_Clear();
	Py_XDECREF(ident);
	Py_XDECREF(main);
	Py_XDECREF(threading);
	return is_main;
}
