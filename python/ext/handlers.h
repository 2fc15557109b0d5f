/* SPDX-License-Identifier: MIT */
/* The library's handlers, and what others tell them. */
#ifndef STTCP_PYTHON_HANDLERS_H
#define STTCP_PYTHON_HANDLERS_H

#include "phases.h"

/* Sets the library's handlers of an object that was just made; handlers.c. */
void handlers_set(group_object *group);

/* To be called before a connection is closed or aborted, and when it has been failed and that
 * counts: whether its last handler will come depends on who ends it. */
void handlers_note_close(sttcp_conn *conn);
void handlers_note_failure(sttcp_conn *conn);

/* For sttcp_conn_on_message, with the binding as its context; any thread, without the GIL. */
void handlers_own(sttcp_conn *conn, const void *data, size_t size, void *context);

#endif
