/* SPDX-License-Identifier: MIT */
/* One send to all members of a group, or of one of its rooms. */
#ifndef STT_GROUP_BROADCAST_H
#define STT_GROUP_BROADCAST_H

#include <stddef.h>

struct stt_group;
struct stt_room_key;
struct sttcp_conn;

enum stt_broadcast_as {
	STT_BROADCAST_BYTES,
	STT_BROADCAST_MESSAGE /* in the framing of each member */
};

/* To all members but `except` (may be NULL), of the room or, where that is NULL, of the group: to
 * how many, or a code. */
int stt_broadcast(struct stt_group *group, const struct stt_room_key *room,
		  const struct sttcp_conn *except, const void *data, size_t size,
		  enum stt_broadcast_as as);

#endif
