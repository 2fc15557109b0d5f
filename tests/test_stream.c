/* SPDX-License-Identifier: MIT */
/* What is sent and received on a connection, and its end: FIN, reset, close, against the kernel
 * itself. */
#include "support/faults.h"
#include "support/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <unistd.h>

/* -------------------------------------------------------- sending, receiving */

static void parts_arrive_as_one_run(void **state)
{
	static char hello[] = "hello, ", nothing[] = "", world[] = "world";
	const struct iovec parts[] = {{hello, 7}, {nothing, 0}, {world, 5}};
	char text[32] = "";
	struct socket_pair pair;

	(void)state;
	open_pair(&pair, "127.0.0.1", NULL);
	assert_int_equal(stt_socket_send(pair.client, parts, 3), 12);
	assert_int_equal(await_recv(pair.server, text, sizeof(text)), 12);
	assert_string_equal(text, "hello, world");
	close_pair(&pair);
}

static void iov_max_parts_can_be_sent(void **state)
{
	static struct iovec parts[IOV_MAX];
	static char byte[] = "x";
	static char text[IOV_MAX + 1];
	struct socket_pair pair;

	(void)state;
	for (size_t i = 0; i < COUNT(parts); i++)
		parts[i] = (struct iovec){byte, 1};
	open_pair(&pair, "127.0.0.1", NULL);
	assert_int_equal(stt_socket_send(pair.client, parts, IOV_MAX), IOV_MAX);

	ssize_t got = 0;

	while (got < IOV_MAX) {
		ssize_t more = await_recv(pair.server, text + got, sizeof(text) - (size_t)got);

		assert_true(more > 0);
		got += more;
	}
	assert_int_equal(got, IOV_MAX);
	close_pair(&pair);
}

static void recv_without_data_is_eagain(void **state)
{
	struct socket_pair pair;
	char byte;

	(void)state;
	open_pair(&pair, "127.0.0.1", NULL);
	assert_int_equal(stt_socket_recv(pair.server, &byte, 1), -EAGAIN);
	close_pair(&pair);
}

/* Sends until the kernel takes no more; returns how much it took. */
static size_t fill(int fd)
{
	static char block[65536];
	const struct iovec part = {block, sizeof(block)};
	size_t total = 0;

	for (;;) {
		ssize_t taken = stt_socket_send(fd, &part, 1);

		if (taken == -EAGAIN)
			return total;
		assert_true(taken > 0 && (size_t)taken <= sizeof(block));
		total += (size_t)taken;
	}
}

static void send_to_a_peer_that_does_not_read_is_eagain(void **state)
{
	static char block[65536];
	struct socket_pair pair;
	size_t total, got = 0;

	(void)state;
	open_pair(&pair, "127.0.0.1", NULL);
	total = fill(pair.client);
	assert_true(total > 0);
	/* What was taken arrives, and nothing else does. */
	stt_socket_shutdown(pair.client);
	for (;;) {
		ssize_t more = await_recv(pair.server, block, sizeof(block));

		assert_true(more >= 0);
		if (more == 0)
			break;
		got += (size_t)more;
	}
	assert_int_equal(got, total);
	close_pair(&pair);
}

static void fin_is_0_after_the_data_and_leaves_the_other_way_open(void **state)
{
	struct socket_pair pair;
	char text[8];

	(void)state;
	open_pair(&pair, "127.0.0.1", NULL);
	assert_int_equal(send_text(pair.client, "last"), 4);
	stt_socket_shutdown(pair.client);
	assert_int_equal(await_recv(pair.server, text, sizeof(text)), 4);
	assert_int_equal(await_recv(pair.server, text, sizeof(text)), 0);
	assert_int_equal(stt_socket_recv(pair.server, text, sizeof(text)), 0);
	assert_int_equal(send_text(pair.server, "reply"), 5);
	assert_int_equal(await_recv(pair.client, text, sizeof(text)), 5);
	close_pair(&pair);
}

/* SIGPIPE has its default action here: it would end the test. */
static void send_after_shutdown_is_epipe_and_no_signal(void **state)
{
	struct socket_pair pair;

	(void)state;
	open_pair(&pair, "127.0.0.1", NULL);
	stt_socket_shutdown(pair.client);
	assert_int_equal(send_text(pair.client, "x"), -EPIPE);
	close_pair(&pair);
}

static void send_to_a_closed_unix_peer_is_epipe_and_no_signal(void **state)
{
	struct folder *folder = *state;
	struct socket_pair pair;

	open_pair(&pair, folder->host, NULL);
	stt_socket_close(pair.server);
	assert_int_equal(send_text(pair.client, "x"), -EPIPE);
	stt_socket_close(pair.client);
	stt_socket_close(pair.listener);
}

static void recv_and_send_retry_eintr_only(void **state)
{
	struct socket_pair pair;
	char byte;

	(void)state;
	open_pair(&pair, "127.0.0.1", NULL);
	fault_instead(SYS_sendto, EINTR, 3);
	assert_int_equal(send_text(pair.client, "x"), 1);
	assert_int_equal(fault_calls(), 4);
	await(pair.server, POLLIN);
	fault_instead(SYS_recvfrom, EINTR, 3);
	assert_int_equal(stt_socket_recv(pair.server, &byte, 1), 1);
	assert_int_equal(fault_calls(), 4);
	fault_instead(SYS_sendto, ENOBUFS, 1);
	assert_int_equal(send_text(pair.client, "x"), -ENOBUFS);
	assert_int_equal(fault_calls(), 1);
	fault_instead(SYS_recvfrom, EHOSTUNREACH, 1);
	assert_int_equal(stt_socket_recv(pair.server, &byte, 1), -EHOSTUNREACH);
	assert_int_equal(fault_calls(), 1);
	close_pair(&pair);
}

