/* SPDX-License-Identifier: MIT */
/*
 * sttcp listen, sttcp connect: standard input goes to the peer, and what the
 * peer sends to standard output.
 *
 * A thread reads standard input, which may take for ever; handlers write
 * standard output, and wait where its reader is slow, so that nothing more is
 * read from the peer meanwhile. The end of the input is passed on as a half close.
 */
#include "cli.h"
#include "input.h"
#include "options.h"
#include "output.h"
#include "say.h"
#include "serve.h"
#include "tls_name.h"
#include "wait.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static sttcp_conn *current; /* under the lock: a reference; NULL: nobody is connected */
static atomic_bool input_ended;
static atomic_bool left_out; /* a line that is no message */
static bool keeps;	     /* listen --keep: one after the other */
static bool escapes;	     /* on a terminal, without --raw */
static bool framed;
static const sttcp_options *framing;
static struct begun begun; /* of what came; only the handlers of the connection */

/* ---------------------------------------------------------------------- input */

/* A reference. */
static sttcp_conn *wait_for_conn(void)
{
	sttcp_conn *conn;

	pthread_mutex_lock(&lock);
	while (!current)
		pthread_cond_wait(&changed, &lock);
	conn = sttcp_conn_ref(current);
	pthread_mutex_unlock(&lock);
	return conn;
}

static void pass_on(const char *data, size_t size)
{
	sttcp_conn *conn = wait_for_conn();
	int code = sttcp_conn_send_message(conn, data, size);

	/* The end of a connection is told by its own handler. */
	if (code == -EINVAL || code == -EMSGSIZE) {
		const char *why = why_no_message(framing, data, size);

		atomic_store(&left_out, true);
		say("a line of %zu bytes is no message of this framing: %s", size,
		    why ? why : sttcp_strerror(code));
	}
	sttcp_conn_unref(conn);
}

/* 0, or -errno. */
static int read_bytes(void)
{
	static char data[65536];
	ssize_t n;

	while ((n = input_read(STDIN_FILENO, data, sizeof(data))) > 0)
		pass_on(data, (size_t)n);
	return (int)n;
}

/* Sends the lines in `held`, and returns how much of it they were. */
static size_t pass_lines(const char *held, size_t size)
{
	size_t used = 0;
	const char *end;

	while ((end = memchr(held + used, '\n', size - used))) {
		pass_on(held + used, (size_t)(end - held) - used);
		used = (size_t)(end - held) + 1;
	}
	return used;
}

/* With a framing each line is a message. Not by stdio, whose lock exit(3) might wait for. */
static int read_lines(void)
{
	size_t cap = 65536, size = 0, used;
	char *held = malloc(cap);
	ssize_t n = -ENOMEM;

	while (held && (n = input_read(STDIN_FILENO, held + size, cap - size)) > 0) {
		char *more = held;

		size += (size_t)n;
		used = pass_lines(held, size);
		size -= used;
		memmove(held, held + used, size);
		if (size == cap)
			more = realloc(held, cap *= 2);
		if (!more) {
			n = -ENOMEM;
			break;
		}
		held = more;
	}
	if (n == 0 && size > 0)
		pass_on(held, size);
	free(held);
	return (int)n;
}

/* The peer may not take it for the end of the input: its connection is reset. */
static void fail_input(int code)
{
	sttcp_conn *conn;

	finish(fail(STATUS_FAILED, "standard input: %s", strerror(-code)));
	pthread_mutex_lock(&lock);
	conn = current ? sttcp_conn_ref(current) : NULL;
	pthread_mutex_unlock(&lock);
	if (conn) {
		sttcp_conn_abort(conn);
		sttcp_conn_unref(conn);
	}
}

static void *read_input(void *unused)
{
	sttcp_conn *conn;
	int code = framed ? read_lines() : read_bytes();

	(void)unused;
	if (code < 0) {
		fail_input(code);
		return NULL;
	}
	pthread_mutex_lock(&lock);
	atomic_store(&input_ended, true);
	conn = current ? sttcp_conn_ref(current) : NULL;
	pthread_mutex_unlock(&lock);
	if (conn) {
		sttcp_conn_shutdown(conn);
		sttcp_conn_unref(conn);
	}
	return NULL;
}

