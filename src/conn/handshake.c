/* SPDX-License-Identifier: MIT */
/*
 * A handshake of TLS, before a connection's first handler or inside one of its
 * handlers (start_tls). When it has failed, or the connection has ended meanwhile,
 * what was only queued is dropped: it may leave neither as plain bytes nor
 * otherwise. The alert is in the session's rest, and leaves before FIN.
 */
#include "conn/handshake.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "conn/conn.h"
#include "conn/deadlines.h"
#include "conn/desk.h"
#include "conn/dispatch.h"
#include "conn/ending.h"
#include "conn/inline_read.h"
#include "conn/input.h"
#include "conn/line.h"
#include "conn/room.h"
#include "conn/secure.h"
#include "conn/service.h"
#include "conn/strand.h"
#include "conn/stream.h"
#include "conn/wait.h"
#include "conn/watch.h"
#include "engine/turn.h"
#include "tls/context.h"

/* Whom a client asks for where nothing else was said. */
static const char *default_name(const struct stt_service *service)
{
	if (!service->is_client)
		return NULL;
	if (service->settings.tls_name)
		return service->settings.tls_name;
	return stt_host_is_unix(service->host) ? NULL : service->host;
}

/* Moves out what the last step has left to be sent. True if it has to wait for the descriptor. */
static bool flush_step(struct sttcp_conn *conn)
{
	bool moved;

	stt_lock(&conn->output.lock);
	bool waits = !conn->output.broken && stt_stream_fd(conn) >= 0 &&
		     stt_secure_flush_locked(&conn->output, &moved) == -EAGAIN;

	stt_unlock(&conn->output.lock);
	return waits;
}

/* From now on sends go through the session. `holds`: tickets are for stt_handshake_release. */
static void open_stream(struct sttcp_conn *conn, bool holds)
{
	stt_lock(&conn->output.lock);
	conn->output.shakes = false;
	/* Its last bytes (a server's tickets) are under way, and a peer may vanish right now. */
	if (conn->output.watch == STT_WATCH_QUIET && stt_stream_fd(conn) >= 0)
		stt_watch_begin_locked(&conn->output);

	unsigned what = 0;

	if (!holds || !stt_secure_is_held_locked(&conn->output))
		what = stt_output_flush_locked(&conn->output);
	stt_unlock(&conn->output.lock);
	stt_output_tell(conn, what);
}

/* It has come to nothing, and the connection has ended. */
static void give_up(struct sttcp_conn *conn)
{
	struct stt_output *out = &conn->output;

	stt_lock(&out->lock);
	/* A FIN behind a part of what was sent would tell the peer that this was all. */
	if (!out->broken && stt_secure_is_torn_locked(out) && stt_stream_fd(conn) >= 0)
		stt_stream_reset_locked(out);
	out->shakes = false;
	stt_bytes_clear(&out->queue);
	while (out->line)
		stt_line_finish_locked(out, out->line, stt_conn_end_code(conn));
	stt_room_note_locked(out);
	unsigned what = stt_output_flush_locked(out);

	stt_unlock(&out->lock);
	stt_output_tell(conn, what);
}

/* Ends the connection: `code` is that of a step. */
static void end_by(struct sttcp_conn *conn, int code)
{
	char *text = stt_secure_text(conn);
	bool of_wire = code != STTCP_ETLS && code != -ENOMEM;

	stt_conn_end_with(conn, stt_error_of_peer(code), of_wire ? STT_END_RESET : STT_END_FLUSH,
			  "%s", text ? text : sttcp_strerror(code));
	free(text);
}

/* --------------------------------------------------- before the first handler */

void stt_handshake_limit(struct sttcp_conn *conn)
{
	int limit_ms = conn->service->settings.tls_handshake_timeout_ms;

	if (limit_ms >= 0)
		stt_alarm_set(conn->loop, &conn->alarm,
			      atomic_load_explicit(&conn->active_ms, memory_order_relaxed) +
				      limit_ms);
}

static int begin(struct sttcp_conn *conn)
{
	return stt_secure_begin(conn, &(struct stt_secure_start){
					      .tls = conn->service->settings.tls,
					      .name = default_name(conn->service),
				      });
}

static int make_step(struct stt_desk *desk, struct sttcp_conn *conn)
{
	stt_turn_begin(&desk->worker);
	int result = stt_tls_handshake(stt_secure_of(conn)->session);

	stt_dispatch_count(desk);
	if (!stt_turn_end(&desk->worker))
		stt_dispatch_note_loss(conn);
	return result;
}

/* The connection has ended before it was open. */
static enum stt_shaken shake_off(struct sttcp_conn *conn, bool failed)
{
	conn->unshaken = failed || atomic_load(&conn->reason) == STTCP_ETIME_HANDSHAKE;
	conn->unheard = !conn->secure || !stt_tls_heard(stt_secure_of(conn)->session);
	if (conn->secure)
		give_up(conn);
	return STT_SHAKEN_OFF;
}

enum stt_shaken stt_handshake_act(struct stt_desk *desk, struct sttcp_conn *conn, bool may_read)
{
	if (stt_conn_has_ended(conn))
		return shake_off(conn, false);
	if (!conn->secure) {
		stt_handshake_limit(conn);
		/* A peer that says nothing costs no session. */
		if (!conn->service->is_client && !may_read)
			return STT_SHAKES_ON;

		int begun = begin(conn);

		if (begun < 0) {
			bool failed = !stt_conn_has_ended(conn);

			if (begun == -EINVAL)
				stt_conn_end_with(conn, begun, STT_END_RESET,
						  "\"%s\" is no name that a certificate can be "
						  "for: set tls_name",
						  default_name(conn->service));
			stt_conn_end(conn, begun, STT_END_RESET);
			return shake_off(conn, failed);
		}
	}

