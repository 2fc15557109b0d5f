/* SPDX-License-Identifier: MIT */
/* What the tests of dialled connections share: a server that talks, raw listeners, reads on threads
 * of their own. */
#ifndef STT_TEST_DIALLING_H
#define STT_TEST_DIALLING_H

#include "support/support.h"

/* Dials 127.0.0.1; asserts that it answers. */
sttcp_conn *dial_port(int port, const sttcp_options *options);

/* A dialled connection and the raw peer that has accepted it. Asserts. */
struct line_pair {
	int listener;
	int peer;
	sttcp_conn *conn;
};

void line_open(struct line_pair *pair, const sttcp_options *options);
void line_close(struct line_pair *pair); /* what is left of it; each may be none already */

/* A read that waits on a thread of its own. */
struct reader {
	sttcp_conn *conn;
	int timeout_ms;
	struct event begun;
	struct event ended;
	pthread_t thread;
	char text[64];
	ssize_t result;
};

/* Begins to read; it is in the read when another one is refused. */
void reader_start(struct reader *reader, sttcp_conn *conn, int timeout_ms);

/* What it returned. */
ssize_t reader_end(struct reader *reader);

/* What recv_message gives as a string that lives until the next call; NULL for a code, which stands
 * in `dial_result`. */
extern ssize_t dial_result;
const char *dial_message(sttcp_conn *conn);

#endif
