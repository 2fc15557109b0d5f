/* SPDX-License-Identifier: MIT */
/* Connecting: the calls of one attempt, against the kernel itself. */
#include "support/faults.h"
#include "support/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

/* A port that is taken, and on which nobody listens. */
static int bind_only(struct stt_addr *addr)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*addr = address_of("127.0.0.1");
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, &addr->sa, addr->len), 0);
	assert_int_equal(stt_socket_local(fd, addr), 0);
	return fd;
}

static void refused_attempt_is_told_once(void **state)
{
	struct stt_addr addr;
	int holder = bind_only(&addr);
	int fd;

	(void)state;
	assert_int_equal(stt_socket_connect(&fd, &addr, NULL, false), -EINPROGRESS);
	await(fd, POLLOUT);
	assert_int_equal(stt_socket_error(fd), -ECONNREFUSED);
	assert_int_equal(stt_socket_error(fd), 0);
	stt_socket_close(fd);
	stt_socket_close(holder);
}

static void failed_connect_leaves_no_descriptor(void **state)
{
	const struct stt_addr unknown = {.sa.sa_family = AF_UNSPEC, .len = sizeof(struct sockaddr)};
	int free_fd = next_fd();
	int fd = 12345;

	(void)state;
	assert_int_equal(connect_to("unix:/no-such-folder/socket", &fd), -ENOENT);
	assert_int_equal(fd, -1);
	fd = 12345;
	assert_int_equal(stt_socket_connect(&fd, &unknown, NULL, false), -EAFNOSUPPORT);
	assert_int_equal(fd, -1);
	assert_int_equal(next_fd(), free_fd);
}

static void connect_without_free_descriptors_is_emfile(void **state)
{
	struct rlimit limit, none;
	int fd = 12345;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);

	int err = connect_to("127.0.0.1", &fd);
	int listen_err = listen_on("127.0.0.1", &plain);

	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(err, -EMFILE);
	assert_int_equal(fd, -1);
	assert_int_equal(listen_err, -EMFILE);
}

static void interrupted_connect_goes_on(void **state)
{
	int listener = listen_on("127.0.0.1", &plain);
	struct stt_addr addr;
	int fd;

	(void)state;
	assert_int_equal(stt_socket_local(listener, &addr), 0);
	fault_after(SYS_connect, EINTR, 1);
	assert_int_equal(stt_socket_connect(&fd, &addr, NULL, false), -EINPROGRESS);
	assert_int_equal(fault_calls(), 1);
	await(fd, POLLOUT);
	assert_int_equal(stt_socket_error(fd), 0);
	assert_int_equal(send_text(fd, "x"), 1);
	stt_socket_close(fd);
	stt_socket_close(listener);
}

static void error_of_what_is_no_socket_is_told(void **state)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	(void)state;
	assert_int_equal(stt_socket_error(fd), -ENOTSOCK);
	assert_int_equal(stt_socket_error(-1), -EBADF);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refused_attempt_is_told_once),
		cmocka_unit_test(failed_connect_leaves_no_descriptor),
		cmocka_unit_test(connect_without_free_descriptors_is_emfile),
		cmocka_unit_test(interrupted_connect_goes_on),
		cmocka_unit_test(error_of_what_is_no_socket_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
