/* SPDX-License-Identifier: MIT */
/*
 * The socket calls of the library, one function each. A function makes its calls
 * again on EINTR, turns errno into its result, and knows nothing of who uses it.
 * No state; any thread.
 */
#include "net/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/socket_file.h"

static int open_socket(int family, int type)
{
	int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

static int turn_on(int fd, int level, int option)
{
	const int on = 1;

	return setsockopt(fd, level, option, &on, sizeof(on)) < 0 ? -errno : 0;
}

static int connect_to(int fd, const struct stt_addr *addr)
{
	return connect(fd, &addr->sa, addr->len) < 0 ? -errno : 0;
}

static int bind_to(int fd, const struct stt_addr *addr)
{
	return bind(fd, &addr->sa, addr->len) < 0 ? -errno : 0;
}

/*
 * The default of IPV6_V6ONLY is the machine's (/proc/sys/net/ipv6/bindv6only),
 * so that it is always set. An IPv4 address mapped into IPv6 needs it off: bind
 * says EINVAL otherwise.
 */
static int set_ipv6_only(int fd, const struct in6_addr *host, bool ipv6_only)
{
	const int only =
		ipv6_only || !(IN6_IS_ADDR_UNSPECIFIED(host) || IN6_IS_ADDR_V4MAPPED(host));

	if (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only)) < 0)
		return -errno;
	return 0;
}

/* SO_REUSEADDR lets a server start again while connections of its last run stand in TIME_WAIT;
 * on Linux it never lets two listen on one port (socket(7)). */
static int set_inet_options(int fd, const struct stt_addr *addr,
			    const struct stt_listen_options *options)
{
	int err = turn_on(fd, SOL_SOCKET, SO_REUSEADDR);

	if (err == 0 && options->reuse_port)
		err = turn_on(fd, SOL_SOCKET, SO_REUSEPORT);
	if (err == 0 && !options->nagle)
		err = turn_on(fd, IPPROTO_TCP, TCP_NODELAY);
	if (err == 0)
		err = stt_socket_set_dead_peer(fd, options->dead_peer_timeout_ms);
	if (err == 0 && addr->sa.sa_family == AF_INET6)
		err = set_ipv6_only(fd, &addr->in6.sin6_addr, options->ipv6_only);
	return err;
}

/*
 * Whether the file is what a server left behind that is gone: 1, 0, or why that
 * cannot be found out. For that a datagram socket is connected to it: whoever
 * is alive there is told nothing, for the kernel compares the types before it
 * does anything else. A stream socket, listening or not yet, its queue full or
 * not, gives EPROTOTYPE; nobody gives ECONNREFUSED. (A stream connected for
 * that would be a connection to the living server.) ECONNREFUSED alone does not
 * tell, either: connect says it of any file that is no socket, too, and these
 * are not ours to remove. lstat and not stat: a symbolic link is somebody's
 * intention.
 */
static int is_stale(const struct stt_addr *addr, struct stat *status)
{
	if (lstat(addr->un.sun_path, status) < 0)
		return -errno;
	if (!S_ISSOCK(status->st_mode))
		return 0;

	int fd = open_socket(AF_UNIX, SOCK_DGRAM);

	if (fd < 0)
		return fd;

	int err = connect_to(fd, addr);

	stt_socket_close(fd);
	return err == -ECONNREFUSED;
}

/* The lock under which that file is taken away: an abstract name, which goes with its holder
 * (unix(7)). -EADDRINUSE if another start has it. */
static int lock_file(const struct stat *status)
{
	struct stt_addr name = {.un.sun_family = AF_UNIX};
	int fd = open_socket(AF_UNIX, SOCK_DGRAM);

	if (fd < 0)
		return fd;

	int len = snprintf(name.un.sun_path + 1, sizeof(name.un.sun_path) - 1,
			   "sttcp-stale-%llx-%llx", (unsigned long long)status->st_dev,
			   (unsigned long long)status->st_ino);

	name.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len);

	int err = bind_to(fd, &name);

	if (err == 0)
		return fd;
	stt_socket_close(fd);
	return err;
}

