/* SPDX-License-Identifier: MIT */
/*
 * A chat: the first line that a guest sends is the name, every other line goes
 * to all the others. It shows three things:
 *
 *  - Each connection carries a pointer of ours (sttcp_conn_set_data), which the
 *    library frees with the connection.
 *  - TCP has no lines, so they are assembled here from the chunks, with a limit:
 *    a peer must not make us keep as much as it likes.
 *  - A broadcast never waits for a guest who does not read; it drops that guest.
 *
 * Usage: 05_chat [PORT]. Port 0 lets the kernel choose. Guests connect with nc.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sttcp.h>

/* Only the handlers of its own connection access a guest, one at a time: no lock. */
struct guest {
	char name[32];	/* "" until it is told */
	char line[512]; /* the line so far */
	size_t len;
};

/* Sends "NAME WHAT TEXT" to all members but `conn`; one call is one run of bytes for each. */
static void tell_others(sttcp_conn *conn, const char *what, const char *text)
{
	const struct guest *guest = sttcp_conn_data(conn);
	char message[sizeof(guest->name) + sizeof(guest->line) + 16];
	int len = snprintf(message, sizeof(message), "%s%s%s\n", guest->name, what, text);

	if (len > 0)
		sttcp_server_broadcast_except(sttcp_conn_server(conn), conn, message, (size_t)len);
}

static void handle_line(sttcp_conn *conn, struct guest *guest, const char *line)
{
	if (guest->name[0] != '\0') {
		tell_others(conn, ": ", line);
	} else if (line[0] == '\0' || strlen(line) >= sizeof(guest->name)) {
		sttcp_conn_sendf(conn, "A name has 1 to %zu bytes.\n", sizeof(guest->name) - 1);
	} else {
		memcpy(guest->name, line, strlen(line) + 1);
		/* The others first: who comes after the greeting does not hear of it. */
		tell_others(conn, " joined", "");
		sttcp_conn_sendf(conn, "Hello %s, there are %d here.\n", guest->name,
				 sttcp_server_count(sttcp_conn_server(conn)));
	}
}

static bool welcome(sttcp_conn *conn, void *context)
{
	struct guest *guest = calloc(1, sizeof(*guest));

	(void)context;
	if (!guest)
		return false;
	sttcp_conn_set_data(conn, guest, free);
	sttcp_conn_sendf(conn, "Your name?\n");
	return true;
}

static void take_bytes(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	struct guest *guest = sttcp_conn_data(conn);
	const char *bytes = data;

	(void)context;
	for (size_t i = 0; i < size; i++) {
		if (bytes[i] == '\n') {
			guest->line[guest->len] = '\0';
			guest->len = 0;
			handle_line(conn, guest, guest->line);
		} else if (guest->len + 1 < sizeof(guest->line)) {
			guest->line[guest->len++] = bytes[i];
		} else {
			sttcp_conn_fail(conn, STTCP_ELIMIT, "a line of %zu bytes or more",
					sizeof(guest->line));
			return;
		}
	}
}

static void say_goodbye(sttcp_conn *conn, int reason, void *context)
{
	const struct guest *guest = sttcp_conn_data(conn);

	(void)context;
	if (guest->name[0] != '\0')
		tell_others(conn, " left", "");
	if (reason != 0)
		printf("%s: %s (%s)\n", sttcp_conn_address(conn), sttcp_strerror(reason),
		       sttcp_conn_fail_text(conn));
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);

	sttcp_server *server = sttcp_server_new("127.0.0.1", argc > 1 ? atoi(argv[1]) : 7000, NULL);

	bool started = sttcp_server_on_connection(server, welcome) == 0 &&
		       sttcp_server_on_receive(server, take_bytes) == 0 &&
		       sttcp_server_on_disconnection(server, say_goodbye) == 0 &&
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
