/* SPDX-License-Identifier: MIT */
/*
 * What the owner of a connection does, in the phase that it finds:
 *
 *	phase		it does							then
 *	PARKED		goes on with a call that waits, or notes its wishes	as before
 *	CONNECTING	is never found: attempt.c lends it its own table	FAILED
 *	FAILED		runs the unconnected handler				DEAD
 *	SHAKING		makes a step of the TLS handshake			BORN
 *	SHAKING, ended	nothing, or for a client as FAILED			ENDING
 *	BORN		runs the connection handler				OPEN
 *	BORN, ended	nothing, or for a client as FAILED			ENDING
 *	OPEN		runs tasks; reads, and runs a handler for what it
 *			has read						OPEN
 *	OPEN, ended	frees tasks, waits for the output			ENDING
 *	ENDING		drops input; once the output is out, runs the
 *			disconnection handler					LINGERING
 *	LINGERING	drops input until FIN or its time is over; after a
 *			forced end also waits for the output; closes		DEAD
 *	DEAD		the loop drops its reference (the loop only)
 *
 * The same code runs on a loop, where the handlers are turns, and in the pool.
 * A worker that loses its loop in a turn goes on as one of the pool.
 */
#include "conn/serve.h"

#include <errno.h>

#include "base/clock.h"
#include "conn/after.h"
#include "conn/conn.h"
#include "conn/deadlines.h"
#include "conn/desk.h"
#include "conn/dispatch.h"
#include "conn/ending.h"
#include "conn/gather.h"
#include "conn/handshake.h"
#include "conn/hold.h"
#include "conn/input.h"
#include "conn/life.h"
#include "conn/read.h"
#include "conn/run_tasks.h"
#include "conn/park.h"
#include "conn/service.h"
#include "conn/stream.h"
#include "conn/tasks.h"
#include "conn/trace.h"
#include "engine/engine.h"
#include "engine/turn.h"

/* What is left to do with the connection. */
enum next {
	LET_GO,
	HANDED_ON /* it stands on a list, or is dead: not to be touched */
};

/* Closed or stopped before any handler saw it. */
static void end_unopened(struct sttcp_conn *conn)
{
	bool is_client = conn->service->is_client;

	conn->declined = !is_client;
	conn->phase = is_client ? STT_FAILED : STT_ENDING;
}

static void open_conn(struct stt_desk *desk, struct sttcp_conn *conn)
{
	if (stt_conn_has_ended(conn)) {
		end_unopened(conn);
		return;
	}
	atomic_store(&conn->opened, true);

	enum stt_outcome outcome = stt_dispatch(desk, conn, STT_CONNECTION, NULL, 0);

	if (outcome != STT_WAITS)
		stt_after_call(desk, conn, STT_CONNECTION, NULL, outcome == STT_TRUE);
}

static void run_last_handler(struct stt_desk *desk, struct sttcp_conn *conn)
{
	struct stt_service *service = conn->service;
	enum stt_event event = conn->phase == STT_FAILED ? STT_UNCONNECTED : STT_DISCONNECTION;

	service->calls->left(service, conn);
	stt_trace_ended(conn);
	if (conn->declined || stt_dispatch(desk, conn, event, NULL, 0) != STT_WAITS)
		stt_after_call(desk, conn, event, NULL, true);
}

/* The input goes on after a turn of the others, or when more of it comes. */
static enum next go_on_dropping(struct sttcp_conn *conn, enum stt_rest rest)
{
	if (rest != STT_REST_IS_THERE)
		return LET_GO;
	stt_loop_push(conn->loop, &conn->actor);
	return HANDED_ON;
}

/* Goes on with a connection that has ended, as far as that is possible now. */
static enum next go_on_ending(struct stt_desk *desk, struct sttcp_conn *conn)
{
	/* The input first: a reset that is read there also ends the output. */
	enum stt_rest rest = stt_read_drop(desk, conn);
	int linger_ms = conn->service->settings.linger_timeout_ms;
	struct stt_output_view view = stt_output_view(conn);

