/* SPDX-License-Identifier: MIT */
/*
 * makecontext once for each stack, then jumps from one to the other: with _setjmp
 * and _longjmp 36 to 63 ns there and back, where swapcontext takes 460 for its system
 * calls. A fiber that has returned waits in its first function, to begin anew without
 * makecontext.
 *
 * The C library checks a jump when it is built with _FORTIFY_SOURCE, and takes one to
 * another stack for a mistake.
 */
#undef _FORTIFY_SOURCE
#include "base/fiber.h"

#include <stdint.h>
#include <string.h>

#include "base/memcheck.h"
#include "base/portable.h"

#if STT_HAVE_MAKECONTEXT
#include <ucontext.h>
#endif

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define STT_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define STT_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define STT_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define STT_TSAN 1
#endif

#if STT_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>
#endif
#if STT_TSAN
#include <sanitizer/tsan_interface.h>
#endif

/* What the tools watch must not be watched itself: its frame is on one stack and its end on
 * another.
 */
#if STT_ASAN
#define NOT_WATCHED __attribute__((__noinline__, __no_sanitize_address__))
#elif STT_TSAN && __has_attribute(disable_sanitizer_instrumentation)
/* no_sanitize would still note calls and returns, and a call that jumps away never returns. */
#define NOT_WATCHED __attribute__((__noinline__, disable_sanitizer_instrumentation))
#elif STT_TSAN
#define NOT_WATCHED __attribute__((__noinline__, no_sanitize("thread")))
#else
#define NOT_WATCHED __attribute__((__noinline__))
#endif

enum {
	ALIGNMENT = 64,
	/* Below the frame of whoever leaves: that frame, and those of the jump. */
	LEAVING_BYTES = 1024
};

#if STT_HAVE_MAKECONTEXT

/* On x86-64 with the compilers' own jumps, which keep the caller's registers in its frame (GCC
 * manual, Nonlocal Gotos): longjmp(3) encrypts pointers, and walks the thread's cleanup handlers.
 * Of 1390 instructions for an echo outside the kernel that saves 120, and 160 bytes of each record.
 */
#ifdef __x86_64__
#define set_place(place) __builtin_setjmp(place)
#define jump(place) __builtin_longjmp(place, 1)
#else
#define set_place(place) _setjmp(place)
#define jump(place) _longjmp(place, 1)
#endif

/* Apart from where places are set: the compilers take for granted that no function jumps to one of
 * its own. */
STT_APART NOT_WATCHED static _Noreturn void go(stt_place *place)
{
	jump(*place);
}

/* Before a switch on to the fiber's stack, and behind one off it: on the stack of who runs it. */
static inline __attribute__((__always_inline__)) void enter(struct stt_fiber *fiber)
{
#if STT_ASAN
	__sanitizer_start_switch_fiber(&fiber->asan_back, fiber->stack.low, fiber->stack.size);
#endif
#if STT_TSAN
	fiber->tsan_back = __tsan_get_current_fiber();
	__tsan_switch_to_fiber(fiber->tsan_own, 0);
#endif
	(void)fiber;
}

static inline __attribute__((__always_inline__)) void come_back(struct stt_fiber *fiber)
{
#if STT_ASAN
	__sanitizer_finish_switch_fiber(fiber->asan_back, NULL, NULL);
#endif
	(void)fiber;
}

/* Behind a switch on to it, and before one off it: on the fiber's own. */
static inline __attribute__((__always_inline__)) void arrive(struct stt_fiber *fiber)
{
#if STT_ASAN
	__sanitizer_finish_switch_fiber(fiber->asan_own, &fiber->asan_bottom, &fiber->asan_size);
#endif
	(void)fiber;
}

static inline __attribute__((__always_inline__)) void depart(struct stt_fiber *fiber)
{
#if STT_ASAN
	/* NULL: nothing on it is needed any more. */
	fiber->asan_own = NULL;
	__sanitizer_start_switch_fiber(fiber->ends ? NULL : &fiber->asan_own, fiber->asan_bottom,
				       fiber->asan_size);
#endif
#if STT_TSAN
	__tsan_switch_to_fiber(fiber->tsan_back, 0);
#endif
	(void)fiber;
}

NOT_WATCHED void stt_fiber_leave(struct stt_fiber *fiber)
{
	fiber->sp = (char *)__builtin_frame_address(0) - LEAVING_BYTES;
	if (set_place(fiber->here) == 0) {
		depart(fiber);
		go(fiber->there);
	}
	arrive(fiber);
}

