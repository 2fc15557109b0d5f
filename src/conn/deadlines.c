/* SPDX-License-Identifier: MIT */
/* The deadlines of a connection. The times that they are measured from are in conn.h. One alarm
 * serves all of them, including those of the output, and its tasks. */
#include "conn/deadlines.h"

#include "conn/ending.h"
#include "conn/hold.h"
#include "conn/input.h"
#include "conn/output.h"
#include "conn/own_framing.h"
#include "conn/secure.h"
#include "conn/tasks.h"
#include "engine/engine.h"

enum {
	/* Where a handshake's limit has passed while its input waited for a thread. */
	LOOK_AGAIN_MS = 100
};

/* A number that looks random and is the same for a connection each time: the finaliser of
 * splitmix64. Storing the random part of its lifetime would take eight bytes of each connection. */
static uint64_t scatter(uint64_t number)
{
	number = (number ^ (number >> 30)) * 0xbf58476d1ce4e5b9U;
	number = (number ^ (number >> 27)) * 0x94d049bb133111ebU;
	return number ^ (number >> 31);
}

/* When the connection reaches its age limit; any thread. */
static int64_t lifetime(const struct sttcp_conn *conn)
{
	const struct stt_settings *settings = &conn->service->settings;
	int64_t opened = atomic_load_explicit(&conn->opened_ms, memory_order_relaxed);
	int64_t at = STT_NEVER;

	if (settings->lifetime_ms < 0 || !opened)
		return at;
	at = opened + settings->lifetime_ms;
	if (settings->lifetime_jitter_ms > 0)
		at += (int64_t)(scatter(conn->id + (uint64_t)conn->born_ms) %
				((uint64_t)settings->lifetime_jitter_ms + 1));
	return at;
}

/* So long after `from`, where -1 is no limit. */
static int64_t after(int64_t from, int limit_ms)
{
	return limit_ms < 0 ? STT_NEVER : from + limit_ms;
}

struct deadline {
	int64_t at;
	int code;
};

static void take_earlier(struct deadline *first, int64_t at, int code)
{
	if (at < first->at)
		*first = (struct deadline){at, code};
}

/* NULL if no part of a record is there. */
static struct stt_part *part_of(const struct sttcp_conn *conn)
{
	struct stt_part *part = conn->secure ? &stt_secure_of(conn)->part : NULL;

	return part && part->there ? part : NULL;
}

/* When the message at hand began, or the record in which the next one does: 0 if there is none. */
static int64_t message_began(const struct sttcp_conn *conn, bool by_message)
{
	if (conn->held && conn->held->began_ms)
		return conn->held->began_ms;

	const struct stt_part *part = part_of(conn);

	return part && by_message ? part->since_ms : 0;
}

/* Whether it is read by message. */
static bool is_framed(const struct sttcp_conn *conn)
{
	return stt_conn_framing(conn)->kind != STTCP_FRAMING_RAW;
}

static struct deadline first_deadline(const struct sttcp_conn *conn, bool by_message)
{
	const struct stt_settings *settings = &conn->service->settings;
	int64_t opened = atomic_load_explicit(&conn->opened_ms, memory_order_relaxed);
	int64_t active = atomic_load_explicit(&conn->active_ms, memory_order_relaxed);
	struct deadline first = {STT_NEVER, 0};

	int64_t began = message_began(conn, by_message);

	if (!stt_counter_get(&conn->bytes_in) && !part_of(conn))
		take_earlier(&first, after(opened + conn->anew_ms, settings->first_byte_timeout_ms),
			     STTCP_ETIME_FIRST_BYTE);
	if (began)
		take_earlier(&first, after(began, settings->message_timeout_ms),
			     STTCP_ETIME_MESSAGE);
	take_earlier(&first, after(active, settings->idle_timeout_ms), STTCP_ETIME_IDLE);
	return first;
}

void stt_deadlines_begin_part(struct sttcp_conn *conn)
{
	struct stt_part *part = part_of(conn);

	if (!part)
		return;
	part->since_ms = stt_now_ms();
	/* Of what was dialled limits run only while a reader waits, who looks anew. */
	if (!conn->service->dialled)
		stt_deadlines_watch_message(conn);
}

