/* SPDX-License-Identifier: MIT */
/* An end sets the reason, and flushes or breaks the output, under the output lock. Then a close
 * wish makes the owner continue from there, now or later (serve.c). */
#include "conn/ending.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "conn/conn.h"
#include "conn/desk.h"
#include "conn/line.h"
#include "conn/reasons.h"
#include "conn/secure.h"
#include "conn/service.h"
#include "conn/stream.h"
#include "conn/wait.h"
#include "engine/loop.h"
#include "net/poller.h"
#include "net/socket.h"

static unsigned reset_locked(struct sttcp_conn *conn) STT_REQUIRES(conn->output.lock)
{
	if (stt_stream_fd(conn) >= 0 && !conn->output.broken)
		stt_stream_reset_locked(&conn->output);
	return stt_output_break_locked(&conn->output, stt_conn_end_code(conn));
}

static unsigned flush_and_finish_locked(struct sttcp_conn *conn, enum stt_end_how how)
	STT_REQUIRES(conn->output.lock)
{
	conn->output.detours |= STT_DETOUR_FIN;
	stt_line_turn_away_locked(&conn->output, stt_conn_end_code(conn));

	unsigned what = stt_output_flush_locked(&conn->output);

	stt_output_limit_flush_locked(&conn->output);
	if (how != STT_END_FORCE)
		return what;
	conn->output.forced = true;
	/* A client's close has already waited for its bytes, for as long as it was asked to. A send
	 * of which a part is queued goes on for as long as its peer may take, if that has a limit.
	 */
	int flush_ms = atomic_load(&conn->service->flush_ms);

	/* Now, and not behind the last handler: that may be in such a send. */
	if (flush_ms > 0)
		stt_output_flush_by_locked(&conn->output, stt_now_ms() + flush_ms);
	if ((!flush_ms || (flush_ms < 0 && conn->output.line)) &&
	    !stt_output_drained_locked(&conn->output))
		what |= reset_locked(conn);
	return what;
}

/* The rank of an end against an earlier one. */
enum rank {
	FIRST_COUNTS,
	WINS
};

/* Sets the reason, or replaces it if this end wins. True if this end counts; then the text belongs
 * to the connection. */
static bool set_reason_locked(struct sttcp_conn *conn, int reason, char *text, enum rank rank)
	STT_REQUIRES(conn->output.lock)
{
	if (atomic_load(&conn->ended) && rank == FIRST_COUNTS)
		return false;
	/* Before the reason, so that whoever sees the reason finds the text. An end that can be
	 * replaced has none. */
	if (text)
		atomic_store(&conn->fail_text, text);
	atomic_store(&conn->reason, reason);
	atomic_store(&conn->ended, true);
	stt_wait_wake_locked(&conn->output);
	return true;
}

static bool resets_locked(const struct sttcp_conn *conn, enum stt_end_how how, bool first)
	STT_REQUIRES(conn->output.lock)
{
	if (how == STT_END_AGED)
		return first || !stt_output_drained_locked(&conn->output);
	return how == STT_END_RESET || how == STT_END_ABORT;
}

/* Also where the connection has ended before: else a server that is freed would wait for a handler
 * that sleeps on. */
static void note_force_locked(struct sttcp_conn *conn, enum stt_end_how how)
	STT_REQUIRES(conn->output.lock)
{
	if (how != STT_END_FORCE && how != STT_END_ABORT && how != STT_END_AGED)
		return;
	conn->output.by_force = true;
	stt_wait_wake_locked(&conn->output);
}

int stt_conn_shutdown(struct sttcp_conn *conn)
{
	unsigned what = 0;
	int result = 0;

	stt_lock(&conn->output.lock);
	if (atomic_load(&conn->ended)) {
		result = stt_conn_end_code(conn);
	} else {
		conn->output.detours |= STT_DETOUR_FIN;
		what = stt_output_flush_locked(&conn->output);
	}
	stt_unlock(&conn->output.lock);
	stt_output_tell(conn, what);
	return result;
}

int stt_conn_set_half_close(struct sttcp_conn *conn, bool on)
{
	if (stt_desk_conn() != conn)
		return -EDEADLK;
	if (atomic_load(&conn->ended))
		return stt_conn_end_code(conn);
	conn->half_close = on;
	/* A FIN that has come before is read once more, and ends it. */
	if (!on && conn->fin_seen)
		stt_conn_wish_again(conn, STT_WISH_READ);
	return 0;
}

/* With the connection owned: the descriptor, or a code. */
static int take_descriptor_locked(struct sttcp_conn *conn) STT_REQUIRES(conn->output.lock)
{
	int fd = atomic_load(&conn->fd);

	if (atomic_load(&conn->ended))
		return stt_conn_end_code(conn);
	if (conn->output.detours & STT_DETOUR_TLS)
		return -EOPNOTSUPP;
	if (fd < 0)
		return -ENOTCONN;
	if (!stt_output_drained_locked(&conn->output))
		return -EAGAIN;
	stt_poller_remove(conn->loop->poller, fd);
	atomic_store(&conn->fd, -1);
	set_reason_locked(conn, STTCP_ECLOSED, NULL, FIRST_COUNTS);
	stt_socket_set_blocking(fd);
	return fd;
}

