/* SPDX-License-Identifier: MIT */
/*
 * What the files of the extension share. Everything here is called with the GIL held, unless its
 * comment says otherwise; nothing of the library but <sttcp.h> is used. lent.c,
 * gil.c and log.c call only what stands above them here; module.c is above all others.
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

/* _lend(**what): fills `lent`. */
PyObject *lent_set(PyObject *module, PyObject *args, PyObject *kwargs);

/* ---------------------------------------------------------------- gil.c */

/* Begins and ends a stretch of Python on a thread of the library, without the GIL before and after.
 * False when the interpreter is on its way out: then nothing of Python may be touched. */
bool gil_enter(void);
void gil_leave(void);

/* Has the main thread call the function when it can; not after gil_close. Any thread, without the
 * GIL. */
void gil_call_soon(int (*function)(void *argument));

/* From now on gil_enter says no; returns when nobody is on the way in. */
void gil_close(void);

/* Whether this thread is inside a handler. Any thread, with or without the GIL. */
bool gil_in_handler(void);

int gil_init(void);

/* ---------------------------------------------------------------- log.c */

/* Passes on to Python what the library has logged. */
void log_drain(void);

/* Adds the functions of the log to the module. -1 with an exception set. */
int log_init(PyObject *module);

/* ---------------------------------------------------------------- options.c */

/* Fills `options` from a dictionary of numbers, booleans and bytes; what is borrowed from it lives
 * as long as the dictionary. -1 with an exception set. */
int options_read(PyObject *dictionary, sttcp_options *options);

/* ---------------------------------------------------------------- conn.c */

/* A connection as Python sees it: one object for each, from its first handler to its last. */
typedef struct conn {
	PyObject_HEAD
	sttcp_conn *conn;    /* a reference */
	PyObject *owner;     /* the Server or Client */
	PyObject *address;   /* (host, port) of the peer */
	PyObject *data;	     /* the user's */
	PyObject *exception; /* that ended it, when a handler raised it or failed it with it */
	PyObject *frame;     /* its own framing by a callable, or NULL */
	PyObject *own;	     /* its own handler of messages, or NULL */
	PyObject *weakrefs;
	int timeout_ms; /* of recv; -1 waits */
} conn_object;

extern PyTypeObject conn_type;

/* The object of `conn`, a new reference; made and tied to it if there is none and it is open.
 * `host` caches the last host's string. */
PyObject *conn_wrap(sttcp_conn *conn, PyObject *owner, PyObject **host);

/* The one that is there, borrowed, or NULL. */
PyObject *conn_peek(sttcp_conn *conn);

/* Unties it: the connection runs no handler any more. */
void conn_untie(sttcp_conn *conn);

/* (host, port) of the peer. */
PyObject *conn_make_address(sttcp_conn *conn, PyObject **host);

/* Fails it, as sttcp_conn_fail or, if `now`, sttcp_conn_fail_now; returns what that does.
 * `exception` (may be NULL) is the reason from then on if this failure counts; `known` is its
 * object, or NULL. */
int conn_fail_with(sttcp_conn *conn, conn_object *known, PyObject *exception, const char *text,
		   bool now);

/* Raises what a call on it failed with; returns NULL. What ended it has more to say than its code.
 */
PyObject *conn_raise(sttcp_conn *conn, int code);

/* Why it ended, for the code that the library gives: an exception or None, a new reference. `known`
 * is its object, or NULL. */
PyObject *conn_make_reason(sttcp_conn *conn, int code, PyObject *known);

/* ---------------------------------------------------------------- conn_io.c */

