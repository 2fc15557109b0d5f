/* SPDX-License-Identifier: MIT */
/* What the tests of reads inside handlers share: scripts that read, and what they found. */
#ifndef STT_TEST_READING_H
#define STT_TEST_READING_H

#include "support/book.h"

/* What a script found; to be looked at when it has returned. */
extern struct event inside;
extern ssize_t results[16];
extern char texts[16][64];

/* Nothing has been found yet. */
void begin_anew(void);

/* Begins anew, and opens a talk with the script. */
void open_with(struct talk *talk, const sttcp_options *options, script_fn *script);

/* Into results[at] and texts[at]. */
void take_message(sttcp_conn *conn, int at, int timeout_ms);
void take_bytes(sttcp_conn *conn, int at, size_t size, int timeout_ms);
void take_exactly(sttcp_conn *conn, int at, size_t size, int timeout_ms);

#endif
