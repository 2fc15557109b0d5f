/* SPDX-License-Identifier: MIT */
/*
 * Two sets of locks, so that nobody waits for all others:
 *
 *  - that of a shard, which has the rooms whose names fall into it, and who is
 *    in them. Messages to a room take only this one, for a chunk at a time.
 *  - that of a book, which has the stays of a part of the connections: in which
 *    rooms each of them is. Only what a connection itself does takes it, and
 *    then that of a room's shard inside it.
 *
 * A stay that does not count yet has a seat promised, so that taking it cannot
 * fail.
 */
#include "group/rooms.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/mutex.h"
#include "base/table.h"
#include "conn/conn.h"
#include "conn/life.h"
#include "engine/fork.h"
#include "group/seats.h"

enum {
	PARTS = 64, /* shards, and books: a power of two */
	CHUNK = 64, /* seats that a walk looks at with the lock held */
	NAME_MAX_BYTES = 255
};

/* Under its shard's lock, but for its name and its hash, which do not change. */
struct room {
	struct stt_link link; /* in the shard, by the hash of the name */
	size_t stays;	      /* that do not count yet, too */
	size_t walks;	      /* that will come back for more */
	struct stt_seats seats;
	unsigned char len;
	char name[];
};

struct shard {
	struct stt_mutex lock;
	struct stt_table rooms;
};

/* A connection in a room. Under its book's lock. */
struct stay {
	struct stt_link link; /* in the book, by connection and room */
	struct stt_node in_guest;
	struct sttcp_conn *conn;
	struct room *room;
	uint64_t seat; /* 0: only promised */
};

/* A connection that is in a room. Under its book's lock. */
struct guest {
	struct stt_link link; /* in the book, by its id */
	struct stt_node stays;
};

struct book {
	struct stt_mutex lock;
	struct stt_table guests;
	struct stt_table stays;
};

struct stt_rooms {
	struct shard shards[PARTS];
	struct book books[PARTS];
};

int stt_room_key_make(struct stt_room_key *key, const char *name)
{
	size_t len = name ? strnlen(name, NAME_MAX_BYTES + 1) : 0;

	if (len < 1 || len > NAME_MAX_BYTES)
		return -EINVAL;
	*key = (struct stt_room_key){.name = name, .len = len, .hash = stt_table_hash(name, len)};
	return 0;
}

struct stt_rooms *stt_rooms_new(void)
{
	struct stt_rooms *rooms = calloc(1, sizeof(*rooms));

	for (int i = 0; rooms && i < PARTS; i++) {
		stt_mutex_init(&rooms->shards[i].lock);
		stt_mutex_init(&rooms->books[i].lock);
	}
	return rooms;
}

/* No connection is left, so nobody is in a room; and calls that walk hold the server. */
void stt_rooms_free(struct stt_rooms *rooms)
{
	for (int i = 0; rooms && i < PARTS; i++) {
		stt_table_fini(&rooms->shards[i].rooms, NULL);
		stt_table_fini(&rooms->books[i].guests, NULL);
		stt_table_fini(&rooms->books[i].stays, NULL);
		stt_mutex_fini(&rooms->shards[i].lock);
		stt_mutex_fini(&rooms->books[i].lock);
	}
	free(rooms);
}

static struct shard *shard_at(struct stt_rooms *rooms, uint64_t hash)
{
	return &rooms->shards[hash % PARTS];
}

static struct book *book_of(struct stt_rooms *rooms, const struct sttcp_conn *conn)
{
	return &rooms->books[conn->id % PARTS];
}

/* -------------------------------------------------------------------- a room */

static struct room *find_room_locked(const struct shard *shard, const struct stt_room_key *key)
	STT_REQUIRES(shard->lock)
{
	struct stt_link *link = stt_table_find(&shard->rooms, key->hash);

	for (; link; link = stt_table_find_next(link)) {
		struct room *room = stt_container_of(link, struct room, link);

		if (room->len == key->len && memcmp(room->name, key->name, key->len) == 0)
			return room;
	}
	return NULL;
}

/* The room of this name, a new one if there is none: the caller drops it if it stays unused. NULL
 * when out of memory. */
static struct room *make_room_locked(struct shard *shard, const struct stt_room_key *key)
	STT_REQUIRES(shard->lock)
{
	struct room *room = find_room_locked(shard, key);

	if (room)
		return room;
	room = calloc(1, sizeof(*room) + key->len);
	if (!room)
		return NULL;
	room->len = (unsigned char)key->len;
	memcpy(room->name, key->name, key->len);
	stt_table_add(&shard->rooms, &room->link, key->hash);
	return room;
}

