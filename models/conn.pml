/* SPDX-License-Identifier: MIT */
/*
 * One connection from accept to the end of its memory (conn.c, serve.c, ending.c
 * and the lists of loop.c): the word with its wishes, edge-triggered events, the
 * ready list, death, and the alarm. It is worked on by its loop or in the pool;
 * a worker that lost its loop in a turn goes on like one of the pool.
 *
 * Proven: nothing that came is left unread, a hang-up and an end are always
 * noticed, there are never two owners, the last handler runs once, and nothing
 * is touched after its end: neither the memory nor the descriptor's number.
 */
#ifndef NUNITS
#define NUNITS 3		/* of input that the peer sends */
#endif
#ifndef BUFFER
#define BUFFER 2		/* units: STT_READ_SIZE */
#endif
#ifndef READS_PER_TURN
#define READS_PER_TURN 1
#endif
/* The parts that a run may leave out, so that the others stay small. */
#ifndef WITH_ALARMS
#define WITH_ALARMS 1
#endif
#ifndef WITH_COPY
#define WITH_COPY 1		/* a child may hold a copy of the descriptor */
#endif
#ifndef WITH_OTHER
#define WITH_OTHER 1		/* somebody else stands on the ready list, too */
#endif

/* The word */
#define BUSY 1
#define WISH_READ 2
#define WISH_CLOSE 4
#define WISH_TIMEOUT 8
#define WISH_OPEN 16

/* The phases */
#define BORN 0
#define OPEN 1
#define ENDING 2
#define LINGERING 3
#define DEAD 4

/* Time: a write stalls at 1, lingering ends at 2. */
#define STALL_AT 1
#define LINGER_AT 2
#define NEVER 3

/* struct sttcp_conn */
byte word;
bool hangup, opened, ended, broken;
byte phase;
bool fin_seen, lingers;
bool fd_there = true;		/* fd >= 0 */
#ifdef DROP_ACCEPT_REF
byte refs = 2;
#else
byte refs = 3;			/* the loop's, the accepting worker's, the other thread's */
#endif
byte linger_at = NEVER;
bool queued;			/* output that has stalled */
bool output_lock;

/* struct stt_alarm, and the loop's list and heap of them */
byte due = NEVER;
bool listed, in_alarms, in_heap;
byte heap_at;

/* struct stt_loop: who stands on its lists; the eventfd's edge; the batch of events */
bool in_ready, other_in_ready, in_chain;
bool wake;
bool fetched, fetched_in, fetched_hangup;

/* The pool's queue */
bool in_pool;

/* The kernel's side: the socket, and what epoll knows of it */
bool fd_open = true;		/* the number is this connection's */
bool copied;			/* a child holds a copy: close alone ends nothing */
bool registered, edge;
byte input;
bool fin, reset;

/* The environment, and what the assertions look at */
byte now;
bool admitted;
bool freed;
bool working;			/* somebody acts as the owner */
bool other_served;
bool close_done;
byte delivered, last_handlers;

/* Every access to the connection's memory stands behind one of these. */
#define TOUCH assert(!freed)
/* So does every use of the descriptor's number: a stranger gets it at once. */
#define USE_FD assert(fd_open)

#ifdef DROP_HANGUP_FLAG
#define HANGUP was_hangup
#define HANGUP_IS_A_WISH bool was_hangup;
#else
#define HANGUP hangup
#define HANGUP_IS_A_WISH
#endif

#ifdef DROP_READ_ON
#define READS_ON true
#else
#define READS_ON !HANGUP
#endif
#ifdef DROP_ADD_LOCK
#define ADD_WHEN true
#else
#define ADD_WHEN fd_there
#endif

/* A critical section of the output lock is one step, unless something in it can be interleaved. */
#define UNLOCKED !output_lock

inline raise_edge()
{
	if
	:: registered -> edge = true
	:: else
	fi
}

/* stt_conn_unref */
inline unref()
{
	atomic {
		TOUCH;
		refs--;
		if
		:: refs == 0 -> freed = true
		:: else
		fi
	}
}

