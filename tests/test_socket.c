/* SPDX-License-Identifier: MIT */
/*
 * The socket calls, against the kernel itself: on the loopback, with ports that
 * the kernel chooses and files in a folder of the test's own. This file defines
 * a few system calls itself, so that a case can have one of them fail.
 */
/* Fortified calls are inline functions of glibc's, and would be instead of those below. */
#undef _FORTIFY_SOURCE

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "net/socket.h"
#include "support/libc.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define DEADLINE_MS 10000

static const struct stt_listen_options plain = {.backlog = 16};

/* -------------------------------------------------------------- system calls */

/* The next `times` calls of number `call` fail with `errnum`; `seen` counts all calls of it. */
static struct {
	long call;
	int errnum;
	int times;
	int seen;
} fault;

static void set_fault(long call, int errnum, int times)
{
	fault.call = call;
	fault.errnum = errnum;
	fault.times = times;
	fault.seen = 0;
}

static bool call_fails(long call)
{
	if (call != fault.call)
		return false;
	fault.seen++;
	if (fault.times == 0)
		return false;
	fault.times--;
	errno = fault.errnum;
	return true;
}

static long (*real_syscall(void))(long number, ...)
{
	static long (*real)(long number, ...);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "syscall");
	return real;
}

int accept4(int fd, any_address addr, socklen_t *restrict len, int flags)
{
	if (call_fails(SYS_accept4))
		return -1;
	return (int)real_syscall()(SYS_accept4, fd, ADDRESS_IN(addr), len, flags);
}

/* The calls of every message, which go to the kernel directly. Six arguments are as many as there
 * can be; what was not given is not looked at, but copied, which the address sanitizer takes amiss.
 */
__attribute__((__no_sanitize_address__)) long syscall(long number, ...)
{
	long arguments[6];
	va_list list;

	if (call_fails(number))
		return -1;
	va_start(list, number);
	for (int i = 0; i < 6; i++)
		arguments[i] = va_arg(list, long);
	va_end(list);
	return real_syscall()(number, arguments[0], arguments[1], arguments[2], arguments[3],
			      arguments[4], arguments[5]);
}

/* An interrupted connect has begun all the same. */
int connect(int fd, any_const_address addr, socklen_t len)
{
	int result = (int)real_syscall()(SYS_connect, fd, ADDRESS_IN(addr), len);

	return call_fails(SYS_connect) ? -1 : result;
}

/* An interrupted close has closed all the same. */
int close(int fd)
{
	int result = (int)real_syscall()(SYS_close, fd);

	return call_fails(SYS_close) ? -1 : result;
}

/* ------------------------------------------------------------------- helpers */

static struct stt_addr address_of(const char *host)
{
	struct stt_addr addr;

	assert_int_equal(stt_addr_literal(&addr, host, 0), 0);
	return addr;
}

static int listen_on(const char *host, const struct stt_listen_options *options)
{
	struct stt_addr addr = address_of(host);

	return stt_socket_listen(&addr, options);
}

static int connect_to(const char *host, int *fd)
{
	struct stt_addr addr = address_of(host);

	return stt_socket_connect(fd, &addr, false);
}

/* Waits for one of `events`, and fails the case when none comes. */
static void await(int fd, short events)
{
	struct pollfd pollfd = {.fd = fd, .events = events};

	assert_int_equal(poll(&pollfd, 1, DEADLINE_MS), 1);
}

