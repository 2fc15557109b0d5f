/* SPDX-License-Identifier: MIT */
/* Looks at descriptors. */
#include "support/descriptors.h"

#include <fcntl.h>

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
