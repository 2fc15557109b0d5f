/* SPDX-License-Identifier: MIT */
/*
 * Who of the pool is parked, woken, let go or made an heir (G8, G15). The waits
 * of parked threads are this program's own, so that a case says when one has
 * waited for long enough.
 */
#include "engine/pool.h"

#include "support/faults.h"
#include "support/jobs.h"

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
	long parked = event_count(&parks);

	(void)state;
	open_pool(4);
	atomic_store(&parking, WAKES_LATER);
	push(0, &end);
	push(1, &end);
	assert_true(event_wait(&begun, 2));
	event_raise(&end);
	EVENTUALLY(COUNT_OF(nparked) == 2);
	/* They know for which turn they wait. */
	assert_true(event_wait(&parks, parked + 2));
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parked_worker_is_woken_and_no_other_made),
		cmocka_unit_test(last_to_park_is_the_first_to_be_woken),
		cmocka_unit_test(one_worker_is_woken_at_a_time),
		cmocka_unit_test(worker_that_nobody_needs_leaves),
		cmocka_unit_test(worker_that_leaves_is_woken_no_more),
		cmocka_unit_test(call_at_the_last_moment_is_heard),
		cmocka_unit_test(parked_worker_becomes_an_heir_and_comes_back),
		cmocka_unit_test(heir_is_made_unless_the_cap_is_reached),
		cmocka_unit_test(worker_becomes_the_heir_that_a_loop_lacks),
	};

	stand_in();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
