/* SPDX-License-Identifier: MIT */
/*
 * An event carries the index and the generation of a record, and records are never
 * freed: the descriptor may have been closed while a copy of it goes on to bring
 * events, for nobody or for somebody who came later. And its number may be another
 * one's, who registers it, too: only who has done so last takes it out.
 */
#include "engine/foreign.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "engine/engine.h"
#include "net/poller.h"
#include "net/socket.h"

enum {
	BATCH = 64,
	LEAST_USERS = 64
};

struct stt_foreign_record {
	struct stt_foreign_record *next; /* of those that nobody uses */
	uint32_t index;
	uint32_t generation;
	void (*wake)(void *argument); /* NULL while nobody is to be woken */
	void *argument;
};

static void wake_locked(struct stt_foreign *foreign, uint64_t name) STT_REQUIRES(foreign->lock)
{
	uint32_t index = (uint32_t)name;

	if (index >= foreign->nrecords)
		return;

	struct stt_foreign_record *record = foreign->records[index];

	if (record->generation != name >> 32 || !record->wake)
		return;
	record->wake(record->argument);
	record->wake = NULL;
}

static void take_events(struct stt_worker *worker, struct stt_actor *actor, uint32_t events)
{
	struct stt_foreign *foreign = stt_container_of(actor, struct stt_foreign, actor);
	struct epoll_event list[BATCH];

	(void)worker;
	(void)events;
	stt_lock(&foreign->lock);
	/* What is left over is told again: the loop watches the poller level-triggered. */
	int count = stt_poller_wait(foreign->poller, list, BATCH, 0);

	for (int i = 0; i < count; i++)
		wake_locked(foreign, list[i].data.u64);
	stt_unlock(&foreign->lock);
}

static const struct stt_actor_ops foreign_ops = {.on_event = take_events};

void stt_foreign_init(struct stt_foreign *foreign)
{
	*foreign = (struct stt_foreign){.actor = {.ops = &foreign_ops}, .poller = -1};
	stt_mutex_init(&foreign->lock);
}

void stt_foreign_fini(struct stt_foreign *foreign)
{
	for (uint32_t i = 0; i < foreign->nrecords; i++)
		free(foreign->records[i]);
	free(foreign->records);
	free(foreign->users);
	stt_socket_close(foreign->poller);
	stt_mutex_fini(&foreign->lock);
}

static int open_poller_locked(struct stt_foreign *foreign, struct stt_loop *loop)
	STT_REQUIRES(foreign->lock)
{
	if (foreign->poller >= 0)
		return 0;

	int poller = stt_poller_open();

	if (poller < 0)
		return poller;

	int result = stt_poller_add(loop->poller, poller, EPOLLIN, &foreign->actor);

	if (result < 0) {
		stt_socket_close(poller);
		return result;
	}
	foreign->poller = poller;
	return 0;
}

static struct stt_foreign_record *take_record_locked(struct stt_foreign *foreign)
	STT_REQUIRES(foreign->lock)
{
	struct stt_foreign_record *record = foreign->unused;
	uint32_t count = foreign->nrecords;

	if (record) {
		foreign->unused = record->next;
		return record;
	}
	record = calloc(1, sizeof(*record));
	/* Grows at the powers of two. */
	if (record && !(count & (count - 1))) {
		size_t size = (count ? 2 * (size_t)count : 1) * sizeof(*foreign->records);
		struct stt_foreign_record **more = realloc(foreign->records, size);

		if (!more) {
			free(record);
			return NULL;
		}
		foreign->records = more;
	}
	if (!record)
		return NULL;
	record->index = count;
	foreign->records[count] = record;
	foreign->nrecords = count + 1;
	return record;
}

static void give_back_locked(struct stt_foreign *foreign, struct stt_foreign_record *record)
	STT_REQUIRES(foreign->lock)
{
	record->generation++;
	record->wake = NULL;
	record->next = foreign->unused;
	foreign->unused = record;
}

/* Whether there is a place for that descriptor in `users`. */
static bool has_place_locked(struct stt_foreign *foreign, size_t fd) STT_REQUIRES(foreign->lock)
{
	if (fd < foreign->nusers)
		return true;

	size_t count = 2 * fd < LEAST_USERS ? LEAST_USERS : 2 * fd;
	uint32_t *more = realloc(foreign->users, count * sizeof(*more));

	if (!more)
		return false;
	memset(more + foreign->nusers, 0, (count - foreign->nusers) * sizeof(*more));
	foreign->users = more;
	foreign->nusers = count;
	return true;
}

static int64_t add_locked(struct stt_foreign *foreign, struct stt_loop *loop, int fd, short events,
			  void (*wake)(void *argument), void *argument) STT_REQUIRES(foreign->lock)
{
	int result = open_poller_locked(foreign, loop);

	if (result < 0)
		return result;

	struct stt_foreign_record *record =
		has_place_locked(foreign, (size_t)fd) ? take_record_locked(foreign) : NULL;

	if (!record)
		return -ENOMEM;
	record->wake = wake;
	record->argument = argument;
	result = stt_poller_add_named(foreign->poller, fd,
				      (uint32_t)(unsigned short)events | EPOLLONESHOT,
				      (uint64_t)record->generation << 32 | record->index);
	if (result < 0) {
		give_back_locked(foreign, record);
		return result;
	}
	foreign->users[fd] = record->index + 1;
	return record->index;
}

int64_t stt_foreign_add(struct stt_loop *loop, int fd, short events, void (*wake)(void *argument),
			void *argument)
{
	struct stt_foreign *foreign = &loop->foreign;

	stt_lock(&foreign->lock);
	int64_t result = add_locked(foreign, loop, fd, events, wake, argument);

	stt_unlock(&foreign->lock);
	return result;
}

void stt_foreign_remove(struct stt_loop *loop, int fd, int64_t index)
{
	struct stt_foreign *foreign = &loop->foreign;

	stt_lock(&foreign->lock);
	if (foreign->users[fd] == index + 1) {
		/* It may be closed by now, or another one that nobody waits for. */
		stt_poller_remove(foreign->poller, fd);
		foreign->users[fd] = 0;
	}
	give_back_locked(foreign, foreign->records[index]);
	stt_unlock(&foreign->lock);
}
