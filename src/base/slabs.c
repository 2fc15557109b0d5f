/* SPDX-License-Identifier: MIT */
/*
 * A slab is a mapping that is aligned to its size, so that the address of a
 * block gives its slab. The slab's head is in front of its blocks. Blocks that
 * have never been used are not touched; free ones that were used are chained
 * through their own memory. Slabs with a free block are in a ring; the first
 * one is taken from. A slab without used blocks is unmapped, except for a few
 * spares, so that a block that comes and goes does not map and unmap each time.
 */
#include "base/slabs.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FROM_MALLOC 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define FROM_MALLOC 1
#endif
#ifndef FROM_MALLOC
#define FROM_MALLOC 0
#endif

enum {
	SLAB_SIZE = 256 * 1024,
	/* Of a spare where few are kept, the blocks that may have been touched. */
	FEW_TOUCHED = 4,
	ALIGNMENT = 16
};

/* A free block that was used before. */
struct gap {
	struct gap *next;
};

struct stt_slab {
	struct stt_slab *next; /* in the ring, while it has a free block */
	struct stt_slab *prev;
	struct gap *gaps;
	unsigned nused;
	unsigned ntouched; /* blocks that have been used so far, now or not */
	unsigned nblocks;
	_Alignas(ALIGNMENT) unsigned char blocks[];
};

/* An array, and not a list that each joins when it is first used: a fork may come in between. */
static struct stt_mutex locks[STT_NSLABS] = {STT_MUTEX_INIT, STT_MUTEX_INIT, STT_MUTEX_INIT,
					     STT_MUTEX_INIT, STT_MUTEX_INIT};
/* Each under its lock: for stt_slabs_in_use. */
static struct stt_slabs *all[STT_NSLABS];
/* Changes in a child, before it has a second thread. */
static unsigned nforks;

_Static_assert(STT_NSLABS == 5, "each has a lock");

void stt_slabs_after_fork(void)
{
	for (int i = 0; i < STT_NSLABS; i++)
		stt_mutex_init(&locks[i]);
	nforks++;
}

/* What was mapped by an ancestor is forgotten. */
static void lock_slabs(struct stt_slabs *slabs) STT_ACQUIRE(locks[slabs->of]) STT_UNCHECKED
{
	stt_lock(&locks[slabs->of]);
	all[slabs->of] = slabs;
	if (slabs->forks == nforks)
		return;
	slabs->forks = nforks;
	slabs->open = NULL;
	slabs->spare = NULL;
	slabs->nspare = slabs->nslabs = 0;
	slabs->nused = 0;
}

static void unlock_slabs(struct stt_slabs *slabs) STT_RELEASE(locks[slabs->of]) STT_UNCHECKED
{
	stt_unlock(&locks[slabs->of]);
}

