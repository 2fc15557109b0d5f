/* SPDX-License-Identifier: MIT */
/* What users do with rooms. The work is done in group/rooms.c. */
#include "api/call.h"
#include "group/broadcast.h"

/* 0 with the rooms of its server and the key, or a code. */
static int begin(sttcp_conn *conn, const char *room, struct stt_rooms **rooms,
		 struct stt_room_key *key)
{
	int result = stt_check_conn(conn);

	if (result < 0)
		return result;
	*rooms = stt_group_of(conn)->rooms;
	return *rooms ? stt_room_key_make(key, room) : -EINVAL;
}

int sttcp_conn_join(sttcp_conn *conn, const char *room)
{
	struct stt_rooms *rooms;
	struct stt_room_key key;
	int result = begin(conn, room, &rooms, &key);

	if (result < 0)
		return result;
	/* It is still in the rooms that it was in, until its disconnection handler. */
	if (stt_conn_has_ended(conn))
		return stt_conn_end_code(conn);

	int cancel = stt_call_begin();

	result = stt_rooms_join(rooms, conn, &key);
	stt_call_end(cancel);
	return result;
}

int sttcp_conn_leave(sttcp_conn *conn, const char *room)
{
	struct stt_rooms *rooms;
	struct stt_room_key key;
	int result = begin(conn, room, &rooms, &key);

	if (result < 0)
		return result;

	int cancel = stt_call_begin();

	stt_rooms_leave(rooms, conn, &key);
	stt_call_end(cancel);
	return stt_conn_has_ended(conn) ? stt_conn_end_code(conn) : 0;
}

static int check(sttcp_server *server, const char *room, struct stt_room_key *key)
{
	int result = stt_check_group(server ? &server->group : NULL);

	return result < 0 ? result : stt_room_key_make(key, room);
}

static int send_room(sttcp_server *server, const char *room, sttcp_conn *except, const void *data,
		     size_t size, enum stt_broadcast_as as)
{
	struct stt_room_key key;
	int result = check(server, room, &key);

	if (result < 0)
		return result;
	if (!stt_can_be_sent(data, size))
		return -EINVAL;

	int cancel = stt_call_begin();

	/* Handlers may free the server meanwhile. */
	stt_group_ref(&server->group);
	result = stt_broadcast(&server->group, &key, except, data, size, as);
	stt_group_unref(&server->group);
	stt_call_end(cancel);
	return result;
}

int sttcp_server_send_room(sttcp_server *server, const char *room, sttcp_conn *except,
			   const void *data, size_t size)
{
	return send_room(server, room, except, data, size, STT_BROADCAST_BYTES);
}

int sttcp_server_send_room_message(sttcp_server *server, const char *room, sttcp_conn *except,
				   const void *data, size_t size)
{
	return send_room(server, room, except, data, size, STT_BROADCAST_MESSAGE);
}

int sttcp_server_each_in(sttcp_server *server, const char *room,
			 void (*fn)(sttcp_conn *conn, void *argument), void *argument)
{
	struct stt_room_key key;
	int result = check(server, room, &key);

	if (result < 0)
		return result;
	return fn ? stt_api_each(&server->group, &key, fn, argument) : -EINVAL;
}

int sttcp_server_count_in(sttcp_server *server, const char *room)
{
	struct stt_room_key key;
	int result = check(server, room, &key);

	return result < 0 ? result : stt_rooms_count(server->group.rooms, &key);
}
