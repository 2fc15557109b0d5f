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
static atomic_bool is_bad;

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
	bool was_bad = atomic_load(&is_bad);
	int error = 0;

	if (!was_bad) {
		pthread_mutex_lock(&lock);
		was_bad = atomic_load(&is_bad);
		error = was_bad ? 0 : write_all(data, size);
		if (error)
			atomic_store(&is_bad, true);
		pthread_mutex_unlock(&lock);
	}
	if (error)
		finish(fail(STATUS_FAILED, "standard output: %s",
			    error == EPIPE ? "its reader is gone" : strerror(error)));
	return !was_bad && !error;
}

bool output_is_good(void)
{
	return !atomic_load(&is_bad);
}
