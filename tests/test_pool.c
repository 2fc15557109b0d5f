/* SPDX-License-Identifier: MIT */
/*
 * The pool of threads alone (G8, G15): who is made, parked, woken and let go,
 * with jobs instead of connections and an engine that has nothing else. The
 * waits of parked threads are this program's own, so that a case says when one
 * has waited for long enough.
 */
#include "engine/pool.h"

#include "base/list.h"
#include "engine/engine.h"
#include "engine/loop.h"
#include "support/faults.h"
#include "support/support.h"

#include <signal.h>

enum {
	JOBS = 16
};

struct job {
	struct stt_actor actor;
	struct event *until; /* it ends when this has been raised; NULL: at once */
	struct event ended;
	atomic_int runs;
	_Atomic(struct stt_worker *) worker;
	sigset_t mask;
};

static struct stt_engine engine;
static struct stt_pool *const pool = &engine.pool;
static struct stt_loop loop;
static struct job jobs[JOBS];
static struct event begun; /* jobs, of all */
static char order[JOBS + 1];
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

static void init_job(struct job *job, struct event *until)
{
	*job = (struct job){.actor.ops = &job_ops, .until = until, .ended = EVENT_INIT};
}

/* Pushes one that ends with `until`. */
static struct job *push(int number, struct event *until)
{
	init_job(&jobs[number], until);
	stt_pool_push(pool, &jobs[number].actor);
	return &jobs[number];
}

/* What stands behind a worker's record is the user's: opened before a thread, closed after it. */
static atomic_int nopen;
static atomic_bool cannot_open;

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

static void open_pool(int max_threads)
{
	memset(&engine, 0, sizeof(engine));
	memset(&loop, 0, sizeof(loop));
	memset(order, 0, sizeof(order));
	norder = 0;
	begun = (struct event)EVENT_INIT;
	engine.loops = &loop;
	stt_pool_init(pool, &engine, &user, max_threads, 0);
}

/* What the pool counts, read under its lock. */
#define COUNT_OF(field) count_of(&pool->field)

static int count_of(const int *field)
{
	stt_lock(&pool->lock);
	int count = *field;

	stt_unlock(&pool->lock);
	return count;
}

static int count_records(void)
{
	int count = 0;

	for (struct stt_worker *worker = atomic_load(&pool->records); worker;
	     worker = worker->next_record)
		count++;
	return count;
}

/* Everybody has gone, and what was counted has come out even. */
static void close_pool(void)
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

/* ------------------------------------------------------------------- parking */

/* What the wait of a parked worker does: */
enum {
	WAITS,
	TIMES_OUT,	 /* at once */
	TIMES_OUT_LATER, /* when it may go on, whatever has come meanwhile */
	WAKES_LATER	 /* is woken, and goes on when it may */
};

static atomic_int parking;
static struct event parks = EVENT_INIT;
static struct event may_go_on = EVENT_INIT; /* each of those that wait for it */
static _Thread_local long turn;		    /* of these */

/* Whether the wait that begins is over its time. */
static bool times_out(void)
{
	int how = atomic_load(&parking);

	turn = event_count(&may_go_on) + 1;
	event_raise(&parks);
	if (how == TIMES_OUT_LATER)
		event_wait(&may_go_on, turn);
	return how == TIMES_OUT || how == TIMES_OUT_LATER;
}

static void after_wait(void)
{
	if (atomic_load(&parking) == WAKES_LATER)
		event_wait(&may_go_on, turn);
}

#if STT_HAVE_SEM_CLOCKWAIT

static int wait_in_its_place(sem_t *restrict semaphore, clockid_t clock,
			     const struct timespec *restrict until)
{
	if (times_out()) {
		errno = ETIMEDOUT;
		return -1;
	}
	int result = real_sem_clockwait(semaphore, clock, until);

	after_wait();
	return result;
}

static void stand_in(void)
{
	atomic_store(&stand_in_sem_clockwait, wait_in_its_place);
}

#else

