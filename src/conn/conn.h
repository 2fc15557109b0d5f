/* SPDX-License-Identifier: MIT */
/*
 * A connection: its memory, and the word that says who may work on it. How it is
 * born and dies is in life.c, what its owner does with it in serve.c, what goes
 * out in output.c and flush.c, how it ends in ending.c.
 */
#ifndef STT_CONN_CONN_H
#define STT_CONN_CONN_H

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/counter.h"
#include "base/list.h"
#include "base/table.h"
#include "conn/output.h"
#include "engine/actor.h"
#include "net/address.h"
#include "sttcp.h"

struct stt_own_framing;
struct stt_service;
struct stt_loop;
struct stt_names;
struct stt_rare;

/* The bits of a connection's word: the state table is below. */
enum {
	STT_BUSY = 1,
	STT_WISH_READ = 2,     /* there may be input, or the peer is gone */
	STT_WISH_CLOSE = 4,    /* its end has been decided or has come one step nearer */
	STT_WISH_TIMEOUT = 8,  /* a time limit of its owner's has passed */
	STT_WISH_OPEN = 16,    /* it is there: run the connection handler */
	STT_WISH_DRAINED = 32, /* its queue has become empty: run the drained handler */
	STT_WISH_TASKS = 64,   /* a task is queued or due, or its alarm is to be set: tasks.h */
	STT_WISH_RECV = 128,   /* of a dialled one: who reads it wants to be its owner: dialled.h */
	STT_WISH_WAKE = 256    /* a parked call of its own may go on: strand.h */
};

enum stt_phase {
	STT_PARKED,	/* a call of user code waits: the phase that it is in stands in strand.h */
	STT_CONNECTING, /* a client's: an attempt is under way, there is no descriptor */
	STT_FAILED,	/* a client's: the attempt has come to nothing */
	STT_SHAKING,	/* open in the kernel, in its TLS handshake */
	STT_BORN,	/* open, no handler has seen it */
	STT_OPEN,
	STT_ENDING,    /* its end is decided; output is being flushed */
	STT_LINGERING, /* the last handler has run; input is dropped until the peer's FIN */
	STT_DEAD       /* closed; busy for ever */
};

/* What a message touches stands first, in four cache lines: with a thousand connections each line
 * more is a miss more. */
struct sttcp_conn {
	struct stt_actor actor;

	/* Set before anybody can find it. */
	struct stt_loop *loop;
	struct stt_service *service; /* one reference */
	uint64_t id;

	/* Atomic: see the table below. */
	atomic_uint word;
	atomic_int refs;
	/* Who may come to its data: the handles that users have, and all its handlers together,
	 * until the last one is over. The data is freed with the last of these, and not with the
	 * last reference: calls of the library's own that pass by must not hold it up. */
	atomic_int handles;
	/* Closed only by the owner, under output.lock, and -1 from then on. So no call of another
	 * thread can reach a different connection that has got the same number. */
	atomic_int fd;
	/* Atomic, set once and never cleared, before the read wish: reads go on until 0 or an
	 * error. Set when no input can follow what is there already, since no second edge reports
	 * that; and on sockets on which a short read does not mean that the socket is empty. */
	atomic_bool hangup;
	/* Atomic, set once by the owner: tells the loop that an event without input needs no owner.
	 */
	atomic_bool opened;
	/* Atomic, set under output.lock by whoever ends it: any thread may look. */
	atomic_bool ended;
	/* Atomic, any thread: why nothing is to be read now, see hold.h. */
	atomic_uchar holds;
	/* Atomic, set once: input has to be parsed, for its messages or for its timing. */
	atomic_bool framed;
	/* Atomic, any thread: reading has rested, see hold.h. */
	atomic_bool rested;

