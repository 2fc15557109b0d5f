/* SPDX-License-Identifier: MIT */
/*
 * A fiber: a function on a stack of its own, which may be left in the middle and
 * gone on with later, on any thread. One thread at a time runs it. Making one
 * takes the memory of a stack; running and leaving it takes no system call.
 *
 * What runs on a fiber may find itself on another thread after stt_fiber_leave. So
 * a function that leaves touches nothing that is the thread's own behind that, errno
 * included: compilers find out its address once. STT_APART keeps what does touch it
 * in a function of its own.
 */
#ifndef STT_BASE_FIBER_H
#define STT_BASE_FIBER_H

#include <stdbool.h>
#include <stddef.h>

#ifndef __x86_64__
#include <setjmp.h>
#endif

#include "base/stacks.h"

#if defined(__has_attribute)
#if __has_attribute(noipa)
#define STT_APART __attribute__((__noinline__, __noipa__))
#endif
#endif
#ifndef STT_APART
#define STT_APART __attribute__((__noinline__))
#endif

/* A place to jump to: fiber.c. */
#ifdef __x86_64__
typedef void *stt_place[5];
#else
typedef jmp_buf stt_place;
#endif

/* Those of a handler that waits in recv, most often. */
#define STT_FIBER_FRAMES 768

/* Stands at the top of its stack, as the first member of the user's record. */
struct stt_fiber {
	struct stt_stack stack;
	void (*fn)(struct stt_fiber *fiber);
	stt_place here;	  /* where it was left */
	stt_place *there; /* who runs it */
	void *sp;	  /* nothing that it still needs stands below, while it is left */
	bool returned;
	bool ends; /* it is about to be freed */
	/* For the tools that have to know of stacks. */
	void *asan_own;
	void *asan_back;
	const void *asan_bottom;
	size_t asan_size;
	void *tsan_own;
	void *tsan_back;
	unsigned valgrind_id;
};

/* Whether there are any on this platform. */
bool stt_fibers_are_there(void);

/* A record of `record_size` bytes, which begins with a struct stt_fiber and is zero behind that;
 * its stack takes `stack_size` bytes (stt_stack_size) with it. NULL when there is no stack. */
struct stt_fiber *stt_fiber_new(size_t stack_size, size_t record_size);

/* One that does not run, and has returned or never begun. */
void stt_fiber_free(struct stt_fiber *fiber);

/* Begins `fn(fiber)`, or goes on with it. Returns true when it has returned: then it may begin
 * anew, with another `fn`. False when it was left. */
bool stt_fiber_run(struct stt_fiber *fiber);

/* One that was left, and will be run soon: asks for its record and its frames to be brought into
 * the CPU's cache, all at once. Else each of them is waited for: of an echo on 1000 stacks in turn
 * that was 4% of the CPU time. */
static inline void stt_fiber_fetch(const struct stt_fiber *fiber, size_t record_size)
{
	const char *frames = (const char *)fiber - STT_FIBER_FRAMES;

	for (const char *at = frames; at < (const char *)fiber + record_size; at += 64)
		__builtin_prefetch(at, 1);
}

/* On the fiber: back to who runs it. Returns when it is run again. */
void stt_fiber_leave(struct stt_fiber *fiber);

/* One that was left: gives what is below its frames to the system. */
void stt_fiber_trim(struct stt_fiber *fiber);

#endif