void stt_deadlines_note_part(struct sttcp_conn *conn)
{
	struct stt_part *part = part_of(conn);

	if (!conn->secure || !conn->service->settings.times_input || stt_conn_has_ended(conn))
		return;
	if (part && !part->since_ms)
		stt_deadlines_begin_part(conn);
	if (part && part->grew)
		atomic_store_explicit(&conn->active_ms, stt_now_ms(), memory_order_relaxed);
	if (part)
		part->grew = false;
	/* There may have been one, without bytes: the limit for the first one counts again. */
	if (!part && !stt_counter_get(&conn->bytes_in) && !conn->service->dialled)
		stt_deadlines_look_by(conn, first_deadline(conn, false).at);
}

void stt_deadlines_look_by(struct sttcp_conn *conn, int64_t at)
{
	if (at >= atomic_load(&conn->owner_due_ms))
		return;
	atomic_store(&conn->owner_due_ms, at);
	stt_alarm_set(conn->loop, &conn->alarm, at);
}

void stt_deadlines_begin(struct sttcp_conn *conn)
{
	int64_t now = stt_now_ms();

	atomic_store_explicit(&conn->opened_ms, now, memory_order_relaxed);
	atomic_store_explicit(&conn->active_ms, now, memory_order_relaxed);
	stt_deadlines_begin_part(conn);
	if (conn->service->settings.times_input)
		stt_deadlines_look_by(conn, first_deadline(conn, is_framed(conn)).at);

	int64_t death = lifetime(conn);

	if (death != STT_NEVER)
		stt_alarm_set(conn->loop, &conn->alarm, death);
}

void stt_deadlines_watch_message(struct sttcp_conn *conn)
{
	int64_t began = message_began(conn, is_framed(conn));

	if (began)
		stt_deadlines_look_by(conn,
				      after(began, conn->service->settings.message_timeout_ms));
}

void stt_deadlines_begin_anew(struct sttcp_conn *conn)
{
	int64_t opened = atomic_load_explicit(&conn->opened_ms, memory_order_relaxed);
	int64_t now = stt_now_ms();

	conn->anew_ms = (uint32_t)(now - opened);
	atomic_store_explicit(&conn->active_ms, now, memory_order_relaxed);
	if (conn->held && conn->held->began_ms)
		conn->held->began_ms = now;
	stt_deadlines_begin_part(conn);
}

void stt_deadlines_leave_out(struct sttcp_conn *conn, int64_t began_ms)
{
	int64_t now = stt_now_ms();
	int64_t active = atomic_load_explicit(&conn->active_ms, memory_order_relaxed);
	int64_t moved = active + now - began_ms;

	if (now == began_ms)
		return;
	conn->anew_ms += (uint32_t)(now - began_ms);
	/* A byte that leaves at this very moment is the later sign of life. */
	atomic_compare_exchange_strong(&conn->active_ms, &active, moved < now ? moved : now);
	if (conn->held && conn->held->began_ms)
		conn->held->began_ms += now - began_ms;

	struct stt_part *part = part_of(conn);

	if (part && part->since_ms)
		part->since_ms += now - began_ms;
}

bool stt_deadlines_have_passed(const struct sttcp_conn *conn, int64_t now_ms)
{
	return first_deadline(conn, is_framed(conn)).at <= now_ms;
}

int64_t stt_deadlines_reader_next(const struct sttcp_conn *conn, bool by_message)
{
	return first_deadline(conn, by_message).at;
}

static void check(struct sttcp_conn *conn, bool by_message, int64_t now_ms)
{
	if (stt_hold_has_rested(conn))
		stt_deadlines_begin_anew(conn);

	struct deadline first = first_deadline(conn, by_message);

	if (first.at <= now_ms) {
		stt_conn_end(conn, first.code, STT_END_FLUSH);
		return;
	}
	atomic_store(&conn->owner_due_ms, STT_NEVER);
	stt_deadlines_look_by(conn, first.at);
}