	if (conn->phase == STT_OPEN) {
		conn->phase = STT_ENDING;
		atomic_store(&conn->owner_due_ms, STT_NEVER);
	}
	if (conn->phase < STT_LINGERING) {
		enum stt_freed freed = stt_run_tasks_free(desk, conn);

		if (freed == STT_FREED_A_PART)
			rest = STT_REST_IS_THERE;
		if (freed != STT_FREED_ALL || (!view.drained && !view.forced))
			return go_on_dropping(conn, rest);
		run_last_handler(desk, conn);
		if (conn->phase == STT_PARKED)
			return LET_GO;
		view = stt_output_view(conn);
	}

	bool all_dropped = rest == STT_REST_GONE || view.broken || linger_ms < 0;

	if (view.drained && !all_dropped && !conn->lingers) {
		conn->lingers = true;
		stt_after_limit_lingering(conn, stt_now_ms() + linger_ms);
	}
	if (!(view.drained && all_dropped) && stt_now_ms() < atomic_load(&conn->owner_due_ms) &&
	    !atomic_load(&conn->loop->ending))
		return go_on_dropping(conn, rest);
	stt_conn_die(conn);
	return HANDED_ON;
}

/* Reads, if that is wished for; true when the budget of the turn is used up. */
static inline bool act_on_input(struct stt_desk *desk, struct sttcp_conn *conn, unsigned wishes)
{
	if ((!(wishes & STT_WISH_READ) && !conn->held) || !stt_read(desk, conn))
		return false;
	stt_conn_wish_again(conn, wishes | STT_WISH_READ);
	return true;
}

/* Ends an idle connection. Its input has just been read to the end, unless it is paused. */
static void end_if_idle(struct sttcp_conn *conn)
{
	bool paused = stt_is_paused(conn);

	if (stt_conn_has_ended(conn) || (conn->held && conn->held->size) ||
	    stt_stream_is_amid(conn) || !stt_output_view(conn).drained ||
	    (paused && stt_stream_has_input(conn)) || stt_tasks_are_due(conn))
		return;
	stt_conn_end_with(conn, STTCP_ESTOPPED, STT_END_FLUSH,
			  "nothing was going on at the stop, end_idle_at_stop is true");
}

/* Before the read of a rarer wish: input is served before an end, and only a read can tell that
 * there is no more. Not inlined, nor is what follows it: otherwise each message would save the
 * registers that only these need. */
__attribute__((__noinline__)) static unsigned
look_before_read(struct stt_desk *desk, struct sttcp_conn *conn, unsigned wishes, bool ends_idle)
{
	/* Before the input, which may never come to an end. So may the tasks: then the rest of them
	 * comes after the input. */
	if ((wishes & STT_WISH_TASKS) && stt_run_tasks(desk, conn))
		stt_conn_wish_again(conn, STT_WISH_TASKS);
	wishes &= ~(unsigned)STT_WISH_TASKS;
	desk->judged_ms = stt_now_ms();
	/* Only one of the descriptor can. */
	if (conn->secure)
		stt_handshake_read_all(conn, false);
	if (ends_idle)
		atomic_store(&conn->hangup, true);
	/* A limit has passed only if a check then finds no input from before. */
	if (ends_idle ||
	    ((wishes & STT_WISH_TIMEOUT) && stt_deadlines_have_passed(conn, desk->judged_ms)))
		wishes |= STT_WISH_READ;
	return wishes;
}

