/* SPDX-License-Identifier: MIT */
/*
 * A roster: the connections of a group that live on one loop, as a list in the
 * order of their coming, with the members among them also in a table by id. Any
 * thread; its lock is taken inside, after the group's if both are.
 */
#ifndef STT_GROUP_ROSTER_H
#define STT_GROUP_ROSTER_H

#include "group/group.h"

void stt_roster_init(struct stt_roster *roster);
void stt_roster_fini(struct stt_roster *roster);

void stt_roster_add(struct stt_roster *roster, struct sttcp_conn *conn);
void stt_roster_remove(struct stt_roster *roster, struct sttcp_conn *conn);

/* A connection that is on the roster becomes a member, and ceases to be one; leaving twice does
 * nothing. */
void stt_roster_join(struct stt_roster *roster, struct sttcp_conn *conn);
void stt_roster_leave(struct stt_roster *roster, struct sttcp_conn *conn);

/* A walk over those that are on the roster when it begins, a chunk at a time. */
struct stt_walk {
	struct sttcp_conn *last; /* a reference, while there may be more */
	uint64_t end;
	enum stt_whom whom;
};

void stt_roster_walk_begin(struct stt_roster *roster, struct stt_walk *walk, enum stt_whom whom);

/* Calls `fn` for the next few, over references and without the lock, and returns how many; 0 when
 * the walk is over, which it has to come to. STTCP_EFORK: this is a child that was forked in `fn`,
 * or in the free_fn of a connection. Nothing of the parent's may be touched there: a thread that
 * the child does not have may have held a lock. */
int stt_roster_walk(struct stt_roster *roster, struct stt_walk *walk,
		    void (*fn)(struct sttcp_conn *conn, void *argument), void *argument);

/* As below, for one roster. */
int stt_roster_each(struct stt_roster *roster, enum stt_whom whom,
		    void (*fn)(struct sttcp_conn *conn, void *argument), void *argument);
struct sttcp_conn *stt_roster_find(struct stt_roster *roster, uint64_t id);
unsigned stt_roster_count(struct stt_roster *roster);

/* The rosters of a group: has at least so many, more than before after an engine with fewer loops
 * has ended. 0 or -ENOMEM. */
int stt_rosters_make_locked(struct stt_group *group, int count) STT_REQUIRES(group->lock);
void stt_rosters_free(struct stt_rosters *rosters);

/* The one that a connection stands on. */
struct stt_roster *stt_roster_of(struct stt_group *group, const struct sttcp_conn *conn);

/* Calls `fn` for each of them, over references and without a lock; returns how many, or
 * STTCP_EFORK. Those that come or join meanwhile are left out. */
int stt_group_each(struct stt_group *group, enum stt_whom whom,
		   void (*fn)(struct sttcp_conn *conn, void *argument), void *argument);
int stt_group_count(struct stt_group *group);
struct sttcp_conn *stt_group_find(struct stt_group *group, uint64_t id);

#endif
