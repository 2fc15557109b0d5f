/* SPDX-License-Identifier: MIT */
/*
 * Modes "in" and "out": as many bytes as go through in one direction, on few
 * connections. The server takes them and answers nothing, or sends without end
 * once it is asked to.
 */
#include "load.h"
#include "load_tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	CHUNK = 64 * 1024, /* with TLS: four records */
	CHUNKS_PER_TURN = 16
};

struct oneway_conn {
	int fd;
	bool asked; /* out: the request has left */
	struct load_tls *tls;
};

struct oneway {
	bool out;
	int epoll;
	int open;
	uint64_t bytes;
	uint64_t errors;
	char chunk[CHUNK];
};

static void fail(struct oneway *oneway, struct oneway_conn *conn)
{
	oneway->errors++;
	oneway->open--;
	load_tls_free(conn->tls);
	conn->tls = NULL;
	close(conn->fd);
	conn->fd = -1;
}

static ssize_t send_some(struct oneway_conn *conn, const char *data, size_t size)
{
	return conn->tls ? load_tls_send(conn->tls, data, size)
			 : send(conn->fd, data, size, MSG_NOSIGNAL);
}

/* One call in the direction of the mode; as recv(2). */
static ssize_t move(struct oneway *oneway, struct oneway_conn *conn)
{
	ssize_t n;

	if (!oneway->out)
		return send_some(conn, oneway->chunk, CHUNK);
	if (!conn->asked) {
		n = send_some(conn, "o", 1);
		conn->asked = n == 1;
		if (!conn->asked)
			return n;
	}
	return conn->tls ? load_tls_recv(conn->tls, oneway->chunk, CHUNK)
			 : recv(conn->fd, oneway->chunk, CHUNK, 0);
}

static void work(struct oneway *oneway, struct oneway_conn *conn, uint32_t events)
{
	size_t moved = 0;

	if (conn->fd < 0)
		return;
	if (conn->tls && !load_tls_wake(conn->tls, events)) {
		fail(oneway, conn);
		return;
	}
	while (moved < CHUNKS_PER_TURN * CHUNK) {
		ssize_t n = move(oneway, conn);

		if (n <= 0) {
			if (n == 0 || errno != EAGAIN)
				fail(oneway, conn);
			/* Edge-triggered: an event follows. */
			return;
		}
		moved += (size_t)n;
		oneway->bytes += (uint64_t)n;
	}
	/* The others' turn. Modifying it brings an event if there is more to do. */
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = conn};

	epoll_ctl(oneway->epoll, EPOLL_CTL_MOD, conn->fd, &event);
}

static void run(struct oneway *oneway, uint64_t deadline_ns, struct load_slices *slices)
{
	struct epoll_event events[64];
	uint64_t now_ns;

	do {
		int n = epoll_wait(oneway->epoll, events, 64, LOAD_SLICE_MS);

		for (int i = 0; i < n; i++)
			work(oneway, events[i].data.ptr, events[i].events);
		now_ns = load_now();
		if (slices) {
			const uint64_t done[2] = {oneway->bytes, 0};

			load_slices_tick(slices, now_ns, done);
		}
	} while (now_ns < deadline_ns && oneway->open);
}

static int join(struct oneway *oneway, struct oneway_conn *conn, int turn,
		const struct load_options *options)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = conn};

	conn->fd = load_connect(options->port, (unsigned)turn);
	if (conn->fd < 0)
		return -1;
	if (options->tls)
		conn->tls = load_tls_new(conn->fd);
	if ((options->tls && !conn->tls) ||
	    epoll_ctl(oneway->epoll, EPOLL_CTL_ADD, conn->fd, &event))
		return -1;
	oneway->open++;
	return 0;
}

int load_mode_oneway(const char *mode, const struct load_options *options)
{
	struct oneway *oneway = calloc(1, sizeof(*oneway));
	struct oneway_conn *conns = calloc((size_t)options->conns + 1, sizeof(*conns));
	struct load_slices *slices = malloc(sizeof(*slices));
	uint64_t done[2] = {0}, start_ns, ns, cpu_ns;

	if (!oneway || !conns || !slices)
		return -1;
	oneway->out = strcmp(mode, "out") == 0;
	oneway->epoll = epoll_create1(EPOLL_CLOEXEC);
	memset(oneway->chunk, 'i', CHUNK);
	for (int i = 0; i < options->conns; i++) {
		if (join(oneway, &conns[i], i, options))
			return -1;
	}
	run(oneway, load_now() + (uint64_t)(options->warm * 1e9), NULL);

	done[0] = oneway->bytes;
	start_ns = load_now();
	cpu_ns = load_proc_cpu_ns(options->pid);
	load_slices_begin(slices, options->pid, start_ns, done);
	run(oneway, start_ns + (uint64_t)(options->seconds * 1e9), slices);
	ns = load_now() - start_ns;
	cpu_ns = load_proc_cpu_ns(options->pid) - cpu_ns;

	printf("mode=%s conns=%d seconds=%.3f errors=%llu cpu_s=%.4f rss_kib=%llu bytes_per_s=%.0f",
	       mode, options->conns, (double)ns / 1e9, (unsigned long long)oneway->errors,
	       (double)cpu_ns / 1e9, (unsigned long long)load_proc_rss(options->pid) / 1024,
	       1e9 * (double)(oneway->bytes - done[0]) / (double)ns);
	load_slices_print(slices, 0, "bytes");
	printf("\n");
	for (int i = 0; i < options->conns; i++) {
		load_tls_free(conns[i].tls);
		if (conns[i].fd >= 0)
			close(conns[i].fd);
	}
	close(oneway->epoll);
	free(conns);
	free(slices);
	free(oneway);
	return 0;
}
