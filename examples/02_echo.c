/* SPDX-License-Identifier: MIT */
/*
 * The shortest complete server: it sends back what it receives, until Ctrl+C. No
 * handler is required, so it sets only the one that it needs. One check covers
 * all calls: setting a handler on a new server cannot fail, and after a failed
 * start the server holds a sentence that says why.
 *
 * Usage: 02_echo [PORT]. Try it with "nc 127.0.0.1 7000".
 */
#include <stdio.h>
#include <stdlib.h>
#include <sttcp.h>
static void echo(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)context, sttcp_conn_send(conn, data, size);
}
int main(int argc, char **argv)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", argc > 1 ? atoi(argv[1]) : 7000, NULL);
	if (sttcp_server_on_receive(server, echo) < 0 || sttcp_server_start(server) < 0 ||
	    sttcp_server_keep_alive(server) < 0)
		return fprintf(stderr, "%s\n", sttcp_server_error(server)) != 0;
	sttcp_server_free(server);
}
