/* SPDX-License-Identifier: MIT */
/*
 * A peer is dead when it does not answer: two checks in succession have found
 * something that waits for an answer (data in flight, or a probe of a closed
 * window), and its last answer of any kind is older than the limit. One check
 * is not enough: the kernel probes a closed window up to two minutes apart,
 * and the last answer is that old then.
 *
 * Checks are due at whole fractions of the limit, so that those of thousands
 * of connections come together, in few wake-ups.
 */
#include "conn/watch.h"

#include "base/clock.h"
#include "base/list.h"
#include "conn/conn.h"
#include "conn/desk.h"
#include "conn/service.h"
#include "engine/loop.h"
#include "engine/turn.h"
#include "net/socket.h"

enum {
	LOOKS = 3,	  /* within the limit */
	TICKS_A_LOOK = 4, /* a look is late by one at most */
	LEAST_LIMIT_MS = 3000
};

static int64_t limit_of(const struct sttcp_conn *conn)
{
	int64_t limit = conn->service->settings.dead_peer_timeout_ms;

	return limit > LEAST_LIMIT_MS ? limit : LEAST_LIMIT_MS;
}

static int64_t look_at(const struct sttcp_conn *conn, int64_t at)
{
	int64_t tick = limit_of(conn) / (LOOKS * TICKS_A_LOOK);

	return (at + tick - 1) / tick * tick;
}

unsigned char stt_watch_for(const struct sttcp_conn *conn)
{
	bool off = conn->service->settings.dead_peer_timeout_ms < 0 || conn->output.is_unix;

	return off ? STT_WATCH_OFF : STT_WATCH_QUIET;
}

static int64_t first_look(const struct sttcp_conn *conn)
{
	return look_at(conn, stt_now_ms() + limit_of(conn) / LOOKS);
}

void stt_watch_begin_locked(struct stt_output *out)
{
	struct sttcp_conn *conn = stt_output_conn(out);
	struct stt_worker *self = stt_self;

	out->watch = STT_WATCH_BEGUN;
	if (self && self->loop == conn->loop && stt_turn_runs(self)) {
		struct stt_desk *desk = stt_desk_of(self);

		if (desk->watch == STT_WATCH_MAY_WAIT && desk->call.conn == conn) {
			desk->watch = STT_WATCH_WAITS;
			out->watch = STT_WATCH_LATE;
			return;
		}
	}
	stt_alarm_set(conn->loop, &conn->alarm, first_look(conn));
}

void stt_watch_wait_locked(struct stt_output *out)
{
	struct sttcp_conn *conn = stt_output_conn(out);

	if (out->watch != STT_WATCH_LATE)
		return;
	out->watch = STT_WATCH_BEGUN;
	stt_alarm_set(conn->loop, &conn->alarm, first_look(conn));
}

void stt_watch_begin_late(struct sttcp_conn *conn)
{
	stt_alarm_set(conn->loop, &conn->alarm, first_look(conn));
}

int64_t stt_watch_look_locked(struct stt_output *out)
{
	struct sttcp_conn *conn = stt_output_conn(out);
	int fd = atomic_load_explicit(&conn->fd, memory_order_relaxed);
	int64_t limit = limit_of(conn);
	struct stt_silence silence = {0};

	if (out->watch == STT_WATCH_QUIET || out->watch == STT_WATCH_OFF)
		return STT_NEVER;
	if (fd < 0 || out->broken || !stt_socket_silence(fd, &silence)) {
		out->watch = STT_WATCH_QUIET;
		return STT_NEVER;
	}
	/* So that the answers of a peer behind a closed window are no further apart than the
	 * checks. */
	if (silence.window_shut)
		stt_socket_probe_each(fd, (unsigned)(limit / LOOKS));

	bool asked = silence.unanswered && silence.ms >= limit / LOOKS / 2;

	if (asked && out->watch == STT_WATCH_ASKED && silence.ms >= limit)
		return 0;
	out->watch = asked ? STT_WATCH_ASKED : STT_WATCH_BEGUN;

	int64_t wait = limit / LOOKS;

	if (asked && limit - silence.ms < wait)
		wait = limit - silence.ms > wait / 2 ? limit - silence.ms : wait / 2;
	return look_at(conn, stt_now_ms() + wait);
}
