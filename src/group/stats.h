/* SPDX-License-Identifier: MIT */
/* What sttcp_server_stats and sttcp_conn_stats tell. */
#ifndef STT_GROUP_STATS_H
#define STT_GROUP_STATS_H

#include "sttcp.h"

struct stt_group;

/* Walks the connections of the group and the workers of the engine. Any thread. 0; STTCP_EFORK in a
 * child that was forked in a free_fn meanwhile. */
int stt_stats_of_group(struct stt_group *group, sttcp_stats *stats);
void stt_stats_of_conn(const struct sttcp_conn *conn, sttcp_conn_counts *stats);

#endif