static void drop_if_unused_locked(struct shard *shard, struct room *room) STT_REQUIRES(shard->lock)
{
	if (room->stays || room->walks)
		return;
	stt_table_remove(&shard->rooms, &room->link);
	stt_seats_fini(&room->seats);
	free(room);
}

/* -------------------------------------------------------------------- stays */

static uint64_t stay_key(const struct sttcp_conn *conn, const struct room *room)
{
	const uint64_t words[] = {conn->id, (uintptr_t)room};

	return stt_table_hash(words, sizeof(words));
}

static struct stay *find_stay_locked(const struct book *book, const struct sttcp_conn *conn,
				     const struct room *room) STT_REQUIRES(book->lock)
{
	struct stt_link *link = stt_table_find(&book->stays, stay_key(conn, room));

	for (; link; link = stt_table_find_next(link)) {
		struct stay *stay = stt_container_of(link, struct stay, link);

		if (stay->conn == conn && stay->room == room)
			return stay;
	}
	return NULL;
}

static struct guest *find_guest_locked(const struct book *book, const struct sttcp_conn *conn)
	STT_REQUIRES(book->lock)
{
	struct stt_link *link = stt_table_find(&book->guests, conn->id);

	return link ? stt_container_of(link, struct guest, link) : NULL;
}

/* NULL when out of memory. */
static struct stay *add_stay_locked(struct book *book, struct sttcp_conn *conn, struct room *room)
	STT_REQUIRES(book->lock)
{
	struct guest *guest = find_guest_locked(book, conn);
	struct stay *stay = malloc(sizeof(*stay));

	if (stay && !guest) {
		guest = malloc(sizeof(*guest));
		if (guest) {
			stt_list_init(&guest->stays);
			stt_table_add(&book->guests, &guest->link, conn->id);
		}
	}
	if (!stay || !guest) {
		free(stay);
		return NULL;
	}
	*stay = (struct stay){.conn = conn, .room = room};
	stt_list_append(&guest->stays, &stay->in_guest);
	stt_table_add(&book->stays, &stay->link, stay_key(conn, room));
	return stay;
}

static void remove_stay_locked(struct book *book, struct stay *stay) STT_REQUIRES(book->lock)
{
	struct guest *guest = find_guest_locked(book, stay->conn);

	stt_table_remove(&book->stays, &stay->link);
	stt_list_remove(&stay->in_guest);
	if (stt_list_empty(&guest->stays)) {
		stt_table_remove(&book->guests, &guest->link);
		free(guest);
	}
	free(stay);
}

static int begin_stay_locked(struct book *book, struct sttcp_conn *conn, struct room *room)
	STT_REQUIRES(book->lock)
{
	if (stt_seats_promise(&room->seats) < 0)
		return -ENOMEM;

	struct stay *stay = add_stay_locked(book, conn, room);

	if (!stay) {
		stt_seats_take_back(&room->seats);
		return -ENOMEM;
	}
	room->stays++;
	if (conn->room_phase == STT_ROOMS_NOW)
		stay->seat = stt_seats_take(&room->seats, conn);
	return 0;
}

static void end_stay_locked(struct book *book, struct shard *shard, struct stay *stay)
	STT_REQUIRES(book->lock, shard->lock)
{
	struct room *room = stay->room;

	if (stay->seat)
		stt_seats_leave(&room->seats, stay->seat);
	else
		stt_seats_take_back(&room->seats);
	room->stays--;
	remove_stay_locked(book, stay);
	drop_if_unused_locked(shard, room);
}

/* -------------------------------------------------------------------- what connections do */

int stt_rooms_join(struct stt_rooms *rooms, struct sttcp_conn *conn, const struct stt_room_key *key)
{
	struct shard *shard = shard_at(rooms, key->hash);
	struct book *book = book_of(rooms, conn);
	int result = 0;

	stt_lock(&book->lock);
	if (conn->room_phase == STT_ROOMS_NEVER) {
		result = stt_conn_end_code(conn);
	} else {
		stt_lock(&shard->lock);
		struct room *room = make_room_locked(shard, key);

		if (!room)
			result = -ENOMEM;
		else if (!find_stay_locked(book, conn, room))
			result = begin_stay_locked(book, conn, room);
		if (room)
			drop_if_unused_locked(shard, room);
		stt_unlock(&shard->lock);
	}
	stt_unlock(&book->lock);
	return result;
}

