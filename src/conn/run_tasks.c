/* SPDX-License-Identifier: MIT */
/* A task runs as a handler of its connection, and may read as one: so what the connection holds is
 * on the desk meanwhile. */
#include "conn/run_tasks.h"

#include <errno.h>

#include "base/clock.h"
#include "conn/conn.h"
#include "conn/deadlines.h"
#include "conn/desk.h"
#include "conn/dispatch.h"
#include "conn/ending.h"
#include "conn/input.h"
#include "conn/tasks.h"
#include "engine/turn.h"

enum {
	/* A connection's share, before its input and the others on the loop have theirs. */
	TASKS_PER_TURN = 256
};

/* In the call, and so in its turn. */
static void run_one(struct sttcp_conn *conn, void *argument)
{
	struct stt_task *task = argument;

	task->fn(conn, task->argument);
	stt_dispatch_stop_child();
	if (stt_tasks_finish(conn, task))
		stt_task_free(task);
}

static void take_input(struct stt_desk *desk, struct sttcp_conn *conn)
{
	stt_input_take(desk, conn);
	/* Nobody looks at the message at hand, unless a task reads. */
	desk->input.waits = desk->input.memory && desk->input.memory->began_ms;
}

static void keep_input(struct stt_desk *desk, struct sttcp_conn *conn)
{
	if (stt_input_is_in_hand(desk) && stt_input_keep(desk, conn) < 0)
		stt_conn_end(conn, -ENOMEM, STT_END_RESET);
	stt_deadlines_watch_message(conn);
}

void stt_run_tasks_after(struct sttcp_conn *conn, int64_t began_ms, int64_t bytes_before)
{
	if (!conn->service->settings.times_input)
		return;
	if (stt_counter_get(&conn->bytes_in) != bytes_before)
		stt_deadlines_note_input(conn);
	else
		stt_deadlines_leave_out(conn, began_ms);
}

bool stt_run_tasks(struct stt_desk *desk, struct sttcp_conn *conn)
{
	int64_t bytes_in = stt_counter_get(&conn->bytes_in);
	int64_t began_ms = stt_now_ms();
	struct stt_task *task = NULL;
	int count = 0;

	take_input(desk, conn);
	while (count < TASKS_PER_TURN && !stt_conn_has_ended(conn) &&
	       !(count && stt_desk_is_to_yield(desk))) {
		task = stt_tasks_take(conn, began_ms);
		if (!task)
			break;
		/* The rest of them is noted with the wait. */
		if (!stt_dispatch_task(desk, conn, run_one, task))
			return true;
		count++;
	}
	keep_input(desk, conn);
	if (count)
		stt_run_tasks_after(conn, began_ms, bytes_in);
	return stt_tasks_settle(conn, began_ms);
}

/* User code, and so a turn of its own. */
static void free_in_turn(struct stt_desk *desk, struct stt_task *task)
{
	bool ours = stt_worker_is_ours();

	stt_turn_begin(&desk->worker);
	stt_task_free(task);
	stt_worker_stop_child(ours);
	stt_dispatch_count(desk);
	stt_turn_end(&desk->worker);
}

enum stt_freed stt_run_tasks_free(struct stt_desk *desk, struct sttcp_conn *conn)
{
	for (int count = 0; count < TASKS_PER_TURN; count++) {
		struct stt_task *task = stt_tasks_drop(conn);

		if (!task)
			return stt_tasks_are_being_freed(conn) ? STT_FREED_ELSEWHERE
							       : STT_FREED_ALL;
		if (task->free_fn)
			free_in_turn(desk, task);
		else
			stt_task_free(task);
	}
	return STT_FREED_A_PART;
}
