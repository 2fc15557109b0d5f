/* SPDX-License-Identifier: MIT */
/*
 * A listener accepts for a group on one loop, and only that loop closes it. If
 * another thread closed it, an event fetched before would make the loop accept
 * on a different object's descriptor.
 */
#ifndef STT_GROUP_LISTENER_H
#define STT_GROUP_LISTENER_H

#include "engine/actor.h"
#include "net/address.h"
#include "net/socket_file.h"

struct stt_group;
struct stt_loop;

struct stt_listener {
	/* Set before start. */
	struct stt_actor actor;
	struct stt_group *group; /* a reference */
	struct stt_loop *loop;
	struct stt_listener *next; /* of the group, under its lock */
	int fd;
	bool adopted; /* the descriptor is the group's, stays open, and may be shared */
	struct stt_addr addr;
	struct stt_socket_file file;

	/* Under the group's lock. */
	bool waits;   /* for a connection to close */
	bool closing; /* its alarm is not to be set any more */

	/* Only the loop. */
	struct stt_alarm alarm; /* set by whoever closes a connection, too */
	bool stands_back;	/* it is not in the poller */
	int64_t again_ms;	/* when to come back; STT_NEVER: when called */
	int pause_ms;
	int passed_over;    /* connections running that accept gave an error for */
	int64_t visited_us; /* when it last accepted */
	bool has_left;	    /* that may have left some in the queue */
	int left;	    /* of the queue, once it is being closed; -1 before */
	int64_t told_ms;    /* when a pause was last logged */
};

/* Takes the descriptor, and the socket file, on success, or, of one that was adopted, borrows it; 0
 * or -errno. */
int stt_listener_new(struct stt_listener **listener, struct stt_group *group, int fd,
		     const struct stt_addr *addr, bool adopted);

/* Is one of its group's from now on, which closes it. */
void stt_listener_join(struct stt_listener *listener);

/* Registers it with its loop, which does not accept yet: 0 or -errno. */
int stt_listener_add(struct stt_listener *listener);

/* Begins to accept, which cannot fail any more. */
void stt_listener_open(struct stt_listener *listener);

/* Asks the loop to close it; it tells the group when that is done. Any thread, once. */
void stt_listener_close(struct stt_listener *listener);

#endif
