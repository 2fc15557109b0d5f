/* SPDX-License-Identifier: MIT */
/*
 * The hand-written epoll loop that the library is measured against: one
 * thread, edge-triggered, every descriptor registered once, echo straight from
 * the buffer. Its handlers may not block, so a request to sleep is just echoed.
 * It is meant to be as fast as such a loop honestly gets: each choice below was
 * measured against its alternative, and partial writes and ends are handled.
 */
#include "echo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	/* Not 64 KiB: a segment over loopback holds 65 483 bytes, and with a larger buffer each
	 * read of a stream takes one whole and a few bytes of the next. */
	BUFFER_SIZE = 60 * 1024,
	MAX_FDS = 20000,
	MAX_EVENTS = 512,
	READS_PER_TURN = 16
};

struct conn {
	char *begun; /* by line: the beginning of a line whose end has not come */
	uint32_t begun_len;
	char *rest; /* what the kernel did not take; nothing is read until it has gone */
	uint32_t rest_at, rest_len;
	int index; /* in `open_fds` */
	int seat;  /* in `room_fds`, from 1 on; 0: it is not in the room */
};

static struct conn conns[MAX_FDS]; /* by descriptor */
static int open_fds[MAX_FDS];
static int nopen;
static int room_fds[MAX_FDS];
static int nroom;
static int epoll;

static const uint32_t wishes = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;

static void join_room(int fd)
{
	room_fds[nroom++] = fd;
	conns[fd].seat = nroom;
}

static void leave_room(int fd)
{
	int last = room_fds[--nroom];

	room_fds[conns[fd].seat - 1] = last;
	conns[last].seat = conns[fd].seat;
}

static void end(int fd)
{
	struct conn *conn = &conns[fd];

	if (conn->seat)
		leave_room(fd);
	open_fds[conn->index] = open_fds[--nopen];
	conns[open_fds[conn->index]].index = conn->index;
	free(conn->rest);
	free(conn->begun);
	*conn = (struct conn){0};
	close(fd);
}

static void accept_all(int listener)
{
	for (int i = 0; i < 64; i++) {
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct epoll_event event = {.events = wishes, .data.fd = fd};

		if (fd < 0)
			return;
		if (fd >= MAX_FDS || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event)) {
			close(fd);
			continue;
		}
		conns[fd].index = nopen;
		open_fds[nopen++] = fd;
	}
}

/* Keeps what is left for later. */
static bool keep_rest(struct conn *conn, const char *data, size_t size)
{
	conn->rest = malloc(size);
	if (!conn->rest)
		return false;
	memcpy(conn->rest, data, size);
	conn->rest_at = 0;
	conn->rest_len = (uint32_t)size;
	return true;
}

/* False: the connection is to be ended. */
static bool echo(int fd, const char *data, size_t size)
{
	ssize_t n = send(fd, data, size, MSG_NOSIGNAL);

	if (n == (ssize_t)size)
		return true;
	if (n < 0 && errno != EAGAIN)
		return false;
	if (n < 0)
		n = 0;
	return keep_rest(&conns[fd], data + n, size - (size_t)n);
}

static bool flush_rest(int fd)
{
	struct conn *conn = &conns[fd];

	while (conn->rest_at < conn->rest_len) {
		ssize_t n = send(fd, conn->rest + conn->rest_at, conn->rest_len - conn->rest_at,
				 MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN;
		conn->rest_at += (uint32_t)n;
	}
	free(conn->rest);
	conn->rest = NULL;
	return true;
}

/* Sends to all in a loop. A member that does not take a whole small message at once is dropped. */
static void broadcast(const int *fds, int count, const char *data, size_t size)
{
	for (int i = count - 1; i >= 0; i--) {
		int fd = fds[i];

		if (send(fd, data, size, MSG_NOSIGNAL) != (ssize_t)size)
			shutdown(fd, SHUT_RDWR); /* ended by its own event */
	}
}

/* What a handler of lines would do is to count them; volatile, so that it is done. */
static volatile uint64_t nlines;

/* Splits what has come into lines, behind what had begun, and answers all of them with one send.
 * False: the connection is to be ended. */
static bool echo_lines(int fd, char *data, size_t size)
{
	struct conn *conn = &conns[fd];
	size_t whole = 0;

	for (char *end; (end = memchr(data + whole, '\n', size - whole)); nlines++)
		whole = (size_t)(end + 1 - data);
	conn->begun_len = (uint32_t)(size - whole);
	if (conn->begun_len) {
		free(conn->begun);
		conn->begun = malloc(conn->begun_len);
		if (!conn->begun)
			return false;
		memcpy(conn->begun, data + whole, conn->begun_len);
	}
	return !whole || echo(fd, data, whole);
}

/* False: the connection is to be ended. */
static bool work(int fd, uint32_t events)
{
	static char buffer[BUFFER_SIZE];
	struct conn *conn = &conns[fd];

	if (conn->rest && !flush_rest(fd))
		return false;
	for (int reads = 0; !conn->rest; reads++) {
		ssize_t n;

		if (reads == READS_PER_TURN) {
			/* Others' turn: modifying it brings an event if there is more to read. */
			struct epoll_event event = {.events = wishes, .data.fd = fd};

			return !epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);
		}
		size_t begun = conn->begun_len;

		if (begun)
			memcpy(buffer, conn->begun, begun);
		n = recv(fd, buffer + begun, sizeof(buffer) - begun, 0);
		if (n <= 0)
			return n < 0 && errno == EAGAIN;
		if (echo_by_line) {
			if (!echo_lines(fd, buffer, begun + (size_t)n))
				return false;
		} else if (buffer[0] == 'b')
			broadcast(open_fds, nopen, buffer, (size_t)n);
		else if (buffer[0] == 'r')
			broadcast(room_fds, nroom, buffer, (size_t)n);
		else if (!echo(fd, buffer, (size_t)n))
			return false;
		else if (buffer[0] == 'j')
			join_room(fd);
		/* A short read has emptied the socket, and spares one more system call; but data
		 * and FIN may have come in one edge. */
		if (n < (ssize_t)(BUFFER_SIZE - begun) &&
		    !(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
			return true;
	}
	return true;
}

int main(int argc, char **argv)
{
	int listener = echo_listen(echo_start(argc, argv));
	struct epoll_event events[MAX_EVENTS];
	struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};

	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll < 0 || fcntl(listener, F_SETFL, O_NONBLOCK) ||
	    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event))
		return 1;
	for (;;) {
		int n = epoll_wait(epoll, events, MAX_EVENTS, -1);

		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;

			if (fd == listener)
				accept_all(listener);
			else if (!work(fd, events[i].events))
				end(fd);
		}
	}
}
