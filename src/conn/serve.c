/* SPDX-License-Identifier: MIT */
/*
 * What the owner of a connection does, in the phase that it finds:
 *
 *	phase		it does							then
 *	CONNECTING	is never found: attempt.c lends it its own table	FAILED
 *	FAILED		runs the unconnected handler				DEAD
 *	BORN		runs the connection handler				OPEN
 *	BORN, ended	nothing, or for a client as FAILED			ENDING
 *	OPEN		reads, and runs a handler for what it has read		OPEN
 *	OPEN, ended	waits for the output					ENDING
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
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "conn/conn.h"
#include "conn/desk.h"
#include "conn/dispatch.h"
#include "conn/ending.h"
#include "conn/gather.h"
#include "conn/hold.h"
#include "conn/input.h"
#include "conn/life.h"
#include "conn/deadlines.h"
#include "conn/own_framing.h"
#include "conn/service.h"
#include "conn/trace.h"
#include "conn/watch.h"
#include "engine/engine.h"
#include "engine/turn.h"
#include "net/socket.h"

enum {
	/* Reads and messages of one turn, before the others on the loop have theirs: servers that
	 * read on while there is data had a p99 of 250 ms against 0.7 ms. With 4 reads 7 streams
	 * came to 0.7 of what they reach with 16. */
	READS_PER_TURN = 16,
	MESSAGES_PER_TURN = 256,
	/* The time of a turn in the pool while others wait for its thread. */
	SHARE_US = 1000
};

/* What is left to do with the connection. */
enum next {
	LET_GO,
	HANDED_ON /* it stands on a list, or is dead: not to be touched */
};

static bool has_ended(const struct sttcp_conn *conn)
{
	return atomic_load_explicit(&conn->ended, memory_order_acquire);
}

/* The loop was taken over while a function of the user's ran. */
static void note_loss(struct sttcp_conn *conn)
{
	stt_dispatch_mark_slow(conn);
	stt_trace(conn, "blocked and taken over");
}

/* In the pool, where others wait for a thread: whether this one has had its share. */
static inline bool is_to_yield(const struct stt_desk *desk)
{
	return !desk->worker.loop && stt_pool_is_short(&desk->worker.engine->pool) &&
	       stt_now_us() - desk->turn_began_us > SHARE_US;
}

/* Runs the handlers of a phase, in a turn. */
static bool run_handlers(struct stt_desk *desk, struct sttcp_conn *conn, int event,
			 const void *data, size_t size)
{
	if (!stt_dispatch_wanted(&conn->service->handlers, event)) {
		desk->ended_conn = desk->failed_conn = false;
		return true;
	}
	desk->watch = STT_WATCH_MAY_WAIT;
	stt_turn_begin(&desk->worker);
	bool verdict = stt_dispatch(desk, conn, event, data, size);

	if (!stt_turn_end(&desk->worker))
		note_loss(conn);
	if (desk->watch == STT_WATCH_WAITS)
		stt_watch_begin_late(&desk->worker, conn);
	desk->watch = 0;
	return verdict;
}

static void open_conn(struct stt_desk *desk, struct sttcp_conn *conn)
{
	bool is_client = conn->service->is_client;

	if (has_ended(conn)) {
		/* Closed or stopped before any handler saw it. */
		conn->declined = !is_client;
		conn->phase = is_client ? STT_FAILED : STT_ENDING;
		return;
	}
	atomic_store(&conn->opened, true);

	bool verdict = run_handlers(desk, conn, STTCP_CONNECTION, NULL, 0);
	bool failed = desk->failed_conn;
	bool refused = !verdict || desk->ended_conn;

	/* What it has read and left. */
	if (desk->input.memory && stt_input_keep(desk, conn) < 0)
		stt_conn_end(conn, -ENOMEM, STT_END_RESET);
	stt_deadlines_begin(conn);

	conn->phase = STT_OPEN;
	if (failed)
		return;
	if (refused && !is_client)
		conn->declined = true;
	else
		conn->service->calls->joined(conn->service, conn);
	if (refused)
		stt_conn_end(conn, 0, STT_END_FLUSH);
	else
		stt_trace(conn, "open");
}

/* What the owner has to know of the output. */
struct view {
	bool drained;
	bool forced;
	bool fin_sent;
	int broken;
};

static struct view view_output(struct sttcp_conn *conn)
{
	stt_lock(&conn->output.lock);
	struct view view = {
		.drained = stt_output_drained_locked(&conn->output),
		.forced = conn->output.forced,
		.fin_sent = conn->output.fin_sent,
		.broken = conn->output.broken,
	};

