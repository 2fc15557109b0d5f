/* SPDX-License-Identifier: MIT */
/* What the Python half has lent, and what is made with it alone. Calls no other file. */
#include "ext.h"

#include <string.h>

struct lent lent;

PyObject *raise_code(int code, const char *text)
{
	PyObject *exception = PyObject_CallFunction(lent.make_exception, "iz", code, text);

	if (exception) {
		PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
		Py_DECREF(exception);
	}
	return NULL;
}

PyObject *text_make(const char *text)
{
	Py_ssize_t used;

	/* The last character is left out where it is not whole. */
	return PyUnicode_DecodeUTF8Stateful(text, (Py_ssize_t)strlen(text), "replace", &used);
}

PyObject *text_encode(PyObject *text)
{
	PyObject *bytes = PyUnicode_AsEncodedString(text, "utf-8", "backslashreplace");

	if (!bytes || strlen(PyBytes_AS_STRING(bytes)) == (size_t)PyBytes_GET_SIZE(bytes))
		return bytes;

	/* The one byte of "" is NUL. */
	PyObject *escaped =
		PyObject_CallMethod(bytes, "replace", "y#y", "", (Py_ssize_t)1, "\\x00");

	Py_DECREF(bytes);
	return escaped;
}

PyObject *lent_set(PyObject *module, PyObject *args, PyObject *kwargs)
{
	static char *names[] = {"connection_type", "make_exception", "make_reason", "report",
				"thread_begun",	   "thread_gone",    "log",	    "tls_info",
				"server_events",   "client_events",  NULL};
	struct lent all;

	(void)module;
	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOOOOOOO!O!:_lend", names,
					 &all.connection_type, &all.make_exception,
					 &all.make_reason, &all.report, &all.thread_begun,
					 &all.thread_gone, &all.log, &all.tls_info, &PyTuple_Type,
					 &all.event_types[0], &PyTuple_Type, &all.event_types[1]))
		return NULL;
	/* Kept for good: handlers may come as long as the process lives. */
	Py_INCREF(all.connection_type);
	Py_INCREF(all.make_exception);
	Py_INCREF(all.make_reason);
	Py_INCREF(all.report);
	Py_INCREF(all.thread_begun);
	Py_INCREF(all.thread_gone);
	Py_INCREF(all.log);
	Py_INCREF(all.tls_info);
	Py_INCREF(all.event_types[0]);
	Py_INCREF(all.event_types[1]);
	lent = all;
	Py_RETURN_NONE;
}
