/* SPDX-License-Identifier: MIT */
/* G8: which waits end at max_threads and who gets their threads, with jobs instead of connections
 * and the test instead of the monitor. */
#include "engine/relief.h"

#include <poll.h>

#include "net/poller.h"
#include "support/jobs.h"

enum {
	WAITERS = 4
};

/* A job whose handler waits for its peer, who never says anything. */
struct waiter {
	struct job job;
	int waker;
	struct event waits;
	struct event over;
	bool unwanted;
};

static struct waiter waiters[WAITERS];

static void run_waiter(struct stt_worker *worker, struct stt_actor *actor)
{
	struct waiter *waiter = stt_container_of(actor, struct waiter, job.actor);
	struct pollfd polled = {.fd = waiter->waker, .events = POLLIN};

	atomic_store(&waiter->job.worker, worker);
	stt_relief_begin_wait(worker, waiter->waker);
	event_raise(&waiter->waits);
	while (poll(&polled, 1, -1) < 0)
		;
	waiter->unwanted = stt_relief_end_wait(worker);
	worker->way = waiter->unwanted ? STT_WAY_TO_GIVE : STT_NO_WAY;
	event_raise(&waiter->over);
	event_wait(waiter->job.until, 1);
}

static const struct stt_actor_ops waiter_ops = {.on_pool = run_waiter};

/* It leaves its thread when `until` has been raised, too. */
static void begin_to_wait(int number, struct event *until)
{
	struct waiter *waiter = &waiters[number];

	init_job(&waiter->job, until);
	waiter->job.actor.ops = &waiter_ops;
	waiter->waker = stt_waker_new();
	waiter->waits = (struct event)EVENT_INIT;
	waiter->over = (struct event)EVENT_INIT;
	waiter->unwanted = false;
	stt_pool_push(pool, &waiter->job.actor);
	assert_true(event_wait(&waiter->waits, 1));
	/* The later, the younger. */
	atomic_store(&atomic_load(&waiter->job.worker)->wait.began_ms, 1000 + number);
}

/* As if its peer had said something. */
static void speak(int number)
{
	stt_waker_wake(waiters[number].waker);
	assert_true(event_wait(&waiters[number].over, 1));
}

static void close_waiters(int count)
{
	close_pool();
	for (int i = 0; i < count; i++)
		close(waiters[i].waker);
}

/* A period has passed. */
static void look(void)
{
	atomic_store(&pool->since_ms, stt_now_ms() - 1000);
	stt_relief_look(pool);
}

static bool is_wanted(int number)
{
	const struct stt_wait *wait = &atomic_load(&waiters[number].job.worker)->wait;

	return atomic_load(&wait->unwanted) != atomic_load(&wait->number);
}

/* One at least, the longest; the one that is about to end is enough for those who have not come
 * since. */
static void longest_wait_ends(void **state)
{
	struct event end = EVENT_INIT;

	(void)state;
	open_pool(3);
	for (int i = 0; i < 3; i++)
		begin_to_wait(i, &end);
	atomic_store(&atomic_load(&waiters[1].job.worker)->wait.began_ms, 1);
	push(0, NULL);
	assert_true(stt_relief_due_ms(pool) != STT_NEVER);
	look();
	assert_true(event_wait(&waiters[1].over, 1));
	assert_true(waiters[1].unwanted);
	assert_true(is_wanted(0) && is_wanted(2));
	look(); /* nobody has come; but this one keeps its thread */
	assert_true(event_wait(&waiters[0].over, 1));
	event_raise(&end);
	speak(2);
	assert_false(waiters[2].unwanted);
	assert_true(event_wait(&jobs[0].ended, 1));
	assert_true(stt_relief_due_ms(pool) == STT_NEVER);
	close_waiters(3);
}

static void as_many_end_as_have_come(void **state)
{
	struct event end = EVENT_INIT;

	(void)state;
	open_pool(WAITERS);
	for (int i = 0; i < WAITERS; i++)
		begin_to_wait(i, &end);
	push(0, NULL);
	push(1, NULL);
	push(2, NULL);
	look();
	for (int i = 0; i < 3; i++)
		assert_true(event_wait(&waiters[i].over, 1) && waiters[i].unwanted);
	assert_true(is_wanted(3));
	event_raise(&end);
	speak(3);
	for (int i = 0; i < 3; i++)
		assert_true(event_wait(&jobs[i].ended, 1));
	close_waiters(WAITERS);
}