	/* Only the owner. */
	uint8_t phase;
	uint8_t blocking;   /* quick calls that are still needed until it may run on its loop again;
			       actor.blocks tells whether there are any */
	uint8_t waited : 7; /* quick calls until a short wait of one of its handlers is forgotten */
	bool came_new : 1;  /* to the pool: see is_newcomer in serve.c */
	bool fin_seen;	    /* the peer's FIN */
	bool declined : 1;
	bool waved_off : 1;  /* a handler's false was the end that counts */
	bool secure : 1;     /* it has a session: see secure.h */
	bool unshaken : 1;   /* its handshake has failed before its first handler, */
	bool unheard : 1;    /* and its peer has not sent a byte */
	bool misshaken : 1;  /* its handshake has failed inside a handler */
	bool half_close : 1; /* its peer's FIN does not end it */
	bool counted : 1;    /* by its address, before anybody can find it: group/admission.h */
	/* Atomic: the enum stt_event of its next message, see own_handler.h. */
	atomic_uchar delivers;

	/* Only the owner: what was read and not delivered, between its turns. */
	struct stt_held *held;

	/* Its own framing, NULL for the service's. Changed under output.lock; the owner reads it
	 * without, others copy it under the lock. */
	_Atomic(struct stt_own_framing *) framing;

	/* Written by the owner, read by any thread for stats, relaxed. */
	struct stt_counter bytes_in;
	struct stt_counter messages_in;

	struct stt_output output;

	/* Set before anybody can find it. */
	int64_t born_ms;

	/* Only the owner. */
	uint32_t anew_ms; /* after it opened: when deadlines for input began anew; wraps in 49 days
			   */
	/* Four that fill a gap: see output.h. */
	bool failed;  /* under output.lock: by fail or fail_now, of which the first counts */
	bool member;  /* under the roster's lock: `each` and `find` see it */
	bool lingers; /* only the owner: all output is out, and the time for the rest of the input
			 runs */
	uint8_t room_phase; /* under the lock of its stays: see group/rooms.h */

	/* Written by the owner before the alarm is set; read by the loop when it rings: when the
	 * owner wants a timeout wish. */
	_Atomic int64_t owner_due_ms;
	/* Atomic, written by the owner, relaxed: when its connection handler returned. */
	_Atomic int64_t opened_ms;
	/* Atomic, relaxed: when the last byte was received or sent, or its handler returned. Kept
	 * only if there is a limit on that. Before it opens: when its TLS handshake began. */
	_Atomic int64_t active_ms;
	struct stt_alarm alarm;

	/* Written under output.lock by whoever ends it; atomic, so that any thread may look. */
	_Atomic(char *) fail_text;
	atomic_int reason;

	/* Set before the first handler. */
	struct sockaddr_in6 peer; /* or a sockaddr_in; AF_UNSPEC while not known, or for unix: */
	/* Atomic, made by whoever asks first. */
	_Atomic(struct stt_names *) names;
	_Atomic(struct stt_rare *) rare; /* see rare.h */

	/* Under output.lock. */
	void *data;
	void (*data_free)(void *data);

	/* Its group's alone, under the roster's lock. */
	struct stt_node in_roster;
	uint64_t run;	/* of the group, that admitted it */
	uint64_t place; /* grows along the roster */
	struct stt_link in_table;
};

void stt_conn_set_peer(struct sttcp_conn *conn, const struct stt_addr *peer);

static inline struct sttcp_conn *stt_conn_ref(struct sttcp_conn *conn)
{
	/* Relaxed: whoever takes a reference holds one already, or a lock under which one is held.
	 */
	atomic_fetch_add_explicit(&conn->refs, 1, memory_order_relaxed);
	return conn;
}

/* A reference that a user may have as a handle. Whoever takes it holds one already, or a lock under
 * which its last handler cannot be over. */
static inline struct sttcp_conn *stt_conn_take_handle(struct sttcp_conn *conn)
{
	atomic_fetch_add_explicit(&conn->handles, 1, memory_order_relaxed);
	return stt_conn_ref(conn);
}

