/* SPDX-License-Identifier: MIT */
/*
 * A peer that has vanished while bytes are under way to it. TCP keepalive finds
 * one that vanishes while nothing is; with bytes under way the kernel does not
 * probe, and TCP_USER_TIMEOUT also ends a peer that answers every probe with its
 * window shut. So from the first send after a quiet time the loop looks now and
 * then whether the peer still answers, and stops when nothing is under way.
 */
#ifndef STT_CONN_WATCH_H
#define STT_CONN_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "conn/output.h"

struct stt_worker;
struct sttcp_conn;

/* What an output's `watch` says, under the output lock. */
enum stt_watch {
	STT_WATCH_QUIET, /* nothing was under way at the last look; the next send begins anew */
	STT_WATCH_BEGUN, /* a look is due */
	STT_WATCH_ASKED, /* the same, and the last one found something that the peer has not
			    answered */
	STT_WATCH_LATE,	 /* a look will be due when the handler that has sent returns, or waits */
	STT_WATCH_OFF
};

/* What a desk's `watch` says, in a handler: the first send on its connection has the alarm set
 * once the turn is over, where that takes no system call. */
enum {
	STT_WATCH_MAY_WAIT = 1,
	STT_WATCH_WAITS
};

/* What `watch` of a new connection is. */
unsigned char stt_watch_for(const struct sttcp_conn *conn);

/* Bytes have gone to the kernel, and `watch` is QUIET. With a descriptor. */
void stt_watch_begin_locked(struct stt_output *out) STT_REQUIRES(out->lock);

/* Somebody is going to wait, for the peer or for room: in a handler that the loop would hear of too
 * late. With a descriptor. */
void stt_watch_wait_locked(struct stt_output *out) STT_REQUIRES(out->lock);

/* After a handler that has left it to this. By the owner, outside turns. */
void stt_watch_begin_late(struct stt_worker *worker, struct sttcp_conn *conn);

/* A look: when the next one is due, STT_NEVER, or 0 when the peer is dead. By the loop. */
int64_t stt_watch_look_locked(struct stt_output *out) STT_REQUIRES(out->lock);

#endif
