/* SPDX-License-Identifier: MIT */
/* A doubly linked ring with its head inside: nodes stand in the things they link, nothing is
 * allocated. The caller locks. */
#ifndef STT_BASE_LIST_H
#define STT_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#define stt_container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

struct stt_node {
	struct stt_node *next;
	struct stt_node *prev;
};

static inline void stt_list_init(struct stt_node *head)
{
	head->next = head->prev = head;
}

static inline bool stt_list_empty(const struct stt_node *head)
{
	return head->next == head;
}

static inline void stt_list_append(struct stt_node *head, struct stt_node *node)
{
	node->prev = head->prev;
	node->next = head;
	head->prev->next = node;
	head->prev = node;
}

/* Leaves the node alone in a ring of its own, so that removing it again does nothing. */
static inline void stt_list_remove(struct stt_node *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	node->next = node->prev = node;
}

#endif
