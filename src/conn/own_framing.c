/* SPDX-License-Identifier: MIT */
/* The own framings of connections, and who may free one. */
#include "conn/own_framing.h"

#include <errno.h>
#include <stdlib.h>

#include "conn/conn.h"
#include "conn/desk.h"
#include "conn/service.h"

/* A framing that another thread has replaced is kept until the owner has noticed: it may still be
 * parsing with it. `previous` belongs to the owner alone once this framing can be found. */
struct stt_own_framing {
	struct stt_framing framing;
	struct stt_own_framing *previous;
};

const struct stt_framing *stt_conn_framing(const struct sttcp_conn *conn)
{
	const struct stt_own_framing *own =
		atomic_load_explicit(&conn->framing, memory_order_acquire);

	return own ? &own->framing : &conn->service->settings.framing;
}

int stt_conn_copy_framing(struct sttcp_conn *conn, struct stt_framing *framing)
{
	int result = 0;

	/* In its own handler nobody else frees one. */
	if (stt_desk_conn() == conn) {
		*framing = *stt_conn_framing(conn);
		return 0;
	}
	stt_lock(&conn->output.lock);
	/* Once all connections have ended, the service may be started again with another framing.
	 */
	if (atomic_load(&conn->ended))
		result = stt_conn_end_code(conn);
	else
		*framing = *stt_conn_framing(conn);
	stt_unlock(&conn->output.lock);
	return result;
}

static void free_framings(struct stt_own_framing *own)
{
	while (own) {
		struct stt_own_framing *previous = own->previous;

		free(own);
		own = previous;
	}
}

void stt_conn_free_old_framings(struct stt_desk *desk, struct sttcp_conn *conn)
{
	struct stt_own_framing *own = atomic_load_explicit(&conn->framing, memory_order_acquire);

	if (!own || !own->previous)
		return;
	stt_input_forget_framing(desk, conn);
	free_framings(own->previous);
	own->previous = NULL;
}

void stt_conn_free_framings(struct sttcp_conn *conn)
{
	free_framings(atomic_load(&conn->framing));
}

int stt_conn_set_framing(struct sttcp_conn *conn, const struct stt_framing *framing)
{
	struct stt_own_framing *own = malloc(sizeof(*own));
	/* A frame_fn that changes the framing is still running with it. */
	bool in_handler = stt_desk_conn() == conn && !stt_desk_self()->input.in_look;

	if (!own)
		return -ENOMEM;
	stt_lock(&conn->output.lock);
	/* Once all connections have ended, the service may be started again with another context.
	 */
	if (atomic_load(&conn->ended)) {
		int code = stt_conn_end_code(conn);

		stt_unlock(&conn->output.lock);
		free(own);
		return code;
	}
	own->framing = *framing;
	own->framing.context = conn->service->handlers.context;
	struct stt_own_framing *previous =
		atomic_load_explicit(&conn->framing, memory_order_relaxed);

	own->previous = in_handler ? NULL : previous;
	atomic_store_explicit(&conn->framing, own, memory_order_release);
	atomic_store(&conn->framed, true);
	stt_unlock(&conn->output.lock);
	if (in_handler) {
		stt_input_forget_framing(stt_desk_self(), conn);
		free_framings(previous);
	}
	/* Input that has arrived already may be a message now. After a receive handler
	 * the reader checks anyway. */
	if (!in_handler || conn->held)
		stt_conn_ask(conn, STT_WISH_READ);
	return 0;
}
