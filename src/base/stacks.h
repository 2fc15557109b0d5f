/* SPDX-License-Identifier: MIT */
/*
 * Stacks, cut from mappings of 64. Below each lies a guard of 64 KiB: glibc
 * measures an alloca against the thread's stack, and a frame of 48 KiB jumped a
 * guard of one page. What overflows ends the process with SIGSEGV. Any thread.
 */
#ifndef STT_BASE_STACKS_H
#define STT_BASE_STACKS_H

#include <stdbool.h>
#include <stddef.h>

struct stt_stack_block;

struct stt_stack {
	char *low;   /* the first byte above the guard */
	size_t size; /* in whole pages */
	struct stt_stack_block *block;
};

/* What a stack for `size` bytes of frames takes: room for a signal's frame, whole pages. */
size_t stt_stack_size(size_t size);

/* One of such a size; false when there is no memory, or no mapping left. */
bool stt_stack_take(struct stt_stack *stack, size_t size);

/* Gives it back. What was deeper than a few pages goes to the system. */
void stt_stack_give(const struct stt_stack *stack);

/* Gives the pages below `sp` to the system: nothing stands there. */
void stt_stack_trim(const struct stt_stack *stack, const void *sp);

/* In the child of a fork: the parent's stacks are left alone. */
void stt_stacks_after_fork(void);

#endif
