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

struct dialogue;

/* A connection as Python sees it: one object for each, from its first handler to its last. */
typedef struct conn {
	PyObject_HEAD
	sttcp_conn *conn;    /* a reference */
	PyObject *owner;     /* the Server or Client; NULL for a dialled one */
	PyObject *address;   /* (host, port) of the peer */
	PyObject *data;	     /* the user's */
	PyObject *exception; /* that ended it, when a handler raised it or failed it with it */
	PyObject *frame;     /* its own framing by a callable, or NULL */
	PyObject *own;	     /* its own handler of messages, or NULL */
	PyObject *weakrefs;
	struct dialogue *dialogue; /* a coroutine of its handlers waits; or NULL */
	struct wait *senders;	   /* of other connections' coroutines: they wait for room */
	int timeout_ms;		   /* of recv; -1 waits */
	atomic_size_t want;	   /* what a coroutine takes at most; 0: whatever comes */
	bool paused;		   /* by pause() */
	unsigned char framing;	   /* of its own: a value of enum own_framing */
	bool dialled;		   /* the connection's data is its object, without a reference */
	bool far;		   /* a coroutine has dialled it: far.c */
	bool fin;		   /* far: the peer's has come */
} conn_object;

enum own_framing {
	FRAMING_OF_GROUP,
	FRAMING_RAW,
	FRAMING_MESSAGES
};

extern PyTypeObject conn_type;

/* The object of `conn`, a new reference; made and tied to it if there is none and it is open.
 * `host` caches the last host's string. */
PyObject *conn_wrap(sttcp_conn *conn, PyObject *owner, PyObject **host);

/* The one that is there, borrowed, or NULL. */
PyObject *conn_peek(sttcp_conn *conn);

/* The same, a new reference: of a dialled one while something runs that has one. */
PyObject *conn_peek_ref(sttcp_conn *conn);

/* Unties it: the connection runs no handler any more. */
void conn_untie(sttcp_conn *conn);

/* Whether it has messages; then bytes alone cannot be waited for without a thread. */
bool conn_is_framed(const conn_object *self);

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

/* The object of a dialled connection, whose only handle it takes. `frame` is its framing by a
 * callable, or None. NULL with an exception set: then the handle is gone, too. */
PyObject *conn_make_dialled(sttcp_conn *conn, PyObject *frame);

/* That of one which a coroutine has dialled, as the client `owner`. */
PyObject *conn_make_far(sttcp_conn *conn, PyObject *owner);

/* ---------------------------------------------------------------- dial.c */

/* _dial(host, port, options, frame): a connection, or (code, text). */
PyObject *dial(PyObject *module, PyObject *args);

/* ---------------------------------------------------------------- conn_io.c */

/* What the methods below do outside coroutines: they may wait. */
PyObject *io_recv(conn_object *self, Py_ssize_t size, int timeout_ms);
PyObject *io_recv_message(conn_object *self, int timeout_ms);
PyObject *io_recv_exactly(conn_object *self, Py_ssize_t size, int timeout_ms);
PyObject *io_next_size(conn_object *self, int timeout_ms);

enum way {
	SEND,
	SEND_MESSAGE
};

/* None, or NULL. */
PyObject *io_send(conn_object *self, PyObject *data, enum way way);

/* Without waiting: the library's code; or 1 with an exception set. */
int io_try(conn_object *self, PyObject *data, enum way way);

/* Raises what a read ended in; returns NULL. */
PyObject *io_raise(conn_object *self, int code, int timeout_ms);

/* How long Ctrl+C may have to wait for a wait on the main thread: the library goes on after a
 * signal. */
enum {
	IO_SIGNAL_MS = 50
};
bool io_on_main_thread(void);

