/* SPDX-License-Identifier: MIT */
/*
 * Where things are while a call is parked:
 *
 *	its frames			on its stack
 *	the record of the call		in the strand
 *	what was read, not delivered	held by the connection
 *	a handler's small `data`	on its stack, from the start
 *	a larger one			where it stood: in held memory, or in the buffer of the
 *					worker, which has got another one
 *	a deadline			in owner_due_ms: the connection's own ones rest
 */
#include "conn/park.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "conn/deadlines.h"
#include "conn/gather.h"
#include "conn/input.h"
#include "conn/service.h"
#include "engine/loop.h"
#include "engine/turn.h"

enum {
	/* A wait that has lasted as long as this, and up to twice as long, takes no more of its
	 * stack than it needs. With each look that finds a busy handler the time doubles, so many
	 * times at most: of 10 000 busy dialogues the looks of every second stood in the way of
	 * messages, whose p99 was 1.5 times the loop's and is 1.15. */
	LOOK_MS = 1000,
	LOOKS_DOUBLE = 3
};

atomic_bool stt_strands_change_threads;

struct stt_strand *stt_strand_take(struct stt_desk *desk, struct sttcp_conn *conn)
{
	size_t stack_size = conn->service->settings.fiber_stack_size;
	struct stt_strand *strand = stt_spares_take(&desk->spares, stack_size);

	if (!strand) {
		struct stt_fiber *fiber = stt_fiber_new(stack_size, sizeof(struct stt_strand));

		if (!fiber)
			return NULL;
		strand = stt_container_of(fiber, struct stt_strand, fiber);
	}
	strand->conn = conn;
	strand->task = NULL;
	strand->in_buffer = false;
	strand->emptied = false;
	strand->left_input = false;
	strand->gathers = false;
	strand->looks = false;
	strand->nreads = 0;
	strand->nmessages = 0;
	strand->noted = 0;
	return strand;
}

void stt_strand_give(struct stt_desk *desk, struct stt_strand *strand)
{
	stt_desk_free_buffer(strand->buffer);
	strand->buffer = NULL;
	free((char *)(uintptr_t)strand->refused.text);
	strand->refused.text = NULL;
	stt_spares_give(&desk->spares, strand);
}

/* The pages of a buffer in which nothing stands go back to the system. */
static void trim_buffer(char *buffer, const void *data, size_t size)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t begin = (uintptr_t)data & ~(page - 1);
	uintptr_t end = ((uintptr_t)data + size + page - 1) & ~(page - 1);
	uintptr_t low = (uintptr_t)buffer;
	uintptr_t high = (low + STT_READ_SIZE + page - 1) & ~(page - 1);

	if (begin > low)
		(void)madvise(buffer, begin - low, MADV_DONTNEED);
	if (high > end)
		(void)madvise((void *)end, high - end, MADV_DONTNEED);
}

/* Takes the buffer with the handler's data along. */
static bool take_buffer(struct stt_desk *desk, struct stt_strand *strand)
{
	char *another = stt_desk_new_buffer();

	if (!another)
		return false;
	strand->buffer = desk->buffer;
	desk->buffer = another;
	strand->in_buffer = false;
	trim_buffer(strand->buffer, strand->data, strand->size);
	return true;
}

/* Takes everything along that stands on the desk. False when memory is missing: then nothing has
 * changed. */
static bool pack(struct stt_desk *desk, struct stt_strand *strand)
{
	if (!stt_rare_make(strand->conn))
		return false;
	if (stt_input_park(desk, strand->conn, &strand->pinned) < 0)
		return false;
	if (!strand->in_buffer || take_buffer(desk, strand))
		return true;
	stt_input_take(desk, strand->conn);
	desk->input.pinned = strand->pinned;
	return false;
}

bool stt_strand_park(struct stt_desk *desk, struct stt_strand *strand)
{
	struct sttcp_conn *conn = strand->conn;
	int64_t at = strand->until_ms;

	if (strand->gathers)
		stt_gather_end(&desk->worker, conn);
	strand->gathers = false;
	if (!pack(desk, strand))
		return false;
	strand->nreads = 0;
	strand->nmessages = 0;
	strand->waits++;
	strand->phase = conn->phase;
	conn->phase = STT_PARKED;
	atomic_store_explicit(&stt_rare_of(conn)->strand, strand, memory_order_relaxed);
	if (!strand->looks) {
		int64_t look_ms = stt_now_ms() + LOOK_MS;

		/* The deadlines of the connection rest: what its alarm rings for is this wait's. */
		atomic_store(&conn->owner_due_ms, STT_NEVER);
		strand->looks = true;
		strand->doubled = 0;
		strand->seen = strand->waits - 1;
		if (look_ms < at)
			at = look_ms;
	}
	stt_deadlines_look_by(conn, at);
	if (strand->leaves == STT_LEAVES_TO_YIELD)
		stt_conn_wish_again(conn, STT_WISH_WAKE);
	return true;
}

