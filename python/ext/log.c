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
 */
#include "ext.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

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
static int log_fd = -1; /* an eventfd, for the thread that waits for lines */

static void tell_waiting(void)
{
	if (!atomic_exchange(&log_waits, true))
		eventfd_write(log_fd, 1);
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

/* Reads the eventfd in any case: it may tell of lines that somebody else has fetched. */
static PyObject *fetch_log(PyObject *module, PyObject *unused)
{
	eventfd_t number;

	(void)module;
	(void)unused;
	eventfd_read(log_fd, &number);
	if (pass_on() < 0)
		return NULL;
	Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
	{"_fetch_log", fetch_log, METH_NOARGS, NULL},
	{"_log_to", log_to, METH_VARARGS, NULL},
	{"_log_level", log_level, METH_VARARGS, NULL},
	{NULL, NULL, 0, NULL},
};

int log_init(PyObject *module)
{
	log_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (log_fd < 0) {
		PyErr_SetFromErrno(PyExc_OSError);
		return -1;
	}
	if (pthread_atfork(NULL, NULL, forget_lines)) {
		PyErr_NoMemory();
		return -1;
	}
	if (PyModule_AddIntConstant(module, "_log_fd", log_fd) < 0)
		return -1;
	return PyModule_AddFunctions(module, functions);
}
