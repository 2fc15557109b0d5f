/* SPDX-License-Identifier: MIT */
/* Numbered messages. */
#include "support/numbered.h"

#include "support/support.h"

void fill_numbered(char message[NUMBERED_SIZE], uint32_t number)
{
	memset(message, (int)(number % 256), NUMBERED_SIZE);
	memcpy(message, &number, sizeof(number));
}

void expect_numbered(int peer, uint32_t count, size_t head)
{
	char message[NUMBERED_SIZE + 8];

	assert_true(head <= 8);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t number;

		assert_true(peer_recv(peer, message, head + NUMBERED_SIZE));
		memcpy(&number, message + head, sizeof(number));
		assert_int_equal(number, i);
		assert_int_equal((unsigned char)message[head + NUMBERED_SIZE - 1], i % 256);
	}
	assert_int_equal(peer_end(peer), 0);
}
