/* SPDX-License-Identifier: MIT */
/*
 * Lines without assembling them: with the option framing the receive handler is
 * called once for each line, however its bytes arrived, and gets it without its
 * line ending. sttcp_conn_send_message appends one to the answer. A line over
 * max_message ends its connection with STTCP_ELIMIT, so no peer makes us keep
 * more than that. 05_chat.c does the same by hand.
 *
 * Usage: 07_lines [PORT]. Port 0 lets the kernel choose. Try it with nc.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include <sttcp.h>

enum {
	LONGEST = 200
};

static void answer(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	const unsigned char *line = data;
	char loud[LONGEST];

	(void)context;
	for (size_t i = 0; i < size; i++) /* size is max_message at most */
		loud[i] = (char)toupper(line[i]);
	sttcp_conn_send_message(conn, loud, size);
}

static void tell_reason(sttcp_conn *conn, int reason, void *context)
{
	(void)context;
	if (reason != 0)
		printf("%s ended: %s\n", sttcp_conn_address(conn), sttcp_error_name(reason));
}

int main(int argc, char **argv)
{
	sttcp_server *server = sttcp_server_new(
		"127.0.0.1", argc > 1 ? atoi(argv[1]) : 7000,
		STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE, .max_message = LONGEST));

	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
	bool started = sttcp_server_on_receive(server, answer) == 0 &&
		       sttcp_server_on_disconnection(server, tell_reason) == 0 &&
		       sttcp_server_start(server) == 0;

	if (started) {
		printf("listening on %d\n", sttcp_server_port(server));
		sttcp_server_keep_alive(server);
	} else {
		fprintf(stderr, "%s\n", sttcp_server_error(server));
	}
	sttcp_server_free(server);
	return started ? EXIT_SUCCESS : EXIT_FAILURE;
}
