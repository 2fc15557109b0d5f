/* SPDX-License-Identifier: MIT */
/*
 * Start, wait, drain, report.
 */
#include "serve.h"

#include "json.h"
#include "live.h"
#include "log.h"
#include "options.h"
#include "say.h"
#include "wait.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void must(int code)
{
	if (code < 0)
		exit(fail(STATUS_START, "%s", sttcp_strerror(code)));
}

static struct address listening;

static bool begins(const char *text, const char *with)
{
	return !strncmp(text, with, strlen(with));
}

static bool ends(const char *text, const char *with)
{
	size_t length = strlen(text), most = strlen(with);

	return length >= most && !strcmp(text + length - most, with);
}

/* Only the library's sentence tells why a certificate was refused, and names that the peer has
 * chosen stand in the midst of it: its beginning and its end are the library's own. */
static const char *advice_on_tls(const char *why)
{
	/* Another authority does not help against a wrong name. */
	if (begins(why, "the certificate is for ") || begins(why, "the certificate has "))
		return "; --tls-name NAME expects another name, and --insecure any";
	if (begins(why, "the certificate of ") && ends(why, " not trusted"))
		return "; --ca FILE trusts another authority, and --insecure anybody";
	return "";
}

static const char *advice_on_name(const char *host)
{
	struct stat info;

	if (!begins(host, "unix:"))
		return "; 'ss -ltnp' shows who listens there, and port 0 takes any that is free";
	if (lstat(host + 5, &info) == 0 && !S_ISSOCK(info.st_mode))
		return "; what has this name is no socket";
	return "; 'ss -lxp' shows who listens there";
}

static const char *advice_on_access(const char *host, int port)
{
	if (begins(host, "unix:"))
		return "; who makes a socket needs the right to write to its folder";
	if (port < 1024)
		return "; ports below 1024 are for root, or for who has CAP_NET_BIND_SERVICE";
	return "";
}

static const char *advice_on_start(int code)
{
	switch (code) {
	case -EADDRINUSE:
		return advice_on_name(listening.host);
	case -EACCES:
		return advice_on_access(listening.host, listening.port);
	case -EADDRNOTAVAIL:
		return "; 'ip addr' shows the addresses of this machine";
	case STTCP_ERESOLVE:
		return "; is the name right?";
	default:
		return "";
	}
}

const char *advice(int code, const char *why)
{
	switch (code) {
	case -ECONNREFUSED:
		return "; nobody listens there";
	case STTCP_ERESOLVE:
		return "; is the name right?";
	case STTCP_ETLS:
		return advice_on_tls(why);
	default:
		return "";
	}
}

/* Where the option ", NAME is NUMBER" begins, which the sentence ends with; NULL: with none. */
static char *find_option(const char *text, char name[64], long long *value)
{
	char *comma = strrchr(text, ',');
	int used = 0;

	if (!comma || sscanf(comma, ", %63[a-z_] is %lld%n", name, value, &used) != 2 ||
	    comma[used] || !strchr(name, '_'))
		return NULL;
	return comma;
}

const char *in_own_words(const char *text, char *buffer, size_t cap)
{
	char name[64], *at;
	long long value;

	if (!find_option(text, name, &value) || strlen(text) >= cap)
		return text;
	strcpy(buffer, text);
	while ((at = find_option(buffer, name, &value))) {
		size_t room = cap - (size_t)(at - buffer);

		*at = '\0';
		if (!strcmp(name, "idle_timeout_ms"))
			snprintf(at, room, ", the limit of --idle");
		else if (!strcmp(name, "connect_timeout_ms"))
			snprintf(at, room, ", the limit of --connect-timeout");
		else if (!strcmp(name, "drain_timeout_ms"))
			snprintf(at, room, ", the limit of --drain");
		else if (!strcmp(name, "max_message"))
			snprintf(at, room, ", --max-message is %lld", value);
	}
	return buffer;
}

sttcp_server *serve_new(struct common *common, const char *text)
{
	sttcp_server *server;

	listening = read_address(text, true);
	server = sttcp_server_new(listening.host, listening.port, &common->server);
	if (!server)
		exit(fail(STATUS_START, "out of memory"));
	return server;
}

static void tell_listening(const struct common *common, const sttcp_server *server)
{
	const char *address;
	struct json json;

	for (int i = 0; (address = sttcp_server_address(server, i)); i++) {
		if (common->json) {
			json_begin(&json, "listening");
			json_text(&json, "address", address);
			json_int(&json, "port", sttcp_server_port(server));
			json_end(&json);
		}
		/* After that, so that it stands before what comes of those who have waited for it.
		 */
		say("listening on %s%s", address,
		    begins(address, "[::]:") || begins(address, "0.0.0.0:") ? " (all interfaces)"
									    : "");
	}
}

/* SIGHUP: certificates may have been renewed. Without TLS it ends the program as ever. */
static bool is_reload(const struct common *common, int number)
{
	sttcp_tls *tls = common->server_tls;

	if (number != SIGHUP || !tls)
		return false;
	if (sttcp_tls_reload(tls) < 0)
		say("the certificate stays as it was: %s", sttcp_tls_error(tls));
	else
		say("the certificate was read again");
	return true;
}

/* Returns the signal that ends it; 0: it is done. */
static int wait_for_end(const struct common *common, sttcp_server *server,
			const struct serving *serving)
{
	int woken, wait_ms = -1;

	if (common->stats)
		live_begin(server, common->json);
	do {
		if (common->stats)
			wait_ms = live_wait_ms();
		else if (serving->wait_ms)
			wait_ms = serving->wait_ms();
		woken = wait_for(wait_ms);
		if (woken == WOKEN_BY_TIME)
			live_show();
		if (woken == WOKEN_BY_TIME && serving->tick)
			serving->tick();
	} while (woken == WOKEN_BY_TIME || is_reload(common, woken));
	live_end();
	return woken > 0 ? woken : 0;
}