static int option_of(int fd, int level, int option)
{
	int value = -1;
	socklen_t len = sizeof(value);

	assert_int_equal(getsockopt(fd, level, option, &value, &len), 0);
	return value;
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void assert_nonblocking_and_cloexec(int fd)
{
	assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}

/* The number that the next descriptor will have: the same before and after when none has leaked. */
static int next_fd(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	close(fd);
	return fd;
}

static bool has_ipv6(void)
{
	int fd = listen_on("::1", &plain);

	stt_socket_close(fd);
	return fd >= 0;
}

/* A connection with both of its ends. */
struct pair {
	int listener;
	int client;
	int server;
	struct stt_addr peer; /* as accept told */
};

/* The client connects to `target` when it is another host than the listener's. */
static void open_pair(struct pair *pair, const char *host, const char *target)
{
	struct stt_addr addr, local;

	pair->listener = listen_on(host, &plain);
	assert_true(pair->listener >= 0);
	assert_int_equal(stt_socket_local(pair->listener, &local), 0);
	addr = address_of(target ? target : host);
	stt_addr_set_port(&addr, stt_addr_port(&local));

	int err = stt_socket_connect(&pair->client, &addr, false);

	assert_true(err == 0 || err == -EINPROGRESS);
	await(pair->listener, POLLIN);
	pair->server = stt_socket_accept(pair->listener, &pair->peer);
	assert_true(pair->server >= 0);
	await(pair->client, POLLOUT);
	assert_int_equal(stt_socket_error(pair->client), 0);
}

static void close_pair(struct pair *pair)
{
	stt_socket_close(pair->server);
	stt_socket_close(pair->client);
	stt_socket_close(pair->listener);
}

static ssize_t send_text(int fd, const char *text)
{
	const struct iovec part = {.iov_base = (char *)(uintptr_t)text, .iov_len = strlen(text)};

	return stt_socket_send(fd, &part, 1);
}

static ssize_t await_recv(int fd, void *data, size_t size)
{
	await(fd, POLLIN);
	return stt_socket_recv(fd, data, size);
}

/* A folder for socket files, its path in *state; and "unix:FOLDER/socket" as the usual host. */
struct folder {
	char path[64];
	char host[STT_ADDR_TEXT];
	const char *file; /* the path in host */
};

static int make_folder(void **state)
{
	struct folder *folder = calloc(1, sizeof(*folder));

	if (!folder)
		return -1;
	strcpy(folder->path, "/tmp/sttcp-test-XXXXXX");
	if (!mkdtemp(folder->path)) {
		free(folder);
		return -1;
	}
	snprintf(folder->host, sizeof(folder->host), "unix:%s/socket", folder->path);
	folder->file = folder->host + strlen("unix:");
	*state = folder;
	return 0;
}

static int remove_folder(void **state)
{
	struct folder *folder = *state;

	unlink(folder->file);
	rmdir(folder->path);
	free(folder);
	return 0;
}

static bool is_socket(const char *path)
{
	struct stat status;

	return lstat(path, &status) == 0 && S_ISSOCK(status.st_mode);
}

/* A socket file on which nobody listens any more. */
static void leave_stale(const char *host)
{
	int fd = listen_on(host, &plain);

	assert_true(fd >= 0);
	stt_socket_close(fd);
}

/* ------------------------------------------------------------------ listening */

static void listener_is_nonblocking_and_cloexec(void **state)
{
	int fd = listen_on("127.0.0.1", &plain);

	(void)state;
	assert_true(fd >= 0);
	assert_nonblocking_and_cloexec(fd);
	assert_int_equal(option_of(fd, SOL_SOCKET, SO_ACCEPTCONN), 1);
	stt_socket_close(fd);
}

static void listener_gets_the_backlog(void **state)
{
	const struct stt_listen_options options = {.backlog = 7};
	int fd = listen_on("127.0.0.1", &options);
	struct tcp_info info;
	socklen_t len = sizeof(info);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
	/* Of a listening socket it is the longest queue (Linux, tcp_get_info). */
	assert_int_equal(info.tcpi_sacked, 7);
	stt_socket_close(fd);
}

static void listener_has_reuseaddr_and_no_reuseport(void **state)
{
	int fd = listen_on("127.0.0.1", &plain);

	(void)state;
	assert_int_equal(option_of(fd, SOL_SOCKET, SO_REUSEADDR), 1);
	assert_int_equal(option_of(fd, SOL_SOCKET, SO_REUSEPORT), 0);
	stt_socket_close(fd);
}

static void second_listener_on_a_port_is_eaddrinuse(void **state)
{
	int fd = listen_on("127.0.0.1", &plain);
	struct stt_addr addr;
	int free_fd = next_fd();

	(void)state;
	assert_int_equal(stt_socket_local(fd, &addr), 0);
	assert_int_equal(stt_socket_listen(&addr, &plain), -EADDRINUSE);
	assert_int_equal(next_fd(), free_fd);
	stt_socket_close(fd);
}

static void second_listener_is_fine_with_reuse_port(void **state)
{
	const struct stt_listen_options options = {.backlog = 16, .reuse_port = true};
	int fd = listen_on("127.0.0.1", &options);
	struct stt_addr addr;

	(void)state;
	assert_int_equal(option_of(fd, SOL_SOCKET, SO_REUSEPORT), 1);
	assert_int_equal(stt_socket_local(fd, &addr), 0);

	int second = stt_socket_listen(&addr, &options);

	assert_true(second >= 0);
	stt_socket_close(second);
	stt_socket_close(fd);
}

static void port_can_be_listened_on_again_after_connections(void **state)
{
	struct stt_addr addr;
	struct pair pair;
	char byte;

	(void)state;
	open_pair(&pair, "127.0.0.1", NULL);
	assert_int_equal(stt_socket_local(pair.listener, &addr), 0);
	/* The server closes first, so that its end is the one that stays in TIME_WAIT. */
	stt_socket_close(pair.server);
	assert_int_equal(await_recv(pair.client, &byte, 1), 0);
	stt_socket_close(pair.client);
	stt_socket_close(pair.listener);

	int fd = stt_socket_listen(&addr, &plain);

	assert_true(fd >= 0);
	stt_socket_close(fd);
}

/* TCP_NODELAY of the listener, of what it accepts, and of a client. */
static void assert_nodelay(bool nagle)
{
	const struct stt_listen_options options = {.backlog = 16, .nagle = nagle};
	int listener = listen_on("127.0.0.1", &options);
	struct stt_addr addr, peer;
	int client;

	assert_int_equal(stt_socket_local(listener, &addr), 0);
	assert_int_equal(stt_socket_connect(&client, &addr, nagle), -EINPROGRESS);
	await(listener, POLLIN);

	int server = stt_socket_accept(listener, &peer);

	assert_int_equal(option_of(listener, IPPROTO_TCP, TCP_NODELAY), !nagle);
	assert_int_equal(option_of(client, IPPROTO_TCP, TCP_NODELAY), !nagle);
	assert_int_equal(option_of(server, IPPROTO_TCP, TCP_NODELAY), !nagle);
	stt_socket_close(server);
	stt_socket_close(client);
	stt_socket_close(listener);
}

static void nodelay_is_set_and_inherited_unless_nagle(void **state)
{
	(void)state;
	assert_nodelay(false);
	assert_nodelay(true);
}

static void ipv6_listener_is_dual_stack_only_as_wildcard(void **state)
{
	static const struct {
		const char *host;
		bool ipv6_only;
		int expected;
	} cases[] = {
		{"::", false, 0},
		{"::", true, 1},
		{"::1", false, 1},
		{"::1", true, 1},
		{"::ffff:127.0.0.1", false, 0},
	};

	(void)state;
	if (!has_ipv6())
		skip();
	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct stt_listen_options options = {.backlog = 16,
							   .ipv6_only = cases[i].ipv6_only};
		int fd = listen_on(cases[i].host, &options);

		assert_true(fd >= 0);
		assert_int_equal(option_of(fd, IPPROTO_IPV6, IPV6_V6ONLY), cases[i].expected);
		stt_socket_close(fd);
	}
}

