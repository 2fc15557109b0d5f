/* SPDX-License-Identifier: MIT */
/* Raw peers: sockets that know nothing of the library. */
#include "support/support.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct sockaddr_in loopback(int port)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};

	return addr;
}

/* Whether `fd` became ready before `until`. */
static bool ready(int fd, short events, int64_t until)
{
	struct pollfd wait = {.fd = fd, .events = events};

	while (fd >= 0) {
		int64_t left = until - now_ms();
		int result = poll(&wait, 1, left > 0 ? (int)left : 0);

		if (result > 0)
			return true;
		if (result == 0 || errno != EINTR)
			return false;
	}
	return false;
}

/* The same for a peer's bytes. What a session of TLS has read may be none of them: who is told that
 * there are some may find none, and waits again. */
static bool stream_ready(int fd, short events, int64_t until)
{
	if (!over_tls_settle(fd, until))
		return false;
	return (events & POLLIN && over_tls_pending(fd)) || ready(fd, events, until);
}

/* A socket that was connected or accepted, or -1. */
static int begin(int fd, bool answers)
{
	over_tls_begin(fd, answers);
	return fd;
}

int peer_connect(int port)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && peer_connect_with(fd, port))
		return fd;
	peer_close(fd);
	return -1;
}

int peer_connect_to(const char *host, int port)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};
	struct addrinfo *list;
	char service[16];

	snprintf(service, sizeof(service), "%d", port);
	if (getaddrinfo(host, service, &hints, &list) != 0)
		return -1;
	int fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, list->ai_addr, list->ai_addrlen) < 0) {
		close(fd);
		fd = -1;
	}
	freeaddrinfo(list);
	return begin(fd, false);
}

int peer_connect_from(const char *source, int port)
{
	struct sockaddr_in from = loopback(0);
	struct sockaddr_in to = loopback(port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && inet_pton(AF_INET, source, &from.sin_addr) == 1 &&
	    bind(fd, (struct sockaddr *)&from, sizeof(from)) == 0 &&
	    connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
		return begin(fd, false);
	peer_close(fd);
	return -1;
}

int peer_connect_narrow(int port)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const int size = 32 * 1024;

	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if (fd >= 0 && peer_connect_with(fd, port))
		return fd;
	peer_close(fd);
	return -1;
}

bool peer_connect_with(int fd, int port)
{
	struct sockaddr_in addr = loopback(port);

	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return false;
	begin(fd, false);
	return true;
}

int peer_connect_unix(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return begin(fd, false);
	close(fd);
	return -1;
}

/* A bound TCP socket on the loopback and a free port. */
static int bound(int *port, int shared)
{
	struct sockaddr_in addr = loopback(0);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &shared, sizeof(shared)) < 0 ||
	    bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		close(fd);
		return -1;
	}
	*port = peer_port(fd);
	return fd;
}

int peer_listen(int *port, int backlog)
{
	int fd = bound(port, 0);

	if (fd >= 0 && listen(fd, backlog) == 0) {
		over_tls_listen(fd);
		return fd;
	}
	peer_close(fd);
	return -1;
}

/* The kernel gives the port to nobody who leaves the choice to it, and to a listener who names it:
 * both have SO_REUSEADDR, and this one does not listen. */
int peer_refuse(int *port)
{
	return bound(port, 1);
}

int peer_accept(int listener)
{
	if (over_tls_listens(listener))
		return over_tls_accept(listener, now_ms() + DEADLINE_MS);
	if (!ready(listener, POLLIN, now_ms() + DEADLINE_MS))
		return -1;
	return begin(accept4(listener, NULL, NULL, SOCK_CLOEXEC), true);
}

int peer_port(int fd)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);

	if (getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
		return -1;
	if (addr.ss_family == AF_INET6)
		return ntohs(((struct sockaddr_in6 *)&addr)->sin6_port);
	return ntohs(((struct sockaddr_in *)&addr)->sin_port);
}

bool peer_send(int fd, const void *data, size_t size)
{
	int64_t until = now_ms() + DEADLINE_MS;
	const char *bytes = data;

	while (size > 0) {
		ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0 && errno != EAGAIN && errno != EINTR)
			return false;
		if (sent < 0 && !stream_ready(fd, POLLOUT, until))
			return false;
		if (sent > 0) {
			bytes += sent;
			size -= (size_t)sent;
			until = now_ms() + DEADLINE_MS;
		}
	}
	return true;
}

bool peer_say(int fd, const char *text)
{
	return peer_send(fd, text, strlen(text));
}

bool peer_is_answered(int fd)
{
	bool answered = fd >= 0 && peer_say(fd, "hello") && peer_expect(fd, "hello");

	peer_close(fd);
	return answered;
}

bool peer_recv(int fd, void *data, size_t size)
{
	int64_t until = now_ms() + DEADLINE_MS;
	char *bytes = data;

	while (size > 0) {
		if (!stream_ready(fd, POLLIN, until))
			return false;
		ssize_t got = recv(fd, bytes, size, MSG_DONTWAIT);
		if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
			return false;
		if (got > 0) {
			bytes += got;
			size -= (size_t)got;
			until = now_ms() + DEADLINE_MS;
		}
	}
	return true;
}

