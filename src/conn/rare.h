/* SPDX-License-Identifier: MIT */
/*
 * What few connections have. A pointer costs each connection 8 bytes, and one that
 * is idle may take 512 in all (`idle` of the benchmark): so these share one, to a
 * block that is made for whoever needs the first of them.
 */
#ifndef STT_CONN_RARE_H
#define STT_CONN_RARE_H

#include "conn/conn.h"

struct stt_dialled;
struct stt_own_handler;
struct stt_secure;
struct stt_strand;
struct stt_tasks;

/* Each is atomic, set once by any thread, and NULL before that. */
struct stt_rare {
	_Atomic(struct stt_own_handler *) own_handler;
	_Atomic(struct stt_tasks *) tasks;
	_Atomic(char *) local_name;
	_Atomic(struct stt_secure *) secure;
	_Atomic(struct stt_dialled *) dialled;
	/* But for these three. Under output.lock: who waits in wait.c for a dialled one, outside
	 * its tasks, which may wait meanwhile: by its eventfd, or -1; or whose call does so without
	 * a thread. */
	int reader;
	struct sttcp_conn *waiter;
	/* Written by the owner, NULL while no call of user code is parked. */
	_Atomic(struct stt_strand *) strand;
};

/* NULL if there is none of them. */
static inline struct stt_rare *stt_rare_of(const struct sttcp_conn *conn)
{
	/* Acquire: it is seen as it was made. */
	return atomic_load_explicit(&conn->rare, memory_order_acquire);
}

/* Stays as long as the connection; NULL when out of memory. Any thread. */
struct stt_rare *stt_rare_make(struct sttcp_conn *conn);

#endif
