/* SPDX-License-Identifier: MIT */
/*
 * The way from the library's threads into Python and back.
 *
 * A thread gets its thread state with its first handler and keeps it until it ends, so that
 * threading.local and current_thread() hold, and no handler pays for making one. It is cleared by
 * what C++ uses for thread_local, which runs before the thread-specific keys are emptied: without
 * Python's own key a thread state cannot be released. A thread of the program's own, which comes
 * here where it reads what it has dialled, has the state that it came with, and Python ends that.
 *
 * Waiting for the GIL looks like blocking to the library, which then brings more threads. That is
 * left so: 64 busy connections alone stay on one thread (tests/test_threads.py), and beside a
 * thread that computes in Python, which gives the GIL away every 5 ms only, each thread in line
 * gets a turn: 16 000 to 24 000 answers in 3 s with 66 threads, 10 000 to 13 000 when waits for the
 * GIL were not counted as blocking, 15 000 with a thread for each connection (socketserver). What
 * bounds the line is max_threads, which is less than the library's own for that reason
 * (sttcp/_engine.py).
 *
 * When the interpreter ends, no thread may ask for the GIL any more: it would be ended in the
 * middle of the library, or crash. `closing` turns newcomers away, and `entering` counts those who
 * are on the way in, for gil_close to wait for. Both are sequentially consistent: either the
 * newcomer sees `closing`, or gil_close sees the newcomer. Who is in already is treated as Python
 * treats any daemon thread.
 */
#include "ext.h"

#include <pthread.h>
#include <time.h>

static atomic_bool closing;
static atomic_int entering;

static _Thread_local struct {
	PyThreadState *state; /* of a thread of the library */
	int depth;
} self;

/* glibc's; the third argument is any address in the object whose code is to stay. */
extern int __cxa_thread_atexit_impl(void (*fn)(void *), void *argument, void *object);

static void clear_state(void *unused);

static void call_quietly(PyObject *callable)
{
	PyObject *result = PyObject_CallNoArgs(callable);

	if (!result)
		PyErr_WriteUnraisable(callable);
	Py_XDECREF(result);
}

bool gil_enter(void)
{
	PyThreadState *state = self.state ? self.state : PyGILState_GetThisThreadState();
	bool first = !state;

	atomic_fetch_add(&entering, 1);
	if (atomic_load(&closing)) {
		atomic_fetch_sub(&entering, 1);
		return false;
	}
	if (!first) {
		PyEval_RestoreThread(state);
	} else {
		PyGILState_Ensure();
		self.state = PyThreadState_Get();
		__cxa_thread_atexit_impl(clear_state, NULL, &closing);
	}
	atomic_fetch_sub(&entering, 1);
	if (atomic_load(&closing)) {
		PyEval_SaveThread();
		return false;
	}
	self.depth++;
	if (first)
		call_quietly(lent.thread_begun);
	return true;
}

void gil_leave(void)
{
	self.depth--;
	PyEval_SaveThread();
}

bool gil_in_handler(void)
{
	return self.depth > 0;
}

/* A thread ends. What threading.current_thread() has made for it goes, too. */
static void clear_state(void *unused)
{
	(void)unused;
	if (!gil_enter())
		return;
	call_quietly(lent.thread_gone);
	self.state = NULL;
	self.depth = 0;
	/* The counterpart of the first gil_enter: clears the state, deletes it, lets the GIL go. */
	PyGILState_Release(PyGILState_UNLOCKED);
}

void gil_close(void)
{
	const struct timespec pause = {.tv_nsec = 100000};

	atomic_store(&closing, true);
	Py_BEGIN_ALLOW_THREADS
	while (atomic_load(&entering))
		nanosleep(&pause, NULL);
	Py_END_ALLOW_THREADS
}

/* In a forked child there is none of the threads that were on the way in. */
static void forget_threads(void)
{
	atomic_store(&entering, 0);
	self.depth = 0;
}

int gil_init(void)
{
	if (pthread_atfork(NULL, NULL, forget_threads)) {
		PyErr_NoMemory();
		return -1;
	}
	return 0;
}
