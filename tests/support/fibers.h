/* SPDX-License-Identifier: MIT */
/* What tests of handlers that are parked share (the option `fibers`): servers with such handlers,
 * scripts that wait, and what these note. */
#ifndef STT_TEST_FIBERS_H
#define STT_TEST_FIBERS_H

#include "support/reading.h"

/* With the option. */
extern const sttcp_options lines;
extern const sttcp_options raw;

/* Raised by scripts before a wait, and after it; what it returned. */
extern struct event parked;
extern struct event woken;
extern atomic_int slept;

sttcp_stats stats_of(sttcp_server *server);

/* Whether handlers are parked here at all. */
bool has_fibers(void);

/* The book's server, with a connection handler, a script for what comes, or both. */
sttcp_server *listen_with(struct book *book, const sttcp_options *options,
			  bool (*opened)(struct book *book, sttcp_conn *conn), script_fn *script);

/* Connection handlers: one waits for a byte; one for 300 ms, and notes the time in results[0]. */
bool recv_for_ever(struct book *book, sttcp_conn *conn);
bool sleep_a_while(struct book *book, sttcp_conn *conn);

#endif
