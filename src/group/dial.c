/* SPDX-License-Identifier: MIT */
/* To those that count and wait for groups a dialled connection is a client; to the program there is
 * none. Its group goes with the last reference to it, which is the connection's. */
#include "group/dial.h"

#include <errno.h>
#include <stdio.h>

#include "base/fiber.h"
#include "conn/conn.h"
#include "conn/desk.h"
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

	struct sttcp_conn *conn = stt_attempt_new(group, false);

	if (!conn) {
		stt_group_cancel(group);
		*code = -ENOMEM;
		return NULL;
	}
	stt_conn_take_handle(conn);
	stt_group_run(group, conn);
	return conn;
}

/* Whether it is a handler that dials, whose connection was ended by force: then nobody wants it any
 * more. After a wait, perhaps on another thread. */
STT_APART static bool is_in_vain(void)
{
	struct sttcp_conn *running = stt_desk_conn();

	return running && stt_conn_is_forced(running);
}

/* Why there is none: what the attempt has ended with, or why it was not waited for. */
static void say_why(struct stt_group *group, struct sttcp_conn *conn, int code, char *text,
		    size_t size)
{
	bool cancelled = stt_conn_end(conn, code, STT_END_RESET);
	const char *why = cancelled ? "" : stt_conn_fail_text(conn);

	if (*why)
		snprintf(text, size, "%s", why);
	else
		snprintf(text, size, "cannot dial %s: %s", group->service.given,
			 cancelled && is_in_vain() ? "the connection whose handler dials was ended"
						   : sttcp_strerror(code));
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
	say_why(group, conn, *code, text, size);
	atomic_store(&group->closing, true);
	stt_conn_drop_handle(conn);
	return NULL;
}

void stt_dial_close(struct sttcp_conn *conn)
{
	atomic_store(&stt_group_of(conn)->closing, true);
	stt_conn_end(conn, STTCP_ECLOSED, STT_END_FLUSH);
}