/* Of several that find a stale file at once, one takes it away: the others would take away what
 * that one has bound. So it looks again once it has the lock; one that may have none (a sandbox)
 * goes on as it is. */
static int replace_file(int fd, const struct stt_addr *addr, const struct stat *seen)
{
	struct stat status;
	int lock = lock_file(seen);

	if (lock < 0 && lock != -EACCES && lock != -EPERM)
		return lock;

	int err = is_stale(addr, &status);

	if (err == 1 && (status.st_dev != seen->st_dev || status.st_ino != seen->st_ino))
		err = 0;
	if (err == 1 && unlink(addr->un.sun_path) < 0)
		err = -errno;
	if (err == 0)
		err = -EADDRINUSE;
	else if (err == 1 || err == -ENOENT)
		err = bind_to(fd, addr);
	if (lock >= 0)
		stt_socket_close(lock);
	return err;
}

static int bind_path(int fd, const struct stt_addr *addr)
{
	struct stat status;
	int err = bind_to(fd, addr);

	if (err != -EADDRINUSE)
		return err;

	int stale = is_stale(addr, &status);

	if (stale == -ENOENT)
		return bind_to(fd, addr);
	if (stale <= 0)
		return stale < 0 ? stale : err;
	return replace_file(fd, addr, &status);
}

/*
 * The kernel probes a silent peer after a third of the time, and again after
 * each further third, and gives it up a third after the last probe but one:
 * TCP_KEEPCNT counts unanswered probes (Linux, tcp_keepalive_timer). The
 * remainder of the division comes before the first probe. TCP_USER_TIMEOUT is
 * not set: it would also end a peer that answers each probe with a closed
 * window.
 */
int stt_socket_set_dead_peer(int fd, int timeout_ms)
{
	const int on = 1;
	const int most_s = 32767; /* the kernel takes no more */
	const int probes = 2;
	const int least_s = probes + 1;
	const int limit_s = timeout_ms / 1000 > least_s ? timeout_ms / 1000 : least_s;
	const int wanted_s = limit_s / (probes + 1);
	const int third_s = wanted_s < most_s ? wanted_s : most_s;
	const int rest_s = limit_s - probes * third_s;
	const int idle_s = rest_s < most_s ? rest_s : most_s;

	if (timeout_ms < 0)
		return 0;
	if (setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &third_s, sizeof(third_s)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes)) < 0)
		return -errno;
	return 0;
}

int stt_socket_set_nagle(int fd, bool nagle)
{
	const int on = !nagle;

	return setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0 ? -errno : 0;
}

bool stt_socket_silence(int fd, struct stt_silence *silence)
{
	struct tcp_info info;
	socklen_t size = sizeof(info);
	int left = 0;

	if (ioctl(fd, TIOCOUTQ, &left) < 0 || !left)
		return false;
	memset(&info, 0, sizeof(info));
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0)
		return false;
	*silence = (struct stt_silence){
		.ms = info.tcpi_last_ack_recv,
		.unanswered = info.tcpi_unacked || info.tcpi_probes,
		.window_shut = !info.tcpi_unacked,
	};
	return true;
}

/* The kernel of a peer answers what it has no room for at most twice a second
 * (tcp_invalid_ratelimit). So the first two tries, 200 and 600 ms after the last answer, may have
 * none; the third comes after 1400 ms. Probes of a closed window are counted from the last
 * acknowledgement on, retransmissions of data are not. */
static bool is_unanswered(const struct tcp_info *info)
{
	enum {
		LEAST_SILENCE_MS = 1500
	};

	if (info->tcpi_last_ack_recv < LEAST_SILENCE_MS)
		return false;
	return info->tcpi_probes ||
	       (info->tcpi_retransmits && info->tcpi_last_ack_recv > info->tcpi_last_data_sent);
}