/* ------------------------------------------------------------------- the drain */

struct drain {
	sttcp_server *server;
	int timeout_ms;
	sttcp_stop_report report; /* once `done` is set */
	atomic_bool done;
};

static void *run_stop(void *argument)
{
	struct drain *drain = argument;

	sttcp_server_stop_within(drain->server, drain->timeout_ms, &drain->report);
	atomic_store(&drain->done, true);
	return NULL;
}

struct waited {
	char text[160];
	int count;
};

static void note_address(sttcp_conn *conn, void *argument)
{
	struct waited *waited = argument;
	size_t used = strlen(waited->text);

	if (waited->count++ < 3)
		snprintf(waited->text + used, sizeof(waited->text) - used, "%s%s", used ? ", " : "",
			 sttcp_conn_address(conn));
}

static int left(const struct serving *serving)
{
	return serving->left ? serving->left() : 0;
}

/* What has been told, so that it is told once. */
struct told {
	int connections, leftovers;
};

static void tell_leftovers(const struct drain *drain, const struct serving *serving, int *told)
{
	int count = left(serving);

	if (!serving->leftovers || count == 0 || count == *told)
		return;
	*told = count;
	say("waiting for %s: %d, at most %d s; Ctrl+C again ends at once", serving->leftovers,
	    count, (drain->timeout_ms + 999) / 1000);
}

static void tell_waiting(const struct drain *drain, const struct serving *serving,
			 struct told *told)
{
	struct waited waited = {.count = 0};

	sttcp_server_each(drain->server, note_address, &waited);
	if (waited.count == 0)
		tell_leftovers(drain, serving, &told->leftovers);
	if (waited.count == 0 || waited.count == told->connections)
		return;
	told->connections = waited.count;
	say("waiting for %d connection%s (%s%s), at most %d s; Ctrl+C again ends at once",
	    waited.count, waited.count == 1 ? "" : "s", waited.text,
	    waited.count > 3 ? ", ..." : "", (drain->timeout_ms + 999) / 1000);
}

/* Waits until the server has stopped, and what it leaves has ended. Returns whether a second
 * signal has cut that short. */
static bool wait_for_drain(struct drain *drain, const struct serving *serving)
{
	struct told told = {0};
	int waited_ms = 0;
	bool cut = false;

	for (int step_ms = 5; !atomic_load(&drain->done) || left(serving) > 0;
	     waited_ms += step_ms) {
		if (atomic_load(&drain->done) && (cut || waited_ms > drain->timeout_ms))
			break;
		if (wait_for_signal(step_ms) > 0 && !cut) {
			cut = true;
			sttcp_server_stop_within(drain->server, 0, NULL);
		}
		if (waited_ms > 100 && !cut)
			tell_waiting(drain, serving, &told);
		if (step_ms < 100)
			step_ms += 5;
	}
	return cut;
}

static void tell_report(const struct common *common, const struct drain *drain,
			const sttcp_stats *stats)
{
	const sttcp_stop_report *report = &drain->report;
	struct json json;

	say("stopped after %lld connection%s; of those open at the end %lld ended by themselves, "
	    "%lld "
	    "by force%s",
	    (long long)stats->total, stats->total == 1 ? "" : "s", (long long)report->ended,
	    (long long)report->forced, report->running ? ", and some are still at work" : "");
	if (!common->json)
		return;
	json_begin(&json, "stopped");
	json_int(&json, "connections", stats->total);
	json_int(&json, "failed", stats->failed);
	json_int(&json, "bytes_in", stats->bytes_in);
	json_int(&json, "bytes_out", stats->bytes_out);
	json_int(&json, "ended", report->ended);
	json_int(&json, "forced", report->forced);
	json_int(&json, "running", report->running);
	json_end(&json);
}

/* Returns whether a second signal was needed. */
static bool drain(const struct common *common, sttcp_server *server, const struct serving *serving,
		  struct drain *state)
{
	sttcp_stats stats = {0};
	pthread_t thread;
	bool cut = false;

	*state = (struct drain){.server = server, .timeout_ms = common->drain_ms};
	if (serving->stopping)
		serving->stopping(server);
	if (pthread_create(&thread, NULL, run_stop, state) != 0) {
		sttcp_server_stop_within(server, 0, &state->report);
	} else {
		cut = wait_for_drain(state, serving);
		pthread_join(thread, NULL);
	}
	if (serving->abandon && left(serving) > 0)
		serving->abandon();
	sttcp_server_stats(server, &stats, sizeof(stats));
	if (!serving->quiet)
		tell_report(common, state, &stats);
	return cut;
}

static int start_server(sttcp_server *server)
{
	int code;

	log_leave_start(true);
	code = sttcp_server_start(server);
	log_leave_start(false);
	return code;
}

int start_client(sttcp_client *client)
{
	int code;

	log_leave_start(true);
	code = sttcp_client_start(client);
	log_leave_start(false);
	return code;
}

int serve(const struct common *common, sttcp_server *server, const struct serving *serving)
{
	struct drain state;
	int code = start_server(server);

	if (code < 0) {
		fail(STATUS_START, "%s%s", sttcp_server_error(server), advice_on_start(code));
		sttcp_server_free(server);
		return STATUS_START;
	}
	tell_listening(common, server);
	wait_for_end(common, server, serving);
	if (drain(common, server, serving, &state))
		finish(STATUS_INTERRUPTED);
	/* A handler that does not come back is no reason to stay. */
	if (state.report.running == 0)
		sttcp_server_free(server);
	return finish_status();
}
