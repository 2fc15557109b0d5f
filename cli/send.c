/* SPDX-License-Identifier: MIT */
/*
 * sttcp send: a file to who receives it. All of it is one function from top to
 * bottom in the connection handler, which may block.
 */
#include "cli.h"
#include "clock.h"
#include "input.h"
#include "json.h"
#include "options.h"
#include "progress.h"
#include "say.h"
#include "serve.h"
#include "sha256.h"
#include "tls_name.h"
#include "transfer.h"
#include "wait.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	KEY_PLAIN = KEY_OWN,
	KEY_WAIT
};

static const char *path;
static bool is_plain; /* do not ask who the peer is */
static int greeting_ms = 2000;
static bool peer_has_ended; /* it sends no more; only the connection handler */
static atomic_bool cancelled;
static _Atomic(sttcp_conn *) current; /* a reference, to the very end; NULL: not connected yet */

/* What is sent. Only the connection handler, but for its making. */
static struct {
	int fd;
	struct stat before;
	int64_t size; /* -1: not known */
	off_t start;  /* where it begins; -1: it cannot be read again */
	struct sha256 *hash;
	char digest[SHA256_HEX];
	bool verified;
} file;

static const char *name_of(const char *whole)
{
	const char *slash = strrchr(whole, '/');

	return slash && slash[1] ? slash + 1 : whole;
}

/* Ends the connection so that the peer knows that something is missing. */
__attribute__((__format__(__printf__, 3, 4))) static bool give_up(sttcp_conn *conn, int status,
								  const char *format, ...)
{
	va_list values;
	char *text;

	va_start(values, format);
	if (vasprintf(&text, format, values) >= 0) {
		finish(atomic_load(&cancelled) ? STATUS_INTERRUPTED : fail(status, "%s", text));
		free(text);
	}
	va_end(values);
	sttcp_conn_abort(conn);
	return false;
}

static bool lost(sttcp_conn *conn, int code)
{
	char words[SENTENCE];
	const char *text = in_own_words(sttcp_conn_fail_text(conn), words, sizeof(words));

	return give_up(conn, STATUS_FAILED, "the connection was lost after %lld bytes: %s%s",
		       (long long)progress_moved(), *text ? text : sttcp_strerror(code),
		       is_plain || file.size < 0 ? ""
						 : "; 'sttcp receive --resume' goes on from there");
}

/* -------------------------------------------------------------------- lines */

/* A line without its newline, 0 or a code; -ETIMEDOUT, -ENODATA (a FIN), -EMSGSIZE. What has come
 * of it by then is in `line`. */
static int read_line(sttcp_conn *conn, char line[TRANSFER_LINE], int timeout_ms)
{
	int64_t until_ns = now_ns() + (int64_t)timeout_ms * 1000000;
	size_t length = 0;

	for (line[0] = '\0'; length < TRANSFER_LINE - 1;) {
		int64_t left_ns = until_ns - now_ns();
		int left_ms = timeout_ms < 0 ? -1 : left_ns > 0 ? (int)(left_ns / 1000000) + 1 : 0;
		/* Of a line that has begun the rest is on its way. */
		if (timeout_ms == 0 && length > 0)
			left_ms = 5000;
		ssize_t n = sttcp_conn_recv(conn, line + length, 1, left_ms);

		if (n <= 0)
			return n < 0 ? (int)n : -ENODATA;
		if (line[length] == '\n') {
			line[length] = '\0';
			return 0;
		}
		line[++length] = '\0';
	}
	return -EMSGSIZE;
}

/* ----------------------------------------------------------------- the bytes */

/* Up to a chunk, or what is left of the size that was told. 0 at its end, or -errno. */
static ssize_t read_chunk(char *data, int64_t left)
{
	size_t wanted = left < 0 || left > TRANSFER_CHUNK ? TRANSFER_CHUNK : (size_t)left;
	size_t have = 0;

	while (have < wanted) {
		ssize_t n = input_read(file.fd, data + have, wanted - have);

		if (n < 0)
			return n;
		have += (size_t)n;
		if (n == 0 || left < 0)
			break; /* the end; or a pipe: it goes as it comes */
	}
	return (ssize_t)have;
}

/* A peer that is not ours may answer while it receives, and read no more until somebody takes its
 * answers: where the queue is full they are dropped until there is room. */