/* stt_loop_push of the connection's actor, by somebody else than the loop's owner. It may stand on
 * one list at a time. */
inline stt_loop_push(was_empty)
{
	atomic {
		TOUCH;
		assert(!in_ready && !in_chain && !in_pool);
		was_empty = !in_ready && !other_in_ready;
		in_ready = true
	}
	atomic {
#ifndef DROP_WAKER
		if
		:: was_empty -> wake = true
		:: else
		fi;
#endif
		was_empty = false
	}
}

/* stt_conn_wish */
inline stt_conn_wish(wish, owner)
{
#ifndef DROP_ONE_STEP
	atomic { TOUCH; owner = !(word & BUSY); word = word | wish | BUSY }
#else
	atomic { TOUCH; owner = !(word & BUSY) }
	atomic { TOUCH; word = word | wish | BUSY }
#endif
}

/* stt_conn_ask */
inline stt_conn_ask(wish, owner)
{
	stt_conn_wish(wish, owner);
	if
	:: owner ->
#ifdef DROP_PUSH
		owner = false
#else
		stt_loop_push(owner)
#endif
	:: else
	fi
}

/* stt_alarm_set */
inline stt_alarm_set(at, first)
{
	atomic { TOUCH; first = at < due; due = (at < due -> at : due) }
	if
	:: first ->
		atomic { TOUCH; first = !listed; listed = true }
		if
		:: first ->
			atomic { TOUCH; first = !in_alarms; in_alarms = true }
			if
			:: atomic { first -> wake = true; first = false }
			:: else
			fi
		:: else
		fi
	:: else
	fi
}

/* stt_conn_end with FLUSH: nothing is queued here, so that FIN leaves at once. */
inline end_by_close(owner)
{
	atomic { UNLOCKED -> TOUCH; ended = true }
	stt_conn_ask(WISH_CLOSE, owner)
}

/* stt_conn_end with RESET, and what stt_output_tell makes of it. */
inline end_by_reset(owner)
{
	atomic {
		UNLOCKED ->
		TOUCH;
		ended = true;
		if
		:: fd_there && !broken -> USE_FD; reset = true; input = 0; raise_edge()
		:: else
		fi;
		broken = true;
		queued = false
	}
	atomic { TOUCH; hangup = true }
	stt_conn_ask(WISH_READ | WISH_CLOSE, owner)
}

/* stt_socket_recv: `got` units, or none, and then perhaps because no more will come. */
inline recv()
{
	TOUCH;
	USE_FD;
	got = (input > BUFFER -> BUFFER : input);
	input = input - got;
	over = got == 0 && (fin || reset)
}

/* stt_read, with take_fin and take_error */
inline read_input()
{
	do
	:: reads < READS_PER_TURN ->
		atomic { recv(); delivered = delivered + got; fin_seen = over }
		if
		:: over -> over = false; end_by_close(flag); break
		:: !over && got == 0 -> break
		/* The handler has run: deliver. */
		:: !over && got > 0 && ended -> got = 0; break
		:: else
		fi;
		if
		:: atomic { got < BUFFER && READS_ON -> got = 0; break }
		:: else -> reads++; got = 0
		fi
	:: else ->
		atomic { TOUCH; word = word | WISH_READ; working = false }
		requeue();
		handed_on = true;
		break
	od;
	reads = 0
}

/* stt_loop_push, by the owner of the loop or a worker of the pool */
inline requeue()
{
	if
	:: on_loop ->
		atomic { TOUCH; assert(!in_ready && !in_chain && !in_pool); in_chain = true }
	:: else -> stt_loop_push(flag)
	fi
}

inline stt_poller_remove()
{
#ifndef DROP_DEL
	registered = false;
	edge = false
#else
	skip
#endif
}

inline close()
{
	USE_FD;
	fd_open = false;
	if
	:: !copied -> registered = false; edge = false
	:: else
	fi
}

