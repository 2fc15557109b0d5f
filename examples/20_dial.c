/* SPDX-License-Identifier: MIT */
/*
 * A client for the command line as one function, without a callback: it dials,
 * sends each of its arguments as a line, and prints the answer. What has gone
 * wrong is a sentence. Before it ends it waits for its server, so that all that
 * was sent has arrived.
 *
 * Usage: 20_dial HOST PORT LINE... Try it with 07_lines.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sttcp.h>

int main(int argc, char **argv)
{
	char line[1024];
	ssize_t size = 0;
	sttcp_conn *conn = sttcp_dial(
		argc > 1 ? argv[1] : "", argc > 2 ? atoi(argv[2]) : 0,
		STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE, .connect_timeout_ms = 5000), NULL);

	if (!conn)
		return fprintf(stderr, "%s\n", sttcp_dial_error()) != 0;
	for (int i = 3; i < argc && size >= 0; i++) {
		sttcp_conn_send_message(conn, argv[i], strlen(argv[i]));
		size = sttcp_conn_recv_message(conn, line, sizeof(line), 5000);
		if (size >= 0)
			printf("%.*s\n", (int)size, line);
	}
	if (size < 0)
		fprintf(stderr, "%s\n", sttcp_strerror((int)size));
	sttcp_conn_shutdown(conn);
	while (sttcp_conn_recv(conn, line, sizeof(line), 5000) > 0)
		;
	sttcp_conn_unref(conn); /* the last reference: it is closed */
	return size < 0;
}
