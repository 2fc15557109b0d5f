/* SPDX-License-Identifier: MIT */
/* Giving, cancelling and taking tasks. A task is in the queue, which is a ring, or in a heap by its
 * time; a table finds it by its id: nothing walks over the others. */
#include "conn/tasks.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "conn/conn.h"
#include "conn/desk.h"
#include "conn/rare.h"
#include "engine/loop.h"

enum {
	/* Tasks for later may be late by so little of their delay, and no more than this, so that
	 * those that are due at about the same time share a wake-up. 10 000 of a minute each took
	 * more than 1% of a CPU without that. */
	SLACK_SHIFT = 10,
	MOST_SLACK_MS = 32,
	/* Of a key in the heap: numbers those with the same time. It comes round after a million,
	 * and there two of the same time may change places. */
	ORDER_BITS = 20
};

static struct stt_task *new_task(const struct stt_order *order)
{
	struct stt_task *task = malloc(sizeof(*task));

	if (task)
		*task = (struct stt_task){
			.fn = order->fn,
			.argument = order->argument,
			.free_fn = order->free_fn,
			.every_ms = order->repeats ? order->delay_ms : -1,
			.has_id = order->delay_ms >= 0,
		};
	return task;
}

void stt_task_free(struct stt_task *task)
{
	stt_desk_stay();
	if (task->free_fn)
		task->free_fn(task->argument);
	stt_desk_stay_no_more();
	free(task);
}

/* The tasks of a connection, NULL if it never had one. */
static struct stt_tasks *tasks_of(const struct sttcp_conn *conn)
{
	struct stt_rare *rare = stt_rare_of(conn);

	/* Acquire: they are seen as they were made. */
	return rare ? atomic_load_explicit(&rare->tasks, memory_order_acquire) : NULL;
}

static struct stt_tasks *make_tasks(struct sttcp_conn *conn)
{
	struct stt_tasks *tasks = tasks_of(conn);

	if (tasks)
		return tasks;

	struct stt_rare *rare = stt_rare_make(conn);
	struct stt_tasks *made = rare ? calloc(1, sizeof(*made)) : NULL;

	if (!made)
		return NULL;
	stt_list_init(&made->queue);
	if (atomic_compare_exchange_strong(&rare->tasks, &tasks, made))
		return made;
	free(made);
	return tasks;
}

void stt_tasks_discard(struct sttcp_conn *conn)
{
	struct stt_tasks *tasks = tasks_of(conn);

	if (!tasks)
		return;
	stt_table_fini(&tasks->ids, NULL);
	free(tasks);
}

/* The first that is timed, or NULL. */
static struct stt_task *first_timed(const struct stt_tasks *tasks)
{
	struct stt_heap_node *first = stt_heap_first(&tasks->timed);

	return first ? stt_container_of(first, struct stt_task, in_heap) : NULL;
}

/* When one that is timed is to run. */
static int64_t time_of(const struct stt_task *task)
{
	return task->in_heap.at >> ORDER_BITS;
}

/* In the heap: its time, rounded up to one that others with such a delay have, too; and its number,
 * since those with the same delay run as they were given. */
static int64_t key_of(struct stt_tasks *tasks, int64_t due_ms, int delay_ms)
{
	int64_t slack = 1;

	while (slack < MOST_SLACK_MS && slack << (SLACK_SHIFT + 1) <= delay_ms)
		slack *= 2;

	int64_t at = (due_ms + slack - 1) & ~(slack - 1);

	return (at << ORDER_BITS) | (++tasks->ntimed & ((1U << ORDER_BITS) - 1));
}

static void enqueue_locked(struct sttcp_conn *conn, struct stt_task *task)
	STT_REQUIRES(conn->output.lock)
{
	struct stt_tasks *tasks = tasks_of(conn);

	task->is_timed = false;
	stt_list_append(&tasks->queue, &task->in_queue);
	tasks->nqueued++;
}

/* From now on it waits: in the queue, or with a delay until `due_ms`. */
static void add_locked(struct sttcp_conn *conn, struct stt_task *task, int delay_ms)
	STT_REQUIRES(conn->output.lock)
{
	struct stt_tasks *tasks = tasks_of(conn);

	tasks->nwaiting++;
	tasks->nfree_fns += task->free_fn != NULL;
	if (delay_ms <= 0) {
		enqueue_locked(conn, task);
		return;
	}
	task->is_timed = true;
	stt_heap_add(&tasks->timed, &task->in_heap, key_of(tasks, task->due_ms, delay_ms));
}

/* It waits no longer. */
static void remove_locked(struct sttcp_conn *conn, struct stt_task *task)
	STT_REQUIRES(conn->output.lock)
{
	struct stt_tasks *tasks = tasks_of(conn);

	tasks->nwaiting--;
	tasks->nfree_fns -= task->free_fn != NULL;
	if (task->is_timed) {
		stt_heap_remove(&tasks->timed, &task->in_heap);
		return;
	}
	stt_list_remove(&task->in_queue);
	tasks->nqueued--;
}