/* Methods of a connection. */
PyObject *conn_sendall(conn_object *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *conn_send(conn_object *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *conn_send_message(conn_object *self, PyObject *data);
PyObject *conn_try_send(conn_object *self, PyObject *data);
PyObject *conn_try_send_message(conn_object *self, PyObject *data);
PyObject *conn_sendmsg(conn_object *self, PyObject *buffers);
PyObject *conn_try_sendv(conn_object *self, PyObject *buffers);
PyObject *conn_sendv_message(conn_object *self, PyObject *buffers);
PyObject *conn_recv(conn_object *self, PyObject *args);
PyObject *conn_recv_into(conn_object *self, PyObject *args);
PyObject *conn_recv_message(conn_object *self, PyObject *unused);
PyObject *conn_recv_exactly(conn_object *self, PyObject *args);
PyObject *conn_next_size(conn_object *self, PyObject *args);

/* ---------------------------------------------------------------- group.c, handlers.c */

enum slot {
	SLOT_CONNECTION,
	SLOT_DATA, /* receive or response */
	SLOT_END,
	SLOT_DISCONNECTION,
	SLOT_UNCONNECTED,
	SLOT_DRAINED,
	SLOT_MALFORMED,
	SLOT_UNIVERSAL,
	SLOT_PLAIN, /* handler(address, connection, data) of the first versions */
	SLOT_COUNT
};

struct group;

/* What the library's handlers get as their context. It outlives the object, which a handler that
 * was held up finds gone then. */
struct binding {
	struct group *group; /* borrowed, under the GIL; NULL once it is gone */
	atomic_uint slots;   /* a bit for each handler that is set: to be read without the GIL */
	bool is_client;

	/* A client's, under the lock. */
	pthread_mutex_t lock;
	bool is_connected;
	char local[128]; /* this end of the last connection; "" before the first */
};

/* A server or a client; Python's Server and Client derive from it. */
typedef struct group {
	PyObject_HEAD
	struct binding *binding;
	sttcp_server *server; /* one of the two */
	sttcp_client *client;
	PyObject *handlers[SLOT_COUNT];
	PyObject *frame; /* framing by a callable */
	PyObject *last_host;
	PyObject *weakrefs;
	int disconnection_args;
	int unconnected_args;
	unsigned long last_thread; /* that runs the last handler now, or 0 */
	bool restarted;		   /* and has started the client again in it */
	bool reconnects; /* the end of its connection is not its own: Python waits for that */
} group_object;

extern PyTypeObject group_type;

/* Sets the library's handlers of an object that was just made; handlers.c. */
void handlers_set(group_object *group);

/* To be called before a connection is closed or aborted, and before it is failed: whether its last
 * handler will come depends on who ends it. */
void handlers_note_close(sttcp_conn *conn);
void handlers_note_fail(sttcp_conn *conn);

/* For sttcp_conn_on_message, with the binding as its context; any thread, without the GIL. */
void handlers_own(sttcp_conn *conn, const void *data, size_t size, void *context);

/* ---------------------------------------------------------------- calls.c */

/* What a handler said. */
enum verdict {
	FAILED = -1,
	NO,
	YES,
	NOTHING
};

/* Calls the handler; what came of it is FAILED with an exception set. */
enum verdict call_python(PyObject *handler, PyObject *const *args, size_t nargs);

/* Ends what gil_enter began, and passes on what was logged meanwhile. */
void leave_python(void);

/* Reports the exception that is set, which nothing is left to be ended with. */
void report_raised(void);

/* Ends the connection with what the handler raised. What a call on a connection that has ended
 * raised is no news: its reason is told, and stays. */
void fail_raised(group_object *group, sttcp_conn *conn);

/* The object that a call belongs to, a new reference; NULL when it is gone, or is about to go: code
 * of a user that runs at its end, such as a weak reference's, lets others have the GIL. */
group_object *take_group(struct binding *binding);

/* ---------------------------------------------------------------- frames.c */

/* option frame_fn; any thread, without the GIL. */
int frames_ask(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame, void *context);

/* ---------------------------------------------------------------- tasks.c */

/* A task of a connection: references, which go with it. */
struct task {
	conn_object *conn;
	PyObject *function;
	bool takes_connection;
	struct task *next;
};

/* sttcp_task, and its free_fn; any thread, without the GIL. */
void tasks_run(sttcp_conn *conn, void *argument);
void tasks_free(void *argument);

/* One that the library has not taken. */
void tasks_drop(struct task *task);

/* As sttcp_conn_cancel. */
int tasks_cancel(sttcp_conn *conn, int64_t id);

/* ---------------------------------------------------------------- tls.c */

extern PyTypeObject tls_type;

/* What the library has of a TLS object, borrowed from it. -1 with an exception set. */
int tls_read(PyObject *object, sttcp_tls **tls);

/* A method and an attribute of a connection. */
PyObject *conn_start_tls(conn_object *self, PyObject *args);
PyObject *conn_tls(conn_object *self, void *unused);

/* ---------------------------------------------------------------- timer.c */

extern PyTypeObject timer_type;

/* Adds the functions about timers and work to the module. -1 with an exception set. */
int timers_init(PyObject *module);

#endif
