/* SPDX-License-Identifier: MIT */
/*
 * Mode "bulk": as many bytes as go through, echoed, on few connections; sending
 * and receiving are independent of each other. Level-triggered, one call per
 * event and direction, so that no connection starves another.
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
	BULK_CHUNK = 256 * 1024
};

struct bulk_conn {
	int fd;
	bool wants_out;
	uint64_t sent, received;
};

struct bulk {
	const struct load_options *options;
	int epoll;
	int open;
	uint64_t share;	 /* bytes that each connection sends; 0 for no end */
	uint64_t wanted; /* of all together */
	uint64_t received;
	uint64_t errors;
	char *out, *in;
};

/* How much may be sent now: within the window, and within the connection's share of all bytes. */
static uint64_t room(const struct bulk *bulk, const struct bulk_conn *conn)
{
	const struct load_options *options = bulk->options;
	uint64_t max = BULK_CHUNK;

	if (options->window) {
		uint64_t under_way = conn->sent - conn->received;

		if (under_way >= options->window)
			return 0;
		if (options->window - under_way < max)
			max = options->window - under_way;
	}
	if (bulk->share && bulk->share - conn->sent < max)
		max = bulk->share - conn->sent;
	return max;
}

static void watch(const struct bulk *bulk, struct bulk_conn *conn, int operation, bool wants_out)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};

	if (wants_out)
		event.events |= EPOLLOUT;
	conn->wants_out = wants_out;
	epoll_ctl(bulk->epoll, operation, conn->fd, &event);
}

static void fail(struct bulk *bulk, struct bulk_conn *conn)
{
	bulk->errors++;
	bulk->open--;
	close(conn->fd);
	conn->fd = -1;
}

static void work(struct bulk *bulk, struct bulk_conn *conn, uint32_t events)
{
	if (events & (uint32_t)~EPOLLOUT) {
		ssize_t n = recv(conn->fd, bulk->in, BULK_CHUNK, 0);

		if (n > 0) {
			conn->received += (uint64_t)n;
			bulk->received += (uint64_t)n;
		} else if (n == 0 || errno != EAGAIN) {
			fail(bulk, conn);
			return;
		}
	}
	if (events & EPOLLOUT) {
		uint64_t size = room(bulk, conn);
		ssize_t n = size ? send(conn->fd, bulk->out, size, MSG_NOSIGNAL) : 0;

		if (n >= 0) {
			conn->sent += (uint64_t)n;
		} else if (errno != EAGAIN) {
			fail(bulk, conn);
			return;
		}
	}
	if (conn->wants_out != (room(bulk, conn) > 0))
		watch(bulk, conn, EPOLL_CTL_MOD, !conn->wants_out);
}

static void run(struct bulk *bulk, uint64_t deadline_ns, struct load_slices *slices)
{
	struct epoll_event events[64];

	while (bulk->open && (!bulk->wanted || bulk->received < bulk->wanted)) {
		int n = epoll_wait(bulk->epoll, events, 64, LOAD_SLICE_MS);
		uint64_t now_ns;

		for (int i = 0; i < n; i++)
			work(bulk, events[i].data.ptr, events[i].events);
		now_ns = load_now();
		if (slices) {
			const uint64_t done[2] = {bulk->received, 0};

			load_slices_tick(slices, now_ns, done);
		}
		if (now_ns >= deadline_ns)
			break;
	}
}

int load_mode_bulk(const char *mode, const struct load_options *options)
{
	struct bulk bulk = {.options = options, .epoll = epoll_create1(EPOLL_CLOEXEC)};
	struct bulk_conn *conns = calloc((size_t)options->conns + 1, sizeof(*conns));
	struct load_slices *slices = malloc(sizeof(*slices));
	uint64_t done[2] = {0}, start_ns, ns, cpu_ns;

	if (options->bytes)
		bulk.share = options->bytes / (uint64_t)options->conns + 1;
	bulk.wanted = bulk.share * (uint64_t)options->conns;
	bulk.out = malloc(BULK_CHUNK);
	bulk.in = malloc(BULK_CHUNK);
	if (bulk.epoll < 0 || !conns || !slices || !bulk.out || !bulk.in)
		return -1;
	memset(bulk.out, '.', BULK_CHUNK);
	for (int i = 0; i < options->conns; i++) {
		conns[i].fd = load_connect(options->port, (unsigned)i);
		if (conns[i].fd < 0)
			return -1;
		watch(&bulk, &conns[i], EPOLL_CTL_ADD, true);
		bulk.open++;
	}
	run(&bulk, load_now() + (uint64_t)(options->warm * 1e9), NULL);

	done[0] = bulk.received;
	start_ns = load_now();
	cpu_ns = load_proc_cpu_ns(options->pid);
	load_slices_begin(slices, options->pid, start_ns, done);
	run(&bulk, start_ns + (uint64_t)(options->seconds * 1e9), slices);
	ns = load_now() - start_ns;
	cpu_ns = load_proc_cpu_ns(options->pid) - cpu_ns;

	printf("mode=%s conns=%d seconds=%.3f errors=%llu bytes_all=%llu cpu_s=%.4f rss_kib=%llu",
	       mode, options->conns, (double)ns / 1e9, (unsigned long long)bulk.errors,
	       (unsigned long long)bulk.received, (double)cpu_ns / 1e9,
	       (unsigned long long)load_proc_rss(options->pid) / 1024);
	/* Without the slices too: a short transfer of a given size may have none. */
	printf(" bytes_per_s=%.0f", 1e9 * (double)(bulk.received - done[0]) / (double)ns);
	load_slices_print(slices, 0, "bytes");
	printf("\n");
	for (int i = 0; i < options->conns; i++) {
		if (conns[i].fd >= 0)
			close(conns[i].fd);
	}
	close(bulk.epoll);
	free(conns);
	free(slices);
	free(bulk.out);
	free(bulk.in);
	return 0;
}