/* stt_conn_die */
inline stt_conn_die()
{
#ifdef DROP_FD_LOCK
	atomic { stt_poller_remove(); close() }
	fd_there = false;
#else
	atomic {
		UNLOCKED ->
		TOUCH;
		if
		:: fd_there -> stt_poller_remove(); close()
		:: else
		fi;
#ifndef DROP_FD_MINUS_ONE
		fd_there = false;
#endif
		queued = false
	}
#endif
	atomic {
		phase = DEAD;
#ifdef DROP_BUSY_FOR_EVER
		word = 0;
#endif
		working = false
	}
#ifdef DROP_LOOP_REF
	unref();
#else
	requeue();
#endif
	handed_on = true
}

/* go_on_ending: stt_read_drop first, then the last handler, then lingering. */
inline go_on_ending()
{
	do
	:: !fd_there || fin_seen -> break
	:: else ->
		atomic { recv(); fin_seen = over }
		if
		:: atomic { over || got > 0 -> got = 0; over = false }
		:: else -> break
		fi
	od;
	/* stt_output_view, and run_last_handler */
	atomic {
		UNLOCKED ->
		if
		:: phase < LINGERING ->
			last_handlers = last_handlers + opened;
			assert(last_handlers <= 1);
			phase = LINGERING
		:: else
		fi;
		over = broken || fin_seen || !fd_there;
		flag = !over && !lingers && WITH_ALARMS;
		lingers = lingers || flag;
		linger_at = (flag -> LINGER_AT : linger_at)
	}
	if
	:: flag -> stt_alarm_set(LINGER_AT, flag)
	:: else
	fi;
	if
	:: atomic { !over && now < linger_at }
	:: else -> over = false; stt_conn_die()
	fi
}

/* stt_conn_take_wishes, work and act: by the owner. There is only one, which `working` watches. */
inline work()
{
	do
	:: if
		:: atomic {
				wishes == 0 ->
				TOUCH;
				assert(!working);
				working = true;
				wishes = word;
#ifndef DROP_EXCHANGE
				word = BUSY
#endif
			}
#ifdef DROP_EXCHANGE
			word = BUSY
#endif
		/* conn_event has it in hand; what stands in the word is for the next round. */
		:: atomic { wishes != 0 -> TOUCH; assert(!working); working = true }
		fi;
#ifdef DROP_HANGUP_FLAG
		/* As a wish it is taken with the others. */
		atomic { was_hangup = hangup; hangup = false }
#endif
		if
		:: phase == BORN ->
			/* open_conn */
			atomic {
				if
				:: ended -> phase = ENDING
				:: else -> opened = true; phase = OPEN
				fi
			}
		:: else
		fi;
		if
		:: phase == OPEN && (wishes & WISH_READ) && !ended -> wishes = 0; read_input()
		:: else -> wishes = 0
		fi;
		if
		:: handed_on
		:: !handed_on && phase == OPEN && !ended
		:: else -> go_on_ending()
		fi;
		if
		:: atomic { handed_on -> handed_on = false; break }
#ifdef DROP_LET_GO
		:: atomic { !handed_on -> working = false; word = 0; break }
#else
		/* stt_conn_let_go */
		:: atomic { !handed_on && word == BUSY -> TOUCH; working = false; word = 0; break }
		:: atomic { !handed_on && word != BUSY -> TOUCH; working = false }
#endif
		fi
	od
#ifdef DROP_NO_TOUCH
	;
	TOUCH
#endif
}

/* stt_deadlines_ring, with stt_output_ring: `got` is when to ring again. */
inline ring_conn()
{
	atomic { UNLOCKED -> TOUCH; flag = queued && now >= STALL_AT; got = NEVER }
	if
	:: flag -> end_by_reset(flag)
	:: else
	fi;
	if
	:: linger_at <= now ->
		stt_conn_wish(WISH_TIMEOUT, flag);
		if
		:: flag -> requeue(); flag = false
		:: else
		fi
	:: else -> TOUCH; got = linger_at
	fi
}

inline take_ready()
{
	assert(!in_ready || !in_chain);
	in_chain = in_chain || in_ready;
	in_ready = false;
	other_served = other_served || other_in_ready;
	other_in_ready = false
}

