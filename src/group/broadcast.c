/* SPDX-License-Identifier: MIT */
/* Broadcast: no member waits for another, and what several members have to queue is stored once. */
#include "group/broadcast.h"

#include <errno.h>

#include "codec/message.h"
#include "conn/own_framing.h"
#include "conn/send.h"
#include "group/group.h"
#include "group/rooms.h"
#include "group/roster.h"

/* `shared` is made when the first member has to queue it, for all. */
struct broadcast {
	const struct sttcp_conn *except;
	struct iovec part;
	struct stt_shared *shared;
	int refused; /* why the framing of the group cannot carry a message */
	const void *data;
	size_t size;
	int count;
};

static void send_to_member(struct sttcp_conn *conn, void *argument)
{
	struct broadcast *broadcast = argument;

	if (conn == broadcast->except)
		return;
	/* It could never be queued, and must not be skipped half-sent. */
	if (conn->service->settings.broadcast_skips &&
	    (uint64_t)broadcast->part.iov_len > (uint64_t)conn->service->settings.send_queue_max)
		return;

	int result = stt_send(conn, &broadcast->part, 1, STT_SEND_BROADCAST, &broadcast->shared);

	if (result == 0)
		broadcast->count++;
}

/* Nearly all members use the framing of the group, for which the message is framed once. A member
 * with a framing of its own gets a copy of its own. */
static void send_message_to_member(struct sttcp_conn *conn, void *argument)
{
	struct broadcast *broadcast = argument;
	struct stt_framing framing;

	if (conn == broadcast->except)
		return;
	if (!atomic_load(&conn->framing)) {
		if (!broadcast->refused)
			send_to_member(conn, broadcast);
		return;
	}

	struct broadcast own = {.data = broadcast->data, .size = broadcast->size};

	if (stt_conn_copy_framing(conn, &framing) < 0 ||
	    stt_message_frame(&framing, own.data, own.size, &own.part) < 0)
		return;
	send_to_member(conn, &own);
	stt_shared_unref(own.shared);
	stt_message_free(own.data, &own.part);
	broadcast->count += own.count;
}

static int send_to_each(struct stt_group *group, const struct stt_room_key *room,
			enum stt_broadcast_as as, struct broadcast *broadcast)
{
	void (*send)(struct sttcp_conn * conn, void *argument) =
		as == STT_BROADCAST_MESSAGE ? send_message_to_member : send_to_member;

	if (room)
		return stt_rooms_each(group->rooms, room, send, broadcast);
	return stt_group_each(group, STT_MEMBERS, send, broadcast);
}

int stt_broadcast(struct stt_group *group, const struct stt_room_key *room,
		  const struct sttcp_conn *except, const void *data, size_t size,
		  enum stt_broadcast_as as)
{
	struct broadcast broadcast = {
		.except = except,
		.part = {.iov_base = (void *)(uintptr_t)data, .iov_len = size},
		.data = data,
		.size = size,
	};

	if (as == STT_BROADCAST_MESSAGE)
		broadcast.refused = stt_message_frame(&group->service.settings.framing, data, size,
						      &broadcast.part);
	/* A member with a framing of its own may be able to carry what the framing of the group
	 * cannot. */
	int visited =
		broadcast.refused == -ENOMEM ? -ENOMEM : send_to_each(group, room, as, &broadcast);

	stt_shared_unref(broadcast.shared);
	stt_message_free(data, &broadcast.part);
	return visited < 0 ? visited : broadcast.count;
}