/* The first function on a stack. Its argument comes in two halves: makecontext(3) takes ints. */
NOT_WATCHED static void live(unsigned high, unsigned low)
{
	struct stt_fiber *fiber =
		(struct stt_fiber *)(uintptr_t)((uint64_t)high << 32 | (uint64_t)low);

	arrive(fiber);
	for (;;) {
		fiber->returned = true;
		stt_fiber_leave(fiber);
		fiber->returned = false;
		fiber->fn(fiber);
	}
}

NOT_WATCHED bool stt_fiber_run(struct stt_fiber *fiber)
{
	stt_place there;

	fiber->there = &there;
	if (set_place(there) == 0) {
		enter(fiber);
		go(&fiber->here);
	}
	come_back(fiber);
	return fiber->returned;
}

/* The only way on to a stack that nothing has run on yet. */
NOT_WATCHED static bool begin(struct stt_fiber *fiber)
{
	uint64_t argument = (uintptr_t)fiber;
	stt_place there;
	ucontext_t context;

	if (getcontext(&context) < 0)
		return false;
	context.uc_stack.ss_sp = fiber->stack.low;
	context.uc_stack.ss_size = (size_t)((char *)fiber - fiber->stack.low);
	context.uc_link = NULL;
	makecontext(&context, (void (*)(void))live, 2, (unsigned)(argument >> 32),
		    (unsigned)argument);
	fiber->there = &there;
	if (set_place(there) == 0) {
		enter(fiber);
		setcontext(&context);
		return false;
	}
	come_back(fiber);
	return true;
}

bool stt_fibers_are_there(void)
{
	return true;
}

#else

/* musl has no makecontext. */

void stt_fiber_leave(struct stt_fiber *fiber)
{
	(void)fiber;
}

bool stt_fiber_run(struct stt_fiber *fiber)
{
	fiber->fn(fiber);
	return true;
}

static bool begin(struct stt_fiber *fiber)
{
	(void)fiber;
	return false;
}

bool stt_fibers_are_there(void)
{
	return false;
}

#endif

/* The tools learn of a stack, and forget it. */
static void tell_tools(struct stt_fiber *fiber)
{
#if STT_ASAN
	/* What only a fiber points to is no leak. */
	__lsan_register_root_region(fiber->stack.low, fiber->stack.size);
#endif
#if STT_TSAN
	fiber->tsan_own = __tsan_create_fiber(0);
#endif
	fiber->valgrind_id = stt_memcheck_new_stack(fiber->stack.low, fiber->stack.size);
}

#if STT_ASAN
static void do_nothing(struct stt_fiber *fiber)
{
	(void)fiber;
}
#endif

static void untell_tools(struct stt_fiber *fiber)
{
#if STT_ASAN
	/* The frames that stand elsewhere go when it is left for good. To let them go at each
	 * return takes two system calls, for which the threads wait for each other. */
	fiber->ends = true;
	fiber->fn = do_nothing;
	if (fiber->returned)
		stt_fiber_run(fiber);
	__lsan_unregister_root_region(fiber->stack.low, fiber->stack.size);
	/* Frames that were never left have their red zones on it. */
	__asan_unpoison_memory_region(fiber->stack.low, fiber->stack.size);
#endif
#if STT_TSAN
	__tsan_destroy_fiber(fiber->tsan_own);
#endif
	stt_memcheck_end_stack(fiber->valgrind_id);
}

struct stt_fiber *stt_fiber_new(size_t stack_size, size_t record_size)
{
	struct stt_stack stack;

	if (!stt_fibers_are_there() || !stt_stack_take(&stack, stack_size))
		return NULL;

	uintptr_t top = (uintptr_t)stack.low + stack.size - record_size;
	struct stt_fiber *fiber = (struct stt_fiber *)(top & ~(uintptr_t)(ALIGNMENT - 1));

	memset(fiber, 0, record_size);
	fiber->stack = stack;
	tell_tools(fiber);
	if (begin(fiber))
		return fiber;
	stt_fiber_free(fiber);
	return NULL;
}

void stt_fiber_free(struct stt_fiber *fiber)
{
	struct stt_stack stack = fiber->stack;

	untell_tools(fiber);
	stt_stack_give(&stack);
}

void stt_fiber_trim(struct stt_fiber *fiber)
{
	stt_stack_trim(&fiber->stack, fiber->sp);
}