/* A wait that has a limit: see base/semaphore.h. */
static long wait_in_its_place(long number, const long arguments[6])
{
	bool parked = number == SYS_futex && arguments[1] == STT_FUTEX_WAIT_BITSET && arguments[3];

	if (parked && times_out()) {
		errno = ETIMEDOUT;
		return -1;
	}
	long result = real_syscall(number, arguments);

	if (parked)
		after_wait();
	return result;
}

static void stand_in(void)
{
	atomic_store(&stand_in_syscall, wait_in_its_place);
}

#endif

static void parked_worker_is_woken_and_no_other_made(void **state)
{
	(void)state;
	open_pool(4);
	assert_int_equal(count_records(), 0);
	for (int i = 0; i < 5; i++) {
		struct job *job = push(i, NULL);

		assert_true(event_wait(&job->ended, 1));
		EVENTUALLY(COUNT_OF(nparked) == 1);
		assert_ptr_equal(job->worker, jobs[0].worker);
	}
	assert_int_equal(COUNT_OF(nthreads), 1);
	assert_int_equal(count_records(), 1);
	close_pool();
}

/* Its stack and its cache are warm still, and the others may come to their time and leave. */
static void last_to_park_is_the_first_to_be_woken(void **state)
{
	struct event ends[3] = {EVENT_INIT, EVENT_INIT, EVENT_INIT};
	static const int parking_order[] = {1, 2, 0};

	(void)state;
	open_pool(4);
	for (int i = 0; i < 3; i++)
		push(i, &ends[i]);
	assert_true(event_wait(&begun, 3));
	for (int i = 0; i < 3; i++) {
		event_raise(&ends[parking_order[i]]);
		EVENTUALLY(COUNT_OF(nparked) == i + 1);
	}
	struct job *job = push(3, NULL);

	assert_true(event_wait(&job->ended, 1));
	assert_ptr_equal(job->worker, jobs[0].worker);
	EVENTUALLY(COUNT_OF(nparked) == 3);
	assert_int_equal(COUNT_OF(nthreads), 3);
	close_pool();
}

/* Who is woken wakes the next one, so a burst does not wake more threads than it needs. */
static void one_worker_is_woken_at_a_time(void **state)
{
	struct event end = EVENT_INIT;

	(void)state;
	open_pool(4);
	atomic_store(&parking, WAKES_LATER);
	push(0, &end);
	push(1, &end);
	assert_true(event_wait(&begun, 2));
	event_raise(&end);
	EVENTUALLY(COUNT_OF(nparked) == 2);
	/* The first one woken does not come before it may. */
	end = (struct event)EVENT_INIT;
	push(2, &end);
	push(3, &end);
	assert_int_equal(COUNT_OF(nparked), 1);
	assert_int_equal(COUNT_OF(waking), 1);
	event_raise(&may_go_on);
	/* Neither of the two waits for the other. */
	assert_true(event_wait(&begun, 4));
	assert_int_equal(COUNT_OF(nthreads), 2);
	event_raise(&end);
	atomic_store(&parking, WAITS);
	close_pool();
}

static void worker_that_nobody_needs_leaves(void **state)
{
	int before = count_threads();

	(void)state;
	open_pool(4);
	atomic_store(&parking, TIMES_OUT);
	for (int i = 0; i < 3; i++) {
		struct job *job = push(i, NULL);

		assert_true(event_wait(&job->ended, 1));
		EVENTUALLY(COUNT_OF(nrunning) == 0);
		assert_int_equal(COUNT_OF(nthreads), 0);
		assert_int_equal(COUNT_OF(nparked), 0);
	}
	EVENTUALLY(count_threads() == before);
	/* Its record waits for the next one. */
	assert_int_equal(count_records(), 1);
	atomic_store(&parking, WAITS);
	close_pool();
}

