/* SPDX-License-Identifier: MIT */
/* What a coroutine awaits: made by the methods of a connection, parked by its dialogue. */
#ifndef STTCP_PYTHON_WAIT_H
#define STTCP_PYTHON_WAIT_H

#include "conn_methods.h"

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

/* Its states: the table is in wait.c. */
enum wait_state {
	NEW,
	PARKED_NOW,
	GIVEN,
	FAILED_WITH, /* its code */
	RAISES,	     /* its value */
	NO_CONN,     /* its value: whom to tell, a code, a text */
	INPUT_ENDED, /* the peer's FIN */
	CONN_ENDED,
	SPENT
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

/* For who reads outside coroutines: of what has come and lies here. NULL without an exception: it
 * is the library that has what comes next. */
PyObject *wait_take_rest(conn_object *conn, enum wait_kind kind, Py_ssize_t size, int timeout_ms);

/* Its failure is told by calling `complain` with the code and a text. Takes the reference. */
void wait_fail_dial(wait_object *self, int code, PyObject *text);

/* Among its files. What is there of an exact read: a value, None or NULL as io_recv_exactly; and a
 * read of what has come, if it need not wait for more. */
PyObject *wait_take_exactly(struct dialogue *d, const wait_object *self);
enum outcome wait_begin_with_rest(wait_object *self, struct dialogue *d, PyObject **value);

/* Adds the functions of it to the module. -1 with an exception set. */
int waits_init(PyObject *module);

#endif
