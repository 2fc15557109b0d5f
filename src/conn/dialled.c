/* SPDX-License-Identifier: MIT */
/* Who reads a dialled connection, and its handles. */
#include "conn/dialled.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "codec/framing.h"
#include "conn/conn.h"
#include "conn/deadlines.h"
#include "conn/desk.h"
#include "conn/ending.h"
#include "conn/input.h"
#include "conn/life.h"
#include "conn/own_framing.h"
#include "conn/rare.h"
#include "conn/service.h"
#include "conn/wait.h"
#include "engine/engine.h"
#include "engine/loop.h"
#include "net/socket.h"

enum state {
	NOBODY,
	WANTED,
	GRANTED
};

struct stt_dialled {
	/* Atomic, any thread. */
	atomic_int handles;
	atomic_bool read; /* a read is under way: there is one at a time */
	atomic_int state; /* see the table */

	/* Only the reader. It is a desk without a worker: its input, and what it waits with where
	 * the thread has none of its own. */
	struct stt_desk desk;
	int64_t left_ms; /* when the last read returned */
};

static struct stt_dialled *dialled_of(const struct sttcp_conn *conn)
{
	return atomic_load_explicit(&stt_rare_of(conn)->dialled, memory_order_acquire);
}

int stt_dialled_init(struct sttcp_conn *conn)
{
	struct stt_rare *rare = stt_rare_make(conn);
	struct stt_dialled *dialled = rare ? calloc(1, sizeof(*dialled)) : NULL;

	if (!dialled)
		return -ENOMEM;
	atomic_init(&dialled->handles, 1);
	atomic_init(&dialled->state, NOBODY);
	dialled->desk.waker = -1;
	rare->reader = -1;
	atomic_store(&rare->dialled, dialled);
	return 0;
}

void stt_dialled_free(struct sttcp_conn *conn)
{
	struct stt_dialled *dialled = dialled_of(conn);

	if (!dialled)
		return;
	stt_socket_close(dialled->desk.waker);
	free(dialled);
}

void stt_dialled_take_handle(struct sttcp_conn *conn)
{
	atomic_fetch_add_explicit(&dialled_of(conn)->handles, 1, memory_order_relaxed);
}

bool stt_dialled_drop_handle(struct sttcp_conn *conn)
{
	/* Release and acquire: who closes it has seen what all others did to it. */
	return atomic_fetch_sub_explicit(&dialled_of(conn)->handles, 1, memory_order_acq_rel) != 1;
}

/* ---------------------------------------------------------------- its opening */

static bool is_open(struct sttcp_conn *conn)
{
	return atomic_load(&conn->opened);
}

int stt_dialled_wait_open(struct sttcp_conn *conn)
{
	struct stt_wait_spec wait = {
		.conn = conn, .is_over = is_open, .fd = -1, .until_ms = STT_NEVER};
	int result;

	do
		result = stt_wait(&dialled_of(conn)->desk, &wait);
	while (result == 0 && !is_open(conn));
	/* It may have ended since: then its calls tell. */
	return is_open(conn) && stt_conn_has_ended(conn) ? 0 : result;
}

/* -------------------------------------------------------------------- reading */

static bool is_granted(struct sttcp_conn *conn)
{
	return atomic_load(&dialled_of(conn)->state) == GRANTED;
}

/* Has its loop look whether the owner is but the pool's queue. */
static void ask_loop(struct sttcp_conn *conn)
{
	stt_lock(&conn->output.lock);
	/* With a descriptor it has a loop: see stt_conn_die. */
	if (atomic_load_explicit(&conn->fd, memory_order_relaxed) >= 0)
		stt_alarm_set(conn->loop, &conn->alarm, stt_now_ms());
	stt_unlock(&conn->output.lock);
}

/* Waits for the owner that there is, which is in a task, or has a moment's work: 0, and this thread
 * is the owner; or a code. */
static int take_over(struct sttcp_conn *conn, struct stt_dialled *dialled, int64_t until_ms)
{
	struct stt_wait_spec wait = {
		.conn = conn, .is_over = is_granted, .fd = -1, .until_ms = until_ms};
	int result = 0;

	atomic_store(&dialled->state, WANTED);
	if (stt_conn_wish(conn, STT_WISH_RECV)) {
		atomic_store(&dialled->state, NOBODY);
		return 0;
	}
	ask_loop(conn);
	while (result == 0 && !is_granted(conn))
		result = stt_wait(&dialled->desk, &wait);
	/* It may have been granted at the last moment: then the owner goes on, and finds out by
	 * itself. */
	return atomic_exchange(&dialled->state, NOBODY) == GRANTED ? 0 : result;
}

bool stt_dialled_grant(struct sttcp_conn *conn)
{
	int wanted = WANTED;

	/* The reader may read, close, and be gone before it is woken. */
	stt_conn_ref(conn);
	bool granted = atomic_compare_exchange_strong(&dialled_of(conn)->state, &wanted, GRANTED);

	if (granted)
		stt_wait_wake(conn);
	stt_conn_unref_anywhere(conn);
	return granted;
}

