/* SPDX-License-Identifier: MIT */
/*
 * sttcp exec: a process for each connection, whose standard input and output are
 * the connection, as inetd does.
 *
 * A piece of work of the library's reads from the process and may block in it.
 * The receive handler writes to the process; while that does not read, another
 * piece of work waits, and the connection is paused, so that its end is seen. The
 * disconnection handler waits for the end of the process: until it returns, the
 * connection counts for the limit.
 */
#include "child.h"
#include "clock.h"
#include "cli.h"
#include "files.h"
#include "json.h"
#include "options.h"
#include "say.h"
#include "serve.h"
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum {
	DEFAULT_MAX = 100,
	NVARIABLES = 5,
	FILES_EACH = 4,	    /* a connection, two pipes and what tells that it is gone */
	THREADS_EACH = 2,   /* that may wait for a process: one reads, one writes or sees its end */
	MAX_THREADS = 4096, /* the library's own limit */
};

static char **command;
static bool with_stderr;
static bool as_json;
static int32_t limit;

struct job {
	atomic_int refs;  /* of the connection, and of the work that reads from the process */
	sttcp_conn *conn; /* a reference of the work's */
	int64_t began_ns;
	int out;  /* from the process; only the work that reads */
	int over; /* an eventfd, readable from the end of the connection on */

	struct child child;

	pthread_mutex_t lock;
	/* Under the lock. */
	int in;		  /* to the process; -1: it is closed */
	bool is_flushing; /* a piece of work has `in`, and writes `rest` */
	bool is_gone;	  /* the connection has ended */

	/* Of the handlers, while nobody is flushing, else of that work. */
	char *rest;
	size_t rest_size;
	sttcp_conn *rest_conn; /* a reference of that work's */
};

static void unref_job(void *argument)
{
	struct job *job = argument;

	if (atomic_fetch_sub(&job->refs, 1) > 1)
		return;
	if (job->in >= 0)
		close(job->in);
	if (job->over >= 0)
		close(job->over);
	child_fini(&job->child);
	pthread_mutex_destroy(&job->lock);
	free(job->rest);
	free(job);
}

/* -------------------------------------------------------------------- process */

/* As UCSPI names them, which tcpserver and others have made known. */
static bool make_variables(const sttcp_conn *conn, char *variables[NVARIABLES])
{
	char text[300], *local = text, *colon;

	snprintf(text, sizeof(text), "%s", sttcp_conn_local_address(conn));
	if (!strncmp(local, "unix:", 5))
		return asprintf(&variables[0], "PROTO=UNIX") >= 0 &&
		       asprintf(&variables[1], "UNIXLOCALPATH=%s", local + 5) >= 0;
	colon = strrchr(local, ':');
	if (colon)
		*colon = '\0';
	if (*local == '[') { /* an address of IPv6 has brackets only beside a port */
		local++;
		local[strcspn(local, "]")] = '\0';
	}
	return asprintf(&variables[0], "PROTO=TCP") >= 0 &&
	       asprintf(&variables[1], "TCPREMOTEIP=%s", sttcp_conn_host(conn)) >= 0 &&
	       asprintf(&variables[2], "TCPREMOTEPORT=%d", sttcp_conn_port(conn)) >= 0 &&
	       asprintf(&variables[3], "TCPLOCALIP=%s", local) >= 0 &&
	       asprintf(&variables[4], "TCPLOCALPORT=%s", colon ? colon + 1 : "0") >= 0;
}

/* Whoever runs us may have been called by a peer of its own: what is told of that one, by any of
 * the names of UCSPI, is not true of ours. */
static bool tells_of_peer(const char *entry)
{
	static const char *const beginnings[] = {"PROTO=", "TCPREMOTE", "TCPLOCAL", "UNIXREMOTE",
						 "UNIXLOCAL"};

	for (size_t i = 0; i < sizeof(beginnings) / sizeof(*beginnings); i++)
		if (!strncmp(entry, beginnings[i], strlen(beginnings[i])))
			return true;
	return false;
}

/* The variables, and the rest of the environment. */
static char **make_environment(char *variables[NVARIABLES])
{
	size_t count = 0, used = 0;
	char **all;

	while (environ[count])
		count++;
	all = calloc(count + NVARIABLES + 1, sizeof(*all));
	if (!all)
		return NULL;
	while (used < NVARIABLES && variables[used]) {
		all[used] = variables[used];
		used++;
	}
	for (size_t i = 0; i < count; i++)
		if (!tells_of_peer(environ[i]))
			all[used++] = environ[i];
	return all;
}

