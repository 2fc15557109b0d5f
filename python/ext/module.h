/* SPDX-License-Identifier: MIT */
/* What the module is put together of, where no other header tells. */
#ifndef STTCP_PYTHON_MODULE_H
#define STTCP_PYTHON_MODULE_H

#include "ext.h"

/* dial.c: _dial(host, port, options, frame): a connection, or (code, text). */
PyObject *dial(PyObject *module, PyObject *args);

/* timer.c */
extern PyTypeObject timer_type;

/* Adds the functions about timers and work to the module. -1 with an exception set. */
int timers_init(PyObject *module);

#endif
