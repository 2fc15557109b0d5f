/* SPDX-License-Identifier: MIT */
/* sttcp_run: each piece of work is done once, may block, and nobody waits for it. With timers, what
 * they and pieces of work share: threads, forks, signals. */
#include "support/calls.h"

#include <signal.h>
#include <sys/wait.h>

/* Children of a process with threads make threads of their own here. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "die_after_fork=0";
}

enum {
	MANY = 20000
};

static void count_work(void *argument)
{
	event_raise(argument);
}

static void every_piece_of_work_is_done_once(void **state)
{
	struct event done = EVENT_INIT;

	(void)state;
	for (int i = 0; i < MANY; i++)
		assert_int_equal(sttcp_run(count_work, &done), 0);
	assert_true(event_wait(&done, MANY));
	assert_true(engine_ends());
	assert_int_equal(event_count(&done), MANY);
	assert_int_equal(sttcp_run(NULL, &done), -EINVAL);
}

struct meeting {
	struct event here;
	struct event all;
};

static void meet(void *argument)
{
	struct meeting *meeting = argument;

	event_raise(&meeting->here);
	event_wait(&meeting->all, 1);
}

/* G8 */
static void work_that_waits_for_other_work_does_not_hold_it_up(void **state)
{
	static struct meeting meeting = {EVENT_INIT, EVENT_INIT};

	(void)state;
	for (int i = 0; i < 100; i++)
		assert_int_equal(sttcp_run(meet, &meeting), 0);
	assert_true(event_wait(&meeting.here, 100));
	assert_int_equal(sttcp_engine_shutdown(), -EBUSY);
	event_raise(&meeting.all);
	assert_true(engine_ends());
}

/* ------------------------------------------------- while the engine may end */

static atomic_int worst;

static void give_more(void *argument)
{
	int result = sttcp_run(count_work, argument);

	if (result < 0)
		atomic_store(&worst, result);
	event_raise(argument);
}

static atomic_bool over;

static void *end_engine_often(void *unused)
{
	while (!atomic_load(&over))
		sttcp_engine_shutdown();
	return unused;
}

/* An end that does not come about, since there is work, is none for the work, either. */
static void work_given_in_work_is_taken_while_ends_are_tried(void **state)
{
	struct event done = EVENT_INIT;
	pthread_t threads[2];

	(void)state;
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, end_engine_often, NULL), 0);
	for (int i = 0; i < 3000; i++) {
		assert_int_equal(sttcp_run(give_more, &done), 0);
		assert_true(event_wait(&done, 2 * i + 2));
	}
	atomic_store(&over, true);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&worst), 0);
	assert_true(engine_ends());
}

/* ------------------------------------------------------------ at max_threads */

static void wait_at_gate(void *argument)
{
	event_wait_ms(argument, 1, 3 * DEADLINE_MS);
}

/* G8: a timer waits for a thread as handlers do. It is late then, once, and what it misses
 * meanwhile is left out. */
static int wait_for_a_thread(void)
{
	struct event gate = EVENT_INIT;
	struct event waits = EVENT_INIT;
	struct calls *calls = calls_new();
	struct calls *others = calls_new();
	sttcp_timer *timer = sttcp_timer_new(note, calls);
	sttcp_timer *stopped = sttcp_timer_new(note, others);
	sttcp_timer *anew = sttcp_timer_new(note, others);

	CHECK(timer && stopped && anew);
	CHECK(sttcp_engine_configure(1, 1, 0) == 0);
	CHECK(sttcp_run(wait_at_gate, &gate) == 0);
	CHECK(sttcp_run(count_work, &waits) == 0);
	int64_t began;

	do {
		began = now_ms();
		CHECK(sttcp_timer_start(timer, 0, 20) == 0);
	} while (now_ms() != began);
	CHECK(sttcp_timer_start(stopped, 0, 20) == 0);
	CHECK(sttcp_timer_start(anew, 0, 20) == 0);
	int64_t at = now_ms();

	while (now_ms() < at + 100)
		nap_ms(5);
	CHECK(atomic_load(&calls->count) == 0);
	/* Those that wait for their turn can be stopped, and set anew. */
	CHECK(sttcp_timer_stop(stopped) == 0);
	CHECK(sttcp_timer_start(anew, 3600000, 0) == 0);
	CHECK(event_count(&waits) == 0);
	int64_t freed = now_ms();

	event_raise(&gate);
	CHECK(event_wait(&calls->came, 2));
	CHECK(event_wait(&waits, 1));
	CHECK(sttcp_timer_stop(timer) == 0);
	/* One was late, and the next one came at its time: those between are left out. */
	CHECK(calls->at_ms[0] >= freed);
	CHECK(calls->at_ms[1] >= began + 20 * ((calls->at_ms[0] - began) / 20 + 1));
	CHECK(atomic_load(&others->count) == 0);
	sttcp_timer_free(anew);
	sttcp_timer_free(stopped);
	sttcp_timer_free(timer);
	CHECK(engine_ends());
	free(calls);
	free(others);
	return 0;
}

