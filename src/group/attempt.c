/* SPDX-License-Identifier: MIT */
/*
 * Until it has a descriptor a connection has the attempt's table of actor calls
 * instead of its own: there is nothing to serve yet, and its end is that of the
 * attempt. It is also how an attempt is found.
 *
 * Only the loop touches an attempt once it has begun. Together with its sockets
 * it outlives its end for a moment, until the loop finds it on the ready list,
 * when no event and no alarm can name it any more.
 */
#include "group/attempt.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "conn/conn.h"
#include "conn/ending.h"
#include "conn/life.h"
#include "conn/serve.h"
#include "conn/serve_dialled.h"
#include "engine/engine.h"
#include "engine/lookup.h"
#include "group/group.h"
#include "net/poller.h"
#include "net/socket.h"

enum {
	/* RFC 8305, 5: Connection Attempt Delay. */
	NEXT_ADDRESS_MS = 250,
	/* Between two tries at a Unix socket whose queue is full; the first, and the longest. */
	FIRST_WAIT_MS = 2,
	LONGEST_WAIT_MS = 100
};

/* One socket of the race. */
struct racer {
	struct stt_actor actor;
	struct stt_attempt *attempt;
	const struct stt_addr *addr;
	int fd;
};

struct stt_attempt {
	struct stt_actor actor;
	struct stt_alarm alarm;
	struct sttcp_conn *conn;	 /* a reference; NULL once the attempt is over */
	struct stt_actor_ops lent;	 /* the connection's meanwhile */
	const struct stt_actor_ops *own; /* and its own */
	struct stt_loop *loop;
	struct stt_lookup *lookup;     /* NULL for a literal, and once it has answered */
	struct stt_lookup *end_lookup; /* the same, of this end's name, which comes first */
	struct stt_addr *ends;	       /* this end may be one of them; NULL: anything */
	int nends;
	bool closed; /* before it began */
	bool begun;
	int64_t limit_ms; /* points in time */
	int64_t next_ms;
	int wait_ms; /* the last wait for a Unix socket's queue */
	struct stt_addr literal;
	struct stt_addr place;	/* the same, whatever the working directory is by now */
	struct stt_addr *addrs; /* from the resolver, or NULL */
	int naddrs;
	int next;
	struct racer *racers; /* as many as addresses */
	int nracing;
	int error;
};

static int64_t ring_attempt(struct stt_worker *worker, struct stt_alarm *alarm);
static void work_attempt(struct stt_worker *worker, struct stt_actor *actor);
static void take_ends(void *asker, int result, struct stt_addr *ends, const char *why);
static void take_answer(void *asker, int result, struct stt_addr *addrs, const char *why);
static void race_event(struct stt_worker *worker, struct stt_actor *actor, uint32_t events);
static void cancel_attempt(struct stt_worker *worker, struct stt_actor *actor);

static const struct stt_actor_ops attempt_ops = {.on_ready = work_attempt};
static const struct stt_actor_ops racer_ops = {.on_event = race_event};

static struct stt_attempt *attempt_of(const struct sttcp_conn *conn)
{
	return stt_container_of(conn->actor.ops, struct stt_attempt, lent);
}

static void free_attempt(struct stt_attempt *attempt)
{
	free(attempt->addrs);
	free(attempt->ends);
	free(attempt->racers);
	free(attempt);
}

/* Prepares the choice of this end: 0 or -ENOMEM. */
static int prepare_ends(struct stt_attempt *attempt, const struct stt_settings *settings)
{
	const char *host = settings->local_host;
	const char *why;
	struct stt_addr literal;

	if (!host && !settings->local_port)
		return 0;
	if (host && stt_addr_literal(&literal, host, 0) < 0) {
		attempt->end_lookup = stt_lookup_new(attempt->loop, host, settings->local_port,
						     take_ends, attempt);
		return attempt->end_lookup ? 0 : -ENOMEM;
	}
	/* A literal, or the wildcard of both families. */
	attempt->nends = stt_addr_resolve(host, settings->local_port, STT_ADDR_TO_LISTEN,
					  &attempt->ends, &why);
	return attempt->nends < 0 ? attempt->nends : 0;
}

struct sttcp_conn *stt_attempt_new(struct stt_group *group, bool again)
{
	struct stt_loop *loop = stt_engine_pick_loop(group->engine);
	struct sttcp_conn *conn = group->service.dialled
					  ? stt_serve_new_dialled(&group->service, loop)
					  : stt_serve_new(&group->service, loop, -1, NULL);
	struct stt_attempt *attempt = calloc(1, sizeof(*attempt));

	if (!conn || !attempt)
		goto free_both;
	attempt->actor.ops = &attempt_ops;
	stt_alarm_init(&attempt->alarm, ring_attempt);
	attempt->loop = loop;
	attempt->limit_ms = STT_NEVER;
	attempt->next_ms = STT_NEVER;

