/* SPDX-License-Identifier: MIT */
/*
 * A protocol with states: a mail server (SMTP, RFC 5321) that takes mails and
 * forgets them. Each state is a function, and sttcp_conn_on_message goes from
 * one to the next: no switch over a state, and no thread that waits.
 *
 *	take_any -> take_sender -> take_recipients -> take_body -> take_sender ...
 *
 * Lines end with "\r\n" and nothing else: with STTCP_FRAMING_LINE a bare "\n"
 * would end one, too, and a mail could smuggle another one in (sttcp(7), NOTES).
 *
 * Usage: 11_mail [PORT]. Port 0 lets the kernel choose. Try it with
 * "curl smtp://127.0.0.1:7000 --mail-from ann@a --mail-rcpt bob@b -T FILE".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <sttcp.h>

/* Only the handlers of its own connection access it, one at a time: no lock. */
struct mail {
	int recipients;
	size_t size;
};

static void take_sender(sttcp_conn *conn, const void *line, size_t size, void *mail);

static void reply(sttcp_conn *conn, const char *text)
{
	sttcp_conn_send_message(conn, text, strlen(text));
}

static bool is(const char *word, const void *line, size_t size)
{
	return size >= strlen(word) && strncasecmp(line, word, strlen(word)) == 0;
}

/* Answers, and passes the next line to `next`. */
static void go_on(sttcp_conn *conn, const char *text, sttcp_receive_handler next)
{
	if (sttcp_conn_on_message(conn, next, sttcp_conn_data(conn)) < 0)
		sttcp_conn_fail(conn, STTCP_EHANDLER, "out of memory");
	reply(conn, text);
}

/* What may come in every state but that of the body. */
static void take_any(sttcp_conn *conn, const void *line, size_t size, void *mail)
{
	(void)mail;
	if (is("HELO ", line, size) || is("EHLO ", line, size)) {
		go_on(conn, "250 mail.example", take_sender);
	} else if (is("NOOP", line, size)) {
		reply(conn, "250 OK");
	} else if (is("QUIT", line, size)) {
		reply(conn, "221 Goodbye");
		sttcp_conn_close(conn);
	} else {
		reply(conn, "503 Not now");
	}
}

/* A line of a dot ends it. A dot in front of any other line is not part of it. */
static void take_body(sttcp_conn *conn, const void *line, size_t size, void *context)
{
	struct mail *mail = context;
	size_t dot = is(".", line, size) ? 1 : 0;

	if (size > dot || dot == 0) {
		mail->size += size - dot + 2;
		return;
	}
	printf("a mail of %zu bytes to %d\n", mail->size, mail->recipients);
	go_on(conn, "250 Thank you", take_sender);
}

static void take_recipients(sttcp_conn *conn, const void *line, size_t size, void *context)
{
	struct mail *mail = context;

	if (is("RCPT TO:", line, size)) {
		mail->recipients++;
		reply(conn, "250 OK");
	} else if (is("DATA", line, size) && mail->recipients > 0) {
		go_on(conn, "354 Go on, and end with a dot", take_body);
	} else if (is("RSET", line, size)) {
		go_on(conn, "250 OK", take_sender);
	} else {
		take_any(conn, line, size, mail);
	}
}

static void take_sender(sttcp_conn *conn, const void *line, size_t size, void *context)
{
	struct mail *mail = context;

	if (is("MAIL FROM:", line, size)) {
		*mail = (struct mail){0};
		go_on(conn, "250 OK", take_recipients);
	} else if (is("RSET", line, size)) {
		reply(conn, "250 OK");
	} else {
		take_any(conn, line, size, mail);
	}
}

static bool greet(sttcp_conn *conn, void *context)
{
	struct mail *mail = calloc(1, sizeof(*mail));

	(void)context;
	sttcp_conn_set_data(conn, mail, free);
	if (!mail)
		return false;
	reply(conn, "220 mail.example");
	return true;
}

static void complain(sttcp_conn *conn, int code, void *context)
{
	(void)context;
	reply(conn, code == STTCP_ELIMIT ? "500 Too long" : "421 Cut off");
}

int main(int argc, char **argv)
{
	sttcp_server *server = sttcp_server_new(
		"127.0.0.1", argc > 1 ? atoi(argv[1]) : 7000,
		STTCP_OPTIONS(.framing = STTCP_FRAMING_DELIMITER, .delimiter = "\r\n",
			      .delimiter_size = 2, .max_message = 1000, .idle_timeout_ms = 300000,
			      .end_idle_at_stop = true));

	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
	/* take_any is the first state: no mail before a hello. */
	bool started = sttcp_server_on_connection(server, greet) == 0 &&
		       sttcp_server_on_receive(server, take_any) == 0 &&
		       sttcp_server_on_malformed(server, complain) == 0 &&
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
