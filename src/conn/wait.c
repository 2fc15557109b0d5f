/* SPDX-License-Identifier: MIT */
/*
 * The thread waits in poll(2) for a descriptor and for an eventfd. The number of
 * the eventfd stands in `output.receiver` of the connections that may end the
 * wait (in `reader` of rare.h for whoever reads a dialled one), and whoever ends
 * one writes to it: shutting a socket down for sending does not wake a poll for
 * input. In a handler the loop is taken over meanwhile, as with any handler that
 * blocks. Where no eventfd can be had it waits in slices, and looks in between.
 */
#include "conn/wait.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>

#include "base/clock.h"
#include "conn/conn.h"
#include "conn/desk.h"
#include "conn/ending.h"
#include "conn/output.h"
#include "conn/rare.h"
#include "conn/service.h"
#include "conn/strand.h"
#include "conn/stream.h"
#include "conn/watch.h"
#include "engine/foreign.h"
#include "engine/loop.h"
#include "engine/relief.h"
#include "net/poller.h"

/* Which ends of a connection end a wait. */
enum ends {
	ANY_END,
	BY_FORCE
};

/* Lets whoever ends the connection wake this thread, or with -1 no longer; 0, or what it has ended
 * with. */
static int set_receiver(struct sttcp_conn *conn, int waker, enum ends ends)
{
	struct stt_output *out = &conn->output;
	bool outside = conn->service->dialled && stt_desk_conn() != conn;

	stt_lock(&out->lock);
	if (outside)
		stt_rare_of(conn)->reader = waker;
	else
		out->receiver = waker;
	bool ended = ends == ANY_END ? atomic_load(&conn->ended) : out->by_force;
	int result = ended ? stt_conn_end_code(conn) : 0;

	if (result == 0 && waker >= 0)
		stt_watch_wait_locked(out);
	stt_unlock(&out->lock);
	return result;
}

/* Whom the wait concerns. */
struct parties {
	struct sttcp_conn *conn;    /* any of its ends counts */
	struct sttcp_conn *running; /* the handler's: an end by force does */
};

static struct parties parties_of(const struct stt_wait_spec *wait)
{
	struct sttcp_conn *running = stt_desk_conn();

	return (struct parties){wait->conn, running == wait->conn ? NULL : running};
}

static int set_receivers(const struct parties *parties, int waker)
{
	int result = parties->conn ? set_receiver(parties->conn, waker, ANY_END) : 0;
	int forced = parties->running ? set_receiver(parties->running, waker, BY_FORCE) : 0;

	return forced ? forced : result;
}

static int make_waker(struct stt_desk *desk)
{
	if (desk->waker < 0) {
		int waker = stt_waker_new();

		if (waker < 0)
			return waker;
		desk->waker = waker;
	}
	return 0;
}

static int wait_there(struct stt_desk *desk, struct stt_wait_spec *wait)
{
	if (wait->is_of_peer)
		stt_relief_begin_wait(&desk->worker, desk->waker);

	int result = stt_socket_wait(wait->fd, &wait->events, desk->waker, wait->until_ms);

	if (wait->is_of_peer)
		wait->in_the_way = stt_relief_end_wait(&desk->worker);
	return result;
}

enum {
	SLICE_MS = 50
};

/* There is no descriptor left for a waker: looks now and then. */
static int wait_in_slices(struct stt_desk *desk, const struct parties *parties,
			  struct stt_wait_spec *wait)
{
	const struct stt_wait_spec whole = *wait;
	int result;

	do {
		int64_t slice_ms = stt_now_ms() + SLICE_MS;

		wait->events = whole.events;
		wait->until_ms = slice_ms < whole.until_ms ? slice_ms : whole.until_ms;
		result = set_receivers(parties, -1);
		if (result == 0 && wait->is_over && wait->is_over(wait->conn))
			wait->events = 0;
		else if (result == 0)
			result = wait_there(desk, wait);
	} while (result == -ETIMEDOUT && stt_now_ms() < whole.until_ms);
	wait->until_ms = whole.until_ms;
	return result;
}

