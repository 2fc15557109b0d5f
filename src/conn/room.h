/* SPDX-License-Identifier: MIT */
/* The accounts of a queue: its own cap, that of all connections, and the marks (hold.h). */
#ifndef STT_CONN_ROOM_H
#define STT_CONN_ROOM_H

#include <stddef.h>
#include <stdint.h>

#include "conn/output.h"

/* What the connection's own cap leaves. */
int64_t stt_room_of_one_locked(const struct stt_output *out) STT_REQUIRES(out->lock);

/* What may be queued now. */
size_t stt_room_locked(const struct stt_output *out) STT_REQUIRES(out->lock);

/* How many of `wanted` bytes of a send that may wait are to be queued: fewer while the output is
 * paced, the rest can stay in the memory of the sender. */
size_t stt_room_pace_locked(const struct stt_output *out, size_t wanted) STT_REQUIRES(out->lock);

/* Must be called before the lock is released whenever the queue has changed. */
void stt_room_note_locked(struct stt_output *out) STT_REQUIRES(out->lock);

/* How many of `wanted` bytes may be queued; they count as queued from now on, so that sends on
 * several connections at the same moment stay under the cap of all. stt_room_note_locked puts right
 * what was not queued. */
size_t stt_room_claim_locked(struct stt_output *out, size_t wanted) STT_REQUIRES(out->lock);

#endif
