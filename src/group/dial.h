/* SPDX-License-Identifier: MIT */
/* A dial: the attempt of a group that has this one connection, and the wait for its outcome. */
#ifndef STT_GROUP_DIAL_H
#define STT_GROUP_DIAL_H

#include <stddef.h>

struct stt_group;
struct sttcp_conn;

/* The open connection, which has the caller's reference and its handle; or NULL with the code in
 * `*code`, and why in `text`. The group is new, and has passed stt_group_check_start. */
struct sttcp_conn *stt_dial(struct stt_group *group, int *code, char *text, size_t size);

/* Drops the last handle: an open one is closed in order. The reference stays the caller's. */
void stt_dial_close(struct sttcp_conn *conn);

#endif