/* True if there are tasks again: on a loop others come first. */
__attribute__((__noinline__)) static bool
act_on_notices(struct stt_desk *desk, struct sttcp_conn *conn, unsigned wishes, bool ends_idle)
{
	if ((wishes & STT_WISH_DRAINED) && !stt_conn_has_ended(conn)) {
		enum stt_outcome outcome = stt_dispatch(desk, conn, STT_DRAINED, NULL, 0);

		if (outcome == STT_WAITS) {
			stt_strand_of(conn)->noted |= wishes & STT_WISH_TIMEOUT;
			return false;
		}
		stt_after_call(desk, conn, STT_DRAINED, NULL, outcome == STT_TRUE);
	}
	if ((wishes & STT_WISH_TIMEOUT) && !stt_conn_has_ended(conn))
		stt_deadlines_check(conn, desk->judged_ms);
	if (ends_idle)
		end_if_idle(conn);
	return desk->worker.loop && stt_conn_is_wished(conn, STT_WISH_TASKS);
}

/* Whether a call of user code waits now: then the rest of the wishes is for later. */
static bool note_parked(struct sttcp_conn *conn, unsigned wishes)
{
	if (conn->phase != STT_PARKED)
		return false;
	stt_strand_of(conn)->noted |= wishes;
	return true;
}

/* The phase OPEN; true when the budget of the turn is used up. */
__attribute__((__always_inline__)) static inline bool
act_open(struct stt_desk *desk, struct sttcp_conn *conn, unsigned wishes)
{
	bool ends_idle = atomic_load_explicit(&conn->service->ends_idle, memory_order_relaxed);

	bool rare = ends_idle || (wishes & (STT_WISH_DRAINED | STT_WISH_TIMEOUT | STT_WISH_TASKS));

	if (rare) {
		wishes = look_before_read(desk, conn, wishes, ends_idle);
		/* By a task: then no handler of input runs any more. */
		if (note_parked(conn, wishes) || stt_conn_has_ended(conn))
			return false;
	}
	if (act_on_input(desk, conn, wishes))
		return true;
	return rare && !note_parked(conn, wishes) && act_on_notices(desk, conn, wishes, ends_idle);
}

/* The call of a parked connection has returned: what would have followed it, and the wishes that
 * were noted meanwhile. */
static unsigned finish_call(struct stt_desk *desk, struct sttcp_conn *conn,
			    struct stt_strand *strand, bool verdict)
{
	enum stt_event event = strand->event;
	unsigned wishes = strand->noted | STT_WISH_READ;

	atomic_store(&conn->owner_due_ms, STT_NEVER);
	stt_input_unpin(desk);
	if (stt_conn_has_ended(conn))
		desk->input.size = 0;
	if (stt_input_keep(desk, conn) < 0)
		stt_conn_end(conn, -ENOMEM, STT_END_RESET);
	if (event == STT_TASK)
		stt_run_tasks_after(conn, strand->began_ms, strand->bytes_before);
	else if (conn->phase == STT_OPEN && event != STT_DRAINED)
		stt_deadlines_note_input(conn);
	stt_after_call(desk, conn, event, strand->data, verdict);
	stt_strand_give(desk, strand);
	/* Its deadlines have rested, and whatever else is due by time. */
	return wishes | STT_WISH_TIMEOUT | STT_WISH_TASKS;
}

/* What is to be done with a connection that was not open. */
enum opening {
	WAITS_ON,
	GOES_ON, /* by its phase */
	GIVEN_ON /* as HANDED_ON */
};

/* A call of user code waits. When it has returned these are the wishes. */
static enum opening go_on_parked(struct stt_desk *desk, struct sttcp_conn *conn, unsigned *wishes)
{
	struct stt_strand *strand = stt_strand_of(conn);

	stt_strand_fetch_next(desk, conn);
	if (!stt_strand_is_woken(strand, *wishes))
		return WAITS_ON;
	if (atomic_load_explicit(&stt_strands_change_threads, memory_order_relaxed) &&
	    desk->worker.loop) {
		stt_conn_wish_again(conn, *wishes);
		stt_pool_push(&desk->worker.engine->pool, &conn->actor);
		return GIVEN_ON;
	}
	stt_strand_unpark(desk, strand);

	enum stt_outcome outcome = stt_dispatch_resume(desk, strand);

