/* SPDX-License-Identifier: MIT */
/* What the owner of a connection does with it: opens it, reads, runs its handlers, ends it. */
#ifndef STT_CONN_SERVE_H
#define STT_CONN_SERVE_H

#include <stdbool.h>

struct stt_addr;
struct stt_desk;
struct stt_service;
struct stt_loop;
struct sttcp_conn;

/* A new connection, as stt_conn_new, on which its loop works from now on. */
struct sttcp_conn *stt_serve_new(struct stt_service *service, struct stt_loop *loop, int fd,
				 const struct stt_addr *peer);

/* Parts of that, for serve_dialled.c. By the owner. */

/* Before it is open: false while the handshake goes on. May take wishes. */
bool stt_serve_unopened(struct stt_desk *desk, struct sttcp_conn *conn, unsigned *wishes);

/* Once it has ended: true when it is handed on, and not to be touched any more. */
bool stt_serve_ending(struct stt_desk *desk, struct sttcp_conn *conn);

/* Whether user code runs once more on a connection that has ended. */
bool stt_serve_has_last_words(struct sttcp_conn *conn);

#endif