static int send_plain_chunk(sttcp_conn *conn, const char *data, size_t size)
{
	static char answers[65536];
	int wait_ms = 1, code;

	while (!peer_has_ended && (code = sttcp_conn_try_send(conn, data, size)) != 0) {
		ssize_t n;

		if (code != -EAGAIN)
			return code;
		n = sttcp_conn_recv(conn, answers, sizeof(answers), wait_ms);
		if (n < 0 && n != -ETIMEDOUT)
			return (int)n;
		peer_has_ended = n == 0;
		if (n < 0 && wait_ms < 20)
			wait_ms *= 2;
	}
	return peer_has_ended ? sttcp_conn_send(conn, data, size) : 0;
}

static int send_chunk(sttcp_conn *conn, char *data, size_t size)
{
	unsigned char length[4] = {(unsigned char)(size >> 24), (unsigned char)(size >> 16),
				   (unsigned char)(size >> 8), (unsigned char)size};
	struct iovec parts[] = {{length, sizeof(length)}, {data, size}};

	return is_plain ? send_plain_chunk(conn, data, size) : sttcp_conn_sendv(conn, parts, 2);
}

static bool has_been_written(const struct stat *now)
{
	return now->st_size != file.before.st_size ||
	       now->st_mtim.tv_sec != file.before.st_mtim.tv_sec ||
	       now->st_mtim.tv_nsec != file.before.st_mtim.tv_nsec;
}

/* Nobody who sends a file may be told lies: a file that has changed meanwhile is none. One that
 * ends too early and has not changed is of sysfs or the like, which tell 4096 of each. */
static const char *what_has_changed(int64_t left)
{
	struct stat now;

	if (file.size < 0 || fstat(file.fd, &now) < 0 || !has_been_written(&now))
		return NULL;
	return left > 0 ? "the file has become shorter while it was sent"
			: "the file has changed while it was sent";
}

static bool send_failure(sttcp_conn *conn, const char *text)
{
	if (!is_plain) {
		sttcp_conn_sendf(conn, "\xff\xff\xff\xff%s\n", text);
		sttcp_conn_close(conn);
		finish(fail(STATUS_FAILED, "%s: %s", path, text));
		return false;
	}
	return give_up(conn, STATUS_FAILED, "%s: %s", path, text);
}

/* While bytes leave nobody should speak: who does tells why he takes no more. */
static bool has_objection(sttcp_conn *conn)
{
	char line[TRANSFER_LINE];
	int code = is_plain ? -ETIMEDOUT : read_line(conn, line, 0);

	if (code == -ETIMEDOUT)
		return false;
	if (code == 0)
		give_up(conn, STATUS_FAILED, "the receiver says: %s", line);
	else
		lost(conn, code == -ENODATA ? -ECONNRESET : code);
	return true;
}

static bool send_bytes(sttcp_conn *conn, int64_t left)
{
	static char data[TRANSFER_CHUNK];
	const char *changed;
	ssize_t n;
	int code;

	while ((n = read_chunk(data, left)) > 0) {
		sha256_add(file.hash, data, (size_t)n);
		code = send_chunk(conn, data, (size_t)n);
		if (code < 0 && !has_objection(conn))
			return lost(conn, code);
		if (code < 0 || has_objection(conn))
			return false;
		progress_add(n);
		if (left > 0)
			left -= n;
	}
	changed = n < 0 ? strerror((int)-n) : what_has_changed(left);
	sha256_text(file.hash, file.digest);
	return !changed || send_failure(conn, changed);
}

/* ------------------------------------------------------------------- the peer */

/* One that knows nothing of us has it all when the kernel has been told so. It need not close its
 * side: nc goes on until its own input ends. */
static bool end_plain(sttcp_conn *conn)
{
	char rest[4096];
	int waiting = 1;
	ssize_t n;

	sttcp_conn_shutdown(conn);
	do {
		n = sttcp_conn_recv(conn, rest, sizeof(rest), 20);
		if (n == 0)
			return true;
		if (n < 0 && n != -ETIMEDOUT)
			return lost(conn, (int)n);
	} while (ioctl(sttcp_conn_fd(conn), SIOCOUTQ, &waiting) == 0 && waiting > 0);
	return true;
}

static bool send_plain(sttcp_conn *conn)
{
	is_plain = true;
	progress_begin(0, file.size);
	return send_bytes(conn, file.size) && end_plain(conn);
}

/* Reads so many bytes into the hash: whether they are what the receiver has. */
static bool begins_with(int64_t size, const char *digest)
{
	static char data[TRANSFER_CHUNK];
	char own[SHA256_HEX];
	ssize_t n;

	for (; size > 0; size -= n) {
		n = read_chunk(data, size);
		if (n <= 0)
			return false;
		sha256_add(file.hash, data, (size_t)n);
	}
	sha256_text(file.hash, own);
	return !strcmp(own, digest);
}

