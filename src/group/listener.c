/* SPDX-License-Identifier: MIT */
/* Accepting. Running out of files or memory pauses it, with a back-off that grows, and it resumes
 * by itself; so does any unknown error. An error that concerns only the one connection is skipped
 * (accept(2)), but not without end: a filter of system calls may return any error each time. */
#include "group/listener.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "conn/conn.h"
#include "conn/ending.h"
#include "conn/life.h"
#include "conn/serve.h"
#include "conn/trace.h"
#include "engine/engine.h"
#include "group/admission.h"
#include "group/conns.h"
#include "group/group.h"
#include "net/poller.h"
#include "net/socket.h"

enum {
	/* One visit accepts one connection, and one more for each so many microseconds since the
	 * last one: those who are in have had these. To accept one and to serve its first message
	 * takes 100 of them. All 64 at a time held everybody else up for as long as that takes, and
	 * brought them back together, for what begins together ends together: the p99 of 64 quick
	 * connections beside them was three times that without, and is twice that (`blockchurn` of
	 * the benchmark). One at a time, where each then takes a handshake, costs a tenth of these:
	 * OpenSSL's code pushes that of accepting out of the caches each time (`tls-new-p256`). */
	US_PER_ACCEPT = 500,
	/* But not so many that a quiet time is followed by a crowd. */
	ACCEPTS_AT_FIRST = 8,
	ACCEPTS_PER_TURN = 64,
	FIRST_PAUSE_MS = 5,
	LONGEST_PAUSE_MS = 1000,
	/* Connections running that may be passed over, and how far from each other. */
	MOST_PASSED_OVER = 64,
	RUNNING_US = 1000 * 1000,
	TELL_EVERY_MS = 60 * 1000
};

static void accept_event(struct stt_worker *worker, struct stt_actor *actor, uint32_t events);
static void close_listener(struct stt_worker *worker, struct stt_actor *actor);
static int64_t end_pause(struct stt_worker *worker, struct stt_alarm *alarm);

static const struct stt_actor_ops listener_ops = {.on_event = accept_event,
						  .on_ready = close_listener};

int stt_listener_new(struct stt_listener **made, struct stt_group *group, int fd,
		     const struct stt_addr *addr, bool adopted)
{
	struct stt_listener *listener = calloc(1, sizeof(*listener));

	if (!listener)
		return -ENOMEM;

	int result = adopted ? 0 : stt_socket_file_note(&listener->file, addr);

	if (adopted)
		listener->file.dir = -1;
	if (result < 0) {
		free(listener);
		return result;
	}
	listener->actor.ops = &listener_ops;
	listener->group = stt_group_ref(group);
	listener->loop = stt_engine_pick_loop(group->engine);
	listener->fd = fd;
	listener->adopted = adopted;
	listener->addr = *addr;
	listener->told_ms = -TELL_EVERY_MS;
	listener->left = -1;
	stt_alarm_init(&listener->alarm, end_pause);
	*made = listener;
	return 0;
}

void stt_listener_join(struct stt_listener *listener)
{
	struct stt_group *group = listener->group;

	stt_lock(&group->lock);
	listener->next = group->listeners;
	group->listeners = listener;
	group->nlisteners++;
	stt_unlock(&group->lock);
}

static void free_listener(struct stt_listener *listener)
{
	if (!listener->adopted)
		stt_socket_end(listener->fd);
	stt_group_unref(listener->group);
	free(listener);
}

int stt_listener_add(struct stt_listener *listener)
{
	return stt_poller_add(listener->loop->poller, listener->fd, 0, &listener->actor);
}

void stt_listener_open(struct stt_listener *listener)
{
	stt_poller_change(listener->loop->poller, listener->fd, STT_POLL_LISTENER,
			  &listener->actor);
}

void stt_listener_close(struct stt_listener *listener)
{
	stt_loop_push(listener->loop, &listener->actor);
}

static void trace_accept(const struct stt_listener *listener, struct sttcp_conn *conn)
{
	char address[STT_ADDR_TEXT];

	if (!stt_log_wants(STT_LOG_TRACE))
		return;
	stt_addr_text(&listener->addr, address);
	stt_trace(conn, "accept on %s", address);
}

