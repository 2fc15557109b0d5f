/* SPDX-License-Identifier: MIT */
/*
 * The server of the tests with other programs as peers: it echoes what comes, or
 * answers HTTP, and prints what TLS has agreed on. Over the public header alone.
 *
 * Usage: tls_server [OPTION]...
 *
 *	-c FILE -k FILE		a certificate and its key, again for each further one
 *	-t PLACE		whom it trusts
 *	-r none|asked|required	whether a client has to show a certificate
 *	-a PROTOCOLS  -v LEAST-MOST  -C CIPHERS
 *	-H			answers HTTP
 *
 * Each line of its output is one fact, in the order in which they come to be:
 * "listening on PORT", "open ...", "end NAME: TEXT", "log LEVEL: TEXT",
 * "reload CODE: TEXT" after a SIGHUP.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sttcp.h>

#include "facts.h"

static sttcp_tls *tls; /* in use by the thread that reloads, to the end of the process */
static bool answers_http;

static bool greet(sttcp_conn *conn, void *context)
{
	(void)context;
	print_facts(conn);
	return true;
}

/* The answer has what a client can check; its end is the end of the connection. */
static void answer_http(sttcp_conn *conn, const void *request, size_t size)
{
	sttcp_tls_info info;

	(void)request;
	(void)size;
	if (sttcp_conn_tls(conn, &info, sizeof(info)) < 0)
		return;
	sttcp_conn_sendf(conn,
			 "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n"
			 "\r\nversion=%s name=%s subject=%s\n",
			 info.version, info.server_name, info.peer_subject);
	sttcp_conn_close(conn);
}

static void answer(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)context;
	if (answers_http)
		answer_http(conn, data, size);
	else
		sttcp_conn_send(conn, data, size);
}

static void say_goodbye(sttcp_conn *conn, int reason, void *context)
{
	(void)context;
	print_end("end", conn, reason);
}

static void print_log(int level, const char *text, void *context)
{
	(void)context;
	printf("log %d: %s\n", level, text);
}

static void reload(void *signals)
{
	int number;

	while (sigwait(signals, &number) == 0) {
		int code = sttcp_tls_reload(tls);

		printf("reload %d: %s\n", code, sttcp_tls_error(tls));
	}
}

/* Codes of settings are told by the start, too. */
static int set(int letter, const char *value, const char *key)
{
	int least, most;

	switch (letter) {
	case 'k':
		return sttcp_tls_add_certificate(tls, key, value);
	case 't':
		return sttcp_tls_trust(tls, value);
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
	case 'H':
		answers_http = true;
		return 0;
	default:
		return -1;
	}
}

/* The first certificate makes the object. */
static void read_options(int argc, char **argv)
{
	const char *certificate = NULL;
	int letter;

	while ((letter = getopt(argc, argv, "c:k:t:r:a:v:C:H")) != -1) {
		if (letter == 'c')
			certificate = optarg;
		else if (letter == 'k' && !tls)
			tls = sttcp_tls_server(certificate, optarg);
		else if (!tls || set(letter, optarg, certificate) < 0)
			printf("-%c: %s\n", letter, tls ? sttcp_tls_error(tls) : "no certificate");
	}
}

int main(int argc, char **argv)
{
	static sigset_t signals;

	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
	sttcp_set_log(print_log, NULL);
	sigemptyset(&signals);
	sigaddset(&signals, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	read_options(argc, argv);

	sttcp_options options = *STTCP_OPTIONS(.tls = tls, .end_idle_at_stop = true);

	if (answers_http) {
		options.framing = STTCP_FRAMING_DELIMITER;
		options.delimiter = "\r\n\r\n";
		options.delimiter_size = 4;
	}
	sttcp_server *server = sttcp_server_new("127.0.0.1", 0, &options);
	bool started = sttcp_server_on_connection(server, greet) == 0 &&
		       sttcp_server_on_receive(server, answer) == 0 &&
		       sttcp_server_on_disconnection(server, say_goodbye) == 0 &&
		       sttcp_server_start(server) == 0 && sttcp_run(reload, &signals) == 0;

	if (started) {
		printf("listening on %d\n", sttcp_server_port(server));
		sttcp_server_keep_alive(server);
	} else {
		printf("not started: %s\n", sttcp_server_error(server));
	}
	sttcp_server_free(server);
	return started ? EXIT_SUCCESS : EXIT_FAILURE;
}