	stt_unlock(&conn->output.lock);
	return view;
}

/* The peer sends no more. */
static void take_fin(struct stt_desk *desk, struct sttcp_conn *conn)
{
	bool first = !conn->fin_seen;

	conn->fin_seen = true;
	if (first && conn->service->settings.half_close) {
		bool verdict = run_handlers(desk, conn, STTCP_END, NULL, 0);

		stt_deadlines_note_input(conn);
		if (!verdict && !conn->service->handlers.end)
			stt_conn_end(conn, 0, STT_END_FLUSH);
	}

	struct view view = view_output(conn);

	if (view.broken || view.fin_sent || !conn->service->settings.half_close)
		stt_conn_end(conn, view.broken, STT_END_FLUSH);
}

/* Takes the error of a read that gave nothing. */
static void take_error(struct sttcp_conn *conn, int code)
{
	int broken = view_output(conn).broken;

	/* Nothing more to read on a connection that cannot be sent to. */
	if (code == -EAGAIN && !broken)
		return;
	conn->fin_seen = true;
	stt_conn_end(conn, broken ? broken : stt_error_of_peer(code), STT_END_RESET);
}

static inline void deliver(struct stt_desk *desk, struct sttcp_conn *conn, const void *data,
			   size_t size)
{
	int event = (int)(conn->service->is_client ? STTCP_RESPONSE : STTCP_RECEIVE);

	stt_counter_add(&conn->messages_in, 1);
	if (!run_handlers(desk, conn, event, data, size))
		stt_conn_end(conn, 0, STT_END_FLUSH);
}

/* Ends a connection for a message that cannot be taken; its handler has the last word. */
static void refuse_message(struct stt_desk *desk, struct sttcp_conn *conn, int code)
{
	if (!has_ended(conn))
		run_handlers(desk, conn, STT_MALFORMED, &code, sizeof(code));
	stt_conn_end_with(conn, code, STT_END_FLUSH, "%s", desk->refusal);
}

/* A connection that is paused learns all the same that its peer is gone: else one that is paused
 * for good would never end. Not so if the peer has ended in order, and was sent nothing after that:
 * what it said before is still to be delivered. */
static void look_without_reading(struct sttcp_conn *conn)
{
	int code = view_output(conn).broken;

	if (!code && atomic_load(&conn->hangup))
		code = stt_error_of_peer(stt_socket_failure(atomic_load(&conn->fd)));
	if (!code)
		return;
	conn->fin_seen = true;
	stt_conn_end(conn, code, STT_END_RESET);
}

/* As stt_is_held, with a look at the peer of one that is paused. At its high-water mark the queue
 * finds out by itself that it leads nowhere, and then the reader goes on: nothing that was read
 * gets lost. */
static inline bool is_held(struct sttcp_conn *conn)
{
	if (!stt_is_held(conn))
		return false;
	if (stt_is_paused(conn))
		look_without_reading(conn);
	return true;
}

/* As stt_input_next, outside turns. A user's own function may block as a handler may: so it has a
 * turn. */
static inline int find_message(struct stt_desk *desk, struct sttcp_conn *conn, bool last,
			       struct stt_message *message)
{
	/* Loaded once: another thread may change it at any time. */
	const struct stt_framing *framing = stt_conn_framing(conn);

	if (framing->kind != STTCP_FRAMING_CUSTOM)
		return stt_input_next(desk, framing, last, message);
	stt_turn_begin(&desk->worker);
	int found = stt_input_next(desk, framing, last, message);

	/* A child that was forked there goes no further, see dispatch.c. */
	while (stt_self != &desk->worker)
		pause();
	stt_dispatch_count(desk);
	if (!stt_turn_end(&desk->worker))
		note_loss(conn);
	return found;
}

/* Why the delivery of what was read has stopped. */
enum delivered {
	WANTS_MORE,
	STOPPED,
	OVER_BUDGET
};

static enum delivered deliver_messages(struct stt_desk *desk, struct sttcp_conn *conn, bool last,
				       int *budget)
{
	struct stt_input *in = &desk->input;
	enum delivered result = STOPPED;
	bool gathers = false;

	while (!has_ended(conn) && !is_held(conn)) {
		struct stt_message message;

		if (!*budget || (*budget < MESSAGES_PER_TURN && is_to_yield(desk))) {
			result = OVER_BUDGET;
			break;
		}

		int found = find_message(desk, conn, last, &message);

		if (found < 0)
			refuse_message(desk, conn, found);
		if (found == 0)
			result = WANTS_MORE;
		if (found <= 0)
			break;
		--*budget;
		/* Only where there is another message. */
		if (!gathers && in->size)
			gathers = stt_gather_begin(&desk->worker, conn);
		stt_input_pin(desk);
		deliver(desk, conn, message.data, message.size);
		stt_input_unpin(desk);
	}
	if (gathers)
		stt_gather_end(&desk->worker, conn);
	return result;
}

