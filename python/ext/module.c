/* SPDX-License-Identifier: MIT */
/* The module: its types, what the Python half lends it, codes, the engine, the log. */
#include "ext.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

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

/* ---------------------------------------------------------------- the log */

/* What the library logs comes on its own threads, at times when waiting for the GIL would hold up
 * every connection. So it is kept, and whoever is in Python next passes it on: the next handler, or
 * the main thread. What does not fit is dropped, and that is told. */
enum {
	LOG_LINES = 1024,
	LOG_SIZE = 512 /* as long as the library's lines are */
};

/* A ring. */
static struct {
	pthread_mutex_t lock;
	int first;
	int count;
	int dropped; /* behind the last of them */
	struct {
		int level;
		char text[LOG_SIZE];
	} lines[LOG_LINES];
} kept = {.lock = PTHREAD_MUTEX_INITIALIZER};
static atomic_bool log_waits;
static int log_fd = -1; /* an eventfd, that who waits for something else learns of a line, too */

static bool take_line(int *level, char *text)
{
	bool taken = true;

	pthread_mutex_lock(&kept.lock);
	if (kept.count > 0) {
		*level = kept.lines[kept.first].level;
		memcpy(text, kept.lines[kept.first].text, LOG_SIZE);
		kept.first = (kept.first + 1) % LOG_LINES;
		kept.count--;
	} else if (kept.dropped > 0) {
		*level = 2;
		snprintf(text, LOG_SIZE, "%d lines of the log were dropped", kept.dropped);
		kept.dropped = 0;
	} else {
		taken = false;
	}
	pthread_mutex_unlock(&kept.lock);
	return taken;
}

void log_drain(void)
{
	char text[LOG_SIZE];
	int level;

	if (!atomic_load_explicit(&log_waits, memory_order_relaxed))
		return;
	atomic_store(&log_waits, false);
	while (take_line(&level, text)) {
		PyObject *result = PyObject_CallFunction(lent.log, "iN", level, text_make(text));

		if (!result)
			PyErr_WriteUnraisable(lent.log);
		Py_XDECREF(result);
	}
}

static int drain_pending(void *unused)
{
	(void)unused;
	log_drain();
	return 0;
}

/* Any thread, without the GIL. */
static void keep_line(int level, const char *text, void *unused)
{
	(void)unused;
	pthread_mutex_lock(&kept.lock);
	if (kept.count < LOG_LINES && !kept.dropped) {
		int last = (kept.first + kept.count) % LOG_LINES;

		kept.lines[last].level = level;
		snprintf(kept.lines[last].text, LOG_SIZE, "%s", text);
		kept.count++;
	} else {
		kept.dropped++;
	}
	pthread_mutex_unlock(&kept.lock);
	if (!atomic_exchange(&log_waits, true)) {
		gil_call_soon(drain_pending);
		eventfd_write(log_fd, 1);
	}
}

/* In a forked child, which has an eventfd of its own under the same number. */
static void forget_lines(void)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	if (fd >= 0) {
		dup3(fd, log_fd, O_CLOEXEC);
		close(fd);
	}
	atomic_store(&log_waits, false);
	pthread_mutex_init(&kept.lock, NULL);
	kept.count = 0;
	kept.dropped = 0;
}

/* The GIL is let go since these wait for a call of keep_line that runs. */
static PyObject *log_to(PyObject *module, PyObject *args)
{
	int level;

	(void)module;
	if (!PyArg_ParseTuple(args, "i:_log_to", &level))
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	if (level < 0)
		sttcp_set_log(keep_line, NULL);
	else
		sttcp_log_to_stderr(level);
	Py_END_ALLOW_THREADS
	Py_RETURN_NONE;
}

static PyObject *log_level(PyObject *module, PyObject *args)
{
	int level;

	(void)module;
	if (!PyArg_ParseTuple(args, "i:_log_level", &level))
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	sttcp_log_level(level);
	Py_END_ALLOW_THREADS
	Py_RETURN_NONE;
}

/* ---------------------------------------------------------------- functions */

static PyObject *lend(PyObject *module, PyObject *args, PyObject *kwargs)
{
	static char *names[] = {"connection_type",
				"make_exception",
				"make_reason",
				"report",
				"thread_begun",
				"thread_gone",
				"log",
				"server_events",
				"client_events",
				NULL};
	struct lent all;

	(void)module;
	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOOOOOO!O!:_lend", names,
					 &all.connection_type, &all.make_exception,
					 &all.make_reason, &all.report, &all.thread_begun,
					 &all.thread_gone, &all.log, &PyTuple_Type,
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
	Py_INCREF(all.event_types[0]);
	Py_INCREF(all.event_types[1]);
	lent = all;
	Py_RETURN_NONE;
}

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

/* Reads the eventfd in any case: it may tell of lines that somebody else has fetched. */
static PyObject *fetch_log(PyObject *module, PyObject *unused)
{
	eventfd_t number;

	(void)module;
	(void)unused;
	eventfd_read(log_fd, &number);
	log_drain();
	Py_RETURN_NONE;
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

static PyMethodDef functions[] = {
	{"_lend", (PyCFunction)(void (*)(void))lend, METH_VARARGS | METH_KEYWORDS, NULL},
	{"_configure", configure, METH_VARARGS, NULL},
	{"_engine_shutdown", engine_shutdown, METH_NOARGS, NULL},
	{"_fetch_log", fetch_log, METH_NOARGS, NULL},
	{"_log_to", log_to, METH_VARARGS, NULL},
	{"_log_level", log_level, METH_VARARGS, NULL},
	{"_in_handler", in_handler, METH_NOARGS, NULL},
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
	for (int code = STTCP_EDESTROYED; code >= STTCP_EFORK; code--)
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
	PyObject *module = PyModule_Create(&definition);

	if (!module)
		return NULL;
	log_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (log_fd < 0) {
		Py_DECREF(module);
		return PyErr_SetFromErrno(PyExc_OSError);
	}
	pthread_atfork(NULL, NULL, forget_lines);
	if (PyModule_AddIntConstant(module, "_log_fd", log_fd) < 0 || gil_init() < 0 ||
	    add_type(module, "Connection", &conn_type) < 0 ||
	    add_type(module, "Group", &group_type) < 0 || add_codes(module) < 0 ||
	    PyModule_AddStringConstant(module, "core_version", sttcp_version()) < 0) {
		Py_DECREF(module);
		return NULL;
	}
	return module;
}
