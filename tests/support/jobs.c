/* SPDX-License-Identifier: MIT */
/* A pool of its own, and jobs. */
#include "support/jobs.h"

struct stt_engine engine;
struct stt_pool *const pool = &engine.pool;
struct stt_loop loop;
struct job jobs[JOBS];
struct event begun;
char order[JOBS + 1];
static int norder;

static void run_job(struct stt_worker *worker, struct stt_actor *actor)
{
	struct job *job = stt_container_of(actor, struct job, actor);

	pthread_sigmask(SIG_BLOCK, NULL, &job->mask);
	atomic_store(&job->worker, worker);
	pthread_mutex_lock(&begun.lock);
	if (job >= jobs && job < jobs + JOBS && norder < JOBS)
		order[norder++] = (char)('a' + (job - jobs));
	pthread_mutex_unlock(&begun.lock);
	event_raise(&begun);
	if (job->until)
		event_wait(job->until, 1);
	atomic_fetch_add(&job->runs, 1);
	event_raise(&job->ended);
}

static const struct stt_actor_ops job_ops = {.on_pool = run_job};

void init_job(struct job *job, struct event *until)
{
	*job = (struct job){.actor.ops = &job_ops, .until = until, .ended = EVENT_INIT};
}

struct job *push(int number, struct event *until)
{
	init_job(&jobs[number], until);
	stt_pool_push(pool, &jobs[number].actor);
	return &jobs[number];
}

atomic_int nopen;
atomic_bool cannot_open;

static bool open_record(struct stt_worker *worker)
{
	(void)worker;
	atomic_fetch_add(&nopen, 1);
	return !atomic_load(&cannot_open);
}

static void close_record(struct stt_worker *worker)
{
	(void)worker;
	atomic_fetch_sub(&nopen, 1);
}

static const struct stt_engine_user user = {.record_size = sizeof(struct stt_worker),
					    .open_record = open_record,
					    .close_record = close_record};

void open_pool(int max_threads)
{
	memset(&engine, 0, sizeof(engine));
	memset(&loop, 0, sizeof(loop));
	memset(order, 0, sizeof(order));
	norder = 0;
	begun = (struct event)EVENT_INIT;
	engine.loops = &loop;
	stt_pool_init(pool, &engine, &user, max_threads, 0);
}

int count_of(const int *field)
{
	stt_lock(&pool->lock);
	int count = *field;

	stt_unlock(&pool->lock);
	return count;
}

int count_records(void)
{
	int count = 0;

	for (struct stt_worker *worker = atomic_load(&pool->records); worker;
	     worker = worker->next_record)
		count++;
	return count;
}

void close_pool(void)
{
	stt_pool_close(pool);
	EVENTUALLY(COUNT_OF(nrunning) == 0);
	assert_int_equal(pool->waking, 0);
	assert_int_equal(pool->nparked, 0);
	assert_null(pool->parked);
	assert_null(pool->head);
	assert_null(pool->tail);
	assert_int_equal(atomic_load(&nopen), 0);
	stt_pool_fini(pool);
}