/* One in the middle of those that are parked. */
static void worker_that_leaves_is_woken_no_more(void **state)
{
	struct event ends[3] = {EVENT_INIT, EVENT_INIT, EVENT_INIT};

	(void)state;
	open_pool(4);
	for (int i = 0; i < 3; i++)
		push(i, &ends[i]);
	assert_true(event_wait(&begun, 3));
	for (int i = 0; i < 3; i++) {
		long parked = event_count(&parks);

		atomic_store(&parking, i == 1 ? TIMES_OUT_LATER : WAITS);
		event_raise(&ends[i]);
		EVENTUALLY(COUNT_OF(nparked) == i + 1);
		assert_true(event_wait(&parks, parked + 1));
	}
	/* The one in the middle waits in the stand-in yet, in its own way. */
	event_raise(&may_go_on);
	EVENTUALLY(COUNT_OF(nrunning) == 2);
	ends[0] = (struct event)EVENT_INIT;
	push(3, &ends[0]);
	push(4, &ends[0]);
	assert_true(event_wait(&begun, 5));
	assert_int_equal(COUNT_OF(nthreads), 2);
	assert_int_equal(count_records(), 3);
	event_raise(&ends[0]);
	close_pool();
}

/* It has waited for long enough, and is called before it could say so. */
static void call_at_the_last_moment_is_heard(void **state)
{
	long parked = event_count(&parks);

	(void)state;
	open_pool(1);
	atomic_store(&parking, TIMES_OUT_LATER);
	struct job *job = push(0, NULL);

	assert_true(event_wait(&job->ended, 1));
	EVENTUALLY(COUNT_OF(nparked) == 1);
	assert_true(event_wait(&parks, parked + 1));
	atomic_store(&parking, WAITS);
	job = push(1, NULL);
	event_raise(&may_go_on);
	assert_true(event_wait(&job->ended, 1));
	EVENTUALLY(COUNT_OF(nparked) == 1);
	assert_int_equal(COUNT_OF(nthreads), 1);
	/* And once more: the call from before has been used up. */
	job = push(2, NULL);
	assert_true(event_wait(&job->ended, 1));
	EVENTUALLY(COUNT_OF(nparked) == 1);
	close_pool();
}

/* -------------------------------------------------------------------- the queue */

static void queue_is_worked_in_order(void **state)
{
	struct event end = EVENT_INIT;

	(void)state;
	open_pool(1);
	push(0, &end);
	assert_true(event_wait(&begun, 1));
	for (int i = 1; i < 8; i++)
		push(i, NULL);
	event_raise(&end);
	assert_true(event_wait(&jobs[7].ended, 1));
	assert_string_equal(order, "abcdefgh");
	close_pool();
}

/* The first, one in the middle, the last, the only one; twice, and when it is too late. */
static void what_is_taken_out_of_the_queue_is_not_run(void **state)
{
	struct event end = EVENT_INIT;

	(void)state;
	open_pool(1);
	push(0, &end);
	assert_true(event_wait(&begun, 1));
	assert_false(stt_pool_take(pool, &jobs[0].actor));
	push(1, NULL);
	assert_true(stt_pool_take(pool, &jobs[1].actor));
	assert_false(stt_pool_is_short(pool));
	for (int i = 2; i < 9; i++)
		push(i, NULL);
	assert_true(stt_pool_take(pool, &jobs[2].actor));
	assert_true(stt_pool_take(pool, &jobs[8].actor));
	assert_true(stt_pool_take(pool, &jobs[5].actor));
	assert_false(stt_pool_take(pool, &jobs[5].actor));
	/* One less to wait: each of the eight is counted once. */
	assert_int_equal(pool->cap_hits, 8);
	push(9, NULL);
	event_raise(&end);
	assert_true(event_wait(&jobs[9].ended, 1));
	assert_string_equal(order, "adeghj");
	close_pool();
}

/* At the cap who waits is counted, and it is told to those who have a thread. */
static void at_the_cap_others_wait_and_are_counted(void **state)
{
	struct event end = EVENT_INIT;

	(void)state;
	open_pool(2);
	push(0, &end);
	push(1, &end);
	assert_true(event_wait(&begun, 2));
	assert_false(stt_pool_is_short(pool));
	assert_int_equal(pool->cap_hits, 0);
	push(2, NULL);
	assert_true(stt_pool_is_short(pool));
	assert_int_equal(pool->cap_hits, 1);
	push(3, NULL);
	assert_int_equal(pool->cap_hits, 2);
	assert_int_equal(COUNT_OF(nthreads), 2);
	event_raise(&end);
	assert_true(event_wait(&jobs[2].ended, 1) && event_wait(&jobs[3].ended, 1));
	EVENTUALLY(COUNT_OF(nparked) == 2);
	assert_false(stt_pool_is_short(pool));
	close_pool();
}