static void listen_fails_with_the_kernels_code_and_leaves_no_descriptor(void **state)
{
	const struct stt_addr unknown = {.sa.sa_family = AF_UNSPEC, .len = sizeof(struct sockaddr)};
	int free_fd = next_fd();

	(void)state;
	/* RFC 5737: 192.0.2.0/24 is nobody's. */
	assert_int_equal(listen_on("192.0.2.1", &plain), -EADDRNOTAVAIL);
	assert_int_equal(listen_on("unix:/no-such-folder/socket", &plain), -ENOENT);
	assert_int_equal(stt_socket_listen(&unknown, &plain), -EAFNOSUPPORT);
	assert_int_equal(next_fd(), free_fd);
}

/* -------------------------------------------------------------- Unix sockets */

static void unix_pair_is_connected_at_once_and_unnamed(void **state)
{
	struct folder *folder = *state;
	struct stt_addr peer, local;
	char text[STT_ADDR_TEXT];
	int client;

	int listener = listen_on(folder->host, &plain);

	assert_nonblocking_and_cloexec(listener);
	assert_int_equal(connect_to(folder->host, &client), 0);
	assert_nonblocking_and_cloexec(client);

	int server = stt_socket_accept(listener, &peer);

	assert_nonblocking_and_cloexec(server);
	stt_addr_text(&peer, text);
	assert_string_equal(text, "unix:");
	assert_int_equal(stt_socket_local(server, &local), 0);
	stt_addr_text(&local, text);
	assert_string_equal(text, folder->host);
	stt_socket_close(server);
	stt_socket_close(client);
	stt_socket_close(listener);
}

static void unix_options_of_tcp_are_ignored(void **state)
{
	const struct stt_listen_options options = {
		.backlog = 16, .reuse_port = true, .ipv6_only = true};
	struct folder *folder = *state;
	int fd = listen_on(folder->host, &options);

	assert_true(fd >= 0);
	assert_int_equal(option_of(fd, SOL_SOCKET, SO_REUSEADDR), 0);
	stt_socket_close(fd);
}

static void stale_unix_socket_is_replaced(void **state)
{
	struct folder *folder = *state;
	int client;

	leave_stale(folder->host);
	assert_true(is_socket(folder->file));
	assert_int_equal(connect_to(folder->host, &client), -ECONNREFUSED);

	int fd = listen_on(folder->host, &plain);

	assert_true(fd >= 0);
	assert_int_equal(connect_to(folder->host, &client), 0);
	stt_socket_close(client);
	stt_socket_close(fd);
}

