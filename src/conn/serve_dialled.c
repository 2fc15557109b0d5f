/* SPDX-License-Identifier: MIT */
/*
 * The phases are those of serve.c, but that in OPEN nothing is read: a reader owns
 * the connection then, or takes it over from the worker that has it (dialled.h).
 * So once it is open its loop hears of the way out alone: an event for each message
 * would wake a thread beside the one that waits for it. At its end it hears of all
 * again, because what comes then is dropped.
 */
#include "conn/serve_dialled.h"

#include "base/clock.h"
#include "conn/conn.h"
#include "conn/deadlines.h"
#include "conn/desk.h"
#include "conn/dialled.h"
#include "conn/gather.h"
#include "conn/life.h"
#include "conn/run_tasks.h"
#include "conn/serve.h"
#include "conn/service.h"
#include "conn/stream.h"
#include "conn/wait.h"
#include "engine/engine.h"
#include "net/poller.h"

static const uint32_t outward = EPOLLOUT | EPOLLET;

static void listen_for(struct sttcp_conn *conn, uint32_t events)
{
	if (stt_stream_fd(conn) >= 0)
		stt_poller_change(conn->loop->poller, stt_stream_fd(conn), events, &conn->actor);
}

/* Before it is open: false while the handshake goes on. */
static bool act_unopened(struct stt_desk *desk, struct sttcp_conn *conn, unsigned *wishes)
{
	if (!stt_serve_unopened(desk, conn, wishes))
		return false;
	if (conn->phase != STT_OPEN)
		return true;
	listen_for(conn, outward);
	stt_wait_wake(conn);
	return true;
}

/* Open: its tasks are all that there is to do. True if there are more, after the others. */
static bool act_open(struct stt_desk *desk, struct sttcp_conn *conn, unsigned wishes)
{
	if ((wishes & STT_WISH_TASKS) && stt_run_tasks(desk, conn))
		stt_conn_wish_again(conn, STT_WISH_TASKS);
	return !stt_conn_has_ended(conn) && desk->worker.loop &&
	       stt_conn_is_wished(conn, STT_WISH_TASKS);
}

/* True when it is not to be touched any more: it stands on a list, or is a reader's, or dead. */
static bool act(struct stt_desk *desk, struct sttcp_conn *conn, unsigned wishes)
{
	if (conn->phase < STT_OPEN && !act_unopened(desk, conn, &wishes))
		return false;
	if (conn->phase == STT_OPEN && !stt_conn_has_ended(conn)) {
		if (act_open(desk, conn, wishes)) {
			stt_conn_wish_again(conn, wishes & STT_WISH_RECV);
			stt_loop_push(conn->loop, &conn->actor);
			return true;
		}
		if (!stt_conn_has_ended(conn))
			return (wishes & STT_WISH_RECV) && stt_dialled_grant(conn);
	}
	if (conn->phase == STT_OPEN)
		listen_for(conn, STT_POLL_STREAM);
	return stt_serve_ending(desk, conn);
}

static void work(struct stt_desk *desk, struct sttcp_conn *conn, unsigned wishes)
{
	while (!act(desk, conn, wishes) && !stt_conn_let_go(conn)) {
		/* To its loop: what it needs no thread of the pool for must not wait for one. */
		if (stt_desk_is_to_yield(desk)) {
			stt_loop_push(conn->loop, &conn->actor);
			return;
		}
		wishes = stt_conn_take_wishes(conn);
	}
}

/* Only for user code. Whoever dials may have the last thread there is. */
static bool needs_pool(struct sttcp_conn *conn)
{
	bool is_stuck = stt_loop_storm_now(conn->loop) != STT_NO_STORM;

	if (conn->phase < STT_OPEN || conn->phase >= STT_LINGERING)
		return false;
	if (stt_conn_has_ended(conn))
		return is_stuck && stt_serve_has_last_words(conn);
	return (is_stuck || conn->blocking) && stt_conn_is_wished(conn, STT_WISH_TASKS);
}

static void serve(struct stt_desk *desk, struct sttcp_conn *conn)
{
	if (needs_pool(conn))
		stt_dialled_give_to_pool(conn);
	else
		work(desk, conn, stt_conn_take_wishes(conn));
}

static void dialled_event(struct stt_worker *worker, struct stt_actor *actor, uint32_t events)
{
	struct sttcp_conn *conn = stt_container_of(actor, struct sttcp_conn, actor);
	bool input = events & (EPOLLIN | STT_POLL_HANGUP);

	if ((events & (EPOLLOUT | STT_POLL_HANGUP)) && atomic_load(&conn->output.pending))
		stt_output_flush(conn);
	if (events & STT_POLL_READ_ON)
		atomic_store(&conn->hangup, true);
	/* Once it is open, only its end needs to know of input. */
	if (atomic_load(&conn->opened) && !stt_conn_has_ended(conn))
		return;
	if (stt_conn_wish(conn, input ? STT_WISH_READ : STT_WISH_OPEN))
		serve(stt_desk_of(worker), conn);
}

static void dialled_ready(struct stt_worker *worker, struct stt_actor *actor)
{
	struct sttcp_conn *conn = stt_container_of(actor, struct sttcp_conn, actor);

	if (conn->phase == STT_DEAD)
		stt_conn_bury(conn);
	else
		serve(stt_desk_of(worker), conn);
}

static void dialled_on_pool(struct stt_worker *worker, struct stt_actor *actor)
{
	struct stt_desk *desk = stt_desk_of(worker);
	struct sttcp_conn *conn = stt_container_of(actor, struct sttcp_conn, actor);

	desk->turn_began_us = stt_now_us();
	if (conn->phase == STT_DEAD)
		stt_conn_free_on_pool(conn);
	else
		work(desk, conn, stt_conn_take_wishes(conn));
}

static int64_t dialled_ring(struct stt_worker *worker, struct stt_alarm *alarm)
{
	stt_dialled_look_in_queue(stt_container_of(alarm, struct sttcp_conn, alarm));
	return stt_deadlines_ring(worker, alarm);
}

static const struct stt_conn_work dialled_work = {
	.ops =
		{
			.on_event = dialled_event,
			.on_ready = dialled_ready,
			.on_pool = dialled_on_pool,
			.on_lost = stt_gather_lost,
			.on_lent = stt_gather_lent,
		},
	.ring = dialled_ring,
};

struct sttcp_conn *stt_serve_new_dialled(struct stt_service *service, struct stt_loop *loop)
{
	struct sttcp_conn *conn = stt_conn_new(&dialled_work, service, loop, -1, NULL);

	if (!conn)
		return NULL;
	if (stt_dialled_init(conn) < 0) {
		stt_conn_discard(conn);
		return NULL;
	}
	return conn;
}