/* So it is where all of them are at jobs that are not known to block, as many as may be at a time:
 * there is nothing for the monitor to see to. */
static void cap_counts_where_the_width_holds_too(void **state)
{
	struct event end = EVENT_INIT;

	(void)state;
	open_pool(4);
	for (int i = 0; i < 4; i++)
		push(i, &end);
	assert_true(event_wait(&begun, 4));
	push(4, NULL);
	assert_true(stt_pool_is_short(pool));
	assert_int_equal(pool->cap_hits, 1);
	assert_false(atomic_load(&pool->is_held));
	event_raise(&end);
	assert_true(event_wait(&jobs[4].ended, 1));
	close_pool();
}

/* Below the cap it is the monitor that lets more of them come. */
static void job_that_the_width_holds_waits_for_the_monitor(void **state)
{
	struct event end = EVENT_INIT;
	struct stt_worker *stuck[JOBS];

	(void)state;
	open_pool(5);
	for (int i = 0; i < 4; i++)
		push(i, &end);
	assert_true(event_wait(&begun, 4));
	push(4, &end);
	assert_true(stt_pool_is_short(pool));
	assert_true(atomic_load(&pool->is_held));
	assert_int_equal(pool->cap_hits, 0);
	assert_int_equal(stt_pool_find_stuck(pool, stuck, JOBS), 0); /* four were taken */
	assert_int_equal(stt_pool_find_stuck(pool, stuck, JOBS), 4);
	stt_pool_widen(pool);
	assert_true(event_wait(&begun, 5));
	/* With the last thread at work there is none to be held back for. */
	push(5, NULL);
	assert_int_equal(pool->cap_hits, 1);
	assert_int_equal(stt_pool_find_stuck(pool, stuck, JOBS), 0);
	assert_false(atomic_load(&pool->is_held));
	event_raise(&end);
	assert_true(event_wait(&jobs[5].ended, 1));
	close_pool();
}

/* A case of the whole: from several threads, while some of it is taken back. */
static struct job many[4][500];

static void *push_many(void *argument)
{
	struct job *own = argument;

	for (size_t i = 0; i < sizeof(many[0]) / sizeof(many[0][0]); i++)
		stt_pool_push(pool, &own[i].actor);
	return NULL;
}

static void each_job_is_run_once_or_taken_back(void **state)
{
	enum {
		PUSHERS = sizeof(many) / sizeof(many[0]),
		EACH = sizeof(many[0]) / sizeof(many[0][0])
	};
	struct event end = EVENT_INIT;
	uint32_t random = test_seed();
	pthread_t threads[PUSHERS];
	int ntaken = 0;
	int nruns = 0;

	(void)state;
	open_pool(3);
	for (int i = 0; i < 3; i++)
		push(i, &end);
	for (int i = 0; i < PUSHERS * EACH; i++)
		init_job(&many[0][0] + i, NULL);
	for (int i = 0; i < PUSHERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, push_many, many[i]), 0);
	for (int i = 0; i < 2 * PUSHERS * EACH; i++) {
		struct job *job = &many[0][0] + next_random(&random) % (PUSHERS * EACH);

		/* Until now nothing has left the queue but what was taken. */
		if (i == PUSHERS * EACH)
			event_raise(&end);
		if (stt_pool_take(pool, &job->actor)) {
			ntaken++;
			/* Not again, for another one. */
			atomic_fetch_add(&job->runs, 1);
		}
	}
	for (int i = 0; i < PUSHERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	EVENTUALLY(event_count(&begun) + ntaken == 3 + PUSHERS * EACH);
	assert_true(COUNT_OF(nthreads) <= 3);
	close_pool();
	for (int i = 0; i < PUSHERS * EACH; i++)
		nruns += atomic_load(&(&many[0][0] + i)->runs) == 1;
	assert_int_equal(nruns, PUSHERS * EACH);
	print_message("%d of %d taken back\n", ntaken, PUSHERS * EACH);
}

