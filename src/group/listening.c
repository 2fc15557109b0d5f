/* SPDX-License-Identifier: MIT */
/* Addresses, ports and tries. The sockets listen before anybody accepts on them, so that a start
 * which fails has accepted nobody. */
#include "group/listening.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/engine.h"
#include "group/group.h"
#include "group/listener.h"
#include "group/start.h"
#include "net/socket.h"
#include "net/socket_file.h"

enum {
	/* For port 0 on several addresses: ports that the kernel may offer in vain. */
	PORT_TRIES = 16
};

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

static int tell_failure(struct stt_group *group, const struct stt_addr *addr, int code)
{
	char text[STT_ADDR_TEXT];

	stt_addr_text(addr, text);
	return stt_group_tell(group, code, "cannot listen on %s: %s", text, sttcp_strerror(code));
}

static bool is_wildcard(const struct stt_group *group)
{
	return !group->service.host[0];
}

/* This machine does not have the address: skipped if at least one can be listened on. */
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
		/* Of the two wildcard addresses the IPv6 one serves both families. */
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
			return tell_failure(group, &addrs[i], code);
		}
		absent = all->fds[i];
		absent_at = i;
		all->fds[i] = -1;
	}
	return listening ? listening : tell_failure(group, &addrs[absent_at], absent);
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
			return tell_failure(group, &all->addrs[i], result);
		all->fds[i] = -1;

		stt_listener_join(listener);
	}
	for (struct stt_listener *each = group->listeners; each; each = each->next) {
		int result = stt_listener_add(each);

		if (result < 0)
			return tell_failure(group, &each->addr, result);
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

int stt_listening_start(struct stt_group *group)
{
	int result = stt_group_check_start(group, 0);

	if (result < 0)
		return result;
	result = stt_group_begin(group);
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
