/* SPDX-License-Identifier: MIT */
/* A connection's session: its life, and the way out. */
#include "conn/secure.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "conn/conn.h"
#include "conn/line.h"
#include "conn/rare.h"
#include "conn/service.h"
#include "conn/stream.h"
#include "tls/context.h"
#include "tls/resumption.h"

enum {
	PARTS_PER_CALL = 64
};

struct stt_secure *stt_secure_of(const struct sttcp_conn *conn)
{
	const struct stt_rare *rare = stt_rare_of(conn);

	/* Acquire: it is seen as it was made. */
	return rare ? atomic_load_explicit(&rare->secure, memory_order_acquire) : NULL;
}

static struct stt_tls_session *session_of(const struct stt_output *out)
{
	return stt_secure_of(stt_output_conn(out))->session;
}

/* ------------------------------------------------------------------------- wire */

static ssize_t recv_cipher(void *context, void *data, size_t size, bool *emptied)
{
	return stt_stream_recv_plain(context, data, size, emptied);
}

static ssize_t send_cipher(void *context, const struct iovec *parts, int count)
{
	return stt_socket_send(stt_stream_fd(context), parts, count);
}

static const struct stt_tls_wire wire = {.recv = recv_cipher, .send = send_cipher};

/* ------------------------------------------------------------------------- life */

/* That of all connections of a client, which come one after another. */
static struct stt_resumption *resumption_of(struct stt_service *service)
{
	struct stt_resumption *resumption = atomic_load(&service->resumption);

	if (resumption || !service->is_client)
		return resumption;

	struct stt_resumption *made = stt_resumption_new();

	/* Without memory there is a full handshake each time. */
	if (atomic_compare_exchange_strong(&service->resumption, &resumption, made))
		return made;
	stt_resumption_free(made);
	return resumption;
}

/* Bytes of sends that have begun before, and are to leave as they are. */
static size_t count_sent_locked(struct stt_output *out) STT_REQUIRES(out->lock)
{
	size_t size = out->queue.size;

	for (struct stt_sender *sender = out->line; sender; sender = sender->next) {
		size += sender->cursor.left;
		sender->clear = true;
	}
	return size;
}

static int refusal_locked(const struct sttcp_conn *conn) STT_REQUIRES(conn->output.lock)
{
	if (atomic_load(&conn->ended))
		return stt_conn_end_code(conn);
	if (conn->output.broken)
		return conn->output.broken;
	return (conn->output.detours & STT_DETOUR_FIN) ? -EPIPE : 0;
}

int stt_secure_begin(struct sttcp_conn *conn, const struct stt_secure_start *start)
{
	const struct stt_tls_start begin = {
		.name = start->name,
		.resumption = stt_tls_is_server(start->tls) ? NULL : resumption_of(conn->service),
		.early = start->early,
		.early_size = start->early_size,
		.wire = &wire,
		.context = conn,
	};
	struct stt_rare *rare = stt_rare_make(conn);
	struct stt_secure *secure = calloc(1, sizeof(*secure));
	int result = -ENOMEM;

	if (rare && secure)
		result = stt_tls_session_new(&secure->session, start->tls, &begin);
	if (result < 0) {
		free(secure);
		return result;
	}
	stt_lock(&conn->output.lock);
	result = refusal_locked(conn);
	if (result == 0) {
		secure->clear = count_sent_locked(&conn->output);
		atomic_store_explicit(&rare->secure, secure, memory_order_release);
		conn->output.detours |= STT_DETOUR_TLS;
		conn->output.shakes = true;
		conn->secure = true;
	}
	stt_unlock(&conn->output.lock);
	if (result < 0) {
		stt_tls_session_free(secure->session);
		free(secure);
	}
	return result;
}

void stt_secure_free(struct sttcp_conn *conn)
{
	struct stt_secure *secure = stt_secure_of(conn);

	if (!secure)
		return;
	stt_tls_session_free(secure->session);
	free(secure);
}