/* The alarm has rung, and the wait is not over: gives pages back, if it has lasted since the last
 * look. */
static void look_again(struct stt_strand *strand, int64_t now_ms)
{
	struct sttcp_conn *conn = strand->conn;
	int64_t at = strand->until_ms;
	unsigned waits = strand->waits - strand->seen;

	atomic_store(&conn->owner_due_ms, STT_NEVER);
	if (waits == 0) {
		stt_fiber_trim(&strand->fiber);
		/* The next wait begins to look again. */
		strand->looks = false;
	} else {
		if (waits == 1)
			strand->doubled = 0;
		else if (strand->doubled < LOOKS_DOUBLE)
			strand->doubled++;
		if (now_ms + (LOOK_MS << strand->doubled) < at)
			at = now_ms + (LOOK_MS << strand->doubled);
	}
	strand->seen = strand->waits;
	stt_deadlines_look_by(conn, at);
}

/* What a connection touches of its own, up to the pointer that leads on. */
static void fetch_conn(const struct stt_actor *actor)
{
	const char *conn = (const char *)stt_container_of(actor, struct sttcp_conn, actor);

	for (size_t at = 0; at <= offsetof(struct sttcp_conn, rare); at += 64)
		__builtin_prefetch(conn + at, 1);
}

/* Of the connection that an event is for; NULL if there is none, or it is something else. */
static const struct stt_rare *rare_of(const struct epoll_event *event,
				      const struct stt_actor_ops *ops)
{
	const struct stt_actor *actor = event->data.ptr;

	return actor->ops == ops ? stt_rare_of(stt_container_of(actor, struct sttcp_conn, actor))
				 : NULL;
}

/* Three events ahead its own lines, two ahead the pointer to the call, then the call: each of these
 * is found through the one before, which has come meanwhile. Of dialogues on 1000 connections in
 * turn this saves 5% of the CPU time. Only the address of a call is read: another thread may be
 * running it. */
void stt_strand_fetch_next(const struct stt_desk *desk, const struct sttcp_conn *conn)
{
	const struct stt_actor_ops *ops = conn->actor.ops;
	const struct stt_loop *loop = desk->worker.loop;
	const struct epoll_event *next = loop ? &loop->events[loop->next_event] : NULL;
	int count = loop ? loop->nevents - loop->next_event : 0;
	const struct stt_rare *rare;

	if (count > 2)
		fetch_conn(next[2].data.ptr);
	rare = count > 1 ? rare_of(&next[1], ops) : NULL;
	if (rare)
		__builtin_prefetch(&rare->strand);
	rare = count > 0 ? rare_of(&next[0], ops) : NULL;
	if (!rare)
		return;

	const struct stt_strand *strand = atomic_load_explicit(&rare->strand, memory_order_relaxed);

	if (strand)
		stt_fiber_fetch(&strand->fiber, sizeof(*strand));
}

bool stt_strand_is_woken(struct stt_strand *strand, unsigned wishes)
{
	if (wishes & STT_WISH_READ)
		strand->emptied = false;
	strand->came = wishes;
	strand->noted |= wishes & ~(unsigned)(STT_BUSY | STT_WISH_WAKE | STT_WISH_TIMEOUT);
	if (wishes & strand->wakes)
		return true;
	if (!(wishes & STT_WISH_TIMEOUT))
		return false;

	int64_t now_ms = stt_now_ms();

	if (strand->until_ms <= now_ms)
		return true;
	look_again(strand, now_ms);
	return false;
}

void stt_strand_unpark(struct stt_desk *desk, struct stt_strand *strand)
{
	struct sttcp_conn *conn = strand->conn;

	/* Rung, or about to be set anew. */
	if (strand->came & STT_WISH_TIMEOUT) {
		atomic_store(&conn->owner_due_ms, STT_NEVER);
		strand->looks = false;
	}
	atomic_store_explicit(&stt_rare_of(conn)->strand, NULL, memory_order_relaxed);
	conn->phase = strand->phase;
	stt_input_take(desk, conn);
	desk->input.waits = desk->input.memory && desk->input.memory->began_ms;
	desk->input.pinned = strand->pinned;
	strand->pinned = NULL;
	desk->call = strand->call;
}
