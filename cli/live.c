/* SPDX-License-Identifier: MIT */
/*
 * The live view, drawn by the main thread.
 */
#include "live.h"

#include "clock.h"
#include "json.h"
#include "say.h"

#include <stdio.h>

static sttcp_server *shown;
static bool as_json;
static sttcp_stats last;
static int64_t last_ns, next_ns;

static const int64_t period_ns = 1000000000;

void live_begin(sttcp_server *server, bool json)
{
	shown = server;
	as_json = json;
	sttcp_server_stats(server, &last, sizeof(last));
	last_ns = now_ns();
	next_ns = last_ns + period_ns;
}

int live_wait_ms(void)
{
	int64_t wait_ns = next_ns - now_ns();

	return wait_ns > 0 ? (int)(wait_ns / 1000000) + 1 : 0;
}

struct view {
	sttcp_stats now;
	double in, out, messages_in, messages_out; /* a second */
	char slowest[80];
};

static void find_slowest(struct view *view)
{
	sttcp_conn *conn =
		view->now.longest_id ? sttcp_server_find(shown, view->now.longest_id) : NULL;

	view->slowest[0] = '\0';
	if (!conn)
		return;
	snprintf(view->slowest, sizeof(view->slowest), "%s", sttcp_conn_address(conn));
	sttcp_conn_unref(conn);
}

static void look(struct view *view)
{
	int64_t now = now_ns();
	double seconds = (double)(now - last_ns) / 1e9;

	sttcp_server_stats(shown, &view->now, sizeof(view->now));
	view->in = (double)(view->now.bytes_in - last.bytes_in) / seconds;
	view->out = (double)(view->now.bytes_out - last.bytes_out) / seconds;
	view->messages_in = (double)(view->now.messages_in - last.messages_in) / seconds;
	view->messages_out = (double)(view->now.messages_out - last.messages_out) / seconds;
	find_slowest(view);
	last = view->now;
	last_ns = now;
}

static void print_json(const struct view *view)
{
	struct json json;

	json_begin(&json, "stats");
	json_int(&json, "connections", view->now.connections);
	json_int(&json, "total", view->now.total);
	json_int(&json, "failed", view->now.failed);
	json_real(&json, "messages_in_per_s", view->messages_in);
	json_real(&json, "messages_out_per_s", view->messages_out);
	json_real(&json, "bytes_in_per_s", view->in);
	json_real(&json, "bytes_out_per_s", view->out);
	json_int(&json, "queued", view->now.queued);
	json_int(&json, "threads", view->now.threads);
	json_int(&json, "threads_blocked", view->now.threads_blocked);
	json_int(&json, "longest_ms", view->now.longest_ms);
	json_text(&json, "longest_address", view->slowest);
	json_end(&json);
}

static void print_text(const struct view *view, const char *between)
{
	char in[24], out[24], queued[24], slowest[120] = "", text[600];

	if (view->slowest[0])
		snprintf(slowest, sizeof(slowest), "%sslowest handler %lld ms: %s", between,
			 (long long)view->now.longest_ms, view->slowest);
	snprintf(text, sizeof(text),
		 "%lld connections, %lld in all, %lld failed%sin %.0f messages/s, %s/s%sout %.0f "
		 "messages/s, %s/s, %s queued%s%lld threads, %lld blocked%s",
		 (long long)view->now.connections, (long long)view->now.total,
		 (long long)view->now.failed, between, view->messages_in,
		 human_size(in, sizeof(in), view->in), between, view->messages_out,
		 human_size(out, sizeof(out), view->out),
		 human_size(queued, sizeof(queued), (double)view->now.queued), between,
		 (long long)view->now.threads, (long long)view->now.threads_blocked, slowest);
	if (*between == '\n')
		say_status(text);
	else
		say("%s", text);
}

void live_show(void)
{
	struct view view;

	if (!shown || now_ns() < next_ns)
		return;
	look(&view);
	/* Seconds that have gone by in a stop (SIGSTOP) or a suspend have no lines of their own. */
	next_ns += period_ns;
	if (next_ns <= last_ns)
		next_ns = last_ns + period_ns;
	if (as_json)
		print_json(&view);
	else
		print_text(&view, say_has_status() ? "\n" : "; ");
}

void live_end(void)
{
	if (shown && !as_json && say_has_status())
		say_status("");
	shown = NULL;
}
