/* SPDX-License-Identifier: MIT */
/*
 * The thread waits in poll(2) for a descriptor and for an eventfd. The number of
 * the eventfd stands in `output.receiver` of the connections that may end the
 * wait, and whoever ends one writes to it: shutting a socket down for sending does
 * not wake a poll for input. In a handler the loop is taken over meanwhile, as
 * with any handler that blocks.
 */
#include "conn/wait.h"

#include <errno.h>
#include <poll.h>

#include "base/clock.h"
#include "conn/conn.h"
#include "conn/desk.h"
#include "conn/ending.h"
#include "conn/output.h"
#include "conn/stream.h"
#include "conn/watch.h"
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

	stt_lock(&out->lock);
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

int stt_wait(struct stt_desk *desk, struct stt_wait_spec *wait)
{
	struct parties parties = parties_of(wait);

	if (!parties.conn && !parties.running)
		return stt_socket_wait(wait->fd, &wait->events, -1, wait->until_ms);

	int result = make_waker(desk);

	if (result < 0)
		return result;
	result = set_receivers(&parties, desk->waker);
	/* Only now: who makes it true wakes the receiver that it finds. */
	if (result == 0 && wait->is_over && wait->is_over(wait->conn))
		wait->events = 0;
	else if (result == 0)
		result = wait_there(desk, wait);

	int ended = set_receivers(&parties, -1);

	stt_waker_clear(desk->waker);
	return ended ? ended : result;
}

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
	desk->worker.way = STT_WAY_TO_GIVE;
	stt_conn_end_with(conn, STTCP_ELIMIT, STT_END_FLUSH,
			  "others waited for a thread, max_threads was reached (%d)",
			  desk->worker.engine->pool.max_threads);
	return stt_conn_end_code(conn);
}

int stt_wait_for_stream(struct stt_desk *desk, struct sttcp_conn *conn, short events,
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
	return result < 0 ? result : wait.events;
}
