/* SPDX-License-Identifier: MIT */
/*
 * A pairing heap of points in time, earliest first. Nodes stand in the things
 * that wait, so that adding one cannot fail: add O(1), remove O(log n) amortised
 * (Fredman, Sedgewick, Sleator, Tarjan, 1986). One thread at a time.
 */
#ifndef STT_BASE_HEAP_H
#define STT_BASE_HEAP_H

#include <stdbool.h>
#include <stdint.h>

struct stt_heap_node {
	struct stt_heap_node *child;
	struct stt_heap_node *next; /* sibling */
	struct stt_heap_node *prev; /* sibling, or the parent of a first child */
	int64_t at;
};

struct stt_heap {
	struct stt_heap_node *root;
};

void stt_heap_add(struct stt_heap *heap, struct stt_heap_node *node, int64_t at);

/* `node` must be in the heap. */
void stt_heap_remove(struct stt_heap *heap, struct stt_heap_node *node);

/* The earliest, still in the heap, or NULL. */
static inline struct stt_heap_node *stt_heap_first(const struct stt_heap *heap)
{
	return heap->root;
}

#endif
