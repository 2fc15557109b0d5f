/* SPDX-License-Identifier: MIT */
/* What test_valgrind.sh runs: a server and clients that speak in messages, handlers that block on
 * the loop and in the pool, a peer that never reads, data with a free function. Then everything is
 * freed. "shutdown": what still lingers is closed with the engine; "leave": main returns with the
 * engine at rest. */
#include <sttcp.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	CLIENTS = 6
};

static void need(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "program: %s\n", what);
	exit(2);
}

static void nap_ms(int ms)
{
	struct timespec nap = {0, ms * 1000000L};

	nanosleep(&nap, NULL);
}

static bool have_data(sttcp_conn *conn, void *context)
{
	(void)context;
	sttcp_conn_set_data(conn, malloc(100), free);
	return true;
}

static void answer(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)context;
	nap_ms(5);
	if (size >= 4 && memcmp(data, "much", 4) == 0) {
		char *much = calloc(1, 600000);

		sttcp_conn_try_send(conn, much, 600000);
		sttcp_conn_try_send(conn, much, 400000);
		free(much);
		return;
	}
	if (size >= 4 && memcmp(data, "fail", 4) == 0)
		sttcp_conn_fail(conn, 0, "as %s", "told");
	sttcp_conn_send_message(conn, data, size);
}

static bool ask(sttcp_conn *conn, void *context)
{
	(void)context;
	for (int i = 0; i < 3; i++)
		sttcp_conn_send_message(conn, "what is held of a message", 25);
	return sttcp_conn_send_message(conn, "fail", 4) == 0;
}

static bool hear(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)conn;
	(void)context;
	return data && size;
}

static void run_clients(const sttcp_server *server)
{
	sttcp_client *clients[CLIENTS];

	for (int i = 0; i < CLIENTS; i++) {
		clients[i] = sttcp_client_new(i % 2 ? "localhost" : "127.0.0.1",
					      sttcp_server_port(server),
					      STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE));
		sttcp_client_on_connection(clients[i], ask);
		sttcp_client_on_response(clients[i], hear);
		need(sttcp_client_start(clients[i]) == 0, "a client does not start");
	}
	for (int i = 0; i < CLIENTS; i++) {
		need(sttcp_client_wait(clients[i], 60000) == 0, "a client does not end");
		sttcp_client_free(clients[i]);
	}
}

/* Asks for much and reads nothing. */
static int deaf_peer(const sttcp_server *server)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_port = htons((uint16_t)sttcp_server_port(server)),
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	int small = 4096;

	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	need(connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0, "no connection");
	need(send(fd, "much\n", 5, 0) == 5, "nothing to be sent");
	return fd;
}

int main(int argc, char **argv)
{
	bool leaves = argc > 1 && strcmp(argv[1], "leave") == 0;
	sttcp_server *server = sttcp_server_new(
		"127.0.0.1", 0,
		STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE, .idle_timeout_ms = 60000));

	sttcp_server_on_connection(server, have_data);
	sttcp_server_on_receive(server, answer);
	need(sttcp_server_start(server) == 0, "the server does not start");
	run_clients(server);

	int peer = deaf_peer(server);
	sttcp_stats stats = {0};

	for (int i = 0; i < 5000 && stats.messages_in < CLIENTS * 4 + 1; i++) {
		nap_ms(2);
		sttcp_server_stats(server, &stats, sizeof(stats));
	}
	if (leaves)
		close(peer);
	need(sttcp_server_stop_within(server, leaves ? -1 : 0, NULL) == 0, "no stop");
	sttcp_server_free(server);
	if (leaves)
		return 0;
	need(sttcp_engine_shutdown() == 0, "the engine does not end");
	close(peer);
	return 0;
}
