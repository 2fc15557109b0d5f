/* SPDX-License-Identifier: MIT */
/* What users do with a connection, but for sending (send.c). The work is done in conn/. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/call.h"
#include "api/options.h"
#include "api/unread.h"
#include "base/log.h"
#include "conn/dialled.h"
#include "conn/ending.h"
#include "conn/hold.h"
#include "conn/inline_read.h"
#include "conn/life.h"
#include "conn/output.h"
#include "conn/own_framing.h"
#include "conn/own_handler.h"
#include "group/dial.h"
#include "group/stats.h"

int sttcp_conn_set_framing(sttcp_conn *conn, const sttcp_options *framing)
{
	int result = stt_check_conn(conn);
	struct stt_option_fault fault;
	struct stt_framing wanted;

	if (result < 0)
		return result;
	if (!framing)
		return -EINVAL;

	int cancel = stt_call_begin();

	result = stt_options_read_framing(framing, &wanted, &fault);
	if (result == 0)
		result = stt_conn_set_framing(conn, &wanted);
	else
		stt_log(STT_LOG_WARNING, "%s: the framing is not changed: %s",
			stt_conn_address(conn), fault.text);
	stt_call_end(cancel);
	return result;
}

int sttcp_conn_on_message(sttcp_conn *conn, sttcp_receive_handler fn, void *context)
{
	int result = stt_check_conn(conn);

	if (result < 0)
		return result;
	if (conn->service->dialled)
		return -EINVAL;

	int cancel = stt_call_begin();

	result = stt_own_handler_set(conn, fn, context);
	stt_call_end(cancel);
	return result;
}

ssize_t sttcp_conn_recv(sttcp_conn *conn, void *buffer, size_t size, int timeout_ms)
{
	int result = stt_check_conn(conn);

	if (result < 0)
		return result;
	if ((!buffer && size) || timeout_ms < -1)
		return -EINVAL;

	int cancel = stt_call_begin();
	ssize_t got = stt_inline_read(conn, buffer, size, timeout_ms);

	stt_call_end(cancel);
	return got;
}

ssize_t sttcp_conn_recv_message(sttcp_conn *conn, void *buffer, size_t size, int timeout_ms)
{
	int result = stt_check_conn(conn);

	if (result < 0)
		return result;
	if ((!buffer && size) || timeout_ms < -1)
		return -EINVAL;

	int cancel = stt_call_begin();
	ssize_t got = stt_inline_read_message(conn, buffer, size, timeout_ms);

	stt_call_end(cancel);
	return got;
}

ssize_t sttcp_conn_recv_exactly(sttcp_conn *conn, void *buffer, size_t size, int timeout_ms)
{
	int result = stt_check_conn(conn);

	if (result < 0)
		return result;
	if ((!buffer && size) || timeout_ms < -1)
		return -EINVAL;

	int cancel = stt_call_begin();
	ssize_t got = stt_inline_read_exactly(conn, buffer, size, timeout_ms);

	stt_call_end(cancel);
	return got;
}

ssize_t sttcp_conn_next_size(sttcp_conn *conn, int timeout_ms)
{
	int result = stt_check_conn(conn);

	if (result < 0)
		return result;
	if (timeout_ms < -1)
		return -EINVAL;

	int cancel = stt_call_begin();
	ssize_t size = stt_inline_next_size(conn, timeout_ms);

	stt_call_end(cancel);
	return size;
}

int stt_conn_unread(sttcp_conn *conn, const void *data, size_t size)
{
	int result = stt_check_conn(conn);

	if (result < 0)
		return result;

	int cancel = stt_call_begin();

	result = stt_inline_unread(conn, data, size);
	stt_call_end(cancel);
	return result;
}

static bool has_ended(const sttcp_conn *conn)
{
	return atomic_load(&conn->ended);
}

/* It may have been a child that was forked in the log callback which comes out of it. */
static int result_of_call(const sttcp_conn *conn)
{
	int result = stt_check_conn(conn);

	return result == 0 && has_ended(conn) ? stt_conn_end_code(conn) : result;
}

