/* SPDX-License-Identifier: MIT */
/*
 * What a server is to listen on beside its own address, and what it does listen
 * on. Descriptors that were adopted belong to the group from then on: they stay
 * open, and listen, over every stop, and may be shared with other processes.
 */
#ifndef STT_GROUP_ADDRESSES_H
#define STT_GROUP_ADDRESSES_H

#include <stdbool.h>

#include "group/group.h"
#include "net/address.h"

/* One that was added: a host and a port, or a descriptor. */
struct stt_endpoint {
	char *host; /* NULL: a descriptor */
	int port;
	int fd;	     /* that was adopted; -1: none */
	char *given; /* for sentences */
};

/* Where a server listens, as text. */
struct stt_addresses {
	struct stt_addresses *previous;
	int count;
	char all[][STT_ADDR_TEXT];
};

/* Tells why what was given cannot be listened on, and returns the code. */
int stt_addresses_refuse(struct stt_group *group, const char *given, int code, const char *why);

/* 0; -EINVAL (the port, an empty path), -ENAMETOOLONG, -EBUSY while the group is not idle, -ENOMEM;
 * with a sentence. */
int stt_addresses_add_host(struct stt_group *group, const char *host, int port);

/* 0, and the descriptor is the group's; -EBADF, -EINVAL (it does not listen, or is no stream
 * socket), -EEXIST (it is the group's), -EBUSY, -ENOMEM, and nothing was done with it. */
int stt_addresses_add_listener(struct stt_group *group, int fd);

/* Whether a server has an address of its own: the port says so, but for a Unix socket. */
bool stt_addresses_has_own(const struct stt_group *group);

/* Room for the texts of `count` addresses, or NULL. */
struct stt_addresses *stt_addresses_new(int count);

/* From now on these are told, and owned; NULL: none. Earlier ones stay as long as the group, for
 * whoever has asked for them. */
void stt_addresses_publish(struct stt_group *group, struct stt_addresses *addresses);

/* The text of one, which lives as long as the group; or NULL. */
const char *stt_addresses_text(struct stt_group *group, int index);

/* The user's handle is gone: closes what was adopted. */
void stt_addresses_close(struct stt_group *group);

/* At the end of the group. */
void stt_addresses_fini(struct stt_group *group);

#endif