/* 0, or -ENOMEM or -ENOSPC and the connection is closed. */
static int take_connection(struct stt_listener *listener, int fd, const struct stt_addr *peer)
{
	struct stt_group *group = listener->group;
	struct stt_loop *loop = stt_engine_pick_loop(group->engine);
	struct sttcp_conn *conn = stt_serve_new(&group->service, loop, fd, peer);

	if (!conn) {
		stt_socket_end(fd);
		stt_admission_give_back(group);
		return -ENOMEM;
	}
	/* Before anybody can find it: a forced stop on another loop may end it, and its loop may
	 * bury it, before it is registered here. */
	stt_conn_ref(conn);
	/* Now, because once it is admitted it may open, end and be freed at any time. */
	trace_accept(listener, conn);

	enum stt_place place = stt_group_admit(group, conn);

	if (place != STT_PLACE_FREE) {
		stt_admission_tell_refused(group, place, peer);
		stt_conn_unref(conn);
		stt_conn_discard(conn);
		stt_socket_end(fd);
		return 0;
	}

	/* Under the lock, since it may have been ended by now: only while the descriptor is open is
	 * it this connection's. Its last touch here, if it works. */
	stt_lock(&conn->output.lock);
	int result = 0;

	if (atomic_load(&conn->fd) >= 0)
		result = stt_poller_add(loop->poller, fd, STT_POLL_STREAM, &conn->actor);
	stt_unlock(&conn->output.lock);
	if (result < 0)
		stt_conn_end(conn, result, STT_END_RESET);
	stt_conn_unref_on_loop(conn);
	return result == -ENOMEM || result == -ENOSPC ? result : 0;
}

/* Whether accept's error is about the one connection, which is gone with it, and not about this
 * process or machine: those that accept(2) lists as such, and no other. */
static bool is_of_connection(int code)
{
	switch (-code) {
	case ECONNABORTED:
	case EPROTO:
	case ENOPROTOOPT:
	case EHOSTDOWN:
	case ENONET:
	case EHOSTUNREACH:
	case EOPNOTSUPP:
	case ENETDOWN:
	case ENETUNREACH:
	case EPERM:
	case ETIMEDOUT:
		return true;
	default:
		return false;
	}
}

/* Judges accept's error: 0 if it is passed over. */
static int judge(struct stt_listener *listener, int code)
{
	if (is_of_connection(code) && listener->passed_over < MOST_PASSED_OVER) {
		listener->passed_over++;
		return 0;
	}
	listener->passed_over = 0;
	return code;
}

/* Removes the listener from its poller until its alarm rings. */
static void stand_back(struct stt_listener *listener)
{
	if (!listener->stands_back)
		stt_poller_remove(listener->loop->poller, listener->fd);
	listener->stands_back = true;
}

/* What a connection has from a listener of ours. One that was adopted is left as it is: other
 * processes accept from it, too. */
static void set_options(const struct stt_group *group, int fd, const struct stt_addr *peer)
{
	const struct stt_settings *settings = &group->service.settings;

	if (peer->sa.sa_family == AF_UNIX)
		return;
	(void)stt_socket_set_nagle(fd, settings->nagle);
	(void)stt_socket_set_dead_peer(fd, settings->dead_peer_timeout_ms);
}

/* Accepts one connection that has a place, or one to be rejected; 0, -EAGAIN when there is none, or
 * why it cannot go on. */
static int accept_one(struct stt_listener *listener, enum stt_place place)
{
	struct stt_addr peer;
	int fd = stt_socket_accept(listener->fd, &peer);

	if (fd >= 0)
		listener->passed_over = 0;
	if (fd >= 0 && listener->adopted)
		set_options(listener->group, fd, &peer);
	/* Only now: a place that is reserved for nobody would turn a peer of another listener away.
	 */
	if (fd >= 0 && listener->group->service.settings.rejects) {
		int64_t again_ms;

		place = stt_admission_reserve(listener->group, listener, &again_ms);
	}
	if (fd >= 0 && place == STT_PLACE_FREE) {
		int result = take_connection(listener, fd, &peer);

		if (result == 0)
			listener->pause_ms = 0;
		return result;
	}
	if (fd >= 0) {
		/* In this order: who has seen the end may look at the counters. */
		stt_admission_count_rejected(listener->group, place);
		stt_admission_tell_refused(listener->group, place, &peer);
		stt_socket_end(fd);
		return 0;
	}
	if (place == STT_PLACE_FREE && !listener->group->service.settings.rejects)
		stt_admission_give_back(listener->group);
	return judge(listener, fd);
}

/* Whether what is in the queue is to stay there, for the next start or another process: from the
 * beginning of a stop on, which this loop learns of a moment later. */
static bool leaves_queue(const struct stt_listener *listener)
{
	return listener->adopted && atomic_load(&listener->group->stopping);
}

/* Accepts up to `max` connections: 1 if there may be more, 0, or why it cannot go on. */
static int accept_some(struct stt_listener *listener, int max)
{
	for (int i = 0; i < max && !leaves_queue(listener); i++) {
		int64_t again_ms;
		enum stt_place place = STT_PLACE_FREE;

		if (!listener->group->service.settings.rejects)
			place = stt_admission_reserve(listener->group, listener, &again_ms);
		if (place != STT_PLACE_FREE) {
			stand_back(listener);
			listener->again_ms = again_ms;
			return 0;
		}

		int result = accept_one(listener, place);

		if (result == -EAGAIN)
			return 0;
		if (result < 0)
			return result;
	}
	return 1;
}

static void count_pause(struct stt_group *group)
{
	stt_lock(&group->lock);
	group->totals.accept_pauses++;
	stt_unlock(&group->lock);
}

