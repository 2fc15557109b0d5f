/* SPDX-License-Identifier: MIT */
/* Lines about one connection. */
#include "conn/trace.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "conn/conn.h"
#include "conn/service.h"

void stt_trace_tell(struct sttcp_conn *conn, enum stt_log_level level, const char *format, ...)
{
	char text[384];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	stt_log_tell(level, "%s #%llu: %s", stt_conn_address(conn), (unsigned long long)conn->id,
		     text);
}

/* A handler may have failed the connection with a code of the library's: then the library has not
 * decided its end. */
static bool is_decided_here(struct sttcp_conn *conn, int reason)
{
	if (!stt_error_is_told(reason))
		return false;
	stt_lock(&conn->output.lock);
	bool failed = conn->failed;

	stt_unlock(&conn->output.lock);
	return !failed;
}

static enum stt_log_level level_of_end(struct sttcp_conn *conn, int reason)
{
	/* Nobody else is told that a client has come in vain. Who sends nothing has only looked
	 * whether the port is open. */
	if (conn->unshaken && !conn->service->is_client)
		return conn->unheard ? STT_LOG_INFO : STT_LOG_WARNING;
	return is_decided_here(conn, reason) ? STT_LOG_INFO : STT_LOG_TRACE;
}

void stt_trace_ended(struct sttcp_conn *conn)
{
	int reason = atomic_load(&conn->reason);

	if (!stt_log_wants(STT_LOG_WARNING))
		return;

	enum stt_log_level level = level_of_end(conn, reason);

	if (!stt_log_wants(level))
		return;
	if (!reason) {
		stt_trace_tell(conn, level,
			       conn->declined ? "ended: declined" : "ended: orderly close");
		return;
	}

	const char *sentence = sttcp_strerror(reason);
	const char *more = stt_conn_fail_text(conn);
	bool has_more = *more && strcmp(more, sentence) != 0;

	stt_trace_tell(conn, level, "ended: %s, %s%s%s", sttcp_error_name(reason), sentence,
		       has_more ? ": " : "", has_more ? more : "");
}