void stt_deadlines_check(struct sttcp_conn *conn, int64_t now_ms)
{
	check(conn, is_framed(conn), now_ms);
}

void stt_deadlines_reader_check(struct sttcp_conn *conn, bool by_message, int64_t now_ms)
{
	check(conn, by_message, now_ms);
}

/* The deadline for the first byte of a connection that waits for a thread to run its connection
 * handler: silent peers must not pile up while all threads are in handlers. Returns when to check
 * again. */
static int64_t ring_unopened(struct stt_worker *worker, struct sttcp_conn *conn, int64_t now)
{
	int limit_ms = conn->service->settings.first_byte_timeout_ms;

	/* With TLS it begins after the handshake, which has its own limit. */
	if (limit_ms < 0 || atomic_load(&conn->opened) || conn->service->is_client ||
	    conn->service->settings.tls)
		return STT_NEVER;
	if (conn->born_ms + limit_ms > now)
		return conn->born_ms + limit_ms;
	/* If input is waiting, it is not the peer that is late. */
	if (!stt_conn_is_wished(conn, STT_WISH_READ) &&
	    stt_pool_take(&worker->engine->pool, &conn->actor)) {
		stt_conn_end(conn, STTCP_ETIME_FIRST_BYTE, STT_END_FLUSH);
		stt_loop_push(conn->loop, &conn->actor);
	}
	return STT_NEVER;
}

/* The limit on the TLS handshake. The loop ends the connection itself: its owner may be waiting for
 * a thread, or for a slow key. Returns when to check again. */
static int64_t ring_handshake(struct stt_worker *worker, struct sttcp_conn *conn, int64_t now)
{
	const struct stt_settings *settings = &conn->service->settings;
	int64_t began = atomic_load_explicit(&conn->active_ms, memory_order_relaxed);
	int64_t at = began + settings->tls_handshake_timeout_ms;

	if (!settings->tls || settings->tls_handshake_timeout_ms < 0 || !began ||
	    atomic_load(&conn->opened) || stt_conn_has_ended(conn))
		return STT_NEVER;
	if (at > now)
		return at;
	/* If input is waiting for a thread, it is not the peer that is late. */
	if (stt_conn_is_wished(conn, STT_WISH_READ))
		return now + LOOK_AGAIN_MS;

	bool queued = stt_pool_take(&worker->engine->pool, &conn->actor);

	stt_conn_end(conn, STTCP_ETIME_HANDSHAKE, STT_END_FLUSH);
	if (queued)
		stt_loop_push(conn->loop, &conn->actor);
	return STT_NEVER;
}

int64_t stt_deadlines_ring(struct stt_worker *worker, struct stt_alarm *alarm)
{
	struct sttcp_conn *conn = stt_container_of(alarm, struct sttcp_conn, alarm);
	int64_t now = stt_loop_time(conn->loop);
	int stalled = 0;
	int64_t next = stt_output_ring(conn, now, &stalled);
	int64_t death = lifetime(conn);
	int64_t owner_due = atomic_load(&conn->owner_due_ms);
	int64_t task_due = stt_tasks_due_ms(conn);
	unsigned wishes = 0;

	if (stalled)
		stt_conn_end(conn, stalled,
			     stalled == STTCP_ETIME_WRITE ? STT_END_ABORT : STT_END_RESET);
	if (death <= now)
		stt_conn_end(conn, STTCP_ETIME_LIFETIME, STT_END_AGED);
	else if (death < next)
		next = death;
	if (owner_due <= now)
		wishes = STT_WISH_TIMEOUT;
	else if (owner_due < next)
		next = owner_due;
	if (task_due <= now)
		wishes |= STT_WISH_TASKS;
	else if (task_due < next)
		next = task_due;
	if (wishes && stt_conn_wish(conn, wishes))
		stt_loop_push(conn->loop, &conn->actor);

	int64_t first_byte = ring_unopened(worker, conn, now);
	int64_t handshake = ring_handshake(worker, conn, now);

	if (handshake < first_byte)
		first_byte = handshake;
	return first_byte < next ? first_byte : next;
}
