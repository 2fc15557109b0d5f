/* SPDX-License-Identifier: MIT */
/* Calls of Python's functions on threads of the library, and what becomes of what they raise. */
#include "dialogue.h"

void leave_python(void)
{
	log_drain();
	gil_leave();
}

/* A context of its own, entered; or NULL with an exception set. That of a thread of the library
 * stays as it is: what one connection's handler sets, no other one sees, whoever runs on the thread
 * next.
 */
static PyObject *enter_context(void)
{
	PyObject *context = PyContext_CopyCurrent();

	if (context && PyContext_Enter(context) < 0)
		Py_CLEAR(context);
	return context;
}

static void leave_context(PyObject *context)
{
	/* It fails only where somebody else has entered one and not left it. */
	if (PyContext_Exit(context) < 0)
		PyErr_WriteUnraisable(context);
	Py_DECREF(context);
}

PyObject *call_apart(PyObject *function, PyObject *const *args, size_t nargs)
{
	PyObject *context = enter_context();

	if (!context)
		return NULL;

	PyObject *result = PyObject_Vectorcall(function, args, nargs, NULL);

	leave_context(context);
	return result;
}

static enum verdict call_here(PyObject *handler, PyObject *const *args, size_t nargs,
			      conn_object *conn, enum ability ability, PyObject *context)
{
	PyObject *result = PyObject_Vectorcall(handler, args, nargs, NULL);

	if (!result)
		return FAILED;
	if (PyCoro_CheckExact(result))
		return dialogue_begin(ability == WAITS_HERE ? NULL : conn, result, context,
				      ability != PARKS);

	int truth = result == Py_None ? (int)NOTHING : PyObject_IsTrue(result);

	Py_DECREF(result);
	return truth < 0 ? FAILED : (enum verdict)truth;
}

enum verdict call_python(PyObject *handler, PyObject *const *args, size_t nargs, conn_object *conn,
			 enum ability ability)
{
	PyObject *context = enter_context();

	if (!context)
		return FAILED;

	enum verdict verdict = call_here(handler, args, nargs, conn, ability, context);

	leave_context(context);
	return verdict;
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
	PyObject *bytes = text ? text_encode(text) : NULL;

	PyErr_Clear();
	if (!quiet) {
		report(exception);
		conn_fail_with(conn, (conn_object *)known, exception,
			       bytes && PyBytes_GET_SIZE(bytes) ? PyBytes_AS_STRING(bytes)
								: Py_TYPE(exception)->tp_name,
			       false);
	}
	Py_XDECREF(bytes);
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