/* However long the queue is: those who stand in it have come since the last look. */
static void no_wait_ends_while_the_queue_moves(void **state)
{
	struct event end = EVENT_INIT;
	struct event first = EVENT_INIT;
	struct event second = EVENT_INIT;

	(void)state;
	open_pool(2);
	begin_to_wait(0, &end);
	push(0, &first);
	assert_true(event_wait(&begun, 1));
	push(1, &second);
	push(2, NULL); /* behind it since the same look, and no older */
	push(3, NULL);
	event_raise(&first);
	assert_true(event_wait(&begun, 2));
	look();
	assert_true(is_wanted(0));
	look(); /* nobody has moved since that one */
	assert_true(event_wait(&waiters[0].over, 1));
	assert_true(waiters[0].unwanted);
	event_raise(&second);
	event_raise(&end);
	assert_true(event_wait(&jobs[2].ended, 1) && event_wait(&jobs[3].ended, 1));
	close_waiters(1);
}

/* What is taken out of the queue counts no more. */
static void who_is_taken_out_of_the_queue_has_not_waited(void **state)
{
	struct event end = EVENT_INIT;

	(void)state;
	open_pool(1);
	begin_to_wait(0, &end);
	push(0, NULL);
	push(1, NULL);
	assert_true(stt_pool_take(pool, &jobs[0].actor));
	look();
	assert_true(is_wanted(0)); /* the other one has come after it */
	look();
	assert_true(event_wait(&waiters[0].over, 1));
	event_raise(&end);
	assert_true(event_wait(&jobs[1].ended, 1));
	close_waiters(1);
}

/* The thread of an ended wait is for the newest, once; every other one for the oldest. */
static void ended_wait_makes_room_for_the_newest(void **state)
{
	struct event end = EVENT_INIT;

	(void)state;
	open_pool(1);
	begin_to_wait(0, &end);
	for (int i = 0; i < 5; i++)
		push(i, NULL);
	look();
	assert_true(event_wait(&waiters[0].over, 1));
	event_raise(&end);
	for (int i = 0; i < 5; i++)
		assert_true(event_wait(&jobs[i].ended, 1));
	assert_string_equal(order, "eabcd");
	close_waiters(1);
}

static void nothing_ends_while_a_thread_is_to_be_had(void **state)
{
	struct event end = EVENT_INIT;

	(void)state;
	open_pool(2);
	begin_to_wait(0, &end);
	push(0, NULL);
	assert_true(event_wait(&jobs[0].ended, 1));
	look();
	assert_true(is_wanted(0));
	event_raise(&end);
	speak(0);
	assert_false(waiters[0].unwanted);
	close_waiters(1);
}

/* The monitor has listed a wait that is over when it comes to it. */
static void late_number_ends_no_later_wait(void **state)
{
	struct stt_worker worker = {0};

	(void)state;
	stt_relief_begin_wait(&worker, -1);
	int64_t first = atomic_load(&worker.wait.number);

	assert_false(stt_relief_end_wait(&worker));
	atomic_store(&worker.wait.unwanted, first);
	stt_relief_begin_wait(&worker, -1);
	assert_false(stt_relief_end_wait(&worker));
	stt_relief_begin_wait(&worker, -1);
	atomic_store(&worker.wait.unwanted, atomic_load(&worker.wait.number));
	assert_true(stt_relief_end_wait(&worker));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(longest_wait_ends),
		cmocka_unit_test(as_many_end_as_have_come),
		cmocka_unit_test(no_wait_ends_while_the_queue_moves),
		cmocka_unit_test(who_is_taken_out_of_the_queue_has_not_waited),
		cmocka_unit_test(ended_wait_makes_room_for_the_newest),
		cmocka_unit_test(nothing_ends_while_a_thread_is_to_be_had),
		cmocka_unit_test(late_number_ends_no_later_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
