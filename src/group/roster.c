/* SPDX-License-Identifier: MIT */
/*
 * Walking a roster while connections come and go: references are taken in
 * chunks under the lock, and the walk goes on from the last one of a chunk. If
 * that has left meanwhile, it goes on from the first whose place is behind. Each
 * place is passed once, so nobody is visited twice; and what comes after the
 * walk has begun has a place behind its end.
 */
#include "group/roster.h"

#include <errno.h>
#include <stdlib.h>

#include "conn/conn.h"
#include "conn/life.h"
#include "engine/fork.h"
#include "engine/loop.h"

enum {
	CHUNK = 64
};

void stt_roster_init(struct stt_roster *roster)
{
	stt_mutex_init(&roster->lock);
	stt_list_init(&roster->conns);
}

void stt_roster_fini(struct stt_roster *roster)
{
	stt_table_fini(&roster->members, NULL);
	stt_mutex_fini(&roster->lock);
}

void stt_roster_add(struct stt_roster *roster, struct sttcp_conn *conn)
{
	stt_lock(&roster->lock);
	conn->place = ++roster->last_place;
	stt_list_append(&roster->conns, &conn->in_roster);
	stt_unlock(&roster->lock);
}

void stt_roster_remove(struct stt_roster *roster, struct sttcp_conn *conn)
{
	stt_lock(&roster->lock);
	stt_list_remove(&conn->in_roster);
	stt_unlock(&roster->lock);
}

void stt_roster_join(struct stt_roster *roster, struct sttcp_conn *conn)
{
	stt_lock(&roster->lock);
	conn->member = true;
	stt_table_add(&roster->members, &conn->in_table, conn->id);
	stt_unlock(&roster->lock);
}

void stt_roster_leave(struct stt_roster *roster, struct sttcp_conn *conn)
{
	stt_lock(&roster->lock);
	if (conn->member)
		stt_table_remove(&roster->members, &conn->in_table);
	conn->member = false;
	stt_unlock(&roster->lock);
}

struct sttcp_conn *stt_roster_find(struct stt_roster *roster, uint64_t id)
{
	struct sttcp_conn *conn = NULL;

	stt_lock(&roster->lock);
	struct stt_link *link = stt_table_find(&roster->members, id);

	if (link)
		conn = stt_conn_take_handle(stt_container_of(link, struct sttcp_conn, in_table));
	stt_unlock(&roster->lock);
	return conn;
}

unsigned stt_roster_count(struct stt_roster *roster)
{
	stt_lock(&roster->lock);
	size_t count = roster->members.count;

	stt_unlock(&roster->lock);
	return (unsigned)count;
}

static struct sttcp_conn *conn_at(struct stt_node *node)
{
	return stt_container_of(node, struct sttcp_conn, in_roster);
}

/* The first node behind `last`, whether that is still on the roster or not. */
static struct stt_node *node_behind_locked(struct stt_roster *roster, struct sttcp_conn *last)
	STT_REQUIRES(roster->lock)
{
	struct stt_node *node = roster->conns.next;

	if (last && !stt_list_empty(&last->in_roster))
		return last->in_roster.next;
	while (last && node != &roster->conns && conn_at(node)->place <= last->place)
		node = node->next;
	return node;
}

static int take_chunk(struct stt_roster *roster, const struct stt_walk *walk,
		      struct sttcp_conn **chunk)
{
	int count = 0;

	stt_lock(&roster->lock);
	struct stt_node *node = node_behind_locked(roster, walk->last);

	for (; count < CHUNK && node != &roster->conns; node = node->next) {
		struct sttcp_conn *conn = conn_at(node);

		if (conn->place > walk->end)
			break;
		if (walk->whom == STT_ALL || conn->member)
			chunk[count++] = stt_conn_ref(conn);
	}
	stt_unlock(&roster->lock);
	return count;
}

