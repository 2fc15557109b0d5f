/* SPDX-License-Identifier: MIT */
/*
 * The closed loop: each connection has one message in flight, and sends the
 * next one when the answer is complete (or on a new connection, or when its
 * next period begins). Edge-triggered: events are worked until EAGAIN or until
 * the answer is complete, after which nothing more can come.
 */
#include "load.h"
#include "load_tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static const uint64_t retry_ns = 10000000; /* after an error, so that errors do not spin */

int load_connect(int port, unsigned turn)
{
	struct sockaddr_in from = {.sin_family = AF_INET};
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	const int on = 1;

	if (fd < 0)
		return -1;
	/* The port is chosen by connect, so that each source address has all ports for itself. */
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + turn % LOAD_SOURCES);
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(fd, (struct sockaddr *)&from, sizeof(from)) ||
	    (connect(fd, (struct sockaddr *)&to, sizeof(to)) && errno != EINPROGRESS)) {
		close(fd);
		return -1;
	}
	return fd;
}

bool load_set_blocking(int fd)
{
	struct pollfd entry = {.fd = fd, .events = POLLOUT};
	int flags = fcntl(fd, F_GETFL);

	return poll(&entry, 1, 10000) == 1 && !(entry.revents & (POLLERR | POLLHUP)) &&
	       flags >= 0 && !fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
}

void load_group_set_message(struct load_group *group, size_t size, long sleep_us)
{
	group->size = size;
	memset(group->message, '.', size);
	if (sleep_us < 0) {
		group->message[0] = 'q';
	} else {
		char text[32];
		int len = snprintf(text, sizeof(text), "s%ld ", sleep_us);

		memcpy(group->message, text, (size_t)len);
	}
}

int load_loop_init(struct load_loop *loop, const struct load_options *options, int quick, int slow)
{
	memset(loop, 0, sizeof(*loop));
	loop->port = options->port;
	loop->tls = options->tls;
	loop->groups[0].count = quick;
	loop->groups[1].count = slow;
	load_group_set_message(&loop->groups[0], options->size, -1);
	load_group_set_message(&loop->groups[1], options->size, options->sleep_us);
	loop->nconns = quick + slow;
	loop->conns = calloc((size_t)loop->nconns + 1, sizeof(*loop->conns));
	loop->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!loop->conns || loop->epoll < 0)
		return -1;
	for (int i = 0; i < loop->nconns; i++) {
		loop->conns[i].group = &loop->groups[i >= quick];
		loop->conns[i].fd = -1;
	}
	return 0;
}

static void hang_up(struct load_conn *conn)
{
	load_tls_free(conn->tls);
	conn->tls = NULL;
	if (conn->fd >= 0)
		close(conn->fd);
	conn->fd = -1;
}

void load_loop_fini(struct load_loop *loop)
{
	for (int i = 0; loop->conns && i < loop->nconns; i++)
		hang_up(&loop->conns[i]);
	if (loop->epoll >= 0)
		close(loop->epoll);
	free(loop->conns);
}

static void wait_until(struct load_loop *loop, struct load_conn *conn, uint64_t due_ns)
{
	conn->due_ns = due_ns;
	if (!loop->waiting++ || due_ns < loop->next_due_ns)
		loop->next_due_ns = due_ns;
}

static void fail(struct load_loop *loop, struct load_conn *conn)
{
	loop->errors++;
	if (conn->missing)
		loop->in_flight--;
	conn->missing = 0;
	hang_up(conn);
	if (conn->group->churn && !conn->group->last && !conn->due_ns)
		wait_until(loop, conn, load_now() + retry_ns);
}

static ssize_t send_some(struct load_conn *conn, const char *data, size_t size)
{
	return conn->tls ? load_tls_send(conn->tls, data, size)
			 : send(conn->fd, data, size, MSG_NOSIGNAL);
}

static void push(struct load_loop *loop, struct load_conn *conn)
{
	const struct load_group *group = conn->group;

	while (conn->unsent) {
		ssize_t n =
			send_some(conn, group->message + group->size - conn->unsent, conn->unsent);

		if (n > 0) {
			conn->unsent -= (uint32_t)n;
		} else {
			if (n == 0 || errno != EAGAIN)
				fail(loop, conn);
			return;
		}
	}
}

/* Connects if need be, and sends a message. */
static void begin(struct load_loop *loop, struct load_conn *conn, uint64_t now_ns)
{
	static unsigned turn;

	conn->sent_ns = now_ns;
	conn->unsent = conn->missing = (uint32_t)conn->group->size;
	loop->in_flight++;
	if (conn->fd < 0) {
		struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
					    .data.ptr = conn};

		conn->fd = load_connect(loop->port, turn++);
		if (conn->fd >= 0 && loop->tls)
			conn->tls = load_tls_new(conn->fd);
		if (conn->fd < 0 || (loop->tls && !conn->tls) ||
		    epoll_ctl(loop->epoll, EPOLL_CTL_ADD, conn->fd, &event)) {
			fail(loop, conn);
			return;
		}
		/* Over loopback it is connected already, as a rule; if not, this is EAGAIN. */
	}
	push(loop, conn);
}

