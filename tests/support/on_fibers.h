/* SPDX-License-Identifier: MIT */
/*
 * The suite on fibers. With STTCP_TEST_FIBERS=1 in the environment the handlers of
 * every server and client that a test makes have a stack of their own: the tests are
 * the same, and a wait of theirs holds no thread. With STTCP_TEST_FIBERS=2 a handler
 * that has waited goes on on another thread, nearly always.
 */
#ifndef STT_TEST_ON_FIBERS_H
#define STT_TEST_ON_FIBERS_H

#include <stdbool.h>

#include "sttcp.h"

bool on_fibers_wanted(void);

/* The options to be used in place of `options`, which may be in `copy`. */
const sttcp_options *on_fibers(sttcp_options *copy, const sttcp_options *options);

#endif