/* ----------------------------------------------------------------------- heirs */

static void parked_worker_becomes_an_heir_and_comes_back(void **state)
{
	(void)state;
	open_pool(2);
	struct job *job = push(0, NULL);

	assert_true(event_wait(&job->ended, 1));
	EVENTUALLY(COUNT_OF(nparked) == 1);
	struct stt_worker *heir = stt_pool_find_heir(pool, &loop);

	assert_ptr_equal(heir, job->worker);
	assert_ptr_equal(heir->assigned, &loop);
	assert_int_equal(COUNT_OF(nparked), 0);
	/* Heirs do not count to the cap. */
	assert_int_equal(COUNT_OF(nthreads), 0);
	/* And are not there for the queue. */
	job = push(1, NULL);
	assert_true(event_wait(&job->ended, 1));
	assert_true(job->worker != heir);
	stt_pool_return_heir(pool, heir);
	EVENTUALLY(COUNT_OF(nparked) == 2);
	assert_int_equal(COUNT_OF(nthreads), 2);
	close_pool();
}

static void heir_is_made_unless_the_cap_is_reached(void **state)
{
	struct event end = EVENT_INIT;

	(void)state;
	open_pool(1);
	struct stt_worker *heir = stt_pool_find_heir(pool, &loop);

	assert_non_null(heir);
	assert_int_equal(COUNT_OF(nthreads), 0);
	push(0, &end);
	assert_true(event_wait(&begun, 1));
	assert_null(stt_pool_find_heir(pool, &loop));
	event_raise(&end);
	stt_pool_return_heir(pool, heir);
	stt_pool_return_heir(pool, NULL);
	EVENTUALLY(COUNT_OF(nparked) == 2);
	close_pool();
}

/* Before it parks; the loop's owner runs handlers only with an heir behind it. */
static void worker_becomes_the_heir_that_a_loop_lacks(void **state)
{
	(void)state;
	open_pool(4);
	engine.nloops = 1;
	struct job *job = push(0, NULL);

	EVENTUALLY(atomic_load(&loop.heir));
	assert_ptr_equal(atomic_load(&loop.heir), job->worker);
	EVENTUALLY(COUNT_OF(nthreads) == 0);
	assert_int_equal(COUNT_OF(nparked), 0);
	stt_pool_close(pool);
	stt_pool_return_heir(pool, atomic_load(&loop.heir));
	close_pool();
}

/* --------------------------------------------------------------------- shortage */

static void thread_that_cannot_be_had_is_tried_again(void **state)
{
	(void)state;
	open_pool(2);
	fault_instead(SYS_clone, EAGAIN, -1);
	struct job *job = push(0, NULL);

	assert_true(atomic_load(&pool->starved));
	assert_true(stt_pool_is_short(pool));
	assert_int_equal(COUNT_OF(nthreads), 0);
	assert_int_equal(COUNT_OF(waking), 0);
	assert_int_equal(COUNT_OF(nrunning), 0);
	assert_int_equal(pool->cap_hits, 1);
	/* In vain. */
	assert_true(stt_pool_retry(pool));
	assert_true(atomic_load(&pool->starved));
	assert_int_equal(fault_calls(), 2);
	fault_clear();
	assert_false(stt_pool_retry(pool));
	assert_true(event_wait(&job->ended, 1));
	EVENTUALLY(COUNT_OF(nparked) == 1);
	assert_false(stt_pool_is_short(pool));
	close_pool();
}

static void record_that_cannot_be_opened_is_a_thread_that_cannot_be_had(void **state)
{
	(void)state;
	open_pool(2);
	atomic_store(&cannot_open, true);
	struct job *job = push(0, NULL);

	assert_true(atomic_load(&pool->starved));
	assert_int_equal(atomic_load(&nopen), 0);
	assert_int_equal(COUNT_OF(nrunning), 0);
	atomic_store(&cannot_open, false);
	assert_false(stt_pool_retry(pool));
	assert_true(event_wait(&job->ended, 1));
	assert_int_equal(atomic_load(&nopen), 1);
	close_pool();
}

