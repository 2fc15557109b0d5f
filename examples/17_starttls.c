/* SPDX-License-Identifier: MIT */
/*
 * STARTTLS: a mail server (SMTP, RFC 3207) that speaks plain text until its guest
 * asks for TLS, and takes no mail before that. The dialogue is one function, and
 * sttcp_conn_start_tls waits in it as sttcp_conn_recv_message does.
 *
 * Two things have gone wrong in many servers:
 *
 *  - Somebody on the way adds commands behind STARTTLS, and they are carried out
 *    as if they had come through TLS. The library never does so: what it has read
 *    behind that line is taken for the first bytes of TLS.
 *  - What was said before counts afterwards. It is anybody's word, so `talk`
 *    forgets it.
 *
 * Usage: 17_starttls CERTIFICATE KEY [PORT]; 16_tls says how to make the files.
 * Try it with "curl --ssl-reqd --cacert cert.pem smtp://localhost:7000 --mail-from
 * ann@a --mail-rcpt bob@b -T FILE", or "openssl s_client -starttls smtp".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <sttcp.h>

enum {
	LINE_SIZE = 1000,
	ANSWER_MS = 300000 /* for each line */
};

/* What is known of a guest. */
struct guest {
	bool greeted, encrypted, has_sender;
	int recipients;
	size_t size; /* of the mail */
};

static bool say(sttcp_conn *conn, const char *text)
{
	return sttcp_conn_send_message(conn, text, strlen(text)) == 0;
}

static bool hear(sttcp_conn *conn, char line[LINE_SIZE])
{
	ssize_t size = sttcp_conn_recv_message(conn, line, LINE_SIZE - 1, ANSWER_MS);

	line[size < 0 ? 0 : size] = '\0';
	return size >= 0;
}

static bool is(const char *word, const char *line)
{
	return strncasecmp(line, word, strlen(word)) == 0;
}

/* After a failure the connection ends with a reason that says more than we could. */
static bool start_tls(sttcp_conn *conn, sttcp_tls *tls, struct guest *guest)
{
	if (guest->encrypted)
		return say(conn, "503 It is encrypted already");
	if (!say(conn, "220 Go ahead") || sttcp_conn_start_tls(conn, tls, NULL) < 0)
		return false;
	*guest = (struct guest){.encrypted = true};
	return true;
}

static bool greet(sttcp_conn *conn, struct guest *guest)
{
	guest->greeted = true;
	return guest->encrypted ? say(conn, "250 mail.example")
				: say(conn, "250-mail.example") && say(conn, "250 STARTTLS");
}

/* To the line of a dot. */
static bool take_mail(sttcp_conn *conn, struct guest *guest)
{
	char line[LINE_SIZE];

	if (!say(conn, "354 Go on, and end with a dot"))
		return false;
	for (guest->size = 0; hear(conn, line); guest->size += strlen(line) + 2) {
		if (strcmp(line, ".") != 0)
			continue;
		printf("an encrypted mail of %zu bytes to %d\n", guest->size, guest->recipients);
		*guest = (struct guest){.greeted = true, .encrypted = true};
		return say(conn, "250 Thank you");
	}
	return false;
}

/* One command. False: that was all. */
static bool serve(sttcp_conn *conn, sttcp_tls *tls, struct guest *guest, const char *line)
{
	if (is("HELO ", line) || is("EHLO ", line))
		return greet(conn, guest);
	if (strcasecmp(line, "STARTTLS") == 0)
		return start_tls(conn, tls, guest);
	if (is("QUIT", line))
		return say(conn, "221 Goodbye") && false;
	if (!guest->encrypted)
		return say(conn, "530 Must issue a STARTTLS command first");
	if (guest->greeted && is("MAIL FROM:", line)) {
		guest->has_sender = true;
		return say(conn, "250 OK");
	}
	if (guest->has_sender && is("RCPT TO:", line)) {
		guest->recipients++;
		return say(conn, "250 OK");
	}
	if (guest->recipients > 0 && is("DATA", line))
		return take_mail(conn, guest);
	return say(conn, "503 Not now");
}

/* The whole dialogue. No other handler is wanted, so in the end it declines. */
static bool talk(sttcp_conn *conn, void *tls)
{
	struct guest guest = {0};
	char line[LINE_SIZE];

	for (bool more = say(conn, "220 mail.example"); more && hear(conn, line);)
		more = serve(conn, tls, &guest, line);
	return false;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return fprintf(stderr, "usage: %s CERTIFICATE KEY [PORT]\n", argv[0]) != 0;
	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);

	sttcp_tls *tls = sttcp_tls_server(argv[1], argv[2]);
	sttcp_server *server = sttcp_server_new(
		"127.0.0.1", argc > 3 ? atoi(argv[3]) : 7000,
		STTCP_OPTIONS(.framing = STTCP_FRAMING_DELIMITER, .delimiter = "\r\n",
			      .delimiter_size = 2, .max_message = LINE_SIZE - 1));

	/* Without the option `tls` nobody looks at the files before the first STARTTLS. */
	if (*sttcp_tls_error(tls))
		return fprintf(stderr, "%s\n", sttcp_tls_error(tls)) != 0;

	bool started = sttcp_server_set_context(server, tls) == 0 &&
		       sttcp_server_on_connection(server, talk) == 0 &&
		       sttcp_server_start(server) == 0;

	if (started) {
		printf("listening on %d\n", sttcp_server_port(server));
		sttcp_server_keep_alive(server);
	} else {
		fprintf(stderr, "%s\n", sttcp_server_error(server));
	}
	sttcp_server_free(server);
	sttcp_tls_unref(tls);
	return started ? EXIT_SUCCESS : EXIT_FAILURE;
}