int sttcp_conn_pause(sttcp_conn *conn)
{
	int result = stt_check_conn(conn);

	if (result < 0)
		return result;

	int cancel = stt_call_begin();

	stt_conn_pause(conn);
	stt_call_end(cancel);
	return result_of_call(conn);
}

int sttcp_conn_resume(sttcp_conn *conn)
{
	int result = stt_check_conn(conn);

	if (result < 0)
		return result;

	int cancel = stt_call_begin();

	stt_conn_resume(conn);
	stt_call_end(cancel);
	return result_of_call(conn);
}

int sttcp_conn_flush(sttcp_conn *conn)
{
	int result = stt_check_conn(conn);

	if (result < 0)
		return result;

	int cancel = stt_call_begin();

	stt_output_flush(conn);
	stt_call_end(cancel);
	return has_ended(conn) ? stt_conn_end_code(conn) : 0;
}

static int end(sttcp_conn *conn, enum stt_end_how how)
{
	int result = stt_check_conn(conn);

	if (result < 0)
		return result;

	int cancel = stt_call_begin();

	/* In a connection handler of its own this declines, and a failure may still win over it. */
	if (stt_conn_end(conn, STTCP_ECLOSED, how) && stt_desk_conn() == conn)
		stt_desk_self()->call.ended_conn = true;
	if (conn->service->dialled)
		atomic_store(&stt_group_of(conn)->closing, true);
	stt_call_end(cancel);
	return 0;
}

int sttcp_conn_close(sttcp_conn *conn)
{
	return end(conn, STT_END_FLUSH);
}

int sttcp_conn_abort(sttcp_conn *conn)
{
	return end(conn, STT_END_ABORT);
}

static int fail(sttcp_conn *conn, int code, enum stt_end_how how, const char *format,
		va_list arguments)
{
	char *text = NULL;
	int result = stt_check_conn(conn);

	if (result < 0)
		return result;
	if (format && vasprintf(&text, format, arguments) < 0)
		text = NULL; /* the code tells as well */

	int cancel = stt_call_begin();
	bool counts = stt_conn_fail(conn, code < 0 ? code : STTCP_EHANDLER, how, text);

	stt_call_end(cancel);
	return counts ? 0 : stt_conn_end_code(conn);
}

int sttcp_conn_fail(sttcp_conn *conn, int code, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	int result = fail(conn, code, STT_END_FLUSH, format, arguments);

	va_end(arguments);
	return result;
}

int sttcp_conn_fail_now(sttcp_conn *conn, int code, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	int result = fail(conn, code, STT_END_ABORT, format, arguments);

	va_end(arguments);
	return result;
}

int sttcp_conn_set_half_close(sttcp_conn *conn, bool on)
{
	int result = stt_check_conn(conn);

	return result < 0 ? result : stt_conn_set_half_close(conn, on);
}

int sttcp_conn_shutdown(sttcp_conn *conn)
{
	int result = stt_check_conn(conn);

	if (result < 0)
		return result;

	int cancel = stt_call_begin();

	result = stt_conn_shutdown(conn);
	stt_call_end(cancel);
	return result;
}

int sttcp_conn_reason(const sttcp_conn *conn)
{
	int result = stt_check_conn(conn);

	return result < 0 ? result : atomic_load(&conn->reason);
}

const char *sttcp_conn_fail_text(const sttcp_conn *conn)
{
	return stt_check_conn(conn) < 0 ? NULL : stt_conn_fail_text(conn);
}

/* Names are made when they are first asked for, which is no change that a user sees. */
static sttcp_conn *unconst(const sttcp_conn *conn)
{
	return (sttcp_conn *)(uintptr_t)conn;
}

const char *sttcp_conn_host(const sttcp_conn *conn)
{
	return stt_check_conn(conn) < 0 ? NULL : stt_conn_host(unconst(conn));
}

int sttcp_conn_port(const sttcp_conn *conn)
{
	int result = stt_check_conn(conn);

	if (result < 0)
		return result;
	if (conn->peer.sin6_family == AF_UNSPEC)
		return conn->service->is_client && !stt_host_is_unix(conn->service->host)
			       ? conn->service->port
			       : 0;
	/* sockaddr_in has its port in the same place. */
	return ntohs(conn->peer.sin6_port);
}

