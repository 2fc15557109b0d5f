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

/* Of a record of TLS a part has come behind these bytes: its limits begin. */
void stt_deadlines_begin_part(struct sttcp_conn *conn);

/* A read has given no bytes, and none of its handlers runs: perhaps a part of a record has come. */
void stt_deadlines_note_part(struct sttcp_conn *conn);

/* Bytes have come, or their handler has returned. */
static inline void stt_deadlines_note_input(struct sttcp_conn *conn)
{
	if (!conn->service->settings.times_input)
		return;
	atomic_store_explicit(&conn->active_ms, stt_now_ms(), memory_order_relaxed);
	if (conn->secure)
		stt_deadlines_begin_part(conn);
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

/* Ends the connection if a deadline for input has passed, else sets the alarm for the next one.
 * `now_ms` was taken before the last check for input, so that input that had arrived by then is
 * never overlooked. */
void stt_deadlines_check(struct sttcp_conn *conn, int64_t now_ms);

/* The same for a reader that waits, for a message or for bytes: when the first one of them passes,
 * and the check then. */
int64_t stt_deadlines_reader_next(const struct sttcp_conn *conn, bool by_message);
void stt_deadlines_reader_check(struct sttcp_conn *conn, bool by_message, int64_t now_ms);

/* Makes the owner look by `at`, unless it is going to look earlier. */
void stt_deadlines_look_by(struct sttcp_conn *conn, int64_t at);

/* The ring of a connection's alarm. */
int64_t stt_deadlines_ring(struct stt_worker *worker, struct stt_alarm *alarm);

#endif
