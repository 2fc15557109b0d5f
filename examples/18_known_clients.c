/* SPDX-License-Identifier: MIT */
/*
 * Mutual TLS: a server that knows its clients by their certificates, without
 * passwords. Only clients with a certificate issued by AUTHORITY get through the
 * handshake. The file GUESTS says which of them may come in, one line for each: the
 * fingerprint of the certificate, a space, a name. Those who are not on the list
 * are told the subject of their certificate, which is what the authority wrote
 * into it.
 *
 * Usage: 18_known_clients CERTIFICATE KEY AUTHORITY GUESTS [PORT]. The fingerprint
 * is that of "openssl x509 -in FILE -noout -fingerprint -sha256", in lower case and
 * without colons. 19_tls_client is a client for it.
 */
#define _POSIX_C_SOURCE 200809L

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sttcp.h>

enum {
	FINGERPRINT_SIZE = 64,
	NAME_SIZE = 32
};

/* Looks the fingerprint up, and puts a copy of the name behind the connection. */
static char *find_guest(const char *file, const char *fingerprint)
{
	FILE *guests = fopen(file, "r");
	char known[FINGERPRINT_SIZE + 1], name[NAME_SIZE];
	char *found = NULL;

	while (guests && !found && fscanf(guests, "%64s %31[^\n]", known, name) == 2) {
		if (strcmp(known, fingerprint) == 0)
			found = strdup(name);
	}
	if (guests)
		fclose(guests);
	return found;
}

/* Runs after the handshake, so the certificate has been checked. */
static bool let_in(sttcp_conn *conn, void *guests)
{
	sttcp_tls_info info;

	if (sttcp_conn_tls(conn, &info, sizeof(info)) < 0)
		return false;

	char *name = find_guest(guests, info.peer_fingerprint);

	sttcp_conn_set_data(conn, name, free);
	printf("%s with %s comes in as %s\n", sttcp_conn_address(conn), info.peer_subject,
	       name ? name : "nobody");
	if (!name) {
		sttcp_conn_sendf(conn, "I do not know you, %s.\n", info.peer_subject);
		return false;
	}
	return sttcp_conn_sendf(conn, "Come in, %s.\n", name) == 0;
}

static void echo(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)context;
	sttcp_conn_sendf(conn, "%s: %.*s\n", (char *)sttcp_conn_data(conn), (int)size,
			 (const char *)data);
}

int main(int argc, char **argv)
{
	if (argc < 5)
		return fprintf(stderr, "usage: %s CERTIFICATE KEY AUTHORITY GUESTS [PORT]\n",
			       argv[0]) != 0;
	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);

	sttcp_tls *tls = sttcp_tls_server(argv[1], argv[2]);
	sttcp_server *server =
		sttcp_server_new("127.0.0.1", argc > 5 ? atoi(argv[5]) : 7000,
				 STTCP_OPTIONS(.framing = STTCP_FRAMING_LINE, .tls = tls));
	bool started = sttcp_tls_trust(tls, argv[3]) == 0 &&
		       sttcp_tls_require_peer(tls, STTCP_TLS_PEER_REQUIRED) == 0 &&
		       sttcp_server_set_context(server, argv[4]) == 0 &&
		       sttcp_server_on_connection(server, let_in) == 0 &&
		       sttcp_server_on_receive(server, echo) == 0 &&
		       sttcp_server_start(server) == 0;

	if (started) {
		printf("listening on %d\n", sttcp_server_port(server));
		sttcp_server_keep_alive(server);
	} else {
		const char *why = sttcp_server_error(server);

		fprintf(stderr, "%s\n", *why ? why : sttcp_tls_error(tls));
	}
	sttcp_server_free(server);
	sttcp_tls_unref(tls); /* the server has had a reference of its own */
	return started ? EXIT_SUCCESS : EXIT_FAILURE;
}