/* Returns 0 or an errno. */
static int start_process(struct job *job, const sttcp_conn *conn)
{
	char *variables[NVARIABLES] = {0}, **environment = NULL;
	int in[2] = {-1, -1}, out[2] = {-1, -1}, error = ENOMEM;

	if (make_variables(conn, variables) && (environment = make_environment(variables)) &&
	    pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0 &&
	    fcntl(in[1], F_SETFL, O_NONBLOCK) == 0)
		error = spawn(&(struct spawning){command, environment, in[0], out[1], with_stderr},
			      &job->child.pid);
	else if (environment)
		error = errno;
	for (int i = 0; i < NVARIABLES; i++)
		free(variables[i]);
	free(environment);
	if (in[0] >= 0)
		close(in[0]);
	if (out[1] >= 0)
		close(out[1]);
	job->in = in[1];
	job->out = out[0];
	return error;
}

static void tell_end(const struct job *job, pid_t pid, int status)
{
	const char *address = sttcp_conn_address(job->conn);
	sttcp_conn_counts counts = {0};
	struct json json;

	if (WIFSIGNALED(status))
		say("%s: %s was ended by signal %d (%s)", address, command[0], WTERMSIG(status),
		    strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status) != 0)
		say("%s: %s has ended with status %d", address, command[0], WEXITSTATUS(status));
	if (!as_json)
		return;
	sttcp_conn_stats(job->conn, &counts, sizeof(counts));
	json_begin(&json, "exec");
	json_text(&json, "address", address);
	json_int(&json, "pid", pid);
	json_int(&json, WIFSIGNALED(status) ? "signal" : "status",
		 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	json_int(&json, "bytes_in", counts.bytes_in);
	json_int(&json, "bytes_out", counts.bytes_out);
	json_real(&json, "seconds", (double)(now_ns() - job->began_ns) / 1e9);
	json_end(&json);
}

/* ----------------------------------------------------------------------- work */

static bool is_gone(struct job *job)
{
	bool gone;

	pthread_mutex_lock(&job->lock);
	gone = job->is_gone;
	pthread_mutex_unlock(&job->lock);
	return gone;
}

/* Until the process has something, or takes something, or the peer is gone. */
static void wait_for_file(int fd, short events, const struct job *job)
{
	struct pollfd fds[] = {{.fd = fd, .events = events}, {.fd = job->over, .events = POLLIN}};

	while (poll(fds, 2, -1) < 0 && errno == EINTR)
		;
}

/* False: the peer is gone. That is waited for, too, because the process may have ended and have
 * left its output to one that is in its group no more and gets no signal: then no end ever comes.
 */
static bool wait_for_output(struct job *job)
{
	wait_for_file(job->out, POLLIN, job);
	return !is_gone(job);
}

/* What the process writes goes to the peer. At the end of that the peer gets a FIN, and once the
 * process has ended the connection ends, too. */
static void read_process(void *argument)
{
	struct job *job = argument;
	pid_t pid = job->child.pid; /* only this work changes it */
	char data[65536];

	while (wait_for_output(job)) {
		ssize_t n = read(job->out, data, sizeof(data));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || sttcp_conn_send(job->conn, data, (size_t)n) < 0)
			break;
	}
	close(job->out);
	sttcp_conn_shutdown(job->conn);
	tell_end(job, pid, child_wait(&job->child));
	child_remove(&job->child);
	sttcp_conn_close(job->conn);
	sttcp_conn_unref(job->conn);
	unref_job(job);
}

/* ------------------------------------------------------------------- handlers */

/* Connections that linger count for the limit and are no members: the counter knows of them. */
static bool is_at_limit(const sttcp_server *server)
{
	sttcp_stats stats = {0};

	if (sttcp_server_count(server) + 1 >= limit)
		return true;
	return sttcp_server_stats(server, &stats, sizeof(stats)) == 0 && stats.over_connections > 0;
}