static void live_unix_socket_is_eaddrinuse(void **state)
{
	struct folder *folder = *state;
	int fd = listen_on(folder->host, &plain);
	int free_fd = next_fd();
	int client;

	assert_int_equal(listen_on(folder->host, &plain), -EADDRINUSE);
	assert_int_equal(next_fd(), free_fd);
	assert_int_equal(connect_to(folder->host, &client), 0);
	stt_socket_close(client);
	stt_socket_close(fd);
}

static void live_unix_socket_with_a_full_backlog_is_eaddrinuse(void **state)
{
	const struct stt_listen_options options = {.backlog = 0};
	struct folder *folder = *state;
	int listener = listen_on(folder->host, &options);
	int clients[4];
	size_t count = 0;
	int err = 0;

	while (count < COUNT(clients) && err == 0)
		err = connect_to(folder->host, &clients[count++]);
	assert_int_equal(err, -EAGAIN);
	assert_int_equal(clients[count - 1], -1);
	assert_int_equal(listen_on(folder->host, &plain), -EADDRINUSE);
	assert_true(is_socket(folder->file));
	while (count > 0)
		stt_socket_close(clients[--count]);
	stt_socket_close(listener);
}

/* To find out that somebody is alive there is not to connect to it. */
static void refused_listener_is_unseen_by_the_living_one(void **state)
{
	struct folder *folder = *state;
	int fd = listen_on(folder->host, &plain);
	struct stt_addr peer;

	assert_true(fd >= 0);
	for (int i = 0; i < 20; i++) /* more than the queue would take */
		assert_int_equal(listen_on(folder->host, &plain), -EADDRINUSE);
	assert_int_equal(stt_socket_accept(fd, &peer), -EAGAIN);
	stt_socket_close(fd);
}

/* A server between its bind and its listen; and one of another type that nobody else can ask. */
static void bound_socket_that_does_not_listen_is_left_alone(void **state)
{
	const int types[] = {SOCK_STREAM, SOCK_SEQPACKET};
	struct folder *folder = *state;
	struct stt_addr addr = address_of(folder->host);

	for (size_t i = 0; i < COUNT(types); i++) {
		int fd = socket(AF_UNIX, types[i] | SOCK_CLOEXEC, 0);

		assert_int_equal(bind(fd, &addr.sa, addr.len), 0);
		assert_int_equal(listen_on(folder->host, &plain), -EADDRINUSE);
		assert_true(is_socket(folder->file));
		assert_int_equal(listen(fd, 1), 0);
		assert_int_equal(listen_on(folder->host, &plain), -EADDRINUSE);
		assert_true(is_socket(folder->file));
		close(fd);
		assert_int_equal(unlink(folder->file), 0);
	}
}

static void live_datagram_socket_is_left_alone(void **state)
{
	struct folder *folder = *state;
	struct stt_addr addr = address_of(folder->host);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, &addr.sa, addr.len), 0);
	assert_int_equal(listen_on(folder->host, &plain), -EADDRINUSE);
	assert_true(is_socket(folder->file));
	close(fd);
}

static void regular_file_is_left_alone(void **state)
{
	struct folder *folder = *state;
	int fd = open(folder->file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	char text[16] = "";

	assert_int_equal(write(fd, "precious", 8), 8);
	close(fd);
	assert_int_equal(listen_on(folder->host, &plain), -EADDRINUSE);
	fd = open(folder->file, O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, text, sizeof(text)), 8);
	assert_string_equal(text, "precious");
	close(fd);
}

static void symbolic_link_to_a_stale_socket_is_left_alone(void **state)
{
	struct folder *folder = *state;
	char target[STT_ADDR_TEXT];
	char host[STT_ADDR_TEXT + 8];
	struct stat status;

	snprintf(target, sizeof(target), "%s/target", folder->path);
	snprintf(host, sizeof(host), "unix:%s", target);
	leave_stale(host);
	assert_int_equal(symlink("target", folder->file), 0);
	assert_int_equal(listen_on(folder->host, &plain), -EADDRINUSE);
	assert_int_equal(lstat(folder->file, &status), 0);
	assert_true(S_ISLNK(status.st_mode));
	assert_true(is_socket(target));
	assert_int_equal(unlink(target), 0);
}

/* ------------------------------------------------------------------ accepting */

static void accept_tells_the_peer(void **state)
{
	struct stt_addr local;
	struct pair pair;
	char expected[STT_ADDR_TEXT];
	char text[STT_ADDR_TEXT];

	(void)state;
	open_pair(&pair, "127.0.0.1", NULL);
	assert_nonblocking_and_cloexec(pair.server);
	assert_nonblocking_and_cloexec(pair.client);
	assert_int_equal(stt_socket_local(pair.client, &local), 0);
	stt_addr_text(&local, expected);
	stt_addr_text(&pair.peer, text);
	assert_string_equal(text, expected);
	close_pair(&pair);
}

