/* SPDX-License-Identifier: MIT */
/*
 * A call of user code that waits without a thread (strand.c, park.c, and what serve.c
 * and dispatch.c do with them). The connection handler waits for input, for room on
 * another connection, and for input again; what the peer sends behind that is for the
 * receive handler. Somebody ends the connection by force, or nobody does. Two
 * workers are its owner in turns.
 *
 * Proven: one thread at a time runs on the stack; no other handler runs while the
 * call waits; every byte gets to a handler, in sequence; gathered bytes leave before
 * a wait; the connection opens when the call has returned; one that is ended by
 * force dies, and nobody touches it after that.
 */
#ifndef WITH_FORCE
#define WITH_FORCE 1
#endif
#ifndef NBYTES
#define NBYTES 3
#endif

#define BORN 0
#define OPEN 1

/* The socket. */
byte kernel;		/* bytes in it */
bool edge;		/* an event that the loop has not taken yet */
byte sent;

/* struct sttcp_conn */
bool busy, in_ready;
bool wish_read, wish_close, wish_wake;
byte phase = BORN;
bool parked, ended, dead;
byte held;		/* read, and not delivered */

/* struct stt_strand */
bool on_stack;		/* some thread runs on it */
bool noted, emptied;
byte step;		/* of the call: 0 to 2 waits, 3 has returned */
bool started;
bool queued;		/* its send stands in the other one's line, */
bool moved;		/* and has left it */
bool line_locked;

/* The desk of a worker: what it has read and not given away. */
byte in_hand[2];
bool gathered;		/* an answer is queued, and nobody flushes it */

byte taken;		/* by the call */
byte delivered;		/* to the receive handler */
bool in_handler;

/* stt_conn_ask */
inline ask(wish)
{
	atomic {
		wish = true;
		if
		:: !busy -> busy = true; assert(!in_ready); in_ready = true
		:: else
		fi
	}
}

inline lock_line()
{
	atomic { !line_locked -> line_locked = true }
}

active proctype peer()
{
	do
	:: sent < NBYTES -> atomic { kernel++; sent++; edge = true }
	:: sent == NBYTES -> break
	od
}

active proctype loop()
{
end:
	do
	:: edge ->
		edge = false;
		if
		:: !dead -> ask(wish_read)
		:: dead
		fi
	od
}

/* Who makes room in the line of the other connection. */
active proctype flusher()
{
	bool was;

end:
	queued;
	lock_line();
	atomic { was = queued && !moved; moved = true };
#ifdef DROP_LINE_LOCK
	line_locked = false;
	if
	:: was -> assert(!dead); ask(wish_wake)
	:: else
	fi
#else
	if
	:: was -> assert(!dead); ask(wish_wake)
	:: else
	fi;
	line_locked = false
#endif
}

#if WITH_FORCE
active proctype killer()
{
	atomic { ended = true };
#ifndef DROP_FORCE_WAKES
	ask(wish_close)
#endif
}
#endif

/* The call, from where it was left to where it leaves: on the stack. */
inline run_call(me)
{
	assert(!on_stack && !in_handler);
	on_stack = true;
	in_hand[me] = in_hand[me] + held;
	held = 0;
	started = true;
	do
	:: step == 1 && !queued -> queued = true; leaves = true; break
	:: step == 1 && queued ->
		lock_line();
		if
		:: moved || ended -> moved = true; step = 2
		/* Not reached: nothing wakes it for nothing. */
		:: else -> leaves = true
		fi;
		line_locked = false;
		if
		:: leaves -> break
		:: else
		fi
	:: (step == 0 || step == 2) && ended -> step = 3; break
	:: (step == 0 || step == 2) && !ended && in_hand[me] ->
		in_hand[me]--; taken++; step++;
		/* An answer, while another message follows. */
		gathered = in_hand[me] > 0;
		if
		:: step == 3 -> break
		:: else
		fi
	:: (step == 0 || step == 2) && !ended && !in_hand[me] && !emptied ->
		/* All that is there: a short read. */
		atomic { in_hand[me] = kernel; kernel = 0; emptied = true };
		if
		:: in_hand[me] == 0 -> leaves = true; break
		:: else
		fi
	:: (step == 0 || step == 2) && !ended && !in_hand[me] && emptied ->
		leaves = true; break
	od
}

/* Behind the switch back. */
inline park(me)
{
#ifndef DROP_CLEAR_GATHER
	gathered = false;
#endif
#ifndef DROP_KEEP_INPUT
	held = in_hand[me];
#endif
	in_hand[me] = 0;
	parked = true
}

inline let_go()
{
	atomic {
		if
#ifndef DROP_LET_GO
		:: wish_read || wish_close || wish_wake
#endif
		:: else -> assert(!gathered); busy = false; owner = false
		fi
	}
}

/* What follows the connection handler: with DROP_FOLLOW_UP only where it was called. */
inline follow_up()
{
	phase = OPEN;
	gathered = false;
#ifndef DROP_READ_ALWAYS
	noted = true
#endif
}

active [2] proctype worker()
{
	bool owner, leaves, read, close, wake;
	byte me = _pid % 2;

end:
	do
	:: atomic { in_ready -> in_ready = false; owner = true };
	   do
	   :: owner ->
		/* stt_conn_take_wishes */
		atomic {
			read = wish_read; close = wish_close; wake = wish_wake;
			wish_read = false; wish_close = false; wish_wake = false
		};
		leaves = false;
		if
#ifdef DROP_FIBER_FIRST
		:: parked && (close || wake) ->
#else
		:: parked ->
#endif
			if
			:: read
#ifndef DROP_EMPTIED
				-> emptied = false
#endif
			:: else
			fi;
			if
			:: (step == 1 && (wake || close)) || (step != 1 && (read || wake || close)) ->
				parked = false;
				run_call(me);
#ifdef DROP_LET_GO_BEHIND
				if
				:: leaves -> park(me); let_go(); on_stack = false
				:: else -> on_stack = false
				fi;
#else
				on_stack = false;
				if
				:: leaves -> park(me)
				:: else
				fi;
#endif
				if
				:: !leaves ->
					held = in_hand[me]; in_hand[me] = 0;
#ifndef DROP_FOLLOW_UP
					follow_up()
#endif
				:: else
				fi
			:: else ->
				noted = noted || read
			fi
		:: else
		fi;
		if
		:: !owner
		:: owner && !parked && phase == BORN && !started && !ended ->
			run_call(me);
			on_stack = false;
			if
			:: leaves -> park(me)
			:: else -> follow_up()
			fi
		:: owner && !parked && phase == BORN && !started && ended ->
			phase = OPEN
		:: owner && !(!parked && phase == BORN && !started)
		fi;
		if
#ifdef DROP_FIBER_FIRST
		:: owner && (read || noted) && !ended ->
#else
		:: owner && !parked && phase == OPEN && (read || noted) && !ended ->
#endif
			/* The receive handler. */
			noted = false;
			atomic { assert(!on_stack && !in_handler && !parked); in_handler = true };
			delivered = delivered + held;
			held = 0;
			atomic { delivered = delivered + kernel; kernel = 0 };
			in_handler = false
		:: else
		fi;
		if
		:: owner && ended && !parked && phase == OPEN && !on_stack ->
			/* Busy for ever. */
			dead = true; owner = false
		:: owner && !(ended && !parked && phase == OPEN) -> let_go()
		:: !owner
		fi
	   :: !owner -> break
	   od
	od
}

active proctype judge()
{
	timeout;
	assert(!ended || dead);
	assert(ended || phase == OPEN || (parked && taken < 2 && taken == sent));
	assert(ended || taken + delivered == NBYTES)
}
