/* SPDX-License-Identifier: MIT */
/*
 * The way out of one connection (output.c, flush.c, ending.c, and what serve.c does
 * about the end): the output lock, the flag `pending`, the queue with its cap,
 * the line of senders that wait, and the end that may come at any time.
 *
 * Proven: nothing stays in the queue once the socket has room, no sender sleeps
 * for ever, no message is torn, FIN comes behind the last byte, a send that was
 * in nobody's way at the end is turned away, and the owner of a connection that
 * has ended always learns that its output is out, or broken; and a reader that a long
 * queue holds goes on when it has become short.
 */
#ifndef NSENDERS
#define NSENDERS 2		/* threads in stt_output_send, mode WAIT */
#endif
#ifndef NBROADCASTS
#define NBROADCASTS 0		/* the same, mode BROADCAST */
#endif
#ifndef SIZE
#define SIZE 3			/* units of a message */
#endif
#ifndef CAP
#define CAP 1			/* send_queue_max */
#endif
#ifndef SPACE
#define SPACE 1			/* of the socket */
#endif
#ifndef WITH_END
#define WITH_END 1		/* somebody closes or aborts */
#endif
#ifndef WITH_RESET
#define WITH_RESET 0		/* sending may fail, from some moment on */
#endif
#ifndef NINPUT
#define NINPUT 0		/* units that the owner reads, as far as the queue lets it */
#endif
#define HIGH_WATER (CAP / 2 > 0 -> CAP / 2 : 1)
#define LOW_OF_HIGH 4
#define NALL (NSENDERS + NBROADCASTS)
#define NONE NALL

/* Results */
#define TAKEN 0
#define REST 1
#define EAGAIN 2
#define FAILED 3

#define DRAINED (broken || (len(queue) == 0 && len(line) == 0))
#ifdef DROP_FIN_LAST
#define FIN_MAY_GO true
#else
#define FIN_MAY_GO DRAINED
#endif
#ifdef DROP_KEEP_PLACE
#define IN_FRONT true
#else
#define IN_FRONT (len(line) == 0)
#endif
#ifdef DROP_BROADCAST_BEHIND
#define QUEUE_SIZE (CAP + NBROADCASTS * SIZE)
#define HAS_ROOM true
#else
#define QUEUE_SIZE CAP
#define HAS_ROOM (len(line) == 0 && left[me] <= CAP - len(queue))
#endif
#ifdef DROP_TURN_AWAY
#define TURNED_AWAY 0
#else
#define TURNED_AWAY len(line)
#endif
#ifdef DROP_PENDING
#define LOOKS (len(queue) > 0)
#else
#define LOOKS pending
#endif

/* struct stt_output */
bool lock;
chan queue = [QUEUE_SIZE] of { byte };	/* units, told apart by their sender */
chan line = [NALL] of { byte };
bool broken, fin_wanted, fin_sent, pending, holds_reader;
byte queued;			/* a figure that may be late; `high` comes from it */

bool alarm;			/* set at 0: a visit has stopped short */

/* struct stt_sender */
byte left[NALL];
bool begun[NALL], done[NALL], failed[NALL];
bool begun_late[NALL];		/* the first unit was taken after the end */

/* struct sttcp_conn */
bool ended, forced;		/* forced: its owner waits for the output for a time only */
bool fd_there = true;
bool wish = NINPUT > 0;		/* close, or read: for the owner */

/* The kernel's side */
byte used;			/* of the socket's space */
bool nospace;			/* a send was refused: an edge will tell of room */
bool edge;
bool will_reset, peer_reset;

/* What is on the wire */
byte current = NONE, current_left;
bool fin_on_wire;
byte last_handlers;
bool dead;
byte input = NINPUT;
byte wired[NALL];

#define LOCK atomic { !lock -> lock = true }
#define UNLOCK lock = false
#define NOTE_QUEUE queued = (len(queue) > 0 -> len(queue) : queued)

/* One unit goes into the socket. Messages follow each other whole, and FIN comes last. */
inline put_on_wire(s)
{
	assert(!fin_on_wire && fd_there);
	used++;
	wired[s]++;
	if
	:: current == NONE -> current = s; current_left = SIZE
	:: else -> assert(current == s)
	fi;
	current_left--;
	if
	:: current_left == 0 -> current = NONE
	:: else
	fi
}

