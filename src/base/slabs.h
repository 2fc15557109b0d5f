/* SPDX-License-Identifier: MIT */
/*
 * Blocks of one size in mapped memory, for what a server has by the ten
 * thousand: connections, begun messages, queued output. What a wave of them has
 * taken goes back to the system when they have gone. From malloc it does not:
 * a few blocks that stay, in each of its arenas, keep all the others.
 *
 * Any thread. With the address sanitizer each block is malloc's, so that it can
 * tell what is used after its end.
 */
#ifndef STT_BASE_SLABS_H
#define STT_BASE_SLABS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/mutex.h"

struct stt_slab;

struct stt_slabs {
	size_t block; /* bytes of each; set before use */

	struct stt_mutex lock;
	/* Under the lock. */
	struct stt_slab *open;	/* a ring of those that have a free block; NULL: none has */
	struct stt_slab *spare; /* one that is all free, or NULL */
	size_t nused;		/* blocks */
	bool listed;		/* a fork's child finds it */
	struct stt_slabs *next;
};

#define STT_SLABS_INIT(size)                                                                       \
	{                                                                                          \
		.block = (size), .lock = STT_MUTEX_INIT                                            \
	}

/* A block that is not initialised, aligned for anything, or NULL. */
void *stt_slabs_take(struct stt_slabs *slabs);

/* Bytes of all blocks, of every size, that are taken now. */
size_t stt_slabs_in_use(void);

/* Gives it back; NULL is fine. */
void stt_slabs_give(struct stt_slabs *slabs, void *block);

#endif
