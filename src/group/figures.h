/* SPDX-License-Identifier: MIT */
/* What sttcp_server_stats tells. */
#ifndef STT_GROUP_FIGURES_H
#define STT_GROUP_FIGURES_H

#include "sttcp.h"

struct stt_group;

/* Walks the connections of the group and the workers of the engine. Any thread. */
void stt_figures_of_group(struct stt_group *group, sttcp_stats *stats);
void stt_figures_of_conn(const struct sttcp_conn *conn, sttcp_conn_counts *counts);

#endif