	if (prepare_ends(attempt, &group->service.settings) < 0)
		goto free_both;

	int result = stt_addr_literal(&attempt->literal, group->service.host, group->service.port);

	if (result == 0) {
		/* Whatever it is, an address is what it says now: its interface may have come anew.
		 */
		attempt->place = attempt->literal;
		if (!again)
			stt_addr_make_absolute(&attempt->place);
		else if (attempt->literal.sa.sa_family == AF_UNIX)
			attempt->place = group->place;
		attempt->naddrs = 1;
		attempt->racers = calloc(1, sizeof(*attempt->racers));
		if (!attempt->racers)
			goto free_both;
	} else {
		attempt->lookup = stt_lookup_new(loop, group->service.host, group->service.port,
						 take_answer, attempt);
		if (!attempt->lookup)
			goto free_both;
	}
	attempt->conn = conn;
	attempt->own = conn->actor.ops;
	attempt->lent.on_ready = cancel_attempt;
	conn->actor.ops = &attempt->lent;
	return conn;

free_both:
	if (attempt) {
		stt_lookup_drop(attempt->end_lookup);
		free_attempt(attempt);
	}
	if (conn)
		stt_conn_discard(conn);
	return NULL;
}

void stt_attempt_discard(struct sttcp_conn *conn)
{
	struct stt_attempt *attempt = attempt_of(conn);

	stt_lookup_drop(attempt->lookup);
	stt_lookup_drop(attempt->end_lookup);
	conn->actor.ops = attempt->own;
	free_attempt(attempt);
	stt_conn_discard(conn);
}

struct stt_attempt *stt_attempt_take(struct sttcp_conn *conn)
{
	struct stt_attempt *attempt = attempt_of(conn);

	stt_conn_ref(conn);
	/* That of one which a start has made in vain does not count. */
	stt_group_of(conn)->place = attempt->place;
	return attempt;
}

void stt_attempt_begin(struct stt_attempt *attempt)
{
	stt_loop_push(attempt->loop, &attempt->actor);
}

void stt_attempt_begin_closed(struct stt_attempt *attempt)
{
	attempt->closed = true;
	stt_attempt_begin(attempt);
}

/* Leaves the race, and is freed when the loop finds it on the ready list. */
static void end_attempt(struct stt_attempt *attempt)
{
	struct sttcp_conn *conn = attempt->conn;

	for (int i = 0; i < attempt->next; i++) {
		if (attempt->racers[i].fd < 0)
			continue;
		stt_poller_remove(attempt->loop->poller, attempt->racers[i].fd);
		stt_socket_end(attempt->racers[i].fd);
		attempt->racers[i].fd = -1;
	}
	stt_lookup_drop(attempt->lookup);
	attempt->lookup = NULL;
	stt_lookup_drop(attempt->end_lookup);
	attempt->end_lookup = NULL;
	attempt->conn = NULL;
	conn->actor.ops = attempt->own;
	/* One that has not begun is on its way to the list already. */
	if (attempt->begun)
		stt_loop_push(attempt->loop, &attempt->actor);
	/* Never the last one: the loop has its own. */
	stt_conn_unref(conn);
}

/* The connection has ended. */
static void cancel_attempt(struct stt_worker *worker, struct stt_actor *actor)
{
	struct sttcp_conn *conn = stt_container_of(actor, struct sttcp_conn, actor);

	end_attempt(attempt_of(conn));
	conn->phase = STT_FAILED;
	actor->ops->on_ready(worker, actor);
}

/* The connection's end takes it to the ready list, and from there to cancel_attempt. */
static void fail_attempt(struct stt_attempt *attempt, int code, const char *why)
{
	const struct stt_service *service = attempt->conn->service;
	char end[STT_ADDR_TEXT * 3];

	if (!service->settings.local_host && !service->settings.local_port) {
		stt_conn_end_with(attempt->conn, code, STT_END_FLUSH, "cannot connect to %s: %s",
				  service->given, why);
		return;
	}
	if (service->settings.local_port)
		stt_addr_given(service->settings.local_host, service->settings.local_port, end,
			       sizeof(end));
	else
		snprintf(end, sizeof(end), "%s", service->settings.local_host);
	stt_conn_end_with(attempt->conn, code, STT_END_FLUSH, "cannot connect to %s from %s: %s",
			  service->given, end, why);
}

static void time_out(struct stt_attempt *attempt)
{
	const struct stt_group *group = stt_group_of(attempt->conn);
	int limit_ms = group->service.settings.connect_timeout_ms;

	stt_conn_end_with(attempt->conn, STTCP_ETIME_CONNECT, STT_END_FLUSH,
			  "cannot connect to %s: no answer for %d ms, connect_timeout_ms is %d",
			  group->service.given, limit_ms, limit_ms);
}

