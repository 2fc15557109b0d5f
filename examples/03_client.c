/* SPDX-License-Identifier: MIT */
/*
 * A client that sends a request and waits. start returns at once, handlers on
 * another thread report the outcome, and main waits for the end with
 * sttcp_client_wait, which returns 0 or the reason of another end. The answer
 * may arrive in any number of chunks, so the response handler counts bytes until
 * the answer is complete; then false ends the connection.
 *
 * Usage: 03_client [PORT [TEXT]]. It expects its TEXT back: start 02_echo first.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sttcp.h>

/* Handlers of one connection run one at a time, and main reads only after the end: no lock. */
struct question {
	const char *text;
	size_t answered;
};

static bool ask(sttcp_conn *conn, void *context)
{
	const struct question *question = context;

	printf("connected to %s\n", sttcp_conn_address(conn));
	return sttcp_conn_send(conn, question->text, strlen(question->text)) == 0;
}

static bool take_answer(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	struct question *question = context;

	(void)conn;
	fwrite(data, 1, size, stdout);
	question->answered += size;
	return question->answered < strlen(question->text);
}

int main(int argc, char **argv)
{
	struct question question = {.text = argc > 2 ? argv[2] : "Is anybody there?"};
	sttcp_client *client = sttcp_client_new("127.0.0.1", argc > 1 ? atoi(argv[1]) : 7000,
						STTCP_OPTIONS(.connect_timeout_ms = 3000));

	int code = sttcp_client_set_context(client, &question);

	if (code == 0)
		code = sttcp_client_on_connection(client, ask);
	if (code == 0)
		code = sttcp_client_on_response(client, take_answer);
	if (code == 0)
		code = sttcp_client_start(client);
	if (code == 0)
		code = sttcp_client_wait(client, 10000); /* at most 10 s */
	sttcp_client_free(client);			 /* from here on no handler runs */

	if (code < 0)
		fprintf(stderr, "it ended: %s\n", sttcp_strerror(code));
	printf("\n%zu of %zu bytes came back\n", question.answered, strlen(question.text));
	return question.answered == strlen(question.text) ? EXIT_SUCCESS : EXIT_FAILURE;
}