static void start_input(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, read_input, NULL) != 0)
		exit(fail(STATUS_START, "there is no thread to be had"));
	pthread_detach(thread);
}

/* --------------------------------------------------------------------- output */

static void print_message(const void *data, size_t size)
{
	char *text = NULL;
	size_t length = 0;
	FILE *out;

	if (!escapes && !framed) {
		output_write(data, size);
		return;
	}
	out = open_memstream(&text, &length);
	if (!out)
		return;
	if (escapes && framed)
		print_escaped(out, data, size, 0);
	else if (escapes)
		print_escaped_part(out, &begun, data, size, 0);
	else
		fwrite(data, 1, size, out);
	if (framed)
		fputc('\n', out);
	fclose(out);
	output_write(text, length);
	free(text);
}

/* Nothing follows what came last. */
static void print_rest(void)
{
	char *text = NULL;
	size_t length = 0;
	FILE *out = begun.size > 0 ? open_memstream(&text, &length) : NULL;

	if (!out)
		return;
	print_escaped_rest(out, &begun, 0);
	fclose(out);
	output_write(text, length);
	free(text);
}

static void receive(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	(void)conn;
	(void)context;
	print_message(data, size);
}

static bool respond(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	receive(conn, data, size, context);
	return output_is_good();
}

/* ----------------------------------------------------------------- connection */

static void tell_connected(const sttcp_conn *conn)
{
	sttcp_tls_info tls;

	if (sttcp_conn_tls(conn, &tls, sizeof(tls)) == 0)
		say("connected %s %s, %s, %s", sttcp_conn_server(conn) ? "by" : "to",
		    sttcp_conn_address(conn), tls.version, tls.cipher);
	else
		say("connected %s %s", sttcp_conn_server(conn) ? "by" : "to",
		    sttcp_conn_address(conn));
}

static bool open_conn(sttcp_conn *conn, void *context)
{
	sttcp_server *server = sttcp_conn_server(conn);
	bool is_free;

	(void)context;
	pthread_mutex_lock(&lock);
	is_free = !current;
	if (is_free)
		current = sttcp_conn_ref(conn);
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	if (!is_free)
		return false;
	tell_connected(conn);
	if (atomic_load(&input_ended))
		sttcp_conn_shutdown(conn);
	if (server && !keeps)
		sttcp_server_stop(server); /* accepts no more; inside a handler it does not wait */
	return true;
}

/* The peer sends no more. Who types would wait for nothing; a file is still sent to its end. */
static void end(sttcp_conn *conn, void *context)
{
	(void)context;
	print_rest();
	if (!isatty(STDIN_FILENO))
		return;
	say("the peer has closed the connection");
	sttcp_conn_shutdown(conn);
}

static void close_conn(sttcp_conn *conn, int reason, void *context)
{
	char words[SENTENCE];
	const char *text = in_own_words(sttcp_conn_fail_text(conn), words, sizeof(words));

	(void)context;
	print_rest();
	pthread_mutex_lock(&lock);
	if (current == conn) {
		sttcp_conn_unref(current);
		current = NULL;
	}
	pthread_mutex_unlock(&lock);
	if (reason != 0 && reason != STTCP_EDESTROYED && reason != STTCP_ECLOSED)
		fail(STATUS_FAILED, "the connection was lost: %s%s%s", sttcp_strerror(reason),
		     *text ? ": " : "", text);
	if (!keeps)
		finish(reason == 0 ? 0 : STATUS_FAILED);
}

static void cannot_connect(sttcp_conn *conn, int reason, void *context)
{
	const char *text = sttcp_conn_fail_text(conn); /* with the address in it */
	char words[SENTENCE];

	(void)context;
	if (reason == STTCP_EDESTROYED)
		return; /* a signal: who gave it knows */
	if (!*text)
		text = sttcp_strerror(reason);
	finish(fail(STATUS_START, "%s%s", in_own_words(text, words, sizeof(words)),
		    advice(reason, text)));
}

/* What was not sent is told where it stands; whoever looks at the status alone learns it at the
 * end. */
static int status_of(int status)
{
	return status == 0 && atomic_load(&left_out) ? STATUS_FAILED : status;
}

