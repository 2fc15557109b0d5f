/* SPDX-License-Identifier: MIT */
/* The module: its functions, types and codes. It is above all other files. */
#include "dialogue.h"
#include "errand.h"
#include "far.h"
#include "module.h"

#include <string.h>

/* ---------------------------------------------------------------- functions */

static PyObject *configure(PyObject *module, PyObject *args)
{
	int loops;
	int max_threads;
	Py_ssize_t stack_size;

	(void)module;
	if (!PyArg_ParseTuple(args, "iin:_configure", &loops, &max_threads, &stack_size))
		return NULL;
	return PyLong_FromLong(
		stack_size < 0 ? -22
			       : sttcp_engine_configure(loops, max_threads, (size_t)stack_size));
}

/* Without the GIL, which threads want once more before they end. */
static PyObject *engine_shutdown(PyObject *module, PyObject *unused)
{
	int result;

	(void)module;
	(void)unused;
	Py_BEGIN_ALLOW_THREADS
	result = sttcp_engine_shutdown();
	Py_END_ALLOW_THREADS
	return PyLong_FromLong(result);
}

static PyObject *in_handler(PyObject *module, PyObject *unused)
{
	(void)module;
	(void)unused;
	return PyBool_FromLong(gil_in_handler());
}

static PyObject *leave(PyObject *module, PyObject *unused)
{
	(void)module;
	(void)unused;
	log_drain();
	gil_close();
	Py_RETURN_NONE;
}

static PyObject *error_text(PyObject *module, PyObject *number)
{
	long code = PyLong_AsLong(number);

	(void)module;
	if (code == -1 && PyErr_Occurred())
		return NULL;
	return PyUnicode_FromString(sttcp_strerror((int)code));
}

static PyObject *error_name(PyObject *module, PyObject *number)
{
	long code = PyLong_AsLong(number);

	(void)module;
	if (code == -1 && PyErr_Occurred())
		return NULL;
	return PyUnicode_FromString(sttcp_error_name((int)code));
}

/* Threads of the library come into the main interpreter (gil.c), and what the Python half has lent
 * is there once. -1 with an exception set elsewhere. */
static int refuse_subinterpreter(void)
{
	if (PyInterpreterState_Get() == PyInterpreterState_Main())
		return 0;
	PyErr_SetString(PyExc_ImportError,
			"sttcp works in the main interpreter only, not in a subinterpreter");
	return -1;
}

/* Where the main interpreter has imported the module, no other one comes to PyInit__sttcp. */
static PyObject *check_interpreter(PyObject *module, PyObject *unused)
{
	(void)module;
	(void)unused;
	if (refuse_subinterpreter() < 0)
		return NULL;
	Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
	{"_check_interpreter", check_interpreter, METH_NOARGS, NULL},
	{"_lend", (PyCFunction)(void (*)(void))lent_set, METH_VARARGS | METH_KEYWORDS, NULL},
	{"_configure", configure, METH_VARARGS, NULL},
	{"_engine_shutdown", engine_shutdown, METH_NOARGS, NULL},
	{"_dial", dial, METH_VARARGS, NULL},
	{"_dial_waiting", far_dial, METH_VARARGS, NULL},
	{"_in_handler", in_handler, METH_NOARGS, NULL},
	{"_signals_into", signals_into, METH_VARARGS, NULL},
	{"_signals_back", signals_back, METH_VARARGS, NULL},
	{"_leave", leave, METH_NOARGS, NULL},
	{"error_text", error_text, METH_O,
	 "error_text($module, code, /)\n--\n\nA sentence for a code."},
	{"error_name", error_name, METH_O,
	 "error_name($module, code, /)\n--\n\nThe name of a code."},
	{NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
	PyModuleDef_HEAD_INIT,
	.m_name = "sttcp._sttcp",
	.m_doc = "The C half of sttcp; use sttcp.server and sttcp.client.",
	.m_size = -1,
	.m_methods = functions,
};

static int add_codes(PyObject *module)
{
	/* From the first to the last, without a gap: the list in sttcp.h. */
	for (int code = STTCP_EDESTROYED; code >= STTCP_ECUT; code--)
		if (PyModule_AddIntConstant(module, sttcp_error_name(code) + strlen("STTCP_"),
					    code) < 0)
			return -1;
	return 0;
}

static int add_type(PyObject *module, const char *name, PyTypeObject *type)
{
	if (PyType_Ready(type) < 0)
		return -1;
	Py_INCREF(type);
	return PyModule_AddObject(module, name, (PyObject *)type);
}

/* Python 3.8 does not say itself that it is to be seen. */
__attribute__((visibility("default"))) PyMODINIT_FUNC PyInit__sttcp(void)
{
	if (refuse_subinterpreter() < 0)
		return NULL;

	PyObject *module = PyModule_Create(&definition);

	if (!module)
		return NULL;
	if (log_init(module) < 0 || gil_init() < 0 || signals_init() < 0 ||
	    timers_init(module) < 0 || waits_init(module) < 0 || errands_init() < 0 ||
	    dialogues_init() < 0 || add_type(module, "ConnectionBase", &conn_type) < 0 ||
	    add_type(module, "GroupBase", &group_type) < 0 ||
	    add_type(module, "TimerBase", &timer_type) < 0 ||
	    add_type(module, "TLSBase", &tls_type) < 0 || add_codes(module) < 0 ||
	    PyModule_AddObject(module, "has_tls", PyBool_FromLong(STTCP_PYTHON_TLS)) < 0 ||
	    PyModule_AddStringConstant(module, "core_version", sttcp_version()) < 0) {
		Py_DECREF(module);
		return NULL;
	}
	return module;
}
