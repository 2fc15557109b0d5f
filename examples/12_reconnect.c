/* SPDX-License-Identifier: MIT */
/*
 * A client that survives its server: it sends each line of its input as a
 * question, and prints the answer. When the connection is lost, the option
 * reconnect_ms makes a new one, as often as it takes, with growing waits. What
 * was sent on a lost connection may have arrived or not, so the connection
 * handler asks the open question again: nothing is lost, but the server may see
 * a question twice.
 *
 * An answer that does not come in time ends the connection, too (idle timeout).
 * A program that sends from its own threads uses sttcp_client_send, which waits
 * for an open connection.
 *
 * Usage: 12_reconnect [PORT]. Start 07_lines or 02_echo, end it, start it again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sttcp.h>

enum {
	LONGEST = 1000,
	ANSWER_MS = 5000
};

/* Handlers run one at a time, those of the next connection after those of the one before: no
 * lock. */
struct question {
	char text[LONGEST];
};

/* The next line of the input, without its end. */
static bool read_question(struct question *question)
{
	if (!fgets(question->text, sizeof(question->text), stdin))
		return false;
	question->text[strcspn(question->text, "\n")] = '\0';
	return true;
}

static bool ask(sttcp_conn *conn, void *context)
{
	const struct question *question = context;

	/* If the connection is lost here, the next one asks again. */
	sttcp_conn_send_message(conn, question->text, strlen(question->text));
	return true;
}

/* False ends the connection for good: what the program itself ends is not connected again. */
static bool take_answer(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	printf("%.*s\n", (int)size, (const char *)data);
	return read_question(context) && ask(conn, context);
}

/* With reason 0 the end was asked for here, or the server has closed. */
static void tell_end(sttcp_conn *conn, int reason, void *context)
{
	(void)context;
	fprintf(stderr, "%s ended: %s\n", sttcp_conn_address(conn), sttcp_strerror(reason));
}

static int prepare(sttcp_client *client, struct question *question)
{
	int code = sttcp_client_set_context(client, question);

	if (code == 0)
		code = sttcp_client_on_connection(client, ask);
	if (code == 0)
		code = sttcp_client_on_response(client, take_answer);
	if (code == 0)
		code = sttcp_client_on_disconnection(client, tell_end);
	if (code == 0)
		code = sttcp_client_on_unconnected(client, tell_end);
	return code;
}

int main(int argc, char **argv)
{
	struct question question;
	sttcp_client *client = sttcp_client_new(
		"127.0.0.1", argc > 1 ? atoi(argv[1]) : 7000,
		STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE, .reconnect_ms = 100,
			      .reconnect_max_ms = 5000, .idle_timeout_ms = ANSWER_MS));

	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
	int code = prepare(client, &question);

	if (code == 0 && read_question(&question)) {
		code = sttcp_client_start(client);
		if (code == 0)
			code = sttcp_client_wait(client, -1);
	}
	sttcp_client_free(client); /* from here on no handler runs */
	if (code < 0)
		fprintf(stderr, "%s\n", sttcp_strerror(code));
	return code < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
