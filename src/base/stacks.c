/* SPDX-License-Identifier: MIT */
/*
 * A guard takes no mapping of its own where the kernel can install one inside
 * (MADV_GUARD_INSTALL, Linux 6.13). Elsewhere it is PROT_NONE, and each stack takes
 * two of the mappings that a process may have: then stacks use a third of them.
 */
#include "base/stacks.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/list.h"
#include "base/memcheck.h"
#include "base/mutex.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

enum {
	STACKS_PER_BLOCK = 64,
	GUARD_BYTES = 64 * 1024,
	/* Of a stack that is given back this stays: the next one needs as much. */
	KEPT_BYTES = 8 * 1024,
	ORDINARY_MAPPINGS = 65530
};

struct stt_stack_block {
	struct stt_node in_open; /* while a stack is free */
	char *base;
	size_t step; /* of a stack with its guard */
	uint64_t free;
};

static struct stt_mutex lock = STT_MUTEX_INIT;
/* Under the lock. */
static struct stt_node open_blocks = {&open_blocks, &open_blocks};
static struct stt_stack_block *spare; /* the one that is kept all free, or NULL */
static long nmappings;		      /* that guards take */
static long most_mappings;	      /* 0: not asked yet */
static bool guards_are_mappings;

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t round_up(size_t size, size_t unit)
{
	return (size + unit - 1) / unit * unit;
}

size_t stt_stack_size(size_t size)
{
	long signal_frame = -1;

#ifdef _SC_MINSIGSTKSZ
	signal_frame = sysconf(_SC_MINSIGSTKSZ);
#endif
	return round_up(size + (signal_frame > 0 ? (size_t)signal_frame : 2048), page_size());
}

static long ask_most_mappings(void)
{
	FILE *file = fopen("/proc/sys/vm/max_map_count", "re");
	long count = ORDINARY_MAPPINGS;

	if (file && fscanf(file, "%ld", &count) != 1)
		count = ORDINARY_MAPPINGS;
	if (file)
		fclose(file);
	return count / 3;
}

static bool install_guard_locked(char *at) STT_REQUIRES(lock)
{
	if (madvise(at, GUARD_BYTES, MADV_GUARD_INSTALL) == 0)
		return true;
	if (!most_mappings)
		most_mappings = ask_most_mappings();
	guards_are_mappings = true;
	if (nmappings + 2 > most_mappings || mprotect(at, GUARD_BYTES, PROT_NONE) < 0)
		return false;
	nmappings += 2;
	return true;
}

static void free_block_locked(struct stt_stack_block *block) STT_REQUIRES(lock)
{
	munmap(block->base, block->step * STACKS_PER_BLOCK);
	if (guards_are_mappings)
		nmappings -= 2 * STACKS_PER_BLOCK;
	free(block);
}

static struct stt_stack_block *new_block_locked(size_t size) STT_REQUIRES(lock)
{
	struct stt_stack_block *block = malloc(sizeof(*block));
	size_t step = size + GUARD_BYTES;
	long before = nmappings;

	if (!block || step > SIZE_MAX / STACKS_PER_BLOCK)
		goto fail;

	void *pages = mmap(NULL, step * STACKS_PER_BLOCK, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);

	if (pages == MAP_FAILED)
		goto fail;
	*block = (struct stt_stack_block){.base = pages, .step = step, .free = ~UINT64_C(0)};
	/* A huge page would make each stack take 2 MiB. It is only advice. */
	(void)madvise(pages, step * STACKS_PER_BLOCK, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < STACKS_PER_BLOCK; i++) {
		if (install_guard_locked(block->base + i * step))
			continue;
		nmappings = before;
		munmap(pages, step * STACKS_PER_BLOCK);
		goto fail;
	}
	stt_memcheck_forbid(pages, step * STACKS_PER_BLOCK);
	stt_list_append(&open_blocks, &block->in_open);
	return block;
fail:
	free(block);
	return NULL;
}

static struct stt_stack_block *find_block_locked(size_t size) STT_REQUIRES(lock)
{
	for (struct stt_node *node = open_blocks.next; node != &open_blocks; node = node->next) {
		struct stt_stack_block *block =
			stt_container_of(node, struct stt_stack_block, in_open);

		if (block->step == size + GUARD_BYTES)
			return block;
	}
	return new_block_locked(size);
}

bool stt_stack_take(struct stt_stack *stack, size_t size)
{
	stt_lock(&lock);
	struct stt_stack_block *block = find_block_locked(size);

	if (block) {
		size_t index = (size_t)__builtin_ctzll(block->free);

		block->free &= ~(UINT64_C(1) << index);
		if (block == spare)
			spare = NULL;
		if (!block->free)
			stt_list_remove(&block->in_open);
		*stack = (struct stt_stack){
			.low = block->base + index * block->step + GUARD_BYTES,
			.size = size,
			.block = block,
		};
		stt_memcheck_allow(stack->low, size);
	}
	stt_unlock(&lock);
	return block;
}

void stt_stack_trim(const struct stt_stack *stack, const void *sp)
{
	uintptr_t low = (uintptr_t)stack->low;
	uintptr_t end = (uintptr_t)sp & ~(uintptr_t)(page_size() - 1);

	if (end > low)
		(void)madvise(stack->low, end - low, MADV_DONTNEED);
}

static void give_locked(const struct stt_stack *stack) STT_REQUIRES(lock)
{
	struct stt_stack_block *block = stack->block;
	size_t index = (size_t)(stack->low - block->base) / block->step;

	if (!block->free)
		stt_list_append(&open_blocks, &block->in_open);
	block->free |= UINT64_C(1) << index;
	if (~block->free)
		return;
	/* One is kept, so that a single stack that comes and goes maps nothing. */
	if (!spare) {
		spare = block;
		return;
	}
	stt_list_remove(&block->in_open);
	free_block_locked(block);
}

void stt_stack_give(const struct stt_stack *stack)
{
	if (stack->size > KEPT_BYTES)
		stt_stack_trim(stack, stack->low + stack->size - KEPT_BYTES);
	stt_memcheck_forbid(stack->low, stack->size);
	stt_lock(&lock);
	give_locked(stack);
	stt_unlock(&lock);
}

void stt_stacks_after_fork(void)
{
	/* Another thread may have been in the middle of a change. The child's only thread may run
	 * on one of them, which it never gives back. */
	stt_mutex_init(&lock);
	stt_list_init(&open_blocks);
	spare = NULL;
	nmappings = 0;
}