/* Stops accepting; returns until when. */
static int64_t pause_accepting(struct stt_listener *listener, int code)
{
	int64_t now = stt_now_ms();
	int next = listener->pause_ms * 2;
	char address[STT_ADDR_TEXT];

	listener->pause_ms = !next		       ? FIRST_PAUSE_MS
			     : next < LONGEST_PAUSE_MS ? next
						       : LONGEST_PAUSE_MS;
	stand_back(listener);
	count_pause(listener->group);
	if (now - listener->told_ms < TELL_EVERY_MS)
		return now + listener->pause_ms;
	listener->told_ms = now;
	stt_addr_text(&listener->addr, address);
	stt_log(STT_LOG_WARNING, "%s: accepting pauses: %s", address, sttcp_strerror(code));
	return now + listener->pause_ms;
}

static int64_t end_pause(struct stt_worker *worker, struct stt_alarm *alarm)
{
	struct stt_listener *listener = stt_container_of(alarm, struct stt_listener, alarm);
	int result = 0;

	(void)worker;
	if (listener->stands_back)
		result = stt_poller_add(listener->loop->poller, listener->fd, STT_POLL_LISTENER,
					&listener->actor);
	listener->stands_back = result < 0;
	return result < 0 ? pause_accepting(listener, result) : STT_NEVER;
}

/* How many may come in between the others, after so much time for these. */
static int accepts_after(const struct stt_listener *listener, int64_t us)
{
	int most = listener->has_left ? ACCEPTS_PER_TURN : ACCEPTS_AT_FIRST;
	int64_t count = 1 + us / US_PER_ACCEPT;

	return count < most ? (int)count : most;
}

static void accept_event(struct stt_worker *worker, struct stt_actor *actor, uint32_t events)
{
	struct stt_listener *listener = stt_container_of(actor, struct stt_listener, actor);
	int64_t us = stt_now_us() - listener->visited_us;
	(void)worker;
	(void)events;
	listener->again_ms = STT_NEVER;
	if (us > RUNNING_US)
		listener->passed_over = 0;

	int result = accept_some(listener, accepts_after(listener, us));

	listener->has_left = result > 0;
	listener->visited_us = stt_now_us();
	if (result < 0)
		listener->again_ms = pause_accepting(listener, result);
	if (listener->again_ms != STT_NEVER)
		stt_alarm_set(listener->loop, &listener->alarm, listener->again_ms);
}

/* Peers in the accept queue consider themselves connected, and closing the listener would reset
 * them. A forced stop admits nobody, which closes them as well. A listener that was adopted stays
 * open, and its queue with it. True while there may be more. */
static bool empty_queue(struct stt_listener *listener)
{
	if (listener->adopted)
		return false;
	if (listener->left < 0)
		listener->left = stt_socket_last_call(listener->fd, &listener->addr);

	int max = listener->left < ACCEPTS_PER_TURN ? listener->left : ACCEPTS_PER_TURN;

	listener->left -= max;
	return accept_some(listener, max) > 0 && listener->left > 0;
}

static void remove_file(struct stt_listener *listener)
{
	char address[STT_ADDR_TEXT];
	int result = stt_socket_file_remove(&listener->file);

	if (result == 0)
		return;
	stt_addr_text(&listener->addr, address);
	stt_log(STT_LOG_WARNING, "%s: the socket's file stays: %s", address,
		sttcp_strerror(result));
}

/* It is closed: the last step. The caller has a reference to the group. */
static void forget(struct stt_group *group, struct stt_listener *listener)
{
	remove_file(listener);
	stt_lock(&group->lock);
	struct stt_listener **link = &group->listeners;

	while (*link != listener)
		link = &(*link)->next;
	*link = listener->next;
	/* The port is free before the stop is over. */
	free_listener(listener);
	group->nlisteners--;
	stt_cond_wake_all(&group->changed);
	stt_group_check_locked(group);
	stt_group_unlock(group);
}

/* Goes over the ready list as often as the queue is long, so that everybody else on the loop has a
 * turn. Out of the poller and without an alarm nothing but this works the listener meanwhile. */
static void close_listener(struct stt_worker *worker, struct stt_actor *actor)
{
	struct stt_listener *listener = stt_container_of(actor, struct stt_listener, actor);
	struct stt_group *group = listener->group;

	(void)worker;
	/* Whoever called it just before this waits on the loop's list of alarms: that is worked
	 * first. */
	stt_admission_forget_listener(group, listener);
	if (atomic_load(&listener->alarm.listed)) {
		stt_loop_push(listener->loop, actor);
		return;
	}
	stt_alarm_cancel(listener->loop, &listener->alarm);
	stand_back(listener);
	if (empty_queue(listener)) {
		stt_loop_push(listener->loop, actor);
		return;
	}
	stt_group_ref(group);
	forget(group, listener);
	stt_group_unref(group);
}
