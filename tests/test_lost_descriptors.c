/* SPDX-License-Identifier: MIT */
/* G15, G18: descriptors of the library's that a program has closed, as with closefrom(3). A code,
 * and no busy loop. */
#include "support/support.h"

#include <poll.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/poller.h"
#include "net/socket.h"

/* ------------------------------------------------------------------------ waits */

static void wait_whose_waker_was_closed_fails(void **state)
{
	int waker = stt_waker_new();
	short events = 0;

	(void)state;
	assert_true(waker >= 0);
	close(waker);
	assert_int_equal(stt_socket_wait(-1, &events, waker, STT_NEVER), -EBADF);
}

/* The waker's number may be another's by now, who is never done. */
static void wait_that_is_woken_without_end_ends_in_time(void **state)
{
	int waker = stt_waker_new();
	int64_t until_ms = stt_now_ms() + 50;
	short events = 0;
	int result = 0;

	(void)state;
	stt_waker_wake(waker);
	while (result == 0 && stt_now_ms() < until_ms + DEADLINE_MS)
		result = stt_socket_wait(-1, &events, waker, until_ms);
	assert_int_equal(result, -ETIMEDOUT);
	assert_true(stt_now_ms() >= until_ms);
	/* What is waited for comes first. */
	int fd = stt_waker_new();

	stt_waker_wake(fd);
	events = POLLIN;
	assert_int_equal(stt_socket_wait(fd, &events, waker, until_ms), 0);
	assert_int_equal(events, POLLIN);
	close(fd);
	close(waker);
}

static int read_behind_closefrom(void)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);
	char byte;

	CHECK(sttcp_server_start(server) == 0);
	sttcp_conn *conn = sttcp_dial("127.0.0.1", sttcp_server_port(server), NULL, NULL);

	CHECK(conn);
	CHECK(sttcp_conn_recv(conn, &byte, 1, 1) == -ETIMEDOUT);
	for (int fd = 3; fd < 100; fd++)
		close(fd);
	/* Its end is for the loop to make, which is not woken any more. */
	CHECK(sttcp_conn_send(conn, "x", 1) < 0);
	CHECK(sttcp_conn_recv(conn, &byte, 1, 500) < 0);
	/* Nothing of the library's can be ended any more. */
	_exit(0);
}

static void read_of_what_was_closed_ends(void **state)
{
	(void)state;
	assert_int_equal(process_run("read_behind_closefrom"), 0);
}

static const struct child children[] = {
	{"read_behind_closefrom", read_behind_closefrom},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wait_whose_waker_was_closed_fails),
		cmocka_unit_test(wait_that_is_woken_without_end_ends_in_time),
		cmocka_unit_test(read_of_what_was_closed_ends),
	};

	if (argc > 1)
		return child_main(children, argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
