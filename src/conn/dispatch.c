/* SPDX-License-Identifier: MIT */
/* Handler calls, and what the library learns from their duration: a connection whose handler has
 * blocked in the pool stays there, until a run of quick calls shows that it need not. */
#include "conn/dispatch.h"

#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "conn/after.h"
#include "conn/blocking.h"
#include "conn/conn.h"
#include "conn/desk.h"
#include "conn/gather.h"
#include "conn/own_handler.h"
#include "conn/park.h"
#include "conn/service.h"
#include "conn/trace.h"
#include "conn/watch.h"
#include "engine/engine.h"
#include "engine/turn.h"

enum {
	/* A call in the pool that is quicker than this could as well have run on its loop,
	 * considering the cost of handing it over. */
	QUICK_US = 50,
	/* A call in the pool that blocks for longer than this, on a connection that was not marked,
	 * shows that a storm continues. */
	BLOCKED_US = 2000,
	STORM_MS = 10,
	/* For call_switches: not measured. */
	NOT_COUNTED = -1,
	/* No outcome: the call runs on the stack of its thread. */
	NO_STACK = -1,
	/* The data of a handler with a stack of its own is copied there up to this size: then its
	 * worker keeps its buffer when the handler waits. */
	COPIED_BYTES = 2048
};

void stt_dispatch_count(struct stt_desk *desk)
{
	/* Odd while a handler runs: it stays even. */
	stt_counter_add(&desk->worker.calls, 2);
}

/* How often this thread has given up its CPU voluntarily, which is what blocking means
 * (getrusage(2)). */
static long switches_so_far(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_nvcsw : 0;
}

/* This and the end of a call are inlined in both that call user code: else each message would pay
 * with two calls, and with what they save, for tasks that it has not. */
static inline __attribute__((__always_inline__)) void begin_call(struct stt_desk *desk,
								 sttcp_conn *conn)
{
	desk->call.conn = conn;
	atomic_store_explicit(&desk->call_service, conn->service, memory_order_relaxed);
	atomic_store_explicit(&desk->call_conn_id, conn->id, memory_order_relaxed);
	int64_t call = stt_counter_add(&desk->worker.calls, 1);

	if (desk->worker.loop)
		return;
	/* On a loop the monitor measures the time; in the pool nobody else does. If the last call
	 * has blocked, this one will probably block, too, and only one of eight is measured: the
	 * two system calls for that took 2% of the cost of a call that sleeps (`short-100us` of the
	 * benchmark). */
	desk->call_switches =
		conn->blocking == STT_QUICK_RUN && call & 14 ? NOT_COUNTED : switches_so_far();
	desk->call_began_us = stt_now_us();
	atomic_store_explicit(&desk->worker.since_ms, desk->call_began_us / 1000,
			      memory_order_relaxed);
	atomic_store_explicit(&desk->worker.since_calls, call, memory_order_relaxed);
}

/* Whether the call that ends now, after `took_us`, has blocked. */
static inline __attribute__((__always_inline__)) bool has_blocked(const struct stt_desk *desk,
								  int64_t took_us)
{
	if (took_us < QUICK_US)
		return false;
	/* Judged by its time alone. If that says no, the next call of this connection is measured.
	 */
	if (desk->call_switches == NOT_COUNTED)
		return took_us > BLOCKED_US;
	/* A long time alone does not prove it: with hundreds of busy threads a quick call is
	 * preempted for longer than a blocking one sleeps, and its connection would never get back
	 * to its loop. */
	return switches_so_far() != desk->call_switches;
}

static inline __attribute__((__always_inline__)) void learn(struct stt_desk *desk, sttcp_conn *conn)
{
	int64_t now_us = stt_now_us();
	int64_t took_us = now_us - desk->call_began_us;

	if (!has_blocked(desk, took_us)) {
		if (conn->waited)
			conn->waited--;
		if (conn->blocking > 1)
			conn->blocking--;
		else
			stt_blocking_unmark(conn);
		return;
	}
	/* The storm that brought it to the pool goes on; a newcomer says nothing of the others. */
	if (took_us > BLOCKED_US && !conn->blocking)
		stt_loop_storm(conn->loop,
			       conn->came_new ? STT_STORM_OF_NEWCOMERS : STT_WHOLE_STORM,
			       now_us / 1000, STORM_MS);
	/* One short wait happens at any lock now and then, and does not predict the next call. When
	 * it marked the connection, connections whose handlers share a lock met in the pool, where
	 * such waits are more frequent. A second one soon afterwards counts. */
	if (took_us > BLOCKED_US || conn->blocking || conn->waited)
		stt_blocking_mark(conn);
	conn->waited = STT_QUICK_RUN;
}

