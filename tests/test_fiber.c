/* SPDX-License-Identifier: MIT */
/* Fibers and their stacks (base/fiber.h, base/stacks.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fiber.h"

enum {
	STACK = 64 * 1024
};

struct counter {
	struct stt_fiber fiber;
	int value;
	int until;
	char text[32];
};

static struct counter *new_counter(void)
{
	if (!stt_fibers_are_there())
		skip();

	struct stt_fiber *fiber = stt_fiber_new(stt_stack_size(STACK), sizeof(struct counter));

	assert_non_null(fiber);
	return (struct counter *)fiber;
}

static void count(struct stt_fiber *fiber)
{
	struct counter *counter = (struct counter *)fiber;
	char local[64];

	for (int i = 0; i < counter->until; i++) {
		snprintf(local, sizeof(local), "%d", i);
		counter->value = i;
		stt_fiber_leave(fiber);
		/* What stands on its stack is there as it was. */
		assert_int_equal(atoi(local), i);
	}
	snprintf(counter->text, sizeof(counter->text), "counted to %d", counter->until);
}

static void fiber_goes_on_where_it_was_left(void **state)
{
	(void)state;
	struct counter *counter = new_counter();

	counter->fiber.fn = count;
	counter->until = 3;
	for (int i = 0; i < 3; i++) {
		assert_false(stt_fiber_run(&counter->fiber));
		assert_int_equal(counter->value, i);
	}
	assert_true(stt_fiber_run(&counter->fiber));
	assert_string_equal(counter->text, "counted to 3");
	stt_fiber_free(&counter->fiber);
}

struct keeper {
	struct stt_fiber fiber;
	volatile long seed;
	volatile int nwrong;
};

/* More values than there are registers, all of them needed again behind each switch. */
#define KEEP(seed, nwrong, switch_over)                                                            \
	do {                                                                                       \
		long a = (seed), b = a * 3, c = a ^ 5, d = a + 7, e = a - 11, f = a * 13;          \
		long g = a + 17, h = a ^ 19, k = a * 23, l = a - 29;                               \
		double x = (double)a / 2, y = (double)a / 4;                                       \
                                                                                                   \
		for (int i = 0; i < 50; i++) {                                                     \
			switch_over;                                                               \
			long s = (seed) + i;                                                       \
			(nwrong) += a != s || b != s * 3 || c != (s ^ 5) || d != s + 7;            \
			(nwrong) += e != s - 11 || f != s * 13 || g != s + 17 || h != (s ^ 19);    \
			(nwrong) += k != s * 23 || l != s - 29;                                    \
			(nwrong) += x != (double)s / 2 || y != (double)s / 4;                      \
			a = s + 1, b = a * 3, c = a ^ 5, d = a + 7, e = a - 11, f = a * 13;        \
			g = a + 17, h = a ^ 19, k = a * 23, l = a - 29;                            \
			x = (double)a / 2, y = (double)a / 4;                                      \
		}                                                                                  \
	} while (0)

static void keep(struct stt_fiber *fiber)
{
	struct keeper *keeper = (struct keeper *)fiber;

	KEEP(keeper->seed + 1000, keeper->nwrong, stt_fiber_leave(fiber));
}

static void values_are_kept_on_both_sides(void **state)
{
	if (!stt_fibers_are_there())
		skip();

	struct stt_fiber *fiber = stt_fiber_new(stt_stack_size(STACK), sizeof(struct keeper));
	struct keeper *keeper = (struct keeper *)fiber;
	volatile int nwrong = 0;

	(void)state;
	assert_non_null(fiber);
	fiber->fn = keep;
	keeper->seed = 4711;
	KEEP(keeper->seed, nwrong, assert_false(stt_fiber_run(fiber)));
	assert_true(stt_fiber_run(fiber));
	assert_int_equal(nwrong, 0);
	assert_int_equal(keeper->nwrong, 0);
	stt_fiber_free(fiber);
}

/* Of a tool's own stack of calls, too. */
static void switches_leave_nothing_behind(void **state)
{
	(void)state;
	struct counter *counter = new_counter();

	counter->fiber.fn = count;
	counter->until = 200 * 1000;
	for (int i = 0; i < counter->until; i++)
		assert_false(stt_fiber_run(&counter->fiber));
	assert_true(stt_fiber_run(&counter->fiber));
	assert_string_equal(counter->text, "counted to 200000");
	stt_fiber_free(&counter->fiber);
}

static void fiber_begins_anew(void **state)
{
	(void)state;
	struct counter *counter = new_counter();

	counter->fiber.fn = count;
	for (int round = 0; round < 1000; round++) {
		counter->until = round % 3;
		for (int i = 0; i < counter->until; i++)
			assert_false(stt_fiber_run(&counter->fiber));
		assert_true(stt_fiber_run(&counter->fiber));
	}
	stt_fiber_free(&counter->fiber);
}

static void *run_once(void *argument)
{
	struct counter *counter = argument;

	assert_false(stt_fiber_run(&counter->fiber));
	return NULL;
}