static bool end_with_text(struct sttcp_conn *conn, int reason, enum stt_end_how how, char *text)
{
	unsigned what = 0;

	stt_lock(&conn->output.lock);
	bool first = set_reason_locked(conn, reason, text, FIRST_COUNTS);

	if (resets_locked(conn, how, first))
		what = reset_locked(conn);
	else if (first || how == STT_END_FORCE)
		what = flush_and_finish_locked(conn, how);
	note_force_locked(conn, how);
	stt_unlock(&conn->output.lock);

	if (!first)
		free(text);
	stt_output_tell(conn, what | STT_TELL_CLOSE);
	return first;
}

bool stt_conn_end(struct sttcp_conn *conn, int reason, enum stt_end_how how)
{
	char *text = atomic_load(&conn->ended) ? NULL : stt_reason_text(conn->service, reason);

	return end_with_text(conn, reason, how, text);
}

void stt_conn_end_by_stream(struct sttcp_conn *conn, int code)
{
	if (!conn->secure || (code != STTCP_ECUT && code != STTCP_ETLS)) {
		stt_conn_end(conn, stt_error_of_peer(code), STT_END_RESET);
		return;
	}

	/* What was sent before can still be read by the peer; an alert, too. But one that TLS has
	 * failed with and that does not read is not waited for. */
	bool waits = code == STTCP_ETLS && atomic_load(&conn->output.pending);

	end_with_text(conn, code, waits ? STT_END_RESET : STT_END_FLUSH, stt_secure_text(conn));
}

bool stt_conn_end_with(struct sttcp_conn *conn, int reason, enum stt_end_how how,
		       const char *format, ...)
{
	char *text = NULL;

	if (!atomic_load(&conn->ended)) {
		va_list arguments;

		va_start(arguments, format);
		if (vasprintf(&text, format, arguments) < 0)
			text = NULL; /* the reason tells as well */
		va_end(arguments);
	}
	return end_with_text(conn, reason, how, text);
}

bool stt_conn_fail(struct sttcp_conn *conn, int reason, enum stt_end_how how, char *text)
{
	bool own = stt_desk_conn() == conn;
	enum rank rank =
		own && stt_desk_self()->call.ended_conn && !stt_desk_self()->call.failed_conn
			? WINS
			: FIRST_COUNTS;
	unsigned what = 0;

	stt_lock(&conn->output.lock);
	bool counts = set_reason_locked(conn, reason, text, rank);

	/* A reset cuts the flush of another end short, but not that of a failure. */
	if (resets_locked(conn, how, counts) && !conn->failed)
		what = reset_locked(conn);
	else if (counts)
		what = flush_and_finish_locked(conn, STT_END_FLUSH);
	conn->failed |= counts;
	note_force_locked(conn, how);
	stt_unlock(&conn->output.lock);

	if (!counts)
		free(text);
	if (counts && own)
		stt_desk_self()->call.failed_conn = true;
	stt_output_tell(conn, what | STT_TELL_CLOSE);
	return counts;
}

void stt_conn_wave_off(struct sttcp_conn *conn)
{
	if (stt_conn_end(conn, 0, STT_END_FLUSH))
		conn->waved_off = true;
}

bool stt_conn_end_is_wanted(struct sttcp_conn *conn)
{
	stt_lock(&conn->output.lock);
	bool failed = conn->failed;

	stt_unlock(&conn->output.lock);

	int reason = atomic_load(&conn->reason);

	/* A failure may have any code; the library uses these two for nothing else. */
	return failed || conn->waved_off || reason == STTCP_ECLOSED || reason == STTCP_EDESTROYED;
}

/* Releases it, unless there are wishes: then its loop works on it. */
static void let_go(struct sttcp_conn *conn)
{
	if (!stt_conn_let_go(conn))
		stt_loop_push(conn->loop, &conn->actor);
}

int stt_conn_detach(struct sttcp_conn *conn)
{
	bool own = stt_desk_conn() == conn;
	bool owns = own || stt_conn_try_own(conn);

	/* A handler that waits uses it. */
	if (owns && conn->phase == STT_PARKED) {
		let_go(conn);
		owns = false;
	}
	if (!owns)
		return atomic_load(&conn->ended) ? stt_conn_end_code(conn) : -EBUSY;

	int result = stt_conn_detach_owned(conn);

	if (!own)
		let_go(conn);
	return result;
}

int stt_conn_detach_owned(struct sttcp_conn *conn)
{
	/* Its local address goes with the descriptor. */
	stt_conn_local(conn);
	stt_output_flush(conn);
	stt_lock(&conn->output.lock);
	int result = take_descriptor_locked(conn);

	stt_unlock(&conn->output.lock);
	if (result >= 0)
		stt_conn_wish(conn, STT_WISH_CLOSE);
	return result;
}
