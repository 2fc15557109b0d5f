/* SPDX-License-Identifier: MIT */
/*
 * sttcp receive: a file from who sends it. It is written under another name, and
 * gets its own once it is whole, so that a file with its name is never half of one.
 */
#include "cli.h"
#include "json.h"
#include "options.h"
#include "output.h"
#include "part.h"
#include "progress.h"
#include "say.h"
#include "serve.h"
#include "sha256.h"
#include "transfer.h"
#include "wait.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	GREETING_AFTER_MS = 50
};

static bool resumes, overwrites, as_json;

/* Where it goes to. Set before the start; then only the handlers of the one connection. */
static struct {
	const char *path; /* NULL: standard output */
	char *part;	  /* the name until it is whole; NULL: it is written to as it is */
	bool replaces;	  /* `part` is of another transfer, until something comes */
	int fd;
	int64_t size;	 /* what is there */
	int64_t resumed; /* what was there before */
	struct sha256 *hash;
} file;

/* What is expected next. */
enum state {
	UNKNOWN,
	PLAIN,
	HEADER,
	LENGTH,
	BYTES,
	DIGEST,
	REASON,
	DONE
};

static struct {
	enum state state;
	bool greeted;
	char line[TRANSFER_LINE]; /* a header, a length, a digest, as far as it has come */
	size_t length;
	uint32_t left; /* of a chunk */
} talk;

static atomic_bool taken; /* there is a connection already */

/* ----------------------------------------------------------------------- end */

/* There is nothing in it. */
static void drop_part(void)
{
	if (file.part && !file.replaces)
		unlink(file.part);
}

static void keep_part(void)
{
	if (file.size == 0)
		drop_part();
	else if (file.part)
		say("the %lld bytes that came are in %s; 'sttcp receive --resume' goes on from "
		    "there",
		    (long long)file.size, file.part);
}

/* Tells the peer, who may be one of ours. */
static void end_talk(sttcp_conn *conn, const char *text)
{
	talk.state = DONE;
	if (talk.greeted)
		sttcp_conn_sendf(conn, "%s\n", text);
	sttcp_conn_close(conn);
	progress_end();
}

static void give_up(sttcp_conn *conn, const char *text)
{
	end_talk(conn, text);
	fail(STATUS_FAILED, "%s", text);
	keep_part();
	finish(STATUS_FAILED);
}

static void print_json(const char *digest, bool verified)
{
	struct json json;

	if (!as_json)
		return;
	json_begin(&json, "received");
	json_text(&json, "file", file.path ? file.path : "-");
	json_int(&json, "bytes", file.size);
	json_int(&json, "resumed", file.resumed);
	json_real(&json, "seconds", progress_seconds());
	json_text(&json, "sha256", digest);
	json_bool(&json, "verified", verified);
	json_end(&json);
}

static void tell_done(const char *digest, bool verified)
{
	char size[24], took[24], rate[24];
	double seconds = progress_seconds();

	progress_end();
	say("%s: %s in %s, %s/s, SHA-256 %s%s", file.path ? file.path : "standard output",
	    human_size(size, sizeof(size), (double)file.size),
	    human_time(took, sizeof(took), seconds),
	    human_size(rate, sizeof(rate), seconds > 0 ? (double)progress_moved() / seconds : 0),
	    digest, verified ? ", as sent" : "; the peer does not check it");
	print_json(digest, verified);
}

/* With --force what another transfer has left goes now. False: it cannot, and that is told. */
static bool replace_part(sttcp_conn *conn)
{
	char *text;
	int error = file.replaces ? part_replace(file.part, &file.fd) : 0;

	if (error == 0) {
		file.replaces = false;
		return true;
	}
	if (asprintf(&text, "%s: %s", file.part, strerror(error)) >= 0) {
		give_up(conn, text);
		free(text);
	}
	return false;
}

/* 0, or an errno: some file systems tell of a full disk only here. */
static int complete(void)
{
	/* A copy keeps the lock until the name is given: nobody may go on with the part before. */
	int held = file.part ? fcntl(file.fd, F_DUPFD_CLOEXEC, 0) : -1, error = 0;

	if (file.fd != STDOUT_FILENO && close(file.fd) < 0)
		error = errno;
	else if (file.part)
		error = part_name(file.part, file.path, overwrites);
	if (held >= 0)
		close(held);
	return error;
}