/* stt_socket_send of what the queue has */
inline send_queue()
{
	if
	:: peer_reset -> result = FAILED
	:: !peer_reset && used == SPACE -> nospace = true; result = EAGAIN
	:: else ->
		do
		:: used < SPACE && len(queue) > 0 -> queue?unit; put_on_wire(unit)
		:: else -> break
		od;
		unit = 0;
		result = TAKEN
	fi
}

/* stt_flush_visit_again_locked */
inline visit_again()
{
#ifndef DROP_COME_BACK
	alarm = true
#else
	skip
#endif
}

/* write_queue_locked */
inline write_queue()
{
	result = TAKEN;
	do
	:: result == TAKEN && len(queue) > 0 -> atomic { send_queue() }
	:: else -> break
	od
}

/* stt_line_finish_locked: its removal from the line is with those who call this */
inline finish_sender(s, fails)
{
	done[s] = true;
	failed[s] = fails
}

/* stt_line_advance_locked, stt_line_copy_locked */
inline advance_line()
{
#ifndef DROP_KEEP_PLACE
	do
	:: len(line) > 0 && len(queue) < CAP ->
		line?<unit>;
		queue!unit;
		left[unit]--;
		begun_late[unit] = begun_late[unit] || (ended && !begun[unit]);
		begun[unit] = true;
		if
		:: left[unit] == 0 -> line?unit; finish_sender(unit, false)
		:: else
		fi
	:: else -> break
	od;
	unit = 0
#else
	/* Senders are only woken, and append the rest themselves. */
	do
	:: len(line) > 0 && len(queue) < CAP -> line?unit; done[unit] = true
	:: else -> break
	od;
	unit = 0
#endif
}

/* stt_output_finish_locked */
inline stt_output_finish_locked()
{
	queued = len(queue);
#ifndef DROP_RESUME
	if
	:: holds_reader && len(queue) <= HIGH_WATER / LOW_OF_HIGH ->
		holds_reader = false;
		tell = true
	:: else
	fi;
#endif
	if
	:: fin_wanted && !fin_sent && !broken && FIN_MAY_GO ->
		fin_sent = true;
#ifndef DROP_TELL_CLOSE
		tell = true;
#endif
		assert(current == NONE);
		fin_on_wire = true
	:: else
	fi;
	pending = pending && !DRAINED;
#ifndef DROP_TELL_CLOSE
	tell = tell || (ended && DRAINED);
#endif
}

/* stt_output_break_locked */
inline stt_output_break_locked()
{
	broken = true;
	do
	:: len(queue) > 0 -> queue?unit
	:: else -> break
	od;
#ifndef DROP_BREAK_WAKES
	do
	:: len(line) > 0 -> line?unit; finish_sender(unit, true)
	:: else -> break
	od;
#endif
	unit = 0;
	stt_output_finish_locked();
#ifndef DROP_TELL_BROKEN
	tell = true
#endif
}

/* stt_line_turn_away_locked */
inline stt_output_turn_away_locked()
{
	count = TURNED_AWAY;
	do
	:: count > 0 ->
		line?unit;
		if
		:: begun[unit] -> line!unit
		:: else -> finish_sender(unit, true)
		fi;
		count--
	:: else -> break
	od;
	unit = 0
}

/* stt_output_flush_locked */
inline stt_output_flush_locked()
{
	if
	:: broken || !fd_there
	:: else ->
		result = TAKEN;
		/* A visit is one round: then the others have their turn. */
		if
		:: len(queue) > 0 ->
			write_queue();
			if
			:: result == EAGAIN && !pending ->
#ifndef DROP_ONE_MORE_TRY
				/* Not reached: what is queued has found the socket full before. */
				pending = true;
				write_queue()
#else
				pending = true
#endif
			:: else
			fi;
			atomic { advance_line() }
		:: else
		fi;
		atomic {
			if
			:: result == FAILED -> stt_output_break_locked()
			:: result == TAKEN && !DRAINED -> visit_again(); stt_output_finish_locked()
			:: else -> stt_output_finish_locked()
			fi;
			result = TAKEN
		}
	fi
}

/* stt_output_tell */
inline stt_output_tell()
{
	atomic { wish = wish || tell; tell = false }
}