const char *sttcp_conn_address(const sttcp_conn *conn)
{
	return stt_check_conn(conn) < 0 ? NULL : stt_conn_address(unconst(conn));
}

const char *sttcp_conn_local_address(const sttcp_conn *conn)
{
	if (stt_check_conn(conn) < 0)
		return NULL;

	int cancel = stt_call_begin();
	const char *name = stt_conn_local(unconst(conn));

	stt_call_end(cancel);
	return name;
}

uint64_t sttcp_conn_id(const sttcp_conn *conn)
{
	return stt_check_conn(conn) < 0 ? 0 : conn->id;
}

sttcp_server *sttcp_conn_server(const sttcp_conn *conn)
{
	if (stt_check_conn(conn) < 0 || conn->service->is_client ||
	    atomic_load(&stt_group_of(conn)->released))
		return NULL;
	return (sttcp_server *)stt_group_of(conn);
}

sttcp_client *sttcp_conn_client(const sttcp_conn *conn)
{
	if (stt_check_conn(conn) < 0 || !conn->service->is_client ||
	    atomic_load(&stt_group_of(conn)->released))
		return NULL;
	return (sttcp_client *)stt_group_of(conn);
}

int sttcp_conn_stats(const sttcp_conn *conn, sttcp_conn_counts *counts, size_t size)
{
	int result = stt_check_conn(conn);
	sttcp_conn_counts all;

	if (result < 0)
		return result;
	if (!counts)
		return -EINVAL;
	stt_stats_of_conn(conn, &all);
	memset(counts, 0, size);
	memcpy(counts, &all, size < sizeof(all) ? size : sizeof(all));
	return 0;
}

void sttcp_conn_set_data(sttcp_conn *conn, void *data, void (*free_fn)(void *data))
{
	if (stt_check_conn(conn) < 0)
		return;
	stt_conn_set_data(conn, data, free_fn);
}

void *sttcp_conn_data(const sttcp_conn *conn)
{
	return stt_check_conn(conn) < 0 ? NULL : stt_conn_data(unconst(conn));
}

sttcp_conn *sttcp_conn_ref(sttcp_conn *conn)
{
	if (stt_check_conn(conn) < 0)
		return NULL;
	if (conn->service->dialled)
		stt_dialled_take_handle(conn);
	return stt_conn_take_handle(conn);
}

void sttcp_conn_unref(sttcp_conn *conn)
{
	if (stt_check_conn(conn) < 0)
		return;

	if (conn->service->dialled && !stt_dialled_drop_handle(conn)) {
		int cancel = stt_call_begin();

		stt_dial_close(conn);
		stt_call_end(cancel);
	}
	stt_conn_drop_handle(conn);
}

bool sttcp_conn_is_open(const sttcp_conn *conn)
{
	return stt_check_conn(conn) == 0 && atomic_load(&conn->opened) && !has_ended(conn);
}

bool sttcp_conn_stopping(const sttcp_conn *conn)
{
	return stt_check_conn(conn) == 0 && atomic_load(&stt_group_of(conn)->stopping);
}

int sttcp_conn_fd(const sttcp_conn *conn)
{
	int result = stt_check_conn(conn);

	return result < 0 ? result : atomic_load(&conn->fd);
}

/* The loop of a dialled one may have it for a moment, which is nobody's handler. */
static int detach(sttcp_conn *conn)
{
	struct stt_desk *desk;

	if (!conn->service->dialled || stt_desk_conn() == conn)
		return stt_conn_detach(conn);

	int result = stt_inline_begin(conn, STT_NEVER, &desk);

	return result < 0 ? result : (int)stt_inline_end(conn, stt_conn_detach_owned(conn));
}

int sttcp_conn_detach(sttcp_conn *conn)
{
	int result = stt_check_conn(conn);

	if (result < 0)
		return result;

	int cancel = stt_call_begin();

	result = detach(conn);
	stt_call_end(cancel);
	return result;
}
