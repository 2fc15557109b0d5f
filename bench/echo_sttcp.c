/* SPDX-License-Identifier: MIT */
/* The library's echo server, written and linked as a user would. */
#include "echo.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <sttcp.h>
#include <sys/socket.h>
#include <time.h>

static void answer_stats(sttcp_conn *conn)
{
	sttcp_stats stats = {0};

	sttcp_server_stats(sttcp_conn_server(conn), &stats, sizeof(stats));
	sttcp_conn_sendf(conn, "connections=%lld takeovers=%lld threads=%lld blocked=%lld\n",
			 (long long)stats.connections, (long long)stats.takeovers,
			 (long long)stats.threads, (long long)stats.threads_blocked);
}

/* Clients of this very server that come and go. */
__attribute__((__noinline__)) static void make_clients(sttcp_conn *conn, const char *text,
						       size_t size)
{
	int port = sttcp_server_port(sttcp_conn_server(conn));
	int count = 0;

	for (size_t i = 1; i < size && i < 6 && text[i] >= '0' && text[i] <= '9'; i++)
		count = count * 10 + (text[i] - '0');
	while (count-- > 0) {
		sttcp_client *client = sttcp_client_new("127.0.0.1", port, NULL);

		if (sttcp_client_start(client) < 0)
			fprintf(stderr, "%s\n", sttcp_client_error(client));
		sttcp_client_free(client);
	}
	sttcp_conn_send(conn, text, size);
}

/* As much as the queue takes, for a peer that does not read it: small parts and large ones. */
static void fill_queue(sttcp_conn *conn)
{
	static const char parts[16 * 1024];
	const int least = 4096;
	int code = 0;

	setsockopt(sttcp_conn_fd(conn), SOL_SOCKET, SO_SNDBUF, &least, sizeof(least));
	sttcp_conn_send(conn, "full", 4);
	for (size_t i = 0; code == 0; i++)
		code = sttcp_conn_try_send(conn, parts, i % 2 ? sizeof(parts) : 100);
}

/* As much as goes through, until the peer ends it: send waits while the queue is full. */
static void send_on(sttcp_conn *conn)
{
	static const char block[64 * 1024];

	while (sttcp_conn_send(conn, block, sizeof(block)) == 0)
		;
}

static void on_receive(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	const char *text = data;

	(void)context;
	switch (text[0]) {
	case 'b':
		sttcp_server_broadcast(sttcp_conn_server(conn), data, size);
		return;
	case 'r':
		sttcp_server_send_room(sttcp_conn_server(conn), "room", NULL, data, size);
		return;
	case 'j':
		sttcp_conn_join(conn, "room");
		break;
	case 'c':
		make_clients(conn, text, size);
		return;
	case 'f':
		fill_queue(conn);
		return;
	case 'T':
		answer_stats(conn);
		return;
	case 'i':
		return;
	case 'o':
		send_on(conn);
		return;
	default:
		break;
	}
	echo_sleep(text, size);
	sttcp_conn_send(conn, data, size);
}

/* The same as one function: the connection handler. */
static bool talk(sttcp_conn *conn, void *context)
{
	char chunk[1024];
	ssize_t size;

	(void)context;
	while ((size = sttcp_conn_recv(conn, chunk, sizeof(chunk), -1)) > 0) {
		if (chunk[0] == 'T') {
			answer_stats(conn);
			continue;
		}
		echo_sleep(chunk, (size_t)size);
		if (sttcp_conn_send(conn, chunk, (size_t)size) < 0)
			break;
	}
	return true;
}

static void on_line(sttcp_conn *conn, const void *line, size_t size, void *context)
{
	(void)context;
	sttcp_conn_send_message(conn, line, size);
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * (int64_t)1000000000 + now.tv_nsec;
}

/* What the first version of a key-value server does: one lock around all of its data. */
static void on_locked_line(sttcp_conn *conn, const void *line, size_t size, void *context)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

	(void)context;
	pthread_mutex_lock(&lock);
	for (int64_t end = now_ns() + 1000; now_ns() < end;)
		;
	if (echo_lock == ECHO_LOCKED)
		sttcp_conn_send_message(conn, line, size);
	pthread_mutex_unlock(&lock);
	if (echo_lock == ECHO_UNLOCKED)
		sttcp_conn_send_message(conn, line, size);
}

int main(int argc, char **argv)
{
	int port = echo_start(argc, argv);
	sttcp_tls *tls = echo_tls ? sttcp_tls_server(echo_tls, NULL) : NULL;
	sttcp_server *server = sttcp_server_new(
		"127.0.0.1", port,
		STTCP_OPTIONS(.framing = echo_by_line ? STTCP_FRAMING_LINE : STTCP_FRAMING_RAW,
			      .idle_timeout_ms = echo_idle_ms, .send_queue_max = echo_queue_max,
			      .tls = tls, .fibers = echo_fibers));
	int status = 1;

	if (echo_naps)
		echo_nap = sttcp_sleep;

	sttcp_receive_handler handler = echo_lock      ? on_locked_line
					: echo_by_line ? on_line
						       : on_receive;

	if (sttcp_server_on_receive(server, handler) < 0 ||
	    (echo_talks && sttcp_server_on_connection(server, talk) < 0) ||
	    sttcp_server_start(server) < 0) {
		fprintf(stderr, "%s\n", sttcp_server_error(server));
	} else {
		echo_announce(sttcp_server_port(server));
		sttcp_server_keep_alive(server);
		status = 0;
	}
	sttcp_server_free(server);
	sttcp_tls_unref(tls);
	return status;
}
