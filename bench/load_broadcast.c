/* SPDX-License-Identifier: MIT */
/*
 * Mode "broadcast": the first connection asks the server to send its message to
 * all; when all have it, it asks again. Mode "room": the same with a room, in
 * which the quick connections are, spread among others that are in none.
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

struct broadcast {
	int epoll;
	int *fds;
	size_t size;
	char message[LOAD_MAX_SIZE];
	uint64_t wanted;   /* bytes that all members together get of one message */
	uint64_t received; /* of the running one */
	uint64_t done;	   /* messages that all have got */
	uint64_t errors;
	uint64_t sent_ns;
	struct load_hist hist;
};

static void ask(struct broadcast *broadcast)
{
	broadcast->received = 0;
	broadcast->sent_ns = load_now();
	if (send(broadcast->fds[0], broadcast->message, broadcast->size, MSG_NOSIGNAL) !=
	    (ssize_t)broadcast->size)
		broadcast->errors++;
}

static void pull(struct broadcast *broadcast, int fd)
{
	static char scratch[LOAD_MAX_SIZE];
	ssize_t n = recv(fd, scratch, sizeof(scratch), 0);

	if (n > 0) {
		broadcast->received += (uint64_t)n;
	} else if (n == 0 || errno != EAGAIN) {
		broadcast->errors++;
		epoll_ctl(broadcast->epoll, EPOLL_CTL_DEL, fd, NULL);
	}
}

/* Until the deadline, or the first error: a member that is gone would be waited for in vain. */
static void run(struct broadcast *broadcast, uint64_t deadline_ns, struct load_slices *slices)
{
	struct epoll_event events[512];
	uint64_t now_ns;

	do {
		int n = epoll_wait(broadcast->epoll, events, 512, LOAD_SLICE_MS);

		for (int i = 0; i < n; i++)
			pull(broadcast, events[i].data.fd);
		now_ns = load_now();
		if (broadcast->received >= broadcast->wanted) {
			load_hist_add(&broadcast->hist, now_ns - broadcast->sent_ns);
			broadcast->done++;
			ask(broadcast);
		}
		if (slices) {
			const uint64_t done[2] = {broadcast->done, 0};

			load_slices_tick(slices, now_ns, done);
		}
	} while (now_ns < deadline_ns && !broadcast->errors);
}

/* Connects one after the other, each with an echo, so that the server knows it. */
static int join(struct broadcast *broadcast, int port, int index, const char *request)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET};
	char scratch[16];
	int fd = load_connect(port, (unsigned)index);

	broadcast->fds[index] = fd;
	event.data.fd = fd;
	if (fd < 0 || epoll_ctl(broadcast->epoll, EPOLL_CTL_ADD, fd, &event))
		return -1;
	while (send(fd, request, 1, MSG_NOSIGNAL) < 0) {
		if (errno != EAGAIN || epoll_wait(broadcast->epoll, &event, 1, 5000) < 0)
			return -1;
	}
	if (epoll_wait(broadcast->epoll, &event, 1, 5000) != 1)
		return -1;
	return recv(fd, scratch, sizeof(scratch), 0) == 1 ? 0 : -1;
}

/* All of them, the members evenly among the others, and the first one a member. */
static int join_all(struct broadcast *broadcast, const struct load_options *options, int all)
{
	bool room = broadcast->message[0] == 'r';
	int64_t members = options->conns;

	for (int i = 0; i < all; i++) {
		bool member = i * members % all < members;

		if (join(broadcast, options->port, i, room && member ? "j" : "q"))
			return -1;
	}
	return 0;
}

int load_mode_broadcast(const char *mode, const struct load_options *options)
{
	const bool room = strcmp(mode, "room") == 0;
	const int all = options->conns + (room ? options->slow : 0);
	struct broadcast *broadcast = calloc(1, sizeof(*broadcast));
	struct load_slices *slices = malloc(sizeof(*slices));
	uint64_t done[2] = {0}, start_ns, cpu_ns;

	if (!broadcast || !slices)
		return -1;
	broadcast->epoll = epoll_create1(EPOLL_CLOEXEC);
	broadcast->fds = calloc((size_t)all + 1, sizeof(int));
	broadcast->size = options->size;
	broadcast->wanted = options->size * (uint64_t)options->conns;
	memset(broadcast->message, '.', options->size);
	broadcast->message[0] = room ? 'r' : 'b';
	if (broadcast->epoll < 0 || !broadcast->fds)
		return -1;
	if (join_all(broadcast, options, all))
		return -1;
	ask(broadcast);
	run(broadcast, load_now() + (uint64_t)(options->warm * 1e9), NULL);

	done[0] = broadcast->done;
	memset(&broadcast->hist, 0, sizeof(broadcast->hist));
	start_ns = load_now();
	cpu_ns = load_proc_cpu_ns(options->pid);
	load_slices_begin(slices, options->pid, start_ns, done);
	run(broadcast, start_ns + (uint64_t)(options->seconds * 1e9), slices);

	printf("mode=%s conns=%d size=%zu seconds=%.3f errors=%llu cpu_s=%.4f", mode,
	       options->conns, options->size, (double)(load_now() - start_ns) / 1e9,
	       (unsigned long long)broadcast->errors,
	       (double)(load_proc_cpu_ns(options->pid) - cpu_ns) / 1e9);
	load_slices_print(slices, 0, "quick");
	printf(" quick_p50_us=%.2f quick_p99_us=%.2f\n", load_hist_us(&broadcast->hist, 0.5),
	       load_hist_us(&broadcast->hist, 0.99));
	for (int i = 0; i < all; i++)
		close(broadcast->fds[i]);
	close(broadcast->epoll);
	free(broadcast->fds);
	free(broadcast);
	free(slices);
	return 0;
}