/*
 * The word of a connection: STT_BUSY and one bit per wish.
 *
 *	word		who			does			then
 *	0		anybody			wish: adds the bit	is its owner
 *	0		anybody			owns: word = busy	is its owner
 *	busy...		anybody			wish: adds the bit	the owner will see it
 *	busy + wishes	the owner		takes: word = busy	acts on them
 *	busy...		the owner		wishes again: adds	takes them later
 *	busy		the owner		lets go: word = 0	touches it no more
 *	busy + wishes	the owner		lets go: fails		goes round again
 *	busy...		the owner, at its death	nothing, ever		wishes are lost on it
 *
 * A wish and busy are set in one operation, so exactly one of several threads
 * finds the connection free. The owner lets go by a compare-and-swap from `busy`
 * alone, so no wish is overlooked. It does not matter which thread the owner is:
 * the connection may be on a list meanwhile, and then whoever takes it off the
 * list is the owner. An owner without a wish knows what it wants, and does that
 * first.
 */

/* Adds a wish; true if the caller owns the connection now, and must see that it is worked on. */
static inline bool stt_conn_wish(struct sttcp_conn *conn, unsigned wish)
{
	/* Acquire: the new owner sees all that the last one did. Release: the owner sees what the
	 * wish is about. */
	return !(atomic_fetch_or_explicit(&conn->word, wish | STT_BUSY, memory_order_acq_rel) &
		 STT_BUSY);
}

/* Becomes the owner without leaving a wish; false if somebody else is. */
static inline bool stt_conn_try_own(struct sttcp_conn *conn)
{
	unsigned none = 0;

	return atomic_compare_exchange_strong_explicit(&conn->word, &none, STT_BUSY,
						       memory_order_acq_rel, memory_order_acquire);
}

/* For the owner: takes all wishes. */
static inline unsigned stt_conn_take_wishes(struct sttcp_conn *conn)
{
	return atomic_exchange_explicit(&conn->word, STT_BUSY, memory_order_acq_rel);
}

/* For the owner, which remains the owner: puts back wishes that it has not acted on yet. */
static inline void stt_conn_wish_again(struct sttcp_conn *conn, unsigned wishes)
{
	atomic_fetch_or(&conn->word, wishes);
}

/* Whether a wish waits for the owner. Any thread: it may be gone by then. */
static inline bool stt_conn_is_wished(const struct sttcp_conn *conn, unsigned wish)
{
	return atomic_load(&conn->word) & wish;
}

/* For the owner: false if there are new wishes, and it is still the owner. */
static inline bool stt_conn_let_go(struct sttcp_conn *conn)
{
	unsigned busy = STT_BUSY;

	return atomic_compare_exchange_strong_explicit(&conn->word, &busy, 0, memory_order_acq_rel,
						       memory_order_acquire);
}

/* Adds a wish, and makes sure that somebody acts on it. Any thread. */
void stt_conn_ask(struct sttcp_conn *conn, unsigned wish);

/* The connection that the output is a part of. */
static inline struct sttcp_conn *stt_output_conn(const struct stt_output *out)
{
	return stt_container_of((uintptr_t)out, struct sttcp_conn, output);
}

/* Any thread. */
static inline bool stt_conn_has_ended(const struct sttcp_conn *conn)
{
	return atomic_load_explicit(&conn->ended, memory_order_acquire);
}

/* Whether it was ended by force: then no handler of it waits any more. Any thread. */
bool stt_conn_is_forced(struct sttcp_conn *conn);

enum {
	/* So often a thread looks at that which waits in a handler for another object, on a
	 * condition: whoever ends the connection does not know what to wake, and takes no lock of
	 * the other object. */
	STT_FORCED_LOOK_MS = 100
};

/* What a call on a connection that has ended returns. */
static inline int stt_conn_end_code(const struct sttcp_conn *conn)
{
	int reason = atomic_load_explicit(&conn->reason, memory_order_relaxed);

	return reason ? reason : STTCP_ECLOSED;
}

/* A text about its end that adds to the reason; "" if there is none. Any thread. */
const char *stt_conn_fail_text(const struct sttcp_conn *conn);

/* Its peer and its own end as text; never NULL, as long as the connection lives. */
const char *stt_conn_host(struct sttcp_conn *conn);
const char *stt_conn_address(struct sttcp_conn *conn);
const char *stt_conn_local(struct sttcp_conn *conn);

#endif