/* Reads and delivers message by message; true when the budget of the turn is used up. */
static bool read_messages(struct stt_desk *desk, struct sttcp_conn *conn)
{
	struct stt_input *in = &desk->input;
	int budget = MESSAGES_PER_TURN;
	enum delivered delivered;
	bool behind = false;
	bool came = false; /* something has: a look that finds nothing is no sign of life */

	stt_conn_free_old_framings(conn);
	stt_input_take(desk, conn);
	for (int reads = 0;; reads++) {
		delivered = deliver_messages(desk, conn, false, &budget);
		behind = delivered == OVER_BUDGET || reads == READS_PER_TURN;
		if (delivered != WANTS_MORE || behind)
			break;
		if (reads && in->emptied && !atomic_load(&conn->hangup))
			break;

		ssize_t size = stt_input_read(desk, conn);

		if (size == STTCP_ELIMIT)
			refuse_message(desk, conn, STTCP_ELIMIT);
		else if (size < 0)
			take_error(conn, (int)size);
		if (size == 0) {
			/* A rest that is held back stays in front of the FIN, which is read again.
			 */
			delivered = deliver_messages(desk, conn, true, &budget);
			behind = delivered == OVER_BUDGET;
			if (delivered == WANTS_MORE)
				take_fin(desk, conn);
		}
		if (size <= 0)
			break;
		came = true;
	}
	came |= budget != MESSAGES_PER_TURN;
	if (came)
		stt_deadlines_note_input(conn);
	if (has_ended(conn))
		in->size = 0;
	int kept = stt_input_keep(desk, conn);

	if (kept == STTCP_ELIMIT)
		refuse_message(desk, conn, kept);
	else if (kept < 0)
		stt_conn_end(conn, -ENOMEM, STT_END_RESET);
	stt_deadlines_watch_message(conn);
	return behind && !has_ended(conn);
}

/* The same for bytes as they come, which need no looking into. */
static bool read_raw(struct stt_desk *desk, struct sttcp_conn *conn)
{
	int fd = atomic_load_explicit(&conn->fd, memory_order_relaxed);

	for (int reads = 0; reads < READS_PER_TURN; reads++) {
		if (is_held(conn))
			return false;

		ssize_t size = stt_socket_recv(fd, desk->buffer, STT_READ_SIZE);

		if (size == 0)
			size = stt_output_end_of_input(conn);
		if (size < 0)
			take_error(conn, (int)size);
		else if (size == 0)
			take_fin(desk, conn);
		if (size <= 0)
			return false;

		stt_counter_add(&conn->bytes_in, size);
		deliver(desk, conn, desk->buffer, (size_t)size);
		/* The handler has set a framing: what it may have read further is looked into. */
		if (atomic_load_explicit(&conn->framed, memory_order_relaxed))
			return read_messages(desk, conn);
		if (has_ended(conn))
			return false;
		/* A short read has emptied the socket, and an edge will tell of more - but not when
		 * the peer's hang-up has come already: data and FIN come in one edge. */
		if (size < STT_READ_SIZE && !atomic_load(&conn->hangup))
			return false;
		if (is_to_yield(desk))
			break;
	}
	return true;
}

static bool read_input(struct stt_desk *desk, struct sttcp_conn *conn)
{
	return atomic_load_explicit(&conn->framed, memory_order_relaxed) ? read_messages(desk, conn)
									 : read_raw(desk, conn);
}

/* What is left of the input of a connection that has ended. */
enum rest {
	REST_GONE, /* its FIN was read, or it is broken */
	REST_COMES,
	REST_IS_THERE /* more than the budget of a turn */
};

/* Drops input, so that closing the socket does not reset it (RFC 1122, 4.2.2.13). */
static enum rest drop_input(struct stt_desk *desk, struct sttcp_conn *conn)
{
	int fd = atomic_load_explicit(&conn->fd, memory_order_relaxed);