static void ipv4_peer_of_a_dual_stack_listener_is_plain_ipv4(void **state)
{
	struct stt_addr local;
	struct pair pair;
	char expected[STT_ADDR_TEXT];
	char text[STT_ADDR_TEXT];

	(void)state;
	if (!has_ipv6())
		skip();
	open_pair(&pair, "::", "127.0.0.1");
	assert_int_equal(pair.peer.sa.sa_family, AF_INET6);
	stt_addr_host(&pair.peer, text);
	assert_string_equal(text, "127.0.0.1");
	assert_int_equal(stt_socket_local(pair.client, &local), 0);
	stt_addr_text(&local, expected);
	stt_addr_text(&pair.peer, text);
	assert_string_equal(text, expected);
	close_pair(&pair);
}

static void ipv6_peer_is_told_in_brackets(void **state)
{
	struct pair pair;
	char text[STT_ADDR_TEXT];

	(void)state;
	if (!has_ipv6())
		skip();
	open_pair(&pair, "::", "::1");
	stt_addr_text(&pair.peer, text);
	assert_memory_equal(text, "[::1]:", 6);
	close_pair(&pair);
}

static void accept_without_a_connection_is_eagain(void **state)
{
	int fd = listen_on("127.0.0.1", &plain);
	struct stt_addr peer;

	(void)state;
	assert_int_equal(stt_socket_accept(fd, &peer), -EAGAIN);
	stt_socket_close(fd);
}

static void accept_retries_eintr_only(void **state)
{
	int fd = listen_on("127.0.0.1", &plain);
	struct stt_addr peer;

	(void)state;
	set_fault(SYS_accept4, EINTR, 3);
	assert_int_equal(stt_socket_accept(fd, &peer), -EAGAIN);
	assert_int_equal(fault.seen, 4);
	set_fault(SYS_accept4, ECONNABORTED, 1);
	assert_int_equal(stt_socket_accept(fd, &peer), -ECONNABORTED);
	assert_int_equal(fault.seen, 1);
	stt_socket_close(fd);
}

/* ----------------------------------------------------------------- connecting */

/* A port that is taken, and on which nobody listens. */
static int bind_only(struct stt_addr *addr)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*addr = address_of("127.0.0.1");
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, &addr->sa, addr->len), 0);
	assert_int_equal(stt_socket_local(fd, addr), 0);
	return fd;
}

static void refused_attempt_is_told_once(void **state)
{
	struct stt_addr addr;
	int holder = bind_only(&addr);
	int fd;

	(void)state;
	assert_int_equal(stt_socket_connect(&fd, &addr, false), -EINPROGRESS);
	await(fd, POLLOUT);
	assert_int_equal(stt_socket_error(fd), -ECONNREFUSED);
	assert_int_equal(stt_socket_error(fd), 0);
	stt_socket_close(fd);
	stt_socket_close(holder);
}

static void failed_connect_leaves_no_descriptor(void **state)
{
	const struct stt_addr unknown = {.sa.sa_family = AF_UNSPEC, .len = sizeof(struct sockaddr)};
	int free_fd = next_fd();
	int fd = 12345;

	(void)state;
	assert_int_equal(connect_to("unix:/no-such-folder/socket", &fd), -ENOENT);
	assert_int_equal(fd, -1);
	fd = 12345;
	assert_int_equal(stt_socket_connect(&fd, &unknown, false), -EAFNOSUPPORT);
	assert_int_equal(fd, -1);
	assert_int_equal(next_fd(), free_fd);
}

static void connect_without_free_descriptors_is_emfile(void **state)
{
	struct rlimit limit, none;
	int fd = 12345;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);

	int err = connect_to("127.0.0.1", &fd);
	int listen_err = listen_on("127.0.0.1", &plain);

	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(err, -EMFILE);
	assert_int_equal(fd, -1);
	assert_int_equal(listen_err, -EMFILE);
}

static void interrupted_connect_goes_on(void **state)
{
	int listener = listen_on("127.0.0.1", &plain);
	struct stt_addr addr;
	int fd;

	(void)state;
	assert_int_equal(stt_socket_local(listener, &addr), 0);
	set_fault(SYS_connect, EINTR, 1);
	assert_int_equal(stt_socket_connect(&fd, &addr, false), -EINPROGRESS);
	assert_int_equal(fault.seen, 1);
	await(fd, POLLOUT);
	assert_int_equal(stt_socket_error(fd), 0);
	assert_int_equal(send_text(fd, "x"), 1);
	stt_socket_close(fd);
	stt_socket_close(listener);
}