static void note_limit(const sttcp_conn *conn)
{
	static atomic_bool told;

	if (atomic_load(&told) || !is_at_limit(sttcp_conn_server(conn)))
		return;
	if (!atomic_exchange(&told, true))
		say("%d connection%s the limit; others wait until %s ends (--max N allows more)",
		    limit, limit == 1 ? " is" : "s are", limit == 1 ? "it" : "one");
}

static struct job *new_job(sttcp_conn *conn)
{
	struct job *job = calloc(1, sizeof(*job));
	int error;

	if (!job)
		return NULL;
	child_init(&job->child);
	pthread_mutex_init(&job->lock, NULL);
	atomic_init(&job->refs, 1);
	job->began_ns = now_ns();
	job->in = job->out = -1;
	job->over = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	error = job->over < 0 ? errno : start_process(job, conn);
	if (error == 0)
		return job;
	say("%s: cannot run %s: %s", sttcp_conn_address(conn), command[0], strerror(error));
	if (job->out >= 0)
		close(job->out);
	unref_job(job);
	return NULL;
}

static bool begin(sttcp_conn *conn, void *context)
{
	struct job *job = new_job(conn);
	int code;

	(void)context;
	if (!job)
		return false;
	job->conn = sttcp_conn_ref(conn);
	atomic_fetch_add(&job->refs, 1);
	sttcp_conn_set_data(conn, job, unref_job);
	child_add(&job->child);
	code = sttcp_run(read_process, job);
	if (code < 0) {
		say("%s: no thread: %s", sttcp_conn_address(conn), sttcp_strerror(code));
		child_terminate(&job->child);
		child_wait(&job->child);
		child_remove(&job->child);
		close(job->out);
		sttcp_conn_unref(job->conn);
		unref_job(job);
		return false;
	}
	note_limit(conn);
	return true;
}

static void close_input_locked(struct job *job)
{
	if (job->in >= 0)
		close(job->in);
	job->in = -1;
}

/* Whoever flushes closes it then. */
static void close_input(struct job *job, bool is_gone)
{
	pthread_mutex_lock(&job->lock);
	job->is_gone |= is_gone;
	if (is_gone)
		eventfd_write(job->over, 1);
	if (!job->is_flushing)
		close_input_locked(job);
	pthread_mutex_unlock(&job->lock);
}

/* Writes what fits. Returns how many bytes, or a negative errno: it reads no more. */
static ssize_t write_some(int fd, const char *data, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = write(fd, data + done, size - done);

		if (n >= 0)
			done += (size_t)n;
		else if (errno == EAGAIN)
			break;
		else if (errno != EINTR)
			return -errno;
	}
	return (ssize_t)done;
}

/* Waits for a process that does not read, until the rest is written or nobody wants it any more. */
static void flush(void *argument)
{
	struct job *job = argument;
	sttcp_conn *conn = job->rest_conn;
	size_t done = 0;
	ssize_t n = 0;

	while (n >= 0 && done < job->rest_size && !is_gone(job)) {
		wait_for_file(job->in, POLLOUT, job);
		n = write_some(job->in, job->rest + done, job->rest_size - done);
		if (n > 0)
			done += (size_t)n;
	}
	free(job->rest);
	job->rest = NULL;
	pthread_mutex_lock(&job->lock);
	job->is_flushing = false;
	if (n < 0 || job->is_gone)
		close_input_locked(job);
	pthread_mutex_unlock(&job->lock);
	sttcp_conn_resume(conn);
	sttcp_conn_unref(conn);
	unref_job(job);
}

static void flush_later(sttcp_conn *conn, struct job *job, const char *data, size_t size)
{
	job->rest = malloc(size);
	job->rest_size = size;
	if (job->rest)
		memcpy(job->rest, data, size);
	job->rest_conn = sttcp_conn_ref(conn);
	atomic_fetch_add(&job->refs, 1);
	job->is_flushing = true; /* nobody else looks before the work is there */
	if (job->rest && sttcp_conn_pause(conn) == 0 && sttcp_run(flush, job) == 0)
		return;
	job->is_flushing = false;
	sttcp_conn_fail(conn, -ENOMEM, "no memory or thread for what the process does not read");
	sttcp_conn_unref(conn);
	unref_job(job);
}