/* Before the waker is made, which would get the number of a descriptor that is not open: then the
 * wait would be for the waker itself, and not tell POLLNVAL. */
static bool is_lost(const struct stt_desk *desk, const struct stt_wait_spec *wait)
{
	return desk->waker < 0 && wait->fd >= 0 && fcntl(wait->fd, F_GETFD) < 0;
}

/* The thread waits. One of the library's has a desk of its own. */
STT_APART static int block(struct stt_desk *desk, struct stt_wait_spec *wait)
{
	struct parties parties = parties_of(wait);

	if (stt_self)
		desk = stt_desk_self();

	if (!parties.conn && !parties.running)
		return stt_socket_wait(wait->fd, &wait->events, -1, wait->until_ms);

	bool lost = is_lost(desk, wait);
	int result = make_waker(desk);

	if (result < 0)
		return wait_in_slices(desk, &parties, wait);
	result = set_receivers(&parties, desk->waker);
	/* Only now: who makes it true wakes the receiver that it finds. */
	if (result == 0 && wait->is_over && wait->is_over(wait->conn))
		wait->events = 0;
	else if (result == 0 && lost)
		wait->events = POLLNVAL;
	else if (result == 0)
		result = wait_there(desk, wait);

	int ended = set_receivers(&parties, -1);

	stt_waker_clear(desk->waker);
	return ended ? ended : result;
}

/* ------------------------------------------------------------ without a thread */

enum {
	CANNOT_PARK = 1
};

/* Lets whoever ends the connection wake this parked call, or with NULL no longer; 0, or what it has
 * ended with. */
STT_APART static int set_waiter(struct sttcp_conn *conn, struct sttcp_conn *waiter)
{
	struct stt_rare *rare = stt_rare_of(conn);

	stt_lock(&conn->output.lock);
	rare->waiter = waiter;
	int result = atomic_load(&conn->ended) ? stt_conn_end_code(conn) : 0;

	stt_unlock(&conn->output.lock);
	return result;
}

/* On the loop of the call's connection, under the lock of its foreign descriptors. */
static void wake_call(void *argument)
{
	stt_conn_ask(argument, STT_WISH_WAKE);
}

/* Looks at the descriptor, if there is one: 0 if nothing has happened there, 1 and the events, or
 * why the system cannot tell. */
STT_APART static int look(struct stt_wait_spec *wait, short wanted)
{
	short events = wanted;
	int result = wait->fd < 0 ? -ETIMEDOUT : stt_socket_wait(wait->fd, &events, -1, 0);

	wait->events = 0;
	if (result == 0)
		wait->events = events;
	return result == 0 ? 1 : result == -ETIMEDOUT ? 0 : result;
}

/* Parks once, until something may have happened; false if that is not possible. */
static bool park_once(struct stt_strand *strand, const struct stt_wait_spec *wait, short wanted)
{
	struct sttcp_conn *conn = strand->conn;
	int64_t index = -1;

	if (wait->fd >= 0) {
		index = stt_foreign_add(conn->loop, wait->fd, wanted, wake_call, conn);
		if (index < 0)
			return false;
	}
	bool waited = stt_strand_wait(strand, STT_WISH_CLOSE | STT_WISH_WAKE, wait->until_ms);

	if (index >= 0)
		stt_foreign_remove(conn->loop, wait->fd, index);
	return waited;
}

static int park_there(struct stt_strand *strand, struct stt_wait_spec *wait)
{
	short wanted = wait->events;

	/* Only now: who makes it true wakes the waiter that it finds. */
	if (wait->is_over && wait->is_over(wait->conn)) {
		wait->events = 0;
		return 0;
	}

	int found = look(wait, wanted);

	if (found)
		return found < 0 ? found : 0;
	if (wait->until_ms != STT_NEVER && stt_now_ms() >= wait->until_ms)
		return -ETIMEDOUT;
	if (!park_once(strand, wait, wanted)) {
		wait->events = wanted;
		return CANNOT_PARK;
	}
	found = look(wait, wanted);
	if (found < 0)
		return found;
	return !found && wait->until_ms != STT_NEVER && stt_now_ms() >= wait->until_ms ? -ETIMEDOUT
										       : 0;
}