inline take_and_ring_alarms()
{
	if
	:: in_alarms ->
		atomic { in_alarms = false; TOUCH; listed = false }
		atomic { TOUCH; in_heap = due != NEVER; heap_at = due }
	:: else
	fi;
	if
	:: in_heap && heap_at <= now ->
		atomic { in_heap = false; heap_at = 0; TOUCH; due = NEVER }
		ring_conn();
#ifdef DROP_RING_RETURNS
		if
		:: got != NEVER -> stt_alarm_set(got, flag)
		:: else
		fi;
		got = 0
#else
		atomic {
			TOUCH;
			if
			:: got < due -> due = got; in_heap = true; heap_at = got
			:: else
			fi;
			got = 0
		}
#endif
	:: else
	fi
}

/* serve: here, or by the pool, as heir and storm have it. Within a step. */
inline stt_conn_dispatch()
{
	TOUCH;
	if
	:: phase < LINGERING -> assert(!in_ready && !in_chain && !in_pool); in_pool = true
	:: mine = true
	fi
}

/* conn_event */
inline take_event()
{
	fetched = false;
	TOUCH;
#ifndef DROP_HANGUP_FIRST
	hangup = hangup || fetched_hangup
#endif
}

/* stt_loop_run */
proctype Loop()
{
	bool flag, handed_on, over, mine;
	HANGUP_IS_A_WISH
	byte wishes, reads, got;
	bool on_loop = true;
	bool put_off;

	do
	::
#ifdef DROP_BATCH_FIRST
		goto chain;
events:
#endif
		/* work_events: conn_event */
		if
		:: fetched ->
			atomic { take_event() }
			atomic {
				if
				:: fetched_in || fetched_hangup -> wishes = WISH_READ
				:: !fetched_in && !fetched_hangup && !opened -> wishes = WISH_OPEN
				:: else
				fi;
				if
				/* stt_conn_try_own: it is worked on here, and the wish is not written down. */
				:: wishes != 0 && word == 0 ->
					assert(!in_ready && !in_chain && !in_pool);
					word = BUSY;
					mine = true
				/* It belongs into the pool, or was busy a moment ago. */
				:: wishes != 0 ->
					stt_conn_wish(wishes, mine);
					wishes = 0;
					if
					:: mine -> mine = false; stt_conn_dispatch()
					:: else
					fi
				:: else
				fi
#ifndef DROP_HANGUP_FIRST
				;
				fetched_in = false;
				fetched_hangup = false
#endif
			}
#ifdef DROP_HANGUP_FIRST
			atomic {
				hangup = hangup || fetched_hangup;
				fetched_in = false;
				fetched_hangup = false
			}
#endif
			if
			:: mine -> mine = false; work()
			:: else
			fi
		:: else
		fi;
#ifdef DROP_BATCH_FIRST
		goto wait;
chain:
#endif
#ifdef DROP_CHAIN_FIRST
		take_and_ring_alarms();
#endif
		atomic { take_ready() }
#if WITH_ALARMS
#ifndef DROP_CHAIN_FIRST
		take_and_ring_alarms();
#endif
#endif
		/* work_chain: conn_ready */
		if
		:: in_chain ->
			atomic {
				in_chain = false;
				TOUCH;
				if
				:: phase == DEAD -> in_heap = false; heap_at = 0; unref()
				:: else -> stt_conn_dispatch()
				fi
			}
			if
			:: mine -> mine = false; work()
			:: else
			fi
		/* CHAIN_PER_ROUND others stand before it. */
		:: in_chain && !put_off -> put_off = true
		:: else
		fi;
#ifdef DROP_BATCH_FIRST
		goto events;
wait:
#endif
		/* wait_for_events */
end_wait:	atomic {
			in_chain || wake || edge || (in_heap && heap_at <= now) ->
			wake = false;
			if
			:: edge ->
				edge = false;
				fetched = true;
				fetched_in = input > 0 || fin || reset;
				fetched_hangup = fin || reset
			:: else
			fi
		}
	od
}