/* Whether what the receiver has already is the beginning of this file: how many bytes of it need
 * not be sent. -1: they are not, and those that are here have gone by. */
static int64_t find_common(int64_t offset, const char *digest)
{
	if (offset <= 0 || (file.size >= 0 && file.size < offset))
		return 0;
	if (begins_with(offset, digest))
		return offset;
	sha256_reset(file.hash);
	return file.start >= 0 && lseek(file.fd, file.start, SEEK_SET) >= 0 ? 0 : -1;
}

static bool end_checked(sttcp_conn *conn)
{
	char line[TRANSFER_LINE];
	int code = sttcp_conn_sendf(conn, "%c%c%c%c%s\n", 0, 0, 0, 0, file.digest);

	if (code == 0)
		code = read_line(conn, line, -1);
	if (code < 0)
		return lost(conn, code == -ENODATA ? -ECONNRESET : code);
	if (strcmp(line, "ok") != 0)
		return give_up(conn, STATUS_FAILED, "the receiver says: %s", line);
	file.verified = true;
	return true;
}

/* The header is a line, so the name must not end it; the receiver only shows it. NULL: no memory.
 */
static char *header_name(void)
{
	const char *name = name_of(path);
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	print_escaped(out, name, strlen(name), ESCAPE_NEWLINES | ESCAPE_TABS);
	fclose(out);
	return text;
}

static int send_header(sttcp_conn *conn, int64_t from)
{
	char *name = header_name();
	size_t shown = name ? whole_size(name, strlen(name), 200) : 0;
	int code = sttcp_conn_sendf(conn, TRANSFER_SENDS "%lld %lld %.*s\n", (long long)file.size,
				    (long long)from, (int)shown, name ? name : "");

	free(name);
	return code;
}

/* The receiver keeps what it has: as if it were gone on with, but no byte comes. */
static bool refuse_to_resume(sttcp_conn *conn, int64_t offset)
{
	char text[200];
	int code = send_header(conn, offset);

	snprintf(text, sizeof(text),
		 "it does not begin with the %lld bytes that are there, and cannot be read "
		 "again; 'sttcp receive --force' begins anew",
		 (long long)offset);
	return code < 0 ? lost(conn, code) : send_failure(conn, text);
}

static bool send_checked(sttcp_conn *conn, const char *greeting)
{
	char digest[SHA256_HEX] = "";
	long long offset = 0;
	int64_t from;
	int code;

	if (sscanf(greeting, TRANSFER_RECEIVES "%lld %64s", &offset, digest) != 2)
		return give_up(conn, STATUS_FAILED, "the receiver speaks in riddles: %s", greeting);
	from = find_common(offset, digest);
	if (from < 0)
		return refuse_to_resume(conn, offset);
	if (from > 0)
		say("goes on after %lld bytes that are there", (long long)from);
	else if (offset > 0)
		say("what is there is not the beginning of this file: all of it is sent");
	code = send_header(conn, from);
	if (code < 0)
		return lost(conn, code);
	progress_begin(from, file.size);
	return send_bytes(conn, file.size < 0 ? -1 : file.size - from) && end_checked(conn);
}

static void tell_done(void)
{
	char size[24], took[24], rate[24];
	double seconds = progress_seconds();
	int64_t bytes = progress_moved();

	progress_end();
	say("%s: %s in %s, %s/s, SHA-256 %s%s", path, human_size(size, sizeof(size), (double)bytes),
	    human_time(took, sizeof(took), seconds),
	    human_size(rate, sizeof(rate), seconds > 0 ? (double)bytes / seconds : 0), file.digest,
	    file.verified ? ", as received" : "; the peer does not check it");
}

static void print_json(void)
{
	struct json json;

	json_begin(&json, "sent");
	json_text(&json, "file", path);
	json_int(&json, "bytes", progress_moved());
	json_real(&json, "seconds", progress_seconds());
	json_text(&json, "sha256", file.digest);
	json_bool(&json, "verified", file.verified);
	json_end(&json);
}

static bool send_file(sttcp_conn *conn, void *json)
{
	char line[TRANSFER_LINE];
	bool done;
	int code;

	atomic_store(&current, sttcp_conn_ref(conn));
	code = is_plain ? -ETIMEDOUT : read_line(conn, line, greeting_ms);
	if (code == 0 && !strncmp(line, TRANSFER_RECEIVES, strlen(TRANSFER_RECEIVES)))
		done = send_checked(conn, line);
	else if (code == -ETIMEDOUT || code == 0 || code == -EMSGSIZE || code == -ENODATA)
		done = send_plain(conn);
	else
		done = lost(conn, code);
	if (!done)
		return false;
	tell_done();
	if (json)
		print_json();
	finish(0);
	return false; /* closes it */
}

