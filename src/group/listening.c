/* SPDX-License-Identifier: MIT */
/* Addresses, ports and tries. The sockets listen before anybody accepts on them, so that a start
 * which fails has accepted nobody. */
#include "group/listening.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "group/addresses.h"
#include "group/group.h"
#include "group/listener.h"
#include "group/start.h"
#include "net/socket.h"
#include "net/socket_file.h"

enum {
	/* For port 0 on several addresses: ports that the kernel may offer in vain. */
	PORT_TRIES = 16
};

/* A socket that listens, before anybody accepts on it. */
struct listening {
	int fd; /* -1: it has a listener */
	bool adopted;
	struct stt_addr addr;
};

/* All of them, in the order in which their addresses were given. */
struct start {
	struct stt_group *group;
	struct listening *all;
	int count;
};

/* Ends those from `first` on. */
static void close_from(struct start *start, int first)
{
	for (int i = first; i < start->count; i++) {
		struct listening *each = &start->all[i];

		if (each->fd < 0 || each->adopted)
			continue;
		stt_socket_file_discard(&each->addr);
		stt_socket_end(each->fd);
	}
	start->count = first;
}

/* Room for so many more. */
static int make_room(struct start *start, int more)
{
	struct listening *all =
		realloc(start->all, ((size_t)start->count + (size_t)more) * sizeof(*all));

	if (!all)
		return -ENOMEM;
	start->all = all;
	return 0;
}

static int tell_failure(struct stt_group *group, const struct stt_addr *addr, int code)
{
	char text[STT_ADDR_TEXT];

	stt_addr_text(addr, text);
	return stt_addresses_refuse(group, text, code, sttcp_strerror(code));
}

static bool is_wildcard(const struct stt_endpoint *endpoint)
{
	return !endpoint->host[0];
}

/* This machine does not have the address: skipped if at least one can be listened on. */
static bool is_absent(int code)
{
	return code == -EADDRNOTAVAIL || code == -EAFNOSUPPORT;
}

static struct stt_listen_options options_of(const struct stt_group *group)
{
	const struct stt_settings *settings = &group->service.settings;

	return (struct stt_listen_options){
		.backlog = settings->backlog,
		.reuse_port = settings->reuse_port,
		.ipv6_only = settings->ipv6_only,
		.nagle = settings->nagle,
		.dead_peer_timeout_ms = settings->dead_peer_timeout_ms,
		.unix_mode = settings->unix_mode,
	};
}

/* The port of a socket that has been bound to port 0. */
static int chosen_port(int fd)
{
	struct stt_addr bound;

	return stt_socket_local(fd, &bound) == 0 ? stt_addr_port(&bound) : 0;
}

/*
 * Listens on every address of an endpoint: 0, or a code with all of these closed.
 * For port 0 the first one chooses; -EADDRINUSE of a later one may pass if a new
 * choice is made. There is room for them. A code is that of `*failed`.
 */
static int listen_on_all(struct start *start, const struct stt_endpoint *endpoint,
			 struct stt_addr *addrs, int count, const struct stt_addr **failed)
{
	const struct stt_listen_options options = options_of(start->group);
	int first = start->count;
	int port = endpoint->port;
	int absent = -EADDRNOTAVAIL;

	*failed = &addrs[0];
	for (int i = 0; i < count; i++) {
		/* Of the two wildcard addresses the IPv6 one serves both families. */
		if (is_wildcard(endpoint) && start->count > first)
			break;
		stt_addr_set_port(&addrs[i], port);

		int fd = stt_socket_listen(&addrs[i], &options);

		if (fd < 0 && (!is_absent(fd) || (is_wildcard(endpoint) && options.ipv6_only))) {
			close_from(start, first);
			*failed = &addrs[i];
			return fd;
		}
		if (fd < 0) {
			absent = fd;
			*failed = &addrs[i];
			continue;
		}
		if (!port)
			port = chosen_port(fd);
		stt_addr_set_port(&addrs[i], port);
		start->all[start->count++] = (struct listening){.fd = fd, .addr = addrs[i]};
	}
	return start->count > first ? 0 : absent;
}

/* Of a Unix socket there is nothing to choose. */
static bool chooses_port(const struct stt_endpoint *endpoint)
{
	return !endpoint->port && !stt_host_is_unix(endpoint->host);
}

static int listen_on_host(struct start *start, const struct stt_endpoint *endpoint)
{
	struct stt_addr *addrs = NULL;
	const char *why = "";
	int count =
		stt_addr_resolve(endpoint->host, endpoint->port, STT_ADDR_TO_LISTEN, &addrs, &why);
	int result = count < 0 ? count : make_room(start, count);
	const struct stt_addr *failed = NULL;

	if (result < 0)
		result = stt_addresses_refuse(start->group, endpoint->given, result,
					      *why ? why : sttcp_strerror(result));
	else
		result = listen_on_all(start, endpoint, addrs, count, &failed);
	for (int tries = 1; tries < PORT_TRIES; tries++) {
		if (result != -EADDRINUSE || !chooses_port(endpoint))
			break;
		result = listen_on_all(start, endpoint, addrs, count, &failed);
	}
	if (result < 0 && failed)
		result = tell_failure(start->group, failed, result);
	free(addrs);
	return result;
}

