/* SPDX-License-Identifier: MIT */
/*
 * Gathering: where several messages stand in one read, their small answers are
 * queued and leave together when the last of them has been handled. A handler
 * that blocks must not hold back what was gathered before, so somebody else can
 * let go of it at any time: the table is in gather.c.
 */
#ifndef STT_ENGINE_GATHER_H
#define STT_ENGINE_GATHER_H

#include <stdbool.h>

struct stt_loop;
struct stt_pool;
struct stt_worker;
struct sttcp_conn;

/* By the connection's owner, outside turns: false when it cannot be gathered now. */
bool stt_gather_begin(struct stt_worker *worker, struct sttcp_conn *conn);

/* The last message has been handled. By the same worker, which may have lost its loop meanwhile. */
void stt_gather_end(struct stt_worker *worker, struct sttcp_conn *conn);

/* By a loop's new owner, before it does anything else. */
void stt_gather_end_of_last_owner(struct stt_loop *loop);

/* By the monitor, once a look: has let go of what a worker of the pool gathers that is still in the
 * call of the look before. */
enum stt_gather_sight {
	STT_GATHER_NONE,  /* no worker of the pool gathers */
	STT_GATHER_SOME,  /* some do, and have come on since the last look */
	STT_GATHER_STUCK, /* one has not */
};

enum stt_gather_sight stt_gather_look(struct stt_pool *pool);

/* Makes a worker's record ready for it. */
void stt_gather_init_worker(struct stt_worker *worker);

#endif
