/* SPDX-License-Identifier: MIT */
/* The pairing heap: two trees are merged by hanging the later root below the earlier one; what is
 * left of a removed root is merged in pairs, which is what keeps it shallow. */
#include "base/heap.h"

#include <stddef.h>

static struct stt_heap_node *merge(struct stt_heap_node *a, struct stt_heap_node *b)
{
	if (!a)
		return b;
	if (!b)
		return a;
	if (b->at < a->at) {
		struct stt_heap_node *swap = a;

		a = b;
		b = swap;
	}
	b->prev = a;
	b->next = a->child;
	if (a->child)
		a->child->prev = b;
	a->child = b;
	return a;
}

/* Merges a list of siblings into one tree: in pairs from the left, then the pairs from the right.
 * Iterative, since a list can be as long as there are timers. */
static struct stt_heap_node *merge_siblings(struct stt_heap_node *first)
{
	struct stt_heap_node *pairs = NULL;

	while (first) {
		struct stt_heap_node *a = first;
		struct stt_heap_node *b = a->next;

		first = b ? b->next : NULL;
		a->next = a->prev = NULL;
		if (b)
			b->next = b->prev = NULL;
		a = merge(a, b);
		a->next = pairs;
		pairs = a;
	}

	struct stt_heap_node *root = NULL;

	while (pairs) {
		struct stt_heap_node *next = pairs->next;

		pairs->next = NULL;
		root = merge(root, pairs);
		pairs = next;
	}
	return root;
}

void stt_heap_add(struct stt_heap *heap, struct stt_heap_node *node, int64_t at)
{
	*node = (struct stt_heap_node){.at = at};
	heap->root = merge(heap->root, node);
}

void stt_heap_remove(struct stt_heap *heap, struct stt_heap_node *node)
{
	struct stt_heap_node *below = merge_siblings(node->child);

	if (node == heap->root) {
		heap->root = below;
		return;
	}
	if (node->prev->child == node)
		node->prev->child = node->next;
	else
		node->prev->next = node->next;
	if (node->next)
		node->next->prev = node->prev;
	heap->root = merge(heap->root, below);
}