	if (outcome == STT_WAITS)
		return WAITS_ON;
	*wishes = finish_call(desk, conn, strand, outcome == STT_TRUE);
	return GOES_ON;
}

/* The connection handler. */
static enum opening act_born(struct stt_desk *desk, struct sttcp_conn *conn, unsigned *wishes)
{
	open_conn(desk, conn);
	if (conn->phase == STT_PARKED) {
		stt_strand_of(conn)->noted |= *wishes;
		return WAITS_ON;
	}
	/* What its connection handler has given runs before the first input is read. */
	if (stt_conn_is_wished(conn, STT_WISH_TASKS))
		*wishes |= stt_conn_take_wishes(conn);
	return GOES_ON;
}

/* The same behind a handshake. A client sends its first message behind its last one of that, and
 * then a server's tickets leave with the answer: a send less, which is 3% of a handshake with
 * P-256. */
static enum opening act_shaken(struct stt_desk *desk, struct sttcp_conn *conn, unsigned *wishes)
{
	conn->phase = STT_BORN;
	/* What came behind the handshake raises no event. */
	*wishes |= STT_WISH_READ;
	if (!stt_handshake_holds(conn))
		return act_born(desk, conn, wishes);
	/* A handler that is known to block may do so for ever, and one that is found to: then
	 * whoever takes the loop over lets them go. */
	if (!stt_gather_begin_hold(&desk->worker, conn)) {
		stt_handshake_release(conn);
		return act_born(desk, conn, wishes);
	}

	enum opening opening = act_born(desk, conn, wishes);

	if (opening == GOES_ON && conn->phase == STT_OPEN && !stt_conn_has_ended(conn)) {
		/* An event since is wished for, and was taken only along with tasks. */
		stt_handshake_read_all(conn, true);
		/* What is left to do then is wished for. */
		(void)act_open(desk, conn, *wishes);
		/* A connection that is held has not read. */
		stt_handshake_read_all(conn, false);
		*wishes = 0;
	}
	stt_gather_end_hold(&desk->worker);
	stt_handshake_release(conn);
	return opening;
}

/* A call that waits; the handshake, if there is one, then the connection handler. */
__attribute__((__noinline__)) static enum opening
act_unopened(struct stt_desk *desk, struct sttcp_conn *conn, unsigned *wishes)
{
	if (conn->phase == STT_PARKED)
		return go_on_parked(desk, conn, wishes);
	if (conn->phase == STT_SHAKING) {
		switch (stt_handshake_act(desk, conn, *wishes & STT_WISH_READ)) {
		case STT_SHAKES_ON:
			return WAITS_ON;
		case STT_SHAKEN:
			return act_shaken(desk, conn, wishes);
		case STT_SHAKEN_OFF:
			end_unopened(conn);
			return GOES_ON;
		}
	}
	return conn->phase == STT_BORN ? act_born(desk, conn, wishes) : GOES_ON;
}

static enum next act(struct stt_desk *desk, struct sttcp_conn *conn, unsigned wishes)
{
	if (conn->phase < STT_OPEN) {
		enum opening opening = act_unopened(desk, conn, &wishes);

		if (opening != GOES_ON)
			return opening == WAITS_ON ? LET_GO : HANDED_ON;
	}
	if (conn->phase == STT_OPEN && !stt_conn_has_ended(conn)) {
		if (act_open(desk, conn, wishes)) {
			/* Other connections first. This one stays owned, by the list. */
			stt_loop_push(conn->loop, &conn->actor);
			return HANDED_ON;
		}
		if (!stt_conn_has_ended(conn))
			return LET_GO;
	}
	if (conn->phase == STT_PARKED)
		return LET_GO;
	return go_on_ending(desk, conn);
}

/* Whether the thread is for others now. One that was taken from a silent peer still makes one step
 * to that connection's end: behind the others it would be the newest, for whom the thread was made
 * free. */