/* Whatever may have been done to a descriptor since it was added: by this program, or by one that
 * shares its socket. */
static int listen_on_adopted(struct start *start, const struct stt_endpoint *endpoint)
{
	struct listening listening = {.fd = endpoint->fd, .adopted = true};
	int result = stt_socket_check_listener(endpoint->fd, &listening.addr);

	if (result == 0)
		result = stt_socket_adopt(endpoint->fd);
	if (result == 0)
		result = make_room(start, 1);
	if (result < 0)
		return stt_addresses_refuse(start->group, endpoint->given, result,
					    result == -EINVAL ? "it does not listen any more"
							      : sttcp_strerror(result));
	start->all[start->count++] = listening;
	return 0;
}

static int listen_on_own(struct start *start)
{
	struct stt_group *group = start->group;
	const struct stt_endpoint own = {
		.host = group->service.host,
		.port = group->service.port,
		.fd = -1,
		.given = group->service.given,
	};

	return stt_addresses_has_own(group) ? listen_on_host(start, &own) : 0;
}

/* An option without effect is a mistake, and only now is it known what the server listens on. */
static int check_unix_mode(struct stt_group *group)
{
	if (!group->service.settings.unix_mode || stt_host_has_file(group->service.host))
		return 0;
	for (int i = 0; i < group->nadded; i++) {
		if (stt_host_has_file(group->added[i].host))
			return 0;
	}
	return stt_group_tell(group, -EINVAL,
			      "cannot start %s: unix_mode has no effect without a host unix:/path",
			      group->service.given);
}

/* On all that were given, or on none. */
static int listen_on_everything(struct start *start)
{
	struct stt_group *group = start->group;
	int result = check_unix_mode(group);

	if (result == 0)
		result = listen_on_own(start);

	for (int i = 0; result == 0 && i < group->nadded; i++) {
		const struct stt_endpoint *each = &group->added[i];

		result = each->host ? listen_on_host(start, each) : listen_on_adopted(start, each);
	}
	if (result == 0 && !start->count)
		result = stt_group_tell(
			group, -EINVAL,
			"cannot start %s: with port -1 it needs an address that is added",
			group->service.given);
	return result;
}

/* Gives every listening socket to a loop; the group opens them when it runs. */
static int add_listeners(struct start *start)
{
	struct stt_group *group = start->group;

	for (int i = 0; i < start->count; i++) {
		struct listening *each = &start->all[i];
		struct stt_listener *listener;
		int result =
			stt_listener_new(&listener, group, each->fd, &each->addr, each->adopted);

		if (result < 0)
			return tell_failure(group, &each->addr, result);
		each->fd = -1;
		stt_listener_join(listener);
	}
	for (struct stt_listener *each = group->listeners; each; each = each->next) {
		int result = stt_listener_add(each);

		if (result < 0)
			return tell_failure(group, &each->addr, result);
	}
	return 0;
}

/* Before anybody accepts, so that the first handler finds them; and when nothing can fail any more,
 * so that they are those of a start that did not. */
static int publish_addresses(const struct start *start)
{
	struct stt_group *group = start->group;
	struct stt_addresses *addresses = stt_addresses_new(start->count);

	if (!addresses)
		return stt_addresses_refuse(group, group->service.given, -ENOMEM,
					    sttcp_strerror(-ENOMEM));
	if (stt_addresses_has_own(group))
		atomic_store(&group->port_bound, stt_addr_port(&start->all[0].addr));
	for (int i = 0; i < start->count; i++)
		stt_addr_text(&start->all[i].addr, addresses->all[i]);
	stt_addresses_publish(group, addresses);
	return 0;
}

static int start_listening(struct stt_group *group)
{
	struct start start = {.group = group};

	stt_addresses_publish(group, NULL);

	int result = listen_on_everything(&start);

	if (result == 0)
		result = add_listeners(&start);
	if (result == 0)
		result = publish_addresses(&start);
	/* In a child that was forked in the log callback it is for the parent to do. */
	if (result != STTCP_EFORK)
		close_from(&start, 0);
	free(start.all);
	return result;
}

int stt_listening_start(struct stt_group *group)
{
	int result = stt_group_check_start(group);

	if (result < 0)
		return result;
	result = stt_group_begin(group);
	if (result < 0)
		return stt_group_tell_refused(group, result);
	result = start_listening(group);
	if (result < 0) {
		if (result != STTCP_EFORK)
			stt_group_cancel(group);
		return result;
	}
	stt_group_run(group, NULL);
	return stt_group_tell(group, 0, "%s", "");
}
