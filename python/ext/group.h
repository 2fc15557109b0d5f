/* SPDX-License-Identifier: MIT */
/* Servers and clients: the object, and what the library's handlers get as their context. */
#ifndef STTCP_PYTHON_GROUP_H
#define STTCP_PYTHON_GROUP_H

#include "ext.h"

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
	int64_t max_message; /* the option */
	int disconnection_args;
	int unconnected_args;
	unsigned long last_thread; /* that runs the last handler now, or 0 */
	bool restarted;		   /* and has started the client again in it */
	bool reconnects;   /* the end of its connection is not its own: Python waits for that */
	bool framed;	   /* it has messages */
	bool secure;	   /* it has a TLS object, whose files a start may read */
	struct wait *dial; /* far.c: who waits for its connection, borrowed, or NULL */
} group_object;

extern PyTypeObject group_type;

#endif
