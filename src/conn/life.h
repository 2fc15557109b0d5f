/* SPDX-License-Identifier: MIT */
/* The birth of a connection, its references, and its death. */
#ifndef STT_CONN_LIFE_H
#define STT_CONN_LIFE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/actor.h"

struct stt_addr;
struct stt_loop;
struct stt_service;
struct sttcp_conn;

/* What is done with a connection: by serve.c, which stands above. */
struct stt_conn_work {
	struct stt_actor_ops ops;
	int64_t (*ring)(struct stt_worker *worker, struct stt_alarm *alarm);
};

/* For serve.h. A connection with one reference, busy without an owner, in phase CONNECTING or, with
 * a descriptor, BORN or SHAKING. It takes a reference to the service, and the descriptor. NULL when
 * out of memory: then the descriptor still belongs to the caller. */
struct sttcp_conn *stt_conn_new(const struct stt_conn_work *work, struct stt_service *service,
				struct stt_loop *loop, int fd, const struct stt_addr *peer);

/* It has its descriptor: its first phase. By its owner. */
void stt_conn_connected(struct sttcp_conn *conn);

/* Undoes stt_conn_new, with the reference, as long as nobody can find the connection. A descriptor
 * still belongs to the caller. */
void stt_conn_discard(struct sttcp_conn *conn);

/* A dead connection leaves its loop, where no event and no alarm can refer to it any more. By the
 * loop's owner, outside turns. */
void stt_conn_bury(struct sttcp_conn *conn);

/* Drops a reference. The last one runs the user's free_fn, so not where user code may not run. */
void stt_conn_unref(struct sttcp_conn *conn);

/* The same for a loop's owner: leaves user code to the pool. */
void stt_conn_unref_on_loop(struct sttcp_conn *conn);

/* The same on a thread that may be either: outside turns as a loop's owner, else where user code
 * may run. */
void stt_conn_unref_anywhere(struct sttcp_conn *conn);

/* The end of a dead connection's memory, where user code may run: for the pool, to which
 * stt_conn_unref_on_loop has left it. */
void stt_conn_free_on_pool(struct sttcp_conn *conn);

/* Drops a handle with its reference; the last one behind the last handler runs the user's free_fn,
 * as does the last reference of all. Where user code may run. */
void stt_conn_drop_handle(struct sttcp_conn *conn);

/* Calls `fn` with what is a handle meanwhile, over a reference of the caller's; false if its data
 * is gone, with its last handler. Where user code may run. */
bool stt_conn_visit(struct sttcp_conn *conn, void (*fn)(struct sttcp_conn *conn, void *argument),
		    void *argument);

/* The handlers' share of the data. For its owner, in a turn, after the last one. */
void stt_conn_leave_data(struct sttcp_conn *conn);

/* As sttcp_conn_set_data and sttcp_conn_data. */
void stt_conn_set_data(struct sttcp_conn *conn, void *data, void (*free_fn)(void *data));
void *stt_conn_data(struct sttcp_conn *conn);

/* For the owner, outside turns: closes the descriptor, and hands the connection to its loop as
 * dead. It is not to be touched after that. */
void stt_conn_die(struct sttcp_conn *conn);

#endif