static void timers_wait_for_a_thread_at_the_cap(void **state)
{
	(void)state;
	assert_int_equal(process_run("wait_for_a_thread"), 0);
}

/* --------------------------------------------------------------------- fork */

static int forked_result;

/* In the child of a fork, where nothing of the parent's is touched. */
static int use_in_child(sttcp_timer *parents)
{
	struct event done = EVENT_INIT;
	struct calls *calls = calls_new();

	CHECK(sttcp_timer_start(parents, 0, 1) == STTCP_EFORK);
	CHECK(sttcp_timer_stop(parents) == STTCP_EFORK);
	sttcp_timer_free(parents);
	CHECK(sttcp_engine_shutdown() == 0);
	sttcp_timer *timer = sttcp_timer_new(note, calls);

	CHECK(timer);
	CHECK(sttcp_timer_start(timer, 1, 1) == 0);
	CHECK(sttcp_run(count_work, &done) == 0);
	CHECK(event_wait(&calls->came, 3));
	CHECK(event_wait(&done, 1));
	CHECK(sttcp_engine_shutdown() == -EBUSY);
	sttcp_timer_free(timer);
	CHECK(engine_ends());
	free(calls);
	return 0;
}

static void fork_inside(sttcp_timer *timer, void *context)
{
	struct calls *calls = context;

	if (atomic_load(&calls->count) == 0) {
		pid_t pid = process_fork();

		if (pid == 0)
			_exit(use_in_child(timer));
		forked_result = process_wait_pid(pid);
	}
	note(timer, context);
}

/* G17 */
static int fork_with_timers(void)
{
	struct calls *calls = calls_new();
	sttcp_timer *timer = sttcp_timer_new(fork_inside, calls);

	CHECK(timer);
	CHECK(sttcp_timer_start(timer, 0, 1) == 0);
	CHECK(event_wait(&calls->came, 3));
	CHECK(forked_result == 0);
	/* And from a thread of the program's. */
	pid_t pid = process_fork();

	CHECK(pid >= 0);
	if (pid == 0)
		_exit(use_in_child(timer));
	CHECK(process_wait_pid(pid) == 0);
	CHECK(event_wait(&calls->came, event_count(&calls->came) + 3));
	sttcp_timer_free(timer);
	CHECK(sttcp_engine_shutdown() == 0);
	free(calls);
	return 0;
}

static void timers_and_work_are_the_childs_own_after_a_fork(void **state)
{
	(void)state;
	assert_int_equal(process_run("fork_with_timers"), 0);
}

static atomic_int child_pid;
static int back[2];

static void fork_and_return(void *argument)
{
	pid_t pid = process_fork();

	if (pid > 0)
		atomic_store(&child_pid, pid);
	else
		ignore(write(back[1], "x", 1));
	event_raise(argument);
}

static void fork_and_return_timer(sttcp_timer *timer, void *context)
{
	struct calls *calls = context;

	if (atomic_load(&calls->count) == 0)
		fork_and_return(&calls->gate);
	note(timer, context);
}

/* The child has returned into the library, and stays there; the parent goes on. */
static void end_child(void)
{
	char byte;

	CHECK(read(back[0], &byte, 1) == 1);
	CHECK(atomic_load(&child_pid) > 0);
	CHECK(kill(atomic_load(&child_pid), SIGKILL) == 0);
	CHECK(waitpid(atomic_load(&child_pid), NULL, 0) == atomic_load(&child_pid));
}

/* G17 */
static int return_in_child(void)
{
	struct event done = EVENT_INIT;
	struct calls *calls = calls_new();
	sttcp_timer *timer = sttcp_timer_new(fork_and_return_timer, calls);

	CHECK(timer);
	CHECK(pipe(back) == 0);
	CHECK(sttcp_run(fork_and_return, &done) == 0);
	CHECK(event_wait(&done, 1));
	end_child();
	CHECK(sttcp_timer_start(timer, 0, 1) == 0);
	CHECK(event_wait(&calls->came, 5));
	end_child();
	sttcp_timer_free(timer);
	CHECK(engine_ends());
	free(calls);
	return 0;
}

