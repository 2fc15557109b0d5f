/* SPDX-License-Identifier: MIT */
/*
 * Descriptors of others, which somebody waits for on a loop. They stand in a poller
 * of their own, which the loop's watches: a number that its owner closes comes back
 * as that of a connection, and to take it out of the loop's own poller would take
 * out the connection.
 */
#ifndef STT_ENGINE_FOREIGN_H
#define STT_ENGINE_FOREIGN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mutex.h"
#include "engine/actor.h"

struct stt_loop;
struct stt_foreign_record;

struct stt_foreign {
	struct stt_actor actor;
	struct stt_mutex lock;
	/* Under the lock. */
	int poller; /* -1 before the first */
	struct stt_foreign_record **records;
	uint32_t nrecords;
	struct stt_foreign_record *unused;
	uint32_t *users; /* by descriptor: who has registered it last, 1 + index; 0: nobody */
	size_t nusers;
};

void stt_foreign_init(struct stt_foreign *foreign);
void stt_foreign_fini(struct stt_foreign *foreign);

/* Has `wake(argument)` called on the loop, once, when the descriptor has one of the events of
 * poll(2): under a lock, until stt_foreign_remove. An index, or -errno: -EEXIST while somebody else
 * waits for that descriptor, -EPERM for a file. Any thread. */
int64_t stt_foreign_add(struct stt_loop *loop, int fd, short events, void (*wake)(void *argument),
			void *argument);

/* After this it is called no more. */
void stt_foreign_remove(struct stt_loop *loop, int fd, int64_t index);

#endif