static void heir_that_cannot_be_had_is_tried_again(void **state)
{
	(void)state;
	open_pool(2);
	engine.nloops = 1;
	fault_instead(SYS_clone, EAGAIN, -1);
	assert_true(stt_pool_retry(pool));
	assert_null(atomic_load(&loop.heir));
	fault_clear();
	assert_false(stt_pool_retry(pool));
	assert_non_null(atomic_load(&loop.heir));
	/* It is there: nothing is to be had. */
	fault_instead(SYS_clone, EAGAIN, -1);
	assert_false(stt_pool_retry(pool));
	assert_int_equal(fault_calls(), 0);
	fault_clear();
	stt_pool_close(pool);
	stt_pool_return_heir(pool, atomic_load(&loop.heir));
	close_pool();
}

/* ----------------------------------------------------------------------- threads */

/* G17: what a handler does meets the signals that it would meet in the thread that made the pool.
 */
static void worker_has_the_mask_of_who_made_the_pool(void **state)
{
	sigset_t mask;
	sigset_t before;

	(void)state;
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &mask, &before);
	open_pool(1);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	struct job *job = push(0, NULL);

	assert_true(event_wait(&job->ended, 1));
	assert_true(sigismember(&job->mask, SIGUSR1));
	assert_false(sigismember(&job->mask, SIGUSR2));
	close_pool();
}

static void pool_that_is_closed_works_its_queue_first(void **state)
{
	struct event end = EVENT_INIT;
	int before = count_threads();

	(void)state;
	open_pool(1);
	push(0, &end);
	assert_true(event_wait(&begun, 1));
	push(1, NULL);
	stt_pool_close(pool);
	event_raise(&end);
	close_pool();
	assert_int_equal(atomic_load(&jobs[1].runs), 1);
	/* They have been joined. */
	assert_int_equal(count_threads(), before);
}

/* Free functions of users that wait for each other: there is no monitor any more. */
static void pool_that_is_closed_holds_nothing_back(void **state)
{
	struct event end = EVENT_INIT;

	(void)state;
	open_pool(8);
	for (int i = 0; i < 4; i++)
		push(i, &end);
	assert_true(event_wait(&begun, 4));
	for (int i = 4; i < 8; i++)
		push(i, &end);
	assert_int_equal(event_count(&begun), 4);
	stt_pool_close(pool);
	assert_true(event_wait(&begun, 8));
	event_raise(&end);
	close_pool();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parked_worker_is_woken_and_no_other_made),
		cmocka_unit_test(last_to_park_is_the_first_to_be_woken),
		cmocka_unit_test(one_worker_is_woken_at_a_time),
		cmocka_unit_test(worker_that_nobody_needs_leaves),
		cmocka_unit_test(worker_that_leaves_is_woken_no_more),
		cmocka_unit_test(call_at_the_last_moment_is_heard),
		cmocka_unit_test(queue_is_worked_in_order),
		cmocka_unit_test(what_is_taken_out_of_the_queue_is_not_run),
		cmocka_unit_test(at_the_cap_others_wait_and_are_counted),
		cmocka_unit_test(cap_counts_where_the_width_holds_too),
		cmocka_unit_test(job_that_the_width_holds_waits_for_the_monitor),
		cmocka_unit_test(each_job_is_run_once_or_taken_back),
		cmocka_unit_test(parked_worker_becomes_an_heir_and_comes_back),
		cmocka_unit_test(heir_is_made_unless_the_cap_is_reached),
		cmocka_unit_test(worker_becomes_the_heir_that_a_loop_lacks),
		cmocka_unit_test(thread_that_cannot_be_had_is_tried_again),
		cmocka_unit_test(record_that_cannot_be_opened_is_a_thread_that_cannot_be_had),
		cmocka_unit_test(heir_that_cannot_be_had_is_tried_again),
		cmocka_unit_test(worker_has_the_mask_of_who_made_the_pool),
		cmocka_unit_test(pool_that_is_closed_works_its_queue_first),
		cmocka_unit_test(pool_that_is_closed_holds_nothing_back),
	};

	stand_in();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
