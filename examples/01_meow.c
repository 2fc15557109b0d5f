/* SPDX-License-Identifier: MIT */
/*
 * The first program: a server and a client in one process that talk to each
 * other, with every kind of handler that they have. It is the example of the
 * Python package that this library mirrors, handler by handler, and prints the
 * same lines. The client says "Meow". The server answers with what it received,
 * plus an exclamation mark. After two answers the client closes. Then the server
 * runs until Ctrl+C. (The Python example uses "localhost"; with 127.0.0.1 the
 * lines are the same on machines where that name is ::1, too.)
 *
 * Usage: 01_meow [PORT]. The default is 62134; 0 lets the kernel choose.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sttcp.h>

static bool server_connected(sttcp_conn *conn, void *context)
{
	(void)context;
	if (strcmp(sttcp_conn_host(conn), "127.0.0.2") == 0) {
		printf("Connection from %s declined!\n", sttcp_conn_address(conn));
		return false;
	}
	printf("Connected by %s\n", sttcp_conn_address(conn));
	return true;
}

/* Treats each chunk as one message. That nearly always holds for short messages that wait for each
 * other; 05_chat.c shows what to do otherwise. */
static void server_received(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)context;
	sttcp_conn_sendf(conn, "%.*s!", (int)size, (const char *)data);
}

static void server_disconnected(sttcp_conn *conn, int reason, void *context)
{
	(void)context;
	(void)reason; /* 0 when the client asked for the end; sttcp_strerror(reason) tells */
	printf("Disconnected by %s\n", sttcp_conn_address(conn));
}

/* Runs before each of the others. Its return value counts if there is no other. */
static bool server_universal(sttcp_event event, sttcp_conn *conn, const void *data, size_t size,
			     void *context)
{
	(void)conn;
	(void)data;
	(void)size;
	(void)context;
	printf("- Server: HandlerType.%s\n", sttcp_event_name(event));
	return true;
}

static bool client_connected(sttcp_conn *conn, void *context)
{
	(void)context;
	printf("Connected to %s\n", sttcp_conn_address(conn));
	sttcp_conn_send(conn, "Meow", 4);
	return true;
}

static bool client_responded(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)context;
	printf("Received string \"%.*s\"\n", (int)size, (const char *)data);
	if (size != 5 || memcmp(data, "Meow!", 5) != 0)
		return false; /* ends the connection */
	sttcp_conn_send(conn, "Really?", 7);
	return true;
}

static void client_disconnected(sttcp_conn *conn, int reason, void *context)
{
	(void)context;
	(void)reason;
	printf("Disconnected from %s\n", sttcp_conn_address(conn));
}

static void client_unconnected(sttcp_conn *conn, int reason, void *context)
{
	(void)context;
	printf("Could not connect to %s\n", sttcp_conn_address(conn));
	fprintf(stderr, "%s\n", sttcp_strerror(reason));
}

static bool client_universal(sttcp_event event, sttcp_conn *conn, const void *data, size_t size,
			     void *context)
{
	(void)conn;
	(void)data;
	(void)size;
	(void)context;
	printf("- Client: HandlerType.%s\n", sttcp_event_name(event));
	return true;
}

static sttcp_server *make_server(int port)
{
	sttcp_server *server = sttcp_server_new("127.0.0.1", port, NULL);

	/* Fails only if the server runs, or is NULL because memory was short. */
	if (sttcp_server_on_connection(server, server_connected) < 0 ||
	    sttcp_server_on_receive(server, server_received) < 0 ||
	    sttcp_server_on_disconnection(server, server_disconnected) < 0 ||
	    sttcp_server_on_universal(server, server_universal) < 0)
		exit(EXIT_FAILURE);
	return server;
}

static sttcp_client *make_client(int port)
{
	sttcp_client *client = sttcp_client_new("127.0.0.1", port, NULL);

	if (sttcp_client_on_connection(client, client_connected) < 0 ||
	    sttcp_client_on_response(client, client_responded) < 0 ||
	    sttcp_client_on_disconnection(client, client_disconnected) < 0 ||
	    sttcp_client_on_unconnected(client, client_unconnected) < 0 ||
	    sttcp_client_on_universal(client, client_universal) < 0)
		exit(EXIT_FAILURE);
	return client;
}

int main(int argc, char **argv)
{
	/* Line by line, also when somebody reads this through a pipe. */
	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);

	sttcp_server *server = make_server(argc > 1 ? atoi(argv[1]) : 62134);

	if (sttcp_server_start(server) < 0) {
		fprintf(stderr, "%s\n", sttcp_server_error(server));
		sttcp_server_free(server);
		return EXIT_FAILURE;
	}
	if (argc > 1)
		printf("listening on %d\n", sttcp_server_port(server));

	/* start has returned, so the server listens: the client may come at once. */
	sttcp_client *client = make_client(sttcp_server_port(server));
	int code = sttcp_client_start(client);

	if (code < 0)
		fprintf(stderr, "%s\n", sttcp_client_error(client));
	else
		code = sttcp_server_keep_alive(server); /* until Ctrl+C */

	sttcp_client_free(client);
	sttcp_server_free(server);
	return code < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