bool stt_socket_is_unheard(int fd)
{
	struct tcp_info info;
	socklen_t size = sizeof(info);
	int unread = 0;

	memset(&info, 0, sizeof(info));
	return ioctl(fd, FIONREAD, &unread) == 0 && unread &&
	       getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 && is_unanswered(&info);
}

size_t stt_socket_memory(int fd)
{
	int memory = 0;
	socklen_t size = sizeof(memory);

	return getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &memory, &size) == 0 && memory > 0
		       ? (size_t)memory
		       : 0;
}

void stt_socket_probe_each(int fd, unsigned ms)
{
	const int rto_max_ms = 44; /* TCP_RTO_MAX_MS, which the C library may not know */
	const unsigned most = ms < 120000 ? ms : 120000;
	const unsigned value = most > 1000 ? most : 1000;

	(void)setsockopt(fd, IPPROTO_TCP, rto_max_ms, &value, sizeof(value));
}

/*
 * Nobody can connect before listen, and until then the file has got its mode. It
 * never has more than that, either: Linux gives the file the permissions of the
 * socket, less what the umask takes (unix_bind). The umask is the process's, and
 * other threads may be making files just now, so that it stays as it is: what it
 * has taken is added afterwards.
 */
static int bind_file(int fd, const struct stt_addr *addr, int mode)
{
	bool has_mode = mode && stt_addr_has_file(addr);

	if (has_mode)
		(void)fchmod(fd, (mode_t)mode);

	int err = bind_path(fd, addr);

	if (err < 0 || !has_mode)
		return err;
	err = stt_socket_file_set_mode(addr, (mode_t)mode);
	/* Another file that has taken the path is not ours to remove. */
	if (err < 0 && err != -EADDRINUSE)
		stt_socket_file_discard(addr);
	return err;
}

int stt_socket_listen(const struct stt_addr *addr, const struct stt_listen_options *options)
{
	int fd = open_socket(addr->sa.sa_family, SOCK_STREAM);
	int err;

	if (fd < 0)
		return fd;
	if (addr->sa.sa_family == AF_UNIX) {
		err = bind_file(fd, addr, options->unix_mode);
	} else {
		err = set_inet_options(fd, addr, options);
		if (err == 0)
			err = bind_to(fd, addr);
	}
	if (err == 0 && listen(fd, options->backlog) < 0) {
		err = -errno;
		stt_socket_file_discard(addr);
	}
	if (err == 0)
		return fd;
	stt_socket_close(fd);
	return err;
}

static int number_of(int fd, int option, int *value)
{
	socklen_t len = sizeof(*value);

	return getsockopt(fd, SOL_SOCKET, option, value, &len) < 0 ? -errno : 0;
}

static bool is_spoken(sa_family_t family)
{
	return family == AF_INET || family == AF_INET6 || family == AF_UNIX;
}

int stt_socket_check_listener(int fd, struct stt_addr *addr)
{
	int type = 0;
	int listens = 0;
	int err = number_of(fd, SO_TYPE, &type);

	if (err == 0)
		err = number_of(fd, SO_ACCEPTCONN, &listens);
	if (err == 0)
		err = stt_socket_local(fd, addr);
	/* ENOTSOCK, above all. */
	if (err < 0)
		return err == -EBADF ? err : -EINVAL;
	return type == SOCK_STREAM && listens && is_spoken(addr->sa.sa_family) ? 0 : -EINVAL;
}

int stt_socket_adopt(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	return 0;
}

int stt_socket_accept(int fd, struct stt_addr *peer)
{
	for (;;) {
		*peer = (struct stt_addr){.len = sizeof(peer->un)};

		int conn = accept4(fd, &peer->sa, &peer->len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (conn >= 0)
			return conn;
		if (errno != EINTR)
			return -errno;
	}
}

/*
 * The kernel tells the length of a TCP listener's queue in a field that means
 * something else elsewhere (tcp_get_info). It does not for a Unix socket; but
 * that one, shut down, refuses newcomers and still gives what it has.
 */
int stt_socket_last_call(int fd, const struct stt_addr *addr)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	if (addr->sa.sa_family == AF_UNIX) {
		(void)shutdown(fd, SHUT_RDWR);
		return INT_MAX;
	}
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return STT_BACKLOG;
	return (int)info.tcpi_unacked;
}

