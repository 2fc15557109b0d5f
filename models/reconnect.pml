/* SPDX-License-Identifier: MIT */
/*
 * A client that connects again (conns.c, reconnect.c, stop.c, wait_open.c): between two attempts it
 * runs without a connection, and the alarm of its group rings for the next one. Beside that come
 * stops, starts, waits and the free. Whichever thread works on its connection is one process here,
 * and the loop of the alarm another; stop.pml has the details of that alarm.
 *
 * Proven: an attempt begins only while the client runs, and never beside another one; a stop
 * between two attempts returns, and no attempt follows it; who waits for the connection or for the
 * end comes back; a client that is to connect again does; the group's memory is not touched after
 * its end.
 */
#ifndef NRUNS
#define NRUNS 2
#endif
#ifndef TRIES
#define TRIES 2
#endif

/* enum stt_group_state, as far as a client needs it */
mtype = { IDLE, RUNNING, STOPPING };

/* struct stt_group: each step on it is under its lock. */
mtype state = IDLE;
byte refs = 1;			/* the user's */
byte runs, live, tries;
bool retry;			/* retry_at_ms is set */
bool current;			/* the connection is open */
bool ended;			/* its end is decided */
bool armed;			/* alarm_armed */

/* Its alarm: is set. Time is free, so it may ring then, twice too early. */
bool set;
byte early = 2;

bool freed;			/* the group's memory */
bool released;
bool freeing;			/* the user's free has begun: no call begins any more */
bool run_was_stopped;

#define TOUCH assert(!freed)
#define IS_OVER (state == IDLE || this_run != runs)
#ifdef DROP_STAYS_RUNNING
#define IS_BETWEEN false
#else
#define IS_BETWEEN retry
#endif

inline ref()
{
	TOUCH;
	refs++
}

inline unref()
{
	TOUCH;
	refs--;
	if
	:: refs == 0 -> freed = true; assert(released)
	:: else
	fi
}

/* stt_group_arm_locked */
inline arm_locked()
{
#ifndef DROP_ALARM_REF
	if
	:: !armed -> ref()
	:: else
	fi;
#endif
	armed = true;
	set = true
}

/* stt_group_check_locked, stt_group_enter_locked */
inline check_locked()
{
	if
	:: !live && (state == STOPPING || (state == RUNNING && !IS_BETWEEN)) ->
		state = IDLE;
		set = set || armed
	:: else
	fi
}

/* stt_conns_begin_attempt_locked: a connection has a reference to its group. */
inline begin_attempt_locked()
{
	assert(state == RUNNING && !live);
	live++;
	ended = false;
	ref()
}

/* stt_stop_ring, stt_conns_retry_if_due_locked */
proctype Loop()
{
	bool rings_again;
#ifdef DROP_UNDER_LOCK
	bool makes;
#endif

end_wait:
	do
	:: set ->
		set = false;
		atomic {
			TOUCH;
			if
#ifdef DROP_UNDER_LOCK
			:: state == RUNNING && retry -> retry = false; makes = true
#else
			:: state == RUNNING && retry -> retry = false; begin_attempt_locked()
#endif
			:: state == RUNNING && retry && early > 0 ->
				early--;
#ifndef DROP_SET_ANEW
				arm_locked()
#endif
			:: !(state == RUNNING && retry)
			fi;
			rings_again = set;
			armed = rings_again
		}
#ifdef DROP_UNDER_LOCK
		atomic {
			if
			:: makes -> makes = false; begin_attempt_locked()
			:: else
			fi
		}
#endif
#ifndef DROP_ALARM_REF
		atomic {
			if
			:: !rings_again -> unref()
			:: else
			fi
		}
#endif
	od
}

/* The owner of the connection: from the attempt to its last handler */
proctype Conn()
{
	bool lost, goes_on;

end_idle:
	do
	:: live > 0 ->
		if
		:: skip
		/* note_open */
		:: atomic { !ended -> TOUCH; current = true; tries = TRIES }
		fi;
		if
		:: lost = true		/* the network has ended it */
		:: lost = false		/* somebody here has */
		:: atomic { ended -> lost = false }
		fi;
		/* note_left */
		atomic { TOUCH; current = false }
		/* note_ended */
		atomic {
			TOUCH;
			goes_on = lost && tries > 0;
			tries = tries - goes_on;
			live--;
			if
			:: goes_on && state == RUNNING -> retry = true; arm_locked()
			:: else
			fi;
			check_locked();
			/* It would have gone on, and nobody has stopped it. */
			assert(!goes_on || state == RUNNING || run_was_stopped)
		}
		/* stt_conn_die */
		atomic { unref() }
	od
}

/* stt_group_begin_stop */
inline begin_stop()
{
	atomic {
		TOUCH;
		this_run = runs;
		if
		:: state == RUNNING ->
			state = STOPPING;
			run_was_stopped = true;
#ifndef DROP_FORGET
			retry = false;
#endif
			ended = live > 0;
			check_locked()
		:: else
		fi
	}
}

/* Another thread, which waits for the connection or the end, or closes: with a reference meanwhile */
proctype Other()
{
	byte this_run;

	do
	:: atomic { runs > 0 && !released && !freeing -> ref(); this_run = runs }
		if
		/* stt_group_wait_open */
		:: current || IS_OVER
		/* stt_group_wait */
		:: IS_OVER
		/* stt_group_stop */
		:: begin_stop(); IS_OVER
		fi;
		atomic { unref(); break }
	:: freeing -> break
	od
}

/* Starts it, closes or waits, and frees it in the end. */
proctype User()
{
	byte this_run;

	do
	:: runs < NRUNS ->
		atomic {
			state == IDLE ->
			TOUCH;
			runs++;
			tries = TRIES;
			run_was_stopped = false;
			state = RUNNING;
			begin_attempt_locked()
		}
		if
		:: begin_stop(); state == IDLE
		:: state == IDLE
		:: skip
		fi
	:: runs > 0 -> break
	od;
	/* stt_group_free */
	atomic { freeing = true }
	begin_stop();
	atomic { state == IDLE -> TOUCH; released = true; unref() }
}

proctype Judge()
{
	timeout;
	assert(freed && !live && !armed)
}

init {
	atomic {
		run Loop();
		run Conn();
		run User();
		run Other();
		run Judge()
	}
}