static void fiber_goes_on_on_another_thread(void **state)
{
	(void)state;
	struct counter *counter = new_counter();

	counter->fiber.fn = count;
	counter->until = 20;
	for (int i = 0; i < counter->until; i++) {
		pthread_t thread;

		assert_int_equal(pthread_create(&thread, NULL, run_once, counter), 0);
		assert_int_equal(pthread_join(thread, NULL), 0);
		assert_int_equal(counter->value, i);
	}
	assert_true(stt_fiber_run(&counter->fiber));
	stt_fiber_free(&counter->fiber);
}

struct nest {
	struct stt_fiber fiber;
	struct counter *inner;
};

static void run_inner(struct stt_fiber *fiber)
{
	struct nest *nest = (struct nest *)fiber;

	while (!stt_fiber_run(&nest->inner->fiber))
		stt_fiber_leave(fiber);
}

static void fiber_runs_another_one(void **state)
{
	(void)state;
	struct counter *inner = new_counter();
	struct stt_fiber *outer = stt_fiber_new(stt_stack_size(STACK), sizeof(struct nest));
	int rounds = 0;

	assert_non_null(outer);
	inner->fiber.fn = count;
	inner->until = 5;
	((struct nest *)outer)->inner = inner;
	outer->fn = run_inner;
	while (!stt_fiber_run(outer))
		rounds++;
	assert_int_equal(rounds, 5);
	stt_fiber_free(outer);
	stt_fiber_free(&inner->fiber);
}

__attribute__((__noinline__)) static int dig(int depth)
{
	volatile char frame[1024];

	memset((void *)(uintptr_t)frame, depth, sizeof(frame));
	return depth ? dig(depth - 1) + frame[depth % 1024] : 0;
}

static void dig_deep(struct stt_fiber *fiber)
{
	dig(1000);
	(void)fiber;
}

/* In a child, since it ends the process. */
static void overflow_ends_the_process(void **state)
{
	(void)state;
	struct counter *counter = new_counter();
	pid_t pid = fork();

	if (pid == 0) {
		const struct rlimit none = {0, 0};

		setrlimit(RLIMIT_CORE, &none);
		signal(SIGSEGV, SIG_DFL);
		counter->fiber.fn = dig_deep;
		stt_fiber_run(&counter->fiber);
		_exit(0);
	}

	int status = 0;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSEGV);
	stt_fiber_free(&counter->fiber);
}

static size_t resident_pages(const struct stt_stack *stack)
{
	unsigned char here[64] = {0};
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t count = stack->size / page;
	size_t sum = 0;

	assert_true(count <= sizeof(here));
	assert_int_equal(mincore(stack->low, stack->size, here), 0);
	for (size_t i = 0; i < count; i++)
		sum += here[i] & 1;
	return sum;
}

static void dig_then_wait(struct stt_fiber *fiber)
{
	dig(30);
	stt_fiber_leave(fiber);
}

static void pages_below_a_wait_are_given_back(void **state)
{
	(void)state;
	struct counter *counter = new_counter();

	counter->fiber.fn = dig_then_wait;
	assert_false(stt_fiber_run(&counter->fiber));
	size_t before = resident_pages(&counter->fiber.stack);

	stt_fiber_trim(&counter->fiber);
	assert_true(before >= 7);
	assert_true(resident_pages(&counter->fiber.stack) <= 3);
	assert_true(stt_fiber_run(&counter->fiber));
	stt_fiber_free(&counter->fiber);
}

static void stacks_are_apart(void **state)
{
	(void)state;
	enum {
		COUNT = 200
	};
	struct stt_stack stacks[COUNT];

	for (int i = 0; i < COUNT; i++) {
		assert_true(stt_stack_take(&stacks[i], stt_stack_size(STACK)));
		memset(stacks[i].low, i, stacks[i].size);
	}
	for (int i = 0; i < COUNT; i++) {
		assert_int_equal((unsigned char)stacks[i].low[0], i);
		assert_int_equal((unsigned char)stacks[i].low[stacks[i].size - 1], i);
		stt_stack_give(&stacks[i]);
	}
}

static void stack_without_memory_is_refused(void **state)
{
	(void)state;
	struct stt_stack stack;

	assert_false(stt_stack_take(&stack, SIZE_MAX / 4 & ~(size_t)0xffff));
}

static void stack_size_is_whole_pages(void **state)
{
	(void)state;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	assert_int_equal(stt_stack_size(16384) % page, 0);
	assert_true(stt_stack_size(16385) > 16384 + 2000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fiber_goes_on_where_it_was_left),
		cmocka_unit_test(values_are_kept_on_both_sides),
		cmocka_unit_test(switches_leave_nothing_behind),
		cmocka_unit_test(fiber_begins_anew),
		cmocka_unit_test(fiber_goes_on_on_another_thread),
		cmocka_unit_test(fiber_runs_another_one),
		cmocka_unit_test(overflow_ends_the_process),
		cmocka_unit_test(pages_below_a_wait_are_given_back),
		cmocka_unit_test(stacks_are_apart),
		cmocka_unit_test(stack_without_memory_is_refused),
		cmocka_unit_test(stack_size_is_whole_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
