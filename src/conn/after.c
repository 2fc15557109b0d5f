/* SPDX-License-Identifier: MIT */
/* What a connection becomes by the return of its handlers. */
#include "conn/after.h"

#include <errno.h>

#include "base/clock.h"
#include "conn/conn.h"
#include "conn/deadlines.h"
#include "conn/desk.h"
#include "conn/ending.h"
#include "conn/input.h"
#include "conn/life.h"
#include "conn/trace.h"
#include "engine/turn.h"

static void after_connection(struct stt_desk *desk, struct sttcp_conn *conn, bool verdict)
{
	bool is_client = conn->service->is_client;
	bool refused = !verdict || desk->call.ended_conn;

	/* What it has read and left. */
	if (stt_input_is_in_hand(desk) && stt_input_keep(desk, conn) < 0)
		stt_conn_end(conn, -ENOMEM, STT_END_RESET);
	stt_deadlines_begin(conn);

	conn->phase = STT_OPEN;
	if (desk->call.failed_conn)
		return;
	/* Before it joins: who waits for an open connection must not take it for one. */
	conn->declined = refused && !is_client;
	if (refused)
		stt_conn_wave_off(conn);
	if (!conn->declined)
		conn->service->calls->joined(conn->service, conn);
	if (!refused)
		stt_trace(conn, "open");
}

void stt_after_fin(struct sttcp_conn *conn)
{
	struct stt_output_view view = stt_output_view(conn);

	if (view.broken || view.fin_sent || !conn->half_close)
		stt_conn_end(conn, view.broken, STT_END_FLUSH);
}

static void after_end(struct sttcp_conn *conn, bool verdict)
{
	stt_deadlines_note_input(conn);
	if (!verdict && !conn->service->handlers.end)
		stt_conn_wave_off(conn);
	stt_after_fin(conn);
}

void stt_after_limit_lingering(struct sttcp_conn *conn, int64_t at)
{
	atomic_store(&conn->owner_due_ms, at);
	if (at != STT_NEVER)
		stt_alarm_set(conn->loop, &conn->alarm, at);
}

static void after_last(struct stt_desk *desk, struct sttcp_conn *conn)
{
	/* Also user code, and so a turn of its own. */
	stt_turn_begin(&desk->worker);
	stt_conn_leave_data(conn);
	stt_turn_end(&desk->worker);

	conn->service->calls->ended(conn->service, conn);
	conn->phase = STT_LINGERING;
	if (!stt_output_view(conn).drained)
		stt_after_limit_lingering(conn,
					  stt_deadline_ms(atomic_load(&conn->service->flush_ms)));
}

void stt_after_call(struct stt_desk *desk, struct sttcp_conn *conn, enum stt_event event,
		    const void *data, bool verdict)
{
	const struct stt_refused *refused = data;

	switch (event) {
	case STT_CONNECTION:
		after_connection(desk, conn, verdict);
		break;
	case STT_RECEIVE:
	case STT_RESPONSE:
	case STT_OWN_MESSAGE:
		if (!verdict)
			stt_conn_wave_off(conn);
		break;
	case STT_END:
		after_end(conn, verdict);
		break;
	case STT_DISCONNECTION:
	case STT_UNCONNECTED:
		after_last(desk, conn);
		break;
	case STT_DRAINED:
		stt_deadlines_begin_anew(conn);
		break;
	case STT_MALFORMED:
		stt_conn_end_with(conn, refused->code, STT_END_FLUSH, "%s",
				  refused->text ? refused->text : "");
		break;
	case STT_TASK:
		break;
	}
}
