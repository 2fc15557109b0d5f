/* SPDX-License-Identifier: MIT */
/* A bucket of tokens for the rate, and a table of chains for the addresses, which has an entry only
 * for who is there. */
#include "engine/admission.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/group.h"

enum {
	ONE = 1000, /* token */
	FIRST_TABLE = 64
};

struct stt_address_count {
	uint64_t key;
	int count;
	struct stt_address_count *next;
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

static struct stt_address_count **slot_of(struct stt_address_count **table, unsigned size,
					  uint64_t key)
{
	/* Fibonacci hashing: addresses differ in any of their bits. */
	return &table[(key * 0x9e3779b97f4a7c15U) >> 32 & (size - 1)];
}

/* Without memory the chains get longer instead. */
static void grow(struct stt_admission *admission)
{
	unsigned size = admission->table_size ? admission->table_size * 2 : FIRST_TABLE;
	struct stt_address_count **table = calloc(size, sizeof(struct stt_address_count *));

	if (!table)
		return;
	for (unsigned i = 0; i < admission->table_size; i++) {
		struct stt_address_count *entry = admission->table[i];

		while (entry) {
			struct stt_address_count *next = entry->next;
			struct stt_address_count **slot = slot_of(table, size, entry->key);

			entry->next = *slot;
			*slot = entry;
			entry = next;
		}
	}
	free(admission->table);
	admission->table = table;
	admission->table_size = size;
}

static struct stt_address_count **find(struct stt_admission *admission, uint64_t key)
{
	struct stt_address_count **link = slot_of(admission->table, admission->table_size, key);

	while (*link && (*link)->key != key)
		link = &(*link)->next;
	return link;
}

bool stt_admission_add(struct stt_admission *admission, const struct sockaddr_in6 *peer, int most)
{
	uint64_t key;

	if (most < 0 || !key_of(peer, &key))
		return true;
	if (admission->naddresses >= admission->table_size)
		grow(admission);
	if (!admission->table_size)
		return true;

	struct stt_address_count **link = find(admission, key);

	if (*link) {
		if ((*link)->count >= most)
			return false;
		(*link)->count++;
		return true;
	}

	struct stt_address_count *entry = malloc(sizeof(*entry));

	if (entry) {
		*entry = (struct stt_address_count){.key = key, .count = 1};
		*link = entry;
		admission->naddresses++;
	}
	return true;
}

void stt_admission_remove(struct stt_admission *admission, const struct sockaddr_in6 *peer)
{
	uint64_t key;

	if (!admission->table_size || !key_of(peer, &key))
		return;

	struct stt_address_count **link = find(admission, key);
	struct stt_address_count *entry = *link;

	if (!entry || --entry->count)
		return;
	*link = entry->next;
	free(entry);
	admission->naddresses--;
}

void stt_admission_fini(struct stt_admission *admission)
{
	for (unsigned i = 0; i < admission->table_size; i++) {
		struct stt_address_count *entry = admission->table[i];

		while (entry) {
			struct stt_address_count *next = entry->next;

			free(entry);
			entry = next;
		}
	}
	free(admission->table);
}
