/* SPDX-License-Identifier: MIT */
/* The loop counts those of its connections that are marked. */
#include "conn/blocking.h"

#include "conn/conn.h"
#include "engine/loop.h"

void stt_blocking_mark(struct sttcp_conn *conn)
{
	if (!conn->blocking)
		stt_loop_note_blocking(conn->loop, &conn->actor, true);
	conn->blocking = STT_QUICK_RUN;
}

void stt_blocking_unmark(struct sttcp_conn *conn)
{
	if (!conn->blocking)
		return;
	conn->blocking = 0;
	stt_loop_note_blocking(conn->loop, &conn->actor, false);
}