	for (int reads = 0; fd >= 0 && !conn->fin_seen; reads++) {
		if (reads == READS_PER_TURN)
			return REST_IS_THERE;

		ssize_t size = stt_socket_drop(fd, desk->buffer, STT_READ_SIZE);

		if (size > 0)
			continue;
		if (size == -EAGAIN)
			return REST_COMES;
		conn->fin_seen = true;
		if (size < 0) {
			stt_lock(&conn->output.lock);
			stt_output_break_locked(&conn->output, stt_error_of_peer((int)size));
			stt_unlock(&conn->output.lock);
		}
	}
	return REST_GONE;
}

static void run_last_handler(struct stt_desk *desk, struct sttcp_conn *conn)
{
	struct stt_service *service = conn->service;
	int event = (int)(conn->phase == STT_FAILED ? STTCP_UNCONNECTED : STTCP_DISCONNECTION);

	service->calls->left(service, conn);
	stt_trace_ended(conn);
	if (!conn->declined)
		run_handlers(desk, conn, event, NULL, 0);
	/* Also user code, and so a turn of its own. */
	stt_turn_begin(&desk->worker);
	stt_conn_free_data_if_last(conn);
	stt_turn_end(&desk->worker);

	service->calls->ended(service, conn);
}

/* Sets the time at which a connection in phase LINGERING is closed in any case. */
static void limit_lingering(struct sttcp_conn *conn, int64_t at)
{
	atomic_store(&conn->owner_due_ms, at);
	if (at != STT_NEVER)
		stt_alarm_set(conn->loop, &conn->alarm, at);
}

/* The input goes on after a turn of the others, or when more of it comes. */
static enum next go_on_dropping(struct stt_desk *desk, struct sttcp_conn *conn, enum rest rest)
{
	if (rest != REST_IS_THERE)
		return LET_GO;
	stt_loop_requeue(&desk->worker, conn->loop, &conn->actor);
	return HANDED_ON;
}

/* Goes on with a connection that has ended, as far as that is possible now. */
static enum next go_on_ending(struct stt_desk *desk, struct sttcp_conn *conn)
{
	/* First the input: a reset that is read there is an end of the output, too. */
	enum rest rest = drop_input(desk, conn);
	int linger_ms = conn->service->settings.linger_timeout_ms;
	struct view view = view_output(conn);

	if (conn->phase == STT_OPEN) {
		conn->phase = STT_ENDING;
		atomic_store(&conn->owner_due_ms, STT_NEVER);
	}
	if (conn->phase < STT_LINGERING) {
		if (!view.drained && !view.forced)
			return go_on_dropping(desk, conn, rest);
		run_last_handler(desk, conn);
		conn->phase = STT_LINGERING;
		if (!view.drained)
			limit_lingering(conn,
					stt_deadline_ms(atomic_load(&conn->service->flush_ms)));
		view = view_output(conn);
	}

	bool all_dropped = rest == REST_GONE || view.broken || linger_ms < 0;

	if (view.drained && !all_dropped && !conn->lingers) {
		conn->lingers = true;
		limit_lingering(conn, stt_now_ms() + linger_ms);
	}
	if (!(view.drained && all_dropped) && stt_now_ms() < atomic_load(&conn->owner_due_ms) &&
	    !atomic_load(&conn->loop->ending))
		return go_on_dropping(desk, conn, rest);
	stt_conn_die(conn);
	return HANDED_ON;
}

/* Reads, if that is wished for; true when the budget of the turn is used up. */
static inline bool act_on_input(struct stt_desk *desk, struct sttcp_conn *conn, unsigned wishes)
{
	if ((!(wishes & STT_WISH_READ) && !conn->held) || !read_input(desk, conn))
		return false;
	stt_conn_wish_again(conn, wishes | STT_WISH_READ);
	return true;
}

/* Ends a connection on which nothing is going on. Its input has just been read to the end, unless
 * it is paused. */
static void end_if_idle(struct sttcp_conn *conn)
{
	bool paused = stt_is_paused(conn);

	if (has_ended(conn) || (conn->held && conn->held->size) || !view_output(conn).drained ||
	    (paused && stt_socket_has_input(atomic_load(&conn->fd))))
		return;
	stt_conn_end_with(conn, STTCP_ESTOPPED, STT_END_FLUSH,
			  "nothing was going on at the stop, end_idle_at_stop is true");
}

/* Before the read of a rarer wish: what has come is served before an end, and it takes a read to
 * know that there is no more. Out of line, as is what comes after it: inlined, they would have each
 * message save the registers that only they need. */
