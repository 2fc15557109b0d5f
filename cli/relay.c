/* SPDX-License-Identifier: MIT */
/*
 * The relay. examples/14_relay.c is the same in short.
 *
 * A link is referenced by the near connection's data, and by each client that is
 * made for it. A client also has a reference to the near connection, and gives
 * both back in its release, so there is no circle.
 */
#include "relay.h"

#include "clock.h"
#include "files.h"
#include "options.h"
#include "say.h"
#include "serve.h"
#include "targets.h"

#include <errno.h>
#include <stdlib.h>

enum {
	PAUSE_AT = 256 * 1024
};

static const struct relay_hooks *hooks;
static atomic_int nclients; /* far ends, in whatever state */

static void unref_link(void *argument)
{
	struct link *link = argument;

	if (atomic_fetch_sub(&link->refs, 1) > 1)
		return;
	if (hooks->freed)
		hooks->freed(link);
	if (link->far)
		sttcp_conn_unref(link->far);
	free(link);
}

static int64_t queued(const sttcp_conn *conn)
{
	sttcp_conn_counts counts = {0};

	return sttcp_conn_stats(conn, &counts, sizeof(counts)) < 0 ? 0 : counts.queued;
}

/* No thread waits for a slow end: its peer is not read until the queue is empty again. */
static void pass(sttcp_conn *from, sttcp_conn *to, const void *data, size_t size)
{
	if (sttcp_conn_send(to, data, size) < 0)
		sttcp_conn_abort(from);
	else if (queued(to) > PAUSE_AT && sttcp_conn_pause(from) == 0 && queued(to) == 0)
		sttcp_conn_resume(from); /* it was drained just before the pause */
}

/* Whichever end goes first: the next client is not to be sent elsewhere for its sake. */
static void drop_target(struct link *link)
{
	if (atomic_exchange(&link->is_counted, false))
		targets_drop(link->target);
}

/* ------------------------------------------------------------------- far end */

static bool far_opened(sttcp_conn *far, void *context)
{
	struct link *link = context;

	targets_reached(link->target);
	atomic_store(&link->far, sttcp_conn_ref(far));
	if (hooks->opened)
		hooks->opened(link);
	if (sttcp_conn_resume(link->near) < 0)
		sttcp_conn_fail_now(far, 0, "the client is gone");
	return true;
}

static bool far_received(sttcp_conn *far, const void *data, size_t size, void *context)
{
	struct link *link = context;

	if (hooks->passed)
		hooks->passed(link, FROM_TARGET, data, size);
	pass(far, link->near, data, size);
	return true;
}

static void far_ended(sttcp_conn *far, void *context)
{
	struct link *link = context;

	(void)far;
	if (hooks->ended_input)
		hooks->ended_input(link, FROM_TARGET);
	sttcp_conn_shutdown(link->near);
}

static void far_drained(sttcp_conn *far, void *context)
{
	(void)far;
	sttcp_conn_resume(((struct link *)context)->near);
}

static const char *text_of(const sttcp_conn *conn, int reason)
{
	const char *text = sttcp_conn_fail_text(conn);

	return *text ? text : sttcp_strerror(reason);
}

static void far_gone(sttcp_conn *far, int reason, void *context)
{
	struct link *link = context;

	drop_target(link);
	if (hooks->lost)
		hooks->lost(link, FROM_TARGET);
	if (reason != 0) /* 0: both FINs have been passed on */
		sttcp_conn_fail_now(link->near, reason, "the target: %s", text_of(far, reason));
	sttcp_client_free(sttcp_conn_client(far));
}

static bool dial(struct link *link);

/* Of this machine, and no fault of the target's. */
static bool is_own_fault(int reason)
{
	switch (reason) {
	case -EMFILE:
	case -ENFILE:
	case -ENOMEM:
	case -ENOBUFS:
	case -EAGAIN:
	case -EADDRNOTAVAIL:
	case STTCP_EDESTROYED:
		return true;
	default:
		return false;
	}
}

static void far_failed(sttcp_conn *far, int reason, void *context)
{
	struct link *link = context;
	const char *text = targets_text(link->target);
	char words[SENTENCE];

	if (!is_own_fault(reason) && targets_fail(link->target))
		say("%s is passed over: %s", text,
		    in_own_words(text_of(far, reason), words, sizeof(words)));
	drop_target(link);
	if (!sttcp_conn_is_open(link->near) || !dial(link))
		sttcp_conn_fail_now(link->near, reason,
				    "no target can be reached; the last one: %s",
				    text_of(far, reason));
	sttcp_client_free(sttcp_conn_client(far));
}

static void far_released(void *context)
{
	struct link *link = context;

	sttcp_conn_unref(link->near);
	unref_link(link);
	atomic_fetch_sub(&nclients, 1);
}

static sttcp_client *new_client(struct link *link)
{
	const struct address *address = targets_address(link->target);
	sttcp_client *client = sttcp_client_new(address->host, address->port, link->options);

	if (!client)
		return NULL;
	must(sttcp_client_set_context(client, link));
	must(sttcp_client_on_connection(client, far_opened));
	must(sttcp_client_on_response(client, far_received));
	must(sttcp_client_on_end(client, far_ended));
	must(sttcp_client_on_drained(client, far_drained));
	must(sttcp_client_on_disconnection(client, far_gone));
	must(sttcp_client_on_unconnected(client, far_failed));
	return client;
}