static void forget_id_locked(struct sttcp_conn *conn, struct stt_task *task)
	STT_REQUIRES(conn->output.lock)
{
	if (task->has_id)
		stt_table_remove(&tasks_of(conn)->ids, &task->in_ids);
	task->has_id = false;
}

/* Sees to it that the owner finds out when the first one that is timed is due. True if that is up
 * to the caller, who wishes for it: a handler of the connection itself needs no system call, for
 * nothing can run before it returns. */
static bool set_alarm_locked(struct sttcp_conn *conn) STT_REQUIRES(conn->output.lock)
{
	int64_t at = time_of(first_timed(tasks_of(conn)));

	/* The ring forgets that time before it comes to look at the tasks. */
	if (at >= atomic_load(&conn->alarm.due))
		return false;
	if (stt_desk_conn() == conn)
		return true;
	stt_alarm_set(conn->loop, &conn->alarm, at);
	return false;
}

/* Why no task is taken, or 0. */
static int refusal_locked(struct sttcp_conn *conn) STT_REQUIRES(conn->output.lock)
{
	if (atomic_load_explicit(&conn->ended, memory_order_relaxed))
		return stt_conn_end_code(conn);
	if (atomic_load_explicit(&conn->fd, memory_order_relaxed) < 0)
		return -ENOTCONN;
	return tasks_of(conn)->nwaiting >= STT_MOST_TASKS ? -EAGAIN : 0;
}

/* Makes it wait. True if the owner is to be told. */
static bool take_in_locked(struct sttcp_conn *conn, struct stt_task *task, int delay_ms)
	STT_REQUIRES(conn->output.lock)
{
	struct stt_tasks *tasks = tasks_of(conn);

	if (task->has_id)
		stt_table_add(&tasks->ids, &task->in_ids, (uint64_t)++tasks->last_id);
	task->due_ms = stt_deadline_ms(delay_ms);
	add_locked(conn, task, delay_ms);
	if (delay_ms <= 0)
		return tasks->nqueued == 1;
	return first_timed(tasks) == task && set_alarm_locked(conn);
}

int64_t stt_tasks_give(struct sttcp_conn *conn, const struct stt_order *order)
{
	struct stt_task *task = new_task(order);
	bool tells = false;

	if (!task || !make_tasks(conn)) {
		free(task);
		return -ENOMEM;
	}
	stt_lock(&conn->output.lock);
	int64_t result = refusal_locked(conn);

	if (result == 0) {
		tells = take_in_locked(conn, task, order->delay_ms);
		result = order->delay_ms >= 0 ? tasks_of(conn)->last_id : 0;
		task = NULL;
	}
	stt_unlock(&conn->output.lock);
	free(task);
	if (tells)
		stt_conn_ask(conn, STT_WISH_TASKS);
	return result;
}

/* What it has freed may have been all that an ended connection waited for. */
static void note_freed(struct sttcp_conn *conn)
{
	stt_lock(&conn->output.lock);
	bool last = !--tasks_of(conn)->nfreeing && atomic_load(&conn->ended);

	stt_unlock(&conn->output.lock);
	if (last)
		stt_conn_ask(conn, STT_WISH_CLOSE);
}

int stt_tasks_cancel(struct sttcp_conn *conn, int64_t id)
{
	struct stt_tasks *tasks = tasks_of(conn);
	struct stt_task *task = NULL;

	if (!tasks || id < 1)
		return -ENOENT;
	stt_lock(&conn->output.lock);
	struct stt_link *link = stt_table_find(&tasks->ids, (uint64_t)id);

	if (link) {
		task = stt_container_of(link, struct stt_task, in_ids);
		forget_id_locked(conn, task);
		task->cancelled = true;
		/* Whoever runs it frees it. */
		if (task == tasks->running) {
			task = NULL;
		} else {
			remove_locked(conn, task);
			tasks->nfreeing++;
		}
	}
	stt_unlock(&conn->output.lock);
	if (task) {
		stt_task_free(task);
		/* A child that was forked there leaves the rest to the parent. */
		if (stt_forked_since(conn->service->fork_count))
			return STTCP_EFORK;
		note_freed(conn);
	}
	return link ? 0 : -ENOENT;
}

int64_t stt_tasks_due_ms(struct sttcp_conn *conn)
{
	struct stt_tasks *tasks = tasks_of(conn);
	int64_t at = STT_NEVER;

	if (!tasks)
		return at;
	stt_lock(&conn->output.lock);
	struct stt_task *first = first_timed(tasks);

	if (first && !atomic_load(&conn->ended))
		at = time_of(first);
	stt_unlock(&conn->output.lock);
	return at;
}