static inline __attribute__((__always_inline__)) void end_call(struct stt_desk *desk,
							       sttcp_conn *conn)
{
	if (!desk->worker.loop)
		learn(desk, conn);
	stt_counter_add(&desk->worker.calls, 1);
	desk->call.conn = NULL;
}

static bool has_specific(const struct stt_handlers *handlers, enum stt_event event)
{
	switch (event) {
	case STT_CONNECTION:
		return handlers->connection;
	case STT_RECEIVE:
		return handlers->receive;
	case STT_RESPONSE:
		return handlers->response;
	case STT_END:
		return handlers->end;
	case STT_DISCONNECTION:
		return handlers->disconnection;
	case STT_UNCONNECTED:
		return handlers->unconnected;
	case STT_DRAINED:
		return handlers->drained;
	case STT_MALFORMED:
		return handlers->malformed;
	case STT_OWN_MESSAGE:
		return true;
	case STT_TASK:
		break;
	}
	return false;
}

/* A message for the connection's own handler, if that is still there. */
static bool call_own(struct stt_desk *desk, sttcp_conn *conn, const void *data, size_t size)
{
	const struct stt_handlers *handlers = &conn->service->handlers;
	/* First: what the universal handler sets is for the next message. */
	struct stt_message_handler own = stt_own_handler_get(conn);
	bool verdict = true;

	desk->call.event = stt_message_event(conn->service);
	if (handlers->universal)
		verdict = handlers->universal((sttcp_event)desk->call.event, conn, data, size,
					      handlers->context);
	if (own.fn) {
		own.fn(conn, data, size, own.context);
		return true;
	}
	if (handlers->response)
		return handlers->response(conn, data, size, handlers->context);
	if (!handlers->receive)
		return verdict;
	handlers->receive(conn, data, size, handlers->context);
	return true;
}

/* Inlined where messages come, which would pay with a call for what has a stack of its own. */
static inline __attribute__((__always_inline__)) bool
call_specific(const struct stt_handlers *handlers, sttcp_conn *conn, enum stt_event event,
	      const void *data, size_t size)
{
	void *context = handlers->context;

	switch (event) {
	case STT_CONNECTION:
		return handlers->connection(conn, context);
	case STT_RECEIVE:
		handlers->receive(conn, data, size, context);
		break;
	case STT_RESPONSE:
		return handlers->response(conn, data, size, context);
	case STT_END:
		handlers->end(conn, context);
		break;
	case STT_DISCONNECTION:
		handlers->disconnection(conn, atomic_load(&conn->reason), context);
		break;
	case STT_UNCONNECTED:
		handlers->unconnected(conn, atomic_load(&conn->reason), context);
		break;
	case STT_DRAINED:
		handlers->drained(conn, context);
		break;
	case STT_MALFORMED:
		handlers->malformed(conn, ((const struct stt_refused *)data)->code, context);
		break;
	case STT_OWN_MESSAGE:
		return call_own(stt_desk_self(), conn, data, size);
	case STT_TASK:
		break;
	}
	return true;
}

void stt_dispatch_prepare(struct stt_service *service)
{
	struct stt_handlers *handlers = &service->handlers;

	handlers->specific = 0;
	for (int event = STT_CONNECTION; event <= STT_OWN_MESSAGE; event++)
		if (has_specific(handlers, (enum stt_event)event))
			handlers->specific |= 1U << event;
	handlers->wanted = handlers->specific | (handlers->universal ? (1U << STT_DRAINED) - 1 : 0);
	handlers->direct = service->settings.fibers ? 0 : handlers->wanted;
}

/* A function of its own: the universal handler may have come back on another thread. */
STT_APART static bool call_specific_apart(sttcp_conn *conn, enum stt_event event, const void *data,
					  size_t size)
{
	return call_specific(&conn->service->handlers, conn, event, data, size);
}

