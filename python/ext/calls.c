/* SPDX-License-Identifier: MIT */
/* Calls of Python's functions on threads of the library, and what becomes of what they raise. */
#include "dialogue.h"

void leave_python(void)
{
	log_drain();
	gil_leave();
}

enum verdict call_python(PyObject *handler, PyObject *const *args, size_t nargs, conn_object *conn,
			 enum ability ability)
{
	PyObject *result = PyObject_Vectorcall(handler, args, nargs, NULL);

	if (!result)
		return FAILED;
	if (PyCoro_CheckExact(result))
		return dialogue_begin(ability == WAITS_HERE ? NULL : conn, result,
				      ability != PARKS);

	int truth = result == Py_None ? (int)NOTHING : PyObject_IsTrue(result);

	Py_DECREF(result);
	return truth < 0 ? FAILED : (enum verdict)truth;
}

PyObject *take_exception(void)
{
#if PY_VERSION_HEX >= 0x030c0000
	return PyErr_GetRaisedException();
#else
	PyObject *type;
	PyObject *value;
	PyObject *traceback;

	PyErr_Fetch(&type, &value, &traceback);
	PyErr_NormalizeException(&type, &value, &traceback);
	if (traceback)
		PyException_SetTraceback(value, traceback);
	Py_XDECREF(type);
	Py_XDECREF(traceback);
	return value;
#endif
}

static void report(PyObject *exception)
{
	PyObject *result = PyObject_CallFunctionObjArgs(lent.report, exception, NULL);

	if (!result)
		PyErr_WriteUnraisable(lent.report);
	Py_XDECREF(result);
}

void report_raised(void)
{
	PyObject *exception = take_exception();

	report(exception);
	Py_XDECREF(exception);
}

void fail_raised(group_object *group, sttcp_conn *conn, bool was_parked)
{
	PyObject *exception = take_exception();
	bool quiet = !sttcp_conn_is_open(conn) && (sttcp_conn_reason(conn) < 0 || was_parked) &&
		     PyErr_GivenExceptionMatches(exception, PyExc_OSError);
	PyObject *known =
		group ? conn_wrap(conn, (PyObject *)group, &group->last_host) : conn_peek_ref(conn);
	PyObject *text = quiet ? NULL : PyObject_Str(exception);
	const char *utf8 = text ? PyUnicode_AsUTF8(text) : NULL;

	PyErr_Clear();
	if (!quiet) {
		report(exception);
		conn_fail_with(conn, (conn_object *)known, exception,
			       utf8 && *utf8 ? utf8 : Py_TYPE(exception)->tp_name, false);
	}
	Py_XDECREF(text);
	Py_XDECREF(known);
	Py_XDECREF(exception);
	PyErr_Clear();
}

group_object *take_group(struct binding *binding)
{
	if (!binding->group || Py_REFCNT(binding->group) == 0)
		return NULL;
	Py_INCREF(binding->group);
	return binding->group;
}
