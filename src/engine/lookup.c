/* SPDX-License-Identifier: MIT */
/*
 * The life of a question:
 *
 *	NEW	 -- asked -->			WAITING
 *	WAITING	 -- a thread takes it -->	ASKED
 *	ASKED	 -- the resolver's answer -->	on its loop's ready list
 *
 * and, when it is dropped: NEW and WAITING are freed at once, ASKED by its
 * thread, and one on the ready list by the loop.
 */
#include "engine/lookup.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/mutex.h"
#include "engine/loop.h"
#include "engine/thread.h"
#include "net/address.h"

enum {
	/* Threads for questions that somebody waits for. A resolver that does not answer must not
	 * take many threads. Nor may it take all of them for good, so those with abandoned
	 * questions are replaced. */
	MAX_WANTED = 8,
	MAX_THREADS = 16,
	IDLE_MS = 5000
};

struct stt_lookup {
	/* Set before it is asked. */
	struct stt_actor actor;
	struct stt_loop *loop;
	stt_lookup_answer answer;
	void *asker;
	char *host;
	int port;

	/* Under the lock. */
	struct stt_node node; /* in the queue */
	enum {
		NEW,
		WAITING,
		ASKED,
		ANSWERED
	} state;
	bool dropped;

	/* Its thread's, then its loop's. */
	struct stt_addr *addrs;
	int result;
	const char *why;
};

static struct stt_mutex lookups_lock = STT_MUTEX_INIT;
/* Under the lock. */
static struct stt_node queue = {&queue, &queue};
static int nqueued;
static int nthreads;
static int nidle;     /* of these, waiting for a question, or about to */
static int nunwanted; /* of these, with a question that was dropped */
static bool ending;
static bool unjoined; /* a thread has left at the end, and nobody has joined it yet: */
static pthread_t last_gone;
static bool made_cond; /* it counts by the monotonic clock, which cannot be said here */
static struct stt_cond changed;

static void deliver(struct stt_worker *worker, struct stt_actor *actor);

static const struct stt_actor_ops lookup_ops = {.on_ready = deliver};

struct stt_lookup *stt_lookup_new(struct stt_loop *loop, const char *host, int port,
				  stt_lookup_answer answer, void *asker)
{
	struct stt_lookup *lookup = calloc(1, sizeof(*lookup));
	char *copy = strdup(host);

	if (!lookup || !copy) {
		free(lookup);
		free(copy);
		return NULL;
	}
	lookup->actor.ops = &lookup_ops;
	lookup->loop = loop;
	lookup->answer = answer;
	lookup->asker = asker;
	lookup->host = copy;
	lookup->port = port;
	lookup->why = "";
	return lookup;
}

static void free_lookup(struct stt_lookup *lookup)
{
	free(lookup->addrs);
	free(lookup->host);
	free(lookup);
}

static void deliver(struct stt_worker *worker, struct stt_actor *actor)
{
	struct stt_lookup *lookup = stt_container_of(actor, struct stt_lookup, actor);
	struct stt_addr *addrs = lookup->addrs;

	(void)worker;
	/* Only this loop could drop it now. */
	if (!lookup->dropped) {
		lookup->addrs = NULL;
		lookup->answer(lookup->asker, lookup->result, addrs, lookup->why);
	}
	free_lookup(lookup);
}

static struct stt_lookup *take_first_locked(void) STT_REQUIRES(lookups_lock)
{
	struct stt_lookup *lookup = stt_container_of(queue.next, struct stt_lookup, node);

	stt_list_remove(&lookup->node);
	nqueued--;
	return lookup;
}

/* The next question, for a thread that counts as idle until then. NULL when the thread is to end:
 * it had no question for some time, or the thread that it replaced has come back. */
static struct stt_lookup *take_next_locked(void) STT_REQUIRES(lookups_lock)
{
	int64_t until_ms = stt_deadline_ms(IDLE_MS);
	bool in_time = true;

	if (nthreads - nunwanted > MAX_WANTED) {
		nidle--;
		return NULL;
	}
	while (!nqueued && !ending && in_time)
		in_time = stt_cond_wait_until(&changed, &lookups_lock, until_ms);
	nidle--;
	if (!nqueued)
		return NULL;

	struct stt_lookup *lookup = take_first_locked();

