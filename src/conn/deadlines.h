/* SPDX-License-Identifier: MIT */
/*
 * Deadlines: how long a connection may wait for its peer, and how long it may
 * live. A message costs one store: the alarm rings when the first deadline
 * could have passed, and only then is the time of the last activity
 * considered. Deadlines for input are checked by the owner, so they do not run
 * while a handler runs.
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

/* A handler that was not about input has returned, or reading was held: all deadlines for input
 * count from now on. */
void stt_deadlines_begin_anew(struct sttcp_conn *conn);

/* Since `began_ms` something ran that was not about input either, but comes as often as it likes,
 * so that nothing begins anew: that time does not count. */
void stt_deadlines_leave_out(struct sttcp_conn *conn, int64_t began_ms);

/* A message that is not whole may be held now. */
void stt_deadlines_watch_message(struct sttcp_conn *conn);

/* Whether a deadline for input has passed by `now_ms`, unless there is input that nobody has read.
 */
bool stt_deadlines_have_passed(const struct sttcp_conn *conn, int64_t now_ms);

/* When the first one of them passes. */
int64_t stt_deadlines_next(const struct sttcp_conn *conn);

/* Ends the connection if a deadline for input has passed, else sets the alarm for the next one.
 * `now_ms` was taken before the last check for input, so that input that had arrived by then is
 * never overlooked. */
void stt_deadlines_check(struct sttcp_conn *conn, int64_t now_ms);

/* Makes the owner look by `at`, unless it is going to look earlier. */
void stt_deadlines_look_by(struct sttcp_conn *conn, int64_t at);

/* The ring of a connection's alarm. */
int64_t stt_deadlines_ring(struct stt_worker *worker, struct stt_alarm *alarm);

#endif
