/* SPDX-License-Identifier: MIT */
/*
 * Deadlines: how long a connection may wait for its peer, and live. Nothing is
 * done for a message but one store: an alarm rings when the first one could
 * have passed, and its ring looks at what has happened since. Those for input
 * are the owner's to judge, and so rest while a handler runs.
 */
#ifndef STT_CONN_DEADLINES_H
#define STT_CONN_DEADLINES_H

#include <stdint.h>

#include "base/clock.h"
#include "conn/conn.h"
#include "conn/service.h"

/* The connection handler has returned. By the owner, as all of these. */
void stt_deadlines_begin(struct sttcp_conn *conn);

/* Bytes have come, or their handler has returned. */
static inline void stt_deadlines_note_input(struct sttcp_conn *conn)
{
	if (conn->service->settings.times_input)
		atomic_store_explicit(&conn->active_ms, stt_now_ms(), memory_order_relaxed);
}

/* A handler that was not about input has returned, or reading has rested: all deadlines for input
 * count from now on. */
void stt_deadlines_begin_anew(struct sttcp_conn *conn);

/* A message that is not whole may be held now. */
void stt_deadlines_watch_message(struct sttcp_conn *conn);

/* Whether a deadline for input has passed by `now_ms`, unless there is input that nobody has read.
 */
bool stt_deadlines_have_passed(const struct sttcp_conn *conn, int64_t now_ms);

/* Ends the connection if one has, or sees that it is looked at again. `now_ms` was taken before the
 * last look for input, so that what had come by then is never overlooked. */
void stt_deadlines_check(struct sttcp_conn *conn, int64_t now_ms);

/* The ring of a connection's alarm. */
int64_t stt_deadlines_ring(struct stt_worker *worker, struct stt_alarm *alarm);

#endif
