/* SPDX-License-Identifier: MIT */
/* A client's attempt (G3, G14): what may happen to its socket. This program's own connect stands in
 * front of the C library's, so that what is rare comes every time. */
#include "support/support.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

/* ------------------------------------------------------------------- connect */

static enum {
	PLAIN,
	LOOPED,		/* the client's end is the address that it connects to */
	LOOPED_AT_ONCE, /* and connect waits for it */
	NEIGHBOUR	/* only its port is that, on another address of this machine */
} how;

static atomic_int looped;

static int loop_back(int fd, const struct sockaddr *addr, socklen_t len)
{
	struct pollfd entry = {.fd = fd, .events = POLLOUT};

	if (bind(fd, addr, len) < 0)
		return -1;
	int result = (int)syscall(SYS_connect, fd, addr, len);

	if (result < 0 && errno != EINPROGRESS)
		return -1;
	atomic_fetch_add(&looped, 1);
	if (how == LOOPED)
		return result;
	return poll(&entry, 1, DEADLINE_MS) == 1 ? 0 : -1;
}

int connect(int fd, __CONST_SOCKADDR_ARG addr, socklen_t len)
{
	const struct sockaddr *where = addr.__sockaddr__;

	if (how == PLAIN || where->sa_family == AF_UNSPEC)
		return (int)syscall(SYS_connect, fd, where, len);
	if (how != NEIGHBOUR)
		return loop_back(fd, where, len);

	struct sockaddr_in from = *(const struct sockaddr_in *)(const void *)where;

	from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
	if (bind(fd, (struct sockaddr *)&from, sizeof(from)) < 0)
		return -1;
	return (int)syscall(SYS_connect, fd, where, len);
}

/* A port of this host that nobody has. */
static int free_port(const char *host)
{
	struct probe *probe = probe_new();
	sttcp_server *server = probe_server(probe, host, 0, NULL);

	assert_int_equal(sttcp_server_start(server), 0);
	int port = sttcp_server_port(server);
	sttcp_server_free(server);
	probe_free(probe);
	return port;
}

static void expect_refused(const char *host)
{
	struct probe *probe = probe_new();
	sttcp_client *client = probe_client(probe, host, free_port(host), NULL);
	int before = atomic_load(&looped);

	assert_int_equal(sttcp_client_start(client), 0);
	assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), -ECONNREFUSED);
	assert_int_equal(atomic_load(&looped), before + 1);
	assert_string_equal(probe_order(probe), "uU");
	assert_int_equal(probe_reason(probe), -ECONNREFUSED);
	/* A server may come back to its port at once. */
	how = PLAIN;
	sttcp_client_free(client);
	probe_free(probe);
}

/* Where nobody listens on a port of this machine, the kernel may choose that very port for the
 * client's end: such a connection leads nowhere. */
static void connection_to_itself_is_refused(void **state)
{
	(void)state;
	for (int round = 0; round < 3; round++) {
		how = LOOPED;
		expect_refused("127.0.0.1");
		how = LOOPED_AT_ONCE;
		expect_refused("127.0.0.1");
	}
	if (!have_ipv6())
		return;
	how = LOOPED;
	expect_refused("::1");
	how = LOOPED_AT_ONCE;
	expect_refused("::1");
}

/* The port of such a connection is not held by its end: a server that comes back gets it. */
static void connection_to_itself_leaves_the_port(void **state)
{
	struct probe *probe = probe_new();
	int port = free_port("127.0.0.1");
	sttcp_client *client = probe_client(probe, "127.0.0.1", port, NULL);
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_port = htons((uint16_t)port),
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	(void)state;
	how = LOOPED;
	assert_int_equal(sttcp_client_start(client), 0);
	assert_int_equal(sttcp_client_wait(client, DEADLINE_MS), -ECONNREFUSED);
	how = PLAIN;
	/* Without SO_REUSEADDR: not even TIME_WAIT is left. */
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	peer_close(fd);
	sttcp_client_free(client);
	probe_free(probe);
}

/* A client that has the server's port on another address of this machine is no such thing. */
static void same_port_on_another_address_connects(void **state)
{
	struct probe *serving = probe_new();
	struct probe *calling = probe_new();
	sttcp_server *server = probe_listen(serving, NULL);
	char text[64];

	(void)state;
	how = NEIGHBOUR;
	sttcp_client *client = probe_dial(calling, sttcp_server_port(server), NULL);
	assert_true(probe_wait(calling, STTCP_CONNECTION, 1));
	assert_true(probe_wait(serving, STTCP_CONNECTION, 1));
	how = PLAIN;
	sttcp_conn *conn = client_conn(client);
	snprintf(text, sizeof(text), "127.0.0.2:%d", sttcp_server_port(server));
	assert_string_equal(sttcp_conn_local_address(conn), text);
	sttcp_conn_unref(conn);
	sttcp_client_free(client);
	sttcp_server_free(server);
	probe_free(calling);
	probe_free(serving);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(connection_to_itself_is_refused),
		cmocka_unit_test(connection_to_itself_leaves_the_port),
		cmocka_unit_test(same_port_on_another_address_connects),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
