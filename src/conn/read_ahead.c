/* SPDX-License-Identifier: MIT */
/* Reading ahead of a reader that rests. */
#include "conn/read_ahead.h"

#include <errno.h>

#include "base/error.h"
#include "conn/conn.h"
#include "conn/desk.h"
#include "conn/flush.h"
#include "conn/hold.h"
#include "conn/input.h"
#include "conn/stream.h"
#include "conn/trace.h"
#include "net/socket.h"

enum {
	/* The kernel opens the window when a sixteenth of its memory is free: of that an eighth is
	 * read, and of small memory all. Four times as much may be kept. */
	SHARE_OF_MEMORY = 8,
	LEAST_SIZE = 256 * 1024,
	TIMES = 4
};

/* What the peer said before is still to be delivered: the output is broken, as when a send had
 * found that out. */
static void note_failure(struct sttcp_conn *conn, int code)
{
	stt_lock(&conn->output.lock);
	unsigned what = stt_output_break_locked(&conn->output, stt_error_of_peer(code));

	stt_unlock(&conn->output.lock);
	stt_output_tell(conn, what);
}

/* FIN is read again when its time comes, with close_notify or without it; and a message that finds
 * no room may wait. */
static bool comes_again(int code)
{
	return code == -EAGAIN || code == STTCP_ECUT || code == STTCP_ELIMIT || code == -ENOMEM;
}

void stt_read_ahead(struct stt_desk *desk, struct sttcp_conn *conn)
{
	if (!stt_release(conn, STT_HOLD_AHEAD))
		return;

	size_t share = stt_socket_memory(stt_stream_fd(conn)) / SHARE_OF_MEMORY;
	size_t most = share > LEAST_SIZE ? share : LEAST_SIZE;
	size_t began = desk->input.size;
	ssize_t size = 1;

	while (size > 0 && desk->input.size < began + most && desk->input.size < TIMES * most)
		size = stt_input_read(desk, conn);
	stt_trace(conn, "read ahead: %zu bytes, because the peer's answers do not arrive",
		  desk->input.size - began);
	if (size < 0 && !comes_again((int)size))
		note_failure(conn, (int)size);
}
