/* SPDX-License-Identifier: MIT */
/*
 * Standard input.
 */
#include "input.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

ssize_t input_read(int fd, void *data, size_t size)
{
	for (;;) {
		ssize_t n = read(fd, data, size);

		if (n >= 0)
			return n;
		if (errno == EAGAIN)
			poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, -1);
		else if (errno != EINTR)
			return -errno;
	}
}
