/* SPDX-License-Identifier: MIT */
/* Holding a reader back, and letting it go on. */
#include "conn/hold.h"

#include "base/list.h"
#include "conn/service.h"
#include "conn/trace.h"

bool stt_hold(struct sttcp_conn *conn, enum stt_hold why)
{
	return !(atomic_fetch_or(&conn->holds, (unsigned char)why) & why);
}

bool stt_release(struct sttcp_conn *conn, enum stt_hold why)
{
	return atomic_fetch_and(&conn->holds, (unsigned char)~why) & why;
}

void stt_conn_pause(struct sttcp_conn *conn)
{
	if (stt_hold(conn, STT_HOLD_PAUSED))
		stt_trace(conn, "pause: sttcp_conn_pause");
}

void stt_conn_resume(struct sttcp_conn *conn)
{
	if (!stt_is_paused(conn))
		return;
	atomic_store(&conn->rested, true);
	stt_release(conn, STT_HOLD_PAUSED);
	stt_trace(conn, "resume: sttcp_conn_resume");
	stt_conn_ask(conn, STT_WISH_READ | STT_WISH_TIMEOUT);
}

/* Otherwise an echo-style handler would fill the queue of a peer that does not read, and then block
 * in its send. */
static bool is_high_locked(const struct stt_output *out, const struct stt_service *service)
	STT_REQUIRES(out->lock)
{
	const struct stt_settings *settings = &service->settings;
	int64_t queued = (int64_t)out->queue.own;

	/* The second condition also holds when an event, such as room in the socket, asks between
	 * the two marks. */
	return queued >= settings->high_water ||
	       (out->holds_reader && queued > settings->low_water) ||
	       (queued && settings->total_queue_max != INT64_MAX && stt_service_room(service) <= 0);
}

void stt_hold_note_queue_locked(struct stt_output *out)
{
	struct sttcp_conn *conn = stt_output_conn(out);
	/* Relaxed: only this thread, or one that sends at the same time, makes the queue longer. A
	 * reader that is too early by one read finds the change at the next. */
	bool was_high = atomic_load_explicit(&conn->holds, memory_order_relaxed) & STT_HOLD_HIGH;
	bool high = is_high_locked(out, conn->service);

	if (high && !was_high)
		stt_hold(conn, STT_HOLD_HIGH);
	else if (!high && was_high)
		stt_release(conn, STT_HOLD_HIGH);
}

bool stt_hold_release_low_locked(struct stt_output *out)
{
	struct sttcp_conn *conn = stt_output_conn(out);

	if (!out->holds_reader || (int64_t)out->queue.own > conn->service->settings.low_water)
		return false;
	out->holds_reader = false;
	atomic_store(&conn->rested, true);
	return true;
}

void stt_hold_trace_release(struct sttcp_conn *conn)
{
	stt_trace(conn, "resume: %zu bytes are queued",
		  atomic_load_explicit(&conn->output.queued, memory_order_relaxed));
}

/* `own` of the queued bytes are those of its own handlers: only these count for the mark. */
static void trace_rest(struct sttcp_conn *conn, size_t own)
{
	const struct stt_settings *settings = &conn->service->settings;

	if ((int64_t)own >= settings->high_water)
		stt_trace(conn, "pause: %zu bytes are queued, high_water is %lld", own,
			  (long long)settings->high_water);
	else
		stt_trace(conn, "pause: %zu bytes are queued, total_queue_max is %lld",
			  atomic_load_explicit(&conn->output.queued, memory_order_relaxed),
			  (long long)settings->total_queue_max);
}

/* Whether the queue is full, and reading stops from now on. */
static bool look_at_queue(struct sttcp_conn *conn)
{
	struct stt_output *out = &conn->output;

	stt_lock(&out->lock);
	bool rested = out->holds_reader;
	bool rests = is_high_locked(out, conn->service);
	size_t own = out->queue.own;

	out->holds_reader = rests;
	stt_unlock(&out->lock);
	if (rests && !rested)
		trace_rest(conn, own);
	else if (!rests && rested)
		stt_hold_trace_release(conn);
	return rests;
}

bool stt_hold_stands(struct sttcp_conn *conn)
{
	if (stt_is_paused(conn) || look_at_queue(conn))
		return true;
	stt_release(conn, STT_HOLD_AHEAD);
	return false;
}

static bool is_high(struct sttcp_conn *conn)
{
	struct stt_output *out = &conn->output;

	stt_lock(&out->lock);
	bool high = out->holds_reader || (atomic_load(&conn->holds) & STT_HOLD_HIGH);

	stt_unlock(&out->lock);
	return high;
}

bool stt_hold_has_rested(struct sttcp_conn *conn)
{
	bool rests = stt_is_paused(conn) || is_high(conn);

	/* Read after the reasons, because whoever ends a reason sets it before that. */
	return atomic_exchange(&conn->rested, false) || rests;
}
