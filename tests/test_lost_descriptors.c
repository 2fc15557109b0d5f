/* SPDX-License-Identifier: MIT */
/* G15, G18: descriptors of the library's that a program has closed, as with closefrom(3), and calls
 * that a filter of system calls denies. A code, or an error in the log, and no busy loop. */
#include "support/faults.h"
#include "support/support.h"

#include <poll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
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
	if (UNDER_TSAN) {
		print_message("left out: what it does is a race of descriptors\n");
		skip();
	}
	assert_int_equal(process_run("read_behind_closefrom"), 0);
}

/* ------------------------------------------------------------------------ loops */

static struct {
	atomic_int count;
	char text[200];
} errors;

static void count_errors(int level, const char *text, void *context)
{
	(void)context;
	if (level != STT_LOG_ERROR)
		return;
	snprintf(errors.text, sizeof(errors.text), "%s", text);
	atomic_fetch_add(&errors.count, 1);
}

static int64_t cpu_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void loop_that_cannot_wait_says_so_and_sleeps(void **state)
{
	struct probe *probe = probe_new();

	(void)state;
	probe->data = echo_data;
	sttcp_server *server = probe_listen(probe, NULL);

	sttcp_set_log(count_errors, NULL);
	fault_instead(SYS_epoll_wait, EPERM, -1);
	/* The loop is woken, and waits again. */
	int peer = peer_connect(sttcp_server_port(server));

	assert_true(peer_say(peer, "x"));
	EVENTUALLY(atomic_load(&errors.count) > 0);
	int64_t began = now_ms();
	int64_t before_ms = cpu_ms();
	long before = fault_calls();

	nap_ms(500);
	int64_t used_ms = cpu_ms() - before_ms;
	long calls = fault_calls() - before;
	int64_t took_ms = now_ms() - began;

	assert_true(used_ms < took_ms / 2);
	assert_true(calls < took_ms / 50);
	assert_non_null(strstr(errors.text, sttcp_strerror(-EPERM)));
	assert_int_equal(atomic_load(&errors.count), 1);
	/* It heals when that is over. */
	fault_clear();
	assert_true(peer_expect(peer, "x"));
	sttcp_set_log(NULL, NULL);
	peer_close(peer);
	sttcp_server_free(server);
	probe_free(probe);
}

/* ------------------------------------------------------------------------ starts */

static int start_denied(void)
{
	const long calls[] = {SYS_epoll_wait, SYS_timerfd_settime};
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		fault_instead(calls[i], EPERM, -1);
		int result = sttcp_server_start(server);

		fault_clear();
		CHECK(result == -EPERM);
		CHECK(strstr(sttcp_server_error(server), sttcp_strerror(-EPERM)));
	}
	CHECK(sttcp_server_start(server) == 0);
	sttcp_server_free(server);
	return 0;
}

static void start_without_what_a_loop_needs_is_denied(void **state)
{
	(void)state;
	assert_int_equal(process_run("start_denied"), 0);
}

static const struct child children[] = {
	{"read_behind_closefrom", read_behind_closefrom},
	{"start_denied", start_denied},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wait_whose_waker_was_closed_fails),
		cmocka_unit_test(wait_that_is_woken_without_end_ends_in_time),
		cmocka_unit_test(read_of_what_was_closed_ends),
		cmocka_unit_test(loop_that_cannot_wait_says_so_and_sleeps),
		cmocka_unit_test(start_without_what_a_loop_needs_is_denied),
	};

	if (argc > 1)
		return child_main(children, argv[1]);
	/* One loop: it is the one that is woken. */
	if (sttcp_engine_configure(1, 0, 0) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