bool stt_secure_get_facts(struct sttcp_conn *conn, struct stt_tls_facts *facts)
{
	stt_lock(&conn->output.lock);
	bool known = (conn->output.detours & STT_DETOUR_TLS) && !conn->output.shakes &&
		     stt_tls_get_facts(session_of(&conn->output), facts);

	stt_unlock(&conn->output.lock);
	return known;
}

char *stt_secure_text(struct sttcp_conn *conn)
{
	stt_lock(&conn->output.lock);
	const char *text = (conn->output.detours & STT_DETOUR_TLS)
				   ? stt_tls_text(session_of(&conn->output))
				   : "";
	char *copy = *text ? strdup(text) : NULL;

	stt_unlock(&conn->output.lock);
	return copy;
}

/* ---------------------------------------------------------------------- sending */

/* What was sent before TLS began, and no more than that. */
static ssize_t send_clear_locked(struct stt_output *out, const struct iovec *parts, int count)
	STT_REQUIRES(out->lock)
{
	struct stt_secure *secure = stt_secure_of(stt_output_conn(out));
	struct iovec some[PARTS_PER_CALL];
	size_t left = secure->clear;
	int nsome = 0;

	if (!left)
		return -EAGAIN;
	for (; left && nsome < count && nsome < PARTS_PER_CALL; nsome++) {
		some[nsome] = parts[nsome];
		if (some[nsome].iov_len > left)
			some[nsome].iov_len = left;
		left -= some[nsome].iov_len;
	}

	ssize_t sent = stt_socket_send(stt_stream_fd(stt_output_conn(out)), some, nsome);

	if (sent > 0)
		secure->clear -= (size_t)sent;
	return sent;
}

ssize_t stt_secure_send_locked(struct stt_output *out, const struct iovec *parts, int count)
{
	if (out->shakes)
		return send_clear_locked(out, parts, count);

	struct stt_tls_session *session = session_of(out);
	uint64_t before = stt_tls_moved(session);
	ssize_t sent = stt_tls_send(session, parts, count);

	/* It may have been the rest alone, whose time runs. */
	if (atomic_load_explicit(&out->pending, memory_order_relaxed) &&
	    stt_tls_moved(session) != before)
		out->moved_ms = stt_now_ms();
	return sent;
}

/* An end turns senders in line away: bytes that were counted as clear then never come. */
static bool is_clear_out_locked(const struct stt_output *out) STT_REQUIRES(out->lock)
{
	return !stt_secure_of(stt_output_conn(out))->clear ||
	       (stt_bytes_empty(&out->queue) && !out->line);
}

bool stt_secure_waits_locked(const struct stt_output *out)
{
	return out->shakes && is_clear_out_locked(out);
}

bool stt_secure_is_torn_locked(const struct stt_output *out)
{
	return !is_clear_out_locked(out);
}

bool stt_secure_is_held_locked(const struct stt_output *out)
{
	return stt_tls_is_held(session_of(out));
}

bool stt_secure_needs_input_locked(const struct stt_output *out)
{
	return (out->detours & STT_DETOUR_TLS) && !out->shakes &&
	       stt_tls_needs_input(session_of(out));
}

bool stt_secure_finishes_later_locked(const struct stt_output *out)
{
	return (out->detours & STT_DETOUR_TLS) && !out->shakes &&
	       stt_tls_finishes_later(session_of(out));
}

bool stt_secure_is_drained_locked(const struct stt_output *out)
{
	return !out->shakes && !stt_tls_rest(session_of(out)) &&
	       !stt_tls_finishes_later(session_of(out));
}

int stt_secure_flush_locked(struct stt_output *out, bool *moved)
{
	struct stt_tls_session *session = session_of(out);
	uint64_t before = stt_tls_moved(session);
	int result = stt_tls_flush(session);

	*moved = stt_tls_moved(session) != before;
	return result;
}

bool stt_secure_has_failed(struct sttcp_conn *conn)
{
	struct stt_output *out = &conn->output;

	stt_lock(&out->lock);
	bool failed = (out->detours & STT_DETOUR_TLS) && !out->shakes &&
		      stt_tls_has_failed(session_of(out));

	stt_unlock(&out->lock);
	return failed;
}

void stt_secure_finish_locked(struct stt_output *out)
{
	stt_tls_finish(session_of(out));
}