static void give_up_completing(sttcp_conn *conn, int error)
{
	char *text;

	if (asprintf(&text, "%s: %s", file.path ? file.path : "standard output",
		     error == EEXIST ? "it has appeared during the transfer, and is not replaced "
				       "without --force"
				     : strerror(error)) < 0) {
		give_up(conn, strerror(error));
		return;
	}
	give_up(conn, text);
	free(text);
}

static void end_well(sttcp_conn *conn, bool verified)
{
	char digest[SHA256_HEX];
	int error;

	if (!replace_part(conn))
		return;
	error = complete();
	if (error) {
		give_up_completing(conn, error);
		return;
	}
	talk.state = DONE;
	sha256_text(file.hash, digest);
	tell_done(digest, verified);
	if (verified)
		sttcp_conn_sendf(conn, "ok\n");
	sttcp_conn_close(conn);
	finish(0);
}

/* --------------------------------------------------------------------- bytes */

static void count(int64_t bytes)
{
	file.size += bytes;
	progress_add(bytes);
}

/* Why it takes no more is told there already. */
static bool store_output(sttcp_conn *conn, const char *data, size_t size)
{
	char text[200];

	if (output_write(data, size)) {
		count((int64_t)size);
		return true;
	}
	snprintf(text, sizeof(text), "standard output: %s", output_why());
	end_talk(conn, text);
	return false;
}

/* Returns 0 or an errno. */
static int write_bytes(const char *data, size_t size)
{
	while (size > 0) {
		ssize_t n = write(file.fd, data, size);

		if (n < 0 && errno != EINTR)
			return errno;
		if (n > 0) {
			data += n;
			size -= (size_t)n;
			count(n);
		}
	}
	return 0;
}

static bool store(sttcp_conn *conn, const char *data, size_t size)
{
	char *text;
	int error;

	if (!replace_part(conn))
		return false;
	sha256_add(file.hash, data, size);
	if (file.fd == STDOUT_FILENO)
		return store_output(conn, data, size);
	error = write_bytes(data, size);
	if (error == 0)
		return true;
	if (asprintf(&text, "%s: %s", file.path, strerror(error)) >= 0) {
		give_up(conn, text);
		free(text);
	}
	return false;
}

/* ------------------------------------------------------------------ the talk */

static void take_header(sttcp_conn *conn)
{
	long long size = 0, from = 0;
	int name_at = 0;

	if (sscanf(talk.line, TRANSFER_SENDS "%lld %lld %n", &size, &from, &name_at) != 2 ||
	    name_at == 0 || (from != 0 && from != file.size)) {
		give_up(conn, "the sender speaks in riddles");
		return;
	}
	if (from == 0 && file.size > 0) {
		say("what was there is not the beginning of it: all of it comes again");
		if (ftruncate(file.fd, 0) < 0 || lseek(file.fd, 0, SEEK_SET) < 0) {
			give_up(conn, strerror(errno));
			return;
		}
		sha256_reset(file.hash);
		file.size = 0;
	}
	file.resumed = from;
	say("receiving %s from %s", talk.line + name_at, sttcp_conn_address(conn));
	progress_begin(from, size);
	talk.state = LENGTH;
}

static void take_digest(sttcp_conn *conn)
{
	char digest[SHA256_HEX];

	sha256_text(file.hash, digest);
	if (!strcmp(digest, talk.line))
		end_well(conn, true);
	else
		give_up(conn, "the checksum is another one: what came is not what was sent");
}

static void take_reason(sttcp_conn *conn)
{
	char *text;

	if (asprintf(&text, "the sender says: %s", talk.line) < 0)
		return;
	talk.greeted = false; /* it knows */
	give_up(conn, text);
	free(text);
}

