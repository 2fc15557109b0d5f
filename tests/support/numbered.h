/* SPDX-License-Identifier: MIT */
/* Messages that begin with their number, the rest of them filled with its lowest byte. */
#ifndef STT_TEST_NUMBERED_H
#define STT_TEST_NUMBERED_H

#include <stddef.h>
#include <stdint.h>

enum {
	NUMBERED_SIZE = 1000
};

void fill_numbered(char message[NUMBERED_SIZE], uint32_t number);

/* Asserts that the peer gets the first `count` of them, each behind `head` bytes of any kind (up to
 * 8), and then the end. */
void expect_numbered(int peer, uint32_t count, size_t head);

#endif
