/* SPDX-License-Identifier: MIT */
/* What users hold as a server: its group, and how it comes to listen. */
#include <stdlib.h>
#include <string.h>

#include "api/call.h"
#include "api/message.h"
#include "conn/own_framing.h"
#include "group/stats.h"
#include "group/listener.h"
#include "net/socket.h"

enum {
	/* For port 0 on several addresses: ports that the kernel may offer in vain. */
	PORT_TRIES = 16
};

sttcp_server *sttcp_server_new(const char *host, int port, const sttcp_options *options)
{
	return (sttcp_server *)stt_group_new(STT_SERVER, host, port, options);
}

int sttcp_server_on_connection(sttcp_server *server, sttcp_connection_handler handler)
{
	return STT_SET_HANDLER(server, connection, handler);
}

int sttcp_server_on_receive(sttcp_server *server, sttcp_receive_handler handler)
{
	return STT_SET_HANDLER(server, receive, handler);
}

int sttcp_server_on_end(sttcp_server *server, sttcp_end_handler handler)
{
	return STT_SET_HANDLER(server, end, handler);
}

int sttcp_server_on_disconnection(sttcp_server *server, sttcp_disconnection_handler handler)
{
	return STT_SET_HANDLER(server, disconnection, handler);
}

int sttcp_server_on_universal(sttcp_server *server, sttcp_universal_handler handler)
{
	return STT_SET_HANDLER(server, universal, handler);
}

int sttcp_server_on_drained(sttcp_server *server, sttcp_drained_handler handler)
{
	return STT_SET_HANDLER(server, drained, handler);
}

int sttcp_server_on_malformed(sttcp_server *server, sttcp_malformed_handler handler)
{
	return STT_SET_HANDLER(server, malformed, handler);
}

int sttcp_server_set_context(sttcp_server *server, void *context)
{
	return STT_SET_HANDLER(server, context, context);
}

int sttcp_server_on_release(sttcp_server *server, void (*fn)(void *context))
{
	return STT_SET_HANDLER(server, release, fn);
}

/* Sockets that listen, before anybody accepts on them. */
struct listening {
	int count;
	int *fds;
	const struct stt_addr *addrs; /* as many, some of which have no descriptor */
};

static void close_all(struct listening *all)
{
	for (int i = 0; i < all->count; i++) {
		if (all->fds[i] >= 0)
			stt_socket_file_discard(&all->addrs[i]);
		stt_socket_end(all->fds[i]);
		all->fds[i] = -1;
	}
}

static int told(struct stt_group *group, const struct stt_addr *addr, int code)
{
	char text[STT_ADDR_TEXT];

	stt_addr_text(addr, text);
	return stt_group_tell(group, code, "cannot listen on %s: %s", text, sttcp_strerror(code));
}

static bool is_wildcard(const struct stt_group *group)
{
	return !group->service.host[0];
}

/* Not on this machine: to be passed over, as long as something listens. */
static bool is_absent(int code)
{
	return code == -EADDRNOTAVAIL || code == -EAFNOSUPPORT;
}

/*
 * Listens on every address: how many do, or a code with everything closed. For
 * port 0 the first one chooses; -EADDRINUSE of a later one may pass if a new
 * choice is made.
 */
static int listen_on_all(struct stt_group *group, struct listening *all, struct stt_addr *addrs)
{
	const struct stt_settings *settings = &group->service.settings;
	struct stt_listen_options options = {
		.backlog = settings->backlog,
		.reuse_port = settings->reuse_port,
		.ipv6_only = settings->ipv6_only,
		.nagle = settings->nagle,
		.dead_peer_timeout_ms = settings->dead_peer_timeout_ms,
	};
	int port = group->service.port;
	int listening = 0;
	int absent = -EADDRNOTAVAIL;
	int absent_at = 0;

	for (int i = 0; i < all->count; i++) {
		/* Of the two wildcards the IPv6 one serves both families. */
		if (is_wildcard(group) && listening)
			break;
		stt_addr_set_port(&addrs[i], port);
		all->fds[i] = stt_socket_listen(&addrs[i], &options);
		if (all->fds[i] >= 0) {
			struct stt_addr bound;

			listening++;
			if (!port && stt_socket_local(all->fds[i], &bound) == 0)
				port = stt_addr_port(&bound);
			stt_addr_set_port(&addrs[i], port);
			atomic_store(&group->port_bound, port);
			continue;
		}
		if (!is_absent(all->fds[i]) || (is_wildcard(group) && settings->ipv6_only)) {
			int code = all->fds[i];

			all->fds[i] = -1;
			close_all(all);
			return told(group, &addrs[i], code);
		}
		absent = all->fds[i];
		absent_at = i;
		all->fds[i] = -1;
	}
	return listening ? listening : told(group, &addrs[absent_at], absent);
}

