/* SPDX-License-Identifier: MIT */
/* To those that count and wait for groups a dialled connection is a client; to the program there is
 * none. Its group goes with the last reference to it, which is the connection's. */
#include "group/dial.h"

#include <errno.h>
#include <stdio.h>

#include "conn/conn.h"
#include "conn/dialled.h"
#include "conn/ending.h"
#include "conn/life.h"
#include "group/attempt.h"
#include "group/group.h"
#include "group/start.h"

/* Begins the attempt: the connection with a handle of the caller's, or NULL and a code. */
static struct sttcp_conn *begin(struct stt_group *group, int *code)
{
	*code = stt_group_begin(group);
	if (*code < 0)
		return NULL;

	struct sttcp_conn *conn = stt_attempt_new(group);

	if (!conn) {
		stt_group_cancel(group);
		*code = -ENOMEM;
		return NULL;
	}
	stt_conn_take_handle(conn);
	stt_group_run(group, conn);
	return conn;
}

struct sttcp_conn *stt_dial(struct stt_group *group, int *code, char *text, size_t size)
{
	struct sttcp_conn *conn = begin(group, code);

	if (!conn) {
		snprintf(text, size, "cannot dial %s: %s", group->service.given,
			 sttcp_strerror(*code));
		return NULL;
	}
	*code = stt_dialled_wait_open(conn);
	if (*code == 0)
		return conn;
	/* It was the handler that dials which was ended: then nobody wants it any more. */
	bool cancelled = stt_conn_end(conn, *code, STT_END_RESET);

	snprintf(text, size, "%s%s%s", cancelled ? "cannot dial " : "",
		 cancelled ? group->service.given : stt_conn_fail_text(conn),
		 cancelled ? ": the connection whose handler dials was ended" : "");
	if (!*text)
		snprintf(text, size, "cannot dial %s: %s", group->service.given,
			 sttcp_strerror(*code));
	atomic_store(&group->closing, true);
	stt_conn_drop_handle(conn);
	return NULL;
}

void stt_dial_close(struct sttcp_conn *conn)
{
	atomic_store(&stt_group_of(conn)->closing, true);
	stt_conn_end(conn, STTCP_ECLOSED, STT_END_FLUSH);
}