/* stt_conn_end */
inline end_by_close()
{
	LOCK;
	if
	:: atomic {
			!ended ->
			ended = true;
			fin_wanted = true;
			stt_output_turn_away_locked()
		}
		stt_output_flush_locked()
	:: else
	fi;
	UNLOCK;
	tell = true;
	stt_output_tell()
}

inline end_by_reset()
{
	atomic {
		!lock ->
		ended = true;
		if
		:: fd_there && !broken -> peer_reset = true; used = 0; nospace = false
		:: else
		fi;
		stt_output_break_locked()
	}
	tell = true;
	stt_output_tell()
}

/* stt_socket_send from the caller's buffer */
inline send_cursor()
{
	if
	:: peer_reset -> result = FAILED
	:: !peer_reset && used == SPACE -> nospace = true; result = EAGAIN
	:: else ->
		do
		:: used < SPACE && left[me] > 0 -> left[me]--; put_on_wire(me)
		:: else -> break
		od;
		result = TAKEN
	fi
}

/* write_now_locked */
inline write_now()
{
	result = TAKEN;
	do
	:: result == TAKEN && left[me] > 0 ->
		atomic { send_cursor() }
#ifndef DROP_ONE_MORE_TRY
		if
		:: result == EAGAIN && !pending -> pending = true; result = TAKEN
		/* As much as goes at a time: the rest keeps its place, and goes by visits. */
		:: result == TAKEN && left[me] > 0 -> visit_again(); break
		:: else
		fi
#else
		if
		:: result == EAGAIN -> pending = true
		:: result == TAKEN && left[me] > 0 -> visit_again(); break
		:: else
		fi
#endif
	:: else -> break
	od;
	if
	:: result == EAGAIN -> result = TAKEN
	:: else
	fi
}

/* What of the message fits under the cap is queued: the end of take_bytes_locked. */
inline queue_rest()
{
	do
	:: len(queue) < CAP && left[me] > 0 && IN_FRONT -> queue!me; left[me]--
	:: else -> break
	od;
	result = (left[me] > 0 -> REST : TAKEN)
}

/* stt_output_send, mode WAIT */
proctype Sender(byte me)
{
	byte unit, result, count;
	bool tell;

	atomic { !lock -> lock = true; left[me] = SIZE }
	if
	:: ended || broken || fin_wanted || !fd_there -> failed[me] = true
	:: else ->
		if
		:: len(queue) == 0 && len(line) == 0 -> write_now()
		:: else
		fi;
		atomic {
			if
			:: result == FAILED ->
				failed[me] = true;
				stt_output_break_locked();
				result = FAILED
			:: else -> queue_rest()
			fi
		}
#ifndef DROP_KEEP_PLACE
		if
		:: result == REST ->
			/* stt_line_wait_locked: stt_cond_wait gives the lock up, and takes it again. */
			atomic { begun[me] = left[me] < SIZE; line!me; queued = len(queue); lock = false }
			atomic { done[me] && !lock -> lock = true }
		:: else
		fi
#else
		do
		:: result == REST && !failed[me] ->
			atomic { line!me; done[me] = false; lock = false }
			atomic { done[me] && !lock -> lock = true }
			if
			:: len(queue) == 0 -> write_now()
			:: else
			fi;
			atomic { queue_rest() }
		:: else -> break
		od
#endif
	fi;
	atomic { result = 0; left[me] = 0; NOTE_QUEUE; UNLOCK }
	stt_output_tell()
}

/* stt_output_send, mode BROADCAST */
proctype Broadcast(byte me)
{
	byte unit, result, count;
	bool tell;

	atomic { !lock -> lock = true; left[me] = SIZE }
	if
	:: ended || broken || fin_wanted || !fd_there -> failed[me] = true
	:: else ->
		if
		:: len(queue) == 0 && len(line) == 0 -> write_now()
		:: else ->
			/* It waits for nobody. */
			result = (HAS_ROOM -> TAKEN : EAGAIN)
		fi;
		atomic {
			if
			:: result == FAILED -> failed[me] = true; stt_output_break_locked()
			:: result == TAKEN && HAS_ROOM ->
				do
				:: left[me] > 0 -> queue!me; left[me]--
				:: else -> break
				od
			:: else -> result = EAGAIN; failed[me] = true
			fi
		}
	fi;
	atomic { NOTE_QUEUE; UNLOCK }
	stt_output_tell();
	if
	:: result == EAGAIN -> result = 0; end_by_reset()
	:: else -> result = 0
	fi;
	left[me] = 0
}