static void take_length(void)
{
	const unsigned char *bytes = (const unsigned char *)talk.line;

	talk.left = (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
		    bytes[3];
	talk.state = talk.left == TRANSFER_FAILED ? REASON : talk.left == 0 ? DIGEST : BYTES;
}

/* Takes bytes up to a newline, or up to four; returns how many. Calls what comes next when they are
 * complete. */
static size_t collect(sttcp_conn *conn, const char *data, size_t size)
{
	bool is_line = talk.state != LENGTH;
	size_t used = 0;

	while (used < size) {
		char byte = data[used++];

		if (is_line ? byte == '\n' : talk.length == 3) {
			talk.line[talk.length] = is_line ? '\0' : byte;
			talk.length = 0;
			if (talk.state == HEADER)
				take_header(conn);
			else if (talk.state == DIGEST)
				take_digest(conn);
			else if (talk.state == REASON)
				take_reason(conn);
			else
				take_length();
			break;
		}
		if (talk.length == sizeof(talk.line) - 1) {
			give_up(conn, "the sender speaks in riddles");
			break;
		}
		talk.line[talk.length++] = byte;
	}
	return used;
}

static size_t take_bytes(sttcp_conn *conn, const char *data, size_t size)
{
	size_t count = size < talk.left ? size : talk.left;

	if (!store(conn, data, count))
		return count;
	talk.left -= (uint32_t)count;
	if (talk.left == 0)
		talk.state = LENGTH;
	return count;
}

/* The first bytes say who it is. Those that look like our sender's first line, and only to somebody
 * who was greeted, are one; they may come one by one. */
static void recognise(sttcp_conn *conn, const char *data, size_t size)
{
	static const char first[] = TRANSFER_SENDS;
	size_t matches = 0;

	while (talk.greeted && matches < size && talk.length + matches < sizeof(first) - 1 &&
	       data[matches] == first[talk.length + matches])
		matches++;
	if (talk.greeted && (matches == size || talk.length + matches == sizeof(first) - 1)) {
		if (talk.length + matches == sizeof(first) - 1)
			talk.state = HEADER;
		return; /* collected below */
	}
	talk.state = PLAIN;
	if (file.size > 0) {
		talk.greeted = false;
		give_up(conn, "the peer is not 'sttcp send', and cannot go on in the middle");
		return;
	}
	say("receiving from %s", sttcp_conn_address(conn));
	progress_begin(0, -1);
	if (talk.length > 0 && store(conn, talk.line, talk.length))
		talk.length = 0;
}

static void receive(sttcp_conn *conn, const void *bytes, size_t size, void *context)
{
	const char *data = bytes;

	(void)context;
	if (talk.state == UNKNOWN) {
		recognise(conn, data, size);
		if (talk.state == UNKNOWN) {
			memcpy(talk.line + talk.length, data, size);
			talk.length += size;
			return;
		}
	}
	while (size > 0 && talk.state != DONE) {
		size_t used = size;

		if (talk.state == PLAIN)
			store(conn, data, size);
		else if (talk.state == BYTES)
			used = take_bytes(conn, data, size);
		else
			used = collect(conn, data, size);
		data += used;
		size -= used;
	}
}

/* A peer that has said nothing so far may be one of ours. */
static void greet(sttcp_conn *conn, void *unused)
{
	char digest[SHA256_HEX] = "-";

	(void)unused;
	if (talk.state != UNKNOWN)
		return;
	talk.greeted = true;
	if (file.size > 0)
		sha256_text(file.hash, digest);
	sttcp_conn_sendf(conn, TRANSFER_RECEIVES "%lld %s\n", (long long)file.size, digest);
}

static bool begin(sttcp_conn *conn, void *context)
{
	(void)context;
	if (atomic_exchange(&taken, true))
		return false;
	sttcp_server_stop(
		sttcp_conn_server(conn)); /* accepts no more; inside a handler it does not wait */
	return sttcp_conn_after(conn, GREETING_AFTER_MS, greet, NULL, NULL) > 0;
}

static void gone(sttcp_conn *conn, int reason, void *context)
{
	char words[SENTENCE];
	const char *text = in_own_words(sttcp_conn_fail_text(conn), words, sizeof(words));

	(void)context;
	if (talk.state == DONE)
		return;
	progress_end();
	if (reason == 0 && talk.state == UNKNOWN && file.size == 0) {
		progress_begin(0, 0);
		if (talk.length == 0 || store(conn, talk.line, talk.length))
			end_well(conn, false);
	} else if (reason == 0 && talk.state == PLAIN) {
		end_well(conn, false);
	} else {
		fail(STATUS_FAILED, "the file was cut after %lld bytes: %s%s%s",
		     (long long)file.size,
		     reason ? sttcp_strerror(reason) : "the sender has ended too early",
		     *text ? ": " : "", text);
		keep_part();
		finish(reason == STTCP_ESTOPPED ? STATUS_INTERRUPTED : STATUS_FAILED);
	}
}

/* ------------------------------------------------------------------- opening */

/* Hashes what is there, and stands at its end. Returns 0 or an errno. */
static int read_part(void)
{
	char data[65536];
	ssize_t n;

	while ((n = read(file.fd, data, sizeof(data))) > 0) {
		sha256_add(file.hash, data, (size_t)n);
		file.size += n;
	}
	return n < 0 ? errno : 0;
}

static int open_part(void)
{
	int error, status;

	if (asprintf(&file.part, "%s.part", file.path) < 0)
		return fail(STATUS_START, "out of memory");
	if (overwrites && !resumes) {
		status = part_hold(file.part, &file.fd, &file.replaces);
		if (status || file.replaces)
			return status;
	}
	status = part_open(file.part, resumes ? PART_RESUMED : PART_NEW, &file.fd);
	if (status || !resumes)
		return status;
	wait_unguard(); /* a big one takes its time */
	error = read_part();
	wait_guard();
	return error ? fail(STATUS_START, "%s: %s", file.part, strerror(error)) : 0;
}

/* What is no regular file, such as /dev/null or a pipe, is written to, and not replaced. */
static int open_file(void)
{
	struct stat info;

	file.hash = sha256_new();
	if (!file.hash)
		return fail(STATUS_START, "out of memory");
	if (!file.path) {
		file.fd = STDOUT_FILENO;
		if (isatty(STDOUT_FILENO))
			return fail(STATUS_USAGE, "standard output is a terminal: name a FILE, or "
						  "redirect it");
		return 0;
	}
	if (stat(file.path, &info) < 0 || S_ISREG(info.st_mode)) {
		if (access(file.path, F_OK) == 0 && !overwrites)
			return fail(STATUS_START, "%s is there already; --force replaces it",
				    file.path);
		return open_part();
	}
	if (S_ISDIR(info.st_mode))
		return fail(STATUS_START, "%s is a directory; name a file in it", file.path);
	wait_unguard(); /* a pipe without a reader is waited for */
	file.fd = open(file.path, O_WRONLY | O_CLOEXEC);
	wait_guard();
	return file.fd < 0 ? fail(STATUS_START, "%s: %s", file.path, strerror(errno)) : 0;
}

static error_t set(int key, char *value, struct argp_state *state)
{
	(void)value;
	(void)state;
	switch (key) {
	case 'r':
		resumes = true;
		return 0;
	case 'f':
		overwrites = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int run(struct common *common, char **words, int nwords)
{
	sttcp_server *server;
	int status;

	file.path = nwords > 1 && strcmp(words[1], "-") ? words[1] : NULL;
	as_json = common->json;
	if (!file.path && (as_json || resumes))
		return fail(STATUS_USAGE,
			    "%s needs a FILE, because standard output is for its bytes",
			    as_json ? "--json" : "--resume");
	status = open_file();
	if (status)
		return status;
	server = serve_new(common, words[0]);
	must(sttcp_server_on_connection(server, begin));
	must(sttcp_server_on_receive(server, receive));
	must(sttcp_server_on_disconnection(server, gone));
	status = serve(common, server,
		       &(struct serving){
			       .quiet = true, .wait_ms = progress_wait_ms, .tick = progress_draw});
	if (file.size == 0 && status)
		drop_part();
	if (!is_finished() && status != STATUS_START) {
		keep_part();
		status = STATUS_INTERRUPTED;
	}
	sha256_free(file.hash);
	free(file.part);
	return status;
}

static const struct argp_option options[] = {
	{"resume", 'r', NULL, 0, "Go on with FILE.part, which a transfer that was cut has left", 0},
	{"force", 'f', NULL, 0, "Replace FILE, and FILE.part", 0},
	{0},
};

const struct verb verb_receive = {
	.name = "receive",
	.words = "[HOST:]PORT [FILE]",
	.least = 1,
	.most = 2,
	.about = "receive a file",
	.more = "From 'sttcp send' it comes with a checksum, and the exit status is 0 only when "
		"all of "
		"it has arrived. Any other sender will do, such as 'nc -N HOST PORT <FILE'; "
		"whether "
		"its file was cut cannot be told unless the connection was reset. Until it is "
		"whole "
		"the file is called FILE.part. Without FILE, or with '-', it goes to standard "
		"output.",
	.takes = TAKES_TLS | TAKES_IDLE | TAKES_DRAIN | TAKES_JSON,
	.options = options,
	.set = set,
	.run = run,
};