static void cannot_connect(sttcp_conn *conn, int reason, void *context)
{
	const char *text = sttcp_conn_fail_text(conn); /* with the address in it */
	char words[SENTENCE];

	(void)context;
	if (!*text)
		text = sttcp_strerror(reason);
	finish(fail(STATUS_START, "%s%s", in_own_words(text, words, sizeof(words)),
		    advice(reason, text)));
}

/* ----------------------------------------------------------------------- verb */

/* Returns 0 or an exit status. */
static int open_file(const char *to)
{
	wait_unguard(); /* a pipe without a writer is waited for */
	file.fd = strcmp(path, "-") ? open(path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
	wait_guard();
	if (file.fd < 0 || fstat(file.fd, &file.before) < 0)
		return fail(STATUS_START, "%s: %s", path, strerror(errno));
	if (S_ISDIR(file.before.st_mode))
		return fail(STATUS_START,
			    "%s is a directory; 'tar -c %s | sttcp send - %s' sends it", path, path,
			    to);
	/* Those of procfs are as long as they happen to be, and tell 0. */
	file.size =
		S_ISREG(file.before.st_mode) && file.before.st_size > 0 ? file.before.st_size : -1;
	file.start = S_ISREG(file.before.st_mode) ? lseek(file.fd, 0, SEEK_CUR) : -1;
	if (file.start != 0)
		file.size = -1; /* somebody has read from it */
	file.hash = sha256_new();
	return file.hash ? 0 : fail(STATUS_START, "out of memory");
}

/* No FIN, which would look like an end: the socket is reset, if not before, then when the process
 * ends. The client gives no connection while its handler runs. */
static void cancel(void)
{
	const struct linger now = {.l_onoff = 1, .l_linger = 0};
	sttcp_conn *conn = atomic_load(&current);

	atomic_store(&cancelled, true);
	finish(STATUS_INTERRUPTED);
	if (conn) {
		setsockopt(sttcp_conn_fd(conn), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		sttcp_conn_abort(conn);
	}
}

static int run(struct common *common, char **words, int nwords)
{
	struct address address = read_address(words[1], false);
	sttcp_client *client;
	int woken, status;

	(void)nwords;
	if (!tls_name_fits(&common->client, words[1], "--tls", "--tls-name"))
		return STATUS_START;
	path = words[0];
	status = open_file(words[1]);
	if (status)
		return status;
	common->client.half_close = true; /* who sends nothing may still receive */
	client = sttcp_client_new(address.host, address.port, &common->client);
	if (!client)
		return fail(STATUS_START, "out of memory");
	must(sttcp_client_set_context(client, common->json ? common : NULL));
	must(sttcp_client_on_connection(client, send_file));
	must(sttcp_client_on_unconnected(client, cannot_connect));
	if (start_client(client) < 0)
		return fail(STATUS_START, "%s", sttcp_client_error(client));
	while ((woken = wait_for(progress_wait_ms())) == WOKEN_BY_TIME)
		progress_draw();
	progress_end();
	if (woken > 0) {
		cancel();
		_exit(STATUS_INTERRUPTED); /* the handler may stand in a read of standard input */
	}
	sttcp_client_wait(client, -1); /* what is queued still leaves */
	sttcp_client_free(client);
	if (atomic_load(&current))
		sttcp_conn_unref(atomic_load(&current));
	sha256_free(file.hash);
	return finish_status();
}

static error_t set(int key, char *value, struct argp_state *state)
{
	switch (key) {
	case KEY_PLAIN:
		is_plain = true;
		return 0;
	case KEY_WAIT:
		greeting_ms = read_time_ms(state, "--wait", value);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option options[] = {
	{"plain", KEY_PLAIN, NULL, 0, "Send the bytes at once, to a peer that is not sttcp receive",
	 0},
	{"wait", KEY_WAIT, "SECONDS", 0,
	 "How long to wait for sttcp receive to say who it is; 2 by default", 0},
	{0},
};

const struct verb verb_send = {
	.name = "send",
	.words = "FILE HOST:PORT",
	.least = 2,
	.most = 2,
	.about = "send a file",
	.more = "The FILE '-' is standard input. To 'sttcp receive' it goes with a checksum, and "
		"the "
		"exit status is 0 only when all of it has arrived. Any other peer, such as "
		"'nc -l PORT >FILE', gets the bytes as they are, after --wait.",
	.takes = TAKES_DIAL_TLS | TAKES_CONNECT | TAKES_JSON,
	.options = options,
	.set = set,
	.run = run,
};
