/* SPDX-License-Identifier: MIT */
/*
 * A program outside of the project: an echo server and a client in one, which
 * send "meow" there and back. Status 0 when it came back whole.
 */
#include <stdio.h>
#include <string.h>

#include <sttcp.h>

static const char word[] = "meow";

/* Touched by the client's handlers, which never overlap, and read after its wait. */
struct answer {
	char text[sizeof(word)];
	size_t len;
};

static void echo(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)context;
	sttcp_conn_send(conn, data, size);
}

static bool say_it(sttcp_conn *conn, void *context)
{
	(void)context;
	return sttcp_conn_send(conn, word, strlen(word)) >= 0;
}

static bool hear_it(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	struct answer *answer = context;

	(void)conn;
	if (size > strlen(word) - answer->len)
		return false;
	memcpy(answer->text + answer->len, data, size);
	answer->len += size;
	return answer->len < strlen(word);
}

static int ask(int port)
{
	struct answer answer = {.len = 0};
	sttcp_client *client = sttcp_client_new("127.0.0.1", port, NULL);

	int code = sttcp_client_on_connection(client, say_it);
	if (code == 0)
		code = sttcp_client_on_response(client, hear_it);
	if (code == 0)
		code = sttcp_client_set_context(client, &answer);
	if (code == 0)
		code = sttcp_client_start(client);
	if (code >= 0)
		code = sttcp_client_wait(client, 30000);
	sttcp_client_free(client);
	if (code < 0) {
		fprintf(stderr, "client: %s\n", sttcp_strerror(code));
		return 1;
	}
	printf("%s\n", answer.text);
	return strcmp(answer.text, word) == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "--version") == 0)
		return puts(sttcp_version()) < 0;

	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, NULL);

	int status = 1;
	if (sttcp_server_on_receive(server, echo) < 0 || sttcp_server_start(server) < 0)
		fprintf(stderr, "server: %s\n", sttcp_server_error(server));
	else
		status = ask(sttcp_server_port(server));
	sttcp_server_free(server);
	return status;
}