/* The connection has its descriptor, and its first owner. */
static void win(struct stt_attempt *attempt, int fd, const struct stt_addr *addr)
{
	struct sttcp_conn *conn = attempt->conn;
	struct stt_loop *loop = attempt->loop;

	if (!stt_conn_wish(conn, STT_WISH_OPEN)) {
		/* Closed at this very moment: its end is on the ready list. */
		stt_socket_end(fd);
		return;
	}
	end_attempt(attempt);
	if (addr->sa.sa_family != AF_UNIX)
		(void)stt_socket_set_dead_peer(fd, conn->service->settings.dead_peer_timeout_ms);
	stt_conn_set_peer(conn, addr);
	stt_lock(&conn->output.lock);
	atomic_store(&conn->fd, fd);
	/* An end that has come since had no descriptor for its FIN. */
	unsigned what = (conn->output.detours & STT_DETOUR_FIN)
				? stt_output_flush_locked(&conn->output)
				: 0;

	stt_unlock(&conn->output.lock);
	stt_conn_connected(conn);
	stt_output_tell(conn, what);

	int result = stt_poller_add(loop->poller, fd, STT_POLL_STREAM, &conn->actor);

	if (result < 0)
		stt_conn_end(conn, result, STT_END_RESET);
	/* Its local address, which most programs ask for, and which is unknown once the socket is
	 * closed. */
	stt_conn_local(conn);
	stt_loop_push(loop, &conn->actor);
}

/* An error that says more than that an address family or a network is missing wins. */
static void note_error(struct stt_attempt *attempt, int code)
{
	bool dull = code == -ENETUNREACH || code == -EHOSTUNREACH || code == -EADDRNOTAVAIL ||
		    code == -EAFNOSUPPORT;

	if (!attempt->error || !dull)
		attempt->error = code == -ETIMEDOUT ? STTCP_ETIME_CONNECT : code;
}

/* The outcome of a connect that has completed. A socket that is connected to itself has found no
 * server. It is reset, so that its port is free at once for a server that returns. */
static int outcome_of(int fd, const struct stt_addr *addr, int result)
{
	if (result < 0 || !stt_socket_is_looped(fd, addr))
		return result;
	stt_socket_reset(fd);
	return -ECONNREFUSED;
}

/* When the attempt has to be looked at next. */
static int64_t next_look(const struct stt_attempt *attempt)
{
	bool more = attempt->next < attempt->naddrs;

	return more && attempt->next_ms < attempt->limit_ms ? attempt->next_ms : attempt->limit_ms;
}

static void set_alarm(struct stt_attempt *attempt)
{
	int64_t at = next_look(attempt);

	if (at != STT_NEVER)
		stt_alarm_set(attempt->loop, &attempt->alarm, at);
}

/* TCP waits for room in the listener's queue. A Unix socket returns EAGAIN at once, and no event
 * reports room (connect(2)), so the connect is repeated until the timeout. */
static void wait_for_queue(struct stt_attempt *attempt)
{
	int longer = attempt->wait_ms ? attempt->wait_ms * 2 : FIRST_WAIT_MS;

	attempt->wait_ms = longer < LONGEST_WAIT_MS ? longer : LONGEST_WAIT_MS;
	attempt->next_ms = stt_now_ms() + attempt->wait_ms;
	attempt->next--;
}

/* Begins to connect, from this end if it was chosen. One that has no address of that family is as
 * one that this machine does not have. */
static int connect_racer(const struct stt_attempt *attempt, struct racer *racer,
			 const struct stt_addr *addr)
{
	bool nagle = attempt->conn->service->settings.nagle;
	struct stt_addr end;

	if (!attempt->ends)
		return stt_socket_connect(&racer->fd, addr, NULL, nagle);
	racer->fd = -1;
	if (!stt_addr_choose_end(&end, attempt->ends, attempt->nends, addr))
		return -EADDRNOTAVAIL;
	return stt_socket_connect(&racer->fd, addr, &end, nagle);
}