/* A call that has a stack of its own waits: as stt_wait, or CANNOT_PARK. */
static int park(struct stt_strand *strand, struct stt_wait_spec *wait)
{
	struct sttcp_conn *running = strand->conn;
	int result = wait->conn ? set_waiter(wait->conn, running) : 0;
	int ended = 0;

	if (result == 0 && !stt_conn_is_forced(running))
		result = park_there(strand, wait);
	if (wait->conn)
		ended = set_waiter(wait->conn, NULL);
	if (stt_conn_is_forced(running))
		ended = stt_conn_end_code(running);
	return ended ? ended : result;
}

STT_APART int stt_wait(struct stt_desk *desk, struct stt_wait_spec *wait)
{
	struct stt_strand *strand = stt_strand_here();

	if (strand && wait->conn != strand->conn) {
		int result = park(strand, wait);

		if (result != CANNOT_PARK)
			return result;
	}
	return block(desk, wait);
}

/* ------------------------------------------------------------- for the own peer */

/* Whether what was waited for is there. */
static bool is_ready(struct sttcp_conn *conn, short events)
{
	if (!events)
		return stt_stream_has_news(conn);
	return stt_socket_wait(stt_stream_fd(conn), &events, -1, 0) == 0;
}

/* Others want the thread, and the peer has said nothing. */
static int give_way(struct stt_desk *desk, struct sttcp_conn *conn)
{
	struct stt_pool *pool = &desk->worker.engine->pool;

	desk->worker.way = STT_WAY_TO_GIVE;
	if (stt_pool_is_denied(pool))
		stt_conn_end_with(conn, STTCP_ELIMIT, STT_END_FLUSH,
				  "others waited for a thread, no further one could be created");
	else
		stt_conn_end_with(conn, STTCP_ELIMIT, STT_END_FLUSH,
				  "others waited for a thread, max_threads was reached (%d)",
				  pool->max_threads);
	return stt_conn_end_code(conn);
}

/* The call is to be woken when the socket takes bytes again. True if it is to wait for that: the
 * flag first, then one more look, since no second event comes. */
STT_APART static bool expect_events(struct sttcp_conn *conn, short events)
{
	stt_lock(&conn->output.lock);
	conn->output.receiver = STT_RECEIVER_PARKED;
	/* As where output meets a full socket: its peer has the write timeout from now on. */
	if (!atomic_load(&conn->output.pending))
		conn->output.moved_ms = stt_now_ms();
	atomic_store(&conn->output.pending, true);
	stt_unlock(&conn->output.lock);
	return stt_socket_wait(stt_stream_fd(conn), &events, -1, 0) == -ETIMEDOUT;
}

STT_APART static void expect_no_events(struct sttcp_conn *conn)
{
	stt_lock(&conn->output.lock);
	conn->output.receiver = -1;
	stt_unlock(&conn->output.lock);
}

/* There is input, but others come first. */
static int let_others_go(struct stt_strand *strand, int64_t until_ms)
{
	if (stt_now_ms() > until_ms)
		return -ETIMEDOUT;
	stt_strand_yield(strand);
	return 0;
}