/* The universal handler, then the specific one, of a strand; returns the result that counts. */
static bool call_both(struct stt_strand *strand, const void *data)
{
	struct sttcp_conn *conn = strand->conn;
	const struct stt_handlers *handlers = &conn->service->handlers;
	enum stt_event event = strand->event;
	size_t size = strand->size;
	bool verdict = true;

	if (handlers->universal && event < STT_DRAINED)
		verdict = handlers->universal((sttcp_event)event, conn, data, size,
					      handlers->context);
	if (handlers->specific & (1U << event))
		verdict = call_specific_apart(conn, event, data, size);
	return verdict;
}

/* With a copy of its data on its stack. */
STT_APART static bool call_with_copy(struct stt_strand *strand)
{
	void *copy = __builtin_alloca(strand->size);

	memcpy(copy, strand->data, strand->size);
	strand->data = copy;
	return call_both(strand, copy);
}

/* What a strand runs on its stack. */
static void run_call(struct stt_fiber *fiber)
{
	struct stt_strand *strand = stt_container_of(fiber, struct stt_strand, fiber);

	if (strand->task)
		strand->task(strand->conn, strand->argument);
	else if (strand->copies)
		strand->verdict = call_with_copy(strand);
	else
		strand->verdict = call_both(strand, strand->data);
	/* A child that was forked there and returns stops here: everything belongs to the parent,
	 * above all its epoll. */
	stt_dispatch_stop_child();
}

void stt_dispatch_note_loss(struct sttcp_conn *conn)
{
	stt_blocking_mark(conn);
	stt_trace(conn, "blocked and taken over");
}

/* The end of a turn in which user code has run. */
static inline void end_turn(struct stt_desk *desk, struct sttcp_conn *conn)
{
	if (!stt_turn_end(&desk->worker))
		stt_dispatch_note_loss(conn);
	if (desk->watch == STT_WATCH_WAITS)
		stt_watch_begin_late(conn);
	desk->watch = 0;
}

/* The universal handler, then the specific one, on the stack of the thread. */
static inline enum stt_outcome call_in_turn(struct stt_desk *desk, struct sttcp_conn *conn,
					    enum stt_event event, const void *data, size_t size)
{
	const struct stt_handlers *handlers = &conn->service->handlers;
	bool verdict = true;

	desk->watch = STT_WATCH_MAY_WAIT;
	stt_turn_begin(&desk->worker);
	desk->call.ended_conn = false;
	desk->call.failed_conn = false;
	begin_call(desk, conn);
	desk->call.event = event;
	if (handlers->universal && event < STT_DRAINED)
		verdict = handlers->universal((sttcp_event)event, conn, data, size,
					      handlers->context);
	if (handlers->specific & (1U << event))
		verdict = call_specific(handlers, conn, event, data, size);
	/* A child that was forked in the handler and returns from it stops here: everything belongs
	 * to the parent, above all its epoll. */
	while (stt_self != &desk->worker)
		pause();
	end_call(desk, conn);
	end_turn(desk, conn);
	return verdict ? STT_TRUE : STT_FALSE;
}

/* From where the call was left, or from its beginning, to where it is left next; true when it has
 * returned. For the monitor, and for what is learned, that is a call. */
static bool run_segment(struct stt_desk *desk, struct stt_strand *strand)
{
	struct sttcp_conn *conn = strand->conn;

	desk->watch = STT_WATCH_MAY_WAIT;
	stt_turn_begin(&desk->worker);
	begin_call(desk, conn);
	atomic_store_explicit(&desk->call_has_stack, true, memory_order_relaxed);
	desk->call.strand = strand;
	strand->desk = desk;
	bool returned = stt_fiber_run(&strand->fiber);

	desk->call.strand = NULL;
	strand->call = desk->call;
	atomic_store_explicit(&desk->call_has_stack, false, memory_order_relaxed);
	end_call(desk, conn);
	end_turn(desk, conn);
	return returned;
}

enum stt_outcome stt_dispatch_resume(struct stt_desk *desk, struct stt_strand *strand)
{
	for (;;) {
		if (run_segment(desk, strand))
			break;
		if (strand->leaves == STT_LEAVES_TO_GATHER)
			strand->gathers = stt_gather_begin(&desk->worker, strand->conn);
		else if (stt_strand_park(desk, strand))
			return STT_WAITS;
		else
			strand->stays = true;
		desk->call = strand->call;
	}
	if (strand->gathers)
		stt_gather_end(&desk->worker, strand->conn);
	return strand->verdict ? STT_TRUE : STT_FALSE;
}

