/* SPDX-License-Identifier: MIT */
/* Receiving through a session. The lock is held meanwhile: nothing waits, and a record of 16 KiB
 * takes 7 us with its system call. */
#include "conn/conn.h"
#include "conn/output.h"
#include "conn/secure.h"
#include "conn/stream.h"

enum {
	/* Records and other messages of one read. A flood of empty records or key updates must not
	 * keep the others on the loop waiting. */
	MESSAGES_PER_READ = 64
};

ssize_t stt_secure_recv(struct sttcp_conn *conn, void *data, size_t size, bool *emptied)
{
	struct stt_output *out = &conn->output;
	struct stt_tls_session *session = stt_secure_of(conn)->session;
	struct stt_part *part = &stt_secure_of(conn)->part;
	int budget = MESSAGES_PER_READ;
	unsigned what = 0;

	stt_lock(&out->lock);
	bool needed = stt_tls_needs_input(session);
	uint64_t heard = stt_tls_heard(session);
	ssize_t got = stt_tls_recv(session, data, size, emptied, &budget);

	part->there = stt_tls_is_amid_record(session);
	part->grew = part->there && stt_tls_heard(session) != heard;
	if (!part->there || got > 0)
		part->since_ms = 0;

	/* Answers of TLS's own, or an alert. While output waits for the descriptor they do, too;
	 * but not if it waits for what has been read now. */
	if (needed ||
	    (stt_tls_rest(session) && !stt_tls_is_held(session) && !atomic_load(&out->pending)))
		what = stt_output_flush_locked(out);
	stt_unlock(&out->lock);
	stt_output_tell(conn, what);
	return got;
}

bool stt_secure_wants_input(struct sttcp_conn *conn)
{
	struct stt_output *out = &conn->output;

	stt_lock(&out->lock);
	const struct stt_tls_session *session = stt_secure_of(conn)->session;
	bool wants = !out->fin_sent && !out->broken && !out->shakes &&
		     (stt_tls_is_amid_message(session) || stt_tls_needs_input(session));

	stt_unlock(&out->lock);
	return wants;
}

bool stt_secure_is_amid(struct sttcp_conn *conn)
{
	stt_lock(&conn->output.lock);
	bool amid = stt_tls_is_amid_record(stt_secure_of(conn)->session);

	stt_unlock(&conn->output.lock);
	return amid;
}

int stt_secure_failure(struct sttcp_conn *conn)
{
	stt_lock(&conn->output.lock);
	int code = stt_tls_failure(stt_secure_of(conn)->session);

	stt_unlock(&conn->output.lock);
	return code;
}

bool stt_secure_has_input(struct sttcp_conn *conn)
{
	stt_lock(&conn->output.lock);
	bool has = stt_tls_has_input(stt_secure_of(conn)->session);

	stt_unlock(&conn->output.lock);
	return has;
}
