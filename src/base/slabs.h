/* SPDX-License-Identifier: MIT */
/*
 * Blocks of one size in mapped memory, for what a server has by the ten
 * thousand: connections, incomplete messages, queued output. After a burst
 * their memory is returned to the system. malloc would not do that: a few
 * remaining blocks in each of its arenas keep all the others.
 *
 * Any thread. With the address sanitizer each block is malloc's, so that use
 * after free is detected.
 */
#ifndef STT_BASE_SLABS_H
#define STT_BASE_SLABS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/mutex.h"

/* Who has slabs of its own, and so a lock of its own. */
enum stt_slabs_of {
	STT_SLABS_OF_CONNS,
	STT_SLABS_OF_HELD,
	STT_SLABS_OF_SMALL_CHUNKS,
	STT_SLABS_OF_LARGE_CHUNKS,
	STT_SLABS_OF_TESTS,
	STT_NSLABS
};

/* How many free slabs are kept. Their memory is still there. */
enum stt_slabs_kept {
	/* One, if few of its blocks were used: what goes is not likely to come again soon. */
	STT_KEEPS_FEW,
	/* One, and as many as are in use: blocks come and go all the time. */
	STT_KEEPS_MANY
};

struct stt_slab;

struct stt_slabs {
	/* Set before use. */
	size_t block; /* bytes of each */
	enum stt_slabs_of of;
	enum stt_slabs_kept kept;

	/* Under its lock, which stands in slabs.c: a fork's child has to find it. */
	unsigned forks;		/* that there had been when the rest was right */
	struct stt_slab *open;	/* a ring of those that have a free block; NULL: none has */
	struct stt_slab *spare; /* those that are all free, a list */
	unsigned nspare;
	unsigned nslabs; /* the others */
	size_t nused;	 /* blocks */
};

#define STT_SLABS_INIT(size, owner, keeps)                                                         \
	{                                                                                          \
		.block = (size), .of = (owner), .kept = (keeps)                                    \
	}

/* A block that is not initialised, aligned for anything, or NULL. */
void *stt_slabs_take(struct stt_slabs *slabs);

/* Bytes of all blocks, of every size, that are taken now. */
size_t stt_slabs_in_use(void);

/* Gives it back; NULL is fine. */
void stt_slabs_give(struct stt_slabs *slabs, void *block);

/* In the child of a fork, where another thread may have been in the middle of a change. The child
 * uses nothing that is in slabs, so it begins anew. */
void stt_slabs_after_fork(void);

#endif