static enum stt_outcome run_strand(struct stt_desk *desk, struct stt_strand *strand)
{
	strand->fiber.fn = run_call;
	strand->verdict = true;
	desk->call.event = strand->event;

	enum stt_outcome outcome = stt_dispatch_resume(desk, strand);

	if (outcome == STT_WAITS)
		return outcome;
	/* Behind one that has waited its owner looks in any case. */
	if (strand->left_input)
		stt_conn_wish_again(strand->conn, STT_WISH_READ);
	stt_strand_give(desk, strand);
	return outcome;
}

/* Where the data of a handler stands while this runs. */
static void place_data(struct stt_desk *desk, struct stt_strand *strand)
{
	const char *data = strand->data;

	if (strand->event == STT_MALFORMED) {
		const struct stt_refused *refused = strand->data;

		strand->refused.code = refused->code;
		strand->refused.text = strdup(refused->text);
		strand->data = &strand->refused;
		strand->copies = false;
		return;
	}
	strand->copies = strand->size && strand->size <= COPIED_BYTES;
	if (strand->copies)
		desk->input.pinned = NULL;
	else
		strand->in_buffer =
			strand->size && data >= desk->buffer && data < desk->buffer + STT_READ_SIZE;
}

/* As stt_dispatch, for a handler that has a stack of its own, or nobody to be called; or NO_STACK.
 */
__attribute__((__noinline__)) static int dispatch_apart(struct stt_desk *desk,
							struct sttcp_conn *conn,
							enum stt_event event, const void *data,
							size_t size)
{
	desk->call.ended_conn = desk->call.failed_conn = false;
	if (!stt_dispatch_wanted(&conn->service->handlers, event))
		return (int)STT_TRUE;

	struct stt_strand *strand = stt_strand_take(desk, conn);

	if (!strand)
		return NO_STACK;
	strand->event = event;
	strand->data = data;
	strand->size = size;
	place_data(desk, strand);
	return (int)run_strand(desk, strand);
}

enum stt_outcome stt_dispatch(struct stt_desk *desk, struct sttcp_conn *conn, enum stt_event event,
			      const void *data, size_t size)
{
	if (!(conn->service->handlers.direct & (1U << event))) {
		int outcome = dispatch_apart(desk, conn, event, data, size);

		if (outcome != NO_STACK)
			return (enum stt_outcome)outcome;
	}
	return call_in_turn(desk, conn, event, data, size);
}

STT_APART void stt_dispatch_stop_child(void)
{
	while (!stt_self)
		pause();
}

bool stt_dispatch_task(struct stt_desk *desk, struct sttcp_conn *conn,
		       void (*call)(sttcp_conn *conn, void *argument), void *argument)
{
	struct stt_strand *strand =
		conn->service->settings.fibers ? stt_strand_take(desk, conn) : NULL;

	desk->call.ended_conn = false;
	desk->call.failed_conn = false;
	if (strand) {
		strand->event = STT_TASK;
		strand->task = call;
		strand->argument = argument;
		strand->began_ms = stt_now_ms();
		strand->bytes_before = stt_counter_get(&conn->bytes_in);
		return run_strand(desk, strand) != STT_WAITS;
	}
	desk->watch = STT_WATCH_MAY_WAIT;
	stt_turn_begin(&desk->worker);
	begin_call(desk, conn);
	desk->call.event = STT_TASK;
	call(conn, argument);
	stt_dispatch_stop_child();
	end_call(desk, conn);
	end_turn(desk, conn);
	return true;
}

void stt_dispatch_malformed_inside(struct stt_desk *desk, sttcp_conn *conn, int code)
{
	const struct stt_handlers *handlers = &conn->service->handlers;
	struct stt_strand *strand = desk->call.strand;
	enum stt_event event = desk->call.event;

	if (!handlers->malformed)
		return;
	/* The call still belongs to the outer handler in all measurements and waits. */
	desk->call.event = STT_MALFORMED;
	handlers->malformed(conn, code, handlers->context);
	stt_dispatch_stop_child();
	stt_strand_desk(strand, desk)->call.event = event;
}
