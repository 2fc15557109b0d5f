/* SPDX-License-Identifier: MIT */
/*
 * A strand: a call of user code for a connection that has a stack of its own (the
 * option `fibers`). When it waits in the library the connection is *parked*: nobody
 * owns it, its phase is STT_PARKED, and its thread is free.
 *
 *	the connection	who			does				then
 *	runs a call	the call		waits: leaves its stack		parks
 *	parks		the owner, behind that	keeps its input, lets go	parked
 *	parked		the next owner		a wish that may end the wait	runs a call
 *	parked		the next owner		any other: notes it, lets go	parked
 *	runs a call	the call		returns				stt_after_call
 *
 * So the rules of the connection's word (conn.h) hold as they are: a wish that comes
 * between the decision to wait and the letting go makes the latter fail. A wish that
 * is only noted stands in the strand, and is acted on when the call returns.
 *
 * A call finds out by itself whether what it waits for is there: it is run for any
 * wish that could tell.
 */
#ifndef STT_CONN_STRAND_H
#define STT_CONN_STRAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fiber.h"
#include "conn/after.h"
#include "conn/call.h"
#include "conn/conn.h"
#include "conn/desk.h"
#include "conn/rare.h"

/* Why it has left its stack. */
enum stt_leaves {
	STT_LEAVES_TO_WAIT,
	STT_LEAVES_TO_YIELD, /* it is to go on after the others of its loop */
	STT_LEAVES_TO_GATHER /* to go on at once, with small sends gathered */
};

/* At the top of its stack. */
struct stt_strand {
	struct stt_fiber fiber;	 /* the first member */
	struct stt_strand *next; /* of the spare ones */

	/* Set before it begins. */
	struct sttcp_conn *conn;
	enum stt_event event;
	const void *data;
	size_t size;
	bool copies;					/* of the data, on its stack */
	void (*task)(sttcp_conn *conn, void *argument); /* in place of handlers, or NULL */
	void *argument;
	struct stt_refused refused; /* of STT_MALFORMED, with a text from malloc */
	int64_t began_ms;	    /* of a task */
	int64_t bytes_before;

	/* By the call itself, and by the worker that runs it. */
	struct stt_desk *desk; /* of that worker: another one after each wait */
	bool verdict;
	bool in_buffer;	 /* `data` stands in the buffer of that desk */
	bool emptied;	 /* the last read has told so, and no read wish has come since */
	bool left_input; /* of TLS: no event tells of what the last read has left */
	bool gathers;
	bool stays;	 /* it has left to wait, which was not possible */
	bool only_looks; /* it has a timeout of 0 */
	uint8_t leaves;
	uint8_t nreads;	    /* since it last waited, see strand.c */
	uint16_t nmessages; /* likewise */

	/* While it is parked: only the connection's owner. */
	struct stt_call call;
	struct stt_held *pinned; /* that `data` stands in, or NULL */
	char *buffer;		 /* a desk's: likewise */
	uint8_t phase;		 /* of the connection */
	bool looks;		 /* a look is due that may trim its stack */
	uint8_t doubled;	 /* how often the time to it has */
	unsigned wakes;		 /* the wishes that may end the wait */
	unsigned came;		 /* those that have */
	unsigned noted;		 /* those that are for later */
	unsigned waits;		 /* so far, */
	unsigned seen;		 /* and at the last look */
	int64_t until_ms;
};

/* That the connection is parked with. */
static inline struct stt_strand *stt_strand_of(const struct sttcp_conn *conn)
{
	return atomic_load_explicit(&stt_rare_of(conn)->strand, memory_order_relaxed);
}

/* Whether a connection is parked. Any thread: for stats. */
static inline bool stt_strand_is_parked(const struct sttcp_conn *conn)
{
	struct stt_rare *rare = stt_rare_of(conn);

	return rare && atomic_load_explicit(&rare->strand, memory_order_relaxed);
}

/* What the calling thread runs, if that may leave its stack now; else NULL. */
struct stt_strand *stt_strand_here(void);

/* Waits for one of the wishes `wakes`, or until then. False if that is not possible now: then the
 * caller has to block its thread. After this the call may be on another thread. */
STT_APART bool stt_strand_wait(struct stt_strand *strand, unsigned wakes, int64_t until_ms);

/* Before each read (0 messages), and after each message: lets the others of the loop go first when
 * the budget of a turn is used up. */
STT_APART void stt_strand_spend(struct stt_strand *strand, int reads, int messages);

/* Lets the others of the loop go first. */
STT_APART void stt_strand_yield(struct stt_strand *strand);

/* From now on small sends are gathered. */
STT_APART void stt_strand_gather(struct stt_strand *strand);

/* Whether the handler's data would be lost by a read into the desk's buffer. */
static inline bool stt_strand_needs_buffer(const struct stt_strand *strand)
{
	return strand->in_buffer || strand->desk->input.pinned;
}

/* The desk that a call goes on with after a wait; `desk` is the one of before. */
static inline struct stt_desk *stt_strand_desk(const struct stt_strand *strand,
					       struct stt_desk *desk)
{
	return strand ? strand->desk : desk;
}

#endif