void stt_rooms_leave(struct stt_rooms *rooms, struct sttcp_conn *conn,
		     const struct stt_room_key *key)
{
	struct shard *shard = shard_at(rooms, key->hash);
	struct book *book = book_of(rooms, conn);

	stt_lock(&book->lock);
	stt_lock(&shard->lock);
	struct room *room = find_room_locked(shard, key);
	struct stay *stay = room ? find_stay_locked(book, conn, room) : NULL;

	if (stay)
		end_stay_locked(book, shard, stay);
	stt_unlock(&shard->lock);
	stt_unlock(&book->lock);
}

void stt_rooms_admit(struct stt_rooms *rooms, struct sttcp_conn *conn)
{
	struct book *book = book_of(rooms, conn);

	stt_lock(&book->lock);
	conn->room_phase = STT_ROOMS_NOW;
	struct guest *guest = find_guest_locked(book, conn);
	struct stt_node *node = guest ? guest->stays.next : NULL;

	for (; node && node != &guest->stays; node = node->next) {
		struct stay *stay = stt_container_of(node, struct stay, in_guest);
		struct shard *shard = shard_at(rooms, stay->room->link.key);

		stt_lock(&shard->lock);
		stay->seat = stt_seats_take(&stay->room->seats, conn);
		stt_unlock(&shard->lock);
	}
	stt_unlock(&book->lock);
}

/* One stay; false when there was none. */
static bool leave_one(struct stt_rooms *rooms, struct sttcp_conn *conn)
{
	struct book *book = book_of(rooms, conn);

	stt_lock(&book->lock);
	conn->room_phase = STT_ROOMS_NEVER;
	struct guest *guest = find_guest_locked(book, conn);

	if (guest) {
		struct stay *stay = stt_container_of(guest->stays.next, struct stay, in_guest);
		struct shard *shard = shard_at(rooms, stay->room->link.key);

		stt_lock(&shard->lock);
		end_stay_locked(book, shard, stay);
		stt_unlock(&shard->lock);
	}
	stt_unlock(&book->lock);
	return guest;
}

/* The lock is released in between: a connection may be in ten thousand rooms. */
void stt_rooms_leave_all(struct stt_rooms *rooms, struct sttcp_conn *conn)
{
	while (leave_one(rooms, conn))
		;
}

/* -------------------------------------------------------------------- the members */

int stt_rooms_each(struct stt_rooms *rooms, const struct stt_room_key *key,
		   void (*fn)(struct sttcp_conn *conn, void *argument), void *argument)
{
	struct shard *shard = shard_at(rooms, key->hash);
	struct sttcp_conn *chunk[CHUNK];
	struct stt_seat_walk walk = {0};
	unsigned forks = stt_fork_count();
	int count = 0;
	int total = 0;

	stt_lock(&shard->lock);
	struct room *room = find_room_locked(shard, key);

	if (room) {
		walk = stt_seats_walk_begin(&room->seats);
		count = stt_seats_walk(&room->seats, &walk, chunk, CHUNK);
		/* Until the walk is over the room stays there: in a new one of the same name the
		 * numbers of the seats would begin again. */
		room->walks += walk.more;
	}
	stt_unlock(&shard->lock);
	for (;;) {
		for (int i = 0; i < count; i++) {
			fn(chunk[i], argument);
			if (stt_forked_since(forks))
				return STTCP_EFORK;
			stt_conn_unref_anywhere(chunk[i]);
			if (stt_forked_since(forks))
				return STTCP_EFORK;
		}
		total += count;
		if (!walk.more)
			return total;
		stt_lock(&shard->lock);
		count = stt_seats_walk(&room->seats, &walk, chunk, CHUNK);
		if (!walk.more) {
			room->walks--;
			drop_if_unused_locked(shard, room);
		}
		stt_unlock(&shard->lock);
	}
}

int stt_rooms_count(struct stt_rooms *rooms, const struct stt_room_key *key)
{
	struct shard *shard = shard_at(rooms, key->hash);

	stt_lock(&shard->lock);
	const struct room *room = find_room_locked(shard, key);
	size_t count = room ? room->seats.count : 0;

	stt_unlock(&shard->lock);
	return (int)count;
}
