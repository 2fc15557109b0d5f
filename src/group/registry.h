/* SPDX-License-Identifier: MIT */
/* All groups of the process, from when they are made until they are freed. Any thread. */
#ifndef STT_GROUP_REGISTRY_H
#define STT_GROUP_REGISTRY_H

struct stt_group;

void stt_registry_add(struct stt_group *group);
void stt_registry_remove(struct stt_group *group);

/* The next group after `group`, whose reference is dropped, as a new reference; the first one after
 * NULL, and NULL after the last. */
struct stt_group *stt_registry_next(struct stt_group *group);

/* In the child of a fork: the parent's groups stay where they are, out of sight. */
void stt_registry_after_fork(void);

#endif