	lookup->state = ASKED;
	return lookup;
}

/* Passes the answer on; with the lock, which it releases meanwhile. */
static void answer_locked(struct stt_lookup *lookup) STT_REQUIRES(lookups_lock)
{
	bool dropped = lookup->dropped;

	lookup->state = ANSWERED;
	nunwanted -= dropped;
	stt_unlock(&lookups_lock);
	if (dropped)
		free_lookup(lookup);
	else
		stt_loop_push(lookup->loop, &lookup->actor);
	stt_lock(&lookups_lock);
}

static void *run_lookups(void *argument)
{
	struct stt_lookup *lookup;

	(void)argument;
	stt_cancel_off();
	pthread_setname_np(pthread_self(), "sttcp-lookup");
	stt_lock(&lookups_lock);
	nidle++;
	while ((lookup = take_next_locked()) != NULL) {
		stt_unlock(&lookups_lock);
		lookup->result = stt_addr_resolve(lookup->host, lookup->port, STT_ADDR_TO_CONNECT,
						  &lookup->addrs, &lookup->why);
		stt_lock(&lookups_lock);
		/* From now on: the answer may make the next question come before this thread has
		 * the lock again, and that needs no other thread. */
		nidle++;
		answer_locked(lookup);
	}
	/* At the end who leaves joins the one who left before: the last one's join is that of all.
	 * Else nobody may ever come to join it. */
	bool joins = ending && unjoined;
	pthread_t before = last_gone;

	if (ending) {
		unjoined = true;
		last_gone = pthread_self();
	} else {
		pthread_detach(pthread_self());
	}
	nthreads--;
	stt_cond_wake_all(&changed);
	stt_unlock(&lookups_lock);
	if (joins)
		pthread_join(before, NULL);
	return NULL;
}

/* Makes sure that a thread takes what is queued. If there is none, and none can be created, the
 * answer is -EAGAIN. */
static void call_thread(void)
{
	pthread_t thread;

	stt_lock(&lookups_lock);
	bool more = nqueued > nidle && nthreads - nunwanted < MAX_WANTED && nthreads < MAX_THREADS;

	if (!made_cond)
		stt_cond_init(&changed);
	made_cond = true;
	nthreads += more;
	stt_cond_wake_all(&changed);
	stt_unlock(&lookups_lock);
	if (!more)
		return;

	int result = stt_thread_start(&thread, 0, run_lookups, NULL);

	if (result == 0)
		return;
	stt_lock(&lookups_lock);
	nthreads--;
	while (!nthreads && nqueued) {
		struct stt_lookup *lookup = take_first_locked();

		lookup->result = result;
		answer_locked(lookup);
	}
	stt_unlock(&lookups_lock);
}

void stt_lookup_ask(struct stt_lookup *lookup)
{
	stt_lock(&lookups_lock);
	lookup->state = WAITING;
	stt_list_append(&queue, &lookup->node);
	nqueued++;
	stt_unlock(&lookups_lock);
	call_thread();
}

void stt_lookup_drop(struct stt_lookup *lookup)
{
	if (!lookup)
		return;
	stt_lock(&lookups_lock);
	bool is_ours = lookup->state == NEW || lookup->state == WAITING;
	bool calls = lookup->state == ASKED;

	if (lookup->state == WAITING) {
		stt_list_remove(&lookup->node);
		nqueued--;
	}
	lookup->dropped = true;
	nunwanted += calls;
	stt_unlock(&lookups_lock);
	if (is_ours)
		free_lookup(lookup);
	else if (calls)
		call_thread();
}

void stt_lookup_end_threads(void)
{
	stt_lock(&lookups_lock);
	ending = true;
	if (made_cond)
		stt_cond_wake_all(&changed);
	while (nthreads)
		stt_cond_wait(&changed, &lookups_lock);
	ending = false;

	bool joins = unjoined;

	unjoined = false;
	stt_unlock(&lookups_lock);
	if (joins)
		pthread_join(last_gone, NULL);
}

void stt_lookup_after_fork(void)
{
	stt_mutex_init(&lookups_lock);
	stt_list_init(&queue);
	nqueued = nthreads = nidle = nunwanted = 0;
	ending = made_cond = unjoined = false;
}