/* Maps more than needed and gives the ends back: mmap(2) knows no alignment beyond a page. */
static struct stt_slab *map_slab(void)
{
	char *pages = mmap(NULL, (size_t)2 * SLAB_SIZE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (pages == MAP_FAILED)
		return NULL;

	size_t before = (SLAB_SIZE - (uintptr_t)pages % SLAB_SIZE) % SLAB_SIZE;

	if (before)
		munmap(pages, before);
	munmap(pages + before + SLAB_SIZE, SLAB_SIZE - before);
	return (struct stt_slab *)(void *)(pages + before);
}

static size_t block_size(const struct stt_slabs *slabs)
{
	return (slabs->block + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static void open_slab_locked(struct stt_slabs *slabs, struct stt_slab *slab)
	STT_REQUIRES(locks[slabs->of])
{
	if (slabs->open) {
		slab->next = slabs->open;
		slab->prev = slabs->open->prev;
		slab->prev->next = slab;
		slab->next->prev = slab;
	} else {
		slab->next = slab->prev = slab;
		slabs->open = slab;
	}
}

static void shut_slab_locked(struct stt_slabs *slabs, struct stt_slab *slab)
	STT_REQUIRES(locks[slabs->of])
{
	slab->prev->next = slab->next;
	slab->next->prev = slab->prev;
	if (slabs->open == slab)
		slabs->open = slab->next != slab ? slab->next : NULL;
}

static bool add_slab_locked(struct stt_slabs *slabs) STT_REQUIRES(locks[slabs->of])
{
	struct stt_slab *slab = slabs->spare;

	if (slab) {
		slabs->spare = slab->next;
		slabs->nspare--;
	} else {
		slab = map_slab();
	}
	if (!slab)
		return false;
	slabs->nslabs++;
	*slab = (struct stt_slab){
		.nblocks = (unsigned)((SLAB_SIZE - sizeof(*slab)) / block_size(slabs))};
	open_slab_locked(slabs, slab);
	return true;
}

static void *take_locked(struct stt_slabs *slabs) STT_REQUIRES(locks[slabs->of])
{
	struct stt_slab *slab = slabs->open;
	struct gap *gap = slab->gaps;
	void *block = gap;

	if (gap)
		slab->gaps = gap->next;
	else
		block = slab->blocks + slab->ntouched++ * block_size(slabs);
	slabs->nused++;
	if (++slab->nused == slab->nblocks)
		shut_slab_locked(slabs, slab);
	return block;
}

void *stt_slabs_take(struct stt_slabs *slabs)
{
	void *block = NULL;

	if (FROM_MALLOC)
		return malloc(slabs->block);
	lock_slabs(slabs);
	if (slabs->open || add_slab_locked(slabs))
		block = take_locked(slabs);
	unlock_slabs(slabs);
	return block;
}

/* A slab has no used blocks any more. Returns those that are too many, a list. */
static struct stt_slab *spare_locked(struct stt_slabs *slabs, struct stt_slab *slab)
	STT_REQUIRES(locks[slabs->of])
{
	struct stt_slab *surplus = NULL;
	unsigned most = 1;

	slabs->nslabs--;
	if (slabs->kept == STT_KEEPS_MANY)
		most += slabs->nslabs;
	else if (slab->ntouched > FEW_TOUCHED)
		most = slabs->nspare;

	slab->next = slabs->spare;
	slabs->spare = slab;
	for (slabs->nspare++; slabs->nspare > most; slabs->nspare--) {
		slab = slabs->spare;
		slabs->spare = slab->next;
		slab->next = surplus;
		surplus = slab;
	}
	return surplus;
}

/* Returns slabs to be unmapped without the lock, a list. */
static struct stt_slab *give_locked(struct stt_slabs *slabs, struct gap *gap)
	STT_REQUIRES(locks[slabs->of])
{
	struct stt_slab *slab =
		(struct stt_slab *)(void *)((char *)gap - (uintptr_t)gap % SLAB_SIZE);

	gap->next = slab->gaps;
	slab->gaps = gap;
	slabs->nused--;
	if (slab->nused-- == slab->nblocks)
		open_slab_locked(slabs, slab);
	if (slab->nused)
		return NULL;
	shut_slab_locked(slabs, slab);
	return spare_locked(slabs, slab);
}

void stt_slabs_give(struct stt_slabs *slabs, void *block)
{
	if (FROM_MALLOC) {
		free(block);
		return;
	}
	if (!block)
		return;
	lock_slabs(slabs);
	struct stt_slab *surplus = give_locked(slabs, block);

	unlock_slabs(slabs);
	while (surplus) {
		struct stt_slab *next = surplus->next;

		munmap(surplus, SLAB_SIZE);
		surplus = next;
	}
}

size_t stt_slabs_in_use(void)
{
	size_t sum = 0;

	for (int i = 0; i < STT_NSLABS; i++) {
		stt_lock(&locks[i]);
		if (all[i] && all[i]->forks == nforks)
			sum += all[i]->nused * block_size(all[i]);
		stt_unlock(&locks[i]);
	}
	return sum;
}
