/* SPDX-License-Identifier: MIT */
/*
 * The hand-written epoll loop over TLS: echo_epoll.c with a struct wire for each
 * connection. One thread, edge-triggered, every descriptor registered once; what
 * has come is echoed with one send, up to four records at a time.
 */
#include "echo.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	/* As much as goes out with one send. */
	BUFFER_SIZE = WIRE_SEND,
	MAX_FDS = 20000,
	MAX_EVENTS = 512,
	BATCHES_PER_TURN = 16
};

struct conn {
	struct wire wire;
	bool source; /* sends without end */
};

static struct conn conns[MAX_FDS]; /* by descriptor */
static SSL_CTX *context;
static int epoll;
static char buffer[BUFFER_SIZE];

static const uint32_t wishes = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;

static void accept_all(int listener)
{
	for (int i = 0; i < 64; i++) {
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct epoll_event event = {.events = wishes, .data.fd = fd};

		if (fd < 0)
			return;
		if (fd >= MAX_FDS || !wire_open(&conns[fd].wire, context, fd)) {
			close(fd);
			continue;
		}
		conns[fd].source = false;
		if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event)) {
			wire_close(&conns[fd].wire);
			close(fd);
		}
	}
}

/* Others' turn: modifying it brings an event if there is more to do. */
static bool come_back(int fd)
{
	struct epoll_event event = {.events = wishes, .data.fd = fd};

	return !epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);
}

/* False: the connection is to be ended. */
static bool send_on(struct wire *wire)
{
	static const char block[WIRE_SEND];

	for (int sends = 0; !wire->rest && !wire->deaf; sends++) {
		if (sends == BATCHES_PER_TURN)
			return come_back(wire->fd);
		if (wire_send(wire, block, sizeof(block)) < 0 || !wire_flush(wire))
			return false;
	}
	return !wire->deaf;
}

/* Why no more was read. */
enum input {
	INPUT_LEFT, /* the buffer is full */
	INPUT_EMPTY,
	INPUT_ENDED
};

static enum input gather(struct wire *wire, size_t *size)
{
	*size = 0;
	while (*size < sizeof(buffer)) {
		ssize_t n = wire_recv(wire, buffer + *size, sizeof(buffer) - *size);

		if (n <= 0)
			return n < 0 && errno == EAGAIN ? INPUT_EMPTY : INPUT_ENDED;
		*size += (size_t)n;
		if (wire_is_empty(wire))
			return INPUT_EMPTY;
	}
	return INPUT_LEFT;
}

/* False: the connection is to be ended. */
static bool answer(struct conn *conn, size_t size)
{
	if (buffer[0] == 'i')
		return true;
	if (buffer[0] == 'o') {
		conn->source = true;
		return send_on(&conn->wire);
	}
	return wire_send(&conn->wire, buffer, size) == (ssize_t)size;
}

/* False: the connection is to be ended. */
static bool work(int fd, uint32_t events)
{
	struct conn *conn = &conns[fd];
	struct wire *wire = &conn->wire;

	if (!wire_wake(wire, events) || (conn->source && !send_on(wire)))
		return false;
	for (int batches = 0; !wire->rest; batches++) {
		enum input input;
		size_t size;

		if (batches == BATCHES_PER_TURN)
			return come_back(fd);
		input = gather(wire, &size);
		if (size && !answer(conn, size))
			return false;
		/* A handshake's messages leave here, too, and an alert that says what was wrong. */
		if (!wire_flush(wire) || input == INPUT_ENDED)
			return false;
		if (input == INPUT_EMPTY)
			return true;
	}
	return true;
}

static void end(int fd)
{
	wire_close(&conns[fd].wire);
	close(fd);
}

int main(int argc, char **argv)
{
	int port = echo_start(argc, argv);
	struct epoll_event events[MAX_EVENTS];
	struct epoll_event event = {.events = EPOLLIN};
	int listener;

	if (!echo_tls) {
		fprintf(stderr, "%s: tls=FILE is needed\n", argv[0]);
		return 2;
	}
	context = wire_context(echo_tls);
	listener = echo_listen(port);
	event.data.fd = listener;
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