static bool is_to_yield(struct stt_desk *desk)
{
	if (!stt_desk_is_to_yield(desk))
		return false;
	if (desk->worker.way != STT_WAY_TO_GIVE)
		return true;
	desk->worker.way = STT_WAY_GIVEN;
	return false;
}

/* Works on a connection that the worker owns until it has let go of it. */
static void work(struct stt_desk *desk, struct sttcp_conn *conn, unsigned wishes)
{
	while (act(desk, conn, wishes) != HANDED_ON && !stt_conn_let_go(conn)) {
		/* A peer that always has more to send would keep this thread for good. */
		if (is_to_yield(desk)) {
			stt_pool_push(&desk->worker.engine->pool, &conn->actor);
			return;
		}
		wishes = stt_conn_take_wishes(conn);
		if (conn->phase == STT_PARKED &&
		    stt_strand_of(conn)->leaves == STT_LEAVES_TO_YIELD) {
			stt_conn_wish_again(conn, wishes);
			stt_loop_push(conn->loop, &conn->actor);
			return;
		}
	}
}

/* Whether user code runs once more on a connection that has ended. */
static bool has_last_words(struct sttcp_conn *conn)
{
	bool is_client = conn->service->is_client;
	bool unopened = conn->phase == STT_SHAKING || conn->phase == STT_BORN;
	bool failed = conn->phase == STT_FAILED || (unopened && is_client);
	enum stt_event event = failed ? STT_UNCONNECTED : STT_DISCONNECTION;

	if (conn->phase == STT_PARKED)
		return true;
	if (unopened && !is_client)
		return false;
	if (!conn->declined && stt_dispatch_wanted(&conn->service->handlers, event))
		return true;
	if (stt_tasks_have_free_fn(conn))
		return true;
	stt_lock(&conn->output.lock);
	bool has_data = conn->data_free;

	stt_unlock(&conn->output.lock);
	return has_data;
}

/* Whether nothing is known of the handler that runs next: it is for the first message, or the last
 * one after an end of this side. (A peer's FIN is found by a read, on the loop.) */
static bool is_newcomer(struct sttcp_conn *conn)
{
	return !stt_counter_get(&conn->messages_in) || stt_conn_has_ended(conn);
}

/* Whether an owned connection has to be worked on in the pool. */
static inline bool needs_pool(struct sttcp_conn *conn)
{
	/* A connection that runs no handler any more never waits for a thread. */
	if (conn->phase >= STT_LINGERING)
		return false;

	enum stt_storm storm = stt_loop_storm_now(conn->loop);

	if (storm == STT_WHOLE_STORM || (storm && is_newcomer(conn)))
		return !stt_conn_has_ended(conn) || has_last_words(conn);
	/* A blocking connection that has ended has only its last handler left. With a thread for
	 * each of those, a stop that closes a thousand would wait for a thousand threads. */
	return conn->blocking && (!stt_conn_has_ended(conn) || conn->phase == STT_PARKED);
}

static void give_to_pool(struct stt_desk *desk, struct sttcp_conn *conn)
{
	const struct stt_settings *settings = &conn->service->settings;

	/* The limit counts from accept, and the connection may wait in the pool's queue for long.
	 */
	if (conn->phase == STT_SHAKING)
		stt_handshake_limit(conn);
	if (conn->phase == STT_BORN && settings->first_byte_timeout_ms >= 0)
		stt_alarm_set(conn->loop, &conn->alarm,
			      conn->born_ms + settings->first_byte_timeout_ms);
	conn->came_new = is_newcomer(conn);
	stt_pool_push(&desk->worker.engine->pool, &conn->actor);
}

/* Deadlines for input need no thread: if there is nothing else to do, the loop checks them. False
 * if there is; then all wishes are as before. */
