/* SPDX-License-Identifier: MIT */
/*
 * Standard output.
 */
#include "output.h"

#include "cli.h"
#include "say.h"
#include "wait.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_int error; /* 0, or the errno of the first write that failed */

static int write_all(const char *data, size_t size)
{
	while (size > 0) {
		ssize_t n = write(STDOUT_FILENO, data, size);

		if (n < 0 && errno == EAGAIN) { /* somebody else has made it non-blocking */
			poll(&(struct pollfd){.fd = STDOUT_FILENO, .events = POLLOUT}, 1, -1);
			continue;
		}
		if (n < 0 && errno != EINTR)
			return errno;
		if (n > 0) {
			data += n;
			size -= (size_t)n;
		}
	}
	return 0;
}

bool output_write(const void *data, size_t size)
{
	bool is_first = false;

	if (output_is_good()) {
		pthread_mutex_lock(&lock);
		if (output_is_good()) {
			atomic_store(&error, write_all(data, size));
			is_first = atomic_load(&error) != 0;
		}
		pthread_mutex_unlock(&lock);
	}
	if (is_first)
		finish(fail(STATUS_FAILED, "standard output: %s", output_why()));
	return output_is_good();
}

const char *output_why(void)
{
	int number = atomic_load(&error);

	return number == EPIPE ? "its reader is gone" : strerror(number);
}

bool output_is_good(void)
{
	return atomic_load(&error) == 0;
}
