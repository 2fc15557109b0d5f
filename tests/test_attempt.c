/* SPDX-License-Identifier: MIT */
/* A client's attempt (G3, G14): what may happen to its socket. This program's own connect stands in
 * front of the C library's, so that what is rare comes every time. */
#include "support/faults.h"
#include "support/support.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

/* ------------------------------------------------------------------- connect */

static enum {
	PLAIN,
	LOOPED,		/* the client's end is the address that it connects to */
	LOOPED_AT_ONCE, /* and connect waits for it */
	NEIGHBOUR	/* only its port is that, on another address of this machine */
} how;

static atomic_int looped;
static atomic_int connects;

static int loop_back(int fd, any_const_address addr, socklen_t len)
{
	struct pollfd entry = {.fd = fd, .events = POLLOUT};

	if (bind(fd, addr, len) < 0)
		return -1;
	int result = real_connect(fd, addr, len);

	if (result < 0 && errno != EINPROGRESS)
		return -1;
	atomic_fetch_add(&looped, 1);
	if (how == LOOPED)
		return result;
	return poll(&entry, 1, DEADLINE_MS) == 1 ? 0 : -1;
}

/* Before a connect, for the test that wants to do something first. */
static struct event held = EVENT_INIT;
static struct event released = EVENT_INIT;
static atomic_bool holds;

static int connect_as_told(int fd, any_const_address addr, socklen_t len)
{
	const struct sockaddr *where = ADDRESS_IN(addr);

	atomic_fetch_add(&connects, 1);
	if (atomic_exchange(&holds, false)) {
		event_raise(&held);
		event_wait(&released, event_count(&held));
	}
	if (how == PLAIN || where->sa_family == AF_UNSPEC)
		return real_connect(fd, addr, len);
	if (how != NEIGHBOUR)
		return loop_back(fd, addr, len);

	struct sockaddr_in from = *(const struct sockaddr_in *)(const void *)where;

	from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
	if (bind(fd, (struct sockaddr *)&from, sizeof(from)) < 0)
		return -1;
	return real_connect(fd, addr, len);
}

static void expect_refused(const char *host)
{
	struct probe *probe = probe_new();
	sttcp_client *client = probe_client(probe, host, free_port(), NULL);
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
	int port = free_port();
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
	int port = free_port(); /* on both */
	struct probe *serving = probe_new();
	struct probe *calling = probe_new();
	sttcp_server *server = probe_server(serving, "127.0.0.1", port, NULL);
	char text[64];

	(void)state;
	assert_int_equal(sttcp_server_start(server), 0);
	how = NEIGHBOUR;
	sttcp_client *client = probe_dial(calling, port, NULL);
	assert_true(probe_wait(calling, STTCP_CONNECTION, 1));
	assert_true(probe_wait(serving, STTCP_CONNECTION, 1));
	how = PLAIN;
	sttcp_conn *conn = client_conn(client);
	snprintf(text, sizeof(text), "127.0.0.2:%d", port);
	assert_string_equal(sttcp_conn_local_address(conn), text);
	sttcp_conn_unref(conn);
	sttcp_client_free(client);
	sttcp_server_free(server);
	probe_free(calling);
	probe_free(serving);
}

/* ------------------------------------------------- a Unix socket that is busy */

/* A listener whose queue is full, and the client that waits for it. */
struct busy {
	char dir[32];
	char path[64];
	char host[80];
	int listener;
	int filler;
	struct probe *probe;
	sttcp_client *client;
};

/* Once the client has found no place three times. */
static void open_busy(struct busy *busy, int limit_ms)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	snprintf(busy->dir, sizeof(busy->dir), "/tmp/sttcp-XXXXXX");
	assert_non_null(mkdtemp(busy->dir));
	snprintf(busy->path, sizeof(busy->path), "%s/socket", busy->dir);
	snprintf(busy->host, sizeof(busy->host), "unix:%s", busy->path);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", busy->path);
	busy->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(busy->listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(busy->listener, 0), 0);
	busy->filler = peer_connect_unix(busy->path);
	assert_true(busy->filler >= 0);
	busy->probe = probe_new();
	busy->client = probe_client(busy->probe, busy->host, 0,
				    STTCP_OPTIONS(.connect_timeout_ms = limit_ms));
	atomic_store(&connects, 0);
	assert_int_equal(sttcp_client_start(busy->client), 0);
	EVENTUALLY(atomic_load(&connects) >= 3);
	assert_string_equal(probe_order(busy->probe), "");
}