static void feed(sttcp_conn *conn, const void *data, size_t size, void *context)
{
	struct job *job = sttcp_conn_data(conn);
	ssize_t n;

	(void)context;
	if (job->in < 0)
		return; /* it wanted no more; it may still write */
	n = write_some(job->in, data, size);
	if (n < 0)
		close_input(job, false);
	else if ((size_t)n < size)
		flush_later(conn, job, (const char *)data + n, size - (size_t)n);
}

static void end_input(sttcp_conn *conn, void *context)
{
	(void)context;
	close_input(sttcp_conn_data(conn), false);
}

/* After a forced stop nobody waits for a place. */
static void gone(sttcp_conn *conn, int reason, void *context)
{
	struct job *job = sttcp_conn_data(conn);

	(void)context;
	close_input(job, true);
	if (reason != 0)
		child_terminate(&job->child);
	if (reason != STTCP_ESTOPPED)
		child_await_end(&job->child, reason != 0);
}

/* ----------------------------------------------------------------------- verb */

/* 0, or an errno. Folders may be "executed", too. */
static int check_program(const char *file)
{
	struct stat info;

	if (stat(file, &info) < 0 || access(file, X_OK) < 0)
		return errno;
	return S_ISDIR(info.st_mode) ? EISDIR : S_ISREG(info.st_mode) ? 0 : EACCES;
}

static bool is_in_path(const char *name)
{
	const char *path = getenv("PATH");
	char *copy = strdup(path && *path ? path : "/bin:/usr/bin"), *rest = copy, *folder;
	bool found = false;

	while (copy && !found && *name && (folder = strsep(&rest, ":"))) {
		char *file;

		if (asprintf(&file, "%s/%s", *folder ? folder : ".", name) < 0)
			break;
		found = check_program(file) == 0;
		free(file);
	}
	free(copy);
	return found;
}

static int run(struct common *common, char **words, int nwords)
{
	sttcp_server *server;
	int error;

	(void)nwords;
	command = words + 1;
	as_json = common->json;
	error = strchr(command[0], '/') ? check_program(command[0]) : 0;
	if (error)
		return fail(STATUS_START, "cannot run %s: %s", command[0], strerror(error));
	if (!strchr(command[0], '/') && !is_in_path(command[0]))
		return fail(STATUS_START, "there is no command '%s' in any folder of PATH",
			    command[0]);
	if (common->server.max_connections == 0)
		common->server.max_connections = DEFAULT_MAX;
	limit = common->server.max_connections;
	if (!files_allow(limit, FILES_EACH))
		return STATUS_START;
	if (limit > (MAX_THREADS - 100) / THREADS_EACH)
		must(sttcp_engine_configure(0, limit * THREADS_EACH + 100, 256 * 1024));
	common->server.half_close = true;
	common->server.write_timeout_ms = -1;
	if (!spawn_begin())
		return fail(STATUS_START, "there is no thread to be had");
	server = serve_new(common, words[0]);
	must(sttcp_server_on_connection(server, begin));
	must(sttcp_server_on_receive(server, feed));
	must(sttcp_server_on_end(server, end_input));
	must(sttcp_server_on_disconnection(server, gone));
	return serve(common, server,
		     &(struct serving){
			     .left = child_count,
			     .leftovers = "processes",
			     .abandon = child_abandon_all,
		     });
}

static error_t set(int key, char *value, struct argp_state *state)
{
	(void)value;
	(void)state;
	if (key != 'e')
		return ARGP_ERR_UNKNOWN;
	with_stderr = true;
	return 0;
}

static const struct argp_option options[] = {
	{"stderr", 'e', NULL, 0, "Standard error goes to the peer, too", 0},
	{0},
};

const struct verb verb_exec = {
	.name = "exec",
	.words = "[HOST:]PORT -- COMMAND...",
	.least = 2,
	.most = 0,
	.about = "run a command for each connection",
	.more = "Standard input and output of the command are the connection. It gets SIGTERM when "
		"the peer is lost. Its environment has TCPREMOTEIP, TCPREMOTEPORT, TCPLOCALIP and "
		"TCPLOCALPORT, or UNIXLOCALPATH. At most 100 run at a time, or as many as --max "
		"says; others wait.",
	.takes = TAKES_TLS | TAKES_IDLE | TAKES_LIMITS | TAKES_DRAIN | TAKES_STATS | TAKES_JSON,
	.options = options,
	.set = set,
	.run = run,
};
