/* SPDX-License-Identifier: MIT */
/* The methods of servers and clients, from the files that have them to the table in group.c. */
#ifndef STTCP_PYTHON_GROUP_METHODS_H
#define STTCP_PYTHON_GROUP_METHODS_H

#include "group.h"

/* ---------------------------------------------------------------- group.c */

/* Whether it can be used so; false: with an exception set. */
bool group_is_made(const group_object *self);
bool group_is_server(const group_object *self);
bool group_is_client(const group_object *self);

/* ---------------------------------------------------------------- group_calls.c */

PyObject *group_start(group_object *self, PyObject *unused);
PyObject *group_stop(group_object *self, PyObject *args);
PyObject *group_request_stop(group_object *self, PyObject *unused);
PyObject *group_wait(group_object *self, PyObject *args);
PyObject *group_wait_open(group_object *self, PyObject *args);
PyObject *group_send(group_object *self, PyObject *args);
PyObject *group_try_send(group_object *self, PyObject *args);
PyObject *group_current(group_object *self, PyObject *unused);
PyObject *group_error(group_object *self, PyObject *unused);
PyObject *group_port(group_object *self, PyObject *unused);
PyObject *group_add_address(group_object *self, PyObject *args);
PyObject *group_add_listener(group_object *self, PyObject *args);
PyObject *group_addresses(group_object *self, PyObject *unused);

/* ---------------------------------------------------------------- group_members.c */

PyObject *group_broadcast(group_object *self, PyObject *args);
PyObject *group_connections(group_object *self, PyObject *args);
PyObject *group_find(group_object *self, PyObject *number);
PyObject *group_connection(group_object *self, PyObject *unused);
PyObject *group_count(group_object *self, PyObject *unused);
PyObject *group_count_in(group_object *self, PyObject *room);
PyObject *group_stats(group_object *self, PyObject *unused);

#endif
