/* SPDX-License-Identifier: MIT */
/* The queue of the pool, what it does without threads, and its end (G8), with jobs instead of
 * connections. */
#include "engine/pool.h"

#include "support/faults.h"
#include "support/jobs.h"

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
		cmocka_unit_test(queue_is_worked_in_order),
		cmocka_unit_test(what_is_taken_out_of_the_queue_is_not_run),
		cmocka_unit_test(at_the_cap_others_wait_and_are_counted),
		cmocka_unit_test(cap_counts_where_the_width_holds_too),
		cmocka_unit_test(job_that_the_width_holds_waits_for_the_monitor),
		cmocka_unit_test(each_job_is_run_once_or_taken_back),
		cmocka_unit_test(thread_that_cannot_be_had_is_tried_again),
		cmocka_unit_test(record_that_cannot_be_opened_is_a_thread_that_cannot_be_had),
		cmocka_unit_test(heir_that_cannot_be_had_is_tried_again),
		cmocka_unit_test(worker_has_the_mask_of_who_made_the_pool),
		cmocka_unit_test(pool_that_is_closed_works_its_queue_first),
		cmocka_unit_test(pool_that_is_closed_holds_nothing_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
