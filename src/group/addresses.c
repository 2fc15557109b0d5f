/* SPDX-License-Identifier: MIT */
/* A list of what was added, which changes only while the server is idle; and the texts that its
 * last start has left. */
#include "group/addresses.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/socket.h"

int stt_addresses_refuse(struct stt_group *group, const char *given, int code, const char *why)
{
	return stt_group_tell(group, code, "cannot listen on %s: %s", given, why);
}

static bool has_descriptor(const struct stt_group *group, int fd)
{
	for (int i = 0; i < group->nadded; i++) {
		if (group->added[i].fd == fd)
			return true;
	}
	return false;
}

/* Room for one more. */
static int make_room_locked(struct stt_group *group) STT_REQUIRES(group->lock)
{
	struct stt_endpoint *more =
		realloc(group->added, ((size_t)group->nadded + 1) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	group->added = more;
	return 0;
}

/* The adoption comes last, so that a descriptor which is refused is as it was. */
static int add_locked(struct stt_group *group, const struct stt_endpoint *endpoint)
	STT_REQUIRES(group->lock)
{
	int result = group->state == STT_IDLE ? 0 : -EBUSY;

	if (result == 0 && endpoint->fd >= 0 && has_descriptor(group, endpoint->fd))
		result = -EEXIST;
	if (result == 0)
		result = make_room_locked(group);
	if (result == 0 && endpoint->fd >= 0)
		result = stt_socket_adopt(endpoint->fd);
	if (result == 0)
		group->added[group->nadded++] = *endpoint;
	return result;
}

/* Takes host and given of the endpoint, whatever comes of it. */
static int add(struct stt_group *group, struct stt_endpoint *endpoint, const char *given)
{
	int result = -ENOMEM;

	endpoint->given = strdup(given);
	if (endpoint->given && (endpoint->host || endpoint->fd >= 0)) {
		stt_lock(&group->lock);
		result = add_locked(group, endpoint);
		stt_unlock(&group->lock);
	}
	if (result == 0)
		return 0;
	free(endpoint->host);
	free(endpoint->given);
	return stt_addresses_refuse(group, given, result,
				    result == -EBUSY	? "the server is not stopped"
				    : result == -EEXIST ? "it is the server's already"
							: sttcp_strerror(result));
}

int stt_addresses_add_host(struct stt_group *group, const char *host, int port)
{
	struct stt_endpoint endpoint = {.port = port, .fd = -1};
	struct stt_addr addr;
	char given[STT_ADDR_TEXT * 3];

	stt_addr_given(host, port, given, sizeof(given));
	if (stt_host_is_unix(host)) {
		int result = stt_addr_literal(&addr, host, 0);

		if (result < 0)
			return stt_addresses_refuse(group, given, result, sttcp_strerror(result));
	} else if (port < 0 || port > 65535) {
		return stt_addresses_refuse(group, given, -EINVAL,
					    "the port must be from 0 to 65535");
	}
	endpoint.host = strdup(host ? host : "");
	return add(group, &endpoint, given);
}

int stt_addresses_add_listener(struct stt_group *group, int fd)
{
	struct stt_endpoint endpoint = {.fd = fd};
	struct stt_addr addr;
	char given[32];
	int result = stt_socket_check_listener(fd, &addr);

	snprintf(given, sizeof(given), "descriptor %d", fd);
	if (result < 0)
		return stt_addresses_refuse(group, given, result,
					    result == -EINVAL
						    ? "it is no stream socket that listens"
						    : sttcp_strerror(result));
	return add(group, &endpoint, given);
}

bool stt_addresses_has_own(const struct stt_group *group)
{
	return stt_host_is_unix(group->service.host) || group->service.port != -1;
}

struct stt_addresses *stt_addresses_new(int count)
{
	struct stt_addresses *addresses =
		calloc(1, sizeof(*addresses) + (size_t)count * sizeof(addresses->all[0]));

	if (addresses)
		addresses->count = count;
	return addresses;
}

static bool are_equal(const struct stt_addresses *a, const struct stt_addresses *b)
{
	if (!a || !b || a->count != b->count)
		return false;
	for (int i = 0; i < a->count; i++) {
		if (strcmp(a->all[i], b->all[i]) != 0)
			return false;
	}
	return true;
}

/* A restart, which mostly has the same addresses as before, takes no more memory then. */
void stt_addresses_publish(struct stt_group *group, struct stt_addresses *addresses)
{
	stt_lock(&group->lock);
	struct stt_addresses *last = group->last_addresses;
	bool again = are_equal(addresses, last);

	group->addresses = again ? last : addresses;
	if (addresses && !again) {
		addresses->previous = last;
		group->last_addresses = addresses;
	}
	stt_unlock(&group->lock);
	if (again)
		free(addresses);
}

const char *stt_addresses_text(struct stt_group *group, int index)
{
	const char *text = NULL;

	stt_lock(&group->lock);
	if (index >= 0 && group->addresses && index < group->addresses->count)
		text = group->addresses->all[index];
	stt_unlock(&group->lock);
	return text;
}

void stt_addresses_close(struct stt_group *group)
{
	for (int i = 0; i < group->nadded; i++) {
		/* Without a shutdown, which would end it for the other processes. */
		stt_socket_close(group->added[i].fd);
		group->added[i].fd = -1;
	}
}

void stt_addresses_fini(struct stt_group *group)
{
	for (int i = 0; i < group->nadded; i++) {
		free(group->added[i].host);
		free(group->added[i].given);
	}
	free(group->added);
	while (group->last_addresses) {
		struct stt_addresses *last = group->last_addresses;

		group->last_addresses = last->previous;
		free(last);
	}
}
