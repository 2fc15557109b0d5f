/* SPDX-License-Identifier: MIT */
/* What the owner of a connection does with a strand (strand.h), outside turns: it gets and gives
 * back its stack, parks it, and judges whom a wish wakes. */
#ifndef STT_CONN_PARK_H
#define STT_CONN_PARK_H

#include <stdbool.h>

#include "conn/strand.h"

/* For tests: a call that has waited goes on in the pool, and so nearly always on another thread. */
extern atomic_bool stt_strands_change_threads;

/* One whose stack is free, or NULL: then the call runs on the thread's. */
struct stt_strand *stt_strand_take(struct stt_desk *desk, struct sttcp_conn *conn);

/* It has returned. */
void stt_strand_give(struct stt_desk *desk, struct stt_strand *strand);

/* The call has left its stack, and the worker its turn. False when memory is missing: then all is
 * as before, and the call has to go on, to block its thread. */
bool stt_strand_park(struct stt_desk *desk, struct stt_strand *strand);

/* Outside turns, while this one is parked: the connections whose events come next on the loop most
 * often are, too. Asks for what they will touch to be brought into the CPU's cache meanwhile. */
void stt_strand_fetch_next(const struct stt_desk *desk, const struct sttcp_conn *conn);

/* Outside turns: whether these wishes may end the wait. Otherwise they are noted. */
bool stt_strand_is_woken(struct stt_strand *strand, unsigned wishes);

/* The connection is as before it was parked, and the call stands on the desk. */
void stt_strand_unpark(struct stt_desk *desk, struct stt_strand *strand);

#endif
