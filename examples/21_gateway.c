/* SPDX-License-Identifier: MIT */
/*
 * A gateway: each of its clients gets a connection to a back end of its own, which
 * the connection handler dials. A line is a question, which the back end answers;
 * the receive handler asks it and waits right there, as a function call does. Others
 * are served meanwhile, and a stop by force ends these waits.
 *
 * Usage: 21_gateway PORT HOST PORT-OF-HOST. Port 0 lets the kernel choose. Try it
 * with 07_lines.
 */
#include <stdio.h>
#include <stdlib.h>

#include <sttcp.h>

enum {
	LINE = 1024,
	ANSWER_MS = 5000
};

static const sttcp_options lines = {sizeof(lines), .framing = STTCP_FRAMING_LINE,
				    .max_message = LINE};
static char **words; /* of the command line */

static void hang_up(void *back)
{
	sttcp_conn_unref(back); /* the last reference: it is closed */
}

static bool begin(sttcp_conn *conn, void *context)
{
	sttcp_conn *back = sttcp_dial(words[2], atoi(words[3]), &lines, NULL);

	(void)context;
	if (!back) {
		printf("%s: %s\n", sttcp_conn_address(conn), sttcp_dial_error());
		sttcp_conn_sendf(conn, "Sorry, there is nobody.\n");
		return false;
	}
	sttcp_conn_set_data(conn, back, hang_up);
	return true;
}

static void ask(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	sttcp_conn *back = sttcp_conn_data(conn);
	char answer[LINE];
	ssize_t got;

	(void)context;
	sttcp_conn_send_message(back, data, size);
	got = sttcp_conn_recv_message(back, answer, sizeof(answer), ANSWER_MS);
	if (got >= 0)
		sttcp_conn_send_message(conn, answer, (size_t)got);
	else
		sttcp_conn_fail(conn, (int)got, "the back end: %s", sttcp_strerror((int)got));
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return fprintf(stderr, "usage: %s PORT HOST PORT-OF-HOST\n", argv[0]) != 0;
	words = argv;
	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);

	sttcp_server *server = sttcp_server_new("127.0.0.1", atoi(words[1]), &lines);
	bool started = sttcp_server_on_connection(server, begin) == 0 &&
		       sttcp_server_on_receive(server, ask) == 0 && sttcp_server_start(server) == 0;

	if (!started)
		fprintf(stderr, "%s\n", sttcp_server_error(server));
	else if (printf("listening on %d\n", sttcp_server_port(server)) > 0)
		sttcp_server_keep_alive(server);
	sttcp_server_free(server);
	return started ? EXIT_SUCCESS : EXIT_FAILURE;
}
