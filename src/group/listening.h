/* SPDX-License-Identifier: MIT */
/* How a server comes to listen: on all addresses of its host, or not at all. */
#ifndef STT_GROUP_LISTENING_H
#define STT_GROUP_LISTENING_H

struct stt_group;

/* As sttcp_server_start; an error is stored by stt_group_tell. The caller has a reference. */
int stt_listening_start(struct stt_group *group);

#endif
