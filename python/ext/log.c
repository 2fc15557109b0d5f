/* SPDX-License-Identifier: MIT */
/*
 * The log, from the library to the logger.
 *
 * What the library logs comes on its own threads, at times when waiting for the GIL would hold up
 * every connection. So it is kept, and whoever is in Python next passes it on: the next handler, at
 * its end, a start that has failed, or the thread that waits for nothing else (sttcp/_log.py).
 * Python's pending calls will not do: they run logging at any point of the main thread, where it
 * may hold the very lock that the logger's handlers want. What does not fit is dropped, and that is
 * told.
 *
 * That thread waits for a condition and not for a descriptor: a program may close those that it
 * does not know, as one does that becomes a daemon, and open others under their numbers.
 */
#include "ext.h"

#include <pthread.h>
#include <string.h>

enum {
	LOG_LINES = 1024,
	LOG_SIZE = 512 /* as long as the library's lines are */
};

/* A ring. Who holds its lock never waits for the GIL. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t told;
	unsigned long news; /* a number that changes with each thing that is told */
	int first;
	int count;
	int dropped; /* behind the last of them */
	struct {
		int level;
		char text[LOG_SIZE];
	} lines[LOG_LINES];
} kept = {.lock = PTHREAD_MUTEX_INITIALIZER, .told = PTHREAD_COND_INITIALIZER};
static atomic_bool log_waits;

/* Whoever waits for lines looks again. */
static void wake_waiting(void)
{
	pthread_mutex_lock(&kept.lock);
	kept.news++;
	pthread_cond_broadcast(&kept.told);
	pthread_mutex_unlock(&kept.lock);
}

static void tell_waiting(void)
{
	if (!atomic_exchange(&log_waits, true))
		wake_waiting();
}

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

/* -1 with an exception set that no line has raised: a signal's, on the main thread. The rest stays.
 */
static int pass_on(void)
{
	char text[LOG_SIZE];
	int level;

	if (!atomic_load_explicit(&log_waits, memory_order_relaxed))
		return 0;
	atomic_store(&log_waits, false);
	while (take_line(&level, text)) {
		PyObject *result = PyObject_CallFunction(lent.log, "iN", level, text_make(text));

		if (!result && !PyErr_ExceptionMatches(PyExc_Exception)) {
			tell_waiting();
			return -1;
		}
		if (!result)
			PyErr_WriteUnraisable(lent.log);
		Py_XDECREF(result);
	}
	return 0;
}

void log_drain(void)
{
	if (pass_on() < 0)
		PyErr_WriteUnraisable(lent.log);
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
	tell_waiting();
}

/* In a forked child, where nobody waits. */
static void forget_lines(void)
{
	atomic_store(&log_waits, false);
	pthread_mutex_init(&kept.lock, NULL);
	pthread_cond_init(&kept.told, NULL);
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

static PyObject *fetch_log(PyObject *module, PyObject *unused)
{
	(void)module;
	(void)unused;
	if (pass_on() < 0)
		return NULL;
	Py_RETURN_NONE;
}

/* _wait_log(seen): returns the number of what is told when it is another one than the last. There
 * may be no lines: somebody else has fetched them, or it is _wake_log. */
static PyObject *wait_log(PyObject *module, PyObject *number)
{
	unsigned long seen = PyLong_AsUnsignedLong(number);

	(void)module;
	if (PyErr_Occurred())
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	pthread_mutex_lock(&kept.lock);
	while (kept.news == seen)
		pthread_cond_wait(&kept.told, &kept.lock);
	seen = kept.news;
	pthread_mutex_unlock(&kept.lock);
	Py_END_ALLOW_THREADS
	return PyLong_FromUnsignedLong(seen);
}

static PyObject *wake_log(PyObject *module, PyObject *unused)
{
	(void)module;
	(void)unused;
	wake_waiting();
	Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
	{"_fetch_log", fetch_log, METH_NOARGS, NULL},
	{"_log_to", log_to, METH_VARARGS, NULL},
	{"_log_level", log_level, METH_VARARGS, NULL},
	/* For the thread that waits. */
	{"_wait_log", wait_log, METH_O, NULL},
	{"_wake_log", wake_log, METH_NOARGS, NULL},
	{NULL, NULL, 0, NULL},
};

int log_init(PyObject *module)
{
	if (pthread_atfork(NULL, NULL, forget_lines)) {
		PyErr_NoMemory();
		return -1;
	}
	return PyModule_AddFunctions(module, functions);
}