static void close_busy(struct busy *busy)
{
	sttcp_client_free(busy->client);
	probe_free(busy->probe);
	peer_close(busy->filler);
	peer_close(busy->listener);
	unlink(busy->path);
	assert_int_equal(rmdir(busy->dir), 0);
}

/* As TCP does, it waits for a place in the queue. */
static void full_unix_socket_is_waited_for(void **state)
{
	const int limits[] = {0, -1};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct busy busy;

		open_busy(&busy, limits[i]);
		int first = peer_accept(busy.listener);
		int second = peer_accept(busy.listener);
		assert_true(second >= 0);
		assert_true(probe_wait(busy.probe, STTCP_CONNECTION, 1));
		assert_true(peer_say(second, "hello"));
		assert_true(probe_wait_bytes(busy.probe, 5));
		peer_close(second);
		peer_close(first);
		assert_true(probe_wait(busy.probe, STTCP_DISCONNECTION, 1));
		close_busy(&busy);
	}
}

/* The limit ends it, and it does not go round meanwhile. */
static void full_unix_socket_ends_by_the_limit(void **state)
{
	struct busy busy;
	int64_t from = now_ms();

	(void)state;
	open_busy(&busy, 500);
	assert_true(probe_wait(busy.probe, STTCP_UNCONNECTED, 1));
	assert_true(now_ms() - from >= 490);
	assert_int_equal(probe_reason(busy.probe), STTCP_ETIME_CONNECT);
	assert_true(atomic_load(&connects) <= 2 + 12); /* the filler's, and one a step */
	close_busy(&busy);
}

static void full_unix_socket_is_given_up(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct busy busy;

		open_busy(&busy, -1);
		if (i == 0)
			assert_int_equal(sttcp_client_close(busy.client), 0);
		else
			assert_int_equal(sttcp_client_start(busy.client), -EBUSY);
		sttcp_client_free(busy.client);
		assert_string_equal(probe_order(busy.probe), "uU");
		assert_int_equal(probe_reason(busy.probe), STTCP_EDESTROYED);
		busy.client = NULL;
		close_busy(&busy);
	}
}

/* Its server goes away meanwhile. */
static void full_unix_socket_that_goes_away_is_refused(void **state)
{
	struct busy busy;

	(void)state;
	open_busy(&busy, -1);
	peer_close(busy.listener);
	busy.listener = -1;
	assert_true(probe_wait(busy.probe, STTCP_UNCONNECTED, 1));
	assert_int_equal(probe_reason(busy.probe), -ECONNREFUSED);
	close_busy(&busy);
}

static bool hang_up(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	(void)conn;
	return false;
}

/* A server that takes two at a time, and a burst of clients. */
static void burst_on_a_unix_socket_is_served(void **state)
{
	enum {
		CLIENTS = 24
	};
	char dir[] = "/tmp/sttcp-XXXXXX";
	char host[64];
	struct probe *serving = probe_new();
	struct probe *calling = probe_new();
	sttcp_client *clients[CLIENTS];

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(host, sizeof(host), "unix:%s/socket", dir);
	sttcp_server *server =
		probe_server(serving, host, 0, STTCP_OPTIONS(.max_connections = 2, .backlog = 1));
	assert_int_equal(sttcp_server_start(server), 0);
	calling->connection = hang_up;
	for (int i = 0; i < CLIENTS; i++) {
		clients[i] = probe_client(calling, host, 0, NULL);
		assert_int_equal(sttcp_client_start(clients[i]), 0);
	}
	for (int i = 0; i < CLIENTS; i++) {
		assert_int_equal(sttcp_client_wait(clients[i], DEADLINE_MS), 0);
		sttcp_client_free(clients[i]);
	}
	assert_int_equal(probe_count(calling, STTCP_CONNECTION), CLIENTS);
	sttcp_server_free(server);
	assert_int_equal(rmdir(dir), 0);
	probe_free(calling);
	probe_free(serving);
}

/* ------------------------------------------------------------- relative paths */

/* A server and a client of a relative path, in a directory of their own. */
struct relative {
	char dir[32];
	char *home;
	struct probe *serving, *calling;
	sttcp_server *server;
	sttcp_client *client;
};

