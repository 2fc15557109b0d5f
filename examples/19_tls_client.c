/* SPDX-License-Identifier: MIT */
/*
 * A client with TLS: it prints whom it has reached, sends each line of its input,
 * and prints what comes back. The server needs a certificate for HOST, issued by
 * AUTHORITY (a file; "" for the authorities that the system trusts). If it asks for
 * a certificate of ours, it gets CERTIFICATE.
 *
 * Usage: 19_tls_client HOST PORT AUTHORITY [CERTIFICATE KEY]. Start
 * 18_known_clients, or 16_tls without a certificate of ours.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sttcp.h>

static bool greet(sttcp_conn *conn, void *context)
{
	sttcp_tls_info info;

	(void)context;
	if (sttcp_conn_tls(conn, &info, sizeof(info)) == 0)
		printf("connected to %s, %s with %s\n", info.peer_subject, info.version,
		       info.cipher);
	return true;
}

static bool print(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)conn, (void)context;
	printf("%.*s\n", (int)size, (const char *)data);
	return true;
}

/* Also where the handshake fails: the text says what is wrong with a certificate. */
static void complain(sttcp_conn *conn, int reason, void *context)
{
	(void)context;
	if (reason != 0 && reason != STTCP_ECLOSED)
		fprintf(stderr, "it ended: %s\n", sttcp_conn_fail_text(conn));
}

/* Sends our lines until there are no more, or the connection has ended. */
static void send_lines(sttcp_client *client)
{
	char line[1000];

	while (fgets(line, sizeof(line), stdin) &&
	       sttcp_client_send(client, line, strlen(line), 10000) == 0)
		;
}

int main(int argc, char **argv)
{
	if (argc != 4 && argc != 6)
		return fprintf(stderr, "usage: %s HOST PORT AUTHORITY [CERTIFICATE KEY]\n",
			       argv[0]) != 0;
	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);

	sttcp_tls *tls = sttcp_tls_client();
	sttcp_client *client = sttcp_client_new(
		argv[1], atoi(argv[2]), STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE, .tls = tls));
	bool started = (!*argv[3] || sttcp_tls_trust(tls, argv[3]) == 0) &&
		       (argc < 6 || sttcp_tls_set_certificate(tls, argv[4], argv[5]) == 0) &&
		       sttcp_client_on_connection(client, greet) == 0 &&
		       sttcp_client_on_response(client, print) == 0 &&
		       sttcp_client_on_disconnection(client, complain) == 0 &&
		       sttcp_client_on_unconnected(client, complain) == 0 &&
		       sttcp_client_start(client) == 0;
	int code = -1;

	if (started) {
		send_lines(client);
		/* What we have sent leaves, and close_notify behind it; then the answers come. */
		sttcp_conn *conn = sttcp_client_conn(client);

		if (conn)
			sttcp_conn_shutdown(conn);
		sttcp_conn_unref(conn);
		code = sttcp_client_wait(client, 10000);
	} else {
		const char *why = sttcp_client_error(client);

		fprintf(stderr, "%s\n", *why ? why : sttcp_tls_error(tls));
	}
	sttcp_client_free(client);
	sttcp_tls_unref(tls);
	return code == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
