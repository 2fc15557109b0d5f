/* SPDX-License-Identifier: MIT */
/*
 * Walking a roster while connections come and go: references are taken in
 * chunks under the lock, and the walk goes on from the last one of a chunk. If
 * that has left meanwhile, it goes on from the first whose place is behind. Each
 * place is passed once, so nobody is visited twice; and what comes after the
 * walk has begun has a place behind its end.
 */
#include "engine/roster.h"

#include <stdlib.h>

#include "engine/conn.h"
#include "engine/worker.h"

enum {
	CHUNK = 64,
	FIRST_TABLE = 16
};

void stt_roster_init(struct stt_roster *roster)
{
	stt_mutex_init(&roster->lock);
	stt_list_init(&roster->conns);
}

void stt_roster_fini(struct stt_roster *roster)
{
	free(roster->table);
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

static struct sttcp_conn **slot_of(struct sttcp_conn **table, unsigned size, uint64_t id)
{
	/* Ids are consecutive numbers: their low bits spread well. */
	return &table[id & (size - 1)];
}

/* Doubles the table when it is full; without memory the chains get longer instead. */
static void grow_table_locked(struct stt_roster *roster) STT_REQUIRES(roster->lock)
{
	unsigned size = roster->table_size ? roster->table_size * 2 : FIRST_TABLE;
	struct sttcp_conn **table = calloc(size, sizeof(struct sttcp_conn *));

	if (!table)
		return;
	for (unsigned i = 0; i < roster->table_size; i++) {
		struct sttcp_conn *conn = roster->table[i];

		while (conn) {
			struct sttcp_conn *next = conn->next_in_table;
			struct sttcp_conn **slot = slot_of(table, size, conn->id);

			conn->next_in_table = *slot;
			*slot = conn;
			conn = next;
		}
	}
	free(roster->table);
	roster->table = table;
	roster->table_size = size;
}

void stt_roster_join(struct stt_roster *roster, struct sttcp_conn *conn)
{
	stt_lock(&roster->lock);
	/* A first table that could not be had is tried for only while there is nobody, for those
	 * who joined without one cannot be found in it. */
	if (roster->nmembers >= roster->table_size && (roster->table_size || !roster->nmembers))
		grow_table_locked(roster);
	conn->member = true;
	roster->nmembers++;
	if (roster->table_size) {
		struct sttcp_conn **slot = slot_of(roster->table, roster->table_size, conn->id);

		conn->next_in_table = *slot;
		*slot = conn;
	}
	stt_unlock(&roster->lock);
}

void stt_roster_leave(struct stt_roster *roster, struct sttcp_conn *conn)
{
	stt_lock(&roster->lock);
	if (conn->member) {
		conn->member = false;
		roster->nmembers--;
	}
	if (roster->table_size) {
		struct sttcp_conn **link = slot_of(roster->table, roster->table_size, conn->id);

		while (*link && *link != conn)
			link = &(*link)->next_in_table;
		if (*link)
			*link = conn->next_in_table;
	}
	stt_unlock(&roster->lock);
}

struct sttcp_conn *stt_roster_find(struct stt_roster *roster, uint64_t id)
{
	struct sttcp_conn *found = NULL;

	stt_lock(&roster->lock);
	if (roster->table_size) {
		found = *slot_of(roster->table, roster->table_size, id);
		while (found && found->id != id)
			found = found->next_in_table;
	} else {
		for (struct stt_node *node = roster->conns.next; node != &roster->conns;
		     node = node->next) {
			struct sttcp_conn *conn =
				stt_container_of(node, struct sttcp_conn, in_roster);

			if (conn->id == id && conn->member)
				found = conn;
		}
	}
	if (found)
		stt_conn_ref(found);
	stt_unlock(&roster->lock);
	return found;
}

unsigned stt_roster_count(struct stt_roster *roster)
{
	stt_lock(&roster->lock);
	unsigned count = roster->nmembers;

	stt_unlock(&roster->lock);
	return count;
}

static struct sttcp_conn *conn_at(struct stt_node *node)
{
	return stt_container_of(node, struct sttcp_conn, in_roster);
}

/* The first node behind `last`, whether that is still on the roster or not. */
static struct stt_node *node_behind(struct stt_roster *roster, struct sttcp_conn *last)
{
	struct stt_node *node = roster->conns.next;

	if (last && !stt_list_empty(&last->in_roster))
		return last->in_roster.next;
	while (last && node != &roster->conns && conn_at(node)->place <= last->place)
		node = node->next;
	return node;
}

static int take_chunk(struct stt_roster *roster, struct sttcp_conn *last, uint64_t end, bool all,
		      struct sttcp_conn **chunk)
{
	int count = 0;

	stt_lock(&roster->lock);
	struct stt_node *node = node_behind(roster, last);

	for (; count < CHUNK && node != &roster->conns; node = node->next) {
		struct sttcp_conn *conn = conn_at(node);

		if (conn->place > end)
			break;
		if (all || conn->member)
			chunk[count++] = stt_conn_ref(conn);
	}
	stt_unlock(&roster->lock);
	return count;
}

/* A loop's owner leaves user code to the pool; everybody else is where it may run. */
static void drop_ref(struct sttcp_conn *conn)
{
	if (stt_self && !stt_self->conn)
		stt_conn_unref_on_loop(conn);
	else
		stt_conn_unref(conn);
}

int stt_roster_each(struct stt_roster *roster, bool all,
		    void (*fn)(struct sttcp_conn *conn, void *argument), void *argument)
{
	struct sttcp_conn *last = NULL;
	struct sttcp_conn *chunk[CHUNK];
	int total = 0;
	int count;

	stt_lock(&roster->lock);
	uint64_t end = roster->last_place;

	stt_unlock(&roster->lock);
	do {
		count = take_chunk(roster, last, end, all, chunk);
		if (last)
			drop_ref(last);
		last = NULL;
		for (int i = 0; i < count; i++) {
			fn(chunk[i], argument);
			/* The walk goes on from the last one, so its reference is kept. */
			if (i == count - 1)
				last = chunk[i];
			else
				drop_ref(chunk[i]);
		}
		total += count;
	} while (count == CHUNK);
	if (last)
		drop_ref(last);
	return total;
}
