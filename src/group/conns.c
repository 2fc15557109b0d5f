/* SPDX-License-Identifier: MIT */
/* The life of a connection as its group sees it: admitted, joined, left, ended, closed. */
#include "group/conns.h"

#include "base/clock.h"
#include "conn/conn.h"
#include "conn/ending.h"
#include "group/admission.h"
#include "group/attempt.h"
#include "group/reconnect.h"
#include "group/rooms.h"
#include "group/roster.h"

static struct stt_group *group_of(struct stt_service *service)
{
	return stt_container_of(service, struct stt_group, service);
}

static void admit_locked(struct stt_group *group, struct sttcp_conn *conn) STT_REQUIRES(group->lock)
{
	conn->run = group->runs;
	group->live++;
	group->open++;
	group->totals.total++;
	stt_roster_add(stt_roster_of(group, conn), conn);
}

/* The attempt has its reference before anybody can find the connection: a stop that is on its way
 * through the roster ends whom it finds there, without the group's lock. And it begins when the
 * connection can be found: its handlers may look for it. A stop that came before has looked for it
 * in vain, and its loop may work on it at once: so it begins as one that is closed. */
void stt_conns_begin_attempt_locked(struct stt_group *group, struct sttcp_conn *conn)
{
	struct stt_attempt *attempt = stt_attempt_take(conn);

	admit_locked(group, conn);
	if (group->state == STT_RUNNING)
		stt_attempt_begin(attempt);
	else
		stt_attempt_begin_closed(attempt);
}

/* Under the lock, which nothing here waits under: so no stop can come in between. */
void stt_conns_retry_if_due_locked(struct stt_group *group, struct stt_reconnect_news *news)
{
	if (group->retry_at_ms == STT_NEVER)
		return;
	if (group->retry_at_ms > stt_now_ms()) {
		stt_group_arm_locked(group, group->retry_at_ms);
		return;
	}

	struct sttcp_conn *next = stt_attempt_new(group, true);

	if (next) {
		stt_reconnect_forget_locked(group);
		stt_conns_begin_attempt_locked(group, next);
	} else {
		/* Out of memory: no attempt, and so no try and no handler. */
		stt_reconnect_plan_locked(group, news);
	}
}

enum stt_place stt_group_admit(struct stt_group *group, struct sttcp_conn *conn)
{
	stt_lock(&group->lock);
	enum stt_place place = stt_admission_enter_locked(group, conn);

	if (place == STT_PLACE_FREE)
		admit_locked(group, conn);
	stt_unlock(&group->lock);
	return place;
}

/* Its byte counts are added to the totals once they can no longer change. */
static void add_totals_locked(struct stt_group *group, const struct sttcp_conn *conn)
	STT_REQUIRES(group->lock)
{
	sttcp_stats *totals = &group->totals;

	totals->bytes_in += stt_counter_get(&conn->bytes_in);
	totals->messages_in += stt_counter_get(&conn->messages_in);
	totals->bytes_out += stt_counter_get(&conn->output.bytes_out);
	totals->messages_out += stt_counter_get(&conn->output.messages_out);
}

/* The attempt of a start inside the last handler. If one was due anyway it is that one, and counts;
 * else it is a first one. */
static void begin_next_locked(struct stt_group *group, struct sttcp_conn *next, bool was_due)
	STT_REQUIRES(group->lock)
{
	if (was_due)
		stt_backoff_wait(&group->backoff);
	else
		stt_backoff_begin(&group->backoff);
	stt_conns_begin_attempt_locked(group, next);
	group->forced_of++;
}

static void note_ended(struct stt_service *service, struct sttcp_conn *conn)
{
	struct stt_group *group = group_of(service);
	struct stt_reconnect_news news = {.what = STT_NO_NEWS};
	bool lost = service->settings.reconnect_ms >= 0 && !stt_conn_end_is_wanted(conn);

	stt_lock(&group->lock);
	struct sttcp_conn *next = group->next;
	bool stopped = group->state != STT_RUNNING;
	bool goes_on = lost && stt_reconnect_follows_locked(group, conn, &news);

	bool opened = atomic_load(&conn->opened);

	group->totals.declined += conn->declined && opened;
	group->totals.tls_failed += conn->unshaken || conn->misshaken;
	group->totals.failed += (!conn->declined || (!opened && !conn->unshaken)) &&
				atomic_load(&conn->reason) != 0;
	group->live--;
	/* A client that would have gone on has ended because it was closed. */
	group->end_reason = goes_on && stopped ? STTCP_EDESTROYED : atomic_load(&conn->reason);
	if (group->state == STT_STOPPING)
		group->report.ended++;
	group->next = NULL;
	/* Then it is not the number of its tries that ends it. */
	if (next || stopped)
		news.what = STT_NO_NEWS;
	if (next)
		begin_next_locked(group, next, goes_on);
	else if (goes_on && !stopped)
		stt_reconnect_plan_locked(group, &news);
	stt_group_check_locked(group);
	stt_group_unlock(group);
	stt_reconnect_tell(group, &news);
}

static void note_closed(struct stt_service *service, struct sttcp_conn *conn)
{
	struct stt_group *group = group_of(service);

	stt_lock(&group->lock);
	stt_roster_remove(stt_roster_of(group, conn), conn);
	add_totals_locked(group, conn);
	/* A connection that a forced stop has left behind does not count for a later run. */
	if (conn->run == group->runs)
		group->open--;
	stt_admission_leave_locked(group, conn);
	stt_group_check_locked(group);
	stt_group_unlock(group);
}

/* Wakes those who wait for a client's connection. One that has ended by now is not open. */
static void note_open(struct stt_group *group, struct sttcp_conn *conn)
{
	if (stt_conn_has_ended(conn))
		return;
	stt_lock(&group->lock);
	group->current = conn;
	group->opens++;
	stt_cond_wake_all(&group->changed);
	stt_unlock(&group->lock);
}

static void note_joined(struct stt_service *service, struct sttcp_conn *conn)
{
	struct stt_group *group = group_of(service);

	/* First: whoever finds it as a member finds it in the rooms that its handler has joined. */
	if (group->rooms)
		stt_rooms_admit(group->rooms, conn);
	stt_roster_join(stt_roster_of(group, conn), conn);
	if (service->is_client)
		note_open(group, conn);
}

static void note_left(struct stt_service *service, struct sttcp_conn *conn)
{
	struct stt_group *group = group_of(service);

	if (group->rooms)
		stt_rooms_leave_all(group->rooms, conn);
	stt_roster_leave(stt_roster_of(group, conn), conn);
	if (!service->is_client)
		return;
	stt_lock(&group->lock);
	group->current = NULL;
	group->left_ms = stt_now_ms();
	stt_unlock(&group->lock);
}

const struct stt_service_calls stt_conns_calls = {
	.joined = note_joined,
	.left = note_left,
	.ended = note_ended,
	.closed = note_closed,
	.free = stt_group_destroy,
};
