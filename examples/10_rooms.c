/* SPDX-License-Identifier: MIT */
/*
 * A chat with rooms and nicknames: a line goes to the others in the same room,
 * and costs nothing for guests elsewhere. "/nick NAME" takes another name, and
 * "/join ROOM" goes to another room.
 *
 * Usage: 10_rooms [PORT]. Port 0 lets the kernel choose. Guests connect with nc.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sttcp.h>
/* Only the handlers of its own connection access a guest, one at a time: no lock. */
struct guest {
	char name[32], room[32];
};
/* Sends "NAME WHAT TEXT" to the others in the room, and returns how many they are. */
static int tell(sttcp_conn *conn, const char *what, const char *text)
{
	const struct guest *guest = sttcp_conn_data(conn);
	char line[600];
	int len = snprintf(line, sizeof(line), "%s%s%s\n", guest->name, what, text);
	return sttcp_server_send_room(sttcp_conn_server(conn), guest->room, conn, line,
				      (size_t)len);
}
static void enter(sttcp_conn *conn, const char *room)
{
	struct guest *guest = sttcp_conn_data(conn);
	snprintf(guest->room, sizeof(guest->room), "%s", room);
	if (sttcp_conn_join(conn, guest->room) < 0)
		sttcp_conn_fail(conn, STTCP_EHANDLER, "cannot enter %s", guest->room);
	sttcp_conn_sendf(conn, "%d others in %s\n", tell(conn, " joined", ""), guest->room);
}
static bool welcome(sttcp_conn *conn, void *context)
{
	struct guest *guest = calloc(1, sizeof(*guest));
	(void)context, sttcp_conn_set_data(conn, guest, free);
	if (!guest)
		return false;
	snprintf(guest->name, sizeof(guest->name), "guest%d", sttcp_conn_port(conn));
	enter(conn, "lobby");
	return true;
}
static void take_line(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	struct guest *guest = sttcp_conn_data(conn);
	char line[512], word[32];
	(void)context, snprintf(line, sizeof(line), "%.*s", (int)size, (const char *)data);
	if (sscanf(line, "/nick %31s", word) == 1) {
		tell(conn, " is now ", word);
		snprintf(guest->name, sizeof(guest->name), "%s", word);
	} else if (sscanf(line, "/join %31s", word) == 1) {
		tell(conn, " left", "");
		sttcp_conn_leave(conn, guest->room);
		enter(conn, word);
	} else {
		tell(conn, ": ", line);
	}
}
static void say_goodbye(sttcp_conn *conn, int reason, void *context)
{
	(void)reason, (void)context, tell(conn, " left", "");
}
int main(int argc, char **argv)
{
	int port = argc > 1 ? atoi(argv[1]) : 7000;
	sttcp_server *server =
		sttcp_server_new("127.0.0.1", port,
				 STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE, .max_message = 500));
	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
	if (sttcp_server_on_connection(server, welcome) < 0 ||
	    sttcp_server_on_receive(server, take_line) < 0 ||
	    sttcp_server_on_disconnection(server, say_goodbye) < 0 ||
	    sttcp_server_start(server) < 0)
		return fprintf(stderr, "%s\n", sttcp_server_error(server)) != 0;
	printf("listening on %d\n", sttcp_server_port(server));
	sttcp_server_keep_alive(server);
	sttcp_server_free(server);
}
