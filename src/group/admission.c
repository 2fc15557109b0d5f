/* SPDX-License-Identifier: MIT */
/* A token bucket for the rate, and a table of the addresses that have connections. */
#include "group/admission.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "engine/loop.h"
#include "group/listener.h"
#include "net/address.h"

enum {
	ONE = 1000 /* token */
};

struct address_count {
	struct stt_link link;
	int count;
};

static void count_over_locked(struct stt_group *group, enum stt_place place)
	STT_REQUIRES(group->lock)
{
	group->totals.over_connections += place == STT_PLACE_OVER_NUMBER;
	group->totals.over_rate += place == STT_PLACE_OVER_RATE;
	group->totals.over_per_ip += place == STT_PLACE_OVER_ADDRESS;
}

/* A place is free: waiting listeners try again. */
static void call_listeners_locked(struct stt_group *group) STT_REQUIRES(group->lock)
{
	for (struct stt_listener *each = group->listeners; each; each = each->next) {
		if (!each->waits || each->closing)
			continue;
		each->waits = false;
		stt_alarm_set(each->loop, &each->alarm, 0);
	}
}

static bool has_places(const struct stt_group *group)
{
	return group->service.settings.max_connections >= 0 ||
	       group->service.settings.accept_rate >= 0;
}

/* Takes a token for one connection: false when there is none before `again_ms`. */
static bool take_token(struct stt_admission *admission, int64_t rate, int64_t *again_ms)
{
	int64_t now = stt_now_ms();
	int64_t full = rate * ONE;

	if (!admission->refilled_ms || now - admission->refilled_ms >= 1000)
		admission->tokens = full;
	else
		admission->tokens += (now - admission->refilled_ms) * rate;
	if (admission->tokens > full)
		admission->tokens = full;
	admission->refilled_ms = now;
	if (admission->tokens < ONE) {
		*again_ms = now + (ONE - admission->tokens + rate - 1) / rate;
		return false;
	}
	admission->tokens -= ONE;
	return true;
}

static enum stt_place reserve_locked(struct stt_group *group, int64_t *again_ms)
	STT_REQUIRES(group->lock)
{
	const struct stt_settings *settings = &group->service.settings;
	struct stt_admission *admission = &group->admission;

	*again_ms = STT_NEVER;
	if (settings->max_connections >= 0 &&
	    group->open + admission->reserved >= settings->max_connections)
		return STT_PLACE_OVER_NUMBER;
	if (settings->accept_rate >= 0 && !take_token(admission, settings->accept_rate, again_ms))
		return STT_PLACE_OVER_RATE;
	admission->reserved++;
	return STT_PLACE_FREE;
}

enum stt_place stt_admission_reserve(struct stt_group *group, struct stt_listener *listener,
				     int64_t *again_ms)
{
	if (!has_places(group))
		return STT_PLACE_FREE;

	stt_lock(&group->lock);
	enum stt_place place = reserve_locked(group, again_ms);

	if (!group->service.settings.rejects) {
		count_over_locked(group, place);
		listener->waits = place == STT_PLACE_OVER_NUMBER;
	}
	stt_unlock(&group->lock);
	return place;
}

void stt_admission_give_back(struct stt_group *group)
{
	if (!has_places(group))
		return;
	stt_lock(&group->lock);
	group->admission.reserved--;
	group->admission.tokens += ONE;
	/* Another listener may have found all places taken, including this one. */
	call_listeners_locked(group);
	stt_unlock(&group->lock);
}

void stt_admission_count_rejected(struct stt_group *group, enum stt_place place)
{
	stt_lock(&group->lock);
	count_over_locked(group, place);
	stt_unlock(&group->lock);
}

void stt_admission_forget_listener(struct stt_group *group, struct stt_listener *listener)
{
	stt_lock(&group->lock);
	listener->closing = true;
	stt_unlock(&group->lock);
}

