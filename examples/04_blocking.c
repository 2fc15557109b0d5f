/* SPDX-License-Identifier: MIT */
/*
 * A handler that blocks, without delaying any other connection. Every byte is a
 * request: a digit from 1 to 9 sleeps that many seconds, anything else takes no
 * time, and each byte is sent back when its work is done. Open several terminals
 * and let some of them sleep: the others are answered at once, and new
 * connections are accepted. Within one connection requests are handled in
 * sequence: what follows a digit waits until its sleep is over.
 *
 * The sleep stands for anything that blocks a thread: a database query, a file, a
 * lock, a call to another server.
 *
 * Usage: 04_blocking [PORT]. Port 0 lets the kernel choose.
 */
#include <stdio.h>
#include <stdlib.h>
#include <threads.h>
#include <time.h>

#include <sttcp.h>

static void work(char request)
{
	if (request >= '1' && request <= '9')
		thrd_sleep(&(struct timespec){.tv_sec = request - '0'}, NULL);
}

static void serve(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	const char *requests = data;

	(void)context;
	for (size_t i = 0; i < size && sttcp_conn_is_open(conn); i++) {
		work(requests[i]);
		sttcp_conn_send(conn, &requests[i], 1);
	}
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);

	sttcp_server *server = sttcp_server_new("127.0.0.1", argc > 1 ? atoi(argv[1]) : 7000, NULL);

	bool started =
		sttcp_server_on_receive(server, serve) == 0 && sttcp_server_start(server) == 0;

	if (started) {
		printf("listening on %d\n", sttcp_server_port(server));
		sttcp_server_keep_alive(server);
	} else {
		fprintf(stderr, "%s\n", sttcp_server_error(server));
	}
	sttcp_server_free(server);
	return started ? EXIT_SUCCESS : EXIT_FAILURE;
}
