/* SPDX-License-Identifier: MIT */
/* Numbered messages. */
#include "support/numbered.h"

uint32_t try_numbered(sttcp_conn *conn, int64_t cap,
		      int (*try)(sttcp_conn *conn, const char message[NUMBERED_SIZE]))
{
	char message[NUMBERED_SIZE];
	uint32_t taken = 0;

	for (int refused = 0; refused < 50;) {
		memset(message, (int)(taken % 256), sizeof(message));
		memcpy(message, &taken, sizeof(taken));
		int result = try(conn, message);

		assert_true(result == 0 || result == -EAGAIN);
		assert_true(conn_queued(conn) <= cap);
		if (result == 0)
			taken++;
		else
			refused++;
	}
	return taken;
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
