/* SPDX-License-Identifier: MIT */
/* What the owner of a connection does with it: opens it, reads, runs its handlers, ends it. */
#ifndef STT_CONN_SERVE_H
#define STT_CONN_SERVE_H

struct stt_addr;
struct stt_service;
struct stt_loop;
struct sttcp_conn;

/* A new connection, as stt_conn_new, on which its loop works from now on. */
struct sttcp_conn *stt_serve_new(struct stt_service *service, struct stt_loop *loop, int fd,
				 const struct stt_addr *peer);

#endif
