/* SPDX-License-Identifier: MIT */
/* What the owner of a connection does with it: opens it, reads, runs its handlers, ends it. */
#ifndef STT_ENGINE_SERVE_H
#define STT_ENGINE_SERVE_H

struct sttcp_conn;
struct stt_desk;

/* Makes the connection an actor of its loop. */
void stt_conn_init_actor(struct sttcp_conn *conn);

/* On the loop, outside turns, by the connection's owner: works on it right here, or gives it to the
 * pool. The loop may be lost after that. */
void stt_conn_dispatch(struct stt_desk *desk, struct sttcp_conn *conn);

/* The end of a dead connection's memory, where user code may run. */
void stt_conn_free_on_pool(struct sttcp_conn *conn);

#endif