/* --------------------------------------------------------------------- verbs */

static error_t set(int key, char *value, struct argp_state *state)
{
	(void)value;
	(void)state;
	switch (key) {
	case 'r':
		escapes = false;
		return 0;
	case 'k':
		keeps = true;
		return 0;
	case ARGP_KEY_INIT:
		escapes = isatty(STDOUT_FILENO);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void prepare(sttcp_options *options)
{
	framed = options->framing != STTCP_FRAMING_RAW;
	framing = options;
	options->half_close = true;
	options->write_timeout_ms = -1; /* a slow peer is fine */
}

/* Ctrl+C: who talks to a person is not waited for. */
static void hang_up(sttcp_server *server)
{
	sttcp_conn *conn;

	(void)server;
	if (!keeps)
		finish(STATUS_INTERRUPTED);
	pthread_mutex_lock(&lock);
	conn = current ? sttcp_conn_ref(current) : NULL;
	pthread_mutex_unlock(&lock);
	if (conn) {
		sttcp_conn_close(conn);
		sttcp_conn_unref(conn);
	}
}

static int run_listen(struct common *common, char **words, int nwords)
{
	sttcp_server *server;

	(void)nwords;
	prepare(&common->server);
	common->server.max_connections = 1;
	server = serve_new(common, words[0]);
	must(sttcp_server_on_connection(server, open_conn));
	must(sttcp_server_on_receive(server, receive));
	must(sttcp_server_on_end(server, end));
	must(sttcp_server_on_disconnection(server, close_conn));
	start_input();
	return status_of(
		serve(common, server, &(struct serving){.quiet = true, .stopping = hang_up}));
}

static int run_connect(struct common *common, char **words, int nwords)
{
	struct address address = read_address(words[0], false);
	sttcp_client *client;

	(void)nwords;
	if (!tls_name_fits(&common->client, words[0], "--tls", "--tls-name"))
		return STATUS_START;
	prepare(&common->client);
	common->client.drain_timeout_ms = 1000; /* after Ctrl+C */
	client = sttcp_client_new(address.host, address.port, &common->client);
	if (!client)
		return fail(STATUS_START, "out of memory");
	must(sttcp_client_on_connection(client, open_conn));
	must(sttcp_client_on_response(client, respond));
	must(sttcp_client_on_end(client, end));
	must(sttcp_client_on_disconnection(client, close_conn));
	must(sttcp_client_on_unconnected(client, cannot_connect));
	if (start_client(client) < 0)
		return fail(STATUS_START, "%s", sttcp_client_error(client));
	start_input();
	if (wait_for(-1) > 0)
		finish(STATUS_INTERRUPTED);
	sttcp_client_free(client);
	return status_of(finish_status());
}

static const struct argp_option listen_options[] = {
	{"keep", 'k', NULL, 0, "Go on with the next peer when one has gone", 0},
	{"raw", 'r', NULL, 0, "Print control characters as they are on a terminal, too", 0},
	{0},
};

static const struct argp_option connect_options[] = {
	{"raw", 'r', NULL, 0, "Print control characters as they are on a terminal, too", 0},
	{0},
};

static const char what_both_do[] =
	"Standard input goes to the peer, and what it sends to standard output. At the end "
	"of the input the sending side is closed (as by 'nc -N'); the program ends when the "
	"peer has closed its side, too. With a --framing each line is a message.";

const struct verb verb_listen = {
	.name = "listen",
	.words = "[HOST:]PORT",
	.least = 1,
	.most = 1,
	.about = "talk to the first who connects",
	.more = what_both_do,
	.takes = TAKES_TLS | TAKES_FRAMING | TAKES_IDLE | TAKES_DRAIN,
	.options = listen_options,
	.set = set,
	.run = run_listen,
};

const struct verb verb_connect = {
	.name = "connect",
	.words = "HOST:PORT",
	.least = 1,
	.most = 1,
	.about = "talk to a server",
	.more = what_both_do,
	.takes = TAKES_DIAL_TLS | TAKES_FRAMING | TAKES_IDLE | TAKES_CONNECT,
	.options = connect_options,
	.set = set,
	.run = run_connect,
};
