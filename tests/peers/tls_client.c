/* SPDX-License-Identifier: MIT */
/*
 * The client of the tests with other programs as peers: it connects, says
 * something, and prints what TLS has agreed on, what it got, and how it ended.
 * Over the public header alone.
 *
 * Usage: tls_client [OPTION]... HOST PORT
 *
 *	-t PLACE		whom it trusts
 *	-c FILE -k FILE		its certificate and key
 *	-n NAME			whom it asks for, where that is not the host
 *	-r none|required	whether the server's certificate is checked
 *	-a PROTOCOLS  -v LEAST-MOST  -C CIPHERS
 *	-s TEXT			what it says; "\n" stands for the end of a line
 *	-e TEXT			it closes when this has come; else it waits for the peer's end
 *	-N TIMES		connects so often, one after the other
 *
 * Each line of its output is one fact: "open ...", "got LINE", "end NAME: TEXT",
 * "unconnected NAME: TEXT". The exit status is 0 where the last connection was
 * open.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sttcp.h>

#include "facts.h"

static sttcp_tls *tls;
static char said[4096];
static const char *expected, *name;
static int times = 1;

/* Only the handlers of the one connection access these, and main when it has ended. */
static char got[65536];
static size_t got_size, printed;
static bool opened;

static bool greet(sttcp_conn *conn, void *context)
{
	(void)context;
	opened = true;
	got_size = printed = 0;
	print_facts(conn);
	return sttcp_conn_send(conn, said, strlen(said)) == 0;
}

/* Whole lines; at the end what is left, too. */
static void print_lines(bool rest)
{
	while (printed < got_size) {
		size_t size = strcspn(got + printed, "\n");

		if (printed + size == got_size && !rest)
			return;
		printf("got %.*s\n", (int)size, got + printed);
		printed += size + 1;
	}
}

static bool take(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)conn;
	(void)context;
	if (size > sizeof(got) - 1 - got_size)
		size = sizeof(got) - 1 - got_size;
	memcpy(got + got_size, data, size);
	got_size += size;
	got[got_size] = 0;
	print_lines(false);
	return !expected || !strstr(got, expected);
}

static void say_goodbye(sttcp_conn *conn, int reason, void *context)
{
	(void)context;
	print_lines(true);
	print_end("end", conn, reason);
}

static void complain(sttcp_conn *conn, int reason, void *context)
{
	(void)context;
	print_end("unconnected", conn, reason);
}

static int set(int letter, const char *value, const char *certificate)
{
	int least, most;

	switch (letter) {
	case 't':
		return sttcp_tls_trust(tls, value);
	case 'k':
		return sttcp_tls_set_certificate(tls, certificate, value);
	case 'r':
		return sttcp_tls_require_peer(tls, peer_from(value));
	case 'a':
		return sttcp_tls_set_alpn(tls, value);
	case 'v':
		return sscanf(value, "%d-%d", &least, &most) == 2
			       ? sttcp_tls_set_versions(tls, least, most)
			       : -1;
	case 'C':
		return sttcp_tls_set_ciphers(tls, value);
	default:
		return -1;
	}
}

static void take_text(const char *text)
{
	size_t size = 0;

	for (; *text && size < sizeof(said) - 1; text++) {
		if (strncmp(text, "\\n", 2) == 0 && text++)
			said[size++] = '\n';
		else
			said[size++] = *text;
	}
}

static void read_options(int argc, char **argv)
{
	const char *certificate = NULL;
	int letter;

	while ((letter = getopt(argc, argv, "t:c:k:n:r:a:v:C:s:e:N:")) != -1) {
		if (letter == 'c')
			certificate = optarg;
		else if (letter == 'n')
			name = optarg;
		else if (letter == 's')
			take_text(optarg);
		else if (letter == 'e')
			expected = optarg;
		else if (letter == 'N')
			times = atoi(optarg);
		else if (set(letter, optarg, certificate) < 0)
			printf("-%c: %s\n", letter, sttcp_tls_error(tls));
	}
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
	tls = sttcp_tls_client();
	read_options(argc, argv);
	if (argc - optind != 2)
		return EXIT_FAILURE;

	sttcp_client *client = sttcp_client_new(argv[optind], atoi(argv[optind + 1]),
						STTCP_OPTIONS(.tls = tls, .tls_name = name));
	bool ready = sttcp_client_on_connection(client, greet) == 0 &&
		     sttcp_client_on_response(client, take) == 0 &&
		     sttcp_client_on_disconnection(client, say_goodbye) == 0 &&
		     sttcp_client_on_unconnected(client, complain) == 0;

	for (int i = 0; ready && i < times; i++) {
		opened = false;
		ready = sttcp_client_start(client) == 0;
		if (ready)
			(void)!sttcp_client_wait(client, -1);
	}
	if (!ready)
		printf("not started: %s\n", sttcp_client_error(client));
	sttcp_client_free(client);
	sttcp_tls_unref(tls);
	return opened ? EXIT_SUCCESS : EXIT_FAILURE;
}
