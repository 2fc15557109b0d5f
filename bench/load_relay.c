/* SPDX-License-Identifier: MIT */
/*
 * Mode "relay": both ends of one connection through a relay. One end sends as
 * much as goes through, the other one reads it. Where the relay connects to is
 * a listening socket that the caller passes on, because the relay had to be told
 * its port at its start.
 */
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	RELAY_CHUNK = 256 * 1024
};

struct ends {
	int epoll;
	int near; /* sends */
	int far;  /* reads */
	uint64_t received;
	uint64_t errors;
	char *chunk;
};

static int watch(const struct ends *ends, int fd, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.fd = fd};

	return epoll_ctl(ends->epoll, EPOLL_CTL_ADD, fd, &event);
}

static void work(struct ends *ends, int fd)
{
	ssize_t n = fd == ends->near ? send(fd, ends->chunk, RELAY_CHUNK, MSG_NOSIGNAL)
				     : recv(fd, ends->chunk, RELAY_CHUNK, 0);

	if (n > 0 && fd == ends->far)
		ends->received += (uint64_t)n;
	else if (n == 0 || (n < 0 && errno != EAGAIN))
		ends->errors++;
}

static void run(struct ends *ends, uint64_t deadline_ns, struct load_slices *slices)
{
	struct epoll_event events[2];
	uint64_t now_ns;

	do {
		int n = epoll_wait(ends->epoll, events, 2, LOAD_SLICE_MS);

		for (int i = 0; i < n; i++)
			work(ends, events[i].data.fd);
		now_ns = load_now();
		if (slices) {
			const uint64_t done[2] = {ends->received, 0};

			load_slices_tick(slices, now_ns, done);
		}
	} while (!ends->errors && now_ns < deadline_ns);
}

static int join(struct ends *ends, const struct load_options *options)
{
	ends->epoll = epoll_create1(EPOLL_CLOEXEC);
	ends->chunk = malloc(RELAY_CHUNK);
	ends->near = load_connect(options->port, 0);
	if (ends->epoll < 0 || !ends->chunk || ends->near < 0)
		return -1;
	memset(ends->chunk, '.', RELAY_CHUNK);
	ends->far = accept4(options->target, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	return ends->far < 0 || watch(ends, ends->near, EPOLLOUT) || watch(ends, ends->far, EPOLLIN)
		       ? -1
		       : 0;
}

int load_mode_relay(const char *mode, const struct load_options *options)
{
	struct ends ends = {0};
	struct load_slices *slices = malloc(sizeof(*slices));

	if (!slices || join(&ends, options))
		return -1;
	run(&ends, load_now() + (uint64_t)(options->warm * 1e9), NULL);

	const uint64_t done[2] = {ends.received, 0};
	uint64_t start_ns = load_now();

	load_slices_begin(slices, options->pid, start_ns, done);
	run(&ends, start_ns + (uint64_t)(options->seconds * 1e9), slices);

	uint64_t ns = load_now() - start_ns;

	printf("mode=%s conns=1 seconds=%.3f errors=%llu bytes_per_s=%.0f", mode, (double)ns / 1e9,
	       (unsigned long long)ends.errors,
	       1e9 * (double)(ends.received - done[0]) / (double)ns);
	load_slices_print(slices, 0, "bytes");
	printf("\n");
	close(ends.near);
	close(ends.far);
	close(ends.epoll);
	free(ends.chunk);
	free(slices);
	return 0;
}