static bool judge_deadlines(struct sttcp_conn *conn)
{
	if (conn->phase != STT_OPEN || stt_conn_has_ended(conn))
		return false;

	unsigned wishes = stt_conn_take_wishes(conn) & ~(unsigned)STT_BUSY;

	if (wishes == STT_WISH_TIMEOUT) {
		int64_t now_ms = stt_now_ms();

		if (!stt_deadlines_have_passed(conn, now_ms) || !stt_stream_has_news(conn)) {
			stt_deadlines_check(conn, now_ms);
			return true;
		}
	}
	stt_conn_wish_again(conn, wishes);
	return false;
}

/* On the loop, outside turns, by the connection's owner: works on it right here, or gives it to the
 * pool. The loop may be lost after that. */
static void serve(struct stt_desk *desk, struct sttcp_conn *conn)
{
	while (needs_pool(conn)) {
		if (!judge_deadlines(conn)) {
			give_to_pool(desk, conn);
			return;
		}
		if (stt_conn_let_go(conn))
			return;
	}
	work(desk, conn, stt_conn_take_wishes(conn));
}

static void conn_event(struct stt_worker *worker, struct stt_actor *actor, uint32_t events)
{
	struct stt_desk *desk = stt_desk_of(worker);
	struct sttcp_conn *conn = stt_container_of(actor, struct sttcp_conn, actor);
	unsigned wish = 0;

	/* A Unix socket that was shut down while it was full is not writable. */
	if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) && atomic_load(&conn->output.pending))
		stt_output_flush(conn);
	if (events & STT_POLL_READ_ON)
		atomic_store(&conn->hangup, true);
	if (events & (EPOLLIN | STT_POLL_HANGUP))
		wish = STT_WISH_READ;
	else if (!atomic_load_explicit(&conn->opened, memory_order_relaxed))
		wish = STT_WISH_OPEN;
	if (!wish)
		return;
	/* Nearly always the connection is free and may run here. Then the wish need not be stored,
	 * which saves one atomic operation per message. */
	if (stt_conn_try_own(conn)) {
		if (!needs_pool(conn)) {
			work(desk, conn, wish);
			return;
		}
		stt_conn_wish(conn, wish);
		give_to_pool(desk, conn);
	} else if (stt_conn_wish(conn, wish)) {
		serve(desk, conn);
	}
}

static void conn_ready(struct stt_worker *worker, struct stt_actor *actor)
{
	struct sttcp_conn *conn = stt_container_of(actor, struct sttcp_conn, actor);

	if (conn->phase == STT_DEAD)
		stt_conn_bury(conn);
	else
		serve(stt_desk_of(worker), conn);
}

static void conn_on_pool(struct stt_worker *worker, struct stt_actor *actor)
{
	struct stt_desk *desk = stt_desk_of(worker);
	struct sttcp_conn *conn = stt_container_of(actor, struct sttcp_conn, actor);

	desk->turn_began_us = stt_now_us();
	if (conn->phase == STT_DEAD)
		stt_conn_free_on_pool(conn);
	else
		work(desk, conn, stt_conn_take_wishes(conn));
}

static const struct stt_conn_work conn_work = {
	.ops =
		{
			.on_event = conn_event,
			.on_ready = conn_ready,
			.on_pool = conn_on_pool,
			.on_lost = stt_gather_lost,
			.on_lent = stt_gather_lent,
		},
	.ring = stt_deadlines_ring,
};

struct sttcp_conn *stt_serve_new(struct stt_service *service, struct stt_loop *loop, int fd,
				 const struct stt_addr *peer)
{
	return stt_conn_new(&conn_work, service, loop, fd, peer);
}

bool stt_serve_unopened(struct stt_desk *desk, struct sttcp_conn *conn, unsigned *wishes)
{
	return act_unopened(desk, conn, wishes) == GOES_ON;
}

bool stt_serve_ending(struct stt_desk *desk, struct sttcp_conn *conn)
{
	return go_on_ending(desk, conn) == HANDED_ON;
}

bool stt_serve_has_last_words(struct sttcp_conn *conn)
{
	return has_last_words(conn);
}