__attribute__((__noinline__)) static unsigned
look_before_read(struct stt_desk *desk, struct sttcp_conn *conn, unsigned wishes, bool ends_idle)
{
	desk->judged_ms = stt_now_ms();
	if (ends_idle)
		atomic_store(&conn->hangup, true);
	/* A limit is only then over when a look finds nothing that came before. */
	if (ends_idle ||
	    ((wishes & STT_WISH_TIMEOUT) && stt_deadlines_have_passed(conn, desk->judged_ms)))
		wishes |= STT_WISH_READ;
	return wishes;
}

__attribute__((__noinline__)) static void
act_on_notices(struct stt_desk *desk, struct sttcp_conn *conn, unsigned wishes, bool ends_idle)
{
	if ((wishes & STT_WISH_DRAINED) && !has_ended(conn)) {
		run_handlers(desk, conn, STT_DRAINED, NULL, 0);
		stt_deadlines_begin_anew(conn);
	}
	if ((wishes & STT_WISH_TIMEOUT) && !has_ended(conn))
		stt_deadlines_check(conn, desk->judged_ms);
	if (ends_idle)
		end_if_idle(conn);
}

/* The phase OPEN; true when the budget of the turn is used up. */
static inline bool act_open(struct stt_desk *desk, struct sttcp_conn *conn, unsigned wishes)
{
	bool ends_idle = atomic_load_explicit(&conn->service->ends_idle, memory_order_relaxed);

	bool rare = ends_idle || (wishes & (STT_WISH_DRAINED | STT_WISH_TIMEOUT));

	if (rare)
		wishes = look_before_read(desk, conn, wishes, ends_idle);
	if (act_on_input(desk, conn, wishes))
		return true;
	if (rare)
		act_on_notices(desk, conn, wishes, ends_idle);
	return false;
}

static enum next act(struct stt_desk *desk, struct sttcp_conn *conn, unsigned wishes)
{
	if (conn->phase == STT_BORN)
		open_conn(desk, conn);
	if (conn->phase == STT_OPEN && !has_ended(conn)) {
		if (act_open(desk, conn, wishes)) {
			/* The others first: it stays owned, by the list. */
			stt_loop_requeue(&desk->worker, conn->loop, &conn->actor);
			return HANDED_ON;
		}
		if (!has_ended(conn))
			return LET_GO;
	}
	return go_on_ending(desk, conn);
}

/* Works on a connection that the worker owns until it has let go of it. */
static void work(struct stt_desk *desk, struct sttcp_conn *conn, unsigned wishes)
{
	while (act(desk, conn, wishes) != HANDED_ON && !stt_conn_let_go(conn)) {
		/* A peer that always has more to say would keep this thread for good. */
		if (is_to_yield(desk)) {
			stt_pool_push(&desk->worker.engine->pool, &conn->actor);
			return;
		}
		wishes = stt_conn_take_wishes(conn);
	}
}

/* Whether user code runs once more on a connection that has ended. */
static bool has_last_words(struct sttcp_conn *conn)
{
	bool is_client = conn->service->is_client;
	int event = (int)(conn->phase == STT_FAILED || (conn->phase == STT_BORN && is_client)
				  ? STTCP_UNCONNECTED
				  : STTCP_DISCONNECTION);

	if (conn->phase == STT_BORN && !is_client)
		return false;
	if (!conn->declined && stt_dispatch_wanted(&conn->service->handlers, event))
		return true;
	stt_lock(&conn->output.lock);
	bool has_data = conn->data_free;

	stt_unlock(&conn->output.lock);
	return has_data;
}

/* Whether an owned connection has to be worked on in the pool. */
static inline bool needs_pool(struct sttcp_conn *conn)
{
	/* What runs no handler any more never waits for a thread. */
	if (conn->phase >= STT_LINGERING)
		return false;
	if (!stt_loop_may_run(conn->loop))
		return !has_ended(conn) || has_last_words(conn);
	/* Of one that blocks and has ended only the last handler is left: a thread of its own for
	 * that would make a stop that closes a thousand of them wait for a thousand threads. */
	return conn->slow && !has_ended(conn);
}

static void give_to_pool(struct stt_desk *desk, struct sttcp_conn *conn)
{
	const struct stt_settings *settings = &conn->service->settings;

	/* The limit counts from the accept on, and it may wait there for long. */
	if (conn->phase == STT_BORN && settings->first_byte_timeout_ms >= 0)
		stt_alarm_set(conn->loop, &conn->alarm,
			      conn->born_ms + settings->first_byte_timeout_ms);
	stt_pool_push(&desk->worker.engine->pool, &conn->actor);
}