/* Where a task waits in the library it goes first, and what has ended goes on to its end. */
static bool take_from_queue(struct sttcp_conn *conn, struct stt_pool *pool)
{
	if (stt_conn_has_ended(conn) || !stt_pool_take(pool, &conn->actor))
		return false;
	if (conn->phase == STT_OPEN)
		return true;
	stt_pool_push(pool, &conn->actor);
	return false;
}

void stt_dialled_look_in_queue(struct sttcp_conn *conn)
{
	struct stt_pool *pool = &conn->loop->engine->pool;

	while (atomic_load(&dialled_of(conn)->state) == WANTED && take_from_queue(conn, pool) &&
	       !stt_dialled_grant(conn))
		stt_pool_push(pool, &conn->actor);
}

void stt_dialled_give_to_pool(struct sttcp_conn *conn)
{
	stt_conn_ref(conn);
	stt_pool_push(&conn->loop->engine->pool, &conn->actor);
	/* A reader that asked before that has been told nothing. */
	stt_dialled_look_in_queue(conn);
	stt_conn_unref_anywhere(conn);
}

int stt_dialled_begin(struct sttcp_conn *conn, int64_t until_ms, struct stt_desk **desk)
{
	struct stt_dialled *dialled = dialled_of(conn);
	int result;

	if (stt_conn_has_ended(conn))
		return stt_conn_end_code(conn);
	if (atomic_exchange(&dialled->read, true))
		return -EBUSY;
	/* Another thread may drop the last handle meanwhile. */
	stt_conn_ref(conn);
	result = stt_conn_try_own(conn) ? 0 : take_over(conn, dialled, until_ms);
	if (result < 0) {
		atomic_store(&dialled->read, false);
		stt_conn_unref(conn);
		return result;
	}
	stt_input_take(&dialled->desk, conn);
	/* Nobody has looked at the message at hand. */
	dialled->desk.input.waits =
		dialled->desk.input.memory && dialled->desk.input.memory->began_ms;
	if (conn->service->settings.times_input)
		stt_deadlines_leave_out(conn, dialled->left_ms ? dialled->left_ms
							       : atomic_load(&conn->opened_ms));
	*desk = &dialled->desk;
	return 0;
}

/* Lets go of it, or leaves it to its loop if that has something to do. */
static void let_go(struct sttcp_conn *conn)
{
	const unsigned for_loop = STT_WISH_CLOSE | STT_WISH_TASKS;

	while (!stt_conn_let_go(conn)) {
		unsigned wishes = stt_conn_take_wishes(conn) & for_loop;

		if (wishes) {
			stt_conn_wish_again(conn, wishes);
			stt_loop_push(conn->loop, &conn->actor);
			return;
		}
	}
}

void stt_dialled_end(struct sttcp_conn *conn)
{
	struct stt_dialled *dialled = dialled_of(conn);

	if (stt_input_keep(&dialled->desk, conn) < 0)
		stt_conn_end(conn, -ENOMEM, STT_END_RESET);
	if (conn->service->settings.times_input)
		dialled->left_ms = stt_now_ms();
	let_go(conn);
	/* Not before: a reader that finds an owner may leave a wish, which would be taken there. */
	atomic_store(&dialled->read, false);
	stt_conn_unref(conn);
}

/* --------------------------------------------------------- its limits for input */

/* While it is read, what it holds is on the desk, and deadlines are told from it. */
static void lend_held(struct stt_desk *desk, struct sttcp_conn *conn)
{
	struct stt_input *in = &desk->input;
	bool waits = in->memory && in->size && in->waits;

	if (waits && !in->memory->began_ms && conn->service->settings.message_timeout_ms >= 0)
		in->memory->began_ms = stt_now_ms();
	conn->held = waits ? in->memory : NULL;
}

static bool reads_message(const struct stt_desk *desk, const struct sttcp_conn *conn)
{
	return desk->input.waits && stt_conn_framing(conn)->kind != STTCP_FRAMING_RAW;
}

int stt_dialled_wait(struct stt_desk *desk, struct sttcp_conn *conn, int64_t until_ms)
{
	if (!conn->service->settings.times_input)
		return stt_wait_for_stream(desk, conn, 0, until_ms);
	lend_held(desk, conn);
	int64_t limit_ms = stt_deadlines_reader_next(conn, reads_message(desk, conn));

	conn->held = NULL;

	int result = stt_wait_for_stream(desk, conn, 0, limit_ms < until_ms ? limit_ms : until_ms);

	if (result != -ETIMEDOUT || limit_ms >= until_ms)
		return result;
	/* A byte that has left meanwhile puts it off. */
	lend_held(desk, conn);
	stt_deadlines_reader_check(conn, reads_message(desk, conn), stt_now_ms());
	conn->held = NULL;
	return stt_conn_has_ended(conn) ? stt_conn_end_code(conn) : 0;
}