bool peer_send_unread(int fd, size_t size)
{
	static const char zeros[64 * 1024];
	int waiting = -1; /* not acknowledged yet */

	if (size > sizeof(zeros) || !peer_send(fd, zeros, size))
		return false;
	for (int64_t until = now_ms() + DEADLINE_MS; waiting && now_ms() < until;) {
		if (ioctl(fd, TIOCOUTQ, &waiting) < 0)
			return false;
		if (waiting)
			nap_ms(2);
	}
	return !waiting;
}

bool peer_expect(int fd, const char *text)
{
	char got[512];
	size_t size = strlen(text);

	return size <= sizeof(got) && peer_recv(fd, got, size) && memcmp(got, text, size) == 0;
}

int peer_end(int fd)
{
	size_t bytes;

	return peer_drain(fd, &bytes);
}

int peer_drain(int fd, size_t *bytes)
{
	int64_t until = now_ms() + DEADLINE_MS;
	char dropped[65536];

	*bytes = 0;
	for (;;) {
		if (!stream_ready(fd, POLLIN, until))
			return -ETIMEDOUT;
		ssize_t got = recv(fd, dropped, sizeof(dropped), MSG_DONTWAIT);
		if (got == 0)
			return 0;
		if (got < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (got > 0) {
			*bytes += (size_t)got;
			until = now_ms() + DEADLINE_MS;
		}
	}
}

bool peer_quiet(int fd, int ms)
{
	int64_t until = now_ms() + ms;
	char byte;

	while (stream_ready(fd, POLLIN, until)) {
		if (recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN)
			return false;
	}
	return true;
}

void peer_reset(int fd)
{
	struct linger now = {.l_onoff = 1, .l_linger = 0};

	over_tls_forget(fd);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	peer_close(fd);
}

void peer_close(int fd)
{
	if (fd >= 0)
		over_tls_close(fd);
}

void peer_shutdown(int fd)
{
	over_tls_shutdown(fd);
}

/* Whether the kernel drops each further SYN. Of a listener tcp_info has how many connections wait
 * to be accepted, and how many may. */
static bool is_full(int listener)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	return getsockopt(listener, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
	       info.tcpi_unacked > info.tcpi_sacked;
}

/* A queue of length 0 takes one. */
bool blackhole_open(struct blackhole *hole)
{
	struct sockaddr_in addr;

	*hole = (struct blackhole){.fill = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
	hole->listener = peer_listen(&hole->port, 0);
	over_tls_forget(hole->listener);
	addr = loopback(hole->port);
	if (hole->listener >= 0 && connect(hole->fill, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		for (int64_t until = now_ms() + DEADLINE_MS; now_ms() < until; nap_ms(1))
			if (is_full(hole->listener))
				return true;
	blackhole_close(hole);
	return false;
}

bool blackhole_has_an_attempt(const struct blackhole *hole)
{
	FILE *file = fopen("/proc/net/tcp", "re");
	unsigned remote_port, state;
	char line[512];
	bool found = false;

	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%*d: %*x:%*x %*x:%x %x", &remote_port, &state) == 2)
			found |= (int)remote_port == hole->port && state == 2; /* SYN_SENT */
	fclose(file);
	return found;
}

void blackhole_close(struct blackhole *hole)
{
	peer_close(hole->fill);
	peer_close(hole->listener);
}

bool have_ipv6(void)
{
	struct sockaddr_in6 addr = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool have = fd >= 0 && bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0;

	peer_close(fd);
	return have;
}

enum {
	FIRST_PORT = 10000, /* to 29999, see the header */
	BLOCK_PORTS = 32,
	BLOCKS = 20000 / BLOCK_PORTS
};

static int nblocks; /* each with a descriptor */

/* Ports for this program alone, as long as it runs: its name for them is taken. The first of
 * them, or -1. */
static int take_block(int block)
{
	struct sockaddr_un name = {.sun_family =
					   AF_UNIX}; /* of the abstract kind, without a file */
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, "sttcp-test-ports-%d", block);
	if (bind(fd, (struct sockaddr *)&name, sizeof(name)) == 0) {
		nblocks++;
		return FIRST_PORT + block * BLOCK_PORTS;
	}
	close(fd);
	return -1;
}

/* No address has it, and none of those that were let go of a moment ago (TIME_WAIT). */
static bool is_free(int port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	bool result = bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0;
	close(fd);
	return result;
}

int free_port(void)
{
	static int next, left;

	for (int tries = 0; tries < BLOCKS;) {
		if (!left) {
			next = take_block((getpid() + tries++) % BLOCKS);
			left = next < 0 ? 0 : BLOCK_PORTS;
			continue;
		}
		left--;
		if (is_free(next++))
			return next - 1;
	}
	fail_msg("no port is free");
	return -1;
}

int free_port_fds(void)
{
	return nblocks;
}
