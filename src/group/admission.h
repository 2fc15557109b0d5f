/* SPDX-License-Identifier: MIT */
/*
 * Admission: the limits on a server's connections at a time, per address and
 * per second, over all loops.
 *
 * A place is reserved before an accept. The accepted connection uses it;
 * without a connection it is given back. When no place is free the listener
 * stands back, or accepts and rejects, as over_limit says. A server without
 * such limits always has a free place, and nothing is counted.
 */
#ifndef STT_GROUP_ADMISSION_H
#define STT_GROUP_ADMISSION_H

#include <stdint.h>

#include "group/group.h"

struct stt_addr;
struct stt_listener;

/* If no place is free that is counted, and the listener has to stand back until `again_ms`, or
 * until it is called: with `waits` set, the close of a connection sets its alarm. If it has to
 * reject instead, it is not counted yet. */
enum stt_place stt_admission_reserve(struct stt_group *group, struct stt_listener *listener,
				     int64_t *again_ms);
void stt_admission_give_back(struct stt_group *group);

/* One was accepted only to be rejected. */
void stt_admission_count_rejected(struct stt_group *group, enum stt_place place);

/* Logs that a connection is closed which reaches no handler. */
void stt_admission_tell_refused(const struct stt_group *group, enum stt_place place,
				const struct stt_addr *peer);

/* The listener is being closed: nobody sets its alarm from now on. */
void stt_admission_forget_listener(struct stt_group *group, struct stt_listener *listener);

/* A connection with a place: FREE, and it is counted by its address, or OVER_ADDRESS or CLOSED. The
 * place is used in any case. IPv6 counts by /64; Unix sockets do not count. Without memory it is
 * let in, and not counted. */
enum stt_place stt_admission_enter_locked(struct stt_group *group, struct sttcp_conn *conn)
	STT_REQUIRES(group->lock);
/* And out. */
void stt_admission_leave_locked(struct stt_group *group, const struct sttcp_conn *conn)
	STT_REQUIRES(group->lock);

void stt_admission_fini(struct stt_admission *admission);

#endif
