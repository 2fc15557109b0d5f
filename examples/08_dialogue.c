/* SPDX-License-Identifier: MIT */
/*
 * A dialogue as one function: the connection handler asks for a name and a
 * password, and reads the answers right there with sttcp_conn_recv_message. It
 * waits as long as its guest does, and delays no other connection. False
 * declines: output is flushed, and no other handler runs. After true each further
 * line goes to the receive handler as usual.
 *
 * Usage: 08_dialogue [PORT]. Port 0 lets the kernel choose. The password is
 * "sesame".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sttcp.h>

enum {
	NAME_MAX_SIZE = 32,
	ANSWER_MS = 20000 /* for each answer */
};

/* Asks, and reads one line into `answer`: false if it does not come, or is too long. */
static bool ask(sttcp_conn *conn, const char *question, char answer[NAME_MAX_SIZE])
{
	sttcp_conn_send_message(conn, question, strlen(question));

	ssize_t size = sttcp_conn_recv_message(conn, answer, NAME_MAX_SIZE - 1, ANSWER_MS);

	if (size < 0) {
		printf("%s: %s\n", sttcp_conn_address(conn), sttcp_strerror((int)size));
		return false;
	}
	answer[size] = '\0';
	return true;
}

static bool let_in(sttcp_conn *conn, void *context)
{
	char *name = malloc(NAME_MAX_SIZE);
	char password[NAME_MAX_SIZE];

	(void)context;
	sttcp_conn_set_data(conn, name, free); /* also if we decline */
	if (!name || !ask(conn, "Your name?", name) || !ask(conn, "Password?", password))
		return false;
	if (strcmp(password, "sesame") != 0) {
		sttcp_conn_sendf(conn, "No, %s.\n", name);
		return false;
	}
	return sttcp_conn_sendf(conn, "Come in, %s.\n", name) == 0;
}

static void echo(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)context;
	sttcp_conn_sendf(conn, "%s: %.*s\n", (char *)sttcp_conn_data(conn), (int)size,
			 (const char *)data);
}

int main(int argc, char **argv)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", argc > 1 ? atoi(argv[1]) : 7000,
						STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE));

	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
	bool started = sttcp_server_on_connection(server, let_in) == 0 &&
		       sttcp_server_on_receive(server, echo) == 0 &&
		       sttcp_server_start(server) == 0;

	if (!started)
		fprintf(stderr, "%s\n", sttcp_server_error(server));
	else if (printf("listening on %d\n", sttcp_server_port(server)) > 0)
		sttcp_server_keep_alive(server);
	sttcp_server_free(server);
	return started ? EXIT_SUCCESS : EXIT_FAILURE;
}
