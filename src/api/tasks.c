/* SPDX-License-Identifier: MIT */
/* What users give a connection to do on its turn. */
#include "api/call.h"
#include "conn/life.h"
#include "conn/tasks.h"

static int64_t give(sttcp_conn *conn, struct stt_order order)
{
	int result = stt_check_conn(conn);

	if (result < 0)
		return result;
	if (!order.fn)
		return -EINVAL;

	int cancel = stt_call_begin();
	int64_t given = stt_tasks_give(conn, &order);

	stt_call_end(cancel);
	return given;
}

int sttcp_conn_run(sttcp_conn *conn, sttcp_task task, void *argument, void (*free_fn)(void *))
{
	return (int)give(conn, (struct stt_order){task, argument, free_fn, -1, false});
}

int64_t sttcp_conn_after(sttcp_conn *conn, int ms, sttcp_task task, void *argument,
			 void (*free_fn)(void *))
{
	if (ms < 0)
		return -EINVAL;
	return give(conn, (struct stt_order){task, argument, free_fn, ms, false});
}

int64_t sttcp_conn_every(sttcp_conn *conn, int ms, sttcp_task task, void *argument,
			 void (*free_fn)(void *))
{
	if (ms < 0)
		return -EINVAL;
	return give(conn, (struct stt_order){task, argument, free_fn, ms, true});
}

int sttcp_conn_cancel(sttcp_conn *conn, int64_t id)
{
	int result = stt_check_conn(conn);

	if (result < 0)
		return result;

	int cancel = stt_call_begin();

	/* The user's reference may be what the free_fn drops. */
	stt_conn_ref(conn);
	result = stt_tasks_cancel(conn, id);
	/* Else a child that was forked meanwhile: the parent's reference is none of its own. */
	if (result != STTCP_EFORK)
		stt_conn_unref(conn);
	stt_call_end(cancel);
	return result;
}