void stt_roster_walk_begin(struct stt_roster *roster, struct stt_walk *walk, enum stt_whom whom)
{
	stt_lock(&roster->lock);
	*walk = (struct stt_walk){.end = roster->last_place, .whom = whom};
	stt_unlock(&roster->lock);
}

int stt_roster_walk(struct stt_roster *roster, struct stt_walk *walk,
		    void (*fn)(struct sttcp_conn *conn, void *argument), void *argument)
{
	struct sttcp_conn *chunk[CHUNK];
	int count = take_chunk(roster, walk, chunk);
	unsigned forks = stt_fork_count();

	if (walk->last)
		stt_conn_unref_anywhere(walk->last);
	walk->last = NULL;
	for (int i = 0; i < count && !stt_forked_since(forks); i++) {
		fn(chunk[i], argument);
		if (stt_forked_since(forks))
			break;
		/* The walk goes on from the last one, so its reference is kept. */
		if (i == count - 1)
			walk->last = chunk[i];
		else
			stt_conn_unref_anywhere(chunk[i]);
	}
	return stt_forked_since(forks) ? STTCP_EFORK : count;
}

int stt_roster_each(struct stt_roster *roster, enum stt_whom whom,
		    void (*fn)(struct sttcp_conn *conn, void *argument), void *argument)
{
	struct stt_walk walk;
	int total = 0;
	int count;

	stt_roster_walk_begin(roster, &walk, whom);
	do {
		count = stt_roster_walk(roster, &walk, fn, argument);
		total += count;
	} while (count > 0);
	return count < 0 ? count : total;
}

void stt_rosters_free(struct stt_rosters *rosters)
{
	while (rosters) {
		struct stt_rosters *previous = rosters->previous;

		for (int i = 0; i < rosters->count; i++)
			stt_roster_fini(&rosters->all[i]);
		free(rosters);
		rosters = previous;
	}
}

int stt_rosters_make_locked(struct stt_group *group, int count)
{
	struct stt_rosters *previous = atomic_load(&group->rosters);

	if (previous && previous->count >= count)
		return 0;

	struct stt_rosters *rosters =
		calloc(1, sizeof(*rosters) + (size_t)count * sizeof(rosters->all[0]));

	if (!rosters)
		return -ENOMEM;
	rosters->previous = previous;
	rosters->count = count;
	for (int i = 0; i < count; i++)
		stt_roster_init(&rosters->all[i]);
	atomic_store(&group->rosters, rosters);
	return 0;
}

struct stt_roster *stt_roster_of(struct stt_group *group, const struct sttcp_conn *conn)
{
	struct stt_rosters *rosters = atomic_load_explicit(&group->rosters, memory_order_relaxed);

	return &rosters->all[conn->loop->index % rosters->count];
}

int stt_group_each(struct stt_group *group, enum stt_whom whom,
		   void (*fn)(struct sttcp_conn *conn, void *argument), void *argument)
{
	struct stt_rosters *rosters = atomic_load(&group->rosters);
	int count = 0;

	/* User code runs meanwhile, which may free the group outside handlers: `fn`, and the
	 * free_fn of a connection that is gone. */
	stt_group_ref(group);
	for (int i = 0; rosters && i < rosters->count; i++) {
		int visited = stt_roster_each(&rosters->all[i], whom, fn, argument);

		if (visited < 0)
			return visited;
		count += visited;
	}
	stt_group_unref(group);
	return count;
}

int stt_group_count(struct stt_group *group)
{
	struct stt_rosters *rosters = atomic_load(&group->rosters);
	unsigned count = 0;

	for (int i = 0; rosters && i < rosters->count; i++)
		count += stt_roster_count(&rosters->all[i]);
	return (int)count;
}

struct sttcp_conn *stt_group_find(struct stt_group *group, uint64_t id)
{
	struct stt_rosters *rosters = atomic_load(&group->rosters);
	struct sttcp_conn *conn = NULL;

	for (int i = 0; !conn && rosters && i < rosters->count; i++)
		conn = stt_roster_find(&rosters->all[i], id);
	return conn;
}
