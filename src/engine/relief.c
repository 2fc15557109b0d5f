/* SPDX-License-Identifier: MIT */
/*
 * Who is relieved: as long as the queue moves, its order is that of arrival, and
 * no wait is ended, however long the queue. It does not move if somebody has
 * stood in it for a whole period (`since` of the pool). Then the thread of an
 * ended wait goes to the newest, which is the one that it was made for: behind
 * thousands of silent peers that stand in the queue, too, nobody would come to
 * speak. All other threads go to the oldest, as ever.
 */
#include "engine/relief.h"

#include <stdlib.h>

#include "net/poller.h"

enum {
	PERIOD_MS = 100
};

/* A wait that may be ended. */
struct waiting {
	struct stt_worker *worker;
	int64_t number;
	int64_t began_ms;
};

void stt_relief_begin_period_locked(struct stt_pool *pool)
{
	pool->since = pool->tail;
	pool->came = 0;
	atomic_store_explicit(&pool->since_ms, stt_now_ms(), memory_order_relaxed);
}

int64_t stt_relief_due_ms(const struct stt_pool *pool)
{
	/* Sequentially consistent: see the monitor's sleep. */
	if (!atomic_load(&pool->is_short))
		return STT_NEVER;
	return atomic_load_explicit(&pool->since_ms, memory_order_relaxed) + PERIOD_MS;
}

static int by_age(const void *left, const void *right)
{
	const struct waiting *a = left;
	const struct waiting *b = right;

	return (a->began_ms > b->began_ms) - (a->began_ms < b->began_ms);
}

static int count_records(const struct stt_pool *pool)
{
	int count = 0;

	for (struct stt_worker *worker = atomic_load_explicit(&pool->records, memory_order_acquire);
	     worker; worker = worker->next_record)
		count++;
	return count;
}

/* Those that wait, up to `max`, the longest first. Those that were told to end and have not yet are
 * only counted. */
static int list_waiting(const struct stt_pool *pool, struct waiting *list, int max, int *nending)
{
	int count = 0;

	for (struct stt_worker *worker = atomic_load_explicit(&pool->records, memory_order_acquire);
	     worker && count < max; worker = worker->next_record) {
		const struct stt_wait *wait = &worker->wait;
		int64_t number = atomic_load_explicit(&wait->number, memory_order_acquire);

		if (!(number & 1))
			continue;
		if (atomic_load_explicit(&wait->unwanted, memory_order_relaxed) == number) {
			++*nending;
			continue;
		}
		list[count++] = (struct waiting){
			.worker = worker,
			.number = number,
			.began_ms = atomic_load_explicit(&wait->began_ms, memory_order_relaxed),
		};
	}
	qsort(list, (size_t)count, sizeof(*list), by_age);
	return count;
}

static void end_one_locked(struct stt_pool *pool, const struct waiting *waiting)
	STT_REQUIRES(pool->lock)
{
	struct stt_wait *wait = &waiting->worker->wait;

	(void)pool;
	/* If it has ended meanwhile, the record may be that of another thread. */
	if (atomic_load_explicit(&wait->number, memory_order_acquire) != waiting->number)
		return;
	atomic_store_explicit(&wait->unwanted, waiting->number, memory_order_release);
	stt_waker_wake(atomic_load_explicit(&wait->waker, memory_order_relaxed));
}

/* So many of them, the longest first; one at least, unless one is about to end. */
static void end_waits(struct stt_pool *pool, int wanted)
{
	int max = count_records(pool);
	struct waiting *list = calloc((size_t)max, sizeof(*list));
	int nending = 0;

	/* Then in the next period. */
	if (!list)
		return;

	int count = list_waiting(pool, list, max, &nending);

	if (!wanted && !nending)
		wanted = 1;
	stt_lock(&pool->lock);
	for (int i = 0; i < count && i < wanted; i++)
		end_one_locked(pool, &list[i]);
	stt_unlock(&pool->lock);
	free(list);
}

void stt_relief_look(struct stt_pool *pool)
{
	int64_t due_ms = stt_relief_due_ms(pool);

	if (due_ms == STT_NEVER || stt_now_ms() < due_ms)
		return;
	stt_lock(&pool->lock);
	/* One that has been called is still to come. */
	bool stands = pool->since && !pool->waking && !stt_pool_has_thread_locked(pool);
	int came = pool->came;

	stt_relief_begin_period_locked(pool);
	stt_unlock(&pool->lock);
	if (stands)
		end_waits(pool, came);
}
