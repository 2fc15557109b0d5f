/* SPDX-License-Identifier: MIT */
/*
 * What every file of the extension may use, in the order in which they stand on each other: Python
 * and the library, what the Python half has lent, the way in and out of Python, the log, options.
 * Everything in these headers is called with the GIL held, unless its comment says otherwise;
 * nothing of the library but <sttcp.h> is used, and in wait_rest.c api/unread.h. lent.c, gil.c,
 * signals.c and log.c call only what stands above them here; conn.h, group.h, calls.h, phases.h,
 * handlers.h, tasks.h, wait.h, dialogue.h and far.h each include those before them that they need;
 * module.c is above all others.
 */
#ifndef STTCP_PYTHON_EXT_H
#define STTCP_PYTHON_EXT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <sttcp.h>

#if PY_VERSION_HEX < 0x03090000
#define PyObject_Vectorcall _PyObject_Vectorcall
#define PyObject_CallNoArgs(callable) _PyObject_CallNoArg(callable)
#define PyInterpreterState_Get _PyInterpreterState_Get
#endif

/* ---------------------------------------------------------------- lent.c */

/* What the Python half of the package has lent: callables and types, never NULL after import. */
struct lent {
	PyObject *connection_type; /* sttcp.Connection */
	PyObject *make_exception;  /* (code, text) -> exception, for what a call raises */
	PyObject *make_reason;	   /* (code, text) -> exception or None, for handlers */
	PyObject *report;	   /* (exception): prints its traceback */
	PyObject *thread_begun;	   /* (): this thread is in Python for the first time */
	PyObject *thread_gone;	   /* (): it is about to end */
	PyObject *log;		   /* (level, text) */
	PyObject *tls_info;	   /* sttcp.TLSInfo: (each field of sttcp_tls_info, in its order) */
	PyObject *event_types[2];  /* HandlerType members by event: of servers, of clients */
};
extern struct lent lent;

/* Raises what `code` stands for; returns NULL. */
PyObject *raise_code(int code, const char *text);

/* A text of the library as a string, whatever is in it: one that was too long for its place may end
 * within a character. */
PyObject *text_make(const char *text);

/* The other way: a string as bytes that the library takes, whatever is in it. What is no UTF-8, and
 * NUL, stands there as an escape. */
PyObject *text_encode(PyObject *text);

/* _lend(**what): fills `lent`. */
PyObject *lent_set(PyObject *module, PyObject *args, PyObject *kwargs);

/* ---------------------------------------------------------------- gil.c */

/* Begins and ends a stretch of Python on a thread of the library, without the GIL before and after.
 * False when the interpreter is on its way out: then nothing of Python may be touched. */
bool gil_enter(void);
void gil_leave(void);

/* From now on gil_enter says no; returns when nobody is on the way in. */
void gil_close(void);

/* Whether this thread is inside a handler. Any thread, with or without the GIL. */
bool gil_in_handler(void);

int gil_init(void);

/* ---------------------------------------------------------------- signals.c */

/* How long Ctrl+C may have to wait for a wait on the main thread: the library goes on after a
 * signal. */
enum {
	SIGNALS_MS = 50
};

/* Whether this is the main thread, where Python runs the handlers of signals. It runs none. */
bool signals_come_here(void);

/* _signals_into(before, fd): from now on Python writes the number of each signal there; what it has
 * written to is appended. _signals_back(before, depth): takes that back until so many are left. In
 * one step each, without a handler of a signal in between. */
PyObject *signals_into(PyObject *module, PyObject *args);
PyObject *signals_back(PyObject *module, PyObject *args);

/* -1 with an exception set. */
int signals_init(void);

/* ---------------------------------------------------------------- log.c */

/* Passes on to Python what the library has logged. */
void log_drain(void);

/* Adds the functions of the log to the module. -1 with an exception set. */
int log_init(PyObject *module);

/* ---------------------------------------------------------------- options.c */

/* Fills `options` from a dictionary of numbers, booleans and bytes; what is borrowed from it lives
 * as long as the dictionary. -1 with an exception set. */
int options_read(PyObject *dictionary, sttcp_options *options);

/* ---------------------------------------------------------------- frames.c */

/* option frame_fn; any thread, without the GIL. */
int frames_ask(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame, void *context);

/* Whether this thread runs the function of the connection. */
bool frames_run(const PyObject *conn);

/* Behind a read: whether its function has raised what is no error of the function's, such as the
 * KeyboardInterrupt of a signal on the main thread; it is set as the exception again. */
bool frames_raise(void);

/* ---------------------------------------------------------------- tls.c */

extern PyTypeObject tls_type;

/* What the library has of a TLS object, borrowed from it. -1 with an exception set. */
int tls_read(PyObject *object, sttcp_tls **tls);

#endif
