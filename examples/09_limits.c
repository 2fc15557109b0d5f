/* SPDX-License-Identifier: MIT */
/*
 * A server that cannot be overloaded: limits on the bytes queued for a peer, on
 * how long a peer may be silent and stay, and on the number of connections. No
 * handler has to deal with them. Each limit that ends a connection has a reason
 * of its own, and connections that are kept out are counted. Try it with four nc
 * at a time, and with one that says nothing for two seconds.
 *
 * Usage: 09_limits [PORT]. Port 0 lets the kernel choose.
 */
#include <stdio.h>
#include <stdlib.h>

#include <sttcp.h>

static sttcp_server *make_server(int port)
{
	sttcp_options options = {.size = sizeof(options)};

	/* Bytes queued for one slow peer, and for all of them together. */
	options.send_queue_max = 64 * 1024;
	options.total_queue_max = 16 * 1024 * 1024;

	/* Time to the first byte, without a byte, and in all. */
	options.first_byte_timeout_ms = 2000;
	options.idle_timeout_ms = 60000;
	options.lifetime_ms = 3600000;
	options.lifetime_jitter_ms = 600000;

	/* Connections at a time, per address, and per second. */
	options.max_connections = 1000;
	options.max_connections_per_ip = 3;
	options.accept_rate = 200;
	return sttcp_server_new("127.0.0.1", port, &options);
}

static void echo(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)context;
	sttcp_conn_send(conn, data, size);
}

static void tell_reason(sttcp_conn *conn, int reason, void *context)
{
	(void)context;
	printf("%s ended: %s\n", sttcp_conn_address(conn), sttcp_error_name(reason));
}

static void tell_counts(const sttcp_server *server)
{
	sttcp_stats stats;

	sttcp_server_stats(server, &stats, sizeof(stats));
	printf("%lld came, %lld ended with a reason, over the limits: "
	       "%lld of all, %lld of an address, %lld a second\n",
	       (long long)stats.total, (long long)stats.failed, (long long)stats.over_connections,
	       (long long)stats.over_per_ip, (long long)stats.over_rate);
}

int main(int argc, char **argv)
{
	sttcp_server *server = make_server(argc > 1 ? atoi(argv[1]) : 7000);

	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
	bool started = sttcp_server_on_receive(server, echo) == 0 &&
		       sttcp_server_on_disconnection(server, tell_reason) == 0 &&
		       sttcp_server_start(server) == 0;

	if (started) {
		printf("listening on %d\n", sttcp_server_port(server));
		sttcp_server_keep_alive(server);
		tell_counts(server);
	} else {
		fprintf(stderr, "%s\n", sttcp_server_error(server));
	}
	sttcp_server_free(server);
	return started ? EXIT_SUCCESS : EXIT_FAILURE;
}