/* Gives every listening socket to a loop; the group opens them when it runs. */
static int add_listeners(struct stt_group *group, struct listening *all)
{
	for (int i = 0; i < all->count; i++) {
		if (all->fds[i] < 0)
			continue;

		struct stt_listener *listener;
		int result = stt_listener_new(&listener, group, stt_engine_pick_loop(group->engine),
					      all->fds[i], &all->addrs[i]);

		if (result < 0)
			return told(group, &all->addrs[i], result);
		all->fds[i] = -1;

		stt_group_listener_added(group, listener);
	}
	for (struct stt_listener *each = group->listeners; each; each = each->next) {
		int result = stt_listener_add(each);

		if (result < 0)
			return told(group, &each->addr, result);
	}
	return 0;
}

static int start_listening(struct stt_group *group)
{
	struct stt_addr *addrs = NULL;
	const char *why = "";
	int count = stt_addr_resolve(group->service.host, group->service.port, STT_ADDR_TO_LISTEN,
				     &addrs, &why);

	if (count < 0)
		return stt_group_tell(group, count, "cannot listen on %s: %s", group->service.given,
				      *why ? why : sttcp_strerror(count));

	struct listening all = {.count = count, .addrs = addrs};
	int result = -ENOMEM;

	all.fds = malloc((size_t)count * sizeof(int));
	if (!all.fds) {
		stt_group_tell(group, result, "cannot listen on %s: %s", group->service.given,
			       sttcp_strerror(result));
		goto free_addrs;
	}
	for (int i = 0; i < count; i++)
		all.fds[i] = -1;
	for (int tries = 0; tries < PORT_TRIES; tries++) {
		result = listen_on_all(group, &all, addrs);
		if (result != -EADDRINUSE || group->service.port)
			break;
	}
	if (result > 0)
		result = add_listeners(group, &all);
	close_all(&all);
	free(all.fds);
free_addrs:
	free(addrs);
	return result;
}

static int start(struct stt_group *group)
{
	struct stt_engine *engine;
	int result = stt_group_check_start(group, 0);

	if (result < 0)
		return result;
	result = stt_engine_get(&engine);
	if (result == 0) {
		result = stt_group_begin(group, engine);
		/* From here on the engine stays for the group that is not idle. */
		stt_engine_release();
	}
	if (result < 0)
		return stt_group_tell(group, result, "cannot start %s: %s", group->service.given,
				      result == -EBUSY ? "it is started already"
						       : sttcp_strerror(result));
	result = start_listening(group);
	if (result < 0) {
		stt_group_cancel(group);
		return result;
	}
	stt_group_run(group, NULL);
	return stt_group_tell(group, 0, "%s", "");
}

int sttcp_server_start(sttcp_server *server)
{
	int result = stt_check_group(server ? &server->group : NULL);

	if (result < 0)
		return result;

	int cancel = stt_call_begin();

	/* A handler that runs already may free the server. */
	stt_group_ref(&server->group);
	result = start(&server->group);
	stt_group_unref(&server->group);
	stt_call_end(cancel);
	return result;
}

int sttcp_server_port(const sttcp_server *server)
{
	int result = stt_check_group(server ? &server->group : NULL);

	if (result < 0)
		return result;
	if (stt_host_is_unix(server->group.service.host))
		return 0;

	int bound = atomic_load(&server->group.port_bound);

	return bound ? bound : server->group.service.port;
}

const char *sttcp_server_error(const sttcp_server *server)
{
	return stt_check_group(server ? &server->group : NULL) < 0 ? NULL : server->group.error;
}

static int stop(sttcp_server *server, int timeout_ms, sttcp_stop_report *report)
{
	int result = stt_check_group(server ? &server->group : NULL);

	if (result < 0)
		return result;
	if (timeout_ms < -1)
		return -EINVAL;

	int cancel = stt_call_begin();

	stt_group_stop(&server->group, timeout_ms, report);
	stt_call_end(cancel);
	return 0;
}

int sttcp_server_stop_within(sttcp_server *server, int timeout_ms, sttcp_stop_report *report)
{
	return stop(server, timeout_ms, report);
}

int sttcp_server_close(sttcp_server *server)
{
	return stop(server, server ? server->group.service.settings.drain_timeout_ms : 0, NULL);
}

int sttcp_server_stop(sttcp_server *server)
{
	return sttcp_server_close(server);
}

int sttcp_server_request_stop(sttcp_server *server)
{
	int result = stt_check_group(server ? &server->group : NULL);

	if (result == 0)
		stt_group_request_stop(&server->group);
	return result;
}

int sttcp_server_wait(sttcp_server *server, int timeout_ms)
{
	return stt_group_wait_call(server ? &server->group : NULL, timeout_ms);
}

int sttcp_server_keep_alive(sttcp_server *server)
{
	return stt_group_keep_alive(server ? &server->group : NULL);
}