/* Sends the next address into the race. */
static void race_next(struct stt_attempt *attempt)
{
	const struct stt_addr *addrs = attempt->addrs ? attempt->addrs : &attempt->place;

	while (attempt->next < attempt->naddrs) {
		const struct stt_addr *addr = &addrs[attempt->next];
		struct racer *racer = &attempt->racers[attempt->next++];
		int result = connect_racer(attempt, racer, addr);

		if (result == -EAGAIN && addr->sa.sa_family == AF_UNIX) {
			wait_for_queue(attempt);
			return;
		}
		if (result == 0) {
			int fd = racer->fd;

			racer->fd = -1;
			result = outcome_of(fd, addr, 0);
			if (result == 0) {
				win(attempt, fd, addr);
				return;
			}
			stt_socket_close(fd);
		} else if (result == -EINPROGRESS) {
			*racer = (struct racer){.actor.ops = &racer_ops,
						.attempt = attempt,
						.addr = addr,
						.fd = racer->fd};
			/* Only now: before connect was called, epoll reports a hang-up. */
			result = stt_poller_add(attempt->loop->poller, racer->fd, STT_POLL_STREAM,
						&racer->actor);
			if (result == 0) {
				attempt->nracing++;
				attempt->next_ms = stt_now_ms() + NEXT_ADDRESS_MS;
				return;
			}
			stt_socket_end(racer->fd);
		}
		racer->fd = -1;
		note_error(attempt, result);
	}
	if (!attempt->nracing)
		fail_attempt(attempt, attempt->error, sttcp_strerror(attempt->error));
}

static void race_event(struct stt_worker *worker, struct stt_actor *actor, uint32_t events)
{
	struct racer *racer = stt_container_of(actor, struct racer, actor);
	struct stt_attempt *attempt = racer->attempt;

	(void)worker;
	if (racer->fd < 0 || !(events & (EPOLLOUT | STT_POLL_HANGUP)))
		return;

	int fd = racer->fd;
	int result = outcome_of(fd, racer->addr, stt_socket_error(fd));

	stt_poller_remove(attempt->loop->poller, fd);
	racer->fd = -1;
	attempt->nracing--;
	if (result == 0) {
		win(attempt, fd, racer->addr);
		return;
	}
	stt_socket_close(fd);
	note_error(attempt, result);
	race_next(attempt);
	if (attempt->conn)
		set_alarm(attempt);
}

static int64_t ring_attempt(struct stt_worker *worker, struct stt_alarm *alarm)
{
	struct stt_attempt *attempt = stt_container_of(alarm, struct stt_attempt, alarm);
	int64_t now = stt_loop_time(attempt->loop);

	(void)worker;
	if (!attempt->conn)
		return STT_NEVER;
	if (now >= attempt->limit_ms) {
		attempt->limit_ms = STT_NEVER;
		time_out(attempt);
		return STT_NEVER;
	}
	if (now >= attempt->next_ms && attempt->next < attempt->naddrs)
		race_next(attempt);
	return attempt->conn ? next_look(attempt) : STT_NEVER;
}

/* This end is known: to the peer's address. */
static void find_peer(struct stt_attempt *attempt)
{
	if (attempt->lookup) {
		stt_lookup_ask(attempt->lookup);
	} else {
		stt_conn_set_peer(attempt->conn, &attempt->literal);
		race_next(attempt);
	}
}

/* The beginning of an attempt, or its end. */
static void work_attempt(struct stt_worker *worker, struct stt_actor *actor)
{
	struct stt_attempt *attempt = stt_container_of(actor, struct stt_attempt, actor);

	(void)worker;
	if (!attempt->conn) {
		stt_alarm_cancel(attempt->loop, &attempt->alarm);
		free_attempt(attempt);
		return;
	}
	attempt->begun = true;
	if (attempt->closed) {
		stt_conn_end(attempt->conn, STTCP_EDESTROYED, STT_END_FLUSH);
		return;
	}
	attempt->limit_ms = stt_deadline_ms(attempt->conn->service->settings.connect_timeout_ms);
	if (attempt->end_lookup)
		stt_lookup_ask(attempt->end_lookup);
	else
		find_peer(attempt);
	if (attempt->conn)
		set_alarm(attempt);
}

static void take_ends(void *asker, int result, struct stt_addr *ends, const char *why)
{
	struct stt_attempt *attempt = asker;

	attempt->end_lookup = NULL;
	attempt->ends = ends;
	attempt->nends = result;
	if (result <= 0) {
		fail_attempt(attempt, result,
			     result == STTCP_ERESOLVE ? why : sttcp_strerror(result));
		return;
	}
	find_peer(attempt);
	if (attempt->conn)
		set_alarm(attempt);
}

static void take_answer(void *asker, int result, struct stt_addr *addrs, const char *why)
{
	struct stt_attempt *attempt = asker;

	attempt->lookup = NULL;
	attempt->addrs = addrs;
	if (result > 0) {
		attempt->racers = calloc((size_t)result, sizeof(*attempt->racers));
		if (!attempt->racers)
			result = -ENOMEM;
	}
	if (result <= 0) {
		fail_attempt(attempt, result,
			     result == STTCP_ERESOLVE ? why : sttcp_strerror(result));
		return;
	}
	attempt->naddrs = result;
	stt_conn_set_peer(attempt->conn, &attempt->addrs[0]);
	race_next(attempt);
	if (attempt->conn)
		set_alarm(attempt);
}