static void answered(struct load_loop *loop, struct load_conn *conn)
{
	struct load_group *group = conn->group;
	uint64_t now_ns = load_now();

	load_hist_add(&group->hist, now_ns - conn->sent_ns);
	group->done++;
	loop->in_flight--;
	if (group->churn)
		hang_up(conn);
	if (group->last)
		return;
	if (group->period_ns && conn->sent_ns + group->period_ns > now_ns)
		wait_until(loop, conn, conn->sent_ns + group->period_ns);
	else
		begin(loop, conn, now_ns);
}

static void pull(struct load_loop *loop, struct load_conn *conn)
{
	static char scratch[LOAD_MAX_SIZE];

	while (conn->missing) {
		ssize_t n = conn->tls ? load_tls_recv(conn->tls, scratch, conn->missing)
				      : recv(conn->fd, scratch, conn->missing, 0);

		if (n > 0) {
			conn->missing -= (uint32_t)n;
			if (conn->missing)
				continue;
			answered(loop, conn);
			/* A message that was begun just now cannot be answered in this event; if it
			 * can, its edge is still to come. */
			return;
		}
		if (n == 0 || errno != EAGAIN)
			fail(loop, conn);
		return;
	}
}

static void work(struct load_loop *loop, struct load_conn *conn, uint32_t events)
{
	if (conn->fd < 0)
		return;
	if (conn->tls && !load_tls_wake(conn->tls, events)) {
		fail(loop, conn);
		return;
	}
	/* A handshake has to receive before it can send. */
	if (conn->unsent && (conn->tls || (events & EPOLLOUT)))
		push(loop, conn);
	if (conn->missing && (events & ~(uint32_t)EPOLLOUT))
		pull(loop, conn);
	else if (conn->fd >= 0 && (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
		fail(loop, conn);
}

/* Begins on those whose time has come, and finds the next such time. */
static void begin_due(struct load_loop *loop, uint64_t now_ns)
{
	uint64_t next_ns = UINT64_MAX;

	for (int i = 0; i < loop->nconns; i++) {
		struct load_conn *conn = &loop->conns[i];

		if (conn->due_ns && conn->due_ns <= now_ns) {
			/* Periods do not creep: the next one begins where this one was due. */
			uint64_t due_ns = conn->due_ns;

			conn->due_ns = 0;
			loop->waiting--;
			begin(loop, conn, conn->group->period_ns ? due_ns : now_ns);
		}
		if (conn->due_ns && conn->due_ns < next_ns)
			next_ns = conn->due_ns;
	}
	loop->next_due_ns = next_ns;
}

void load_loop_start(struct load_loop *loop, int first, int count)
{
	for (int i = first; i < first + count; i++) {
		struct load_conn *conn = &loop->conns[i];
		uint64_t spread_ns = conn->group->spread_ns;

		if (spread_ns)
			wait_until(loop, conn,
				   load_now() +
					   spread_ns / (uint64_t)count * (uint64_t)(i - first));
		else
			begin(loop, conn, load_now());
	}
}

static int timeout_ms(const struct load_loop *loop, uint64_t now_ns, uint64_t deadline_ns,
		      const struct load_slices *slices)
{
	uint64_t until_ns = deadline_ns;

	if (slices && slices->next_ns < until_ns)
		until_ns = slices->next_ns;
	if (loop->waiting && loop->next_due_ns < until_ns)
		until_ns = loop->next_due_ns;
	return until_ns > now_ns ? (int)((until_ns - now_ns) / 1000000 + 1) : 0;
}

void load_loop_run(struct load_loop *loop, uint64_t deadline_ns, struct load_slices *slices)
{
	struct epoll_event events[512];
	uint64_t now_ns = load_now();

	while (now_ns < deadline_ns && (loop->in_flight || loop->waiting)) {
		int n = epoll_wait(loop->epoll, events, 512,
				   timeout_ms(loop, now_ns, deadline_ns, slices));

		for (int i = 0; i < n; i++)
			work(loop, events[i].data.ptr, events[i].events);
		now_ns = load_now();
		if (loop->waiting && loop->next_due_ns <= now_ns)
			begin_due(loop, now_ns);
		if (slices) {
			const uint64_t done[2] = {loop->groups[0].done, loop->groups[1].done};

			load_slices_tick(slices, now_ns, done);
		}
	}
}
