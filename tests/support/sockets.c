/* SPDX-License-Identifier: MIT */
/* Sockets by the library's own calls, and what cases ask the kernel about them. */
#include "support/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const struct stt_listen_options plain = {.backlog = 16};

struct stt_addr address_of(const char *host)
{
	struct stt_addr addr;

	assert_int_equal(stt_addr_literal(&addr, host, 0), 0);
	return addr;
}

int listen_on(const char *host, const struct stt_listen_options *options)
{
	struct stt_addr addr = address_of(host);

	return stt_socket_listen(&addr, options);
}

int connect_to(const char *host, int *fd)
{
	struct stt_addr addr = address_of(host);

	return stt_socket_connect(fd, &addr, NULL, false);
}

void await(int fd, short events)
{
	struct pollfd pollfd = {.fd = fd, .events = events};

	assert_int_equal(poll(&pollfd, 1, POLL_DEADLINE_MS), 1);
}

int option_of(int fd, int level, int option)
{
	int value = -1;
	socklen_t len = sizeof(value);

	assert_int_equal(getsockopt(fd, level, option, &value, &len), 0);
	return value;
}

void assert_nonblocking_and_cloexec(int fd)
{
	assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}

int next_fd(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	close(fd);
	return fd;
}

bool has_ipv6(void)
{
	int fd = listen_on("::1", &plain);

	stt_socket_close(fd);
	return fd >= 0;
}

void open_pair(struct socket_pair *pair, const char *host, const char *target)
{
	struct stt_addr addr, local;

	pair->listener = listen_on(host, &plain);
	assert_true(pair->listener >= 0);
	assert_int_equal(stt_socket_local(pair->listener, &local), 0);
	addr = address_of(target ? target : host);
	stt_addr_set_port(&addr, stt_addr_port(&local));

	int err = stt_socket_connect(&pair->client, &addr, NULL, false);

	assert_true(err == 0 || err == -EINPROGRESS);
	await(pair->listener, POLLIN);
	pair->server = stt_socket_accept(pair->listener, &pair->peer);
	assert_true(pair->server >= 0);
	await(pair->client, POLLOUT);
	assert_int_equal(stt_socket_error(pair->client), 0);
}

void close_pair(struct socket_pair *pair)
{
	stt_socket_close(pair->server);
	stt_socket_close(pair->client);
	stt_socket_close(pair->listener);
}

ssize_t send_text(int fd, const char *text)
{
	const struct iovec part = {.iov_base = (char *)(uintptr_t)text, .iov_len = strlen(text)};

	return stt_socket_send(fd, &part, 1);
}

ssize_t await_recv(int fd, void *data, size_t size)
{
	await(fd, POLLIN);
	return stt_socket_recv(fd, data, size);
}

int make_folder(void **state)
{
	struct folder *folder = calloc(1, sizeof(*folder));

	if (!folder)
		return -1;
	strcpy(folder->path, "/tmp/sttcp-test-XXXXXX");
	if (!mkdtemp(folder->path)) {
		free(folder);
		return -1;
	}
	snprintf(folder->host, sizeof(folder->host), "unix:%s/socket", folder->path);
	folder->file = folder->host + strlen("unix:");
	*state = folder;
	return 0;
}

int remove_folder(void **state)
{
	struct folder *folder = *state;

	unlink(folder->file);
	rmdir(folder->path);
	free(folder);
	return 0;
}
