/* SPDX-License-Identifier: MIT */
/*
 * Waves of connections that come, take memory of the server and go: what is
 * left of it after each? A wave is over when the server has as many threads and
 * descriptors as before the first one.
 */
#include "load.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	OVER_MS = 20000, /* a wave that is not over by then fails the run */
	SETTLED = 4	 /* the wave from whose end on memory is to stay the same, from 0 on */
};

static const uint64_t ms_ns = 1000000;

static void rest_ms(long ms)
{
	const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	nanosleep(&pause, NULL);
}

static int count_entries(pid_t pid, const char *what)
{
	char path[64];
	int count = 0;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, what);
	DIR *dir = opendir(path);

	while (dir && readdir(dir))
		count++;
	if (dir)
		closedir(dir);
	return count;
}

/* What a connection says, and how many bytes of an answer show that it was heard. */
struct manner {
	const char *mode;
	const char *message; /* NULL: asks the handler to sleep */
	size_t answer;
};

static const struct manner manners[] = {
	{"waves-asleep", NULL, 64},
	/* A line, and the beginning of the next one, in one read. */
	{"waves-held", "a line\nand a message that nobody ever ends, as long as some are", 7},
	/* The queue is full when it has been heard, or soon will be. */
	{"waves-queued", "fill", 4},
	/* The server's own clients, as many as it is asked for. */
	{"waves-clients", "c1000", 5},
};

static int connect_one(int port, unsigned turn)
{
	const struct timeval limit = {.tv_sec = 10};
	int fd = load_connect(port, turn);

	if (fd < 0)
		return -1;
	/* Its calls may wait from here on: the modes of this file do one thing at a time. */
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	return load_set_blocking(fd) ? fd : -1;
}

/* All of a wave: connect and speak, hear the answers, and go with a reset, so that no port waits.
 */
static int run_wave(const struct manner *manner, const struct load_options *options, int *fds)
{
	const struct linger reset = {.l_onoff = 1};
	char text[64];
	char got[256];
	int heard = 0;

	memset(text, '.', sizeof(text));
	if (!manner->message)
		text[snprintf(text, sizeof(text), "s%ld ", options->sleep_us)] = '.';

	const char *message = manner->message ? manner->message : text;
	size_t size = manner->message ? strlen(message) : sizeof(text);

	for (int i = 0; i < options->conns; i++) {
		fds[i] = connect_one(options->port, (unsigned)i);
		if (fds[i] < 0 || send(fds[i], message, size, MSG_NOSIGNAL) != (ssize_t)size)
			return -1;
	}
	for (int i = 0; i < options->conns; i++)
		heard += recv(fds[i], got, manner->answer, MSG_WAITALL) == (ssize_t)manner->answer;
	for (int i = 0; i < options->conns; i++) {
		setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		close(fds[i]);
	}
	return heard == options->conns ? 0 : -1;
}

static int wait_until_over(pid_t pid, int ntasks, int nfds)
{
	uint64_t until_ns = load_now() + OVER_MS * ms_ns;

	while (count_entries(pid, "task") > ntasks || count_entries(pid, "fd") > nfds) {
		if (load_now() > until_ns) {
			errno = ETIMEDOUT;
			return -1;
		}
		rest_ms(20);
	}
	rest_ms(100);
	return 0;
}

int load_mode_waves(const char *mode, const struct load_options *options)
{
	const struct manner *manner = manners;
	int *fds = calloc((size_t)options->conns + 1, sizeof(*fds));
	int ntasks = count_entries(options->pid, "task");
	int nfds = count_entries(options->pid, "fd");
	uint64_t first = 0, settled = 0, most = 0, last = 0;

	while (strcmp(manner->mode, mode) != 0)
		manner++;
	if (!fds)
		return -1;
	/* One visitor beforehand: code and tables that are touched once are not counted. */
	for (int wave = -1; wave < options->waves; wave++) {
		struct load_options one = *options;

		if (wave < 0)
			one.conns = 1;
		if (run_wave(manner, &one, fds) || wait_until_over(options->pid, ntasks, nfds))
			return -1;
		last = load_proc_rss(options->pid) / 1024;
		if (wave < 0)
			first = last;
		if (wave <= SETTLED)
			settled = most = last;
		if (last > most)
			most = last;
	}
	printf("mode=%s conns=%d waves=%d errors=0 quick=%d rss_kib=%llu grown_kib=%lld "
	       "flat=%.4f\n",
	       mode, options->conns, options->waves, options->waves * options->conns,
	       (unsigned long long)last, (long long)most - (long long)first,
	       (double)most / (double)settled);
	free(fds);
	return 0;
}
