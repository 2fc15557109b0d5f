/* SPDX-License-Identifier: MIT */
/* Listening and accepting, against the kernel itself: on the loopback, and with socket files. */
#include "support/faults.h"
#include "support/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

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

/* ----------------------------------------------------------------- listening */

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
	struct socket_pair pair;
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
	assert_int_equal(stt_socket_connect(&client, &addr, NULL, nagle), -EINPROGRESS);
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

/* ----------------------------------------------------------------- accepting */

static void accept_tells_the_peer(void **state)
{
	struct stt_addr local;
	struct socket_pair pair;
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
	struct socket_pair pair;
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
	struct socket_pair pair;
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
	fault_instead(SYS_accept4, EINTR, 3);
	assert_int_equal(stt_socket_accept(fd, &peer), -EAGAIN);
	assert_int_equal(fault_calls(), 4);
	fault_instead(SYS_accept4, ECONNABORTED, 1);
	assert_int_equal(stt_socket_accept(fd, &peer), -ECONNABORTED);
	assert_int_equal(fault_calls(), 1);
	stt_socket_close(fd);
}

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
		cmocka_unit_test(local_address_has_the_kernels_port),
		cmocka_unit_test(local_address_of_no_socket_is_a_code_and_has_no_text),
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
