/* SPDX-License-Identifier: MIT */
/* The object of a connection: made, tied and untied, and why it ended. By whatever sees one. */
#ifndef STTCP_PYTHON_CONN_H
#define STTCP_PYTHON_CONN_H

#include "ext.h"

struct dialogue;

/* A connection as Python sees it: one object for each, from its first handler to its last. */
typedef struct conn {
	PyObject_HEAD
	sttcp_conn *conn; /* a reference */
	unsigned long long id;
	int64_t max_message; /* the option, of a framing of its own */
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
	unsigned char untried;	   /* sends that are not tried first: conn_send.c */
	bool dialled;		   /* the connection's data is its object, without a reference */
	bool far;		   /* a coroutine has dialled it: far.c */
	bool fin; /* the peer's has come, and a coroutine was or may be there for it */
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

/* For the table in conn_type.c. */
int conn_traverse(conn_object *self, visitproc visit, void *arg);
int conn_clear(conn_object *self);
void conn_dealloc(conn_object *self);

#endif
