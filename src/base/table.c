/* SPDX-License-Identifier: MIT */
/*
 * The slot is the top bits of a product: in the low ones of a product only the
 * low bits of the key count, and keys differ where they like. Addresses of one
 * network differ in their last bytes, which a little-endian machine reads as the
 * highest; ids on one of n loops are all the same modulo n.
 */
#include "base/table.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"

enum {
	FIRST_BITS = 4,
	MOST_BITS = 30
};

/* 2^64 through the golden ratio (Knuth, 6.4: Fibonacci hashing), and an odd number of as many
 * random bits. */
#define GOLDEN 0x9e3779b97f4a7c15U
#define OTHER 0xd6e8feb86659fd93U

/* One for the process, and for what is forked from it. */
static uint64_t random_seed(void)
{
	static _Atomic uint64_t seed;
	uint64_t now = atomic_load_explicit(&seed, memory_order_relaxed);
	uint64_t made = 0;

	if (now)
		return now;
	/* Early after boot there may be no randomness, and a table does not wait for it. */
	if (getrandom(&made, sizeof(made), GRND_NONBLOCK) != (ssize_t)sizeof(made))
		made = ((uint64_t)stt_now_us() ^ (uint64_t)(uintptr_t)&made) * GOLDEN;
	made |= 1;
	return atomic_compare_exchange_strong(&seed, &now, made) ? made : now;
}

/* Each bit of the key and of the seed reaches each of the top ones. */
static uint64_t mix(uint64_t number, uint64_t seed)
{
	number = (number ^ seed) * GOLDEN;
	number ^= number >> 32;
	return number * OTHER;
}

uint64_t stt_table_hash(const void *data, size_t size)
{
	const unsigned char *bytes = data;
	uint64_t seed = random_seed();
	uint64_t hash = mix(size, seed);

	while (size) {
		uint64_t word = 0;
		size_t part = size < sizeof(word) ? size : sizeof(word);

		memcpy(&word, bytes, part);
		hash = mix(hash ^ word, seed);
		hash ^= hash >> 29;
		bytes += part;
		size -= part;
	}
	return hash;
}

static struct stt_link **slot_in(struct stt_link **slots, unsigned bits, uint64_t key,
				 uint64_t seed)
{
	return &slots[mix(key, seed) >> (64 - bits)];
}

static struct stt_link **slot_of(struct stt_table *table, uint64_t key)
{
	return table->slots ? slot_in(table->slots, table->bits, key, table->seed) : &table->only;
}

/* Moves all into 2^bits slots, or stays as it is when out of memory. */
static void resize(struct stt_table *table, unsigned bits)
{
	struct stt_link **slots = calloc((size_t)1 << bits, sizeof(struct stt_link *));
	size_t before = (size_t)1 << table->bits;

	if (!slots)
		return;
	if (!table->slots)
		table->seed = random_seed();
	for (size_t i = 0; i < before; i++) {
		struct stt_link *link = table->slots ? table->slots[i] : table->only;

		while (link) {
			struct stt_link *next = link->next;
			struct stt_link **slot = slot_in(slots, bits, link->key, table->seed);

			link->next = *slot;
			*slot = link;
			link = next;
		}
	}
	free(table->slots);
	table->slots = slots;
	table->only = NULL;
	table->bits = bits;
}

void stt_table_fini(struct stt_table *table, void (*free_link)(struct stt_link *link))
{
	size_t nslots = table->count ? (size_t)1 << table->bits : 0;

	for (size_t i = 0; free_link && i < nslots; i++) {
		struct stt_link *link = table->slots ? table->slots[i] : table->only;

		while (link) {
			struct stt_link *next = link->next;

			free_link(link);
			link = next;
		}
	}
	free(table->slots);
	*table = (struct stt_table){0};
}

void stt_table_add(struct stt_table *table, struct stt_link *link, uint64_t key)
{
	if (table->count >= (size_t)1 << table->bits && table->bits < MOST_BITS)
		resize(table, table->bits ? table->bits + 1 : FIRST_BITS);

	struct stt_link **slot = slot_of(table, key);

	link->key = key;
	link->next = *slot;
	*slot = link;
	table->count++;
}

/* Memory of a burst is freed after it. At an eighth: between growing and shrinking, as many must
 * come and go as there are. */
static void shrink(struct stt_table *table)
{
	if (table->bits > FIRST_BITS && table->count < ((size_t)1 << table->bits) / 8)
		resize(table, table->bits - 1);
}

void stt_table_remove(struct stt_table *table, struct stt_link *link)
{
	struct stt_link **place = slot_of(table, link->key);

	while (*place != link)
		place = &(*place)->next;
	*place = link->next;
	table->count--;
	shrink(table);
}

/* The first in a chain that has the key. */
static struct stt_link *first_of(struct stt_link *link, uint64_t key)
{
	while (link && link->key != key)
		link = link->next;
	return link;
}

struct stt_link *stt_table_find(const struct stt_table *table, uint64_t key)
{
	/* The const is cast away for the type of the slot only. */
	return first_of(*slot_of((struct stt_table *)table, key), key);
}

struct stt_link *stt_table_find_next(const struct stt_link *link)
{
	return first_of(link->next, link->key);
}
