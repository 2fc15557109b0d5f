/* SPDX-License-Identifier: MIT */
/*
 * Detection of a peer that vanishes while bytes are in flight. While none are,
 * TCP keepalive detects it; with bytes in flight the kernel does not send
 * keepalive probes, and TCP_USER_TIMEOUT would also end a peer that answers
 * every probe with a closed window. So from the first send after a quiet time
 * the loop checks now and then whether the peer still answers, and stops when
 * nothing is in flight.
 */
#ifndef STT_CONN_WATCH_H
#define STT_CONN_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "conn/output.h"

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

/* A desk's `watch`, in a handler: the alarm for the first send is set after the turn, when that
 * takes no system call. */
enum {
	STT_WATCH_MAY_WAIT = 1,
	STT_WATCH_WAITS
};

/* What `watch` of a new connection is. */
unsigned char stt_watch_for(const struct sttcp_conn *conn);

/* Bytes have gone to the kernel, and `watch` is QUIET. With a descriptor. */
void stt_watch_begin_locked(struct stt_output *out) STT_REQUIRES(out->lock);

/* A thread is going to wait, for the peer or for room, in a handler: the end of the turn would be
 * too late. With a descriptor. */
void stt_watch_wait_locked(struct stt_output *out) STT_REQUIRES(out->lock);

/* After a handler that has left the alarm to this call. By the owner, outside turns. */
void stt_watch_begin_late(struct sttcp_conn *conn);

/* A check: returns when the next one is due, STT_NEVER, or 0 when the peer is dead. By the loop. */
int64_t stt_watch_look_locked(struct stt_output *out) STT_REQUIRES(out->lock);

#endif