/* conn_event, for EPOLLOUT, and stt_deadlines_ring, for the alarm */
proctype Loop()
{
	byte unit, result, count;
	bool tell;

end_wait:
	do
	:: edge ->
		edge = false;
		if
		:: LOOKS ->
#ifdef DROP_WAIT_FOR_LOCK
			if
			:: atomic { !lock -> lock = true }
				stt_output_flush_locked();
				UNLOCK;
				stt_output_tell()
			:: lock
			fi
#else
			LOCK;
			stt_output_flush_locked();
			UNLOCK;
			stt_output_tell()
#endif
		:: else
		fi
	:: alarm ->
		alarm = false;
		LOCK;
		stt_output_flush_locked();
		UNLOCK;
		stt_output_tell()
	od
}

/* sttcp_conn_close or sttcp_conn_abort, from any thread */
proctype Ender()
{
	byte unit, result, count;
	bool tell;

	if
	:: end_by_close()
	:: end_by_close(); forced = true; wish = true
	:: end_by_reset()
	:: skip
	fi
}

/* The connection's owner, as far as its end goes: go_on_ending and stt_conn_die */
proctype Owner()
{
	byte unit, result, count;
	bool tell, drained;

end_idle:
	do
	:: wish && !dead ->
		wish = false;
		if
		:: broken && !ended -> end_by_reset()	/* take_error */
		:: else
		fi;
		/* stt_read, stt_hold_stands */
		do
		:: input == 0 || ended -> break
		:: input > 0 && !ended && queued < HIGH_WATER -> input--
		:: input > 0 && !ended && queued >= HIGH_WATER ->
			atomic { !lock -> holds_reader = len(queue) >= HIGH_WATER; drained = holds_reader }
			if
			:: drained -> drained = false; break
			:: else -> input--
			fi
		od;
		if
		:: ended ->
			atomic { !lock -> drained = DRAINED }
			if
			:: drained || forced ->
				drained = false;
				last_handlers++;
				/* stt_conn_die, stt_output_die_locked */
				atomic {
					!lock ->
					if
					:: DRAINED
					:: else ->
						peer_reset = true;
						used = 0;
						nospace = false;
#ifndef DROP_DEATH_WAKES
						stt_output_break_locked()
#else
						broken = true;
						do
						:: len(queue) > 0 -> queue?unit
						:: else -> break
						od
#endif
					fi;
					unit = 0;
					tell = false;
					fd_there = false;
					dead = true
				}
			:: else
			fi
		:: else
		fi
	od
}

/* The peer reads, in time; there is an edge when a send was refused and enough is free. A reset is
 * found by sending, too: what epoll tells the reader of it is left out here. */
proctype Peer()
{
end_reads:
	do
	:: atomic {
			used > 0 ->
			used--;
			if
			:: nospace && 2 * used <= SPACE -> nospace = false; edge = true
			:: else
			fi
		}
#if WITH_RESET
	:: atomic { will_reset && !peer_reset -> peer_reset = true; used = 0; nospace = false }
		edge = true
#endif
	od
}

bool judged;
#ifdef LIVE
ltl comes_to_rest { <> judged }
#endif

/* Nothing can move any more. A sender that has not returned is an invalid end state. */
proctype Judge()
{
	byte s;

	timeout;
	assert(!lock && len(queue) == 0 && len(line) == 0 && !edge && !alarm);
	assert(!ended || dead);
	assert(last_handlers == dead);
	assert(!dead || broken || fin_on_wire);
	for (s : 0 .. NALL - 1) {
		assert(broken || (failed[s] -> wired[s] == 0 : wired[s] == SIZE));
		assert(!begun_late[s])
	}
	assert(!broken || ended);
	assert(ended || input == 0);
	judged = true
}

init {
	byte i;

	atomic {
		for (i : 0 .. NSENDERS - 1) {
			run Sender(i)
		}
#if NBROADCASTS
		for (i : NSENDERS .. NALL - 1) {
			run Broadcast(i)
		}
#endif
#if WITH_RESET
		if
		:: will_reset = true
		:: skip
		fi;
#endif
		run Loop();
#if WITH_END
		run Ender();
#endif
		run Owner();
		run Peer();
		run Judge()
	}
}
