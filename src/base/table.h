/* SPDX-License-Identifier: MIT */
/*
 * A hash table of things that are stored elsewhere: they are linked by a node
 * inside them, so that adding one cannot fail. The number of slots grows and
 * shrinks with that of the things; without memory for more slots, the chains
 * get longer. Several things may have one key, for example names with the same
 * hash: the caller compares them.
 *
 * Keys may be chosen by a peer, so there is a random seed: no peer can choose
 * keys that all fall into one slot. One thread at a time. A zeroed table is an
 * empty one.
 */
#ifndef STT_BASE_TABLE_H
#define STT_BASE_TABLE_H

#include <stddef.h>
#include <stdint.h>

struct stt_link {
	struct stt_link *next;
	uint64_t key;
};

struct stt_table {
	struct stt_link **slots; /* NULL: there is one, `only` */
	struct stt_link *only;
	size_t count;
	uint64_t seed;
	unsigned bits; /* of the number of slots */
};

/* Frees the slots, and with `free_link` (may be NULL) what is still in it. */
void stt_table_fini(struct stt_table *table, void (*free_link)(struct stt_link *link));

/* `link` must be in no table. */
void stt_table_add(struct stt_table *table, struct stt_link *link, uint64_t key);

/* `link` must be in this table. */
void stt_table_remove(struct stt_table *table, struct stt_link *link);

/* One with this key, or NULL; and the next one with the same. */
struct stt_link *stt_table_find(const struct stt_table *table, uint64_t key);
struct stt_link *stt_table_find_next(const struct stt_link *link);

/* For a key of several words or for text: mixes `size` bytes into one. Not the same in another
 * process. */
uint64_t stt_table_hash(const void *data, size_t size);

#endif
