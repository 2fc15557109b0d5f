/* SPDX-License-Identifier: MIT */
/*
 * Mode "deaf": quick connections beside others that send as much as is taken and
 * never read. What becomes of the server's memory, and of the quick ones' latency?
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
	BLOCK = 16384,
	/* The deaf ones get so many blocks a turn, and the quick ones so long: a generator that is
	 * busy with the former would be taken for a server that is late for the latter. 200 take
	 * about nine seconds to fill all buffers that way. */
	BLOCKS_PER_TURN = 4,
	TURN_US = 200
};

struct crowd {
	int epoll; /* level-triggered: the kernel goes round among those that can send */
	int count;
	int *fds;
	uint64_t sent;
	uint64_t last_ns; /* when something was taken */
	uint64_t errors;  /* it is no reason to end one */
};

static int crowd_init(struct crowd *crowd, int port, int count)
{
	*crowd = (struct crowd){.epoll = epoll_create1(EPOLL_CLOEXEC), .count = count};
	crowd->fds = calloc((size_t)count + 1, sizeof(*crowd->fds));
	if (crowd->epoll < 0 || !crowd->fds)
		return -1;
	for (int i = 0; i < count; i++) {
		struct epoll_event event = {.events = EPOLLOUT};

		event.data.fd = crowd->fds[i] = load_connect(port, (unsigned)i);
		if (event.data.fd < 0 ||
		    epoll_ctl(crowd->epoll, EPOLL_CTL_ADD, event.data.fd, &event))
			return -1;
	}
	return 0;
}

static void crowd_fini(struct crowd *crowd)
{
	for (int i = 0; i < crowd->count; i++)
		close(crowd->fds[i]);
	close(crowd->epoll);
	free(crowd->fds);
}

static void send_blocks(struct crowd *crowd)
{
	static const char block[BLOCK] = "deaf";
	struct epoll_event events[BLOCKS_PER_TURN];
	int n = epoll_wait(crowd->epoll, events, BLOCKS_PER_TURN, 0);

	for (int i = 0; i < n; i++) {
		ssize_t sent = send(events[i].data.fd, block, sizeof(block), MSG_NOSIGNAL);

		if (sent > 0) {
			crowd->sent += (uint64_t)sent;
			crowd->last_ns = load_now();
		} else if (errno != EAGAIN) {
			crowd->errors++;
			epoll_ctl(crowd->epoll, EPOLL_CTL_DEL, events[i].data.fd, NULL);
		}
	}
}

static void run(struct load_loop *loop, struct crowd *crowd, uint64_t deadline_ns,
		struct load_slices *slices)
{
	for (uint64_t now_ns; (now_ns = load_now()) < deadline_ns;) {
		load_loop_run(loop, now_ns + TURN_US * 1000, slices);
		send_blocks(crowd);
	}
}

int load_mode_deaf(const char *mode, const struct load_options *options)
{
	struct load_loop *loop = malloc(sizeof(*loop));
	struct load_slices *slices = malloc(sizeof(*slices));
	struct load_hist *hist;
	struct crowd crowd;
	uint64_t start_ns, rss, done[2] = {0};

	if (!loop || !slices || load_loop_init(loop, options, options->conns, 0))
		return -1;
	hist = &loop->groups[0].hist;
	load_loop_start(loop, 0, options->conns);
	load_loop_run(loop, load_now() + (uint64_t)(options->warm * 1e9), NULL);
	memset(hist, 0, sizeof(*hist));
	done[0] = loop->groups[0].done;
	rss = load_proc_rss(options->pid);

	start_ns = load_now();
	load_slices_begin(slices, options->pid, start_ns, done);
	if (crowd_init(&crowd, options->port, options->slow))
		return -1;
	crowd.last_ns = start_ns;
	run(loop, &crowd, start_ns + (uint64_t)(options->seconds * 1e9), slices);

	printf("mode=%s conns=%d deaf=%d size=%zu seconds=%.3f errors=%llu", mode, options->conns,
	       options->slow, options->size, (double)(load_now() - start_ns) / 1e9,
	       (unsigned long long)(loop->errors + crowd.errors));
	printf(" rss_kib=%llu grown_kib=%lld sent_kib=%llu sending_s=%.3f",
	       (unsigned long long)rss / 1024,
	       ((long long)load_proc_peak_rss(options->pid) - (long long)rss) / 1024,
	       (unsigned long long)crowd.sent / 1024, (double)(crowd.last_ns - start_ns) / 1e9);
	load_slices_print(slices, 0, "quick");
	printf(" quick_p50_us=%.2f quick_p99_us=%.2f quick_max_us=%.2f\n", load_hist_us(hist, 0.5),
	       load_hist_us(hist, 0.99), load_hist_us(hist, 1));
	crowd_fini(&crowd);
	load_loop_fini(loop);
	free(slices);
	free(loop);
	return 0;
}