void stt_admission_tell_refused(const struct stt_group *group, enum stt_place place,
				const struct stt_addr *peer)
{
	const struct stt_settings *settings = &group->service.settings;
	char address[STT_ADDR_TEXT];

	if (!stt_log_wants(STT_LOG_INFO))
		return;
	stt_addr_text(peer, address);
	if (place == STT_PLACE_OVER_NUMBER)
		stt_log(STT_LOG_INFO, "%s: ended at accept, max_connections is %d", address,
			settings->max_connections);
	else if (place == STT_PLACE_OVER_RATE)
		stt_log(STT_LOG_INFO, "%s: ended at accept, accept_rate is %d", address,
			settings->accept_rate);
	else if (place == STT_PLACE_OVER_ADDRESS)
		stt_log(STT_LOG_INFO, "%s: ended at accept, max_connections_per_ip is %d", address,
			settings->max_connections_per_ip);
	else
		stt_log(STT_LOG_INFO, "%s: ended at accept, the server is stopping", address);
}

/* The network of an address of IPv6, which is 64 bits; and an address of IPv4 as one of multicast,
 * where no peer is (RFC 4291, 2.7). False for what has no address. */
static bool key_of(const struct sockaddr_in6 *peer, uint64_t *key)
{
	unsigned char bytes[sizeof(*key)] = {0xff};
	unsigned char *four = &bytes[4];

	if (peer->sin6_family == AF_INET)
		memcpy(four, &((const struct sockaddr_in *)peer)->sin_addr, 4);
	else if (peer->sin6_family != AF_INET6)
		return false;
	else if (IN6_IS_ADDR_V4MAPPED(&peer->sin6_addr))
		memcpy(four, &peer->sin6_addr.s6_addr[12], 4);
	else
		memcpy(bytes, &peer->sin6_addr, sizeof(bytes));
	memcpy(key, bytes, sizeof(*key));
	return true;
}

static struct address_count *find(const struct stt_admission *admission, uint64_t key)
{
	struct stt_link *link = stt_table_find(&admission->addresses, key);

	return link ? stt_container_of(link, struct address_count, link) : NULL;
}

/* False if there are `most` of its address already. */
static bool add_address_locked(struct stt_group *group, struct sttcp_conn *conn)
	STT_REQUIRES(group->lock)
{
	int most = group->service.settings.max_connections_per_ip;
	uint64_t key;

	if (most < 0 || !key_of(&conn->peer, &key))
		return true;

	struct address_count *entry = find(&group->admission, key);

	if (!entry) {
		entry = calloc(1, sizeof(*entry));
		if (entry)
			stt_table_add(&group->admission.addresses, &entry->link, key);
	} else if (entry->count >= most) {
		return false;
	}
	if (entry)
		entry->count++;
	conn->counted = entry;
	return true;
}

static void remove_address_locked(struct stt_group *group, const struct sttcp_conn *conn)
	STT_REQUIRES(group->lock)
{
	uint64_t key;

	/* Of its address there may be others that are. */
	if (!conn->counted || !key_of(&conn->peer, &key))
		return;

	struct address_count *entry = find(&group->admission, key);

	if (--entry->count)
		return;
	stt_table_remove(&group->admission.addresses, &entry->link);
	free(entry);
}

enum stt_place stt_admission_enter_locked(struct stt_group *group, struct sttcp_conn *conn)
{
	enum stt_place place = STT_PLACE_FREE;

	if (group->state != STT_RUNNING && group->state != STT_STOPPING)
		place = STT_PLACE_CLOSED;
	else if (!add_address_locked(group, conn))
		place = STT_PLACE_OVER_ADDRESS;
	count_over_locked(group, place);
	if (has_places(group))
		group->admission.reserved--;
	if (place != STT_PLACE_FREE)
		call_listeners_locked(group);
	return place;
}

void stt_admission_leave_locked(struct stt_group *group, const struct sttcp_conn *conn)
{
	remove_address_locked(group, conn);
	call_listeners_locked(group);
}

static void free_address(struct stt_link *link)
{
	free(stt_container_of(link, struct address_count, link));
}

void stt_admission_fini(struct stt_admission *admission)
{
	stt_table_fini(&admission->addresses, free_address);
}