/*
 * With a port, the attempts of a race share it, and so does an attempt with the
 * connection of a moment ago that stands in TIME_WAIT: SO_REUSEADDR; that of a
 * socket which listens stays its own (socket(7)). Without one, the kernel chooses
 * it when the peer is known, so that each peer may have all ports (ip(7)).
 */
static int bind_end(int fd, const struct stt_addr *from)
{
	const int on = 1;

	if (stt_addr_port(from))
		(void)turn_on(fd, SOL_SOCKET, SO_REUSEADDR);
	else
		(void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
	return bind_to(fd, from);
}

int stt_socket_connect(int *fd, const struct stt_addr *addr, const struct stt_addr *from,
		       bool nagle)
{
	int err = 0;

	*fd = open_socket(addr->sa.sa_family, SOCK_STREAM);
	if (*fd < 0) {
		err = *fd;
		*fd = -1;
		return err;
	}
	if (!nagle && addr->sa.sa_family != AF_UNIX)
		err = turn_on(*fd, IPPROTO_TCP, TCP_NODELAY);
	if (err == 0 && from)
		err = bind_end(*fd, from);
	if (err == 0)
		err = connect_to(*fd, addr);
	/* After EINTR the attempt goes on by itself, and a second call would say EALREADY (POSIX,
	 * connect): it is as if it had said EINPROGRESS. */
	if (err == -EINTR)
		err = -EINPROGRESS;
	if (err == 0 || err == -EINPROGRESS)
		return err;
	stt_socket_close(*fd);
	*fd = -1;
	return err;
}

/* The given address may say less than the peer's: 0.0.0.0 stands for the loopback there. So the
 * two ends are compared, and only where the ports are the same. */
bool stt_socket_is_looped(int fd, const struct stt_addr *addr)
{
	struct stt_addr here;
	struct stt_addr there = {.len = sizeof(there.un)};

	if (addr->sa.sa_family == AF_UNIX || stt_socket_local(fd, &here) < 0 ||
	    stt_addr_port(&here) != stt_addr_port(addr))
		return false;
	return getpeername(fd, &there.sa, &there.len) == 0 && stt_addr_equal(&here, &there);
}

int stt_socket_error(int fd)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		return -errno;
	return -err;
}

int stt_socket_failure(int fd)
{
	struct pollfd entry = {.fd = fd};

	return poll(&entry, 1, 0) == 1 && (entry.revents & POLLERR) ? stt_socket_error(fd) : 0;
}

/*
 * The two calls of every message go to the kernel by syscall(2). The C library's functions are
 * cancellation points, for which each of them does two atomic operations when there are threads:
 * with both calls and sendto in place of sendmsg that was a tenth of the instructions of a small
 * echo outside the kernel (`echo-1` of the benchmark). The library needs no cancellation point
 * here, on the contrary.
 *
 * MSG_DONTWAIT: users may borrow the descriptor, and one that they made blocking by mistake must
 * not hold up a loop.
 */
static inline ssize_t receive(int fd, void *data, size_t size, int flags)
{
	for (;;) {
		ssize_t got = syscall(SYS_recvfrom, fd, data, size, flags, NULL, NULL);

		if (got >= 0)
			return got;
		if (errno != EINTR)
			return -errno;
	}
}

ssize_t stt_socket_recv(int fd, void *data, size_t size)
{
	return receive(fd, data, size, MSG_DONTWAIT);
}

bool stt_socket_has_input(int fd)
{
	int size = 0;

	return ioctl(fd, FIONREAD, &size) == 0 && size > 0;
}

/* A stream socket of another family takes no notice of MSG_TRUNC, and copies. */
ssize_t stt_socket_drop(int fd, void *data, size_t size)
{
	return receive(fd, data, size, MSG_DONTWAIT | MSG_TRUNC);
}