/* Deadlines for input need no thread: where there is nothing else to do, the loop judges them.
 * False when there is, and all wishes are as before. */
static bool judge_deadlines(struct sttcp_conn *conn)
{
	if (conn->phase != STT_OPEN || has_ended(conn))
		return false;

	unsigned wishes = stt_conn_take_wishes(conn) & ~(unsigned)STT_BUSY;

	if (wishes == STT_WISH_TIMEOUT) {
		int64_t now_ms = stt_now_ms();

		if (!stt_deadlines_have_passed(conn, now_ms) ||
		    !stt_socket_has_news(atomic_load(&conn->fd))) {
			stt_deadlines_check(conn, now_ms);
			return true;
		}
	}
	stt_conn_wish_again(conn, wishes);
	return false;
}

/* On the loop, outside turns, by the connection's owner: works on it right here, or gives it to the
 * pool. The loop may be lost after that. */
static void dispatch(struct stt_desk *desk, struct sttcp_conn *conn)
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

	if ((events & EPOLLOUT) && atomic_load(&conn->output.pending))
		stt_output_flush(conn);
	if (events & STT_POLL_READ_ON)
		atomic_store(&conn->hangup, true);
	if (events & (EPOLLIN | STT_POLL_HANGUP))
		wish = STT_WISH_READ;
	else if (!atomic_load_explicit(&conn->opened, memory_order_relaxed))
		wish = STT_WISH_OPEN;
	if (!wish)
		return;
	/* Nearly always it is free and may run here, and then the wish need not be written down:
	 * one atomic operation less for a message. */
	if (stt_conn_try_own(conn)) {
		if (!needs_pool(conn)) {
			work(desk, conn, wish);
			return;
		}
		stt_conn_wish(conn, wish);
		give_to_pool(desk, conn);
	} else if (stt_conn_wish(conn, wish)) {
		dispatch(desk, conn);
	}
}

static void conn_ready(struct stt_worker *worker, struct stt_actor *actor)
{
	struct sttcp_conn *conn = stt_container_of(actor, struct sttcp_conn, actor);

	if (conn->phase == STT_DEAD)
		stt_conn_bury(conn);
	else
		dispatch(stt_desk_of(worker), conn);
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

/* The first byte of one that waits for a thread to run its connection handler: silent peers must
 * not pile up while all threads are in handlers. Returns when to look again. */
static int64_t ring_unopened(struct stt_worker *worker, struct sttcp_conn *conn, int64_t now)
{
	int limit_ms = conn->service->settings.first_byte_timeout_ms;

	if (limit_ms < 0 || atomic_load(&conn->opened) || conn->service->is_client)
		return STT_NEVER;
	if (conn->born_ms + limit_ms > now)
		return conn->born_ms + limit_ms;
	/* If it has spoken, it is not the one who is late. */
	if (!stt_conn_is_wished(conn, STT_WISH_READ) &&
	    stt_pool_take(&worker->engine->pool, &conn->actor)) {
		stt_conn_end(conn, STTCP_ETIME_FIRST_BYTE, STT_END_FLUSH);
		stt_loop_requeue(worker, conn->loop, &conn->actor);
	}
	return STT_NEVER;
}

static int64_t ring_conn(struct stt_worker *worker, struct stt_alarm *alarm)
{
	struct sttcp_conn *conn = stt_container_of(alarm, struct sttcp_conn, alarm);
	int64_t now = stt_loop_time(conn->loop);
	int64_t next = stt_output_ring(conn, now);
	int64_t death = stt_deadlines_lifetime(conn);
	int64_t owner_due = atomic_load(&conn->owner_due_ms);

	if (death <= now)
		stt_conn_end(conn, STTCP_ETIME_LIFETIME, STT_END_RESET);
	else if (death < next)
		next = death;
	if (owner_due <= now) {
		if (stt_conn_wish(conn, STT_WISH_TIMEOUT))
			stt_loop_requeue(worker, conn->loop, &conn->actor);
	} else if (owner_due < next) {
		next = owner_due;
	}

	int64_t first_byte = ring_unopened(worker, conn, now);

	return first_byte < next ? first_byte : next;
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
	.ring = ring_conn,
};

struct sttcp_conn *stt_serve_new(struct stt_service *service, struct stt_loop *loop, int fd,
				 const struct stt_addr *peer)
{
	return stt_conn_new(&conn_work, service, loop, fd, peer);
}