/* work_pool: conn_on_pool */
proctype Pool()
{
	bool flag, handed_on, over;
	HANGUP_IS_A_WISH
	byte wishes, reads, got;
	bool on_loop = false;

end_idle:
	do
	:: in_pool -> in_pool = false; work()
	od
}

/* take_connection: the connection can be found from stt_group_admit on. */
proctype Acceptor()
{
#if !WITH_ALARMS
	admitted = true;
#endif
#ifdef DROP_ACCEPT_REF
	admitted = true;
	atomic { TOUCH; refs++ }
#endif
	atomic {
		admitted = true;
		TOUCH;
		if
#ifndef DROP_ADD_LOCK
		:: !fd_there
#endif
		/* stt_poller_add. Every socket is writable at first: an edge. */
		:: ADD_WHEN -> USE_FD; registered = true; edge = true
		fi
	}
	unref()
}

/* What the peer sends, and FIN, or not. */
proctype Peer()
{
	byte sent;

	do
	:: sent < NUNITS -> atomic { input++; sent++; raise_edge() }
	:: atomic { fin = true; raise_edge(); sent = 0; break }
	:: sent == NUNITS -> sent = 0; break
	od
}

/* Another thread, with a reference: it sends, and perhaps closes or aborts, as broadcast, each,
 * sttcp_conn_close and a forced stop do. */
proctype Other()
{
	bool flag;

	admitted;
#ifdef DROP_ALARM_LOCK
	flag = fd_there;
	if
	:: flag -> stt_alarm_set(STALL_AT, flag)
	:: else
	fi;
#else
	/* stt_output_send, with stt_flush_expect_writable_locked where the socket is full; later an
	 * event that is not told of here flushes the queue. */
	atomic {
		UNLOCKED ->
		TOUCH;
		if
		:: fd_there -> USE_FD; flag = WITH_ALARMS; output_lock = flag; queued = flag
		:: true
		fi
	}
	if
	:: flag -> stt_alarm_set(STALL_AT, flag); output_lock = false; queued = false
	:: else
	fi;
#endif
	if
	:: end_by_close(flag); close_done = true
#if !WITH_ALARMS
	:: end_by_reset(flag); close_done = true
#endif
	:: skip
	fi;
#ifdef DROP_FD_OWNER
	if
	:: close_done && fd_there ->
		atomic { UNLOCKED -> fd_there = false; stt_poller_remove(); close() }
	:: else
	fi;
#endif
	unref()
}

/* Somebody else's actor on the ready list: what is pushed behind it needs no wake-up. */
proctype OtherActor()
{
	bool was_empty;

	atomic { was_empty = !in_ready && !other_in_ready; other_in_ready = true }
	if
	:: was_empty -> wake = true
	:: else
	fi
}

proctype Clock()
{
	do
	:: now < LINGER_AT -> now++
	:: else -> break
	od
}

bool judged;
#ifdef LIVE
ltl comes_to_rest { <> judged }
#endif

/* Nothing can move any more. */
proctype Judge()
{
	timeout;
	assert(other_served || !WITH_OTHER);
	assert(!working && !in_ready && !in_chain && !in_pool && !fetched && !output_lock);
	if
	:: fin || close_done || ended ->
#if WITH_ALARMS
		assert(freed && refs == 0 && phase == DEAD);
#else
		/* Without time a connection lingers until FIN. */
		assert((freed && refs == 0 && phase == DEAD) || (phase == LINGERING && !fin && !reset));
#endif
		assert(last_handlers == opened);
		assert(close_done || ended || delivered == NUNITS)
	:: else ->
		assert(phase == OPEN && word == 0 && input == 0 && delivered == NUNITS)
	fi;
	judged = true
}

init {
	atomic {
#if WITH_COPY
		if
		:: copied = true
		:: copied = false
		fi;
#endif
		run Loop();
		run Pool();
		run Acceptor();
		run Peer();
		run Other();
#if WITH_OTHER
		run OtherActor();
#endif
#if WITH_ALARMS
		run Clock();
#endif
		run Judge()
	}
}
