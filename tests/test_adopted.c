/* SPDX-License-Identifier: MIT */
/* Listening sockets that somebody else has made: which of them a server adopts, and that a free
 * closes them. What becomes of them at a stop is in test_shared_listener.c. */
#include "support/descriptors.h"
#include "support/support.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static int option_of(int fd, int level, int option)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, level, option, &value, &len) == 0 ? value : -1;
}

/* -------------------------------------------------------------------- adopting */

static void adopted_listener_is_served(void **state)
{
	int port;
	int fd = peer_listen(&port, 8);
	struct probe *probe = probe_new();
	char address[32];

	(void)state;
	snprintf(address, sizeof(address), "127.0.0.1:%d", port);
	assert_int_equal(fcntl(fd, F_SETFD, 0), 0);
	sttcp_server *server = probe_adopt(probe, fd, NULL);
	assert_true(is_cloexec(fd));
	assert_true(is_nonblocking(fd));
	assert_null(sttcp_server_address(server, 0));
	assert_int_equal(sttcp_server_start(server), 0);
	assert_string_equal(sttcp_server_address(server, 0), address);
	assert_null(sttcp_server_address(server, 1));
	assert_int_equal(sttcp_server_port(server), 0); /* that of its own address */
	for (int i = 0; i < 10; i++)
		assert_true(peer_is_answered(peer_connect(port)));
	sttcp_server_free(server);
	assert_int_equal(peer_connect(port), -1);
	probe_free(probe);
}