static void error_of_what_is_no_socket_is_told(void **state)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	(void)state;
	assert_int_equal(stt_socket_error(fd), -ENOTSOCK);
	assert_int_equal(stt_socket_error(-1), -EBADF);
	close(fd);
}

/* --------------------------------------------------------- sending, receiving */

static void parts_arrive_as_one_run(void **state)
{
	static char hello[] = "hello, ", nothing[] = "", world[] = "world";
	const struct iovec parts[] = {{hello, 7}, {nothing, 0}, {world, 5}};
	char text[32] = "";
	struct pair pair;

	(void)state;
	open_pair(&pair, "127.0.0.1", NULL);
	assert_int_equal(stt_socket_send(pair.client, parts, 3), 12);
	assert_int_equal(await_recv(pair.server, text, sizeof(text)), 12);
	assert_string_equal(text, "hello, world");
	close_pair(&pair);
}

static void iov_max_parts_can_be_sent(void **state)
{
	static struct iovec parts[IOV_MAX];
	static char byte[] = "x";
	static char text[IOV_MAX + 1];
	struct pair pair;

	(void)state;
	for (size_t i = 0; i < COUNT(parts); i++)
		parts[i] = (struct iovec){byte, 1};
	open_pair(&pair, "127.0.0.1", NULL);
	assert_int_equal(stt_socket_send(pair.client, parts, IOV_MAX), IOV_MAX);

	ssize_t got = 0;

	while (got < IOV_MAX) {
		ssize_t more = await_recv(pair.server, text + got, sizeof(text) - (size_t)got);

		assert_true(more > 0);
		got += more;
	}
	assert_int_equal(got, IOV_MAX);
	close_pair(&pair);
}

static void recv_without_data_is_eagain(void **state)
{
	struct pair pair;
	char byte;

	(void)state;
	open_pair(&pair, "127.0.0.1", NULL);
	assert_int_equal(stt_socket_recv(pair.server, &byte, 1), -EAGAIN);
	close_pair(&pair);
}

/* Sends until the kernel takes no more; returns how much it took. */
static size_t fill(int fd)
{
	static char block[65536];
	const struct iovec part = {block, sizeof(block)};
	size_t total = 0;

	for (;;) {
		ssize_t taken = stt_socket_send(fd, &part, 1);

		if (taken == -EAGAIN)
			return total;
		assert_true(taken > 0 && (size_t)taken <= sizeof(block));
		total += (size_t)taken;
	}
}

static void send_to_a_peer_that_does_not_read_is_eagain(void **state)
{
	static char block[65536];
	struct pair pair;
	size_t total, got = 0;

	(void)state;
	open_pair(&pair, "127.0.0.1", NULL);
	total = fill(pair.client);
	assert_true(total > 0);
	/* What was taken arrives, and nothing else does. */
	stt_socket_shutdown(pair.client);
	for (;;) {
		ssize_t more = await_recv(pair.server, block, sizeof(block));

		assert_true(more >= 0);
		if (more == 0)
			break;
		got += (size_t)more;
	}
	assert_int_equal(got, total);
	close_pair(&pair);
}

static void fin_is_0_after_the_data_and_leaves_the_other_way_open(void **state)
{
	struct pair pair;
	char text[8];

	(void)state;
	open_pair(&pair, "127.0.0.1", NULL);
	assert_int_equal(send_text(pair.client, "last"), 4);
	stt_socket_shutdown(pair.client);
	assert_int_equal(await_recv(pair.server, text, sizeof(text)), 4);
	assert_int_equal(await_recv(pair.server, text, sizeof(text)), 0);
	assert_int_equal(stt_socket_recv(pair.server, text, sizeof(text)), 0);
	assert_int_equal(send_text(pair.server, "reply"), 5);
	assert_int_equal(await_recv(pair.client, text, sizeof(text)), 5);
	close_pair(&pair);
}

/* SIGPIPE has its default action here: it would end the test. */
static void send_after_shutdown_is_epipe_and_no_signal(void **state)
{
	struct pair pair;

	(void)state;
	open_pair(&pair, "127.0.0.1", NULL);
	stt_socket_shutdown(pair.client);
	assert_int_equal(send_text(pair.client, "x"), -EPIPE);
	close_pair(&pair);
}

static void send_to_a_closed_unix_peer_is_epipe_and_no_signal(void **state)
{
	struct folder *folder = *state;
	struct pair pair;

	open_pair(&pair, folder->host, NULL);
	stt_socket_close(pair.server);
	assert_int_equal(send_text(pair.client, "x"), -EPIPE);
	stt_socket_close(pair.client);
	stt_socket_close(pair.listener);
}

