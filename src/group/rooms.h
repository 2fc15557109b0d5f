/* SPDX-License-Identifier: MIT */
/*
 * Rooms: parts of a server's members, by name. A room is there while somebody
 * is in it, and all that is done with it costs what it has members, not what the
 * server has. Any thread; locks are taken inside.
 */
#ifndef STT_GROUP_ROOMS_H
#define STT_GROUP_ROOMS_H

#include <stddef.h>
#include <stdint.h>

struct stt_rooms;
struct sttcp_conn;

/* What a connection may do with rooms: its `room_phase`. */
enum stt_room_phase {
	STT_ROOMS_LATER, /* what it joins counts once its connection handler has taken it */
	STT_ROOMS_NOW,
	STT_ROOMS_NEVER /* it has left all, and joins none any more */
};

/* The name of a room, checked; the bytes are the caller's. */
struct stt_room_key {
	const char *name;
	size_t len;
	uint64_t hash;
};

/* 0 or -EINVAL. `name` may be NULL. */
int stt_room_key_make(struct stt_room_key *key, const char *name);

/* All rooms of a server; NULL when out of memory. */
struct stt_rooms *stt_rooms_new(void);
void stt_rooms_free(struct stt_rooms *rooms);

/* 0, -ENOMEM, or why the connection has ended. */
int stt_rooms_join(struct stt_rooms *rooms, struct sttcp_conn *conn,
		   const struct stt_room_key *key);
void stt_rooms_leave(struct stt_rooms *rooms, struct sttcp_conn *conn,
		     const struct stt_room_key *key);

/* The connection is a member of the server from now on, and of the rooms that it has joined. */
void stt_rooms_admit(struct stt_rooms *rooms, struct sttcp_conn *conn);

/* It leaves all rooms for good. */
void stt_rooms_leave_all(struct stt_rooms *rooms, struct sttcp_conn *conn);

/* As stt_group_each, for those in the room. The caller keeps the rooms there. */
int stt_rooms_each(struct stt_rooms *rooms, const struct stt_room_key *key,
		   void (*fn)(struct sttcp_conn *conn, void *argument), void *argument);
int stt_rooms_count(struct stt_rooms *rooms, const struct stt_room_key *key);

#endif