void sttcp_server_free(sttcp_server *server)
{
	if (stt_check_group(server ? &server->group : NULL) < 0)
		return;

	int cancel = stt_call_begin();

	stt_group_free(&server->group);
	stt_call_end(cancel);
}

/* `shared` is made when the first member has to queue it, for all. */
struct broadcast {
	const struct sttcp_conn *except;
	struct iovec part;
	struct stt_shared *shared;
	int refused; /* why the framing of the group cannot carry a message */
	const void *data;
	size_t size;
	int count;
};

static void send_to_member(struct sttcp_conn *conn, void *argument)
{
	struct broadcast *broadcast = argument;

	if (conn == broadcast->except)
		return;
	/* It could never be queued, and half of it may not be skipped. */
	if (conn->service->settings.broadcast_skips &&
	    (uint64_t)broadcast->part.iov_len > (uint64_t)conn->service->settings.send_queue_max)
		return;

	int result =
		stt_output_send(conn, &broadcast->part, 1, STT_SEND_BROADCAST, &broadcast->shared);

	if (result == 0)
		broadcast->count++;
}

/* A message goes to nearly all in the framing of the group, and that is made once; who has another
 * gets one of its own. */
static void send_message_to_member(struct sttcp_conn *conn, void *argument)
{
	struct broadcast *broadcast = argument;
	struct stt_framing framing;

	if (conn == broadcast->except)
		return;
	if (!atomic_load(&conn->framing)) {
		if (!broadcast->refused)
			send_to_member(conn, broadcast);
		return;
	}

	struct broadcast own = {.data = broadcast->data, .size = broadcast->size};

	if (stt_conn_copy_framing(conn, &framing) < 0 ||
	    stt_message_frame(&framing, own.data, own.size, &own.part) < 0)
		return;
	send_to_member(conn, &own);
	stt_shared_unref(own.shared);
	stt_message_free(own.data, &own.part);
	broadcast->count += own.count;
}

static int broadcast(sttcp_server *server, sttcp_conn *except, const void *data, size_t size,
		     bool framed)
{
	int result = stt_check_group(server ? &server->group : NULL);

	if (result < 0)
		return result;
	if (!data && size)
		return -EINVAL;

	struct broadcast broadcast = {
		.except = except,
		.part = {.iov_base = (void *)(uintptr_t)data, .iov_len = size},
		.data = data,
		.size = size,
	};
	int cancel = stt_call_begin();

	if (framed)
		broadcast.refused = stt_message_frame(&server->group.service.settings.framing, data,
						      size, &broadcast.part);
	/* What the framing of the group cannot carry may be fine for one who has another. */
	if (broadcast.refused != -ENOMEM)
		stt_group_each(&server->group, STT_MEMBERS,
			       framed ? send_message_to_member : send_to_member, &broadcast);
	stt_shared_unref(broadcast.shared);
	stt_message_free(data, &broadcast.part);
	stt_call_end(cancel);
	return broadcast.refused == -ENOMEM ? -ENOMEM : broadcast.count;
}

int sttcp_server_broadcast_except(sttcp_server *server, sttcp_conn *except, const void *data,
				  size_t size)
{
	return broadcast(server, except, data, size, false);
}

int sttcp_server_broadcast_message(sttcp_server *server, sttcp_conn *except, const void *data,
				   size_t size)
{
	return broadcast(server, except, data, size, true);
}

int sttcp_server_broadcast(sttcp_server *server, const void *data, size_t size)
{
	return sttcp_server_broadcast_except(server, NULL, data, size);
}

int sttcp_server_each(sttcp_server *server, void (*fn)(sttcp_conn *conn, void *argument),
		      void *argument)
{
	int result = stt_check_group(server ? &server->group : NULL);

	if (result < 0)
		return result;
	return fn ? stt_group_each(&server->group, STT_MEMBERS, fn, argument) : -EINVAL;
}

int sttcp_server_count(const sttcp_server *server)
{
	int result = stt_check_group(server ? &server->group : NULL);

	/* The lock of a roster is no part of what const promises. */
	return result < 0 ? result : stt_group_count((struct stt_group *)(uintptr_t)&server->group);
}

sttcp_conn *sttcp_server_find(sttcp_server *server, uint64_t id)
{
	if (stt_check_group(server ? &server->group : NULL) < 0)
		return NULL;
	return stt_group_find(&server->group, id);
}

int sttcp_server_stats(const sttcp_server *server, sttcp_stats *stats, size_t size)
{
	int result = stt_check_group(server ? &server->group : NULL);
	sttcp_stats all;

	if (result < 0)
		return result;
	if (!stats)
		return -EINVAL;

	int cancel = stt_call_begin();

	stt_stats_of_group((struct stt_group *)(uintptr_t)&server->group, &all);
	stt_call_end(cancel);
	memset(stats, 0, size);
	memcpy(stats, &all, size < sizeof(all) ? size : sizeof(all));
	return 0;
}