/* ------------------------------------------------------------------- the end */

static void reset_is_econnreset_at_the_peer(void **state)
{
	struct socket_pair pair;
	char byte;

	(void)state;
	open_pair(&pair, "127.0.0.1", NULL);
	stt_socket_reset(pair.client);
	assert_int_equal(await_recv(pair.server, &byte, 1), -ECONNRESET);
	close_pair(&pair);
}

static void reset_after_shutdown_is_econnreset_at_the_peer(void **state)
{
	struct socket_pair pair;
	char byte;

	(void)state;
	open_pair(&pair, "127.0.0.1", NULL);
	/* The peer has not read: what it would have got is lost with the FIN behind it. */
	fill(pair.client);
	stt_socket_shutdown(pair.client);
	stt_socket_reset(pair.client);
	await(pair.server, POLLERR);
	assert_int_equal(stt_socket_error(pair.server), -ECONNRESET);
	assert_true(stt_socket_recv(pair.server, &byte, 1) >= 0);
	close_pair(&pair);
}

static void reset_keeps_the_descriptor(void **state)
{
	struct socket_pair pair;
	char byte;

	(void)state;
	open_pair(&pair, "127.0.0.1", NULL);
	stt_socket_reset(pair.client);
	assert_true(is_open(pair.client));
	assert_int_equal(stt_socket_recv(pair.client, &byte, 1), -ECONNRESET);
	assert_int_equal(stt_socket_recv(pair.client, &byte, 1), -ENOTCONN);
	assert_int_equal(send_text(pair.client, "x"), -EPIPE);
	stt_socket_reset(pair.client);
	assert_true(is_open(pair.client));
	close_pair(&pair);
}

static void reset_of_a_unix_socket_ends_both_ways(void **state)
{
	struct folder *folder = *state;
	struct socket_pair pair;
	char byte;

	open_pair(&pair, folder->host, NULL);
	stt_socket_reset(pair.client);
	assert_true(is_open(pair.client));
	assert_int_equal(stt_socket_recv(pair.client, &byte, 1), 0);
	assert_int_equal(send_text(pair.client, "x"), -EPIPE);
	assert_int_equal(await_recv(pair.server, &byte, 1), 0);
	assert_int_equal(send_text(pair.server, "x"), -EPIPE);
	close_pair(&pair);
}

static void shutdown_and_reset_of_no_connection_do_nothing(void **state)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	stt_socket_shutdown(fd);
	stt_socket_reset(fd);
	assert_true(is_open(fd));
	stt_socket_shutdown(-1);
	stt_socket_reset(-1);
	stt_socket_close(fd);
}

static void blocking_can_be_set_and_library_calls_still_do_not_block(void **state)
{
	struct socket_pair pair;
	char byte;

	(void)state;
	open_pair(&pair, "127.0.0.1", NULL);
	assert_int_equal(stt_socket_set_blocking(pair.client), 0);
	assert_int_equal(fcntl(pair.client, F_GETFL) & O_NONBLOCK, 0);
	assert_int_equal(stt_socket_recv(pair.client, &byte, 1), -EAGAIN);
	assert_true(fill(pair.client) > 0);
	assert_int_equal(stt_socket_set_blocking(-1), -EBADF);
	close_pair(&pair);
}

static void close_keeps_errno(void **state)
{
	int fd = listen_on("127.0.0.1", &plain);

	(void)state;
	errno = ENOTTY;
	stt_socket_close(fd);
	assert_int_equal(errno, ENOTTY);
	assert_false(is_open(fd));

	errno = ENOTTY;
	stt_socket_close(fd);
	stt_socket_close(-1);
	assert_int_equal(errno, ENOTTY);
}

static void close_takes_eintr_for_closed(void **state)
{
	int fd = listen_on("127.0.0.1", &plain);

	(void)state;
	errno = 0;
	fault_after(SYS_close, EINTR, 1);
	stt_socket_close(fd);
	assert_int_equal(fault_calls(), 1);
	assert_int_equal(errno, 0);
	assert_false(is_open(fd));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts_arrive_as_one_run),
		cmocka_unit_test(iov_max_parts_can_be_sent),
		cmocka_unit_test(recv_without_data_is_eagain),
		cmocka_unit_test(send_to_a_peer_that_does_not_read_is_eagain),
		cmocka_unit_test(fin_is_0_after_the_data_and_leaves_the_other_way_open),
		cmocka_unit_test(send_after_shutdown_is_epipe_and_no_signal),
		unix_test(send_to_a_closed_unix_peer_is_epipe_and_no_signal),
		cmocka_unit_test(recv_and_send_retry_eintr_only),
		cmocka_unit_test(reset_is_econnreset_at_the_peer),
		cmocka_unit_test(reset_after_shutdown_is_econnreset_at_the_peer),
		cmocka_unit_test(reset_keeps_the_descriptor),
		unix_test(reset_of_a_unix_socket_ends_both_ways),
		cmocka_unit_test(shutdown_and_reset_of_no_connection_do_nothing),
		cmocka_unit_test(blocking_can_be_set_and_library_calls_still_do_not_block),
		cmocka_unit_test(close_keeps_errno),
		cmocka_unit_test(close_takes_eintr_for_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
