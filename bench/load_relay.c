/* SPDX-License-Identifier: MIT */
/*
 * Mode "relay": both ends of connections through a relay. The near ends send as
 * much as goes through, the far ones read it. Where the relay connects to is a
 * listening socket that the caller passes on, because the relay had to be told
 * its port at its start.
 */
#include "load.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	RELAY_CHUNK = 256 * 1024,
	EVENTS_AT_ONCE = 64
};

struct ends {
	int epoll;
	int conns;
	int *fds; /* the near ones, which send, and then the far ones */
	uint64_t received;
	uint64_t errors;
	char *chunk;
};

static int watch(const struct ends *ends, int index, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.u32 = (uint32_t)index};

	return epoll_ctl(ends->epoll, EPOLL_CTL_ADD, ends->fds[index], &event);
}

static void work(struct ends *ends, int index)
{
	bool near = index < ends->conns;
	int fd = ends->fds[index];
	ssize_t n = near ? send(fd, ends->chunk, RELAY_CHUNK, MSG_NOSIGNAL)
			 : recv(fd, ends->chunk, RELAY_CHUNK, 0);

	if (n > 0 && !near)
		ends->received += (uint64_t)n;
	else if (n == 0 || (n < 0 && errno != EAGAIN))
		ends->errors++;
}

static void run(struct ends *ends, uint64_t deadline_ns, struct load_slices *slices)
{
	struct epoll_event events[EVENTS_AT_ONCE];
	uint64_t now_ns;

	do {
		int n = epoll_wait(ends->epoll, events, EVENTS_AT_ONCE, LOAD_SLICE_MS);

		for (int i = 0; i < n; i++)
			work(ends, (int)events[i].data.u32);
		now_ns = load_now();
		if (slices) {
			const uint64_t done[2] = {ends->received, 0};

			load_slices_tick(slices, now_ns, done);
		}
	} while (!ends->errors && now_ns < deadline_ns);
}

/* One after another, so that a far end is that of the near one before it. */
static int join(struct ends *ends, const struct load_options *options)
{
	ends->epoll = epoll_create1(EPOLL_CLOEXEC);
	ends->chunk = malloc(RELAY_CHUNK);
	ends->fds = calloc(2 * (size_t)options->conns, sizeof(*ends->fds));
	if (ends->epoll < 0 || !ends->chunk || !ends->fds)
		return -1;
	memset(ends->chunk, '.', RELAY_CHUNK);
	for (; ends->conns < options->conns; ends->conns++) {
		int *near = &ends->fds[ends->conns];
		int *far = &ends->fds[options->conns + ends->conns];

		*near = load_connect(options->port, (unsigned)ends->conns);
		if (*near < 0)
			return -1;
		*far = accept4(options->target, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (*far < 0)
			return -1;
	}
	for (int i = 0; i < 2 * ends->conns; i++)
		if (watch(ends, i, i < ends->conns ? EPOLLOUT : EPOLLIN))
			return -1;
	return 0;
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

	printf("mode=%s conns=%d seconds=%.3f errors=%llu bytes_per_s=%.0f", mode, ends.conns,
	       (double)ns / 1e9, (unsigned long long)ends.errors,
	       1e9 * (double)(ends.received - done[0]) / (double)ns);
	load_slices_print(slices, 0, "bytes");
	printf("\n");
	for (int i = 0; i < 2 * ends.conns; i++)
		close(ends.fds[i]);
	close(ends.epoll);
	free(ends.fds);
	free(ends.chunk);
	free(slices);
	return 0;
}