	int result = make_step(desk, conn);

	if (result == 0) {
		open_stream(conn, true);
		return STT_SHAKEN;
	}
	/* If the descriptor does not take it now, an event makes the next step. */
	flush_step(conn);
	if (result == -EAGAIN)
		return stt_conn_has_ended(conn) ? shake_off(conn, false) : STT_SHAKES_ON;
	end_by(conn, result);
	return shake_off(conn, true);
}

bool stt_handshake_holds(struct sttcp_conn *conn)
{
	stt_lock(&conn->output.lock);
	bool holds = stt_secure_is_held_locked(&conn->output);

	stt_unlock(&conn->output.lock);
	return holds;
}

void stt_handshake_release(struct sttcp_conn *conn)
{
	unsigned what = 0;

	stt_lock(&conn->output.lock);
	if (stt_secure_is_held_locked(&conn->output))
		what = stt_output_flush_locked(&conn->output);
	stt_unlock(&conn->output.lock);
	stt_output_tell(conn, what);
}

void stt_handshake_read_all(struct sttcp_conn *conn, bool on)
{
	stt_tls_stay_dry(stt_secure_of(conn)->session, on);
}

/* ----------------------------------------------------------- inside a handler */

/* Waits for the descriptor: 0, or a code. */
static int wait_for(struct stt_desk **desk, struct sttcp_conn *conn, short events, int64_t until_ms)
{
	struct stt_strand *strand = (*desk)->call.strand;
	int result = stt_wait_for_stream(*desk, conn, events, until_ms);

	*desk = stt_strand_desk(strand, *desk);
	return result;
}

/* Waits until what was sent before has left: 0, or a code. */
static int leave_the_clear(struct stt_desk **desk, struct sttcp_conn *conn, int64_t until_ms)
{
	for (;;) {
		stt_output_flush(conn);
		stt_lock(&conn->output.lock);
		bool gone = stt_secure_waits_locked(&conn->output);
		int broken = conn->output.broken;

		stt_unlock(&conn->output.lock);
		if (gone || broken)
			return broken;

		int result = wait_for(desk, conn, POLLOUT, until_ms);

		if (result < 0)
			return result;
	}
}

/* The whole handshake: 0, or a code. */
static int shake_hands(struct stt_desk **desk, struct sttcp_conn *conn, int64_t until_ms)
{
	int result = leave_the_clear(desk, conn, until_ms);

	while (result == 0) {
		int step = stt_tls_handshake(stt_secure_of(conn)->session);

		if (step == 0)
			return 0;

		bool waits = flush_step(conn);

		if (step != -EAGAIN)
			return step;
		result = wait_for(desk, conn, (short)(POLLIN | POLLRDHUP | (waits ? POLLOUT : 0)),
				  until_ms);
	}
	return result;
}

static int fail(struct sttcp_conn *conn, int code)
{
	/* One that somebody else has ended meanwhile has not failed. */
	conn->misshaken = !stt_conn_has_ended(conn);
	if (code == -ETIMEDOUT)
		stt_conn_end(conn, STTCP_ETIME_HANDSHAKE, STT_END_FLUSH);
	else if (!stt_conn_has_ended(conn))
		end_by(conn, code);
	give_up(conn);
	return stt_conn_end_code(conn);
}

/* What was read behind the message at hand is TLS's, and no plain byte. */
static void give_away_input(struct stt_desk *desk, struct sttcp_conn *conn)
{
	size_t size = desk->input.size;

	if (!size)
		return;
	stt_counter_add(&conn->bytes_in, -(int64_t)size);
	stt_input_skip(desk, size);
	if (desk->input.memory)
		desk->input.memory->began_ms = 0;
}

/* The connection goes on, so it is the object that says what was wrong. */
static void explain_refusal(sttcp_tls *tls, const char *name)
{
	stt_tls_note(tls, -EINVAL,
		     name ? "sttcp_conn_start_tls was given a name that no certificate can be for: "
			    "it may be a DNS name or an address, without a port"
			  : "sttcp_conn_start_tls needs the name that the peer's certificate has "
			    "to be for, and was given none");
}

static int start(struct stt_desk *desk, struct sttcp_conn *conn, sttcp_tls *tls, const char *name,
		 int64_t until_ms)
{
	if (conn->secure)
		return -EBUSY;

	int result = stt_tls_use(tls);

	if (result < 0)
		return result;
	if (!name)
		name = default_name(conn->service);
	result = stt_secure_begin(conn, &(struct stt_secure_start){
						.tls = tls,
						.name = name,
						.early = desk->input.at,
						.early_size = desk->input.size,
					});
	if (result == -EINVAL)
		explain_refusal(tls, name);
	if (result < 0)
		return result;
	give_away_input(desk, conn);
	if (desk->call.strand) {
		desk->call.strand->emptied = false;
		desk->call.strand->only_looks = false;
	}
	result = shake_hands(&desk, conn, until_ms);
	if (result < 0)
		return fail(conn, result);
	open_stream(conn, false);
	/* What came behind the handshake raises no event. */
	stt_conn_wish_again(conn, STT_WISH_READ);
	return 0;
}

int stt_handshake_start(struct sttcp_conn *conn, sttcp_tls *tls, const char *name)
{
	int64_t until_ms = stt_deadline_ms(conn->service->settings.tls_handshake_timeout_ms);
	struct stt_desk *desk;
	int result = stt_inline_begin(conn, until_ms, &desk);

	if (result < 0)
		return result;
	return (int)stt_inline_end(conn, start(desk, conn, tls, name, until_ms));
}
