/* SPDX-License-Identifier: MIT */
/*
 * Options, and a graceful stop. Main waits for the Enter key (or the end of its
 * input), tells all guests that the server is about to stop, and stops it within
 * two seconds. From then on no connection is accepted. A connection whose handler
 * sees sttcp_conn_stopping may finish its work and close. Those still open at the
 * deadline are closed with the reason STTCP_ESTOPPED, which the disconnection
 * handler gets. The report counts both kinds.
 *
 * Usage: 06_graceful [PORT]. Port 0 lets the kernel choose.
 */
#include <stdio.h>
#include <stdlib.h>

#include <sttcp.h>

static void answer(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)data;
	(void)context;
	if (sttcp_conn_stopping(conn)) {
		sttcp_conn_sendf(conn, "goodbye\n");
		sttcp_conn_close(conn);
	} else {
		sttcp_conn_sendf(conn, "%zu bytes, thank you\n", size);
	}
}

static void tell_reason(sttcp_conn *conn, int reason, void *context)
{
	(void)context;
	printf("%s ended: %s\n", sttcp_conn_address(conn), sttcp_error_name(reason));
}

/* A field that is not named has its default. */
static sttcp_server *make_server(int port)
{
	return sttcp_server_new("127.0.0.1", port,
				STTCP_OPTIONS(.backlog = 64, .send_queue_max = 64 * 1024,
					      .write_timeout_ms = 5000));
}

int main(int argc, char **argv)
{
	static const char notice[] = "the server stops in two seconds\n";
	sttcp_server *server = make_server(argc > 1 ? atoi(argv[1]) : 7000);

	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
	if (sttcp_server_on_receive(server, answer) < 0 ||
	    sttcp_server_on_disconnection(server, tell_reason) < 0 ||
	    sttcp_server_start(server) < 0) {
		fprintf(stderr, "%s\n", sttcp_server_error(server));
		sttcp_server_free(server);
		return EXIT_FAILURE;
	}
	printf("listening on %d\n", sttcp_server_port(server));
	puts("Enter stops.");
	getchar();

	sttcp_stop_report report = {0};

	sttcp_server_broadcast(server, notice, sizeof(notice) - 1);
	sttcp_server_stop_within(server, 2000, &report);
	printf("%lld ended by themselves, %lld closed by force, %lld handlers still running\n",
	       (long long)report.ended, (long long)report.forced, (long long)report.running);
	sttcp_server_free(server);
	return EXIT_SUCCESS;
}