static void adopted_listener_stands_beside_addresses(void **state)
{
	int port;
	int fd = peer_listen(&port, 8);
	struct probe *probe = probe_new();
	sttcp_server *server = probe_server(probe, "127.0.0.1", 0, NULL);

	(void)state;
	probe->data = echo_data;
	assert_int_equal(sttcp_server_add_listener(server, fd), 0);
	assert_int_equal(sttcp_server_add_address(server, "127.0.0.1", 0), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	assert_true(peer_is_answered(peer_connect(sttcp_server_port(server))));
	for (int i = 0; i < 3; i++)
		assert_true(peer_is_answered(
			peer_connect(atoi(strrchr(sttcp_server_address(server, i), ':') + 1))));
	assert_null(sttcp_server_address(server, 3));
	sttcp_server_free(server);
	probe_free(probe);
}

static void expect_refused(sttcp_server *server, int fd, int code)
{
	int flags = fcntl(fd, F_GETFL);
	bool cloexec = is_cloexec(fd);
	bool open = is_open(fd);
	char name[32];

	snprintf(name, sizeof(name), "descriptor %d", fd);
	assert_int_equal(sttcp_server_add_listener(server, fd), code);
	assert_non_null(strstr(sttcp_server_error(server), name));
	assert_int_equal(is_open(fd), open);
	assert_int_equal(fcntl(fd, F_GETFL), flags);
	assert_int_equal(is_cloexec(fd), cloexec);
}

static void descriptor_that_is_no_listener_is_refused(void **state)
{
	struct sockaddr_in loopback = {.sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_un unnamed = {.sun_family = AF_UNIX};
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);
	int pipe_ends[2];
	int pair[2];
	int port;
	int bound = peer_refuse(&port);
	int plain = socket(AF_INET, SOCK_STREAM, 0);
	int datagram = socket(AF_INET, SOCK_DGRAM, 0);
	int packets = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	int closed = dup(0);
	int by_path = open("/", O_PATH);

	(void)state;
	assert_int_equal(pipe(pipe_ends), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(bind(datagram, (struct sockaddr *)&loopback, sizeof(loopback)), 0);
	assert_int_equal(bind(packets, (struct sockaddr *)&unnamed, sizeof(sa_family_t)), 0);
	assert_int_equal(listen(packets, 8), 0);
	close(closed);

	expect_refused(server, -1, -EBADF);
	expect_refused(server, -1000, -EBADF);
	expect_refused(server, closed, -EBADF);
	expect_refused(server, by_path, -EBADF);
	expect_refused(server, pipe_ends[0], -EINVAL);
	expect_refused(server, pair[0], -EINVAL);
	expect_refused(server, bound, -EINVAL);
	expect_refused(server, plain, -EINVAL);
	expect_refused(server, datagram, -EINVAL);
	expect_refused(server, packets, -EINVAL);
	assert_int_equal(sttcp_server_add_listener(NULL, bound), -EINVAL);

	/* None of them was added, and none is closed. */
	assert_int_equal(sttcp_server_start(server), 0);
	assert_null(sttcp_server_address(server, 1));
	sttcp_server_free(server);
	const int all[] = {pipe_ends[0], pipe_ends[1], pair[0], pair[1], bound,
			   plain,	 datagram,     packets, by_path};
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		assert_int_equal(close(all[i]), 0);
}

/* It would be closed twice. */
static void descriptor_is_adopted_once(void **state)
{
	int port;
	int fd = peer_listen(&port, 8);
	struct probe *probe = probe_new();
	sttcp_server *server = probe_adopt(probe, fd, NULL);

	(void)state;
	assert_int_equal(sttcp_server_add_listener(server, fd), -EEXIST);
	/* The same socket by another descriptor is fine. */
	assert_int_equal(sttcp_server_add_listener(server, dup(fd)), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	assert_string_equal(sttcp_server_address(server, 0), sttcp_server_address(server, 1));
	for (int i = 0; i < 20; i++)
		assert_true(peer_is_answered(peer_connect(port)));
	assert_int_equal(sttcp_server_add_listener(server, fd), -EBUSY);
	sttcp_server_free(server);
	assert_int_equal(peer_connect(port), -1);
	probe_free(probe);
}

static void listener_is_added_only_while_stopped(void **state)
{
	int port;
	int fd = peer_listen(&port, 8);
	struct probe *probe = probe_new();
	sttcp_server *server = probe_listen(probe, NULL);

	(void)state;
	expect_refused(server, fd, -EBUSY);
	assert_false(is_nonblocking(fd));
	assert_int_equal(sttcp_server_stop(server), 0);
	assert_int_equal(sttcp_server_add_listener(server, fd), 0);
	assert_int_equal(sttcp_server_start(server), 0);
	int peer = peer_connect(port);
	assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
	peer_close(peer);
	sttcp_server_free(server);
	probe_free(probe);
}

/* Those of a listener of the server's own, which the connection inherits there. */
static void connections_have_the_servers_options(void **state)
{
	const bool nagle[] = {false, true};

	(void)state;
	for (int i = 0; i < 2; i++) {
		int port;
		int fd = peer_listen(&port, 8);
		struct probe *probe = probe_new();
		sttcp_server *server = probe_adopt(
			probe, fd, STTCP_OPTIONS(.nagle = nagle[i], .dead_peer_timeout_ms = 90000));

		assert_int_equal(sttcp_server_start(server), 0);
		int peer = peer_connect(port);
		assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
		sttcp_conn *conn = NULL;
		EVENTUALLY((conn = sttcp_server_find(server, probe_last_id(probe))));
		int used = sttcp_conn_fd(conn);
		assert_int_equal(option_of(used, IPPROTO_TCP, TCP_NODELAY), !nagle[i]);
		assert_int_equal(option_of(used, SOL_SOCKET, SO_KEEPALIVE), 1);
		assert_int_equal(option_of(used, IPPROTO_TCP, TCP_KEEPINTVL), 30);
		assert_true(is_nonblocking(used));
		assert_true(is_cloexec(used));
		/* The listener, which others may use, stays as it was. */
		assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_NODELAY), 0);
		assert_int_equal(option_of(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
		sttcp_conn_unref(conn);
		peer_close(peer);
		sttcp_server_free(server);
		probe_free(probe);
	}
}

/* --------------------------------------------------------------------- freeing */

static void free_closes_it(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		int port;
		int fd = peer_listen(&port, 8);
		struct probe *probe = probe_new();
		sttcp_server *server = probe_adopt(probe, fd, NULL);

		if (i > 0)
			assert_int_equal(sttcp_server_start(server), 0);
		if (i > 1)
			assert_int_equal(sttcp_server_stop(server), 0);
		sttcp_server_free(server);
		assert_false(is_open(fd));
		assert_int_equal(peer_connect(port), -1);
		probe_free(probe);
	}
}

static struct event freed = EVENT_INIT;

static bool free_server(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	sttcp_server_free(sttcp_conn_server(conn));
	return true;
}

struct adoption {
	int fd;
	bool was_open;
};

static void note_freed(struct probe *probe)
{
	struct adoption *adoption = probe->extra;

	adoption->was_open = is_open(adoption->fd);
	event_raise(&freed);
}

/* Before the release function is called. */
static void free_in_a_handler_closes_it(void **state)
{
	int port;
	int fd = peer_listen(&port, 8);
	struct probe *probe = probe_new();
	struct adoption adoption = {.fd = fd, .was_open = true};

	(void)state;
	probe->extra = &adoption;
	probe->connection = free_server;
	probe->release = note_freed;
	sttcp_server *server = probe_adopt(probe, fd, NULL);
	assert_int_equal(sttcp_server_start(server), 0);
	int peer = peer_connect(port);
	assert_true(event_wait(&freed, 1));
	assert_false(adoption.was_open);
	assert_int_equal(peer_connect(port), -1);
	peer_close(peer);
	EVENTUALLY(probe_is_released(probe));
	probe_free(probe);
}

/* Whoever holds a reference to a connection does not keep it open. */
static void reference_to_a_connection_does_not_keep_it(void **state)
{
	int port;
	int fd = peer_listen(&port, 8);
	struct probe *probe = probe_new();
	sttcp_server *server = probe_adopt(probe, fd, NULL);

	(void)state;
	assert_int_equal(sttcp_server_start(server), 0);
	int peer = peer_connect(port);
	assert_true(probe_wait(probe, STTCP_CONNECTION, 1));
	sttcp_conn *conn = NULL;
	EVENTUALLY((conn = sttcp_server_find(server, probe_last_id(probe))));
	sttcp_server_free(server);
	assert_false(is_open(fd));
	sttcp_conn_unref(conn);
	peer_close(peer);
	probe_free(probe);
}

/* A socket file is of whoever has bound it. */
static void file_of_an_adopted_listener_stays(void **state)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char dir[] = "/tmp/sttcp-XXXXXX";
	struct stat status;
	struct probe *probe = probe_new();
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char host[128];

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/socket", dir);
	snprintf(host, sizeof(host), "unix:%s", addr.sun_path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 8), 0);
	sttcp_server *server = probe_adopt(probe, fd, NULL);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(sttcp_server_start(server), 0);
		assert_string_equal(sttcp_server_address(server, 0), host);
		assert_true(peer_is_answered(peer_connect_unix(addr.sun_path)));
		assert_int_equal(sttcp_server_stop(server), 0);
		assert_int_equal(stat(addr.sun_path, &status), 0);
	}
	sttcp_server_free(server);
	assert_int_equal(stat(addr.sun_path, &status), 0);
	assert_int_equal(unlink(addr.sun_path), 0);
	assert_int_equal(rmdir(dir), 0);
	probe_free(probe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(adopted_listener_is_served),
		cmocka_unit_test(adopted_listener_stands_beside_addresses),
		cmocka_unit_test(descriptor_that_is_no_listener_is_refused),
		cmocka_unit_test(descriptor_is_adopted_once),
		cmocka_unit_test(listener_is_added_only_while_stopped),
		cmocka_unit_test(connections_have_the_servers_options),
		cmocka_unit_test(free_closes_it),
		cmocka_unit_test(free_in_a_handler_closes_it),
		cmocka_unit_test(reference_to_a_connection_does_not_keep_it),
		cmocka_unit_test(file_of_an_adopted_listener_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