static ssize_t send_message(int fd, const struct iovec *parts, int count)
{
	/* The const is cast away for the field's type only: sendmsg does not write there. */
	const struct msghdr message = {
		.msg_iov = (struct iovec *)parts,
		.msg_iovlen = (size_t)count,
	};

	return syscall(SYS_sendmsg, fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

ssize_t stt_socket_send(int fd, const struct iovec *parts, int count)
{
	for (;;) {
		ssize_t taken = count == 1
					? syscall(SYS_sendto, fd, parts->iov_base, parts->iov_len,
						  MSG_NOSIGNAL | MSG_DONTWAIT, NULL, 0)
					: send_message(fd, parts, count);

		if (taken >= 0)
			return taken;
		if (errno != EINTR)
			return -errno;
	}
}

bool stt_socket_has_news(int fd)
{
	struct pollfd entry = {.fd = fd, .events = POLLIN | POLLRDHUP};

	return poll(&entry, 1, 0) == 1;
}

int stt_socket_wait(int fd, short *events, int waker, int64_t until_ms)
{
	struct pollfd polled[] = {{.fd = fd, .events = *events}, {.fd = waker, .events = POLLIN}};

	for (;;) {
		int64_t left = until_ms == STT_NEVER ? -1 : until_ms - stt_now_ms();
		int timeout = left > INT_MAX ? INT_MAX : (int)left;

		if (until_ms != STT_NEVER && left < 0)
			timeout = 0;

		int count = poll(polled, 2, timeout);

		if (count < 0 && errno != EINTR)
			return -errno;
		if (count >= 0)
			*events = polled[0].revents;
		if (count > 0 && polled[0].revents)
			return 0;
		/* The program has closed the waker: nobody can wake this any more. */
		if (count > 0 && (polled[1].revents & (POLLNVAL | POLLERR)))
			return -EBADF;
		/* Also where it was woken: a number that is another's by now may be ready for good.
		 */
		if (count >= 0 && until_ms != STT_NEVER && stt_now_ms() >= until_ms)
			return -ETIMEDOUT;
		if (count > 0)
			return 0;
	}
}

/* It fails only if there is no connection any more, and then nobody needs to know. */
void stt_socket_shutdown(int fd)
{
	(void)shutdown(fd, SHUT_WR);
}

/* To connect to no address dissolves a TCP connection: the kernel sends RST at once (Linux,
 * tcp_disconnect). A Unix socket refuses that, and has no reset. */
void stt_socket_reset(int fd)
{
	const struct sockaddr nobody = {.sa_family = AF_UNSPEC};

	/* Not by the C library's function: the thread sanitizer takes that for the creation of the
	 * descriptor, and every simultaneous read for a race. */
	if (syscall(SYS_connect, fd, &nobody, sizeof(nobody)) < 0)
		(void)shutdown(fd, SHUT_RDWR);
}

/*
 * What shutdown does holds for every copy, and close comes last. Input that nobody has read is told
 * by a reset, as close would do (RFC 1122, 4.2.2.13); a listener has no such number.
 */
void stt_socket_end(int fd)
{
	int saved = errno;
	int unread = 0;

	if (fd < 0)
		return;
	if (ioctl(fd, FIONREAD, &unread) == 0 && unread > 0)
		stt_socket_reset(fd);
	else
		(void)shutdown(fd, SHUT_RDWR);
	(void)close(fd);
	errno = saved;
}

int stt_socket_local(int fd, struct stt_addr *addr)
{
	*addr = (struct stt_addr){.len = sizeof(addr->un)};
	return getsockname(fd, &addr->sa, &addr->len) < 0 ? -errno : 0;
}

int stt_socket_set_blocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
		return -errno;
	return 0;
}

/* Never a second close after EINTR: the number is free already and may be another thread's. */
void stt_socket_close(int fd)
{
	int saved = errno;

	if (fd >= 0)
		(void)close(fd);
	errno = saved;
}