static void relative_open(struct relative *relative, const sttcp_options *options)
{
	*relative = (struct relative){.dir = "/tmp/sttcp-XXXXXX",
				      .home = getcwd(NULL, 0),
				      .serving = probe_new(),
				      .calling = probe_new()};
	assert_non_null(relative->home);
	assert_non_null(mkdtemp(relative->dir));
	assert_int_equal(chdir(relative->dir), 0);
	relative->server = probe_server(relative->serving, "unix:socket", 0, NULL);
	relative->client = probe_client(relative->calling, "unix:socket", 0, options);
	assert_int_equal(sttcp_server_start(relative->server), 0);
}

/* The first attempt begins when the directory is another one by now. */
static void relative_start(struct relative *relative)
{
	assert_int_equal(chdir(relative->dir), 0);
	atomic_store(&holds, true);
	assert_int_equal(sttcp_client_start(relative->client), 0);
	assert_true(event_wait(&held, event_count(&released) + 1));
	assert_int_equal(chdir("/"), 0);
	event_raise(&released);
}

static void relative_close(struct relative *relative)
{
	sttcp_client_free(relative->client);
	sttcp_server_free(relative->server);
	assert_int_equal(rmdir(relative->dir), 0);
	assert_int_equal(chdir(relative->home), 0);
	free(relative->home);
	probe_free(relative->calling);
	probe_free(relative->serving);
}

/* A relative path is meant as it was at the start, wherever the program goes then; the address is
 * told as it was given. */
static void relative_path_is_that_of_the_start(void **state)
{
	struct relative relative;

	(void)state;
	relative_open(&relative, NULL);
	for (int i = 1; i <= 2; i++) {
		relative_start(&relative);
		assert_true(probe_wait(relative.calling, STTCP_CONNECTION, i));
		sttcp_conn *conn = client_conn(relative.client);
		assert_string_equal(sttcp_conn_address(conn), "unix:socket");
		sttcp_conn_unref(conn);
		assert_int_equal(sttcp_client_close(relative.client), 0);
	}
	relative_close(&relative);
}

static bool refuse_first(struct probe *probe, sttcp_conn *conn)
{
	(void)conn;
	return probe_count(probe, STTCP_CONNECTION) > 0;
}

/* A daemon changes it after its start. */
static void relative_path_is_that_of_the_start_also_later(void **state)
{
	struct relative relative;

	(void)state;
	relative_open(&relative, STTCP_OPTIONS(.reconnect_ms = 1, .reconnect_max_ms = 1));
	relative.serving->connection = refuse_first;
	relative_start(&relative);
	assert_true(probe_wait(relative.serving, STTCP_CONNECTION, 2));
	assert_int_equal(probe_count(relative.calling, STTCP_UNCONNECTED), 0);
	relative_close(&relative);
}

static bool start_again(struct probe *probe, sttcp_conn *conn)
{
	(void)probe;
	assert_int_equal(sttcp_client_start(sttcp_conn_client(conn)), -EBUSY);
	return true;
}

/* A start that is refused moves nothing. */
static void relative_path_is_that_of_the_start_that_succeeded(void **state)
{
	struct relative relative;

	(void)state;
	relative_open(&relative, STTCP_OPTIONS(.reconnect_ms = 1, .reconnect_max_ms = 1));
	relative.serving->connection = refuse_first;
	relative.calling->connection = start_again;
	relative_start(&relative);
	assert_true(probe_wait(relative.serving, STTCP_CONNECTION, 2));
	assert_int_equal(probe_count(relative.calling, STTCP_UNCONNECTED), 0);
	relative_close(&relative);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(connection_to_itself_is_refused),
		cmocka_unit_test(connection_to_itself_leaves_the_port),
		cmocka_unit_test(same_port_on_another_address_connects),
		cmocka_unit_test(full_unix_socket_is_waited_for),
		cmocka_unit_test(full_unix_socket_ends_by_the_limit),
		cmocka_unit_test(full_unix_socket_is_given_up),
		cmocka_unit_test(full_unix_socket_that_goes_away_is_refused),
		cmocka_unit_test(burst_on_a_unix_socket_is_served),
		cmocka_unit_test(relative_path_is_that_of_the_start),
		cmocka_unit_test(relative_path_is_that_of_the_start_also_later),
		cmocka_unit_test(relative_path_is_that_of_the_start_that_succeeded),
	};

	atomic_store(&stand_in_connect, connect_as_told);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
