/* SPDX-License-Identifier: MIT */
/* Finds a peer that the kernel does not hear, and TLS that has to read before it can send. */
#include "conn/unheard.h"

#include "base/clock.h"
#include "conn/conn.h"
#include "conn/hold.h"
#include "conn/secure.h"
#include "conn/service.h"
#include "net/socket.h"

enum {
	/* Later looks are twice as far from the last byte each: within the write timeout a peer
	 * that does not read costs five of them. */
	FIRST_LOOK_MS = 1000,
	/* After one that has found something: see stt_socket_is_unheard. */
	SECOND_LOOK_MS = 1000
};

static bool stands_still_locked(const struct stt_output *out) STT_REQUIRES(out->lock)
{
	return atomic_load(&out->pending) && !out->broken &&
	       (!out->is_unix || stt_secure_needs_input_locked(out));
}

int64_t stt_unheard_at_locked(const struct stt_output *out)
{
	return stands_still_locked(out) ? out->moved_ms + FIRST_LOOK_MS : STT_NEVER;
}

int64_t stt_unheard_look_locked(struct stt_output *out, int64_t now_ms, bool *asks)
{
	struct sttcp_conn *conn = stt_output_conn(out);
	int64_t still_ms = now_ms - out->moved_ms;
	int fd = atomic_load_explicit(&conn->fd, memory_order_relaxed);
	bool before = out->unheard;

	out->unheard = false;
	if (fd < 0 || !stands_still_locked(out))
		return STT_NEVER;
	if (still_ms < FIRST_LOOK_MS)
		return out->moved_ms + FIRST_LOOK_MS;

	bool rests = out->holds_reader || stt_is_paused(conn);

	if (rests && stt_secure_needs_input_locked(out)) {
		stt_hold(conn, STT_HOLD_AHEAD);
		*asks = true;
		return now_ms + still_ms;
	}
	out->unheard = rests && stt_socket_is_unheard(fd);
	if (!out->unheard)
		return now_ms + still_ms;

	/* Other alarms of the connection's lead here, too. */
	uint16_t since_ms = (uint16_t)((uint16_t)now_ms - out->unheard_ms);

	if (before && since_ms < SECOND_LOOK_MS)
		return now_ms + SECOND_LOOK_MS - since_ms;
	out->unheard_ms = (uint16_t)now_ms;
	if (!before)
		return now_ms + SECOND_LOOK_MS;
	stt_hold(conn, STT_HOLD_AHEAD);
	*asks = true;
	return now_ms + still_ms;
}
