/* SPDX-License-Identifier: MIT */
/*
 * What goes out on a connection: straight to the socket while nothing is
 * queued, else through a queue with a cap, behind which sends wait in a line.
 * Everything here is under the output lock, and does not need the connection's
 * owner: a handler that sleeps delays no output. What sends do is in output.c, how
 * all that waits leaves in flush.c.
 */
#ifndef STT_CONN_OUTPUT_H
#define STT_CONN_OUTPUT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/bytes.h"
#include "base/counter.h"
#include "base/mutex.h"

struct sttcp_conn;
struct stt_sender;

struct stt_output {
	struct stt_mutex lock;
	/* Under the lock. */
	struct stt_bytes queue;
	struct stt_sender *line; /* sends that wait for room, first in front */
	int64_t moved_ms;	 /* when a byte last left, while there is a queue */
	int64_t flush_until_ms;	 /* of a connection that ends; 0: not yet, or without a limit */
	int broken;		 /* why nothing can be sent any more; 0 while it can */
	int receiver; /* the eventfd of a handler of its own that waits in wait.h, and is to know of
			 an end; -1, or as below */
	/* Bits, so that a connection takes no more than 472 bytes. */
	bool fin_sent : 1;
	bool shakes : 1;       /* the session of TLS is in its handshake */
	bool paced : 1;	       /* a send has waited: others wait for a shorter queue (output.c) */
	bool by_force : 1;     /* an end by force has come: no handler waits any more (wait.h) */
	bool waited : 1;       /* bytes had to wait for the socket: the drained handler is due */
	bool behind : 1;       /* a visit has stopped short of the socket's end: the alarm is set */
	bool unheard : 1;      /* what the last look has found: see unheard.h */
	bool is_unix : 1;      /* a Unix socket, whatever other addresses the server has */
	bool forced;	       /* its end does not wait for the queue, which leaves afterwards */
	bool holds_reader;     /* the reader rests: see hold.h */
	unsigned char detours; /* why a send may not go straight to the socket */
	uint16_t unheard_ms;   /* the low bits of when it first did, or last asked */
	unsigned char watch;   /* see watch.h */

	/* Atomic: the socket was full, and an event that it is writable matters. Stored before the
	 * socket is tried once more, sequentially consistent: either that try finds room, or the
	 * event that follows finds the flag. It saves two atomic operations per event. */
	atomic_bool pending;

	/* Written under the lock, read by any thread for stats, relaxed. */
	struct stt_counter bytes_out;
	struct stt_counter messages_out;
	_Atomic size_t queued;
};

/* Of `receiver`: the handler is parked until the socket takes bytes again. */
enum {
	STT_RECEIVER_PARKED = -2
};

/* Bits of `detours`. One byte, so that the short way of a send asks once for all of them. */
enum {
	STT_DETOUR_FIN = 1,    /* FIN when the queue and the line are empty: there are no sends */
	STT_DETOUR_GATHER = 2, /* small sends are queued: the end of the turn flushes */
	STT_DETOUR_TLS = 4     /* through a session: see secure.h */
};

/* Bits of what has to be told to the connection once the output lock is released. */
enum {
	STT_TELL_CLOSE = 1,   /* the last byte of a connection that ends is out */
	STT_TELL_READ = 2,    /* sending has failed: the reader finds out what remains to be read */
	STT_TELL_RESUME = 4,  /* the reader is to look again */
	STT_TELL_DRAINED = 8, /* the queue is empty again */
	STT_TELL_LOW = 16,    /* with RESUME: it rested, and was released */
	STT_TELL_WAKE = 32    /* the socket takes bytes, which a parked handler waits for */
};

enum stt_send_mode {
	STT_SEND_WAIT,
	STT_SEND_TRY,
	STT_SEND_BROADCAST
};

enum {
	/* The most that a send gives to the socket before it releases the lock, for which a loop
	 * may be waiting. The rest keeps its place in line, and leaves in visits. */
	STT_DIRECT_BYTES = 1024 * 1024,
	/* -ENOMEM, after a part of it was taken. */
	STT_SEND_TORN = 1
};

/* For send.h: 0 or a code, or STT_SEND_TORN. */
int stt_output_send(struct sttcp_conn *conn, const struct iovec *parts, int count,
		    enum stt_send_mode mode, struct stt_shared **shared);

/* The meaning of a read without data: 0 for the peer's FIN, or a reset that the kernel has reported
 * to a send instead. By the connection's owner. */
int stt_output_end_of_input(struct sttcp_conn *conn);

/* The socket is writable, or somebody wants it tried. */
void stt_output_flush(struct sttcp_conn *conn);

/*
 * Several small answers of one turn leave in one system call: one send per
 * line reached 7% of the speed of one send per read (`lines` of the
 * benchmark). Between these two calls small sends are only queued. For
 * gather.c, which makes sure that the second call follows; any thread, any
 * number of times.
 */
void stt_output_gather(struct sttcp_conn *conn);
void stt_output_stop_gathering(struct sttcp_conn *conn);

/* What the owner has to know of the output. */
struct stt_output_view {
	bool drained;
	bool forced;
	bool fin_sent;
	int broken;
};

struct stt_output_view stt_output_view(struct sttcp_conn *conn);

/* The connection dies, with the descriptor still open: unsent output is lost, which the peer
 * notices by a reset, and every waiting send returns. */
void stt_output_die_locked(struct stt_output *out) STT_REQUIRES(out->lock);

/* The alarm rings: continues a flush that was left for later. Returns when to ring again, or
 * STT_NEVER. Sets `stalled` if the connection is to be reset: no byte has left for the write
 * timeout, its end takes too long, or its peer is dead. By the loop. */
int64_t stt_output_ring(struct sttcp_conn *conn, int64_t now_ms, int *stalled);

/* The connection ends and flushes its output: limits how long that takes. */
void stt_output_limit_flush_locked(struct stt_output *out) STT_REQUIRES(out->lock);

/* What waits has to have left by then; an earlier limit stays. */
void stt_output_flush_by_locked(struct stt_output *out, int64_t until_ms) STT_REQUIRES(out->lock);

/* After these, callers pass the result to stt_output_tell once they have released the lock. A flush
 * writes only a part of large output, and makes the loop continue. */
unsigned stt_output_flush_locked(struct stt_output *out) STT_REQUIRES(out->lock);
unsigned stt_output_break_locked(struct stt_output *out, int code) STT_REQUIRES(out->lock);
unsigned stt_output_finish_locked(struct stt_output *out) STT_REQUIRES(out->lock);
bool stt_output_drained_locked(const struct stt_output *out) STT_REQUIRES(out->lock);
void stt_output_tell(struct sttcp_conn *conn, unsigned what);

#endif