static bool are_due_locked(struct sttcp_conn *conn, int64_t now_ms) STT_REQUIRES(conn->output.lock)
{
	const struct stt_tasks *tasks = tasks_of(conn);
	const struct stt_task *first = first_timed(tasks);

	return tasks->nqueued || (first && time_of(first) <= now_ms);
}

bool stt_tasks_are_due(struct sttcp_conn *conn)
{
	if (!tasks_of(conn))
		return false;

	int64_t now_ms = stt_now_ms();

	stt_lock(&conn->output.lock);
	bool due = are_due_locked(conn, now_ms);

	stt_unlock(&conn->output.lock);
	return due;
}

bool stt_tasks_have_free_fn(struct sttcp_conn *conn)
{
	const struct stt_tasks *tasks = tasks_of(conn);

	if (!tasks)
		return false;
	stt_lock(&conn->output.lock);
	bool have = tasks->nfree_fns;

	stt_unlock(&conn->output.lock);
	return have;
}

bool stt_tasks_precede_fin(struct sttcp_conn *conn)
{
	struct stt_tasks *tasks = tasks_of(conn);

	if (!tasks)
		return false;
	stt_lock(&conn->output.lock);
	if (!tasks->fin_came)
		tasks->before_fin = tasks->nqueued;
	tasks->fin_came = true;
	/* Some of them may have been cancelled. */
	bool some = tasks->before_fin && tasks->nqueued;

	stt_unlock(&conn->output.lock);
	return some;
}

struct stt_task *stt_tasks_take(struct sttcp_conn *conn, int64_t now_ms)
{
	struct stt_tasks *tasks = tasks_of(conn);
	struct stt_task *task = NULL;

	if (!tasks)
		return NULL;
	stt_lock(&conn->output.lock);
	/* One that is due goes to the end of the queue for each that is taken off its front:
	 * neither can keep the other from its turn. */
	struct stt_task *timed = first_timed(tasks);

	if (timed && time_of(timed) <= now_ms) {
		stt_heap_remove(&tasks->timed, &timed->in_heap);
		enqueue_locked(conn, timed);
	}
	if (tasks->nqueued) {
		task = stt_container_of(tasks->queue.next, struct stt_task, in_queue);
		remove_locked(conn, task);
		if (tasks->before_fin)
			tasks->before_fin--;
	}
	tasks->running = task;
	stt_unlock(&conn->output.lock);
	return task;
}

/* The first of its times that is still to come. */
static int64_t next_time(const struct stt_task *task, int64_t now_ms)
{
	int64_t missed = (now_ms - task->due_ms) / task->every_ms;

	return task->due_ms + (missed + 1) * task->every_ms;
}

bool stt_tasks_finish(struct sttcp_conn *conn, struct stt_task *task)
{
	int64_t now_ms = task->every_ms > 0 ? stt_now_ms() : 0;

	stt_lock(&conn->output.lock);
	bool goes_on = task->every_ms >= 0 && !task->cancelled && !atomic_load(&conn->ended);

	tasks_of(conn)->running = NULL;
	if (goes_on) {
		if (task->every_ms > 0)
			task->due_ms = next_time(task, now_ms);
		add_locked(conn, task, task->every_ms);
	} else {
		forget_id_locked(conn, task);
	}
	stt_unlock(&conn->output.lock);
	return !goes_on;
}

bool stt_tasks_settle(struct sttcp_conn *conn, int64_t now_ms)
{
	struct stt_tasks *tasks = tasks_of(conn);

	if (!tasks)
		return false;
	stt_lock(&conn->output.lock);
	bool more = are_due_locked(conn, now_ms);
	struct stt_task *first = first_timed(tasks);

	if (!more && first && !atomic_load(&conn->ended))
		stt_alarm_set(conn->loop, &conn->alarm, time_of(first));
	stt_unlock(&conn->output.lock);
	return more;
}

struct stt_task *stt_tasks_drop(struct sttcp_conn *conn)
{
	struct stt_tasks *tasks = tasks_of(conn);
	struct stt_task *task = NULL;

	if (!tasks)
		return NULL;
	stt_lock(&conn->output.lock);
	if (tasks->nqueued)
		task = stt_container_of(tasks->queue.next, struct stt_task, in_queue);
	else
		task = first_timed(tasks);
	if (task) {
		remove_locked(conn, task);
		forget_id_locked(conn, task);
	}
	stt_unlock(&conn->output.lock);
	return task;
}

bool stt_tasks_are_being_freed(struct sttcp_conn *conn)
{
	const struct stt_tasks *tasks = tasks_of(conn);

	if (!tasks)
		return false;
	stt_lock(&conn->output.lock);
	bool are = tasks->nfreeing;

	stt_unlock(&conn->output.lock);
	return are;
}
