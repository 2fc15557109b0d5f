/* SPDX-License-Identifier: MIT */
/*
 * 02_echo over TLS. What TLS adds is the object with the certificate and its key,
 * and the option `tls`. Certificates are renewed every few weeks, so SIGHUP reads
 * the files again: connections that come after it get the new certificate. If the
 * files are bad, everything stays as it was, and the program prints why.
 *
 * Usage: 16_tls CERTIFICATE KEY [PORT]. Port 0 lets the kernel choose. Make both
 * files with
 *
 *	openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost \
 *		-addext subjectAltName=DNS:localhost -keyout key.pem -out cert.pem
 *
 * and try it with "openssl s_client -connect 127.0.0.1:7000 -CAfile cert.pem".
 */
#define _POSIX_C_SOURCE 200809L

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include <sttcp.h>

static sttcp_tls *tls; /* to the end of the process, because it may be reloaded until then */

static void echo(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)context;
	sttcp_conn_send(conn, data, size);
}

/* A signal handler may not reload, but a thread that waits for the signal may. */
static void reload_on(void *signals)
{
	int number;

	while (sigwait(signals, &number) == 0)
		printf("reload: %s\n", sttcp_tls_reload(tls) < 0 ? sttcp_tls_error(tls) : "done");
}

int main(int argc, char **argv)
{
	sigset_t hangup;

	if (argc < 3)
		return fprintf(stderr, "usage: %s CERTIFICATE KEY [PORT]\n", argv[0]) != 0;
	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
	tls = sttcp_tls_server(argv[1], argv[2]);

	sttcp_server *server = sttcp_server_new("127.0.0.1", argc > 3 ? atoi(argv[3]) : 7000,
						STTCP_OPTIONS(.tls = tls));

	/* Blocked before the first start, it is blocked in every thread of the library. */
	sigemptyset(&hangup);
	sigaddset(&hangup, SIGHUP);
	sigprocmask(SIG_BLOCK, &hangup, NULL);
	bool started = sttcp_server_on_receive(server, echo) == 0 &&
		       sttcp_server_start(server) == 0 && sttcp_run(reload_on, &hangup) == 0;

	if (started) {
		printf("listening on %d\n", sttcp_server_port(server));
		sttcp_server_keep_alive(server);
	} else {
		fprintf(stderr, "%s\n", sttcp_server_error(server));
	}
	sttcp_server_free(server);
	return started ? EXIT_SUCCESS : EXIT_FAILURE;
}