static void child_that_returns_from_a_timer_or_work_waits_there(void **state)
{
	(void)state;
	assert_int_equal(process_run("return_in_child"), 0);
}

/* ------------------------------------------------------------------- signals */

static sigset_t masks[2];

static void look_at_mask(void *argument)
{
	pthread_sigmask(SIG_BLOCK, NULL, &masks[0]);
	event_raise(argument);
}

static void look_at_mask_in_timer(sttcp_timer *timer, void *context)
{
	pthread_sigmask(SIG_BLOCK, NULL, &masks[1]);
	note(timer, context);
}

/* G17: the mask of the thread that made the first start, which here is that of a timer. */
static int have_mask(void)
{
	struct event done = EVENT_INIT;
	struct calls *calls = calls_new();
	sttcp_timer *timer = sttcp_timer_new(look_at_mask_in_timer, calls);
	sigset_t own;

	CHECK(timer);
	sigemptyset(&own);
	sigaddset(&own, SIGUSR1);
	CHECK(pthread_sigmask(SIG_SETMASK, &own, NULL) == 0);
	CHECK(sttcp_timer_start(timer, 0, 1) == 0);
	CHECK(sttcp_run(look_at_mask, &done) == 0);
	CHECK(event_wait(&done, 1));
	CHECK(event_wait(&calls->came, 2));
	sttcp_timer_free(timer);
	for (int i = 0; i < 2; i++) {
		CHECK(sigismember(&masks[i], SIGUSR1) == 1);
		CHECK(sigismember(&masks[i], SIGTERM) == 0);
		CHECK(sigismember(&masks[i], SIGUSR2) == 0);
	}
	CHECK(engine_ends());
	free(calls);
	return 0;
}

static void timers_and_work_have_the_signal_mask_of_the_first_start(void **state)
{
	(void)state;
	assert_int_equal(process_run("have_mask"), 0);
}

/* ---------------------------------------------------------------------- exit */

static void block_for_good(void *argument)
{
	event_raise(argument);
	for (;;)
		pause();
}

static void block_timer_for_good(sttcp_timer *timer, void *context)
{
	note(timer, context);
	for (;;)
		pause();
}

static int leave_while_they_run(void)
{
	static struct event begun = EVENT_INIT;
	struct calls *calls = calls_new();
	struct calls *others = calls_new();
	sttcp_timer *timer = sttcp_timer_new(block_timer_for_good, calls);
	sttcp_timer *other = sttcp_timer_new(note, others);

	CHECK(timer && other);
	CHECK(sttcp_run(block_for_good, &begun) == 0);
	CHECK(sttcp_timer_start(timer, 0, 0) == 0);
	CHECK(sttcp_timer_start(other, 0, 1) == 0);
	CHECK(event_wait(&begun, 1));
	CHECK(event_wait(&calls->came, 1));
	CHECK(event_wait(&others->came, 3));
	return 0;
}

static void nobody_waits_for_timers_and_work_at_exit(void **state)
{
	(void)state;
	assert_int_equal(process_run("leave_while_they_run"), 0);
}

int main(int argc, char **argv)
{
	const struct child children[] = {
		{"wait_for_a_thread", wait_for_a_thread},
		{"fork_with_timers", fork_with_timers},
		{"return_in_child", return_in_child},
		{"have_mask", have_mask},
		{"leave_while_they_run", leave_while_they_run},
		{NULL, NULL},
	};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_piece_of_work_is_done_once),
		cmocka_unit_test(work_that_waits_for_other_work_does_not_hold_it_up),
		cmocka_unit_test(work_given_in_work_is_taken_while_ends_are_tried),
		cmocka_unit_test(timers_wait_for_a_thread_at_the_cap),
		cmocka_unit_test(timers_and_work_are_the_childs_own_after_a_fork),
		cmocka_unit_test(child_that_returns_from_a_timer_or_work_waits_there),
		cmocka_unit_test(timers_and_work_have_the_signal_mask_of_the_first_start),
		cmocka_unit_test(nobody_waits_for_timers_and_work_at_exit),
	};

	if (argc > 1)
		return child_main(children, argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
