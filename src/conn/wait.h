/* SPDX-License-Identifier: MIT */
/*
 * Where user code waits in the library, all but a send at its cap: for input, for
 * the end of a dial, for a descriptor of its own, or for time alone. This is the
 * one place that does so. What has a stack of its own (strand.h) gives its thread
 * back meanwhile. A wait also ends
 *
 *	when						with
 *	the connection that it is for ends, in any way	what that has ended with
 *	the connection whose handler the thread runs	what that has ended with
 *	is ended by force, before it or meanwhile
 */
#ifndef STT_CONN_WAIT_H
#define STT_CONN_WAIT_H

#include <stdbool.h>
#include <stdint.h>

#include "conn/output.h"
#include "net/poller.h"

struct stt_desk;
struct sttcp_conn;

struct stt_wait_spec {
	struct sttcp_conn *conn; /* that it is for, or NULL */
	/* Whether what it waits for is there; NULL if only events tell. */
	bool (*is_over)(struct sttcp_conn *conn);
	int fd;		  /* a descriptor, or -1, */
	short events;	  /* and its events (poll(2)); afterwards those that have come */
	int64_t until_ms; /* on the monotonic clock; STT_NEVER: no limit */
	bool is_of_peer;  /* a handler waits for its own peer: relief.h may find it in the way, */
	bool in_the_way;  /* and has */
};

/* 0: something has happened, or somebody has called stt_wait_wake, and the caller looks again;
 * -ETIMEDOUT, one of the codes above, or why the system cannot wait. `desk` is the calling
 * thread's, or one that nobody else uses meanwhile; NULL where no connection can end the wait. */
int stt_wait(struct stt_desk *desk, struct stt_wait_spec *wait);

/* Waits for events of the descriptor of `conn`, or with 0 for input of its stream, after a read has
 * returned -EAGAIN: codes as stt_wait. A handler of it may be on another thread after this, with
 * the desk stt_strand_desk. */
int stt_wait_for_stream(struct stt_desk *desk, struct sttcp_conn *conn, short events,
			int64_t until_ms);

/* Wakes whoever waits for this connection, or in a handler of it. */
void stt_wait_wake(struct sttcp_conn *conn);

void stt_wait_wake_locked(struct stt_output *out) STT_REQUIRES(out->lock);

/* As sttcp_sleep and sttcp_poll. */
int stt_wait_sleep(int ms);
int stt_wait_poll(int fd, short events, int timeout_ms);

#endif
