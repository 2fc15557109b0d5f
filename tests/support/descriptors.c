/* SPDX-License-Identifier: MIT */
/* Descriptors, and the limit of their number. */
#include "support/descriptors.h"

#include "support/support.h"

#include <fcntl.h>
#include <sys/resource.h>

bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

bool is_cloexec(int fd)
{
	return fcntl(fd, F_GETFD) & FD_CLOEXEC;
}

bool is_nonblocking(int fd)
{
	return fcntl(fd, F_GETFL) & O_NONBLOCK;
}

int start_with_fds(sttcp_server *server, int more)
{
	int lowest = dup(0);
	struct rlimit limit;

	close(lowest);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	struct rlimit narrow = {.rlim_cur = (rlim_t)(lowest + more), .rlim_max = limit.rlim_max};

	assert_int_equal(setrlimit(RLIMIT_NOFILE, &narrow), 0);
	int result = sttcp_server_start(server);

	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	return result;
}