static void recv_and_send_retry_eintr_only(void **state)
{
	struct pair pair;
	char byte;

	(void)state;
	open_pair(&pair, "127.0.0.1", NULL);
	set_fault(SYS_sendto, EINTR, 3);
	assert_int_equal(send_text(pair.client, "x"), 1);
	assert_int_equal(fault.seen, 4);
	await(pair.server, POLLIN);
	set_fault(SYS_recvfrom, EINTR, 3);
	assert_int_equal(stt_socket_recv(pair.server, &byte, 1), 1);
	assert_int_equal(fault.seen, 4);
	set_fault(SYS_sendto, ENOBUFS, 1);
	assert_int_equal(send_text(pair.client, "x"), -ENOBUFS);
	assert_int_equal(fault.seen, 1);
	set_fault(SYS_recvfrom, EHOSTUNREACH, 1);
	assert_int_equal(stt_socket_recv(pair.server, &byte, 1), -EHOSTUNREACH);
	assert_int_equal(fault.seen, 1);
	close_pair(&pair);
}

/* ----------------------------------------------------------------- the end */

static void reset_is_econnreset_at_the_peer(void **state)
{
	struct pair pair;
	char byte;

	(void)state;
	open_pair(&pair, "127.0.0.1", NULL);
	stt_socket_reset(pair.client);
	assert_int_equal(await_recv(pair.server, &byte, 1), -ECONNRESET);
	close_pair(&pair);
}

static void reset_after_shutdown_is_econnreset_at_the_peer(void **state)
{
	struct pair pair;
	char byte;

	(void)state;
	open_pair(&pair, "127.0.0.1", NULL);
	/* The peer has not read: what it would have got is lost with the FIN behind it. */
	fill(pair.client);
	stt_socket_shutdown(pair.client);
	stt_socket_reset(pair.client);
	await(pair.server, POLLERR);
	assert_int_equal(stt_socket_error(pair.server), -ECONNRESET);
	assert_true(stt_socket_recv(pair.server, &byte, 1) >= 0);
	close_pair(&pair);
}

static void reset_keeps_the_descriptor(void **state)
{
	struct pair pair;
	char byte;

	(void)state;
	open_pair(&pair, "127.0.0.1", NULL);
	stt_socket_reset(pair.client);
	assert_true(is_open(pair.client));
	assert_int_equal(stt_socket_recv(pair.client, &byte, 1), -ECONNRESET);
	assert_int_equal(stt_socket_recv(pair.client, &byte, 1), -ENOTCONN);
	assert_int_equal(send_text(pair.client, "x"), -EPIPE);
	stt_socket_reset(pair.client);
	assert_true(is_open(pair.client));
	close_pair(&pair);
}

static void reset_of_a_unix_socket_ends_both_ways(void **state)
{
	struct folder *folder = *state;
	struct pair pair;
	char byte;

	open_pair(&pair, folder->host, NULL);
	stt_socket_reset(pair.client);
	assert_true(is_open(pair.client));
	assert_int_equal(stt_socket_recv(pair.client, &byte, 1), 0);
	assert_int_equal(send_text(pair.client, "x"), -EPIPE);
	assert_int_equal(await_recv(pair.server, &byte, 1), 0);
	assert_int_equal(send_text(pair.server, "x"), -EPIPE);
	close_pair(&pair);
}

static void shutdown_and_reset_of_no_connection_do_nothing(void **state)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	stt_socket_shutdown(fd);
	stt_socket_reset(fd);
	assert_true(is_open(fd));
	stt_socket_shutdown(-1);
	stt_socket_reset(-1);
	stt_socket_close(fd);
}

static void local_address_has_the_kernels_port(void **state)
{
	int fd = listen_on("127.0.0.1", &plain);
	struct stt_addr addr;
	char text[STT_ADDR_TEXT];

	(void)state;
	assert_int_equal(stt_socket_local(fd, &addr), 0);
	stt_addr_host(&addr, text);
	assert_string_equal(text, "127.0.0.1");
	assert_true(stt_addr_port(&addr) > 0);
	stt_socket_close(fd);
}

static void local_address_of_no_socket_is_a_code_and_has_no_text(void **state)
{
	struct stt_addr addr;
	char text[STT_ADDR_TEXT];

	(void)state;
	assert_int_equal(stt_socket_local(-1, &addr), -EBADF);
	stt_addr_text(&addr, text);
	assert_string_equal(text, "");
}

