/* SPDX-License-Identifier: MIT */
/* Messages that begin with their number, the rest of them filled with its lowest byte. */
#ifndef STT_TEST_NUMBERED_H
#define STT_TEST_NUMBERED_H

#include "support/support.h"

enum {
	NUMBERED_SIZE = 1000
};

/* Has `try` send them, from 0 on, until 50 were refused: how many were taken. Asserts that those
 * were refused with -EAGAIN, and that never more than `cap` bytes are queued. */
uint32_t try_numbered(sttcp_conn *conn, int64_t cap,
		      int (*try)(sttcp_conn *conn, const char message[NUMBERED_SIZE]));

/* Asserts that the peer gets the first `count` of them, each behind `head` bytes of any kind (up to
 * 8), and then the end. */
void expect_numbered(int peer, uint32_t count, size_t head);

#endif