static bool try_target(struct link *link)
{
	sttcp_client *client = new_client(link);
	int code;

	if (!client)
		return false;
	sttcp_conn_ref(link->near);
	atomic_fetch_add(&link->refs, 1);
	atomic_fetch_add(&nclients, 1);
	must(sttcp_client_on_release(client, far_released));
	code = start_client(client);
	if (code == 0)
		return true;
	say("%s is passed over: %s", targets_text(link->target), sttcp_client_error(client));
	sttcp_client_free(client);
	return false;
}

/* Tries targets until there is one whose attempt begins. */
static bool dial(struct link *link)
{
	int target;

	while ((target = targets_take(link->tried)) >= 0) {
		link->target = target;
		atomic_store(&link->is_counted, true);
		link->tried |= UINT64_C(1) << target;
		if (try_target(link))
			return true;
		drop_target(link);
	}
	return false;
}

/* ------------------------------------------------------------------ near end */

static struct link *new_link(sttcp_conn *near, sttcp_options *options)
{
	struct link *link = calloc(1, sizeof(*link));

	if (!link)
		return NULL;
	atomic_init(&link->refs, 1);
	atomic_init(&link->far, NULL);
	link->near = near;
	link->options = options;
	link->began_ns = now_ns();
	atomic_init(&link->target, -1);
	atomic_init(&link->is_counted, false);
	if (!hooks->begun || hooks->begun(link))
		return link;
	free(link);
	return NULL;
}

static bool near_opened(sttcp_conn *near, void *options)
{
	struct link *link = new_link(near, options);

	if (!link)
		return false;
	sttcp_conn_set_data(near, link, unref_link);
	sttcp_conn_pause(near); /* until the far end is there */
	if (dial(link))
		return true;
	if (hooks->ended)
		hooks->ended(link, -ECONNREFUSED, "no target can be reached");
	sttcp_conn_abort(near);
	return false;
}

/* The near end is read only once there is a far one. */
static sttcp_conn *far_of(sttcp_conn *near)
{
	return atomic_load(&((struct link *)sttcp_conn_data(near))->far);
}

static void near_received(sttcp_conn *near, const void *data, size_t size, void *context)
{
	struct link *link = sttcp_conn_data(near);

	(void)context;
	if (hooks->passed)
		hooks->passed(link, FROM_CLIENT, data, size);
	pass(near, far_of(near), data, size);
}

static void near_ended(sttcp_conn *near, void *context)
{
	(void)context;
	if (hooks->ended_input)
		hooks->ended_input(sttcp_conn_data(near), FROM_CLIENT);
	sttcp_conn_shutdown(far_of(near));
}

static void near_drained(sttcp_conn *near, void *context)
{
	sttcp_conn *far = far_of(near);

	(void)context;
	if (far)
		sttcp_conn_resume(far);
}

/* A text of ours, or of a limit, says who it was; an error is the client's. */
static void tell_ended(struct link *link, sttcp_conn *near, int reason)
{
	const char *text = sttcp_conn_fail_text(near);
	char *why = NULL, words[SENTENCE];

	if (reason == 0)
		hooks->ended(link, 0, "closed in order");
	else if (*text)
		hooks->ended(link, reason, in_own_words(text, words, sizeof(words)));
	else if (asprintf(&why, "the client: %s", sttcp_strerror(reason)) >= 0)
		hooks->ended(link, reason, why);
	free(why);
}

static void near_gone(sttcp_conn *near, int reason, void *context)
{
	sttcp_conn *far = far_of(near);

	(void)context;
	if (reason != 0 && far)
		sttcp_conn_abort(far);
	drop_target(sttcp_conn_data(near));
	if (hooks->lost)
		hooks->lost(sttcp_conn_data(near), FROM_CLIENT);
	if (hooks->ended)
		tell_ended(sttcp_conn_data(near), near, reason);
}

/* ----------------------------------------------------------------------- run */

static int left(void)
{
	return atomic_load(&nclients);
}

int relay_run(struct common *common, const char *address, const struct relay_hooks *given)
{
	sttcp_server *server;

	hooks = given;
	/* How long a peer may be slow is not for a relay to decide. */
	common->server.half_close = common->client.half_close = true;
	common->server.write_timeout_ms = common->client.write_timeout_ms = -1;
	common->client.idle_timeout_ms = 0; /* the near end sees both directions */
	if (!targets_allow(&common->client))
		return STATUS_START;
	files_raise_limit();
	server = serve_new(common, address);
	must(sttcp_server_set_context(server, &common->client));
	must(sttcp_server_on_connection(server, near_opened));
	must(sttcp_server_on_receive(server, near_received));
	must(sttcp_server_on_end(server, near_ended));
	must(sttcp_server_on_drained(server, near_drained));
	must(sttcp_server_on_disconnection(server, near_gone));
	return serve(common, server, &(struct serving){.left = left});
}