static void blocking_can_be_set_and_library_calls_still_do_not_block(void **state)
{
	struct pair pair;
	char byte;

	(void)state;
	open_pair(&pair, "127.0.0.1", NULL);
	assert_int_equal(stt_socket_set_blocking(pair.client), 0);
	assert_int_equal(fcntl(pair.client, F_GETFL) & O_NONBLOCK, 0);
	assert_int_equal(stt_socket_recv(pair.client, &byte, 1), -EAGAIN);
	assert_true(fill(pair.client) > 0);
	assert_int_equal(stt_socket_set_blocking(-1), -EBADF);
	close_pair(&pair);
}

static void close_keeps_errno(void **state)
{
	int fd = listen_on("127.0.0.1", &plain);

	(void)state;
	errno = ENOTTY;
	stt_socket_close(fd);
	assert_int_equal(errno, ENOTTY);
	assert_false(is_open(fd));

	errno = ENOTTY;
	stt_socket_close(fd);
	stt_socket_close(-1);
	assert_int_equal(errno, ENOTTY);
}

static void close_takes_eintr_for_closed(void **state)
{
	int fd = listen_on("127.0.0.1", &plain);

	(void)state;
	errno = 0;
	set_fault(SYS_close, EINTR, 1);
	stt_socket_close(fd);
	assert_int_equal(fault.seen, 1);
	assert_int_equal(errno, 0);
	assert_false(is_open(fd));
}

#define unix_test(function) cmocka_unit_test_setup_teardown(function, make_folder, remove_folder)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(listener_is_nonblocking_and_cloexec),
		cmocka_unit_test(listener_gets_the_backlog),
		cmocka_unit_test(listener_has_reuseaddr_and_no_reuseport),
		cmocka_unit_test(second_listener_on_a_port_is_eaddrinuse),
		cmocka_unit_test(second_listener_is_fine_with_reuse_port),
		cmocka_unit_test(port_can_be_listened_on_again_after_connections),
		cmocka_unit_test(nodelay_is_set_and_inherited_unless_nagle),
		cmocka_unit_test(ipv6_listener_is_dual_stack_only_as_wildcard),
		cmocka_unit_test(listen_fails_with_the_kernels_code_and_leaves_no_descriptor),
		unix_test(unix_pair_is_connected_at_once_and_unnamed),
		unix_test(unix_options_of_tcp_are_ignored),
		unix_test(stale_unix_socket_is_replaced),
		unix_test(live_unix_socket_is_eaddrinuse),
		unix_test(live_unix_socket_with_a_full_backlog_is_eaddrinuse),
		unix_test(refused_listener_is_unseen_by_the_living_one),
		unix_test(bound_socket_that_does_not_listen_is_left_alone),
		unix_test(live_datagram_socket_is_left_alone),
		unix_test(regular_file_is_left_alone),
		unix_test(symbolic_link_to_a_stale_socket_is_left_alone),
		cmocka_unit_test(accept_tells_the_peer),
		cmocka_unit_test(ipv4_peer_of_a_dual_stack_listener_is_plain_ipv4),
		cmocka_unit_test(ipv6_peer_is_told_in_brackets),
		cmocka_unit_test(accept_without_a_connection_is_eagain),
		cmocka_unit_test(accept_retries_eintr_only),
		cmocka_unit_test(refused_attempt_is_told_once),
		cmocka_unit_test(failed_connect_leaves_no_descriptor),
		cmocka_unit_test(connect_without_free_descriptors_is_emfile),
		cmocka_unit_test(interrupted_connect_goes_on),
		cmocka_unit_test(error_of_what_is_no_socket_is_told),
		cmocka_unit_test(parts_arrive_as_one_run),
		cmocka_unit_test(iov_max_parts_can_be_sent),
		cmocka_unit_test(recv_without_data_is_eagain),
		cmocka_unit_test(send_to_a_peer_that_does_not_read_is_eagain),
		cmocka_unit_test(fin_is_0_after_the_data_and_leaves_the_other_way_open),
		cmocka_unit_test(send_after_shutdown_is_epipe_and_no_signal),
		unix_test(send_to_a_closed_unix_peer_is_epipe_and_no_signal),
		cmocka_unit_test(recv_and_send_retry_eintr_only),
		cmocka_unit_test(reset_is_econnreset_at_the_peer),
		cmocka_unit_test(reset_after_shutdown_is_econnreset_at_the_peer),
		cmocka_unit_test(reset_keeps_the_descriptor),
		unix_test(reset_of_a_unix_socket_ends_both_ways),
		cmocka_unit_test(shutdown_and_reset_of_no_connection_do_nothing),
		cmocka_unit_test(local_address_has_the_kernels_port),
		cmocka_unit_test(local_address_of_no_socket_is_a_code_and_has_no_text),
		cmocka_unit_test(blocking_can_be_set_and_library_calls_still_do_not_block),
		cmocka_unit_test(close_keeps_errno),
		cmocka_unit_test(close_takes_eintr_for_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
