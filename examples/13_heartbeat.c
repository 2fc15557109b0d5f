/* SPDX-License-Identifier: MIT */
/*
 * A heartbeat: each guest is sent "ping" once a period, and is dropped when
 * nothing came from it during three of them. The task (sttcp_conn_every) runs as
 * one of the handlers of its connection, so it needs no lock, and it ends with
 * its connection. Nothing wakes up between two beats.
 *
 * A peer whose machine has vanished is found without this, by the option
 * dead_peer_timeout_ms. A heartbeat finds a program that hangs, too.
 *
 * Usage: 13_heartbeat [PORT [PERIOD-IN-MS]]. Port 0 lets the kernel choose. Try
 * it with nc; the Enter key is an answer.
 */
#include <stdio.h>
#include <stdlib.h>

#include <sttcp.h>

enum {
	MOST_MISSED = 3
};

/* Only the handlers and tasks of its own connection access a guest, one at a time: no lock. */
struct guest {
	int missed; /* pings since something came */
};

static void beat(sttcp_conn *conn, void *argument)
{
	struct guest *guest = argument;

	if (guest->missed++ < MOST_MISSED)
		sttcp_conn_sendf(conn, "ping\n");
	else
		sttcp_conn_fail(conn, STTCP_EHANDLER, "no answer to %d pings", MOST_MISSED);
}

static bool welcome(sttcp_conn *conn, void *context)
{
	const int *period_ms = context;
	struct guest *guest = calloc(1, sizeof(*guest));

	sttcp_conn_set_data(conn, guest, free);
	return guest && sttcp_conn_every(conn, *period_ms, beat, guest, NULL) > 0;
}

static void note_answer(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	struct guest *guest = sttcp_conn_data(conn);

	(void)data, (void)size, (void)context;
	guest->missed = 0;
}

static void tell_reason(sttcp_conn *conn, int reason, void *context)
{
	(void)context;
	printf("%s ended: %s\n", sttcp_conn_address(conn),
	       reason ? sttcp_conn_fail_text(conn) : "goodbye");
}

int main(int argc, char **argv)
{
	int period_ms = argc > 2 ? atoi(argv[2]) : 5000;
	sttcp_server *server = sttcp_server_new("127.0.0.1", argc > 1 ? atoi(argv[1]) : 7000,
						STTCP_OPTIONS(.end_idle_at_stop = true));

	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
	bool started = sttcp_server_set_context(server, &period_ms) == 0 &&
		       sttcp_server_on_connection(server, welcome) == 0 &&
		       sttcp_server_on_receive(server, note_answer) == 0 &&
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