/* Methods of a connection. */
PyObject *conn_sendall(conn_object *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *conn_send(conn_object *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *conn_send_message(conn_object *self, PyObject *data);
PyObject *conn_try_send(conn_object *self, PyObject *data);
PyObject *conn_try_send_message(conn_object *self, PyObject *data);
PyObject *conn_sendmsg(conn_object *self, PyObject *buffers);
PyObject *conn_try_sendv(conn_object *self, PyObject *buffers);
PyObject *conn_sendv_message(conn_object *self, PyObject *buffers);
PyObject *conn_recv(conn_object *self, PyObject *const *args, Py_ssize_t nargs);
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
	SLOT_COUNT,
	SLOT_DIALOGUE = SLOT_COUNT /* none of the user's: somebody waits for an event */
};

struct group;
struct wait;

/* What the library's handlers get as their context. It outlives the object, which a handler that
 * was held up finds gone then. */
struct binding {
	struct group *group; /* borrowed, under the GIL; NULL once it is gone */
	atomic_uint slots;   /* a bit for each handler that is set: to be read without the GIL */
	int ndialogues;	     /* connections with one: SLOT_DIALOGUE is set meanwhile */
	bool is_client;
	bool half_close; /* the option */

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
	bool reconnects;   /* the end of its connection is not its own: Python waits for that */
	bool framed;	   /* it has messages */
	struct wait *dial; /* far.c: who waits for its connection, borrowed, or NULL */
} group_object;

extern PyTypeObject group_type;

/* Sets the library's handlers of an object that was just made; handlers.c. */
void handlers_set(group_object *group);

/* To be called before a connection is closed or aborted, and when it has been failed and that
 * counts: whether its last handler will come depends on who ends it. */
void handlers_note_close(sttcp_conn *conn);
void handlers_note_failure(sttcp_conn *conn);

/* For sttcp_conn_on_message, with the binding as its context; any thread, without the GIL. */
void handlers_own(sttcp_conn *conn, const void *data, size_t size, void *context);

/* ---------------------------------------------------------------- calls.c */

/* What a handler said. */
enum verdict {
	FAILED = -1,
	NO,
	YES,
	NOTHING,
	PARKED /* it is a coroutine and waits: its connection has a dialogue now */
};

/* Whether a handler may be a coroutine that waits without its thread, and then whether it may read.
 */
enum ability {
	WAITS_HERE,
	PARKS,
	PARKS_AND_READS
};

/* Calls the handler; FAILED: with an exception set. `conn` may be NULL if it waits here. */
enum verdict call_python(PyObject *handler, PyObject *const *args, size_t nargs, conn_object *conn,
			 enum ability ability);

/* Ends what gil_enter began, and passes on what was logged meanwhile. */
void leave_python(void);

/* Reports the exception that is set, which nothing is left to be ended with. */
void report_raised(void);

/* The exception that is set, as an object with its traceback, a new reference. */
PyObject *take_exception(void);

/* Ends the connection with what the handler raised; `group` is NULL for a dialled one. What a call
 * on a connection that has ended raised is no news: its reason is told, and stays. A coroutine that
 * was parked learns of the peer's FIN when that has ended the connection. */
void fail_raised(group_object *group, sttcp_conn *conn, bool was_parked);

/* The object that a call belongs to, a new reference; NULL when it is gone, or is about to go: code
 * of a user that runs at its end, such as a weak reference's, lets others have the GIL. */
group_object *take_group(struct binding *binding);

/* ---------------------------------------------------------------- phases, handlers.c */

/* The calls that one event brings about, as far as they have got. */
struct phase {
	sttcp_event event; /* 0: one call only, without a verdict */
	enum slot slot;
	PyObject *data; /* or NULL */
	PyObject *own;	/* its own handler of messages, or NULL */
	unsigned char stage;
	signed char universal;
	signed char specific;
	bool called; /* the specific one */
};

/* Goes on behind a call that was parked and has said `verdict`. PARKED: another one is, and stands
 * in the dialogue. */
enum verdict handlers_go_on(group_object *group, conn_object *conn, struct phase *phase,
			    enum verdict verdict);

/* The calls for bytes that have come before. Takes the reference. */
enum verdict handlers_data(group_object *group, conn_object *conn, PyObject *data);

/* The call of the handler in that slot, which gets the connection alone. */
enum verdict handlers_notify(group_object *group, conn_object *conn, enum slot slot);

/* What follows when all calls are over, and the library has gone on meanwhile. */
void handlers_conclude(group_object *group, sttcp_conn *conn, enum verdict verdict);

/* ---------------------------------------------------------------- frames.c */

/* option frame_fn; any thread, without the GIL. */
int frames_ask(sttcp_conn *conn, const void *data, size_t size, sttcp_frame *frame, void *context);

/* ---------------------------------------------------------------- tasks.c */

/* A task of a connection: references, which go with it. */
struct task {
	conn_object *conn;
	PyObject *function;
	bool takes_connection;
	bool deferred; /* until a coroutine has returned: it stands in the dialogue */
	int refs;
	int64_t id; /* once that is known */
	struct task *next;
	struct task *behind; /* deferred */
};

/* Calls its function. */
enum verdict tasks_call(struct task *task);

/* Whether this thread runs a plain one of the connection. */
bool tasks_runs(const conn_object *conn);

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

/* ---------------------------------------------------------------- wait.c */

enum wait_kind {
	WAIT_NOT, /* it is over: its value is there */
	WAIT_RECV,
	WAIT_EXACTLY,
	WAIT_MESSAGE,
	WAIT_NEXT, /* the same in `async for` */
	WAIT_SIZE,
	WAIT_ROOM, /* in the send queue */
	WAIT_TIME,
	WAIT_CALL, /* far.c, and these, too: of its value, on the connection's turn */
	WAIT_DIAL,
	WAIT_FAR /* another connection is asked to do it */
};

/* What a coroutine awaits. */
typedef struct wait {
	PyObject_HEAD
	conn_object *conn; /* a reference; NULL: any */
	PyObject *value;   /* what it comes to; what is to be sent */
	Py_ssize_t size;
	int timeout_ms; /* -1: none */
	int code;	/* what it has failed with */
	unsigned char kind;
	unsigned char state;
	unsigned char way; /* of sending */
	bool entered;	   /* by `async with` */
	/* What another connection is waited for with: */
	bool tries;	     /* a thread is trying to send, */
	bool tries_again;    /* and there may be room since it began */
	bool listed;	     /* among the senders of `conn` */
	conn_object *waiter; /* whose coroutine waits, a reference */
	PyObject *far;	     /* the client that dials, or what `conn` is asked to do */
	struct wait *behind; /* senders */
} wait_object;

extern PyTypeObject wait_type;

/* New references, or NULL. */
PyObject *wait_make(conn_object *conn, enum wait_kind kind, Py_ssize_t size, int timeout_ms);
PyObject *wait_done(PyObject *value);
PyObject *wait_send(conn_object *self, PyObject *data, enum way way);

/* For the dialogue in which it waits. Takes the reference to the value, which may not be NULL. */
void wait_give(wait_object *self, PyObject *value);
void wait_fail(wait_object *self, int code);
void wait_raise(wait_object *self, PyObject *exception);
void wait_end_of_input(wait_object *self);
void wait_end_of_connection(wait_object *self);

/* Tries once more: true when it is over. */
bool wait_send_again(wait_object *self);

/* Whether it waits no longer, and the coroutine has not heard of it. */
bool wait_is_over(const wait_object *self);

enum outcome {
	RETURNS,
	YIELDS
};

/* One step: a value, or NULL with an exception set; or itself. */
enum outcome wait_step(wait_object *self, PyObject **value);

/* Nobody will ask what it comes to. */
void wait_spend(wait_object *self);

/* For a plain task: what has come and lies here. NULL without an exception: nothing of use does. */
PyObject *wait_take_rest(conn_object *conn, enum wait_kind kind, Py_ssize_t size, int timeout_ms);

/* Its failure is told by calling `complain` with the code and a text. Takes the reference. */
void wait_fail_dial(wait_object *self, int code, PyObject *text);

/* Adds the functions of it to the module. -1 with an exception set. */
int waits_init(PyObject *module);

/* ---------------------------------------------------------------- coroutine.c */

enum came {
	YIELDED,
	RETURNED,
	RAISED
};

/* Runs it until it yields; `result` is what it has yielded or returned, a new reference. */
enum came coroutine_send(PyObject *coroutine, PyObject **result);

/* It has yielded what nobody here can wait for, and gets a TypeError. Takes the reference. */
enum came coroutine_refuse(PyObject *coroutine, PyObject *yielded, PyObject **result);

/* Puts the exception that is set in words of this package if asyncio was meant. */
void coroutine_explain(void);

/* ---------------------------------------------------------------- park.c */

/* It waits from now on; false if it need not, or cannot: then the wait tells. */
bool park_begin(struct dialogue *d);

/* What has come of a read that comes to nothing stays to be read. */
void park_end_part(struct dialogue *d);

/* Tells the library how many bytes the wait takes. */
void park_want(struct dialogue *d);

/* Whether it cuts the stream so. */
void park_cut(struct dialogue *d, bool cuts);

/* Whether the peer's FIN leaves the connection open, where the option half_close does not. */
void park_outlive_fin(struct dialogue *d, bool on);

/* Whether it has paused the connection. */
void park_hold(struct dialogue *d, bool held);

/* For the time of the wait; one that rings earlier finds out that it is too early: a dialogue whose
 * every read has a limit does not set a timer for each. 0, or why there is none. */
int park_set_timer(struct dialogue *d);
void park_cancel_timer(struct dialogue *d);
bool park_time_has_come(const struct dialogue *d);

/* free_fn of tasks whose argument is a connection. */
void park_free(void *argument);

/* ---------------------------------------------------------------- dialogue.c */

/* A connection one of whose handlers is a coroutine that waits, and what has come about meanwhile.
 */
struct dialogue {
	conn_object *conn;   /* whose it is; NULL: of none, and then nothing is parked */
	PyObject *coroutine; /* NULL: none waits, but there is a rest */
	wait_object *wait;   /* what it waits in */
	struct phase phase;  /* what the coroutine is a part of */
	PyObject *rest;	     /* bytes that nobody has read so far, or NULL */
	Py_ssize_t rest_at;  /* where they begin */
	PyObject *part;	     /* of WAIT_EXACTLY: what has come */
	Py_ssize_t part_size;
	struct task *tasks; /* deferred */
	int64_t until_ms;   /* of the wait, -1: without a limit */
	int64_t timer_id;   /* 0: there is none */
	int64_t timer_ms;   /* when it rings */
	bool holds;	    /* the library has paused it */
	bool cuts;	    /* the library cuts the bytes as its waits want them */
	bool may_not_read;
	bool ended;
	bool fin;	   /* the peer's has come */
	bool outlives_fin; /* that is so only as long as it waits */
	bool asked;	   /* to go on, by a task */
	bool end_due;
	bool drained_due;
};

/* That of the coroutine that this thread runs, or NULL. */
struct dialogue *dialogue_now(void);

/* sttcp_task of its timer: the argument is its connection. */
void dialogue_ring(sttcp_conn *conn, void *argument);

/* In a forked child nobody goes on with a coroutine: it waits on the spot. */
int dialogues_init(void);

/* Makes it another one; returns the one before. */
struct dialogue *dialogue_swap(struct dialogue *other);

/* Whether what a method of the connection does is to be awaited. */
static inline bool dialogue_has(const conn_object *self)
{
	const struct dialogue *now = dialogue_now();

	return now && (now->conn == self || !now->conn || self->dialled);
}

/* Whether a coroutine waits: no other handler may run. */
static inline bool dialogue_waits(const conn_object *self)
{
	return self->dialogue && self->dialogue->coroutine;
}

/* Runs a coroutine until it waits for something, or returns: as a handler. Takes the reference.
 * `conn` is NULL where it cannot be parked: then it waits on the spot. */
enum verdict dialogue_begin(conn_object *conn, PyObject *coroutine, bool may_read);

/* Events of a connection in which a coroutine waits. */
void dialogue_take_data(conn_object *self, PyObject *data);
void dialogue_take_end(conn_object *self);
void dialogue_take_drained(conn_object *self);
void dialogue_defer(conn_object *self, struct task *task);

/* The connection has ended: the coroutine finds out, and runs to its end. */
void dialogue_finish(conn_object *self);

/* Drops what there is: the coroutine is closed. */
void dialogue_drop(conn_object *self);

/* pause() and resume(), as the library. */
int dialogue_pause(conn_object *self);
int dialogue_resume(conn_object *self);

/* Goes on with the coroutine as a task, if it waits in that. */
void dialogue_wake(conn_object *self, const wait_object *wait);

/* By the owner of a connection that is far: a coroutine's wait comes to nothing; what it has come
 * to and nobody wants (takes the reference), or what has come for nobody, stays to be read; nothing
 * waits any more. */
void dialogue_interrupt(conn_object *self, const PyObject *coroutine);
void dialogue_put_back(conn_object *self, PyObject *bytes);
void dialogue_stash(conn_object *self, PyObject *bytes);
void dialogue_settle(conn_object *self);

/* What the coroutine that this thread runs has left: copies up to so many bytes of it. */
Py_ssize_t dialogue_read_rest(void *memory, Py_ssize_t size);

/* The connection has another framing from now on. */
void dialogue_note_framing(conn_object *self);

/* Takes back what was deferred; whether there was such a task. */
bool dialogue_cancel(conn_object *self, int64_t id);

/* For the collector of garbage. */
int dialogue_traverse(conn_object *self, visitproc visit, void *arg);
void dialogue_clear(conn_object *self);

/* ---------------------------------------------------------------- far.c */

/* Begins what a coroutine of another connection awaits: YIELDS, or RETURNS with a value. */
enum outcome far_begin_dial(wait_object *self, PyObject **value);
enum outcome far_begin(wait_object *self, PyObject **value);

/* Nobody waits in it any more. */
void far_give_up(wait_object *self);

/* Whether this thread runs the connection's own handlers, and reads it itself. */
bool far_is_here(const conn_object *self);

/* A read of one that is far by a thread that waits: what it comes to. */
PyObject *far_read(conn_object *self, enum wait_kind kind, Py_ssize_t size, int timeout_ms);

/* Method of a connection, _on_turn(function): None where it is to be called right here; True when
 * it was called elsewhere; in a coroutine what is to be awaited. */
PyObject *conn_on_turn(conn_object *self, PyObject *function);

/* _dial_waiting(host, port, options, frame, timeout_ms, complain): what is to be awaited. */
PyObject *far_dial(PyObject *module, PyObject *args);

/* -1 with an exception set. */
int far_init(void);

/* ---------------------------------------------------------------- timer.c */

extern PyTypeObject timer_type;

/* Adds the functions about timers and work to the module. -1 with an exception set. */
int timers_init(PyObject *module);

#endif
