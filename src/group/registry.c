/* SPDX-License-Identifier: MIT */
/* A list without references, since a group takes itself off when the last one is gone. */
#include "group/registry.h"

#include "engine/fork.h"
#include "group/group.h"

static struct stt_mutex lock = STT_MUTEX_INIT;
static struct stt_node groups = {&groups, &groups};

void stt_registry_add(struct stt_group *group)
{
	stt_lock(&lock);
	stt_list_append(&groups, &group->in_registry);
	stt_unlock(&lock);
}

void stt_registry_remove(struct stt_group *group)
{
	stt_lock(&lock);
	stt_list_remove(&group->in_registry);
	stt_unlock(&lock);
}

/* False if it is on its way out. */
static bool try_ref(struct stt_group *group)
{
	int refs = atomic_load_explicit(&group->service.refs, memory_order_relaxed);

	while (refs > 0)
		if (atomic_compare_exchange_weak(&group->service.refs, &refs, refs + 1))
			return true;
	return false;
}

struct stt_group *stt_registry_next(struct stt_group *group)
{
	struct stt_group *next = NULL;

	stt_lock(&lock);
	struct stt_node *node = group ? group->in_registry.next : groups.next;

	for (; !next && node != &groups; node = node->next) {
		next = stt_container_of(node, struct stt_group, in_registry);
		if (stt_forked_since(next->service.fork_count) || !try_ref(next))
			next = NULL;
	}
	stt_unlock(&lock);
	if (group)
		stt_group_unref(group);
	return next;
}

void stt_registry_after_fork(void)
{
	stt_mutex_init(&lock);
	stt_list_init(&groups);
}