/* As stt_wait_for_stream, or CANNOT_PARK. */
STT_APART static int park_for_stream(struct stt_strand *strand, short events, int64_t until_ms)
{
	struct sttcp_conn *conn = strand->conn;
	const unsigned wakes = STT_WISH_READ | STT_WISH_CLOSE | STT_WISH_WAKE;
	bool outward = events & POLLOUT;
	bool waits = true;
	bool parked = true;

	if (stt_conn_has_ended(conn))
		return stt_conn_end_code(conn);
	if (conn->secure && !events && stt_secure_has_input(conn))
		return let_others_go(strand, until_ms);
	if (strand->only_looks)
		return -ETIMEDOUT;
	strand->came = 0;
	if (outward)
		waits = expect_events(conn, events);
	if (waits)
		parked = stt_strand_wait(strand, wakes, until_ms);
	if (outward)
		expect_no_events(conn);
	if (!parked)
		return CANNOT_PARK;
	if (stt_conn_has_ended(conn))
		return stt_conn_end_code(conn);
	if (!waits || (strand->came & wakes))
		return 0;
	return stt_now_ms() >= until_ms ? -ETIMEDOUT : 0;
}

/* What may wait for this connection without a thread: a handler of it that has a stack. */
static struct stt_strand *strand_of(const struct sttcp_conn *conn)
{
	struct stt_strand *strand = stt_strand_here();

	return strand && strand->conn == conn ? strand : NULL;
}

/* ------------------------------------------------------------------------------ */

static int block_for_stream(struct stt_desk *desk, struct sttcp_conn *conn, short events,
			    int64_t until_ms)
{
	struct stt_wait_spec wait = {
		.conn = conn,
		.fd = stt_stream_fd(conn),
		.events = events ? events : POLLIN | POLLRDHUP,
		.until_ms = until_ms,
		.is_of_peer = stt_desk_conn() == conn,
	};

	/* What TLS has decrypted raises no event. */
	if (!events && conn->secure && stt_secure_has_input(conn))
		return until_ms != STT_NEVER && stt_now_ms() > until_ms ? -ETIMEDOUT : 0;

	int result = stt_wait(desk, &wait);

	return result == 0 && wait.in_the_way && !is_ready(conn, events) ? give_way(desk, conn)
									 : result;
}

int stt_wait_for_stream(struct stt_desk *desk, struct sttcp_conn *conn, short events,
			int64_t until_ms)
{
	struct stt_strand *strand = strand_of(conn);

	if (strand) {
		int result = park_for_stream(strand, events, until_ms);

		if (result != CANNOT_PARK)
			return result;
		desk = strand->desk;
		stt_output_flush(conn);
	}
	return block_for_stream(desk, conn, events, until_ms);
}

void stt_wait_wake_locked(struct stt_output *out)
{
	struct sttcp_conn *conn = stt_output_conn(out);

	if (out->receiver >= 0)
		stt_waker_wake(out->receiver);
	if (!conn->service->dialled)
		return;

	struct stt_rare *rare = stt_rare_of(conn);

	if (rare->reader >= 0)
		stt_waker_wake(rare->reader);
	if (rare->waiter)
		stt_conn_ask(rare->waiter, STT_WISH_WAKE);
}

void stt_wait_wake(struct sttcp_conn *conn)
{
	stt_lock(&conn->output.lock);
	stt_wait_wake_locked(&conn->output);
	stt_unlock(&conn->output.lock);
}

/* ------------------------------------------------------------- sleep and poll */

/* What the handler has sent does not wait with it. */
static struct stt_desk *begin(void)
{
	struct sttcp_conn *running = stt_desk_conn();

	if (running)
		stt_output_flush(running);
	return stt_self ? stt_desk_self() : NULL;
}

int stt_wait_sleep(int ms)
{
	struct stt_wait_spec wait = {.fd = -1, .until_ms = stt_deadline_ms(ms)};
	struct stt_desk *desk = begin();
	int result;

	do
		result = stt_wait(desk, &wait);
	while (result == 0);
	return result == -ETIMEDOUT ? 0 : result;
}

int stt_wait_poll(int fd, short events, int timeout_ms)
{
	struct stt_wait_spec wait = {.fd = fd, .until_ms = stt_deadline_ms(timeout_ms)};
	struct stt_desk *desk = begin();
	int result;

	do {
		wait.events = events;
		result = stt_wait(desk, &wait);
	} while (result == 0 && !wait.events);
	return result < 0 ? result : (unsigned short)wait.events;
}
