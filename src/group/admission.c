/* SPDX-License-Identifier: MIT */
/* A bucket of tokens for the rate, and a table of the addresses, which has an entry only for who
 * is there. */
#include "group/admission.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/list.h"
#include "group/group.h"

enum {
	ONE = 1000 /* token */
};

struct address_count {
	struct stt_link link;
	int count;
};

enum stt_place stt_admission_reserve(struct stt_admission *admission,
				     const struct stt_settings *settings, int64_t open,
				     int64_t *again_ms)
{
	int64_t rate = settings->accept_rate;

	*again_ms = STT_NEVER;
	if (settings->max_connections >= 0 &&
	    open + admission->reserved >= settings->max_connections)
		return STT_PLACE_OVER_NUMBER;
	if (rate >= 0) {
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
			return STT_PLACE_OVER_RATE;
		}
		admission->tokens -= ONE;
	}
	admission->reserved++;
	return STT_PLACE_FREE;
}

void stt_admission_use(struct stt_admission *admission)
{
	admission->reserved--;
}

void stt_admission_give_back(struct stt_admission *admission)
{
	admission->reserved--;
	admission->tokens += ONE;
}

/* False for what has no address. */
static bool key_of(const struct sockaddr_in6 *peer, uint64_t *key)
{
	uint32_t four;

	if (peer->sin6_family == AF_INET) {
		four = ((const struct sockaddr_in *)peer)->sin_addr.s_addr;
	} else if (peer->sin6_family != AF_INET6) {
		return false;
	} else if (IN6_IS_ADDR_V4MAPPED(&peer->sin6_addr)) {
		memcpy(&four, &peer->sin6_addr.s6_addr[12], sizeof(four));
	} else {
		memcpy(key, &peer->sin6_addr, sizeof(*key));
		return true;
	}
	/* The prefix of mapped addresses is all zero, as is that of the loopback's /64. */
	*key = (uint64_t)1 << 32 | four;
	return true;
}

static struct address_count *find(const struct stt_admission *admission, uint64_t key)
{
	struct stt_link *link = stt_table_find(&admission->addresses, key);

	return link ? stt_container_of(link, struct address_count, link) : NULL;
}

bool stt_admission_add(struct stt_admission *admission, const struct sockaddr_in6 *peer, int most)
{
	uint64_t key;

	if (most < 0 || !key_of(peer, &key))
		return true;

	struct address_count *entry = find(admission, key);

	if (!entry) {
		entry = calloc(1, sizeof(*entry));
		if (entry)
			stt_table_add(&admission->addresses, &entry->link, key);
	} else if (entry->count >= most) {
		return false;
	}
	if (entry)
		entry->count++;
	return true;
}

void stt_admission_remove(struct stt_admission *admission, const struct sockaddr_in6 *peer)
{
	uint64_t key;

	if (!key_of(peer, &key))
		return;

	struct address_count *entry = find(admission, key);

	if (!entry || --entry->count)
		return;
	stt_table_remove(&admission->addresses, &entry->link);
	free(entry);
}

static void free_address(struct stt_link *link)
{
	free(stt_container_of(link, struct address_count, link));
}

void stt_admission_fini(struct stt_admission *admission)
{
	stt_table_fini(&admission->addresses, free_address);
}
